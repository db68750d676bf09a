"""Which kernels a design, a PE or nothing in particular names, and whether each one holds.

A format pair of a PE names its kernel; where it does not, the first kernel that lists the pair is
its arithmetic. A pair that no kernel computes is reported as such and is not a failure. Kernels of
zeros that a PE skips are checked where it names them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kernels_ref.cases import LARGEST_SIZE, UNCAPPED, VALUES, Case
from kernels_ref.errors import UserError
from kernels_ref.kernels import KERNELS, kernel_for
from kernels_ref.pairs import Pair, pair_of
from kernels_ref.trained_weights import available, trained_weights
from kernels_ref.verify import Verdict, verify, verify_cases

if TYPE_CHECKING:
    from accel_models.engines.pe import PE


WEIGHTS = ("auto", "trained", "synthetic")
ANY_NODE = 28e-9  # arithmetic does not depend on the process


@dataclass(frozen=True, slots=True)
class Check:
    """A kernel (None: there is none) on a pair of formats. `assumed`: the design names none, and
    this is the first that computes the pair."""

    kernel: str | None
    pair: Pair
    assumed: bool = False


def checks(target: str | None) -> list[Check]:
    """What to verify: all kernels, or those of a kernel's name, a PE's or a design's.

    Raises UserError for a target that is none of them.
    """
    if target is None:
        return [check for name in KERNELS for check in _of_kernel(name)]
    if target in KERNELS:
        return _of_kernel(target)
    from accel_models.engines.pe import PE
    from accel_models.pes import PES, pe_block

    if target in PES:
        return _of_pe(PE.model_validate(pe_block(target, ANY_NODE)))
    return _of_design(target)


def wants_trained(weights: str) -> bool:
    """Are trained weights to be among the values: `trained`, `synthetic`, or `auto` (where they
    are installed)? Raises UserError for another word, and for trained weights that are not there.
    """
    if weights not in WEIGHTS:
        raise UserError(f"--weights '{weights}'; known: {', '.join(WEIGHTS)}")
    if weights == "trained":
        trained_weights()
    return weights == "trained" or (weights == "auto" and available())


def run_checks(
    wanted: list[Check], cases: int, seed: int, trained: bool
) -> Iterator[tuple[Check, Verdict | None]]:
    """Each check with its verdict, None where there is no kernel."""
    for check in wanted:
        kernel = check.kernel
        yield check, verify(kernel, check.pair, cases, seed, trained) if kernel else None


def replay(target: str | None, words: str) -> tuple[Check, Verdict]:
    """One case again, from what a failure prints: `PAIR SIZES VALUES SEED [CAP]`.

    Raises UserError if `target` is no kernel or the words are no case of it.
    """
    if target not in KERNELS:
        name = f"'{target}' is no kernel" if target else "which kernel"
        hint = "see 'tileloom show --kernels'; one of a plugin needs its --plugin"
        raise UserError(f"--case: {name}? {hint}")
    parts = words.split()
    if len(parts) not in (4, 5):
        raise UserError(f"--case '{words}': write 'int8*int8->int32 3x5x7 random 0'")
    pair = pair_of(parts[0])
    if str(pair) not in KERNELS[target].pairs:
        known = ", ".join(KERNELS[target].pairs)
        raise UserError(f"--case: kernel '{target}' computes {known}, not {parts[0]}")
    sizes = parts[1].split("x")
    whole = len(sizes) == 3 and all(size.isdecimal() for size in sizes)
    if not whole or not all(1 <= int(size) <= LARGEST_SIZE for size in sizes):
        raise UserError(f"--case: '{parts[1]}' is not three sizes of 1 to {LARGEST_SIZE}: 3x5x7")
    if parts[2] not in VALUES:
        raise UserError(f"--case: no values '{parts[2]}'; known: {', '.join(VALUES)}")
    cap = _cap(parts[4]) if len(parts) == 5 else UNCAPPED
    if not parts[3].isdecimal() or not cap > 0:
        raise UserError(f"--case '{words}': a seed is a count, a cap a number above 0")
    rows, columns, reduction = map(int, sizes)
    case = Case((rows, columns, reduction), parts[2], int(parts[3]), cap)
    return Check(target, pair), verify_cases(target, pair, [case])


def _cap(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0  # refused with the others that are not above it


def _of_kernel(name: str) -> list[Check]:
    return [Check(name, pair_of(pair)) for pair in KERNELS[name].pairs]


def _of_pe(pe: PE) -> list[Check]:
    pairs = {key: pair_of(f"{key}->{named.accumulate}") for key, named in pe.formats.items()}
    dense = [
        Check(pe.formats[key].kernel or kernel_for(pair), pair, pe.formats[key].kernel is None)
        for key, pair in pairs.items()
    ]
    sparse = [Check(r.kernel, pairs[key]) for r in pe.sparse.values() for key in pe.pairs_of(r)]
    return dense + sparse


def _of_design(target: str) -> list[Check]:
    from accel_models.library import list_designs
    from accel_models.read_design import read_design

    if target not in list_designs() and not target.endswith((".yaml", ".yml")):
        raise UserError(
            f"'{target}' is no design, PE or kernel; see 'tileloom show --designs' or --kernels"
        )
    design = read_design(target)
    found = (check for core in design.cores.values() for check in _of_pe(core.engine.pe))
    return list(dict.fromkeys(found))
