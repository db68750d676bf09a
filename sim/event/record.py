"""What a run leaves behind: every use of a resource, and counters that stay small."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from sim.event.bucket import Credit

LOSSES = ("sync", "refresh", "turnaround")  # kinds of time in which a resource moves nothing
KEPT = 200_000  # uses; beyond, a record would grow with the work


@dataclass(slots=True)
class Job:
    """One use of a resource by one firing, in ticks. It was `asked` for at a time, because of
    `cause` no sooner (`after` ended then), and waited for `behind`, the job served before it."""

    resource: str
    actor: str
    index: int
    kind: str
    asked: int
    cause: str = ""
    after: Job | None = field(default=None, repr=False)
    behind: Job | None = field(default=None, repr=False)
    begin: int = -1
    end: int = -1
    fired: int = -1  # when its firing began, which waited until then for `why`
    why: str = ""
    refresh: int = 0  # of its amount


@dataclass(frozen=True, slots=True)
class Fold:
    """At `at`, what happened in the `length` ticks before happens `times` more; not recorded.
    `busy`: ticks that each resource is busy in those."""

    at: int
    length: int
    times: int
    busy: Mapping[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class Counters:
    """Of one resource: ticks busy by kind, jobs, and ticks idle by what the next job waited for."""

    busy: dict[str, int] = field(default_factory=dict)
    waited: dict[str, int] = field(default_factory=dict)
    jobs: int = 0
    amount: int = 0
    queued: int = 0  # ticks that jobs stood in its queue, all together
    last_end: int = 0

    @property
    def total(self) -> int:
        """Ticks busy."""
        return sum(self.busy.values())

    def copy(self) -> Counters:
        """As they are now."""
        return replace(self, busy=dict(self.busy), waited=dict(self.waited))

    def grow(self, before: Counters, times: int) -> None:
        """Count what was added since `before` so many times more."""
        for counts, then in ((self.busy, before.busy), (self.waited, before.waited)):
            for key, ticks in counts.items():
                counts[key] = ticks + times * (ticks - then.get(key, 0))
        self.jobs += times * (self.jobs - before.jobs)
        self.amount += times * (self.amount - before.amount)
        self.queued += times * (self.queued - before.queued)


@dataclass(frozen=True)
class Timeline:
    """A program as it ran: `ticks` in all, of `tick_hz`. `jobs` holds what was recorded; `whole`
    says whether that is everything but what `folds` repeat. `ended`: when each actor was done."""

    ticks: int
    tick_hz: int
    events: int
    counters: dict[str, Counters]
    jobs: list[Job]
    folds: list[Fold]
    fired: dict[str, int]
    whole: bool = True
    ended: dict[str, int] = field(default_factory=dict)
    credits: Mapping[str, Credit] = field(default_factory=dict)  # of resources with a burst

    @property
    def seconds(self) -> float:
        return self.ticks / self.tick_hz

    def stalls(self) -> dict[str, dict[str, float]]:
        """Seconds of each resource: busy, waiting by cause, with LOSSES apart, idle at the end."""
        found = {}
        for name, counters in self.counters.items():
            lost = {kind: counters.busy[kind] for kind in LOSSES if kind in counters.busy}
            parts = {"busy": counters.total - sum(lost.values()), **counters.waited}
            parts |= {kind: parts.get(kind, 0) + ticks for kind, ticks in lost.items()}
            parts["idle"] = self.ticks - sum(parts.values())
            parts["data"] = parts.get("data", 0) + parts.pop("", 0)
            found[name] = {part: ticks / self.tick_hz for part, ticks in parts.items()}
        return found
