"""A schedule by events: every op's program run, and what comes of them as a Run.

Ops follow one another as in the closed form, each from its launch to its last store; ops that cost
the same are run once. Time is the event engine's; dynamic energy is the op's, static power is paid
for as long as it takes. What fetches from a backing memory is hidden by the ops beside it as in the
closed form (`Work.beside`). Ops that a policy runs together take what `sim.event.stretched` says.
Several chips: on_system.py.
Not modeled: loads of the next op that begin before an op has ended.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from mappers.plan import Placed, Schedule
from sim import analytic
from sim.event.as_it_ran import as_it_ran
from sim.event.critical import seconds_on_path
from sim.event.engine import Engine
from sim.event.lower import programs_of
from sim.event.policies import Chosen
from sim.event.power import over_time, with_bucket
from sim.event.program import Program
from sim.event.record import Timeline
from sim.event.stretched import by_policies, stretched
from sim.event.without import saved_without
from sim.run import EventRun, OpRun, PowerSpan, Run, Section, Trust

Progress = Callable[[int, int], None]
Ran = tuple[Timeline, dict[str, float], dict[str, float]]  # with its path, and what is saved
Memo = dict[Program, Ran]


def run(
    schedule: Schedule,
    progress: Progress | None = None,
    memo: Memo | None = None,
    policies: Sequence[Chosen] = (),
) -> Run:
    """The phase that the schedule's graph describes. Interrupted (ctrl-C) it says what is known:
    the ops so far, the others by the closed form, with a warning. `memo`: a dict that keeps the
    timelines, for other schedules on the same design. `policies` run their ops together once it is
    known what these take alone. Raises UserError where a policy finds none."""
    closed = analytic.run(schedule)
    memo = {} if memo is None else memo
    ops, sections, spans = list(closed.ops), list[Section](), tuple[PowerSpan, ...]()
    warnings, power = closed.warnings, schedule.design.power
    try:
        for number, placed in enumerate(schedule):
            programs = (with_bucket(program, power) for program in programs_of(placed))
            ops[number], found = op_by_events(ops[number], placed, programs, memo)
            sections += found
            if progress:
                progress(number + 1, len(ops))
        ops, sections, spans = over_time(ops, sections, power)
        for named in by_policies(schedule, ops, policies):
            ops, sections = stretched(ops, sections, named, power.static)
    except KeyboardInterrupt:
        done = len(dict.fromkeys(section.op for section in sections))
        warnings += (f"interrupted: {done} of {len(ops)} ops by events, the rest by closed form",)
    return run_of(closed, ops, sections, warnings, policies, spans)


def run_of(
    closed: Run,
    ops: Sequence[OpRun],
    sections: Sequence[Section],
    warnings: tuple[str, ...],
    policies: Sequence[Chosen] = (),
    power: tuple[PowerSpan, ...] = (),
) -> Run:
    """The closed form's run with what came of these ops; more warnings than it had mean that not
    all of them were run. `power`: over the run, where no policy changed what follows what."""
    latency = sum(op.count * op.latency_s for op in ops)
    told = _event_run(closed, sections, latency, len(warnings) > len(closed.warnings), policies)
    return replace(
        closed,
        simulator="event",
        latency_s=latency,
        energy_j=sum(op.count * op.energy_j for op in ops),
        ops=tuple(ops),
        limits=analytic.limits(ops),
        latency_trust=_scaled(closed.latency_trust, latency / closed.latency_s),
        warnings=warnings,
        event=replace(told, power=() if policies else power),
    )


def _scaled(trust: Trust, ratio: float) -> Trust:
    """The same shares of another total."""
    return replace(trust, low=trust.low * ratio, high=trust.high * ratio)


def op_by_events(
    op: OpRun, placed: Placed, programs: Iterable[Program], memo: Memo
) -> tuple[OpRun, list[Section]]:
    """The op as these programs ran, one after the other, and their timelines."""
    path = placed.plan.path
    seconds, exposed, saves = 0.0, dict[str, float](), dict[str, float]()
    sections = []
    for program in programs:
        if program not in memo:
            memo[program] = _timeline(program)
        timeline, on_path, saved = memo[program]
        seconds += timeline.seconds
        for total, parts in ((exposed, on_path), (saves, saved)):
            for name, part in parts.items():
                total[name] = total.get(name, 0.0) + part
        sections.append(Section(placed.op.name, placed.count, timeline, program))
    static_w = path.design.power.static
    return as_it_ran(op, seconds, exposed, saves, static_w), sections


def _timeline(program: Program) -> Ran:
    """As it ran, its critical path, and what it would save were a resource never busy."""
    timeline = Engine(program).run()
    on_path = seconds_on_path(timeline)
    saved = dict(saved_without(program, timeline, on_path))
    return timeline, on_path, saved


def _event_run(
    closed: Run,
    sections: Sequence[Section],
    latency: float,
    partial: bool,
    policies: Sequence[Chosen] = (),
) -> EventRun:
    """What all sections together were busy with and waited for."""
    stalls: dict[str, dict[str, float]] = {}
    for section in sections:
        for name, parts in section.timeline.stalls().items():
            total = stalls.setdefault(name, {})
            for what, seconds in parts.items():
                total[what] = total.get(what, 0.0) + section.count * seconds
    for parts in stalls.values():  # what ops do that do not use it
        rest = latency - sum(parts.values())
        parts["idle"] = parts.get("idle", 0.0) + max(0.0, rest)
    return EventRun(
        analytic_latency_s=closed.latency_s,
        events=sum(section.timeline.events for section in sections),
        stalls=stalls,
        sections=tuple(sections),
        partial=partial,
        policy="+".join(policy.text for policy in policies),
    )
