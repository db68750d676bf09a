"""A sum of products over named ranks: C[b,m,n] += A[b,m,k] * B[b,k,n] and its relatives.

A rank's role follows from where it occurs: in all three operands it is a batch, in A and C an m, in
B and C an n, in A and B it is reduced. MACs = product of all ranks.
Not modeled here: sparse operands; more than two inputs; ranks that appear as sums (convolution).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

ROLES = ("b", "m", "n", "k")


@dataclass(frozen=True, slots=True)
class Einsum:
    """`inputs` is (activation, weight or second activation[, bias]); `spec` like "mk,nk->mn"."""

    name: str
    inputs: tuple[str, ...]
    output: str
    ranks: Mapping[str, int]
    spec: str
    kind: str = "einsum"

    @property
    def macs(self) -> int:
        return prod(self.ranks.values())

    @property
    def vector_ops(self) -> Mapping[str, int]:
        bias = len(self.inputs) == 3
        return {"add": prod(self.ranks[r] for r in self.operand_ranks()[2])} if bias else {}

    def operand_ranks(self) -> tuple[str, str, str]:
        """The rank letters of A, B and C."""
        left, output = self.spec.split("->")
        a, b = left.split(",")
        return a, b, output

    def roles(self) -> dict[str, int]:
        """Sizes by role (b, m, n, k), several ranks of one role multiplied; 1 where there is none.

        Raises ValueError if a rank occurs in only one operand.
        """
        a, b, c = (set(ranks) for ranks in self.operand_ranks())
        sizes = dict.fromkeys(ROLES, 1)
        for rank, size in self.ranks.items():
            present = (rank in a, rank in b, rank in c)
            role = {
                (True, True, True): "b",
                (True, False, True): "m",
                (False, True, True): "n",
                (True, True, False): "k",
            }.get(present)
            if role is None:
                raise ValueError(
                    f"{self.name}: rank '{rank}' of '{self.spec}' is in one operand only"
                )
            sizes[role] *= size
        return sizes
