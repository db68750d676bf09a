"""A sum of products over named ranks: C[b,m,n] += A[b,m,k] * B[b,k,n] and its relatives.

A rank's role follows from where it occurs: in all three operands it is a batch, in A and C an m, in
B and C an n, in A and B it is reduced. MACs = product of all ranks.

A convolution is the product that implicit GEMM computes: m runs over output positions, k over taps
and the channels of a group, b over groups. Its `window` says how positions and taps meet, and so
that A as it lies in memory is smaller than m by k: taps of neighbors overlap.
Not modeled here: sparsity (a property of B's tensor); more than two inputs; transposed convolution.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

from workloads.graph import GraphError

ROLES = ("b", "m", "n", "k")


@dataclass(frozen=True, slots=True)
class Window:
    """How a convolution slides: sizes along each spatial axis, outermost first. `channels` and
    `size` are of the whole input, padding left out; padded taps are counted as MACs."""

    channels: int
    size: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]

    def taken(self) -> float:
        """Share of the input's positions that some output reads."""
        shares = (
            1.0 if dilation * (kernel - 1) + 1 >= stride else min(1.0, kernel / stride)
            for kernel, stride, dilation in zip(
                self.kernel, self.stride, self.dilation, strict=True
            )
        )
        return prod(shares)


@dataclass(frozen=True, slots=True)
class Einsum:
    """`inputs` is (activation, weight or second activation[, bias]); `spec` like "mk,nk->mn"."""

    name: str
    inputs: tuple[str, ...]
    output: str
    ranks: Mapping[str, int]
    spec: str
    window: Window | None = None
    kind: str = "einsum"

    @property
    def macs(self) -> int:
        return prod(self.ranks.values())

    @property
    def vector_ops(self) -> Mapping[str, int]:
        bias = len(self.inputs) == 3
        return {"add": prod(self.ranks[r] for r in self.operand_ranks()[2])} if bias else {}

    @property
    def reduces_rows(self) -> bool:
        """Is B contiguous along a rank that is reduced?"""
        a, b, c = self.operand_ranks()
        return b[-1] in a and b[-1] not in c

    def operand_ranks(self) -> tuple[str, str, str]:
        """The rank letters of A, B and C."""
        left, output = self.spec.split("->")
        a, b = left.split(",")
        return a, b, output

    def roles(self) -> dict[str, int]:
        """Sizes by role (b, m, n, k), several ranks of one role multiplied; 1 where there is none.

        Raises GraphError if a rank occurs in only one operand.
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
                raise GraphError(
                    f"{self.name}: rank '{rank}' of '{self.spec}' is in one operand only"
                )
            sizes[role] *= size
        return sizes
