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
a look at every template, and around each better mapping (`mappers.search.around`); then all of
them, less those whose rank alone would keep the engine busy for longer. What is looked at, and
when, does not depend on the budget, which only cuts it short: a larger one never finds worse.
Except where there are more chains than a budget has bounds: then it is spent on powers of two.
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
from mappers.search.around import Around
from mappers.search.exhaustive import assemble
from mappers.search.found import OBJECTIVES, Found, Limits
from mappers.search.grow import Grown, TooManyChainsError, grow, most_cycles, trees_of
from mappers.search.joint import Joint
from mappers.search.opened import Opened
from mappers.search.space import Space, space_of

CODES = ("latency", "energy", "edp")  # objectives that have bounds
FEWEST, LOOK = 50, 400  # bounds for a first mapping of a template
DIVES = (200, 200, 200, 2_000, 10_000)  # bounds between looks at the clock, in turns
LONG_DIVES = tuple(10 * dive for dive in DIVES)
AROUND = 2_000  # bounds for a set around the best mapping
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
        coarse = self._stage(coarse=True)
        if coarse:
            coarse.search(DIVES, COARSE_BOUNDS)
        self.bars[0] = self.limits.gap
        if self.spent():
            return
        try:
            everything = self._stage(coarse=False)
        except TooManyChainsError:
            if coarse:
                coarse.search(DIVES)
            return
        if everything is None:
            self.lower = np.inf
            return
        try:
            everything.search(LONG_DIVES)
        finally:  # what is left open of all sets the lower bound
            self.lower = max(self.lower, everything.opened.least_bound())

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

    def _stage(self, coarse: bool) -> _Stage | None:
        """Powers of two or all; None if a rank has no chain."""
        grown = self._grown(coarse)
        if grown is None:
            return None
        self.total = len(self.templates) * prod(chains.total for chains in grown)
        return _Stage(self, grown, coarse)

    def spent(self) -> bool:
        """Is there a mapping, and no more of the budget?"""
        clock = time.perf_counter() - (self.clock or self.started)
        late = self.limits.seconds is not None and clock > self.limits.seconds
        most = self.limits.evaluations
        return self.chosen is not None and (late or (most is not None and self.bounds >= most))

    def within(self, step: int) -> int:
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


class _Stage:
    """A search of some chains: their trees, what is open of them, and the compiled part."""

    def __init__(self, of: _Search, grown: list[Grown], coarse: bool) -> None:
        F, K, roots = trees_of(grown)
        nodes = [2 * len(chains.tiles) - 1 for chains in grown]
        self.of, self.grown, self.coarse = of, grown, coarse
        self.joint = Joint(of.I, list(zip(roots[:-1].tolist(), nodes, strict=True)))
        self.opened = Opened.roots(len(of.templates), roots)
        self.around = Around(K, roots, grown, len(of.templates))
        self.problem = (of.I, of.X, of.templates, of.widths, F, K)
        ranks = len(of.names)
        scratch = np.zeros(1 + ranks, dtype=np.int64), np.zeros((ranks, 2, 2)), of.out
        self.best = (of.choice, of.keys, *scratch)

    def search(self, dives: tuple[int, ...], most: int = ENDLESS) -> None:
        """Looks at what is open, in steps of so many bounds, until all is proven, the budget is
        spent or `most` bounds are made; more only until a mapping is found."""
        of, opened = self.of, self.opened
        begun, steps = not opened.rooting, cycle(dives)
        while opened.rooting:
            self._on(opened, len(of.templates) + 1)
        of.clock = of.clock or time.perf_counter()  # all is compiled by now
        if self.coarse and not begun:
            self._look_at_each()
        self._look_around()
        opened.sort()
        while opened.waiting and not of.spent() and not (of.chosen and opened.made >= most):
            before = of.keys[0]
            self._on(opened, of.within(next(steps)))
            if of.keys[0] < before:
                self._look_around()
            opened.sort()  # on from where the bound is least, not where the last step ended

    def _look_at_each(self) -> None:
        """A first mapping of every template, before one of them takes all the time."""
        parts = self.opened.apart()
        each = max(FEWEST, min(LOOK, COARSE_BOUNDS // max(1, 2 * len(parts))))
        for part in parts:
            if self.of.spent():
                break
            self._on(part, self.of.within(each))
        if parts:
            self.opened.put_together(parts)

    def _look_around(self) -> None:
        """At sets around the best mapping, until they have no better one."""
        of, before = self.of, np.inf
        while of.chosen and of.keys[0] < before:
            before = float(of.keys[0])
            template, tiles, splits = of.chosen
            nodes = self.around.place(list(tiles.values()), list(splits.values()))
            if nodes is None:
                return
            for entries in self.around.sets(template, nodes):
                near = Opened(entries, np.zeros((len(entries), 2)), known=False)
                while near.rooting and not of.spent():
                    self._on(near, of.within(len(entries)))
                if not of.spent():
                    self._on(near, of.within(AROUND))

    def _on(self, opened: Opened, most: int) -> None:
        """About as many bounds, unless nothing is left open before."""
        from mappers.search.bulk.branch import improve

        of, stop = self.of, opened.made + most
        while opened.waiting and opened.made < stop:
            before = opened.made, opened.costed
            of.choice[0] = -1
            left = stop - opened.made
            arrays = (*self.joint.arrays(), of.bars, left, *opened.arrays())
            try:
                improve(*self.problem, *arrays, *self.best)
            finally:
                of.bounds += opened.made - before[0]
                of.evaluated += opened.costed - before[1]
                of.take(self.grown)
