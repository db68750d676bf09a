"""How the busiest core's share of an op divides: what the event simulator runs step by step."""

from __future__ import annotations

from collections.abc import Mapping as Map
from collections.abc import Sequence
from dataclasses import dataclass, replace


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


def joined(kinds: Sequence[tuple[Steps, Map[str, float]]]) -> Steps:
    """Of steps with the seconds that resources are busy with them: as many as all have, in equal
    results; shares are means by these seconds."""
    outputs = sum(steps.outputs for steps, _ in kinds)
    loads = None
    if all(steps.loads is not None for steps, _ in kinds):
        levels = dict.fromkeys(level for steps, _ in kinds for level in steps.loads or {})
        loads = {
            level: _mean(
                [((steps.loads or {}).get(level, 0.0), busy[level]) for steps, busy in kinds]
            )
            for level in levels
        }
    vector = [float(busy.get("vector", 0.0)) for _, busy in kinds]
    return replace(
        kinds[0][0],
        outputs=outputs,
        parts=max(1, round(sum(steps.total for steps, _ in kinds) / outputs)),
        before=_mean([(kind[0].before, s) for kind, s in zip(kinds, vector, strict=True)]),
        finish=_mean([(kind[0].finish, s) for kind, s in zip(kinds, vector, strict=True)]),
        loads=loads,
    )


def _mean(weighted: Sequence[tuple[float, float]]) -> float:
    """Of (value, weight); 0 of no weight."""
    whole = sum(float(weight) for _, weight in weighted)
    return sum(value * float(weight) for value, weight in weighted) / whole if whole else 0.0
