"""Ops that a policy runs together: their programs' times in place of those of each op alone.

    latency of an op = its latency * time of the stretch / time of its ops one after the other

so that shares stay those of the ops alone and sums are those of the stretch: who waits for whom is
the stretch's, not an op's (utilization is not raised by that). What an op computes, moves and
spends by events stays; static power is paid for as long as it takes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from mappers.plan import Schedule
from sim.event.as_it_ran import as_it_ran
from sim.event.critical import seconds_on_path
from sim.event.engine import Engine
from sim.event.policies import Chosen, PolicyError, Stretch
from sim.event.record import Timeline
from sim.event.without import saved_without
from sim.run import OpRun, Section


@dataclass(frozen=True, slots=True)
class Named:
    """A stretch, and what it is called."""

    label: str
    stretch: Stretch


def by_policies(
    schedule: Schedule,
    ops: Sequence[OpRun],
    policies: Iterable[Chosen],
    given: Callable[[Schedule], object] = lambda schedule: schedule,
) -> tuple[Named, ...]:
    """What the policies run, told how long the ops took alone; they are `given` what they take of
    the schedule. Raises PolicyError where two of them want the same op."""
    placed = (
        replace(p, plan=replace(p.plan, cost=replace(p.cost, latency_s=op.latency_s)))
        for p, op in zip(schedule, ops, strict=True)
    )
    timed = replace(schedule, placed=tuple(placed))
    found = tuple(named for policy in policies for named in _of(policy, given(timed)))
    taken: dict[str, str] = {}
    for named in found:
        for name in named.stretch.ops:
            if name in taken:
                raise PolicyError(
                    f"{named.label}: {taken[name]} runs {name} already; leave one out"
                )
            taken[name] = named.label
    return found


def _of(policy: Chosen, schedule: object) -> Iterator[Named]:
    for number, stretch in enumerate(policy.stretches(schedule), 1):
        yield Named(policy.name if number == 1 else f"{policy.name} {number}", stretch)


def stretched(
    ops: Sequence[OpRun], sections: Sequence[Section], named: Named, static_w: float
) -> tuple[list[OpRun], list[Section]]:
    """The ops and the timelines with those of the stretch in place of its ops'. `static_w`: of the
    machine, while they run."""
    stretch = named.stretch
    timeline = Engine(stretch.program).run()
    path = seconds_on_path(timeline)
    saved = dict(saved_without(stretch.program, timeline, path))
    names, alone = (
        set(stretch.ops),
        sum(op.count * op.latency_s for op in ops if op.name in stretch.ops),
    )
    share = _Share(
        stretch.count * timeline.seconds / alone, _of_all(path, timeline), _of_all(saved, timeline)
    )
    changed = [share.of(op, static_w) if op.name in names else op for op in ops]
    section = Section(named.label, stretch.count, timeline, stretch.program)
    first = next(n for n, each in enumerate(sections) if each.op in names)
    rest = [each for each in sections[first:] if each.op not in names]
    return changed, [*sections[:first], section, *rest]


def _of_all(seconds: Mapping[str, float], timeline: Timeline) -> dict[str, float]:
    """Shares of the stretch."""
    return {name: part / timeline.seconds for name, part in seconds.items()}


@dataclass(frozen=True, slots=True)
class _Share:
    """What each op of a stretch gets of it: `ratio` times its own latency, which is spent, and
    could be saved, as that of the whole stretch."""

    ratio: float
    spent: Mapping[str, float]
    saved: Mapping[str, float]

    def of(self, op: OpRun, static_w: float) -> OpRun:
        """The op with its share."""
        seconds = op.latency_s * self.ratio
        spent = {name: share * seconds for name, share in self.spent.items()}
        saved = {name: share * seconds for name, share in self.saved.items()}
        return as_it_ran(op, seconds, spent, saved, static_w)
