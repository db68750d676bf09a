"""Simulated time: whole ticks, and what happens when, on a simpy environment.

Things of one tick happen in two rounds: tokens and ends first, then resources that several want
choose among what waits for them, in a fixed order of resources; a choice may bring about more of
both. Tokens are counts, so the first round's order does not matter; so no result depends on the
order in which actors were written down.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any

import simpy
from simpy.events import EventPriority

Call = Callable[[], None]


class Clockwork:
    """`at` calls something later, `late` at the end of this tick; `leap` moves the clock without
    anything happening. `between` is called once, as soon as no event is half done."""

    def __init__(self) -> None:
        self.environment = simpy.Environment()
        self.leapt = 0
        self.events = 0
        self.pending: dict[int, tuple[int, tuple[Any, ...]]] = {}
        self.lates: list[tuple[int, Call]] = []
        self.between: Call | None = None

    @property
    def now(self) -> int:
        """Ticks since the start, those that were leapt over included."""
        return self.environment._now + self.leapt  # type: ignore[return-value]

    def at(self, delay: int, call: Call, key: tuple[Any, ...]) -> None:
        """Call it `delay` ticks from now; `key` says what it is, for comparing states."""
        self.events += 1
        number = self.events
        self.pending[number] = (self.now + delay, key)

        def happen(_: simpy.Event) -> None:
            del self.pending[number]
            call()

        event = simpy.Event(self.environment)
        event._ok, event._value = True, None
        assert event.callbacks is not None
        event.callbacks.append(happen)
        self.environment.schedule(event, EventPriority(1), delay)

    def late(self, rank: int, call: Call) -> None:
        """Call it when nothing else is left in this tick, lower ranks first; a rank once a time."""
        heappush(self.lates, (rank, call))

    def leap(self, ticks: int) -> None:
        """Everything that is pending happens so much later."""
        self.leapt += ticks
        self.pending = {n: (when + ticks, key) for n, (when, key) in self.pending.items()}

    def run(self) -> None:
        """Until nothing is left to happen."""
        environment = self.environment
        while self.lates or environment.peek() != float("inf"):
            if self.lates and environment.peek() > environment._now:
                heappop(self.lates)[1]()
            else:
                environment.step()
            if self.between:
                call, self.between = self.between, None
                call()
