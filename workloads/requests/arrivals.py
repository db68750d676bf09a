"""When requests come.

    poisson   independent of each other: gaps are exponential with mean 1 / rate
    gamma     gaps have mean 1 / rate and coefficient of variation cv (shape 1 / cv^2); cv 1 is
              poisson, above it arrivals bunch, below they are more regular
    bursts    `size` at once, as many bursts as make the rate, which come as in poisson
    constant  a gap of 1 / rate each time
    closed    so many users, each of whom sends the next request `think` seconds after the answer to
              the last one: requests have no time of arrival, but a session

Rates are requests per second. A new process is a block with `gaps` and a line in ARRIVALS.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from pydantic import Field

from accel_models.facts import Count
from workloads.requests.block import Block, NotNegative, Positive


class Arrivals(Protocol):
    """A process of arrivals."""

    # so many seconds from one request to the next, those after `before` requests
    def gaps(self, rng: np.random.Generator, count: int, before: int) -> np.ndarray: ...


class Poisson(Block):
    """Independent of each other."""

    rate: Positive

    def gaps(self, rng: np.random.Generator, count: int, before: int) -> np.ndarray:
        return rng.exponential(1 / self.rate, size=count)


class Gamma(Block):
    """Gaps of this coefficient of variation."""

    rate: Positive
    cv: Positive

    def gaps(self, rng: np.random.Generator, count: int, before: int) -> np.ndarray:
        shape = 1 / self.cv**2
        return rng.gamma(shape, 1 / (self.rate * shape), size=count)


class Bursts(Block):
    """Several at once."""

    rate: Positive
    size: Count

    def gaps(self, rng: np.random.Generator, count: int, before: int) -> np.ndarray:
        drawn = rng.exponential(self.size / self.rate, size=count)
        first = (before + np.arange(count)) % self.size == 0
        return np.where(first, drawn, 0.0)


class Constant(Block):
    """As regular as can be."""

    rate: Positive

    def gaps(self, rng: np.random.Generator, count: int, before: int) -> np.ndarray:
        return np.full(count, 1 / self.rate)


class Closed(Block):
    """Users who wait for an answer before they go on."""

    users: Count
    think: NotNegative = Field(default=0.0, description="seconds")


# name -> process.
ARRIVALS: dict[str, type[Block]] = {
    "poisson": Poisson,
    "gamma": Gamma,
    "bursts": Bursts,
    "constant": Constant,
    "closed": Closed,
}
