"""What a mapping may do: tiles that nest and fit, splits within the fan-out, the design's rules.

`problems_of` lists everything wrong with a mapping as (level name, what); a mapping is legal if it
lists nothing. A level shared by cores that are dealt their tiles holds at least a wave of them: it
takes no more steps than there are waves.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

from accel_models.engines.tile import ceil_div
from accel_models.mapping_rules import LevelRules
from accel_models.path import ENGINE, Path
from mappers.mapping import Mapping
from mappers.matmul import output_jobs
from mappers.problem import Contraction
from mappers.reuse import Nest

Problem = tuple[str, str]


def legal(problem: Contraction, mapping: Mapping, path: Path) -> bool:
    """May the machine run the problem in this way?"""
    return next(problems_of(problem, mapping, path), None) is None


def problems_of(problem: Contraction, mapping: Mapping, path: Path) -> Iterator[Problem]:
    """Everything that is wrong, outermost level first."""
    nest = Nest(mapping, path, problem)
    for i in range(1, len(path.levels)):
        name = path.levels[i].name
        yield from ((name, what) for what in _nesting(nest, i))
        yield from ((name, what) for what in _splits(nest, i))
        yield from ((name, what) for what in _keeping(nest, i))
        yield from ((name, what) for what in _ruled(nest, i))
        if name != ENGINE:
            held, capacity = occupancy(problem, mapping, path, i), path.levels[i].capacity
            if sum(held.values()) > capacity:
                parts = ", ".join(f"{operand} {size:,.0f}" for operand, size in held.items())
                yield (
                    name,
                    f"tiles take {sum(held.values()):,.0f} of {capacity:,.0f} bytes ({parts})",
                )
    yield from _wave(nest)


def occupancy(problem: Contraction, mapping: Mapping, path: Path, index: int) -> dict[str, float]:
    """Bytes by operand that an instance of this level holds; a tile that changes is there twice."""
    here = mapping.levels[index]
    at_once = resident(Nest(mapping, path, problem), index)
    found: dict[str, float] = {}
    for operand in here.keeps:
        innermost = not any(operand in level.keeps for level in mapping.levels[index + 1 :])
        feeds = innermost and operand != "output"
        width = (problem.engine_bytes if feeds else problem.bytes_per_element)(operand)
        if operand == "output":
            width = problem.partial_bytes if index >= path.first_core else width
        elif path.levels[index].buffering != "single" and any(
            problem.extents[rank] > at_once[rank] for rank in problem.ranks_of(operand)
        ):
            width *= 2
        found[operand] = problem.footprint(operand, here.tile) * width
    return found


def resident(nest: Nest, index: int) -> dict[str, int]:
    """How much of each rank all instances of a level hold together."""
    path, levels = nest.path, nest.mapping.levels
    at_once = {rank: levels[index].tile[rank] for rank in nest.problem.extents}
    one_wave = index >= path.first_core and output_jobs(nest) <= path.cores
    for rank, extent in nest.problem.extents.items():
        if one_wave and nest.dealt(path.first_core, rank):
            at_once[rank] = extent
            continue
        for level in levels[1 : index + 1]:
            at_once[rank] *= level.spatial[rank]
    return at_once


def _nesting(nest: Nest, index: int) -> Iterator[str]:
    here, above = nest.mapping.levels[index], nest.mapping.levels[index - 1]
    perfect = nest.path.core.mapping.factors == "perfect"
    for rank, extent in nest.problem.extents.items():
        tile, spread = here.tile[rank], here.tile[rank] * here.spatial[rank]
        outer = above.tile[rank]
        if not 1 <= tile <= outer:
            yield f"{rank}: a tile of {tile} does not lie within {outer}, the tile of {above.level}"
        elif outer % spread and outer != extent:
            yield (
                f"{rank}: {above.level} holds {outer}, neither a multiple of {spread} "
                f"(tile {tile} x {here.spatial[rank]} instances) nor the whole {extent}"
            )
        elif perfect and (outer % spread or extent % tile):
            yield f"{rank}: {spread} does not divide {outer}; the design asks for perfect factors"


def _splits(nest: Nest, index: int) -> Iterator[str]:
    here, path = nest.mapping.levels[index], nest.path
    fan_out = path.levels[index].instances // path.levels[index - 1].instances
    used = prod(here.spatial.values())
    for rank, split in here.spatial.items():
        if split < 1:
            yield f"{rank}: a split of {split}"
        elif split > 1 and nest.dealt(index, rank):
            yield f"{rank}: cores are dealt tiles as they fall free (dispatch: dynamic), not split"
    if used > fan_out:
        parent = path.levels[index - 1].name
        yield f"spread over {used} instances; there are {fan_out} in one {parent}"


def _keeping(nest: Nest, index: int) -> Iterator[str]:
    level, keeps = nest.path.levels[index], nest.mapping.levels[index].keeps
    for operand in keeps:
        if operand not in level.keeps:
            yield f"cannot keep the {operand}; it keeps {', '.join(level.keeps) or 'nothing'}"
    for operand in level.keeps:
        if operand not in keeps and operand not in level.bypass:
            yield f"the {operand} cannot pass by; list it under bypass in the design to allow it"


def _ruled(nest: Nest, index: int) -> Iterator[str]:
    rules = rules_of(nest.path, index)
    here = nest.mapping.levels[index]
    for rank, extent in nest.problem.extents.items():
        tile = here.tile[rank]
        if not allowed_tile(rules, rank, tile, extent):
            wanted = rules.tiles.get(rank) or f"multiples of {rules.multiples[rank]}"
            yield f"{rank}: a tile of {tile}; the design allows {wanted}"
        if rules.split is not None and rank not in rules.split and here.spatial[rank] > 1:
            allowed = ", ".join(rules.split) or "none"
            yield f"{rank}: split over {here.spatial[rank]}; ranks that may be split: {allowed}"
    if rules.axes and not on_axes(rules, tuple(here.spatial.items())):
        axes = ", ".join(f"{n} {a.size} ({' '.join(a.ranks)})" for n, a in rules.axes.items())
        yield f"the split {dict(here.spatial)} does not lie on the array's axes: {axes}"
    if rules.stationary is not None and not _stays_as_allowed(nest, index, rules):
        yield f"the loop order lets none of {', '.join(rules.stationary)} stay"


def rules_of(path: Path, index: int) -> LevelRules:
    """The design's rules for a level."""
    return path.core.mapping.levels.get(path.levels[index].name, LevelRules())


