"""What a search has open: a stack that grows."""

from __future__ import annotations

import numpy as np


class Opened:
    """Open entries of a stage, as `mappers.search.bulk.branch` keeps them."""

    def __init__(self, entries: np.ndarray, bounds: np.ndarray, known: bool = True) -> None:
        self.stack = np.concatenate([entries, np.empty((4096, entries.shape[1]), np.int64)])
        self.bounds = np.concatenate([bounds, np.zeros((4096, 2))])
        self.state = np.array([len(entries), 0, 0, len(entries) if known else 0], dtype=np.int64)

    @classmethod
    def roots(cls, templates: int, roots: np.ndarray) -> Opened:
        """Every template's whole set, with no bounds yet."""
        entries = np.empty((templates, len(roots)), dtype=np.int64)
        entries[:, 0], entries[:, 1:] = np.arange(templates), roots[:-1]
        return cls(entries, np.zeros((templates, 2)), known=False)

    def apart(self) -> list[Opened]:
        """Every entry alone, the lowest bound first."""
        self.sort()
        places = [slice(i, i + 1) for i in reversed(range(self.waiting))]
        return [Opened(self.stack[place], self.bounds[place]) for place in places]

    def put_together(self, parts: list[Opened]) -> None:
        """What is open is what is in these; what they did is counted."""
        entries = np.concatenate([part.stack[: part.waiting] for part in parts])
        bounds = np.concatenate([part.bounds[: part.waiting] for part in parts])
        made, costed = self.state[1:3] + sum(part.state[1:3] for part in parts)
        whole = Opened(entries, bounds)
        self.stack, self.bounds, self.state = whole.stack, whole.bounds, whole.state
        self.state[1:3] = made, costed
        self.sort()

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
