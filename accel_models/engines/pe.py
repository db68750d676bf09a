"""A processing element: which formats it multiplies, how fast, at what energy.

A pair is written `weight*activation`, or one name for both. An operand in a narrower format that a
wider one represents exactly may be converted before the multiply (the W4A16 way); the conversion is
work of the vector engine, once per element brought into the core.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from pydantic import Field, field_validator, model_validator

from accel_models.engines.skipping import DENSE, UNSTRUCTURED, Skip, SkipRate, n_of_m
from accel_models.explain import nearest
from accel_models.facts import Facts, Rate
from accel_models.quantity import Joules, SquareMillimeters
from accel_models.reader import DesignError
from kernels_ref.formats import FORMATS, Format, get_format, hint
from kernels_ref.kernels import KERNELS, KernelError, check_takes
from kernels_ref.pairs import pair_of


class Pair(Facts):
    """One format pair of a PE."""

    macs_per_cycle: Rate = Field(description="of one PE, relative to the engine's geometry")
    accumulate: str = Field(description="format of the partial sums")
    energy: Joules = Field(description="of one multiply-accumulate")
    kernel: str | None = Field(
        default=None,
        description="reference kernel that is its arithmetic; see `tileloom show --kernels`. "
        "Default: the first that computes the pair",
    )

    @field_validator("accumulate")
    @classmethod
    def _known(cls, name: str) -> str:
        return _known_format(name)


class PE(Facts):
    """What the engine is made of."""

    name: str | None = Field(
        default=None, description="of the registered PE that this is; `pe: NAME` sets it"
    )
    formats: dict[str, Pair] = Field(min_length=1)
    dequantize: Literal["before_multiply", "after_group"] = Field(
        default="before_multiply",
        description="where the scales of weights that the PE takes as they are get applied: to "
        "every weight that enters a core, or to the sums after every group",
    )
    sparse: dict[str, SkipRate] = Field(
        default={},
        description="zeros of weights that it skips: `n:m` (n of every m along the reduction kept) "
        "or `unstructured`",
    )
    area: SquareMillimeters | None = Field(default=None, description="of one PE")

    @field_validator("formats")
    @classmethod
    def _kernels_take_their_pairs(cls, formats: dict[str, Pair]) -> dict[str, Pair]:
        for key, pair in formats.items():
            if pair.kernel is not None:
                try:
                    check_takes(pair.kernel, pair_of(f"{key}->{pair.accumulate}"))
                except KernelError as problem:
                    raise ValueError(f"{key}: {problem}") from None
        return formats

    @field_validator("sparse")
    @classmethod
    def _patterns(cls, sparse: dict[str, SkipRate]) -> dict[str, SkipRate]:
        for key in sparse:
            if key != UNSTRUCTURED and n_of_m(key) is None:
                raise ValueError(f"'{key}' is no pattern; write n:m as in 2:4, or {UNSTRUCTURED}")
        return sparse

    @model_validator(mode="after")
    def _sparse_pairs(self) -> PE:
        for key, rate in self.sparse.items():
            for name in rate.formats or ():
                if name not in self.formats:
                    known = nearest(name, list(self.formats))
                    raise ValueError(f"sparse {key}: no pair '{name}' in formats; {known}")
            if rate.kernel is not None and not self.pairs_of(rate):
                raise ValueError(f"sparse {key}: kernel '{rate.kernel}' computes none of its pairs")
        return self

    def pairs_of(self, rate: SkipRate) -> list[str]:
        """Pairs whose arithmetic, with zeros skipped, the kernel that it names is. Raises
        ValueError for an unknown kernel."""
        if rate.kernel is None:
            return []
        if rate.kernel not in KERNELS:
            raise ValueError(
                f"unknown kernel '{rate.kernel}'; {nearest(rate.kernel, list(KERNELS))}"
            )
        pairs = {
            key: str(pair_of(f"{key}->{self.formats[key].accumulate}"))
            for key in rate.formats or self.formats
        }
        return [key for key, pair in pairs.items() if pair in KERNELS[rate.kernel].pairs]


@dataclass(frozen=True, slots=True)
class Datapath:
    """The pair that runs an op, and which operands are converted on the way in."""

    key: str  # as written in the design
    pair: Pair = field(hash=False)  # its sources may be mappings; the key tells pairs apart
    weight: Format
    activation: Format
    convert_weight: bool
    convert_activation: bool
    skip: Skip = DENSE  # of sparse weights: what is done with their zeros

    @property
    def energy(self) -> float:
        """Joules of a MAC of the dense operation."""
        return self.pair.energy * self.skip.done


def takes(pe: PE, weight: Format, activation: Format) -> bool:
    """Does some pair represent both operands exactly?"""
    return bool(_pairs(pe, weight, activation))


def choose_datapath(pe: PE, weight: Format, activation: Format, where: str) -> Datapath:
    """The fastest pair that represents both operands exactly.

    Raises DesignError naming the pairs there are if none does.
    """
    found = _pairs(pe, weight, activation)
    if not found:
        raise DesignError(
            f"{where}: no PE multiplies {weight.element} weights by {activation.element} "
            f"activations exactly; it has {', '.join(pe.formats)}; {formats_hint(pe)}"
        )
    return max(
        found, key=lambda d: (d.pair.macs_per_cycle, -d.convert_weight, -d.convert_activation)
    )


def _pairs(pe: PE, weight: Format, activation: Format) -> list[Datapath]:
    found: list[Datapath] = []
    for key, pair in pe.formats.items():
        w, _, a = key.partition("*")
        wide_w, wide_a = get_format(w), get_format(a or w)
        coded = _as_unsigned(wide_w, weight)
        if (coded or represents(wide_w, weight)) and represents(wide_a, activation):
            converted = wide_w.element != weight.element and not coded
            convert = (converted, wide_a.element != activation.element)
            found.append(Datapath(key, pair, wide_w, wide_a, *convert))
    return found


def _as_unsigned(wide: Format, narrow: Format) -> bool:
    """Does a PE for unsigned weights take these codes? With a zero-point they are unsigned; signed
    ones become so offline, by a constant zero-point."""
    signed = narrow.kind in ("int", "ternary")
    return wide.kind == "uint" and signed and narrow.bits <= wide.bits


def formats_hint(pe: PE) -> str:
    """What to write after --formats so that this PE takes it."""
    names = []
    for key in pe.formats:
        w, _, a = key.partition("*")
        weight, activation = get_format(w), get_format(a or w)
        if weight == activation and weight.kind == "float":
            names.append(weight.name)
        elif weight.kind == "int" and (activation.bits == 16 or activation.element == "int8"):
            names.append(f"w{weight.bits}a{activation.bits}")
    options = " or ".join(dict.fromkeys(names))
    return f"try --formats {options}" if options else "choose others with --formats"


def represents(wide: Format, narrow: Format) -> bool:
    """True if every element value of `narrow` (its scale aside) is one of `wide`."""
    w, n = wide.of, narrow.of
    if w.name == n.name:
        return True
    if w.kind == "codebook":
        return False
    if n.kind == "codebook":  # its table holds 16-bit numbers, of the kind that is multiplied
        return w.kind == "float" and w.bits >= 16
    within = w.lowest <= n.lowest and n.max_finite <= w.max_finite
    if n.kind == "float":
        finer = n.mantissa <= w.mantissa and w.smallest <= n.smallest
        return w.kind == "float" and within and finer
    if w.kind == "bipolar":  # odd numbers only
        return n.kind == "bipolar" and within
    if w.kind == "float":  # every integer up to 2^(mantissa + 1), and that power itself
        return within and n.max_finite <= 2.0 ** (w.mantissa + 1)
    return within


def _known_format(name: str) -> str:
    if name not in FORMATS:
        raise ValueError(f"unknown number format '{name}'; {hint(name)}")
    return name
