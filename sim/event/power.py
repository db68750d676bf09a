"""A board's power over a whole run: credit that ops leave to one another, and what is throttled.

A design whose board allows short runs more than its limit (`power.excursion`) has a bucket of power
(accel_models/excursion.py, sim/event/bucket.py), full when a run begins. Ops are run with it full
first. Then the run is gone through in its order, ops of equal count in a row being a layer that
repeats; with credit c at its begin, and from the run with the full bucket the credit `least` and
`last` that it left, its seconds T and the power that it asked for, an op

    takes T                                      if c >= full - least
    leaves min(last, c + T - asked)              (all in seconds at the limit)

and is else run again with that credit. Both are exact: the bucket of a run that begins with less
lies lower by the same amount until it is full, from where on both are alike. A layer that comes
with a credit it came with before does the same, so few runs are needed however many layers there
are.
Stretches of policies, which are put in the place of ops afterwards, are held to the limit at any
moment; of runs with them no power over time is told.
Not modeled: what a board drew before the run, pauses between runs, clocks that lag behind.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import groupby

from accel_models.design import Power
from accel_models.excursion import burst_j
from mappers.plan import Schedule
from sim.event.as_it_ran import as_it_ran
from sim.event.critical import seconds_on_path
from sim.event.engine import Engine
from sim.event.program import Program, Resource
from sim.event.record import Timeline
from sim.event.without import saved_without
from sim.run import OpRun, PowerSpan, Section

POWER = "power"


def held(schedule: Schedule) -> Schedule:
    """On a board that keeps its limit at any moment, as one that was busy before does."""
    power = schedule.design.power.model_copy(update={"excursion": 0.0})
    return replace(schedule, design=schedule.design.model_copy(update={"power": power}))


def with_bucket(program: Program, power: Power) -> Program:
    """The program on a board that was idle before."""

    def filled(resource: Resource) -> Resource:
        if resource.name != POWER:
            return resource
        burst = int(burst_j(power) / (power.limit - power.static) * _per_s(resource))
        return replace(resource, burst=burst, credit=burst)

    return replace(program, resources=tuple(map(filled, program.resources)))


def over_time(
    ops: Sequence[OpRun], sections: Sequence[Section], power: Power
) -> tuple[list[OpRun], list[Section], tuple[PowerSpan, ...]]:
    """Ops and their timelines as the credit lets them run, and the power of every layer in turn."""
    buckets = [s.timeline.credits[POWER] for s in sections if POWER in s.timeline.credits]
    if not buckets:
        return list(ops), list(sections), ()
    walk = _Walk(sections, power)
    walk.go()
    changed = [section for n in range(len(sections)) for section in walk.sections(n)]
    throttled = {section.op for section in changed if section.pace < 1}
    return (
        [_blended(op, changed, power.static) if op.name in throttled else op for op in ops],
        changed,
        tuple(walk.spans),
    )


@dataclass
class _Walk:
    """Through the run, with the credit so far in seconds at the limit."""

    given: Sequence[Section]
    power: Power
    credit: Fraction = Fraction(-1)  # full, whatever that is
    spans: list[PowerSpan] = field(default_factory=list)
    runs: dict[tuple[int, int], Timeline] = field(default_factory=dict)
    tally: dict[int, dict[int, float]] = field(default_factory=dict)  # section -> run's key -> how
    # often

    def go(self) -> None:
        """From the first layer to the last."""
        start = 0.0
        numbered = enumerate(self.given)
        for count, layer in groupby(numbered, key=lambda item: item[1].count):
            parts = list(layer)
            times = max(1, round(count))
            for _ in range(times):
                span = self._layer(start, parts, count / times)
                start += span.seconds
                if span.seconds:
                    self._keep(span)

    def _keep(self, span: PowerSpan) -> None:
        """Layers alike are one span."""
        last = self.spans[-1] if self.spans else None
        if last and (last.watts, last.clock) == (span.watts, span.clock):
            self.spans[-1] = replace(last, seconds=last.seconds + span.seconds)
        else:
            self.spans.append(span)

    def _layer(self, start: float, parts: list[tuple[int, Section]], weight: float) -> PowerSpan:
        """One of the copies, each standing for `weight`."""
        seconds = asked = free = 0.0
        for number, section in parts:
            timeline = self._one(number, section, weight)
            seconds += weight * timeline.seconds
            free += weight * section.timeline.seconds
            asked += weight * float(_asked(section))
        whole = seconds or 1.0  # a layer may be hidden beside others
        watts = self.power.static + (self.power.limit - self.power.static) * asked / whole
        return PowerSpan(start, seconds, watts, min(1.0, free / whole) if seconds else 1.0)

    def _one(self, number: int, section: Section, weight: float) -> Timeline:
        """The section as the credit lets it run, counted."""
        timeline, key = section.timeline, -1
        kept = timeline.credits.get(POWER)
        if kept is None:
            self.credit += Fraction(timeline.ticks, timeline.tick_hz) * (self.credit >= 0)
        else:
            clock = _per_s(_bucket(section.program))
            full = kept.first / clock
            credit = full if self.credit < 0 else min(full, self.credit)
            if credit < (kept.first - kept.least) / clock:
                key = int(credit * clock)
                timeline = self._again(number, section, key)
                self.credit = timeline.credits[POWER].last / clock
            else:
                gone = Fraction(timeline.ticks, timeline.tick_hz) - _asked(section)
                self.credit = min(kept.last / clock, credit + gone)
        counts = self.tally.setdefault(number, {})
        counts[key] = counts.get(key, 0.0) + weight
        return timeline

    def _again(self, number: int, section: Section, credit: int) -> Timeline:
        """With less than a full bucket."""
        if (number, credit) not in self.runs:
            resources = tuple(
                replace(r, credit=credit) if r.name == POWER else r
                for r in section.program.resources
            )
            program = replace(section.program, resources=resources)
            self.runs[number, credit] = Engine(program).run()
        return self.runs[number, credit]

    def sections(self, number: int) -> Iterator[Section]:
        """The section as it ran, the way that was taken most often first."""
        given = self.given[number]
        for key, count in sorted(self.tally[number].items(), key=lambda item: -item[1]):
            timeline = given.timeline if key < 0 else self.runs[number, key]
            pace = min(1.0, given.timeline.seconds / timeline.seconds) if timeline.ticks else 1.0
            yield replace(given, count=count, timeline=timeline, pace=pace)


def _bucket(program: Program) -> Resource | None:
    return next((r for r in program.resources if r.name == POWER), None)


def _per_s(resource: Resource | None) -> Fraction:
    """Units a second at the limit."""
    return resource.rate * resource.clock_hz if resource else Fraction(1)


def _asked(section: Section) -> Fraction:
    """Seconds at the limit of the energy that it uses."""
    counters = section.timeline.counters.get(POWER)
    return counters.amount / _per_s(_bucket(section.program)) if counters else Fraction(0)


def after(before: Sequence[PowerSpan], spans: Sequence[PowerSpan]) -> tuple[PowerSpan, ...]:
    """These, when those are over."""
    start = before[-1].start_s + before[-1].seconds if before else 0.0
    return (*before, *(replace(span, start_s=start + span.start_s) for span in spans))


def _blended(op: OpRun, sections: Sequence[Section], static_w: float) -> OpRun:
    """The average over its copies."""
    own = [section for section in sections if section.op == op.name]
    seconds, exposed, saves = 0.0, dict[str, float](), dict[str, float]()
    for section in own:
        share = section.count / op.count
        seconds += share * section.timeline.seconds
        on_path = seconds_on_path(section.timeline)
        less = dict(saved_without(section.program, section.timeline, on_path))
        for total, parts in ((exposed, on_path), (saves, less)):
            for name, part in parts.items():
                total[name] = total.get(name, 0.0) + share * part
    return as_it_ran(op, seconds, exposed, saves, static_w)
