"""Every mapping of the space, one by one, costed by the definition: the search's oracle.

Nothing is pruned and nothing is compiled; for tests and for problems of a few elements.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from math import inf

from accel_models.engines.tile import blocks, ceil_div
from accel_models.path import Path
from mappers.legality import allowed_tile, legal, rules_of
from mappers.mapping import LevelMapping, Mapping
from mappers.matmul import matmul_cost
from mappers.problem import Contraction
from mappers.search.found import OBJECTIVES
from mappers.search.space import RankSpace, Space, order_of, space_of

Chain = tuple[tuple[int, ...], tuple[int, ...]]  # tiles and splits by level


def all_mappings(problem: Contraction, path: Path) -> Iterator[Mapping]:
    """Every legal mapping of the space."""
    space = space_of(problem, path)
    chains = [list(_chains(space, rank, its)) for rank, its in space.ranks.items()]
    names = list(space.ranks)
    for combination in product(*chains):
        tiles = {name: tile for name, (tile, _) in zip(names, combination, strict=True)}
        splits = {name: split for name, (_, split) in zip(names, combination, strict=True)}
        for template in range(len(space.keeps)):
            mapping = assemble(space, template, tiles, splits)
            if legal(problem, mapping, path):
                yield mapping


def exhaustive(problem: Contraction, path: Path, objective: str) -> tuple[float, float] | None:
    """The least (first, second) key of the objective over all mappings; None if none is legal."""
    keys = OBJECTIVES[objective]
    return min(
        (keys(matmul_cost(problem, m, path)) for m in all_mappings(problem, path)), default=None
    )


def assemble(
    space: Space,
    template: int,
    tiles: dict[str, tuple[int, ...]],
    splits: dict[str, tuple[int, ...]],
) -> Mapping:
    """The mapping of a template with these tiles and splits, by rank and level."""
    problem, path = space.problem, space.path
    return Mapping(
        tuple(
            LevelMapping(
                level.name,
                {rank: int(sizes[i]) for rank, sizes in tiles.items()},
                {rank: int(sizes[i]) for rank, sizes in splits.items()},
                order_of(problem, path, i, space.innermost[template][i]),
                space.keeps[template][i],
            )
            for i, level in enumerate(path.levels)
        )
    )


def _chains(space: Space, rank: str, its: RankSpace) -> Iterator[Chain]:
    """Tiles and splits of one rank, inner to outer."""
    levels, extent = len(space.path.levels) - 1, space.problem.extents[rank]
    perfect = space.path.core.mapping.factors == "perfect"

    def outward(i: int, tile: tuple[int, ...], split: tuple[int, ...]) -> Iterator[Chain]:
        if i == 0:
            yield tile, (1, *split)
            return
        if not allowed_tile(rules_of(space.path, i), rank, tile[0], extent):
            return
        count = ceil_div(extent, tile[0])
        for rounds, s in _fewest(count, min(its.most[i], count)):
            if perfect and count % s:
                continue
            spread = tile[0] * s
            if i == 1:
                yield from outward(0, (extent, *tile), (s, *split))
            elif not its.loops[i]:
                yield from outward(i - 1, (min(extent, spread), *tile), (s, *split))
            else:
                yield from looped(i, rounds, spread, tile, (s, *split))

    def looped(
        i: int, rounds: int, spread: int, tile: tuple[int, ...], split: tuple[int, ...]
    ) -> Iterator[Chain]:
        seen: set[int] = set()
        for q in range(1, rounds + 1):
            size, outside = min(extent, spread * q), ceil_div(rounds, q)
            divides = not perfect or (rounds % q == 0 and extent % size == 0)
            allowed = allowed_tile(rules_of(space.path, i - 1), rank, size, extent)
            if divides and allowed and outside not in seen:
                seen.add(outside)
                yield from outward(i - 1, (size, *tile), split)

    for engine_tile in _engine_tiles(space, rank, its):
        if not perfect or extent % engine_tile == 0:
            yield from outward(levels, (engine_tile,), ())


def _engine_tiles(space: Space, rank: str, its: RankSpace) -> list[int]:
    """Every integer; along a rank with granules, those that the space has."""
    extent, problem = space.problem.extents[rank], space.problem
    free = all(not menu for menu in its.menus) and set(its.multiples) == {1}
    if its.granule == 1 or not free or space.path.core.mapping.factors == "perfect":
        return list(range(1, extent + 1))
    role = problem.roles[rank]
    if role == "b" or any(problem.extents[r] > 1 for r in problem.of_role(role) if r != rank):
        return list(range(1, extent + 1))
    form = space.path.form(problem.datapath)
    steps = {"m": form.m, "n": form.n, "k": form.k}[role]
    block = {"m": form.weight_block, "n": form.activation_block, "k": form.sum_block}[role]
    found: list[int] = []
    best: dict[int, tuple[float, int]] = {}
    whole: set[int] = set()
    for tile in range(1, extent + 1):
        count = ceil_div(extent, tile)
        last = extent - (count - 1) * tile
        cycles = (count - 1) * steps(tile) + steps(last)
        crossings = (count - 1) * blocks(tile, block) + blocks(last, block)
        least, fewest = best.get(count, (inf, extent + 1))
        first_whole = tile % its.granule == 0 and count not in whole
        if cycles < least or crossings < fewest or first_whole:
            found.append(tile)
            best[count] = min(cycles, least), min(crossings, fewest)
            whole |= {count} if tile % its.granule == 0 else set()
    return found


def _fewest(count: int, most: int) -> Iterator[tuple[int, int]]:
    """(rounds, instances) for each number of rounds, with as few instances as give it."""
    before = 0
    for s in range(1, most + 1):
        rounds = ceil_div(count, s)
        if rounds != before:
            before = rounds
            yield rounds, s
