"""A layer of experts: every token's row times the matrix of each expert that it is routed to.

One kernel multiplies all experts' rows (a grouped GEMM). `loads` says how the rows fall: pairs of
(experts, rows of each), so that rows in all are tokens times experts per token. Experts that get no
row are not read, though all of them are stored. MACs = rows * n * k.
That is the order expert by expert. `by_token` is the other, token by token: every row fetches the
matrix of its expert anew, so that rows matrices are read instead of those of the active experts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from workloads.graph import GraphError
from workloads.ops.einsum import Einsum


@dataclass(frozen=True, slots=True)
class Experts:
    """`inputs` is (rows [rows, k], weights [experts, n, k][, biases [experts, n]]); for gradients
    `of_weights`, (gradients of what the experts made [rows, n], rows [rows, k])."""

    name: str
    inputs: tuple[str, ...]
    output: str
    loads: tuple[tuple[int, int], ...]
    n: int
    k: int
    by_token: bool = False
    of_weights: bool = False
    kind: str = "experts"

    def __post_init__(self) -> None:
        if not self.loads or any(size < 1 for load in self.loads for size in load):
            raise GraphError(f"{self.name}: loads are {self.loads}; pairs of positive numbers")

    @property
    def rows(self) -> int:
        return sum(experts * rows for experts, rows in self.loads)

    @property
    def active(self) -> int:
        """Experts that get a row."""
        return sum(experts for experts, _ in self.loads)

    @property
    def macs(self) -> int:
        return self.rows * self.n * self.k

    @property
    def vector_ops(self) -> Mapping[str, float]:
        return {"add": self.rows * self.n} if len(self.inputs) == 3 else {}

    def parts(self) -> tuple[Einsum, ...]:
        """A batched multiplication for each load; or one of single rows."""
        loads = ((self.rows, 1),) if self.by_token else self.loads
        return tuple(
            Einsum(
                self.name,
                self.inputs,
                self.output,
                {"e": experts, "m": rows, "n": self.n, "k": self.k},
                "emn,emk->enk" if self.of_weights else "emk,enk->emn",
            )
            for experts, rows in loads
        )


def balanced(rows: int, experts: int) -> tuple[tuple[int, int], ...]:
    """Loads that differ by one row at most."""
    each, more = divmod(rows, experts)
    found = ((more, each + 1), (experts - more, each))
    return tuple((count, size) for count, size in found if count and size)
