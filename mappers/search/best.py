"""The best mapping of a contraction on a path: exact for the cost model and the space.

Branch and bound over sets of chains (`mappers.search.bulk`). The argument that what is returned is
the optimum: every mapping of the space (`mappers.search.space`) is a template and a chain per rank;
at any time each of them has been costed, or is in an entry on the stack, or was dropped with a set
whose lower bound does not beat the best found (and the bound holds because every term of the cost
is
nondecreasing in the features, of which the set's least are used), or was left out because another
mapping is at least as good in every term. When the stack is empty, the best found is the optimum;
if the search stops earlier, the least bound on the stack says how far it can be off.

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
from mappers.search.grow import Grown, TooManyChainsError, grow, most_cycles, trees_of
from mappers.search.opened import Joint, Opened
from mappers.search.space import Space, space_of

CODES = tuple(OBJECTIVES)
CHUNK = 100_000  # bounds between looks at the clock


def best_mapping(
    problem: Contraction, path: Path, objective: str = "latency", limits: Limits | None = None
) -> Found | None:
    """The mapping with the least `objective` (latency, energy or edp; ties go to the other).

    None if nothing fits. Ctrl-C returns the best so far, or raises KeyboardInterrupt without one.
    """
    search = _Search(space_of(problem, path), objective, limits or Limits())
    try:
        search.run()
    except KeyboardInterrupt:
        if search.chosen is None:
            raise
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
    clock: float = 0.0  # when the budget of seconds began
    started: float = field(default_factory=time.perf_counter)

    def __post_init__(self) -> None:
        from mappers.search.bulk.costing import scratch_size
        from mappers.search.bulk.plain import held_widths
        from mappers.search.encode import encode, encode_templates

        self.I, self.X = encode(self.space)
        self.templates = encode_templates(self.space)
        self.widths = np.zeros((len(self.templates), 3 * len(self.space.path.levels)))
        held_widths(self.I, self.X, self.templates, self.widths)
        self.names = list(self.space.problem.extents)
        self.out = np.empty(scratch_size(len(self.space.path.levels)))
        self.choice = np.full(1 + len(self.names), -1, dtype=np.int64)
        self.keys = np.full(2, np.inf)
        self.bars = np.array([self.limits.gap, np.inf, np.inf])
        self.chosen: tuple[int, dict[str, Any], dict[str, Any]] | None = None

    def run(self) -> None:
        """Powers of two first, then everything."""
        self._stage(coarse=True)
        if self.limits.evaluations is not None and self.chosen and self._left(0) <= 0:
            return
        self.lower = np.inf
        try:
            self._stage(coarse=False)
        except TooManyChainsError:
            self.lower = 0.0
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
        counts = (self.total, self.evaluated)
        return Found(
            mapping, cost, *counts, seconds, gap, self.bounds, interrupted=self.interrupted
        )

    def _stage(self, coarse: bool) -> None:
        grown = self._grown(coarse)
        if grown is None:
            return
        F, K, roots = trees_of(grown)
        rows = Joint(self.I, [(int(root), 2 * len(c.tiles) - 1) for root, c in zip(roots, grown, strict=False)])
        self.total = len(self.templates) * prod(chains.total for chains in grown)
        opened = Opened(len(self.templates), roots)
        try:
            self._work_on(opened, (F, K), rows, grown)
        finally:
            self.lower = min(self.lower, opened.least_bound())
            self.evaluated += opened.costed
            self.bounds += opened.made

    def _work_on(
        self, opened: Opened, trees: tuple[Any, Any], joint: Joint, grown: list[Grown]
    ) -> None:
        """Bounds the roots, then branches until nothing is open or the budget is spent."""
        from mappers.search.bulk.branch import improve

        problem = (self.I, self.X, self.templates, self.widths, *trees)
        ranks = len(self.names)
        scratch = np.zeros(1 + ranks, dtype=np.int64), np.zeros((ranks, 2, 2)), self.out
        best = (self.choice, self.keys, *scratch)
        asked = CODES.index(self.objective), self.bars
        most = CHUNK
        while opened.waiting:
            self.choice[0] = -1
            rooting = opened.rooting
            improve(*problem, *joint.arrays(), *asked, most, *opened.arrays(), *best)
            if rooting:
                opened.sort()
                self.clock = self.clock or time.perf_counter()  # all is compiled by now
            self._take(grown)
            if self.chosen is not None:
                most = min(CHUNK, self._left(opened.made))
                if most <= 0:
                    return

    def _left(self, bounds: int) -> int:
        """Bounds that may still be made; the clock allows a chunk or nothing."""
        limits = self.limits
        spent = time.perf_counter() - (self.clock or self.started)
        if limits.seconds is not None and spent > limits.seconds:
            return 0
        if limits.evaluations is None:
            return CHUNK
        return limits.evaluations - self.bounds - bounds

    def _take(self, grown: list[Grown]) -> None:
        if self.choice[0] < 0:
            return
        template, *chains = (int(x) for x in self.choice)
        picked = dict(zip(self.names, zip(grown, chains, strict=True), strict=True))
        tiles = {name: rank.tiles[c] for name, (rank, c) in picked.items()}
        splits = {name: rank.splits[c] for name, (rank, c) in picked.items()}
        self.chosen = template, tiles, splits

    def _grown(self, coarse: bool) -> list[Grown] | None:
        """Every rank's chains; None if one has none."""
        budget = self.limits.evaluations
        most = np.inf if coarse or budget is None else float(budget)
        bounded = self.objective == "latency" and np.isfinite(self.keys[0])
        found = []
        for r, name in enumerate(self.names):
            cycles = most_cycles(self.I, self.X, r, self.keys[0]) if bounded else np.inf
            chains = grow(self.I, self.X, r, self.space.ranks[name], coarse, (most, cycles))
            if chains is None:
                return None
            found.append(chains)
        return found
