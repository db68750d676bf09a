"""How often each operand's tile is brought in: exact counts from tile sizes and loop order.

An operand's tile stays while the loops inside its innermost relevant loop run (Parashar et al.,
Timeloop, ISPASS 2019, sec. V-B). Over the whole execution an operand moves

    elements = (product of its ranks' extents) * (product over its other ranks of c_r)

c_r counting the steps of rank r through the deepest level whose r-loop lies outside the innermost
relevant loop with more than one trip, and the copies made by spatial splits further in. Because
tiles partition each rank (ragged edges included), the first factor is exact; counts of steps are
exact for aligned nesting. Not modeled: reuse that exists only in a ragged edge tile; caches'
conflict misses.
"""

from __future__ import annotations

from collections.abc import Mapping as Map
from dataclasses import dataclass, field
from math import prod

import numpy as np

from accel_models.engines.tile import Number, ceil_div
from accel_models.path import Path
from mappers.mapping import OPERAND_RANKS, RANKS, Mapping


@dataclass(frozen=True)
class Nest:
    """A mapping's loops over a problem, and counts that several formulas ask for (kept once
    made)."""

    mapping: Mapping
    path: Path
    extents: Map[str, int]
    _ratios: dict[tuple[int, str], Number] = field(default_factory=dict)
    _trips: dict[tuple[int, str], Number] = field(default_factory=dict)
    _tiles: dict[tuple[int, str], Number] = field(default_factory=dict)

    def ratio(self, level: int, rank: str) -> Number:
        """Tiles of this level in one full tile of its parent."""
        if (level, rank) not in self._ratios:
            levels = self.mapping.levels
            count = ceil_div(levels[level - 1].tile[rank], levels[level].tile[rank])
            self._ratios[level, rank] = count
        return self._ratios[level, rank]

    def trips(self, level: int, rank: str) -> Number:
        """Temporal steps of this level's loop over `rank` in one full tile of the parent."""
        if (level, rank) not in self._trips:
            split = self.mapping.levels[level].spatial[rank]
            self._trips[level, rank] = ceil_div(self.ratio(level, rank), split)
        return self._trips[level, rank]

    def tiles(self, level: int, rank: str) -> Number:
        """Tiles of this level along `rank` in all."""
        if (level, rank) not in self._tiles:
            tile = self.mapping.levels[level].tile[rank]
            self._tiles[level, rank] = ceil_div(self.extents[rank], tile)
        return self._tiles[level, rank]

    def shared(self, level: int, rank: str) -> Number:
        """Of this level's split over `rank`, how many instances one parent access serves.

        A read multicasts to so many; sums of a split over k are reduced on the way up.
        """
        parent, split = self.path.levels[level - 1], self.mapping.levels[level].spatial[rank]
        if rank == "k":
            return split if parent.reduction else 1
        return np.minimum(split, parent.multicast) if parent.multicast > 1 else 1

    def steps(self, level: int, rank: str, merged: bool) -> Number:
        """Steps over `rank` from the outermost level through `level`, ragged edges exact.

        Spatial copies count as steps, except, if `merged`, those that one parent access serves.
        """
        inward = range(1, level + 1)
        if not merged or all(isinstance(self.shared(i, rank), int) for i in inward):
            return self.tiles(level, rank)
        full, edge = 0, self.extents[rank]
        for i in inward:
            share = self.shared(i, rank)
            tile = self.mapping.levels[i].tile[rank]
            in_edge = ceil_div(edge, tile)
            full = full * ceil_div(self.ratio(i, rank), share) + ceil_div(in_edge, share) - 1
            edge = edge - (in_edge - 1) * tile
        return full + 1


def moved_elements(nest: Nest, operand: str, level: int, merged: bool) -> Number:
    """Elements of `operand` that cross into `level` in all.

    `merged`: as the parent sees it, a multicast read (or a reduced write) counting once.
    """
    relevant = OPERAND_RANKS[operand]
    total: Number = prod(nest.extents[r] for r in relevant)
    included = _included(nest, relevant, level)
    for rank in RANKS:
        if rank not in relevant:
            total = total * _copies(nest, rank, level, included, merged)
    return total


def _included(nest: Nest, relevant: str, level: int) -> dict[tuple[int, str], Number]:
    """For each level and irrelevant rank: is its loop outside the innermost relevant one?"""
    seen: Number = False
    found: dict[tuple[int, str], Number] = {}
    for i in range(level, 0, -1):
        for rank in reversed(nest.mapping.levels[i].order):
            if rank in relevant:
                seen = np.logical_or(seen, nest.trips(i, rank) > 1)
            else:
                found[i, rank] = seen
    return found


def _copies(
    nest: Nest, rank: str, level: int, included: dict[tuple[int, str], Number], merged: bool
) -> Number:
    """c_r: steps through the deepest included level, times the copies of splits further in."""
    result: Number = 1
    for i in range(1, level + 1):  # from the outermost: a deeper inclusion replaces an outer one
        split = np.minimum(nest.mapping.levels[i].spatial[rank], nest.ratio(i, rank))
        if merged:
            split = ceil_div(split, nest.shared(i, rank))
        result = np.where(included[i, rank], nest.steps(i, rank, merged), result * split)
    return result


def busy_steps(
    nest: Nest, rank: str, extent: Number, first: int, last: int
) -> tuple[Number, Number, Number]:
    """(full steps, size of a full tile, size of the last step's tile) of the busiest instance.

    Levels `first`..`last`, starting from `extent` elements in their parent. The last step of a
    split is as long as its largest tile.
    """
    full: Number = 0
    edge = extent
    for i in range(first, last + 1):
        tile, split = nest.mapping.levels[i].tile[rank], nest.mapping.levels[i].spatial[rank]
        in_edge = ceil_div(edge, tile)
        edge_steps = ceil_div(in_edge, split)
        alone = in_edge - (edge_steps - 1) * split == 1
        remainder = edge - (in_edge - 1) * tile
        full = full * nest.trips(i, rank) + edge_steps - 1
        edge = np.where(alone, remainder, tile)
    return full, nest.mapping.levels[last].tile[rank], edge