def allowed_tile(rules: LevelRules, rank: str, tile: int, extent: int) -> bool:
    """May a tile have this size along the rank?"""
    menu, multiple = rules.tiles.get(rank), rules.multiples.get(rank)
    if menu is not None and tile not in menu and not (tile == extent < max(menu)):
        return False
    return multiple is None or tile % multiple == 0 or tile == extent


def on_axes(rules: LevelRules, split: tuple[tuple[str, int], ...]) -> bool:
    """Can the splits be laid along the axes, each a product of factors on axes that list the
    rank?"""

    def place(todo: tuple[tuple[str, int], ...], room: dict[str, int]) -> bool:
        if not todo:
            return True
        (rank, count), rest = todo[0], todo[1:]
        if count == 1:
            return place(rest, room)
        for name, axis in rules.axes.items():
            if rank not in axis.ranks:
                continue
            for factor in range(2, min(count, room[name]) + 1):
                if count % factor == 0:
                    left = room | {name: room[name] // factor}
                    if place(((rank, count // factor), *rest), left):
                        return True
        return False

    return place(split, {name: axis.size for name, axis in rules.axes.items()})


def _stays_as_allowed(nest: Nest, index: int, rules: LevelRules) -> bool:
    """Is the innermost loop with more than one trip one that an allowed operand lacks?"""
    order = nest.mapping.levels[index].order
    inner = [r for r in order if nest.trips(index, r) > 1 and not nest.dealt(index, r)]
    if not inner:
        return True
    allowed = rules.stationary or ()
    return any(inner[-1] not in nest.problem.ranks_of(operand) for operand in allowed)


def _wave(nest: Nest) -> Iterator[Problem]:
    path, first = nest.path, nest.path.first_core
    if path.control.dispatch != "dynamic" or first < 2:
        return
    level = nest.mapping.levels[first - 1]
    steps = prod(
        ceil_div(nest.tiles(first - 1, rank), level.spatial[rank])
        for rank in nest.problem.ranks_of("output")
    )
    waves = max(1, output_jobs(nest) // path.cores)
    if steps > waves:
        yield level.level, f"{steps} steps for {waves} waves of tiles: it must hold a wave at least"
