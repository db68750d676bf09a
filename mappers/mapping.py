"""Where each tile of a contraction lies, level by level.

Level 0 is the outermost memory and holds the whole problem. At every level below, an instance holds
`tile`; the parent's tile is split over `spatial` instances per rank and stepped through by the
loops
`order` (outermost first), all loops of one level inside those of the level above. Loop bounds are
whole numbers, so that tiles nest: a parent's tile is a multiple of its child's tile times its
split, or the whole rank, and tiles are ragged only at the problem's edge.
"""

from __future__ import annotations

from collections.abc import Mapping as Map
from dataclasses import dataclass
from typing import Any

RANKS = ("b", "m", "n", "k")
OPERANDS = ("activation", "weight", "output")


@dataclass(frozen=True, slots=True)
class LevelMapping:
    """What one level does: the tile an instance holds, the split over instances, the loop order."""

    level: str
    tile: Map[str, int]
    spatial: Map[str, int]
    order: tuple[str, ...]
    keeps: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Mapping:
    """`levels` match the path's, outermost first, the engines last."""

    levels: tuple[LevelMapping, ...]

    def describe(self) -> list[dict[str, Any]]:
        """Plain values for JSON; ranks that a level leaves unsplit are left out."""
        rows = []
        for outer, level in zip(self.levels, self.levels[1:], strict=False):
            loops = [r for r in level.order if outer.tile[r] > level.tile[r] * level.spatial[r]]
            rows.append(
                {
                    "level": level.level,
                    "tile": {r: int(t) for r, t in level.tile.items()},
                    "spatial": {r: int(s) for r, s in level.spatial.items() if s > 1},
                    "loops": loops,
                    "keeps": list(level.keeps),
                }
            )
        return rows


def describe_tile(mapping: Mapping, first_core: int) -> str:
    """`128x128x64` and how it is spread, for one line of a table."""
    core = mapping.levels[min(first_core, len(mapping.levels) - 1)]
    shape = "x".join(str(size) for rank, size in core.tile.items() if rank != "b")
    split = core.spatial.get("k", 1)
    return shape + (f" split-k {split}" if split > 1 else "")
