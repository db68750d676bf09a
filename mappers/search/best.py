"""The best mapping of a contraction on a path: exact for the cost model and the space.

Branch and bound over sets of chains (`mappers.search.bulk`). The argument that what is returned is
the optimum: every mapping of the space (`mappers.search.space`) is a template and a chain per rank;
at any time each of them has been costed, or is in an entry on the stack, or was dropped with a set
whose lower bound does not beat the best found (and the bound holds because every term of the cost is
nondecreasing in the features, of which the set's least are used), or was left out because another
mapping is at least as good in every term. When the stack is empty, the best found is the optimum; if
the search stops earlier, the least bound on the stack says how far it can be off.

First the tiles that are powers of two times the engine's block are searched, for an incumbent; then
all of them, less those whose rank alone would keep the engine busy for longer.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np

from accel_models.path import Path
from mappers.matmul import matmul_cost
from mappers.problem import Contraction
from mappers.search.exhaustive import assemble
from mappers.search.found import OBJECTIVES, Found, Limits
from mappers.search.space import Space, space_of

CODES = tuple(OBJECTIVES)
CHUNK = 100_000  # bounds between looks at the clock


def best_mapping(
    problem: Contraction, path: Path, objective: str = "latency", limits: Limits | None = None
) -> Found | None:
    """The mapping with the least `objective` (latency, energy or edp; ties go to the other); None
    if nothing fits."""
    search = _Search(space_of(problem, path), objective, limits or Limits())
    try:
        search.run()
    except KeyboardInterrupt:
        search.interrupted = True
    return search.found()


@dataclass
class _Search:
    """One search: its arrays, its stack, the best so far."""

    space: Space
    objective: str
    limits: Limits
    interrupted: bool = False
    evaluated: int = 0
    bounds: int = 0
    total: int = 0
    lower: float = 0.0
    done: bool = False
    started: float = field(default_factory=time.perf_counter)

    def __post_init__(self) -> None:
        from mappers.search.bulk.costing import scratch_size
        from mappers.search.encode import encode, encode_templates

        self.I, self.X = encode(self.space)
        self.templates = encode_templates(self.space)
        self.names = list(self.space.problem.extents)
        self.out = np.empty(scratch_size(len(self.space.path.levels)))
        self.choice = np.full(1 + len(self.names), -1, dtype=np.int64)
        self.keys = np.full(2, np.inf)
        self.bars = np.array([self.limits.gap, np.inf, np.inf])
        self.chosen: tuple[int, dict[str, Any], dict[str, Any]] | None = None

    def run(self) -> None:
        """Powers of two first, then everything."""
        self._stage(coarse=True)
        self.lower = np.inf
        self._stage(coarse=False)
        self.done = not np.isfinite(self.lower)

    def found(self) -> Found | None:
        """What is known now."""
        if self.chosen is None:
            return None
        mapping = assemble(self.space, *self.chosen)
        cost = matmul_cost(self.space.problem, mapping, self.space.path)
        gap = self.limits.gap
        if not self.done:
            gap = max(gap, 1.0 - self.lower / float(self.keys[0]))
        seconds = time.perf_counter() - self.started
        return Found(
            mapping, cost, self.total, self.evaluated, seconds, gap, interrupted=self.interrupted
        )

    def _stage(self, coarse: bool) -> None:
        grown = [self._grow(r, coarse) for r in range(len(self.names))]
        if any(chains is None for chains in grown):
            return
        F, K, roots = _trees(grown)
        self.total = len(self.templates) * prod(chains.total for chains in grown)
        opened = _Opened(len(self.templates), roots)
        try:
            self._work_on(opened, (F, K), grown)
        finally:
            self.lower = min(self.lower, opened.least_bound())
            self.evaluated += opened.costed
            self.bounds += opened.made

    def _work_on(self, opened: _Opened, trees: tuple[Any, Any], grown: list[_Grown]) -> None:
        """Bounds the roots, then branches until nothing is open or the budget is spent."""
        from mappers.search.bulk.branch import improve

        problem = (self.I, self.X, self.templates, *trees, CODES.index(self.objective), self.bars)
        ranks = len(self.names)
        scratch = np.zeros(1 + ranks, dtype=np.int64), np.zeros((ranks, 2, 2)), self.out
        best = (self.choice, self.keys, *scratch)
        most = CHUNK
        while opened.waiting:
            self.choice[0] = -1
            rooting = opened.rooting
            improve(*problem, most, *opened.arrays(), *best)
            if rooting:
                opened.sort()
            self._take(grown)
            if self.chosen is not None:
                most = min(CHUNK, self._left(opened.made))
                if most <= 0:
                    return

    def _left(self, bounds: int) -> int:
        """Bounds that may still be made; the clock allows a chunk or nothing."""
        limits = self.limits
        if limits.seconds is not None and time.perf_counter() - self.started > limits.seconds:
            return 0
        if limits.evaluations is None:
            return CHUNK
        return limits.evaluations - self.bounds - bounds

    def _take(self, grown: list[Any]) -> None:
        if self.choice[0] < 0:
            return
        template, *chains = (int(x) for x in self.choice)
        picked = dict(zip(self.names, zip(grown, chains, strict=True), strict=True))
        tiles = {name: rank.tiles[c] for name, (rank, c) in picked.items()}
        splits = {name: rank.splits[c] for name, (rank, c) in picked.items()}
        self.chosen = template, tiles, splits

    def _grow(self, r: int, coarse: bool) -> _Grown | None:
        """The rank's chains; None if there are none."""
        from mappers.search.bulk import chains as bulk
        from mappers.search.bulk import layout as at
        from mappers.search.encode import encode_choices

        extent = int(self.I[at.RANK + at.N_RANK * r + at.EXTENT])
        space = self.space.ranks[self.names[r]]
        tiles = np.empty(extent, dtype=np.int64)
        free = all(not menu for menu in space.menus) and set(space.multiples) == {1}
        every = not free or bool(self.I[at.PERFECT])
        engine = tiles[: bulk.engine_tiles(self.I, self.X, r, space.granule, tiles, every)]
        if coarse and free:
            engine = _coarse(self._block(r), extent)
        tile, split = _extended(self.I, self.X, r, encode_choices(space, coarse), engine)
        width = at.N_MERGED if self.I[at.MERGING] else at.N_FEATURES
        F, K = np.empty((len(tile) + 1, width)), np.empty((len(tile) + 1, at.N_BITS), np.int64)
        n = bulk.fill_features(self.I, self.X, r, tile, split, self._most_cycles(r), F, K)
        if n == 0:
            return None
        order = np.argsort(bulk.sort_key(self.I, self.X, F, K, n))
        return _Grown(tile[:n], split[:n], F[:n], K[:n], order, len(tile))

    def _block(self, r: int) -> int:
        from mappers.search.bulk import layout as at

        role = int(self.I[at.RANK + at.N_RANK * r + at.ROLE])
        if role == at.BATCH:
            return 1
        return max(1, int(self.X[at.STEPS + 4 * (role - 1)]))

    def _most_cycles(self, r: int) -> float:
        """Of the rank's chain: with more, the engine alone takes longer than the best found."""
        from mappers.search.bulk import layout as at

        if self.objective != "latency" or not np.isfinite(self.keys[0]):
            return float("inf")
        x = self.X
        room = (self.keys[0] - x[at.FIXED_S]) * x[at.CLOCK] * x[at.FAN_OUTS]
        led: set[int] = set()
        for other in range(len(self.names)):
            row = self.I[at.RANK + at.N_RANK * other :]
            role, ideal = int(row[at.ROLE]), float(row[at.EXTENT])
            if role != at.BATCH and role not in led:
                s = at.STEPS + 4 * (role - 1)
                ideal *= x[s + 1] / x[s]
                led.add(role)
            if other != r:
                room /= ideal
        return float(room * (1 + 1e-9))


