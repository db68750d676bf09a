"""What a search has open, and what it has worked out of its sets: arrays that grow."""

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


class Joint:
    """Rows of `mappers.search.bulk.joint`, with room for more."""

    def __init__(self, I: np.ndarray, trees: list[tuple[int, int]]) -> None:
        from mappers.search.bulk import joint as at
        from mappers.search.bulk.layout import EVENS, LACKS_A, LEVELS

        self.classes = np.zeros((4, at.KEYS + 2 * at.MOST_CLASSES), dtype=np.int64)
        self.columns = at.columns(int(I[LEVELS]), int(I[EVENS]))
        for operand in range(3):
            if (rank := int(I[LACKS_A + operand])) >= 0:
                self.classes[operand, at.FIRST_NODE], self.classes[operand, at.NODES] = trees[rank]
        self.rows = np.empty((4 * max(nodes for _, nodes in trees), self.columns))
        self.wanted = self.classes[3, at.WANTED : at.WANTED + 1]
        self.used = self.classes[3, at.USED : at.USED + 1]

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """V and C of `joint`."""
        if self.wanted[0]:
            more = np.empty((len(self.rows) + int(self.wanted[0]), self.columns))
            self.rows = np.concatenate([self.rows, more])
            self.wanted[0] = 0
        return self.rows, self.classes
