"""What a mix of requests amounts to, so that a person can check it: rate, means, percentiles.

Moments are summed up as requests pass; percentiles are those of a sample of at most SAMPLE requests
(reservoir sampling, Vitter 1985, algorithm R), exact below that. Memory does not grow.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice
from math import sqrt
from typing import Any

import numpy as np

from workloads.requests.request import Request, RequestsError

SAMPLE = 100_000
PERCENTILES = (50, 90, 99)


@dataclass
class _Moments:
    """Count, mean and variance so far (Welford 1962), and a sample."""

    rng: np.random.Generator
    count: int = 0
    mean: float = 0.0
    squares: float = 0.0
    most: float = 0.0
    kept: list[float] = field(default_factory=list)

    def add(self, value: float) -> None:
        self.count += 1
        step = value - self.mean
        self.mean += step / self.count
        self.squares += step * (value - self.mean)
        self.most = max(self.most, value)
        if len(self.kept) < SAMPLE:
            self.kept.append(value)
        elif (place := int(self.rng.integers(self.count))) < SAMPLE:
            self.kept[place] = value

    def described(self, unit: str = "") -> dict[str, float]:
        """Mean, coefficient of variation, percentiles, the largest; keys end with the unit."""
        spread = sqrt(self.squares / self.count) / self.mean if self.mean else 0.0
        ranks = np.percentile(self.kept, PERCENTILES)
        named = {f"p{p}{unit}": float(v) for p, v in zip(PERCENTILES, ranks, strict=True)}
        return {f"mean{unit}": self.mean, "cv": spread, **named, f"max{unit}": self.most}


def statistics(found: Iterable[Request], most: int = 100_000, seed: int = 0) -> dict[str, Any]:
    """Of the first `most` requests: how many, rates, gaps in seconds, lengths in tokens, the share
    of prompt tokens that are a shared prefix. Raises RequestsError where there are none."""
    rng = np.random.default_rng(seed)
    prompt, output, gap = (_Moments(rng) for _ in range(3))
    last, shared, sessions = None, 0, set[str]()
    for request in islice(found, most):
        prompt.add(request.prompt)
        output.add(request.output)
        shared += request.prefix.tokens if request.prefix else 0
        if request.session is not None and len(sessions) < SAMPLE:
            sessions.add(request.session)
        if request.arrival_s is not None:
            if last is not None:
                gap.add(request.arrival_s - last)
            last = request.arrival_s
    if not prompt.count:
        raise RequestsError("there are no requests: the trace is empty, or its limit too small")
    document: dict[str, Any] = {
        "requests": prompt.count,
        "prompt_tokens": prompt.described(),
        "output_tokens": output.described(),
        "prefix_share": shared / (prompt.mean * prompt.count),
        "sessions": len(sessions),
    }
    if gap.count and gap.mean:
        document["duration_s"] = gap.mean * gap.count
        document["requests_per_second"] = 1 / gap.mean
        document["tokens_per_second"] = (prompt.mean + output.mean) / gap.mean
        document["gaps"] = gap.described("_s")
    return document
