"""Whom AccelForge's set expressions mean: tensors as our operands, and the names of its ranks.

`renames` call an einsum's tensors input, weight and output; without a workload they are all there
is. `All`, `Inputs`, `Outputs`, `Intermediates` (none, one einsum at a time), and a memory's name:
what it keeps.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from accel_models.memory import OPERANDS
from sim.importers.accelforge_einsums import einsums_of
from sim.importers.arithmetic import members, worked_out
from sim.importers.foreign import Block
from sim.importers.machine import Notes
from sim.importers.ranks import MATMUL, Dim, Workload, workload_of

EVERYTHING = frozenset(OPERANDS)
_ROLES = {"input": "activation", "weight": "weight", "output": "output"}
_BOUND = re.compile(r"\s*0\s*<=\s*(\w+)\s*<\s*(.+?)\s*")
_TERM = re.compile(r"\s*(?:(\d+)\s*\*\s*)?([A-Za-z_]\w*)\s*(?:\*\s*(\d+))?\s*")


@dataclass(slots=True)
class Tensors:
    """What names stand for; `kept` grows as memories are read."""

    work: Workload = MATMUL
    others: tuple[Workload, ...] = ()
    kept: dict[str, frozenset[str]] = field(default_factory=dict)

    def of(self, block: Block, key: str) -> frozenset[str] | None:
        """Our operands of the set at this key; None if not given. Raises ForeignFileError."""
        value = block.get(key)
        if value is None:
            return None
        try:
            return members(value, self.names(), EVERYTHING)
        except ValueError as problem:
            raise block.error(f"{key}: {problem}", key) from None

    def names(self) -> dict[str, frozenset[str]]:
        """Every name of a set of tensors."""
        inputs = frozenset({"activation", "weight"})
        found = {"Inputs": inputs, "Outputs": frozenset({"output"}), "Persistent": frozenset()}
        found |= {"Intermediates": frozenset(), "Shared": frozenset()}
        found |= {role: frozenset({operand}) for role, operand in _ROLES.items()}
        found |= {name: frozenset({operand}) for name, operand in self.work.tensors.items()}
        return found | self.kept

    def numbers(self) -> dict[str, float]:
        """Bits of a value, as expressions call them."""
        return {
            f"{name}.bits_per_value": float(self.work.bits.get(operand, 8))
            for name, operand in [*_ROLES.items(), *self.work.tensors.items()]
        }

    def irrelevant(self, operands: frozenset[str]) -> tuple[str, ...]:
        """Ranks that none of these operands has: a loop over one reuses them all. Of every
        computation, as the machine is the same for all."""
        found: dict[str, None] = {}
        for work in (self.work, *self.others):
            ranks = list(dict.fromkeys(work.names.values())) or list("bmnk")
            held = frozenset[str]().union(*(work.relevant(o) for o in operands))
            found |= dict.fromkeys(rank for rank in ranks if rank not in held)
        return tuple(found)


def workloads_of(document: Block, notes: Notes) -> list[Workload]:
    """The einsums with two inputs and an output; others are listed. Raises ForeignFileError."""
    workload = document.block("workload")
    shape, sizes = workload.block("iteration_space_shape"), workload.block("rank_sizes")
    bits = workload.block("bits_per_value")
    defaults = _default_renames(document.block("renames"))
    found = []
    for einsum in einsums_of(workload):
        name = str(einsum.need("name"))
        accesses = einsum.blocks("tensor_accesses")
        inputs = [a for a in accesses if not a.get("output")]
        if len(inputs) != 2 or len(accesses) != 3:
            notes.drop(
                einsum.place, f"einsum {name}", "a computation here has two inputs, one output"
            )
            einsum.pass_over()
            continue
        tensors = _operands(einsum, accesses, defaults)
        dims = {tensors[str(a.need("name"))]: _dims(a) for a in accesses}
        extents = _extents(dims, (shape, sizes), einsum)
        words = {}
        for access in accesses:
            tensor = str(access.need("name"))
            own = access.count("bits_per_value")
            words[tensors[tensor]] = own or _bits(bits, tensor) or 8
        found.append(workload_of(name, dims, extents, tensors, words, einsum))
    return found


def _default_renames(renames: Block) -> dict[str, str]:
    """Tensors that the file's own renames call input, weight or output."""
    found = {}
    for einsum in renames.blocks("einsums"):
        einsum.get("name")
        for access in einsum.blocks("tensor_accesses"):
            access.get("expected_count")
            found[str(access.get("source"))] = str(access.get("name"))
    return found


def _operands(einsum: Block, accesses: list[Block], defaults: Mapping[str, str]) -> dict[str, str]:
    """Our operand of each tensor: as renamed; else the first input is the activation."""
    renames = einsum.get("renames")
    called: dict[str, str] = dict(defaults)
    if isinstance(renames, Block):
        called |= {str(renames.get(role)): role for role in renames.data}
    found: dict[str, str] = {}
    inputs = [str(a.need("name")) for a in accesses if not a.get("output")]
    for access in accesses:
        name = str(access.need("name"))
        if access.get("output"):
            found[name] = "output"
        elif called.get(name) in ("input", "weight"):
            found[name] = _ROLES[called[name]]
    for name in inputs:
        if name not in found:
            other = {found.get(n) for n in inputs}
            first = "activation" if "activation" not in other else "weight"
            found[name] = first
    return found


def _dims(access: Block) -> tuple[Dim, ...]:
    """A projection: a list of rank variables, or ranks with expressions such as `2*p + r`."""
    projection = access.get("projection")
    if isinstance(projection, Block):
        words = [str(projection.get(rank)) for rank in projection.data]
    elif isinstance(projection, list):
        words = [str(word) for word in projection]
    else:
        raise access.error("projection must be a list of rank variables or a mapping", "projection")
    dims = []
    for word in words:
        terms = []
        for part in word.split("+"):
            match = _TERM.fullmatch(part)
            if not match:
                raise access.error(f"'{word}' is not a sum of rank variables", "projection")
            terms.append((match[2], int(match[1] or match[3] or 1)))
        dims.append(tuple(terms))
    return tuple(dims)


def _extents(
    dims: Mapping[str, tuple[Dim, ...]], known: tuple[Block, Block], einsum: Block
) -> dict[str, int]:
    """Sizes of the rank variables: `0 <= m < 128`, or those of the ranks of the same name."""
    shape, sizes = known
    own = einsum.get("iteration_space_shape", default=[])
    bounds = [_BOUND.fullmatch(str(text)) for text in (own if isinstance(own, list) else [own])]
    here = {bound[1]: bound[2] for bound in bounds if bound}
    found: dict[str, int] = {}
    for rank in dict.fromkeys(r for theirs in dims.values() for dim in theirs for r, _ in dim):
        bound = _BOUND.fullmatch(str(shape.get(rank, default="")))
        value: Any = here.get(rank) or (bound[2] if bound else sizes.get(rank.upper()))
        try:
            found[rank] = int(worked_out(value, {}))
        except (ValueError, OverflowError):
            raise einsum.error(f"the size of {rank} is not given as 0 <= {rank} < N") from None
    return found


def _bits(bits: Block, tensor: str) -> int | None:
    """Of the workload's own list, by name or for all."""
    return bits.count(tensor) if tensor in bits.data else bits.count("All")
