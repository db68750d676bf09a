"""The stack of a search."""

from __future__ import annotations

import numpy as np


class Opened:
    """Open entries of a stage, as `mappers.search.bulk.branch` keeps them."""

    def __init__(self, templates: int, roots: np.ndarray) -> None:
        self.stack = np.empty((templates + 4096, len(roots)), dtype=np.int64)
        self.stack[:templates, 0], self.stack[:templates, 1:] = np.arange(templates), roots[:-1]
        self.bounds = np.zeros((len(self.stack), 2))
        self.state = np.array([templates, 0, 0, 0], dtype=np.int64)

    @property
    def waiting(self) -> int:
        return int(self.state[0])

    @property
    def made(self) -> int:
        return int(self.state[1])

    @property
    def costed(self) -> int:
        return int(self.state[2])

    @property
    def rooting(self) -> bool:
        """Are there entries whose bound is not known?"""
        return bool(self.state[3] < self.state[0])

    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Stack, bounds and state, with room for more."""
        if len(self.stack) < self.waiting + 4:
            self.stack = np.concatenate([self.stack, np.empty_like(self.stack)])
            self.bounds = np.concatenate([self.bounds, np.zeros_like(self.bounds)])
        return self.stack, self.bounds, self.state

    def sort(self) -> None:
        """The lowest bound on top."""
        order = np.argsort(-self.bounds[: self.waiting, 0], kind="stable")
        self.stack[: len(order)] = self.stack[order]
        self.bounds[: len(order)] = self.bounds[order]

    def least_bound(self) -> float:
        """Nothing open can be better than this."""
        return float(self.bounds[: self.waiting, 0].min(initial=np.inf))
