"""The keys of a mapping file, what its text says, and where.

    design: a100_sxm              # optional, as are cores and the sizes (matmul or ranks)
    cores: sm
    matmul: 4096x4096x4096
    levels:                       # outermost first; the outermost memory is not listed
      - level: l2
        tile: {m: 4096, n: 1024}  # a rank not named: as in the level above
        spatial: {n: 2}           # instances along a rank (1)
        order: [n, m, k]          # loops that step through these tiles in the parent's (b m n k)
        keeps: [activation, weight, output]   # (what the design says)

The outermost memory holds everything. A level that is not listed holds the tile of the level above,
unsplit. `mappers.mapping_file` reads and writes it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from accel_models.facts import Count
from accel_models.memory import Operand
from accel_models.reader import Document, KeyPath, dotted
from kernels_ref.errors import UserError
from mappers.mapping import RANKS

Problem = tuple[KeyPath, str]
LARGEST = 16 * 1024 * 1024
_SIZES = re.compile(r"(\d{1,8}k?)x(\d{1,8}k?)x(\d{1,8}k?)", re.IGNORECASE)


class MappingError(UserError):
    """A mapping that the machine cannot run as written: a line per problem."""


class _Block(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class LevelText(_Block):
    """One level as written."""

    level: str = Field(description="a memory below the outermost, or `engine`")
    tile: dict[str, Count] = Field(
        default_factory=dict, description="size of each rank; not named: as in the level above"
    )
    spatial: dict[str, Count] = Field(
        default_factory=dict, description="instances that share the parent's tile, by rank (1)"
    )
    order: list[str] | None = Field(
        default=None,
        description="loops that step through these tiles inside the parent's, outermost first",
    )
    keeps: list[Operand] | None = Field(
        default=None, description="operands that stay here (what the design says)"
    )


class MappingText(_Block):
    """A mapping file."""

    design: str | None = Field(default=None, description="that it is written for")
    cores: str | None = Field(default=None, description="kind of cores")
    matmul: str | None = Field(default=None, description="sizes, as 4096x4096x4096: m, n, k")
    ranks: dict[str, Count] | None = Field(default=None, description="sizes, by rank")
    levels: list[LevelText] = Field(description="outermost first, without the outermost memory")


def file_schema() -> dict[str, Any]:
    """JSON Schema of a mapping file."""
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Tileloom mapping"}
    return head | {k: v for k, v in MappingText.model_json_schema().items() if k != "title"}


def matmul_extents(text: str) -> dict[str, int]:
    """Sizes of `MxNxK`, each a number or like 4k (times 1024). Raises UserError."""
    match = _SIZES.fullmatch(text.strip())
    if not match:
        raise UserError(f"'{text}' are not sizes; write MxNxK, such as 4096x4096x4096 or 1x4kx4k")
    sizes = [int(s.lower().rstrip("k")) * (1024 if s[-1] in "kK" else 1) for s in match.groups()]
    if not all(1 <= size <= LARGEST for size in sizes):
        raise UserError(f"'{text}': each size must be at least 1 and at most 16384k ({LARGEST})")
    return dict(zip(RANKS, (1, *sizes), strict=True))


@dataclass(frozen=True)
class MappingFile:
    """What a file says, and where."""

    text: MappingText
    document: Document

    def error(self, problems: list[Problem]) -> MappingError:
        """A line for each problem, in the order of the file."""
        placed = {(self.document.place(path), self._key(path) + what) for path, what in problems}
        in_order = sorted(placed, key=lambda line: (line[0].line, line[1]))
        return MappingError("\n".join(f"{place}: {text}" for place, text in in_order))

    def _key(self, path: KeyPath) -> str:
        """`smem.tile.m: ` where the level has a name, else as the file's keys have it."""
        if len(path) > 1 and path[0] == "levels":
            written = self.document.data["levels"][path[1]]
            if isinstance(written, dict) and isinstance(written.get("level"), str):
                path = (written["level"], *path[2:])
        return f"{dotted(path)}: "

    @property
    def extents(self) -> dict[str, int] | None:
        """The sizes, where the file says them. Raises MappingError for sizes that are none."""
        if self.text.matmul is not None and self.text.ranks is not None:
            raise self.error([(("ranks",), "give 'matmul' or 'ranks', not both")])
        if self.text.ranks is not None:
            return dict(self.text.ranks)
        if self.text.matmul is None:
            return None
        try:
            return matmul_extents(self.text.matmul)
        except UserError as problem:
            raise self.error([(("matmul",), str(problem))]) from None
