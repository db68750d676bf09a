"""A computation of theirs in our names: operands, ranks and sizes.

A dimension of theirs is m, n, k or b by the operands it indexes (activation and output: m, weight
and output: n, both inputs: k, all three: b). Where a role has one dimension only, that is its name
here, so that matrix multiplications come out as b, m, n, k whatever they were called; dimensions
that share a role (a convolution's) keep their names, in lower case.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from accel_models.memory import OPERANDS
from sim.importers.foreign import Block

Dim = tuple[tuple[str, int], ...]
ROLES = {
    frozenset({"activation", "weight", "output"}): "b",
    frozenset({"activation", "output"}): "m",
    frozenset({"weight", "output"}): "n",
    frozenset({"activation", "weight"}): "k",
}


@dataclass(frozen=True, slots=True)
class Workload:
    """`names` maps their dimensions to ours; `dims` says which ranks (times strides) index each
    dimension of an operand; `tensors` maps their tensors to operands."""

    name: str
    ranks: Mapping[str, int] = field(default_factory=dict)
    dims: Mapping[str, tuple[Dim, ...]] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    tensors: Mapping[str, str] = field(default_factory=dict)
    bits: Mapping[str, int] = field(default_factory=dict)

    @property
    def matmul(self) -> str | None:
        """`MxNxK`, if it is one."""
        ranks = {rank: size for rank, size in self.ranks.items() if size > 1}
        if not set(ranks) <= {"m", "n", "k"} or not self.ranks:
            return None
        return "x".join(str(ranks.get(rank, 1)) for rank in "mnk")

    def document(self) -> dict[str, Any]:
        """Plain values for JSON."""
        found: dict[str, Any] = {"name": self.name, "ranks": dict(self.ranks)}
        if self.matmul:
            found["matmul"] = self.matmul
        else:
            found["dims"] = {
                operand: [[list(term) for term in dim] for dim in dims]
                for operand, dims in self.dims.items()
            }
        return found | ({"bits": dict(self.bits)} if self.bits else {})

    def relevant(self, operand: str) -> frozenset[str]:
        """Our ranks that index the operand."""
        return frozenset(rank for dim in self.dims[operand] for rank, _ in dim)


MATMUL = Workload(
    "matmul",
    dims={
        "activation": ((("b", 1),), (("m", 1),), (("k", 1),)),
        "weight": ((("b", 1),), (("k", 1),), (("n", 1),)),
        "output": ((("b", 1),), (("m", 1),), (("n", 1),)),
    },
    names={rank: rank for rank in "bmnk"},
    tensors={operand: operand for operand in OPERANDS},
)


def roles_of(dims: Mapping[str, tuple[Dim, ...]]) -> dict[str, str]:
    """The role of each of their dimensions; those that index one operand only have none."""
    uses: dict[str, set[str]] = {}
    for operand, theirs in dims.items():
        for dim in theirs:
            for rank, _ in dim:
                uses.setdefault(rank, set()).add(operand)
    return {rank: ROLES.get(frozenset(used), "") for rank, used in uses.items()}


def our_names(roles: Mapping[str, str], sizes: Mapping[str, int]) -> dict[str, str]:
    """Their dimensions' names here; a dimension of size 1 does not make a role crowded."""
    found: dict[str, str] = {}
    for role in ("b", "m", "n", "k", ""):
        crowd = [rank for rank, its in roles.items() if its == role]
        large = [rank for rank in crowd if sizes.get(rank, 2) > 1]
        alone = large[0] if len(large) == 1 else crowd[0] if len(crowd) == 1 else None
        for rank in crowd:
            name = rank.lower()
            while name in "bmnk" or name in found.values():
                name += "0"
            found[rank] = role if rank == alone and role else name
    return found


def workload_of(
    name: str,
    dims: Mapping[str, tuple[Dim, ...]],
    sizes: Mapping[str, int],
    tensors: Mapping[str, str],
    bits: Mapping[str, int],
    where: Block,
) -> Workload:
    """A computation from their dimensions (`dims` by our operands) and sizes. Raises
    ForeignFileError at `where`."""
    roles = roles_of(dims)
    for rank, role in roles.items():
        if not role or sizes.get(rank, 0) < 1:
            what = "indexes one operand only" if not role else "has no size"
            raise where.error(f"dimension '{rank}' {what}; a product of two tensors is expected")
    if set(dims) != set(OPERANDS):
        raise where.error("a computation here has two inputs and one output")
    names = our_names(roles, sizes)
    if any(name in "bmnk" for name in names.values()):
        used = [rank for rank in names if sizes.get(rank, 2) > 1 or names[rank] in "bmnk"]
    else:
        used = list(names)
    ours = {
        operand: tuple(
            kept
            for dim in theirs
            if (kept := tuple((names[rank], times) for rank, times in dim if rank in used))
        )
        for operand, theirs in dims.items()
    }
    ranks = {names[rank]: sizes[rank] for rank in names if rank in used and rank in sizes}
    return Workload(name, _in_order(ranks), ours, names, tensors, bits)


def _in_order(ranks: Mapping[str, int]) -> dict[str, int]:
    """b, m, n, k first."""
    first = [rank for rank in ("b", "m", "n", "k") if rank in ranks]
    return {rank: ranks[rank] for rank in [*first, *(r for r in ranks if r not in first)]}
