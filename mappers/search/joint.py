"""What a search has worked out of its sets of chains: rows that grow."""

from __future__ import annotations

import numpy as np


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

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """V and C of `joint`."""
        if self.wanted[0]:
            more = np.empty((len(self.rows) + int(self.wanted[0]), self.columns))
            self.rows = np.concatenate([self.rows, more])
            self.wanted[0] = 0
        return self.rows, self.classes
