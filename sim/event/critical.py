"""The critical path: the chain of uses, each of which the next one waited for.

From the last use to end backwards: what a use queued behind, else what its firing waited for (the
tokens or the space that came last, the firing before), else the start. The path is that of a clock
that stands still while the engine leaps (`Fold`). What a leap repeats, the path's seconds in the
period before it, counts as often as it does, leaps within that period included:

    E_f = times_f * (path in f's period + sum of E_g of all leaps g in that period)
    seconds = path + sum of all E_f
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate

from sim.event.record import Fold, Job, Timeline

OTHERS = "others"  # time in which what the path needs serves what is not of it
WAITING = "latency"  # time of the path in which no resource is busy for it
NOT_RECORDED = "not recorded"  # all of a run that has too many uses to keep
Key = tuple[str, str]  # the actor, and what it is busy with or waits for


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


def critical_path(timeline: Timeline, own: Container[str] | None = None) -> list[Span]:
    """First span first, in ticks without leaps; none of a run that was recorded in part. `own`: of
    these actors only; what others made them wait is OTHERS."""
    if not timeline.whole:
        return []
    jobs = (job for job in timeline.jobs if own is None or job.actor in own)
    last = max(jobs, key=lambda job: job.end, default=None)
    return list(_backwards(last, own, _Clock(timeline.folds)))[::-1] if last else []


class _Clock:
    """One that stands still in leaps."""

    def __init__(self, folds: list[Fold]) -> None:
        self.at = [fold.at for fold in folds]
        self.leapt = [0, *accumulate(fold.length * fold.times for fold in folds)]

    def before(self, job: Job) -> int:
        """Ticks leapt before it began; what is known of it is later by so much."""
        return self.leapt[bisect_right(self.at, job.begin - 1)]

    def tick(self, number: int) -> int:
        """When the leap of this number was."""
        return self.at[number] - self.leapt[number]


def _backwards(job: Job, own: Container[str] | None, clock: _Clock) -> Iterator[Span]:
    """What each waited for, from the last to the first."""
    until = job.end - clock.before(job)
    at: Job | None = job
    while at is not None:
        leapt = clock.before(at)
        begin = min(at.begin - leapt, until)
        if until > begin:
            yield Span(at.resource, begin, until, at)
        before, until = at.behind or at.after, begin
        if own is not None and before is not None and before.actor not in own:
            before, asked = at.after, at.asked - leapt
            if asked < until:
                yield Span(OTHERS, asked, until)
                until = asked
        if before is not None:
            end = before.end - clock.before(before)
            if end < until:
                yield Span(WAITING, end, until)
                until = end
        at = before
    if until:
        yield Span(WAITING, 0, until)


def seconds_on_path(timeline: Timeline) -> dict[str, float]:
    """Seconds of the critical path by resource; they add up to the whole run's. `sync`: of any
    resource, while engines hand over; NOT_RECORDED: of a run whose uses were not all kept."""
    total: dict[str, float] = {}
    for (_, name), seconds in seconds_by_actor(timeline).items():
        total[name] = total.get(name, 0.0) + seconds
    return total


def seconds_by_actor(timeline: Timeline, own: Container[str] | None = None) -> dict[Key, float]:
    """The same by actor too, of the path of `own`; a latency is of who waits for it."""
    seconds = timeline.seconds
    if own is not None:
        seconds = max(t for name, t in timeline.ended.items() if name in own) / timeline.tick_hz
    if not timeline.whole:
        return {("", NOT_RECORDED): seconds}
    path, clock = _Path(critical_path(timeline, own)), _Clock(timeline.folds)
    parts = [path.within(0, path.end), *_repeated(timeline.folds, path, clock)]
    ticks = _added(parts)
    whole = sum(ticks.values())
    return {key: t / whole * seconds for key, t in ticks.items() if t}


def _repeated(folds: list[Fold], path: _Path, clock: _Clock) -> list[dict[Key, float]]:
    """What each leap repeats of the path."""
    found = list[dict[Key, float]]()
    for number, fold in enumerate(folds):
        begin = fold.at - fold.length
        inner = [n for n in range(number) if folds[n].at > begin]
        leapt = sum(folds[n].length * folds[n].times for n in inner)
        at = clock.tick(number)
        once = path.within(at - fold.length + leapt, at)
        period = _added([once, *(found[n] for n in inner)])
        found.append({key: fold.times * ticks for key, ticks in period.items()})
    return found


def _added(parts: Iterable[dict[Key, float]]) -> dict[Key, float]:
    total: dict[Key, float] = {}
    for part in parts:
        for key, ticks in part.items():
            total[key] = total.get(key, 0.0) + ticks
    return total


class _Path:
    """Spans in their order, and who each is of: a latency of who waits for it."""

    def __init__(self, spans: list[Span]) -> None:
        self.spans, self.begins = spans, [span.begin for span in spans]
        self.end = spans[-1].end if spans else 0
        self.keys = list[Key]()
        actor = ""
        for span in reversed(spans):
            actor = span.job.actor if span.job else actor
            self.keys.append((actor, span.name))
        self.keys.reverse()

    def within(self, first: int, last: int) -> dict[Key, float]:
        """Ticks in [first, last)."""
        found: dict[Key, float] = {}
        for number in range(max(0, bisect_right(self.begins, first) - 1), len(self.spans)):
            span = self.spans[number]
            if span.begin >= last:
                break
            inside = min(span.end, last) - max(span.begin, first)
            if inside > 0:
                key = self.keys[number]
                found[key] = found.get(key, 0.0) + inside
        return found
