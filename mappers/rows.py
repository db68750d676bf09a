"""Many partial mappings at once, as columns of arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mappers.mapping import RANKS
from mappers.problem import Contraction

Sizes = dict[str, np.ndarray]


@dataclass(frozen=True)
class Rows:
    """Many partial mappings: per own level (path index) tile, split and order code; an engine
    grid."""

    tile: dict[int, Sizes]
    split: dict[int, Sizes]
    order: dict[int, np.ndarray]
    grid: tuple[np.ndarray, np.ndarray]  # engines of a core along m and n

    def __len__(self) -> int:
        return len(self.grid[0])

    def take(self, index: np.ndarray) -> Rows:
        """The rows at these positions."""

        def pick(sizes: Sizes) -> Sizes:
            return {r: a[index] for r, a in sizes.items()}

        return Rows(
            {i: pick(s) for i, s in self.tile.items()},
            {i: pick(s) for i, s in self.split.items()},
            {i: a[index] for i, a in self.order.items()},
            (self.grid[0][index], self.grid[1][index]),
        )


def concatenate(parts: list[Rows]) -> Rows:
    """One Rows of all."""
    first = parts[0]

    def join(field: str, i: int, r: str) -> np.ndarray:
        return np.concatenate([getattr(p, field)[i][r] for p in parts])

    return Rows(
        {i: {r: join("tile", i, r) for r in RANKS} for i in first.tile},
        {i: {r: join("split", i, r) for r in RANKS} for i in first.split},
        {i: np.concatenate([p.order[i] for p in parts]) for i in first.order},
        (
            np.concatenate([p.grid[0] for p in parts]),
            np.concatenate([p.grid[1] for p in parts]),
        ),
    )


def distinct(rows: Rows, problem: Contraction, index: int) -> Rows:
    """One of each: sizes that were cut to the extent, and orders of loops that do not loop."""
    tile, inner = rows.tile[index], next(i for i in sorted(rows.tile) if i > index)
    loops = sum((tile[r] < problem.extents[r]).astype(np.int64) for r in "mnk")
    rows.order[index][loops < 2] = 0
    columns = [rows.order[index], *rows.grid, rows.order[inner]]
    columns += [s[r] for s in (tile, rows.tile[inner], rows.split[inner]) for r in RANKS]
    mixed = np.zeros(len(rows), dtype=np.int64)
    for column in columns:  # a 64-bit mix: comparing whole rows is ten times slower
        mixed = (mixed ^ column) * -7046029254386353131
        mixed ^= mixed >> 29
    _, first = np.unique(mixed, return_index=True)
    return rows.take(np.sort(first))
