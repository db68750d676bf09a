"""Timelines as a trace that ui.perfetto.dev opens: Chrome trace-event JSON.

A track per resource (and lane) with a bar per use, arrows from load to compute to store, curves of
how busy resources are and how full buffers; a track of ops above. What was folded is one bar, what
was not recorded another: nothing is made up. One stretch at a time is in memory.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from sim.event.bars import Bar, Stretch, bars
from sim.event.flows import chains
from sim.event.levels import changes, filling, shares
from sim.event.record import Job

Event = dict[str, Any]
Limits = Mapping[str, tuple[float, str]]

Board = Sequence[tuple[float, float, float]]  # from this second on: watts, share of the clock

OPS = 0  # the track of ops
PS = 10**12  # picoseconds per second
PS_PER_US = 10**6


def write_trace(
    stretches: Iterable[Stretch],
    path: Path,
    title: str,
    limits: Limits | None = None,
    board: Board = (),
) -> None:
    """`limits`: what a resource does when it is always busy, and the unit: GB/s of a memory, or
    W of the power that the limit leaves for work. The curves of others are percent busy.
    `board`: power over the whole run."""
    with path.open("w", encoding="utf-8") as file:
        write(stretches, file, title, limits or {}, board)


def write(
    stretches: Iterable[Stretch], file: TextIO, title: str, limits: Limits, board: Board = ()
) -> None:
    """An event a line."""
    writer = _Trace(limits, title)
    file.write('{"traceEvents": [\n')
    lines = (_line(event) for stretch in stretches for event in writer.events(stretch))
    file.writelines(line if not number else ",\n" + line for number, line in enumerate(lines))
    for event in _board(board, len(writer.processes) + 1):
        file.write(",\n" + _line(event))
    about = {"title": title, "simulated_us": writer.end_ps / PS_PER_US, "notes": writer.notes}
    file.write(f'\n],\n"displayTimeUnit": "ns",\n"otherData": {_line(about)}\n}}\n')


def _board(board: Board, process: int) -> Iterator[Event]:
    """Curves on the time of the whole run, in which copies follow one another."""
    if board:
        name = {"name": "the board, all copies in turn"}
        yield {"ph": "M", "name": "process_name", "pid": process, "args": name}
    for start_s, watts, clock in board:
        for what, value in (("power W", watts), ("clock %", 100 * clock)):
            at = _moment(round(start_s * PS))
            value = float(f"{value:.4g}")
            yield {"ph": "C", "name": what, "pid": process, "ts": at, "args": {"value": value}}


def _line(event: Event) -> str:
    return json.dumps(event, ensure_ascii=False, allow_nan=False)


def _moment(ps: int) -> float:
    """Microseconds, a shade late: readers cut a float's nanoseconds off, and of bars that would
    then overlap by one, Perfetto drops one (slice_drop_overlapping_complete_event)."""
    return float(f"{ps / PS_PER_US:.6f}4")


@dataclass
class _Trace:
    """A trace being written: its processes and their tracks so far. Tracks count on from process to
    process."""

    limits: Limits
    title: str
    processes: dict[str, int] = field(default_factory=dict)
    tracks: dict[tuple[str, str, int], int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    arrows: int = 0
    end_ps: int = 0

    def events(self, stretch: Stretch) -> Iterator[Event]:
        """All of one stretch; a bar comes before what refers to it."""
        clock = _Clock(round(stretch.start_s * PS), stretch.timeline.tick_hz)
        drawn = bars(stretch.timeline)
        self._note(stretch)
        yield from self._process(stretch.process)
        yield from self._op(stretch, clock)
        where: dict[int, int] = {}
        for bar in drawn:
            yield from self._track(stretch.process, bar.resource, bar.lane)
            track = self.tracks[stretch.process, bar.resource, bar.lane]
            if bar.job:
                where[id(bar.job)] = track
            yield self._bar(bar, track, stretch, clock)
        for chain in chains(stretch.timeline, stretch.program):
            yield from self._arrow(chain, where, stretch, clock)
        yield from self._curves(stretch, drawn, clock)
        self.end_ps = max(self.end_ps, clock.ps(stretch.timeline.ticks))

    def _process(self, name: str) -> Iterator[Event]:
        """Names one that is new."""
        if name in self.processes:
            return
        number = self.processes[name] = len(self.processes) + 1
        about = {"name": f"{self.title}: {name}" if name else self.title}
        yield {"ph": "M", "name": "process_name", "pid": number, "args": about}

    def _note(self, stretch: Stretch) -> None:
        if not stretch.timeline.whole:
            count = len(stretch.timeline.jobs)
            self.notes.append(f"{stretch.label}: the first {count} uses are recorded")
        if stretch.timeline.folds:
            times = sum(fold.times for fold in stretch.timeline.folds)
            self.notes.append(f"{stretch.label}: {times} repeated periods are drawn as one bar")

    def _op(self, stretch: Stretch, clock: _Clock) -> Iterator[Event]:
        """Its bar above all."""
        yield from self._track(stretch.process, "ops", OPS)
        times = f" \N{MULTIPLICATION SIGN}{stretch.count:g}" if stretch.count != 1 else ""
        busy = clock.us(stretch.timeline.ticks)
        about = {"op": stretch.label, "busy_us": busy, "count": stretch.count}
        ends = clock.span(0, stretch.timeline.ticks)
        head = {"ph": "X", "cat": "op", "name": stretch.label + times}
        place = {"pid": self.processes[stretch.process]}
        place |= {"tid": self.tracks[stretch.process, "ops", OPS]}
        yield head | place | ends | {"args": about}

    def _track(self, process: str, resource: str, lane: int) -> Iterator[Event]:
        """Names a track that is new."""
        if (process, resource, lane) in self.tracks:
            return
        number = self.tracks[process, resource, lane] = len(self.tracks) + 1
        place = {"pid": self.processes[process], "tid": number}
        name = f"{resource} #{lane + 1}" if lane else resource
        yield {"ph": "M", "name": "thread_name", **place, "args": {"name": name}}
        yield {"ph": "M", "name": "thread_sort_index", **place, "args": {"sort_index": number}}

    def _bar(self, bar: Bar, track: int, stretch: Stretch, clock: _Clock) -> Event:
        about: Event = {"op": stretch.label, "busy_us": clock.us(bar.busy)}
        kind = "unrecorded"
        if bar.job:
            kind = "use"
            about |= {"index": bar.job.index, "kind": bar.job.kind, "waited_for": bar.job.cause}
            if bar.begin > bar.job.asked:
                about["queued_us"] = clock.us(bar.begin - bar.job.asked)
        elif bar.fold:
            kind = "folded"
            about |= {"times": bar.fold.times, "period_us": clock.us(bar.fold.length)}
        else:
            about["unrecorded"] = bar.unrecorded
        head = {"ph": "X", "cat": kind, "name": bar.name, "tid": track}
        head |= {"pid": self.processes[stretch.process]}
        return head | clock.span(bar.begin, bar.end) | {"args": about}

    def _arrow(
        self, chain: list[Job], where: dict[int, int], stretch: Stretch, clock: _Clock
    ) -> Iterator[Event]:
        self.arrows += 1
        process = self.processes[stretch.process]
        for number, job in enumerate(chain):
            point = "s" if not number else "f" if job is chain[-1] else "t"
            event: Event = {"ph": point, "cat": "step", "name": "step", "id": self.arrows}
            event |= {"pid": process, "tid": where[id(job)], "ts": clock.span(job.begin, 0)["ts"]}
            yield event | ({"bp": "e"} if point == "f" else {})

    def _curves(self, stretch: Stretch, drawn: list[Bar], clock: _Clock) -> Iterator[Event]:
        timeline = stretch.timeline
        for resource, values in shares(drawn, timeline.ticks).items():
            full, unit = self.limits.get(resource.partition(".")[0], (100.0, "% busy"))
            levels = changes([full * value for value in values], timeline.ticks)
            yield from self._curve(f"{resource} {unit}", levels, stretch, clock)
        if stretch.program:
            for name, filled in filling(timeline, stretch.program).items():
                yield from self._curve(f"{name} tiles", filled, stretch, clock)

    def _curve(
        self, name: str, levels: Iterable[tuple[int, float]], stretch: Stretch, clock: _Clock
    ) -> Iterator[Event]:
        process = self.processes[stretch.process]
        for tick, value in levels:
            at = clock.span(tick, tick)["ts"]
            yield {"ph": "C", "name": name, "pid": process, "ts": at, "args": {"value": value}}


@dataclass(frozen=True, slots=True)
class _Clock:
    """Ticks of a stretch as times of the trace, whole picoseconds."""

    start_ps: int
    tick_hz: int

    def ps(self, tick: int) -> int:
        return self.start_ps + tick * PS // self.tick_hz

    def us(self, ticks: int) -> float:
        """A duration."""
        return ticks * PS_PER_US / self.tick_hz

    def span(self, begin: int, end: int) -> dict[str, float]:
        """`ts` and `dur`."""
        ps = self.ps(begin)
        return {"ts": _moment(ps), "dur": max(0, self.ps(end) - ps) / PS_PER_US}


def limits_of(bandwidth_bytes_per_s: Mapping[str, float], power_w: float = 0.0) -> Limits:
    """For `write_trace`: bytes/s that each memory reaches, and the watts that the power limit
    leaves for work (0: not known)."""
    limits = {name: (band / 1e9, "GB/s") for name, band in bandwidth_bytes_per_s.items()}
    return limits | ({"power": (power_w, "W")} if power_w else {})
