"""Measurements predicted from a machine's kernel library: all cases that are alike at once."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

from sim.measured.cases import Case


@dataclass(frozen=True, slots=True)
class Predicted:
    """Seconds, the part that is largest, and the kernel's tile."""

    seconds: float
    bound_by: str
    tile: str


Answer = Predicted | str  # or why there is none


def by_group(
    cases: Sequence[Case],
    key: Callable[[Case], Hashable],
    predict: Callable[[Sequence[Case]], Sequence[Answer]],
) -> list[Answer]:
    """`predict` of the cases of each key together, in the order of the cases."""
    groups: dict[Hashable, list[int]] = {}
    for i, case in enumerate(cases):
        groups.setdefault(key(case), []).append(i)
    found: list[Answer] = [""] * len(cases)
    for members in groups.values():
        answers = predict([cases[i] for i in members])
        for i, answer in zip(members, answers, strict=True):
            found[i] = answer
    return found
