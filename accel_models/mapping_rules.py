"""What a machine, or its compiler, lets a mapping do at each level; where nothing is said, all is
free.

    mapping:
      factors: any
      levels:
        smem: {tiles: {m: [64, 128, 256], n: [64, 128, 256], k: [32, 64]}}
        pe:   {axes: {rows: {size: 12, ranks: [r, c]}, cols: {size: 14, ranks: [p, m]}}}

A rule names the level that it is about: a memory, or `engine` for the matrix engines themselves. A
rule about a rank that a problem does not have says nothing about that problem.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from accel_models.facts import Count, Facts
from accel_models.memory import Operand

Sizes = Annotated[list[Count], Field(min_length=1)]


class Axis(Facts):
    """One direction of an array of instances, and the ranks that may be split along it."""

    size: Count = Field(description="instances along it")
    ranks: list[str] = Field(description="ranks that may be split along it, several at once too")


class LevelRules(Facts):
    """What a mapping may do at one level."""

    tiles: dict[str, Sizes] = Field(
        default_factory=dict,
        description="allowed sizes of a rank; the whole rank is one more where it is smaller than "
        "the largest of them",
    )
    multiples: dict[str, Count] = Field(
        default_factory=dict,
        description="sizes of a rank are multiples of this, or the whole rank",
    )
    split: list[str] | None = Field(
        default=None, description="ranks that may be split over this level's instances (all)"
    )
    axes: dict[str, Axis] = Field(
        default_factory=dict,
        description="this level's instances in one parent, as an array: each rank is split along "
        "axes that list it, and along each axis no further than its size",
    )
    stationary: list[Operand] | None = Field(
        default=None,
        description="operands whose tile may stay while the loops that do not concern it run (all)",
    )


class MappingRules(Facts):
    """Rules for every level, and for all of them together."""

    factors: Literal["any", "perfect"] = Field(
        default="any", description="`perfect`: every loop bound divides the rank exactly"
    )
    levels: dict[str, LevelRules] = Field(default_factory=dict)
