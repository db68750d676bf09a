"""How often each operand's tile is brought in: counts from tile sizes and loop order.

An operand's tile stays while the loops inside its innermost relevant loop run (Parashar et al.,
Timeloop, ISPASS 2019, sec. V-B). Over the whole execution an operand moves

    elements = (product over its dimensions of d) * (product over ranks it does not have of c_r)

c_r counts the steps of rank r through the deepest level whose r-loop lies outside the innermost
relevant loop with more than one trip, and the copies made by spatial splits further in. A dimension
of one rank has d = its extent, since tiles partition it, ragged edges included. A dimension that is
a sum of ranks (p * stride + r of a convolution) is brought in tile by tile with its halo: d is the
sum over pairs of tiles of the coordinates that the pair touches, where tiles that one read serves
are one; where such a rank's loop is the innermost with more than one trip, the rank is not split
and the window has no gaps, it slides, and only what it has not seen is brought in (by each instance
for itself).
Cores that are dealt their tiles (`dispatch: dynamic`) start each of them afresh: nothing stays from
one to the next, and so many neighbors as one read serves share what they have in common.
Not modeled: reuse that exists only in a ragged edge tile; caches' conflict misses; overlap of two
tiles' halos other than by sliding or multicast.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod

from accel_models.engines.tile import ceil_div
from accel_models.path import Path
from mappers.mapping import Mapping
from mappers.problem import Contraction, Dim, span


@dataclass(frozen=True)
class Nest:
    """A mapping's loops over a problem, and counts that several formulas ask for."""

    mapping: Mapping
    path: Path
    problem: Contraction
    _tiles: dict[tuple[int, str], int] = field(default_factory=dict)

    def dealt(self, level: int, rank: str) -> bool:
        """Are this level's tiles along `rank` dealt to cores as they fall free?"""
        path = self.path
        return (
            path.control.dispatch == "dynamic"
            and level == path.first_core
            and self.problem.roles[rank] != "k"
        )

    def ratio(self, level: int, rank: str) -> int:
        """Tiles of this level in one full tile of its parent."""
        levels = self.mapping.levels
        return ceil_div(levels[level - 1].tile[rank], levels[level].tile[rank])

    def trips(self, level: int, rank: str) -> int:
        """Temporal steps of this level's loop over `rank` in one full tile of the parent."""
        return ceil_div(self.ratio(level, rank), self.mapping.levels[level].spatial[rank])

    def tiles(self, level: int, rank: str) -> int:
        """Tiles of this level along `rank` in all; level 0 has one."""
        if (level, rank) not in self._tiles:
            tile = self.mapping.levels[level].tile[rank]
            self._tiles[level, rank] = ceil_div(self.problem.extents[rank], tile)
        return self._tiles[level, rank]

    def copies(self, level: int, rank: str) -> int:
        """Instances that this level's split along `rank` occupies."""
        return min(self.mapping.levels[level].spatial[rank], self.ratio(level, rank))

    def shared(self, level: int, rank: str) -> int:
        """Of this level's tiles along `rank`, how many one parent access serves.

        A read multicasts to so many; sums of a split over k are reduced on the way up.
        """
        parent = self.path.levels[level - 1]
        if self.problem.roles[rank] == "k":
            return self.mapping.levels[level].spatial[rank] if parent.reduction else 1
        beside = self.ratio if self.dealt(level, rank) else self.copies
        return min(parent.multicast, beside(level, rank)) if parent.multicast > 1 else 1

    def steps(self, level: int, rank: str, parent: int) -> int:
        """Steps over `rank` through `level` as `parent` sees them: further in, tiles that one
        access serves count once."""
        full, edge = 0, self.problem.extents[rank]
        for i in range(1, level + 1):
            share = self.shared(i, rank) if i > parent else 1
            tile = self.mapping.levels[i].tile[rank]
            in_edge = ceil_div(edge, tile)
            full = full * ceil_div(self.ratio(i, rank), share) + ceil_div(in_edge, share) - 1
            edge -= (in_edge - 1) * tile
        return full + 1


def moved_elements(nest: Nest, operand: str, level: int, parent: int | None = None) -> int:
    """Elements of `operand` that cross into `level` in all.

    With `parent`, as that level sees it: a multicast read (or a reduced write) counts once.
    """
    problem = nest.problem
    deepest, sliding = _reuse(nest, operand, level)
    total = prod(_dimension(nest, dim, level, parent, sliding) for dim in problem.dims[operand])
    for rank in problem.extents:
        if rank not in problem.ranks_of(operand):
            total *= _copies(nest, rank, level, deepest[rank], parent)
    return total


