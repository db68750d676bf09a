"""How the busiest core's share of an op divides: what the event simulator runs step by step."""

from __future__ import annotations

from collections.abc import Mapping as Map
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Steps:
    """`outputs` results one after the other, each of `parts` steps; a step's tiles are loaded,
    converted, computed.

    `loads`: shares of the levels' seconds that bring inputs in, the rest taking results out;
    without it `Work.head` and `Work.tail` (the first step's, the last result's) say, and what
    neither is, is spent while a step computes. Shares of the vector engine's: `before` the matrix
    engine's, `finish` once per result, the rest after every step. `buffers`: steps whose tiles the
    core holds at once. `once`: the tail's stores and the hand-over come once, at the end of all.
    """

    outputs: int = 1
    parts: int = 1
    buffers: int = 2
    before: float = 0.0
    finish: float = 0.0
    loads: Map[str, float] | None = None
    once: bool = False

    @property
    def total(self) -> int:
        """Steps of all results."""
        return self.outputs * self.parts


ONE_STEP = Steps()
