"""The least time of several runs."""

from __future__ import annotations

import time
from collections.abc import Callable


def best(repeat: int, work: Callable[[], object]) -> float:
    """Seconds by the clock of the fastest of `repeat` runs."""
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def best_compiled(repeat: int, work: Callable[[], object]) -> float:
    """The same, after one run that compiles."""
    work()
    return best(repeat, work)