def _reuse(nest: Nest, operand: str, level: int) -> tuple[dict[str, int], str | None]:
    """For each rank that the operand lacks, the deepest level whose loop over it brings the tile in
    again; and the rank along which its window slides."""
    relevant = nest.problem.ranks_of(operand)
    deepest = dict.fromkeys(nest.problem.extents, 0)
    sliding, seen, innermost = None, False, True
    for i in range(level, 0, -1):
        # cores that are dealt tiles see the loops over them outside of their own
        order = sorted(nest.mapping.levels[i].order, key=lambda rank: not nest.dealt(i, rank))
        for rank in reversed(order):
            dealt = nest.dealt(i, rank)
            if rank not in relevant:
                if seen or dealt:
                    deepest[rank] = max(deepest[rank], i)
            elif nest.trips(i, rank) > 1:
                seen = True
                whole = nest.mapping.levels[i].spatial[rank] == 1 and not dealt
                if innermost and i == level and whole and nest.problem.slides(operand, rank):
                    sliding = rank
            innermost = innermost and nest.trips(i, rank) == 1
    return deepest, sliding


def _copies(nest: Nest, rank: str, level: int, deepest: int, parent: int | None) -> int:
    """c_r: steps through the deepest level that counts, times the copies of splits further in."""
    if parent is None:
        return nest.tiles(deepest, rank) * prod(
            nest.copies(i, rank) for i in range(deepest + 1, level + 1)
        )
    result = nest.steps(deepest, rank, parent)
    for i in range(deepest + 1, level + 1):
        share = nest.shared(i, rank) if i > parent else 1
        result *= ceil_div(nest.copies(i, rank), share)
    return result


def _dimension(nest: Nest, dim: Dim, level: int, parent: int | None, sliding: str | None) -> int:
    """Coordinates of one dimension brought in, over all combinations of its ranks' tiles."""
    if len(dim) == 1:
        return nest.problem.extents[dim[0][0]]
    (p, stride), (r, dilation) = dim
    if sliding in (p, r):
        tile = nest.mapping.levels[level].tile
        reach = 1 + stride * (tile[p] - 1) + dilation * (tile[r] - 1)
        if reach > tile[p] * tile[r]:  # a window with gaps meets little of what it holds
            sliding = None
        else:  # instances beside each other need the same at different times
            parent = None
    total = 0
    for count_p, tile_p in _tiles(nest, p, level, parent, sliding):
        for count_r, tile_r in _tiles(nest, r, level, parent, sliding):
            total += count_p * count_r * span(tile_p, stride, tile_r, dilation)
    return total


def _tiles(
    nest: Nest, rank: str, level: int, parent: int | None, sliding: str | None
) -> tuple[tuple[int, int], ...]:
    """(how many, how large) the tiles along `rank` are: full ones, and the last. As the parent sees
    them, those that one read serves are one."""
    levels, extent = nest.mapping.levels, nest.problem.extents[rank]
    tile = levels[level - 1 if rank == sliding else level].tile[rank]
    for i in range(level + 1 if parent is None else parent + 1, level + 1):
        copies = nest.copies(i, rank)
        if nest.path.levels[i - 1].multicast >= copies:
            tile = min(extent, tile * copies)
    count = ceil_div(extent, tile)
    return (count - 1, tile), (1, extent - (count - 1) * tile)


def busy_steps(nest: Nest, rank: str, extent: int, first: int, last: int) -> tuple[int, int, int]:
    """(full steps, size of a full tile, size of the last step's tile) of the busiest instance.

    Levels `first`..`last`, starting from `extent` elements in their parent. The last step of a
    split is as long as its largest tile.
    """
    full, edge = 0, extent
    for i in range(first, last + 1):
        tile, split = nest.mapping.levels[i].tile[rank], nest.mapping.levels[i].spatial[rank]
        in_edge = ceil_div(edge, tile)
        edge_steps = ceil_div(in_edge, split)
        alone = in_edge - (edge_steps - 1) * split == 1
        remainder = edge - (in_edge - 1) * tile
        full = full * nest.trips(i, rank) + edge_steps - 1
        edge = remainder if alone else tile
    return full, nest.mapping.levels[last].tile[rank], edge
