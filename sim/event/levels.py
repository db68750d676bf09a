"""What a trace draws as curves: how busy resources are over time, and how full buffers.

Busy: the share of a window that the resource is at work, a stretch having up to WINDOWS of them; of
what was folded the average. Full: tiles between the firing that reserves a place and the one that
gives it back, for every channel that is bounded, or whose tokens are credits. A folded stretch
keeps the level that it began with: what it does is not told.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sim.event.bars import Bar
from sim.event.program import Channel, Program
from sim.event.record import Job, Timeline

WINDOWS = 200  # of a stretch: as many as a screen shows well
Level = tuple[int, float]  # from this tick on


def shares(drawn: Iterable[Bar], ticks: int) -> dict[str, list[float]]:
    """Of each resource, for each window."""
    windows = max(1, min(WINDOWS, ticks))
    found: dict[str, list[float]] = {}
    lanes: dict[str, int] = {}
    for bar in drawn:
        busy = found.setdefault(bar.resource, [0.0] * windows)
        lanes[bar.resource] = max(lanes.get(bar.resource, 0), bar.lane + 1)
        if bar.end > bar.begin:
            _spread(busy, bar, ticks)
    for name, busy in found.items():
        found[name] = [min(1.0, b * windows / (ticks or 1) / lanes[name]) for b in busy]
    return found


def _spread(busy: list[float], bar: Bar, ticks: int) -> None:
    """Its busy ticks over the windows that it touches."""
    count, rate = len(busy), bar.busy / (bar.end - bar.begin)
    for window in range(bar.begin * count // ticks, min(count, -(-bar.end * count // ticks))):
        begin = max(bar.begin * count, window * ticks)
        end = min(bar.end * count, (window + 1) * ticks)
        busy[window] += rate * (end - begin) / count


def changes(values: list[float], ticks: int) -> Iterator[Level]:
    """The windows' values where they differ from the one before, and nothing at the end."""
    before = None
    for window, value in enumerate(values):
        rounded = float(f"{value:.3g}")
        if rounded != before:
            yield window * ticks // len(values), rounded
            before = rounded
    yield ticks, 0.0


def filling(timeline: Timeline, program: Program) -> dict[str, list[Level]]:
    """Tiles in each buffer as they change, by the buffer's name. Nothing if uses are missing."""
    found: dict[str, list[Level]] = {}
    if not timeline.whole:
        return found
    spans = _firings(timeline)
    for channel in program.channels:
        if moved := _moved(channel, spans):
            level, levels = 0, dict[int, float]()
            for tick, tiles in sorted(moved):
                level += tiles
                levels[tick] = level
            found[_name(channel)] = list(levels.items())
    return found


def _name(channel: Channel) -> str:
    if channel.kind == "space":  # credits go back to who fills
        return f"buffer {channel.target} to {channel.source}"
    return f"buffer {channel.source} to {channel.target}"


def _moved(channel: Channel, spans: dict[str, list[tuple[int, int]]]) -> list[tuple[int, int]]:
    """(tick, tiles) reserved, and given back; nothing of rates that change, whose tokens are no
    tiles."""
    if isinstance(channel.produce, tuple) or isinstance(channel.consume, tuple):
        return []
    if channel.kind == "space" and channel.initial and channel.source != channel.target:
        filler, user, places, back = (
            channel.target,
            channel.source,
            channel.consume,
            channel.produce,
        )
    elif channel.kind != "space" and channel.capacity is not None:
        filler, user, places, back = (
            channel.source,
            channel.target,
            channel.produce,
            channel.consume,
        )
    else:
        return []
    if filler not in spans or user not in spans:
        return []
    taken = [(begin, places) for begin, _ in spans[filler]]
    return taken + [(end, -back) for _, end in spans[user]]


def _firings(timeline: Timeline) -> dict[str, list[tuple[int, int]]]:
    """By actor: when its firings began and ended. What a leap lies in ends after it."""
    found: dict[str, dict[int, list[Job]]] = {}
    for job in timeline.jobs:
        found.setdefault(job.actor, {}).setdefault(job.index, []).append(job)
    return {
        actor: [_span(jobs, timeline) for jobs in firings.values()]
        for actor, firings in found.items()
    }


def _span(jobs: list[Job], timeline: Timeline) -> tuple[int, int]:
    begin, end = jobs[0].asked, max(job.end for job in jobs)
    for fold in timeline.folds:
        leap = fold.length * fold.times
        if fold.at < begin < fold.at + leap:  # it stood in a queue as the clock leapt
            begin -= leap
        if begin <= fold.at < end < fold.at + leap:
            end += leap
    return begin, end
