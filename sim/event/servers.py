"""A resource at work: a queue, and service to the tick.

With x_i the amounts of jobs served back to back, job j ends

    ceil((x_1 + ... + x_j) / rate) cycles after the first began

so that rounding to whole cycles never adds up; after a pause it starts anew. Among those that wait
the lowest priority goes first, then actors in turn (round robin: who has waited for more turns of
others goes first, since the resource last rested), then who asked first, then by name. A resource
with a burst: sim/event/bucket.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import Protocol

from sim.event.bucket import Bucket
from sim.event.clockwork import Clockwork
from sim.event.program import Resource
from sim.event.record import Counters, Job

STILL = ("", "sync")  # kinds of use after which a resource need not turn around


class Asker(Protocol):
    """Who asked for a job."""

    # it begins
    def begun(self) -> None: ...

    # it ends
    def done(self) -> None: ...

    # what it is of, for comparing states
    def place(self) -> tuple[object, ...]: ...


class Server:
    """One resource; `serve` asks it for a job."""

    def __init__(self, spec: Resource, clockwork: Clockwork, tick_hz: int, rank: int) -> None:
        self.spec, self.clockwork, self.rank = spec, clockwork, rank
        self.period = tick_hz // spec.clock_hz
        self.num, self.den = spec.rate.numerator, spec.rate.denominator
        self.counters = Counters()
        self.queue: list[tuple[int, int, int, str, int, Job, Asker]] = []
        self.turn, self.turns = 0, dict[str, int]()  # of round robin: now, and each actor's last
        self.free, self.woken = spec.width, False
        self.ahead = 0  # amount * den already paid for by rounding up
        self.ended = -1  # when the last job did
        self.kind = ""
        self.served = 0  # cycles since the last refresh
        self.last: Job | None = None
        self.bucket = Bucket(spec, self.period) if spec.burst else None

    def cycles(self, amount: int) -> int:
        """Of this much work alone."""
        return -(-amount * self.den // self.num)

    def ticks(self, amount: int) -> int:
        return self.cycles(amount) * self.period

    def serve(self, job: Job, amount: int, priority: int, asker: Asker) -> None:
        """Put it in the queue. What was served before a rest does not matter after it."""
        rest = self.clockwork.now - self.ended
        if not self.queue and self.free == self.spec.width and rest > 0:
            self.turn = 0
            self.turns.clear()
            if rest >= self.spec.turnaround * self.period:
                self.kind = ""  # it has turned meanwhile
        turn = max(self.turn, self.turns.get(job.actor, -1) + 1)
        self.turns[job.actor] = turn
        asked = job.asked - self.clockwork.leapt  # a leap moves all that wait along
        heappush(self.queue, (priority, turn, asked, job.actor, amount, job, asker))
        self._wake()

    def _wake(self) -> None:
        """Begin the next job; where several compete (a rank), once all of this tick have asked."""
        if self.free and self.queue and not self.woken:
            wait = -self.clockwork.now % self.period
            if not wait and not self.rank:
                self._begin()
                return
            self.woken = True
            if wait:
                self.clockwork.at(wait, self._on_time, ("begin", self.spec.name))
            else:
                self._on_time()

    def _on_time(self) -> None:
        """At a cycle's start."""
        if self.rank:
            self.clockwork.late(self.rank, self._begin)
        else:
            self._begin()

    def _begin(self) -> None:
        self.woken = False
        _, turn, _, _, amount, job, asker = heappop(self.queue)
        self.turn = max(self.turn, turn)
        self.free -= 1
        now = self.clockwork.now
        cycles = self._service(amount, job, now)
        job.begin, job.end = now, now + cycles * self.period
        self._count(job, amount)
        self.last = job
        key = ("end", self.spec.name, asker)
        self.clockwork.at(job.end - now, lambda: self._end(asker), key)
        asker.begun()
        self._wake()

    def _service(self, amount: int, job: Job, now: int) -> int:
        """Cycles, with turnaround and refresh, which are counted apart."""
        spec = self.spec
        cycles = self.bucket.spend(amount, now) if self.bucket else self._cycles(amount, now)
        refreshed = min(cycles, self.cycles(job.refresh))
        self._busy(job.kind, cycles - refreshed)
        self._busy("refresh", refreshed)
        if job.kind not in STILL:
            if self.kind and job.kind != self.kind:
                self._busy("turnaround", spec.turnaround)
                cycles += spec.turnaround
            self.kind = job.kind
        if spec.refresh_every:
            self.served += cycles
            often, self.served = divmod(self.served, spec.refresh_every)
            self._busy("refresh", often * spec.refresh_for)
            cycles += often * spec.refresh_for
        return cycles

    def _cycles(self, amount: int, now: int) -> int:
        """Without what was rounded up before, if this follows at once."""
        if now != self.ended or self.spec.width > 1:
            self.ahead = 0
        units = amount * self.den - self.ahead
        cycles = max(0, -(-units // self.num))
        self.ahead = cycles * self.num - units
        return cycles

    def _busy(self, kind: str, cycles: int) -> None:
        if cycles:
            busy = self.counters.busy
            busy[kind] = busy.get(kind, 0) + cycles * self.period

    def _count(self, job: Job, amount: int) -> None:
        """Queued ticks, and why there was nothing to do before: until the job's firing
        began, what that waited for; then, its uses before this one."""
        counters = self.counters
        counters.jobs += 1
        counters.amount += amount
        counters.queued += job.begin - job.asked
        if job.begin > counters.last_end:
            fired = max(counters.last_end, min(job.fired, job.begin))
            for cause, gap in (
                (job.why, fired - counters.last_end),
                (job.cause, job.begin - fired),
            ):
                if gap:
                    counters.waited[cause] = counters.waited.get(cause, 0) + gap
        elif job.begin > job.asked:
            job.behind = self.last
        counters.last_end = max(counters.last_end, job.end)

    def _end(self, asker: Asker) -> None:
        self.free += 1
        self.ended = self.clockwork.now
        asker.done()
        self._wake()

    def state(self) -> tuple[object, ...]:
        """What decides about the future, whatever the time is."""
        now = self.clockwork.now
        waiting = tuple(
            (priority, turn - self.turn, now - job.asked, amount, asker.place())
            for priority, turn, _, _, amount, job, asker in sorted(self.queue, key=lambda w: w[:4])
        )
        turns = tuple(max(last - self.turn, -1) for last in self.turns.values())
        fresh = self.ahead if self.ended == now or not self.free else 0
        credit = self.bucket.state(now) if self.bucket else ()
        return self.free, self.woken, waiting, turns, fresh, self.kind, self.served, credit
