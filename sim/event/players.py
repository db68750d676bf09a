"""Actors and channels at work: what a program's parts have come to while it runs."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from itertools import accumulate
from typing import TYPE_CHECKING

from sim.event.program import Actor, Channel, Run, rates
from sim.event.record import Job

if TYPE_CHECKING:
    from sim.event.engine import Firing


class Stream:
    """A channel at work: tokens there, space left, and who brought the last of each; what the runs
    of both cycles give and take."""

    __slots__ = ("gave", "gives", "room", "source", "spec", "takes", "target", "tokens", "took")

    def __init__(self, spec: Channel, source: Player, target: Player) -> None:
        self.spec, self.source, self.target = spec, source, target
        self.gives = rates(source.spec, spec.produce)
        self.takes = rates(target.spec, spec.consume)
        self.tokens = spec.initial
        self.room = None if spec.capacity is None else spec.capacity - spec.initial
        self.gave: Job | None = None
        self.took: Job | None = None


class Player:
    """An actor at work."""

    __slots__ = ("after", "before", "blocked", "bounds", "busy", "finished", "flight", "inputs",
                 "last", "outputs", "spec", "started", "total")  # fmt: skip

    def __init__(self, spec: Actor) -> None:
        self.spec, self.total = spec, spec.firings
        self.bounds = list(accumulate(run.count for run in spec.cycle))
        self.inputs: list[Stream] = []
        self.outputs: list[Stream] = []
        self.before: list[Stream] = []  # from those that its first firing waits for
        self.after: list[Stream] = []  # to those that wait for its last
        self.started = self.finished = 0
        self.flight: deque[Firing] = deque()  # whose tokens were not handed on, oldest first
        self.busy = False  # a firing has not left its first resource
        self.blocked: tuple[str, Stream] | None = None
        self.last: Job | None = None  # of its first resource

    def at(self, index: int) -> tuple[int, Run]:
        """Which run of its cycle a firing is of: its phase."""
        bounds = self.bounds
        phase = 0 if len(bounds) == 1 else bisect_right(bounds, index % bounds[-1])
        return phase, self.spec.cycle[phase]

    def place(self) -> str:
        """What it is, for comparing states."""
        return self.spec.name

    def lacks(self, phase: int) -> tuple[str, Stream] | None:
        """What keeps it from firing in this run of its cycle: data, or space."""
        for stream in self.inputs:
            if stream.tokens < stream.takes[phase]:
                return stream.spec.kind, stream
        for stream in self.outputs:
            if stream.room is not None and stream.room < stream.gives[phase]:
                return "space", stream
        for stream in self.before if not self.started else ():
            if stream.source.finished < stream.source.total:
                return stream.spec.kind, stream
        return None
