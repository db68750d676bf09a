"""How much of what a kernel reads again its shared memory still holds.

A loop over the same data finds, in a cache that puts out the least recently used line of a set, all
lines of a set that no more lines share than it has ways, and none of any other. Where addresses
are hashed over sets, as in GPUs' L2, a set's lines are Poisson distributed around ways * x, with x
the bytes that pass between two uses over what the cache holds of them, so that

    share = P(a line's set has at most WAYS - 1 others)
          = sum over i < WAYS of exp(-y) y^i / i!,  y = WAYS * x

a cliff around x = 1 as wide as 1/sqrt(WAYS).
Not modeled: other replacement rules, sectors, partitions of a cache other than by what share of it
one kernel's data may fill (`warm`).
"""

from __future__ import annotations

from math import lgamma

import numpy as np

# Real L2 caches have 16 or so (recalled), but their hashes spread lines more evenly than chance:
# taken for all machines, from the L40S's fitted rows; the other generations' cannot tell.
WAYS = 128
OTHERS = np.arange(WAYS)
LOG_FACTORIALS = np.array([lgamma(i + 1) for i in OTHERS])
LEAST, MOST = 1e-9, 4.0  # of x: all is there, nothing is


def found_again(passed: np.ndarray, held: float) -> np.ndarray:
    """Share of data that is still there after `passed` bytes (infinite: none) in a cache that holds
    `held` bytes of them."""
    expected = WAYS * np.clip(np.asarray(passed) / held, LEAST, MOST)[..., None]
    terms = OTHERS * np.log(expected) - expected - LOG_FACTORIALS
    share: np.ndarray = np.exp(terms).sum(axis=-1)
    return np.minimum(share, 1.0)
