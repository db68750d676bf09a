"""The best mapping of a contraction on a path."""

from __future__ import annotations

import time

from accel_models.path import Path
from mappers.matmul import matmul_cost
from mappers.problem import Contraction
from mappers.search.exhaustive import exhaustive
from mappers.search.found import Found, Limits


def best_mapping(
    problem: Contraction, path: Path, objective: str = "latency", limits: Limits | None = None
) -> Found | None:
    """The mapping with the least `objective` (latency, energy or edp); None if nothing fits."""
    started = time.perf_counter()
    candidates = list(exhaustive(problem, path, objective))
    if not candidates:
        return None
    last = candidates[-1]
    cost = matmul_cost(problem, last.mapping, path)
    seconds = time.perf_counter() - started
    return Found(last.mapping, cost, last.evaluated, last.evaluated, seconds, 1.0)
