"""How often each operand's tile is brought in: exact counts from tile sizes and loop order.

An operand's tile stays while the loops inside its innermost relevant loop run (Parashar et al.,
Timeloop, ISPASS 2019, sec. V-B). Over the whole execution an operand moves

    elements = (product of its ranks' extents) * (product over its other ranks of c_r)

c_r counting the steps of rank r through the deepest level whose r-loop lies outside the innermost
relevant loop with more than one trip, and the copies made by spatial splits further in. Because tiles
partition each rank (ragged edges included), the first factor is exact; counts of steps are exact
for aligned nesting. Not modeled: reuse that exists only in a ragged edge tile; caches' conflict misses.
"""

from __future__ import annotations

from collections.abc import Mapping as Map
from math import prod

import numpy as np

from accel_models.engines.tile import Number, ceil_div
from accel_models.path import Path
from mappers.mapping import OPERAND_RANKS, RANKS, Mapping


def ratio(mapping: Mapping, level: int, rank: str) -> Number:
    """Tiles of this level in one full tile of its parent."""
    return ceil_div(mapping.levels[level - 1].tile[rank], mapping.levels[level].tile[rank])


def trips(mapping: Mapping, level: int, rank: str) -> Number:
    """Temporal steps of this level's loop over `rank` in one full tile of the parent."""
    return ceil_div(ratio(mapping, level, rank), mapping.levels[level].spatial[rank])


def steps_through(
    mapping: Mapping, path: Path, level: int, rank: str, extent: int, merged: bool
) -> Number:
    """Steps over `rank` from the outermost level through `level`, ragged edges exact.

    Spatial copies count as steps, except, if `merged`, where the parent multicasts.
    """
    if not merged or not any(_merges(path, i, rank) for i in range(1, level + 1)):
        return ceil_div(extent, mapping.levels[level].tile[rank])
    full, edge = 0, extent
    for i in range(1, level + 1):
        tile = mapping.levels[i].tile[rank]
        share = mapping.levels[i].spatial[rank] if _merges(path, i, rank) else 1
        per_full = ceil_div(ratio(mapping, i, rank), share)
        in_edge = ceil_div(edge, tile)
        full = full * per_full + ceil_div(in_edge, share) - 1
        edge = edge - (in_edge - 1) * tile
    return full + 1


def moved_elements(
    operand: str, level: int, mapping: Mapping, path: Path, extents: Map[str, int], merged: bool
) -> Number:
    """Elements of `operand` that cross into `level` in all.

    `merged`: as the parent sees it, a multicast read (or a reduced write) counting once.
    """
    relevant = OPERAND_RANKS[operand]
    total = prod(extents[r] for r in relevant)
    included = _included(relevant, level, mapping)
    for rank in RANKS:
        if rank not in relevant:
            total = total * _copies(rank, level, mapping, path, extents[rank], included, merged)
    return total


def _included(relevant: str, level: int, mapping: Mapping) -> dict[tuple[int, str], Number]:
    """For each level and irrelevant rank: is its loop outside the innermost relevant one?"""
    seen: Number = False
    found: dict[tuple[int, str], Number] = {}
    for i in range(level, 0, -1):
        for rank in reversed(mapping.levels[i].order):
            if rank in relevant:
                seen = np.logical_or(seen, trips(mapping, i, rank) > 1)
            else:
                found[i, rank] = seen
    return found


def _copies(
    rank: str,
    level: int,
    mapping: Mapping,
    path: Path,
    extent: int,
    included: dict[tuple[int, str], Number],
    merged: bool,
) -> Number:
    """c_r: steps through the deepest included level, times the copies of splits further in."""
    result: Number = 1
    for i in range(1, level + 1):  # from the outermost: a deeper inclusion replaces an outer one
        through = steps_through(mapping, path, i, rank, extent, merged)
        split = np.minimum(mapping.levels[i].spatial[rank], ratio(mapping, i, rank))
        inward = result if merged and _merges(path, i, rank) else result * split
        result = np.where(included.get((i, rank), False), through, inward)
    return result


def _merges(path: Path, level: int, rank: str) -> bool:
    """Does the parent serve a split over `rank` by one read, or take one sum for it?"""
    parent = path.levels[level - 1]
    return parent.reduction if rank == "k" else parent.multicast


def busy_steps(
    mapping: Mapping, rank: str, extent: Number, first: int, last: int
) -> tuple[Number, Number, Number]:
    """(full steps, size of a full tile, size of the last step's tile) of the busiest instance.

    Levels `first`..`last`, starting from `extent` elements in their parent. The last step of a
    split is as long as its largest tile.
    """
    full: Number = 0
    edge = extent
    for i in range(first, last + 1):
        tile, split = mapping.levels[i].tile[rank], mapping.levels[i].spatial[rank]
        in_edge = ceil_div(edge, tile)
        edge_steps = ceil_div(in_edge, split)
        alone = in_edge - (edge_steps - 1) * split == 1
        remainder = edge - (in_edge - 1) * tile
        full = full * trips(mapping, i, rank) + edge_steps - 1
        edge = np.where(alone, remainder, tile)
    return full, mapping.levels[last].tile[rank], edge
