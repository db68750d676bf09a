"""The best mapping of a contraction on a path: exact for the cost model and the space.

Branch and bound over sets of chains (`mappers.search.bulk`). The argument that what is returned is
the optimum: every mapping of the space (`mappers.search.space`) is a template and a chain per rank;
at any time each of them has been costed, or is in an entry on the stack, or was dropped with a set
whose lower bound does not beat the best found (and the bound holds because every term of the cost
is nondecreasing in the features, of which the set's least are used; `bulk.joint` and `bulk.plain`
say why their sums hold too), or was left out because another mapping is equal or at least as good
in every term. When the stack is empty, the best found is the optimum; if the search stops earlier,
the least bound on the stack says how far it can be off.

First the tiles that are powers of two times the engine's block are searched, for an incumbent, with
a look at every template; then all of them, less those whose rank alone would keep the engine busy
for longer. What is looked at, and when, does not depend on the budget, which only cuts it short: a
larger one never finds worse. Except where there are more chains than a budget has bounds: then it
is spent on powers of two.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from itertools import cycle
from math import prod
from typing import Any

import numpy as np

from accel_models.path import Path
from mappers.matmul import matmul_cost
from mappers.problem import Contraction
from mappers.search.exhaustive import assemble
from mappers.search.found import OBJECTIVES, Found, Limits
from mappers.search.grow import Grown, TooManyChainsError, grow, most_cycles, trees_of
from mappers.search.joint import Joint
from mappers.search.opened import Opened
from mappers.search.space import Space, space_of

CODES = ("latency", "energy", "edp")  # objectives that have bounds
FEWEST, LOOK = 50, 400  # bounds for a first mapping of a template
DIVES = (200, 200, 200, 2_000, 10_000)  # bounds between looks at the clock, in turns
COARSE_BOUNDS, COARSE_GAP = 30_000, 0.01  # powers of two need no proof
ENDLESS = 1 << 60


def best_mapping(
    problem: Contraction, path: Path, objective: str = "latency", limits: Limits | None = None
) -> Found | None:
    """The mapping with the least `objective` (latency, energy or edp; ties go to the other).

    None if nothing fits. Ctrl-C returns the best so far, or raises KeyboardInterrupt without one.
    Of another objective it is the best of the mappings found for these three, and nothing is
    proven: its gap is 1.
    """
    if objective not in CODES:
        value = OBJECTIVES[objective]
        of_each = [best_mapping(problem, path, code, limits) for code in CODES]
        best = min((f for f in of_each if f), key=lambda f: value(f.cost), default=None)
        return replace(best, gap=1.0) if best else None
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
    clock: float = 0.0  # when the budget of seconds began
    started: float = field(default_factory=time.perf_counter)

    def __post_init__(self) -> None:
        from mappers.search.bulk.costing import scratch_size
        from mappers.search.bulk.plain import held_widths
        from mappers.search.encode import encode, encode_templates, least_key

        self.I, self.X = encode(self.space)
        self.templates = encode_templates(self.space)
        self.widths = np.zeros((len(self.templates), 3 * len(self.space.path.levels)))
        held_widths(self.I, self.X, self.templates, self.widths)
        self.names = list(self.space.problem.extents)
        self.out = np.empty(scratch_size(len(self.space.path.levels)))
        self.choice = np.full(1 + len(self.names), -1, dtype=np.int64)
        self.keys = np.full(2, np.inf)
        code = float(CODES.index(self.objective))
        most = self.limits.latency_s, self.limits.held_bytes
        self.bars = np.array([self.limits.gap, *most, code])
        self.lower = least_key(self.I, self.X, self.objective)
        self.chosen: tuple[int, dict[str, Any], dict[str, Any]] | None = None

    def run(self) -> None:
        """Powers of two first, then everything."""
        self.bars[0] = max(COARSE_GAP, self.limits.gap)
        coarse = self._opened(coarse=True)
        if coarse:
            self._search(*coarse, coarse=True, most=COARSE_BOUNDS)
        self.bars[0] = self.limits.gap
        if self._spent():
            return
        try:
            everything = self._opened(coarse=False)
        except TooManyChainsError:
            if coarse:
                self._search(*coarse, coarse=True, most=ENDLESS)
            return
        if everything is None:
            self.lower = np.inf
            return
        try:
            self._search(*everything, coarse=False, most=ENDLESS)
        finally:  # what is left open of all sets the lower bound
            self.lower = max(self.lower, everything[0].least_bound())

    def found(self) -> Found | None:
        """What is known now."""
        if self.chosen is None:
            return None
        mapping = assemble(self.space, *self.chosen)
        cost = matmul_cost(self.space.problem, mapping, self.space.path)
        gap = self.limits.gap
        if np.isfinite(self.lower):
            gap = max(gap, 1.0 - self.lower / float(self.keys[0]))
        seconds = time.perf_counter() - self.started
        counts = (self.total, self.evaluated)
        return Found(
            mapping, cost, *counts, seconds, gap, self.bounds, interrupted=self.interrupted
        )

    def _opened(self, coarse: bool) -> tuple[Opened, _Work] | None:
        """All sets of powers of two or of all; None if a rank has no chain."""
        grown = self._grown(coarse)
        if grown is None:
            return None
        F, K, roots = trees_of(grown)
        nodes = [2 * len(chains.tiles) - 1 for chains in grown]
        joint = Joint(self.I, list(zip(roots[:-1].tolist(), nodes, strict=True)))
        self.total = len(self.templates) * prod(chains.total for chains in grown)
        return Opened.roots(len(self.templates), roots), _Work(self, (F, K), joint, grown)

    def _search(self, opened: Opened, work: _Work, coarse: bool, most: int) -> None:
        """Looks at what is open until it is proven, the budget is spent or so many bounds are made;
        more only until a mapping is found."""
        begun = not opened.rooting
        while opened.rooting:
            work.on(opened, len(self.templates) + 1)
        self.clock = self.clock or time.perf_counter()  # all is compiled by now
        if coarse and not begun:
            self._look_at_each(opened, work)
        opened.sort()
        steps = cycle(DIVES)
        while opened.waiting and not self._spent() and not (self.chosen and opened.made >= most):
            work.on(opened, self._within(next(steps) * (1 if coarse else 10)))
            opened.sort()  # on from where the bound is least, not where the last one ended

    def _look_at_each(self, opened: Opened, work: _Work) -> None:
        """A first mapping of every template, before one of them takes all the time."""
        parts = opened.apart()
        each = max(FEWEST, min(LOOK, COARSE_BOUNDS // max(1, 2 * len(parts))))
        for part in parts:
            if self._spent():
                break
            work.on(part, self._within(each))
        if parts:
            opened.put_together(parts)

    def _spent(self) -> bool:
        """Is there a mapping, and no more of the budget?"""
        clock = time.perf_counter() - (self.clock or self.started)
        late = self.limits.seconds is not None and clock > self.limits.seconds
        most = self.limits.evaluations
        return self.chosen is not None and (late or (most is not None and self.bounds >= most))

    def _within(self, step: int) -> int:
        """So many bounds, or those that are left; a first mapping is looked for whatever it takes,
        in the same steps as with a larger budget."""
        most = self.limits.evaluations
        return step if most is None or self.chosen is None else min(step, most - self.bounds)

    def take(self, grown: list[Grown]) -> None:
        """Remembers what the compiled part has found, if it has."""
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
        most = np.inf if coarse or budget is None or not self.chosen else float(budget)
        longest = self.limits.latency_s
        if self.objective == "latency":
            longest = min(longest, float(self.keys[0]))
        found = []
        for r, name in enumerate(self.names):
            cycles = most_cycles(self.I, self.X, r, longest) if longest < np.inf else np.inf
            chains = grow(self.I, self.X, r, self.space.ranks[name], coarse, (most, cycles))
            if chains is None:
                return None
            found.append(chains)
        return found


class _Work:
    """The compiled part, on the trees of a stage."""

    def __init__(
        self, search: _Search, trees: tuple[Any, Any], joint: Joint, grown: list[Grown]
    ) -> None:
        ranks = len(search.names)
        self.search, self.joint, self.grown = search, joint, grown
        self.problem = (search.I, search.X, search.templates, search.widths, *trees)
        scratch = np.zeros(1 + ranks, dtype=np.int64), np.zeros((ranks, 2, 2)), search.out
        self.best = (search.choice, search.keys, *scratch)

    def on(self, opened: Opened, most: int) -> None:
        """About as many bounds, unless nothing is left open before."""
        from mappers.search.bulk.branch import improve

        search = self.search
        stop = opened.made + most
        while opened.waiting and opened.made < stop:
            before = opened.made, opened.costed
            search.choice[0] = -1
            left = stop - opened.made
            arrays = (*self.joint.arrays(), search.bars, left, *opened.arrays())
            try:
                improve(*self.problem, *arrays, *self.best)
            finally:
                search.bounds += opened.made - before[0]
                search.evaluated += opened.costed - before[1]
                search.take(self.grown)
