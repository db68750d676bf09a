"""All mappings of the space, costed in bulk, from the innermost choice outward, with pruning.

Inner choices are costed with every outer level ideal (it holds everything), in their best loop
order: completing them only adds traffic, save where two levels' orders together do what neither
does alone. They are completed in the order of that estimate, and no further once it reaches the
best complete mapping or PATIENCE rows brought nothing. Objectives within GAP of each other count as
equal, and the second objective decides between them. So the result may miss the optimum of the
space: tests/mappers/test_search.py holds the loss against costing everything; with more than two
own levels each intermediate stage keeps the BEAM best only, and there is no such figure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from accel_models.path import Path
from mappers.cost import Cost
from mappers.mapping import Mapping
from mappers.matmul import legal, matmul_cost
from mappers.problem import Contraction
from mappers.rows import Rows
from mappers.space import inner_rows, mappings, outer_rows, own_levels

BEAM = 24
BLOCK = 4
LEAST = 8  # rows completed at least, so that equals are seen
PATIENCE = 200  # rows completed in vain before giving up
GAP = 0.005

Objective = Callable[[Cost], tuple[np.ndarray, np.ndarray]]

# First key decides, the second breaks ties.
OBJECTIVES: dict[str, Objective] = {
    "latency": lambda cost: (cost.latency_s, cost.energy_j),
    "energy": lambda cost: (cost.energy_j, cost.latency_s),
    "edp": lambda cost: (cost.latency_s * cost.energy_j, cost.latency_s),
}


@dataclass(frozen=True)
class Candidate:
    """A complete mapping and its value under the objective."""

    key: tuple[float, float]
    mapping: Mapping
    evaluated: int


def exhaustive(problem: Contraction, path: Path, objective: str) -> Iterator[Candidate]:
    """Better and better candidates; the last is the best. Nothing fits: nothing is yielded."""
    score = OBJECTIVES[objective]
    own = own_levels(path)
    rows = inner_rows(problem, path)
    first, second, evaluated = _costed(rows, problem, path, score)
    first, second = _best_order(first, rows), _best_order(second, rows)
    ranking = _ranked(first, second)
    for inner, index in pairwise(own[:-1]):
        rows = outer_rows(rows.take(ranking[:BEAM]), problem, path, index, inner)
        first, second, more = _costed(rows, problem, path, score)
        evaluated += more
        ranking = _ranked(first, second)
    best, improved = (np.inf, np.inf, np.inf), 0
    for start in range(0, len(ranking), BLOCK):
        chosen = ranking[start : start + BLOCK]
        beaten = _class(first[chosen[0]]) >= best[0] and start >= LEAST
        if beaten or start - improved > PATIENCE:
            return
        complete = rows.take(chosen)
        if len(own) > 1:
            complete = outer_rows(complete, problem, path, own[-1], own[-2])
        a, b, more = _costed(complete, problem, path, score)
        evaluated += more
        ranked = _ranked(a, b)
        if len(ranked) and (key := _key(a, b, ranked[0])) < best:
            best, top, improved = key, ranked[0], start
            (_, mapping), *_ = mappings(complete.take(np.array([top])), problem, path)
            yield Candidate((float(a[top]), float(b[top])), mapping.at(0), evaluated)


def _best_order(values: np.ndarray, rows: Rows) -> np.ndarray:
    """For each row the least value among the loop orders of its tile, which stand side by side."""
    (codes,) = rows.order.values()
    orders = len(np.unique(codes))
    return np.repeat(values.reshape(-1, orders).min(axis=1), orders)


def _class(value: np.ndarray | float) -> np.ndarray:
    """Which values of an objective count as equal: those within GAP of each other."""
    return np.floor(np.log(value) / np.log1p(GAP))


def _key(first: np.ndarray, second: np.ndarray, at: int) -> tuple[float, float, float]:
    return float(_class(first[at])), float(second[at]), float(first[at])


def _ranked(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Positions of the legal rows, best first."""
    ranking = np.lexsort((first, second, _class(first)))
    return ranking[np.isfinite(first[ranking])]


def _costed(
    rows: Rows, problem: Contraction, path: Path, score: Objective
) -> tuple[np.ndarray, np.ndarray, int]:
    """Both keys of every row; infinite where it is not legal."""
    first = np.full(len(rows), np.inf)
    second = np.full(len(rows), np.inf)
    undecided = frozenset(own_levels(path)) - rows.tile.keys()
    for at, mapping in mappings(rows, problem, path):
        fits = np.broadcast_to(legal(problem, mapping, path, undecided), at.shape)
        a, b = score(matmul_cost(problem, mapping, path))
        first[at] = np.where(fits, a, np.inf)
        second[at] = np.where(fits, b, np.inf)
    return first, second, len(rows)
