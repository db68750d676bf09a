"""A timeline laid out on tracks: what is drawn where, for traces and Gantt charts.

A resource has a track, one that serves several at a time has as many lanes as were busy at once. A
folded stretch is one bar on each lane that was busy in its period. A job may be under way when the
clock leaps; the state being the same after the leap, so is then what is left of the job: the bar of
the leap lies between its end and its end plus the leap, and whole periods are in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from sim.event.program import Program
from sim.event.record import Fold, Job, Timeline


@dataclass(frozen=True, slots=True)
class Stretch:
    """What ran from `start_s` on: an op or a part of it, drawn once for `count` copies of it.
    `program`: what it was, where that is known. `process`: whose resources it uses."""

    label: str
    timeline: Timeline
    start_s: float = 0.0
    count: float = 1
    program: Program | None = None
    process: str = ""


def in_a_row(
    parts: Iterable[tuple[str, Timeline, float, Program | None]],
) -> Iterator[Stretch]:
    """(label, timeline, count, program), each from where the one before ended; copies take no
    room."""
    start = 0.0
    for label, timeline, count, program in parts:
        yield Stretch(label, timeline, start, count, program)
        start += timeline.seconds


@dataclass(frozen=True, slots=True)
class Bar:
    """Ticks [begin, end) of a lane, `busy` of them at work: for a job, over a fold, or for
    `unrecorded` jobs."""

    resource: str
    lane: int
    begin: int
    end: int
    busy: int
    job: Job | None = None
    fold: Fold | None = None
    unrecorded: int = 0

    @property
    def name(self) -> str:
        """What it says."""
        if self.job:
            return self.job.actor
        if self.fold:
            return f"repeated {self.fold.times} times"
        return f"{self.unrecorded} uses, not recorded"


def bars(timeline: Timeline) -> list[Bar]:
    """In the order of their begin on each lane."""
    return list(_Layout(timeline).bars())


@dataclass
class _Layout:
    """Where each lane has come to."""

    timeline: Timeline
    ends: dict[str, list[int]] = field(default_factory=dict)

    def bars(self) -> Iterator[Bar]:
        """What is known, and one bar of what was not recorded."""
        told: dict[str, int] = {}
        jobs: dict[str, int] = {}
        for bar in self._known():
            told[bar.resource] = told.get(bar.resource, 0) + bar.busy
            jobs[bar.resource] = jobs.get(bar.resource, 0) + (bar.job is not None)
            yield bar
        if self.timeline.whole:
            return
        for name, counters in self.timeline.counters.items():
            begin, rest = max(self.ends.get(name, [0])), counters.total - told.get(name, 0)
            if counters.last_end > begin:
                uses = counters.jobs - jobs.get(name, 0)
                yield Bar(name, 0, begin, counters.last_end, rest, unrecorded=uses)

    def _known(self) -> Iterator[Bar]:
        """Jobs as they began, and folds between them; no fold of what was not recorded."""
        folds = list(reversed(self.timeline.folds))
        for job in self.timeline.jobs:
            while folds and folds[-1].at < job.begin:
                yield from self._leap(folds.pop())
            lane = self._lane(job)
            yield Bar(job.resource, lane, job.begin, job.end, job.end - job.begin, job)
        while folds and self.timeline.whole:
            yield from self._leap(folds.pop())

    def _lane(self, job: Job) -> int:
        """The first that is free."""
        ends = self.ends.setdefault(job.resource, [])
        lane = next((n for n, end in enumerate(ends) if end <= job.begin), len(ends))
        ends[lane:lane + 1] = [job.end]  # fmt: skip
        return lane

    def _leap(self, fold: Fold) -> Iterator[Bar]:
        """On every lane that was busy in the period; they share what was busy."""
        leap = fold.length * fold.times
        for name, busy in fold.busy.items():
            ends = self.ends.get(name, [])
            lanes = [lane for lane, end in enumerate(ends) if end > fold.at - fold.length]
            shared = len(lanes)
            for number, lane in enumerate(lanes):
                begin = max(fold.at, ends[lane])
                ends[lane] = begin + leap
                share = busy * fold.times * (number + 1) // shared
                share -= busy * fold.times * number // shared
                if share:
                    yield Bar(name, lane, begin, ends[lane], share, fold=fold)
