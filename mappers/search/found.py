"""What a search answers, and what it was asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf

from mappers.cost import Cost
from mappers.mapping import Mapping

# First key decides, the second breaks ties.
OBJECTIVES: dict[str, Callable[[Cost], tuple[float, float]]] = {
    "latency": lambda cost: (cost.latency_s, cost.energy_j),
    "energy": lambda cost: (cost.energy_j, cost.latency_s),
    "edp": lambda cost: (cost.latency_s * cost.energy_j, cost.latency_s),
}


@dataclass(frozen=True, slots=True)
class Limits:
    """When to stop before the optimum is proven. `gap`: once the best is within this share of the
    lower bound; `seconds` and `evaluations`: at most so long or so many bounds. And what a mapping
    may take: `latency_s`, and `held_bytes` of all memories but the outermost."""

    gap: float = 0.0
    seconds: float | None = None
    evaluations: int | None = None
    latency_s: float = inf
    held_bytes: float = inf


@dataclass(frozen=True, slots=True)
class Found:
    """The best mapping found, and how well that is known.

    `total` mappings are in the space; `evaluated` were costed; the rest (`pruned`) are covered by
    bounds, save where the search stopped early: then `gap` > 0, the share by which the optimum can
    lie below the value found at most.
    """

    mapping: Mapping
    cost: Cost
    total: int
    evaluated: int
    seconds: float
    gap: float
    bounds: int = 0  # made for sets of mappings
    cached: bool = False
    interrupted: bool = False  # by ctrl-C

    @property
    def pruned(self) -> int:
        return self.total - self.evaluated
