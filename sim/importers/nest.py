"""A loop nest of theirs as a mapping of ours.

Theirs is a list, outermost first, of loops (in time, or spread over the instances of a level) and
of places where a memory takes a tensor in. Ours has one tile per level, so all that a level keeps
must be taken in at one point of the nest. Moving a tensor's point is free in traffic, as long as it
moves inward over loops that do not concern it (the tile stays the same) or outward over loops that
do (the tile grows, so only room is lost). Of the points that all of a level's tensors can be moved
to, the innermost is taken that lies no further in than theirs. If there is none, the placement is
uneven in a way that ours cannot say, and is reported.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sim.importers.ranks import Workload


@dataclass(frozen=True, slots=True)
class Loop:
    """A loop over one of our ranks. `inner`: the size of a step, that is of the tile inside it;
    `over`: the level over whose instances it is spread, None for a loop in time."""

    rank: str
    inner: int
    over: str | None = None


@dataclass(frozen=True, slots=True)
class Take:
    """`level` takes `operand` in here."""

    level: str
    operand: str


Nest = Sequence[Loop | Take]


@dataclass(frozen=True, slots=True)
class Levels:
    """A mapping file's `levels`, and what they do not say of the nest."""

    levels: list[dict[str, Any]]
    problems: list[str]


def levels_of(nest: Nest, chain: Sequence[str], block: Mapping[str, int], work: Workload) -> Levels:
    """The nest on the levels of `chain` (below the outermost memory, the engine last), whose engine
    does `block` at once."""
    found: list[dict[str, Any]] = []
    problems: list[str] = []
    trips = _trips(nest, work)
    start, outer = 0, dict(work.ranks)
    for index, level in enumerate(chain):
        keeps = [item.operand for item in nest if isinstance(item, Take) and item.level == level]
        last = index == len(chain) - 1
        end = len(nest) if last else _point(nest, trips, (start, level, chain), work, problems)
        spatial, order, apart = _segment(nest, trips, (start, end))
        problems += [
            f"{level}: two loops over {rank} with others between; ours has one a level"
            for rank in apart
        ]
        tile = _tile(nest, end, work)
        if last:
            tile, spatial = _engine(spatial, block, work)
        tile = {rank: min(size, outer[rank]) for rank, size in tile.items()}
        found.append(_level(level, tile, spatial, order))
        if not last:
            found[-1]["keeps"] = [o for o in work.dims if o in keeps]
        start, outer = end, tile
    return Levels(found, problems)


def _engine(
    spatial: Mapping[str, int], block: Mapping[str, int], work: Workload
) -> tuple[dict[str, int], dict[str, int]]:
    """What one engine does at once, and the engines used: multipliers side by side in an engine are
    not instances."""
    tile = {rank: min(block.get(rank, 1), spatial.get(rank, 1)) for rank in work.ranks}
    return tile, {r: -(-n // tile[r]) for r, n in spatial.items() if n > tile[r]}


def _level(
    level: str, tile: dict[str, int], spatial: dict[str, int], order: list[str]
) -> dict[str, Any]:
    values: dict[str, Any] = {"level": level, "tile": tile}
    if spatial:
        values["spatial"] = spatial
    order = [*(rank for rank in tile if rank not in order), *order]
    return values | {"order": order}


def _trips(nest: Nest, work: Workload) -> list[int]:
    """How often each loop runs; 0 for what is no loop."""
    size, found = dict(work.ranks), []
    for item in nest:
        if isinstance(item, Take):
            found.append(0)
            continue
        found.append(-(-size[item.rank] // item.inner))
        size[item.rank] = item.inner
    return found


def _tile(nest: Nest, end: int, work: Workload) -> dict[str, int]:
    tile = dict(work.ranks)
    for item in nest[:end]:
        if isinstance(item, Loop):
            tile[item.rank] = item.inner
    return tile


def _point(
    nest: Nest,
    trips: list[int],
    at: tuple[int, str, Sequence[str]],
    work: Workload,
    problems: list[str],
) -> int:
    """Where in the nest a level's tile is taken."""
    start, level, chain = at
    inner = set(chain[list(chain).index(level) + 1 :])
    mine = [
        i for i, x in enumerate(nest) if isinstance(x, Loop) and x.over == level and trips[i] > 1
    ]
    theirs = (i for i, x in enumerate(nest) if isinstance(x, Loop) and x.over in inner)
    least = max([start, *(i + 1 for i in mine)])
    most = max(next((i for i in theirs if trips[i] > 1), len(nest)), least)
    takes = {x.operand: i for i, x in enumerate(nest) if isinstance(x, Take) and x.level == level}
    if not takes:
        return least
    own = min(max(least, *takes.values()), most)
    points = [*range(own, least - 1, -1), *range(own + 1, most + 1)]
    free = [point for point in points if not _hindered(nest, trips, takes, point, work)]
    clean = [point for point in free if not _segment(nest, trips, (start, point))[2]]
    if free:
        return (clean or free)[0]
    point = own
    stuck = " and ".join(_hindered(nest, trips, takes, point, work))
    problems.append(
        f"{level}: {stuck} is taken in at another point of the nest than the rest, with loops "
        "between that change what it holds; ours has one tile a level"
    )
    return point


def _hindered(
    nest: Nest, trips: list[int], takes: Mapping[str, int], point: int, work: Workload
) -> list[str]:
    """Operands that cannot be moved to this point for free; loops in space do not hinder."""
    found = []
    for operand, at in takes.items():
        between = range(min(at, point), max(at, point))
        relevant = work.relevant(operand)
        loops = [x for i in between if isinstance(x := nest[i], Loop) and trips[i] > 1]
        loops = [loop for loop in loops if loop.over is None]
        if any((loop.rank in relevant) == (at < point) for loop in loops):
            found.append(operand)
    return found


def _segment(
    nest: Nest, trips: list[int], ends: tuple[int, int]
) -> tuple[dict[str, int], list[str], list[str]]:
    """Splits and loop order between two points, each rank once; and ranks whose loops lie apart."""
    spatial: dict[str, int] = {}
    order: list[str] = []
    apart: list[str] = []
    for i in range(*ends):
        item = nest[i]
        if not isinstance(item, Loop) or trips[i] <= 1:
            continue
        if item.over is not None:
            spatial[item.rank] = spatial.get(item.rank, 1) * trips[i]
        elif item.rank not in order:
            order.append(item.rank)
        elif order[-1] != item.rank:
            apart.append(item.rank)
    return spatial, order, apart
