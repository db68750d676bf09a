"""The critical path: the chain of uses, each of which the next one waited for.

From the last use to end backwards: what a use queued behind, else what its firing waited for (the
tokens or the space that came last, the firing before), else the start. A stretch that was leapt
over (`Fold`) is made of what the path is made of in the period before it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sim.event.record import Fold, Job, Timeline

WAITING = "latency"  # time of the path in which no resource is busy for it
NOT_RECORDED = "not recorded"  # all of a run that has too many uses to keep


@dataclass(frozen=True, slots=True)
class Span:
    """Ticks [begin, end) of the path, spent by a use of a resource (`job`), or by a latency."""

    resource: str
    begin: int
    end: int
    job: Job | None = None

    @property
    def name(self) -> str:
        """The resource, or that engines hand over."""
        return "sync" if self.job is not None and self.job.kind == "sync" else self.resource


def critical_path(timeline: Timeline) -> list[Span]:
    """First span first. Folded stretches are gaps between spans; none of a run that was recorded in
    part."""
    if not timeline.whole or not timeline.jobs:
        return []
    spans = list(_backwards(max(timeline.jobs, key=lambda job: job.end)))
    return spans[::-1]


def _backwards(job: Job) -> Iterator[Span]:
    """What each waited for, from the last to the first."""
    until = job.end
    at: Job | None = job
    while at is not None:
        begin = min(at.begin, until)
        if until > begin:
            yield Span(at.resource, begin, until, at)
        before = at.behind or at.after
        until = begin
        if before is not None and before.end < until:
            yield Span(WAITING, before.end, until)
            until = before.end
        at = before
    if until:
        yield Span(WAITING, 0, until)


def seconds_on_path(timeline: Timeline) -> dict[str, float]:
    """Seconds of the critical path by resource; they add up to the whole run's. `sync`: of any
    resource, while engines hand over; NOT_RECORDED: of a run whose uses were not all kept."""
    if not timeline.whole:
        return {NOT_RECORDED: timeline.seconds}
    spans = critical_path(timeline)
    ticks: dict[str, float] = {}
    for span in spans:
        ticks[span.name] = ticks.get(span.name, 0.0) + span.end - span.begin
    for fold in timeline.folds:
        _unfold(ticks, spans, fold)
    whole = sum(ticks.values())
    return {name: t / whole * timeline.seconds for name, t in ticks.items()} if whole else {}


def _unfold(ticks: dict[str, float], spans: list[Span], fold: Fold) -> None:
    """Instead of the latency that a leap looks like, what the period before it is made of."""
    first = fold.at - fold.length
    parts: dict[str, int] = {}
    for span in spans:
        inside = min(span.end, fold.at) - max(span.begin, first)
        if inside > 0:
            parts[span.name] = parts.get(span.name, 0) + inside
    leap, whole = fold.length * fold.times, sum(parts.values())
    if not whole:
        return
    ticks[WAITING] = max(0.0, ticks.get(WAITING, 0.0) - leap)
    for name, part in parts.items():
        ticks[name] = ticks.get(name, 0.0) + leap * part / whole
