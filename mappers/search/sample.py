"""Mappings drawn at random from the space, to see where the best one lies among all.

From the engine outward: a tile, how it is spread over instances, how often the parent's tile
repeats that within its capacity, and so on; loop orders and what passes by are drawn too. Where the
design has a menu of tiles or wants perfect factors, tiles further in divide what is drawn there.
What the machine cannot run is drawn again. The draws are not uniform over the space: numbers are
uniform in their logarithm, a third of them as large as can be, and the engine's tiles are mostly
whole blocks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import exp, gcd, log
from random import Random
from typing import TYPE_CHECKING

from accel_models.engines.tile import ceil_div
from accel_models.path import ENGINE, Path
from mappers.legality import legal, rules_of
from mappers.mapping import LevelMapping, Mapping
from mappers.matmul import matmul_cost
from mappers.problem import Contraction

if TYPE_CHECKING:
    import numpy as np

DRAWS_PER_MAPPING = 12  # before giving up on getting so many


def sample_space(
    problem: Contraction, path: Path, count: int, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Latency in s and energy in J of up to `count` legal mappings; fewer where few are legal."""
    import numpy as np

    costs = [matmul_cost(problem, m, path) for m in random_mappings(problem, path, count, seed)]
    return np.array([c.latency_s for c in costs]), np.array([c.energy_j for c in costs])


def random_mappings(
    problem: Contraction, path: Path, count: int, seed: int = 0
) -> Iterator[Mapping]:
    """Up to `count` legal mappings, the same for the same seed."""
    draw = _Draw(problem, path, Random(seed))
    found = 0
    for _ in range(count * DRAWS_PER_MAPPING):
        mapping = draw.mapping()
        if mapping is not None and legal(problem, mapping, path):
            found += 1
            yield mapping
            if found == count:
                return


@dataclass(frozen=True)
class _Draw:
    """One mapping after another."""

    problem: Contraction
    path: Path
    rng: Random

    def mapping(self) -> Mapping | None:
        """A mapping whose tiles nest, or None where one does not fit."""
        problem, path, rng = self.problem, self.path, self.rng
        ranks = list(problem.extents)
        ones = dict.fromkeys(ranks, 1)
        last = len(path.levels) - 1
        aims = {rank: self.aims(rank) for rank in ranks}
        tile = self.grown(last, ones, aims)
        levels: list[LevelMapping] = []
        for index in range(last, 0, -1):
            level = path.levels[index]
            if not self.fits(index, tile):
                return None
            split = self.split(index, tile, aims)
            order = tuple(rng.sample(ranks, len(ranks)))
            keeps = tuple(o for o in level.keeps if o not in level.bypass or rng.random() < 0.5)
            levels.append(LevelMapping(level.name, tile, split, order, keeps))
            spread = {r: min(problem.extents[r], tile[r] * split[r]) for r in ranks}
            tile = self.grown(index - 1, spread, aims)
        outer = path.levels[0]
        levels.append(LevelMapping(outer.name, tile, ones, tuple(ranks), outer.keeps))
        return Mapping(tuple(reversed(levels)))

    def aims(self, rank: str) -> list[int]:
        """For each level, a size of the rank that its tile must divide; 0: any does."""
        extent = self.problem.extents[rank]
        aim = extent if self.path.core.mapping.factors == "perfect" else 0
        found = [aim]
        for index in range(1, len(self.path.levels)):
            menu = rules_of(self.path, index).tiles.get(rank, [])
            sizes = [size for size in menu if size <= extent and (not aim or aim % size == 0)]
            sizes += [extent] if menu and extent < max(menu) and (not aim or aim == extent) else []
            aim = self.rng.choice(sizes) if sizes else aim
            found.append(aim)
        return found

    def grown(self, index: int, base: dict[str, int], aims: dict[str, list[int]]) -> dict[str, int]:
        """A level's tile: along each rank `base` a whole number of times, or the whole rank."""
        problem = self.problem
        if index == 0:
            return dict(problem.extents)
        copies = 1 if self.rng.random() < 0.2 else 2
        within = min(index, len(self.path.memories) - 1)  # what holds the tile, further out too
        tile = dict(base)
        for rank in self.rng.sample(list(base), len(base)):
            extent = problem.extents[rank]
            most = ceil_div(extent, base[rank])
            while most > 1:
                size = min(extent, base[rank] * most)
                sizes = tile | {rank: size}
                over = max(self.over(i, sizes, copies) for i in range(1, within + 1))
                if over <= 1:
                    break
                most = min(most - 1, int(most / over) or 1)
            aim = aims[rank][index]
            if rank in rules_of(self.path, index).tiles:
                tile[rank] = aim
            elif aim:
                fitting = [n for n in range(1, most + 1) if aim % (base[rank] * n) == 0]
                tile[rank] = base[rank] * self.rng.choice(fitting or [1])
            else:
                tile[rank] = self.size(index, rank, base[rank], most)
        return tile

    def size(self, index: int, rank: str, base: int, most: int) -> int:
        """Up to `most` times `base`; the engine likes whole blocks."""
        extent = self.problem.extents[rank]
        block = rules_of(self.path, index).multiples.get(rank, 1)
        if index == len(self.path.levels) - 1 and block == 1:
            pair = self.problem.datapath
            m, n, k = self.path.engine.geometry(pair.pair.macs_per_cycle * pair.skip.deeper)
            block = {"m": m, "n": n, "k": k, "b": 1}[self.problem.roles[rank]]
        step = block // gcd(block, base)
        if most < step:
            return min(extent, base * most)
        return min(extent, base * step * self.whole(most // step))

    def split(self, index: int, tile: dict[str, int], aims: dict[str, list[int]]) -> dict[str, int]:
        """Instances along each rank, within the fan-out, none idle for want of tiles."""
        path, problem = self.path, self.problem
        left = path.levels[index].instances // path.levels[index - 1].instances
        dealt = path.control.dispatch == "dynamic" and index == path.first_core
        rules = rules_of(path, index)
        split = dict.fromkeys(problem.extents, 1)
        for rank in self.rng.sample(list(split), len(split)):
            fixed = dealt and problem.roles[rank] != "k"
            if fixed or (rules.split is not None and rank not in rules.split):
                continue
            most = min(left, ceil_div(problem.extents[rank], tile[rank]))
            split[rank] = self.whole(most)
            aim = aims[rank][index - 1]
            while aim and aim % (tile[rank] * split[rank]):
                split[rank] -= 1
            left //= split[rank]
        return split

    def fits(self, index: int, tile: dict[str, int]) -> bool:
        """A quick test: does the tile fit, held once?"""
        return self.path.levels[index].name == ENGINE or self.over(index, tile, 1) <= 1

    def over(self, index: int, tile: dict[str, int], copies: int) -> float:
        """What the level must keep of a tile, as a share of its capacity; inputs `copies` times."""
        level, problem = self.path.levels[index], self.problem
        held = 0.0
        for operand in level.keeps:
            if operand not in level.bypass:
                width = problem.engine_bytes(operand) * copies
                if operand == "output":
                    inside = index >= self.path.first_core
                    width = problem.partial_bytes if inside else problem.output_bytes
                held += problem.footprint(operand, tile) * width
        return held / level.capacity

    def whole(self, most: int) -> int:
        """1 to `most`: often `most` itself, else uniform in the logarithm."""
        if self.rng.random() < 0.3:
            return most
        return min(most, int(exp(self.rng.uniform(0.0, log(most + 1)))))