@dataclass(frozen=True)
class _Grown:
    """A rank's chains: tiles and splits by level, features and bits, the order of its tree; `total`
    with those that were left out as too slow."""

    tiles: np.ndarray
    splits: np.ndarray
    F: np.ndarray
    K: np.ndarray
    order: np.ndarray
    total: int


class _Opened:
    """Open entries of a stage, as `mappers.search.bulk.branch` keeps them."""

    def __init__(self, templates: int, roots: np.ndarray) -> None:
        self.stack = np.empty((templates + 4096, len(roots)), dtype=np.int64)
        self.stack[:templates, 0], self.stack[:templates, 1:] = np.arange(templates), roots[:-1]
        self.bounds = np.zeros((len(self.stack), 2))
        self.state = np.array([templates, 0, 0, 0], dtype=np.int64)

    @property
    def waiting(self) -> int:
        return int(self.state[0])

    @property
    def made(self) -> int:
        return int(self.state[1])

    @property
    def costed(self) -> int:
        return int(self.state[2])

    @property
    def rooting(self) -> bool:
        """Are there entries whose bound is not known?"""
        return bool(self.state[3] < self.state[0])

    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Stack, bounds and state, with room for more."""
        if len(self.stack) < self.waiting + 4:
            self.stack = np.concatenate([self.stack, np.empty_like(self.stack)])
            self.bounds = np.concatenate([self.bounds, np.zeros_like(self.bounds)])
        return self.stack, self.bounds, self.state

    def sort(self) -> None:
        """The lowest bound on top."""
        order = np.argsort(-self.bounds[: self.waiting, 0], kind="stable")
        self.stack[: len(order)] = self.stack[order]
        self.bounds[: len(order)] = self.bounds[order]

    def least_bound(self) -> float:
        """Nothing open can be better than this."""
        return float(self.bounds[: self.waiting, 0].min(initial=np.inf))


def _extended(
    I: np.ndarray, X: np.ndarray, r: int, choices: Any, engine: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """All chains of a rank from these engine tiles: tiles and splits by level."""
    from mappers.search.bulk import layout as at
    from mappers.search.bulk.chains import extend

    levels = int(I[at.LEVELS])
    if I[at.PERFECT]:
        engine = engine[I[at.RANK + at.N_RANK * r + at.EXTENT] % engine == 0]
    tiles = np.zeros((len(engine), levels + 1), dtype=np.int64)
    tiles[:, levels] = engine
    splits = np.ones((len(engine), levels + 3), dtype=np.int64)
    nothing = np.empty((0, levels + 1), np.int64), np.empty((0, levels + 3), np.int64)
    for i in range(levels, 0, -1):
        n = extend(I, X, r, choices, i, tiles, splits, *nothing)
        more = np.empty((n, levels + 1), np.int64), np.empty((n, levels + 3), np.int64)
        extend(I, X, r, choices, i, tiles, splits, *more)
        tiles, splits = more
    return tiles, splits


def _coarse(block: int, extent: int) -> np.ndarray:
    """Powers of two times the block, and the whole."""
    sizes, size = [], block
    while size < extent:
        sizes.append(size)
        size *= 2
    return np.array([*sizes, extent], dtype=np.int64)


def _trees(grown: list[_Grown]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All ranks' trees in one F and K, and their roots."""
    from mappers.search.bulk.chains import plant

    rows = sum(2 * len(chains.tiles) for chains in grown)
    F = np.empty((rows, grown[0].F.shape[1]))
    K = np.empty((rows, grown[0].K.shape[1]), dtype=np.int64)
    roots, start = [], 0
    for chains in grown:
        roots.append(start)
        start = plant(chains.F, chains.K, chains.order, start, F, K)
    return F, K, np.array([*roots, 0], dtype=np.int64)
