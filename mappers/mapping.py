"""Where each tile of a matrix multiplication lies, level by level.

Level 0 is the outermost memory and holds the whole problem. At every level below, an instance holds
`tile`; the parent's tile is split over `spatial` instances per rank and stepped through by the
loops
`order` (outermost first), all loops of one level inside those of the level above. Tiles nest
aligned: a parent's tile is a multiple of its child's, or the whole extent, so tiles are ragged only
at the problem's edge. Sizes may be numpy arrays: then a Mapping stands for many at once.
"""

from __future__ import annotations

from collections.abc import Mapping as Map
from dataclasses import dataclass
from typing import Any

from accel_models.engines.tile import Number

RANKS = ("b", "m", "n", "k")
OPERAND_RANKS: dict[str, str] = {"activation": "bmk", "weight": "bkn", "output": "bmn"}


@dataclass(frozen=True, slots=True)
class LevelMapping:
    """What one level does: the tile an instance holds, the split over instances, the loop order."""

    level: str
    tile: Map[str, Number]
    spatial: Map[str, Number]
    order: tuple[str, ...]
    keeps: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Mapping:
    """`levels` match the path's, outermost first, the engines last."""

    levels: tuple[LevelMapping, ...]

    def describe(self) -> list[dict[str, Any]]:
        """Plain values for JSON; ranks that a level leaves whole and unsplit are left out."""
        rows = []
        for outer, level in zip(self.levels, self.levels[1:], strict=False):
            loops = [r for r in level.order if outer.tile[r] > level.tile[r] * level.spatial[r]]
            rows.append(
                {
                    "level": level.level,
                    "tile": {r: int(level.tile[r]) for r in RANKS},
                    "spatial": {r: int(s) for r, s in level.spatial.items() if s > 1},
                    "loops": loops,
                    "keeps": list(level.keeps),
                }
            )
        return rows

    def at(self, index: int) -> Mapping:
        """The scalar mapping at one position of the arrays."""

        def pick(sizes: Map[str, Number]) -> dict[str, int]:
            return {r: int(s[index]) if getattr(s, "ndim", 0) else int(s) for r, s in sizes.items()}

        return Mapping(
            tuple(
                LevelMapping(v.level, pick(v.tile), pick(v.spatial), v.order, v.keeps)
                for v in self.levels
            )
        )


def describe_tile(mapping: Mapping, first_core: int) -> str:
    """`128x128x64` and how it is spread, for one line of a table."""
    core = mapping.levels[min(first_core, len(mapping.levels) - 1)]
    shape = "x".join(str(int(core.tile[r])) for r in ("m", "n", "k"))
    split = int(core.spatial["k"])
    return shape + (f" split-k {split}" if split > 1 else "")
