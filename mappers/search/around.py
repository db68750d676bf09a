"""Sets around a mapping, which leave most of it as it is: looked at whenever there is a better one,
since a mapping that is nearly good is soon made good there."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import numpy as np

from mappers.search.grow import Grown


class Around:
    """Of the trees of a stage, as entries of `mappers.search.opened`."""

    def __init__(
        self, links: np.ndarray, roots: np.ndarray, grown: list[Grown], templates: int
    ) -> None:
        """`links`: K of `mappers.search.bulk.layout`."""
        from mappers.search.bulk.layout import LEAF

        self.roots, self.grown, self.templates = roots[:-1], grown, templates
        self.free = [r for r, chains in enumerate(grown) if len(chains.tiles) > 1]
        self.leaf_of = []
        for first, chains in zip(self.roots, grown, strict=True):
            leaves = links[first : first + 2 * len(chains.tiles) - 1, LEAF]
            nodes = np.flatnonzero(leaves >= 0)
            leaf_of = np.empty(len(chains.tiles), dtype=np.int64)
            leaf_of[leaves[nodes]] = first + nodes
            self.leaf_of.append(leaf_of)

    def place(self, tiles: list[np.ndarray], splits: list[np.ndarray]) -> np.ndarray | None:
        """The nodes of these chains; None if one of them is not there."""
        nodes = []
        for chains, leaf_of, tile, split in zip(
            self.grown, self.leaf_of, tiles, splits, strict=True
        ):
            same = (chains.tiles == tile).all(axis=1) & (chains.splits == split).all(axis=1)
            found = np.flatnonzero(same)
            if not len(found):
                return None
            nodes.append(leaf_of[found[0]])
        return np.array(nodes, dtype=np.int64)

    def sets(self, template: int, nodes: np.ndarray) -> Iterator[np.ndarray]:
        """Its chains in every template; then all chains of two ranks with its others."""
        entries = np.empty((self.templates, 1 + len(nodes)), dtype=np.int64)
        entries[:, 0], entries[:, 1:] = np.arange(self.templates), nodes
        yield entries
        for freed in combinations(self.free, min(2, len(self.free))):
            entry = np.array([[template, *nodes]], dtype=np.int64)
            for rank in freed:
                entry[0, 1 + rank] = self.roots[rank]
            yield entry
