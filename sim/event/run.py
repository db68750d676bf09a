"""A schedule by events: every op's program run, and what comes of them as a Run.

Ops follow one another as in the closed form, each from its launch to its last store; ops that cost
the same are run once. Time is the event engine's; dynamic energy is the op's, static power is paid
for as long as it takes. What fetches from a backing memory is hidden by the ops beside it as in the
closed form (`Work.beside`).
Not modeled: loads of the next op that begin before an op has ended; several chips.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from mappers.cost import Cost
from mappers.plan import Placed, Schedule
from sim import analytic
from sim.event.critical import NOT_RECORDED, seconds_on_path
from sim.event.engine import Engine
from sim.event.lower import program_of
from sim.event.program import Actor, Program
from sim.event.record import Timeline
from sim.run import EventRun, OpRun, Run, Section, Trust

Progress = Callable[[int, int], None]
SHOWN = 0.05  # share of an op's critical path from which on it is asked what its lack would save
Ran = tuple[Program, Timeline, dict[str, float], dict[str, float]]  # with path, and what is saved
Memo = dict[Any, Ran]


def run(schedule: Schedule, progress: Progress | None = None, memo: Memo | None = None) -> Run:
    """The phase that the schedule's graph describes. Interrupted (ctrl-C) it says what is known:
    the ops so far, the others by the closed form, with a warning. `memo`: a dict that keeps the
    timelines, for other schedules on the same design."""
    closed = analytic.run(schedule)
    memo = {} if memo is None else memo
    ops, sections = list(closed.ops), list[Section]()
    warnings = closed.warnings
    try:
        for number, placed in enumerate(schedule):
            ops[number], found = _op(ops[number], placed, memo)
            sections += found
            if progress:
                progress(number + 1, len(ops))
    except KeyboardInterrupt:
        done = len(dict.fromkeys(section.op for section in sections))
        warnings += (f"interrupted: {done} of {len(ops)} ops by events, the rest by closed form",)
    latency = sum(op.count * op.latency_s for op in ops)
    return replace(
        closed,
        simulator="event",
        latency_s=latency,
        energy_j=sum(op.count * op.energy_j for op in ops),
        ops=tuple(ops),
        limits=analytic.limits(ops),
        latency_trust=_scaled(closed.latency_trust, latency / closed.latency_s),
        warnings=warnings,
        event=_event_run(closed, tuple(sections), latency, len(warnings) > len(closed.warnings)),
    )


def _scaled(trust: Trust, ratio: float) -> Trust:
    """The same shares of another total."""
    return replace(trust, low=trust.low * ratio, high=trust.high * ratio)


def _op(op: OpRun, placed: Placed, memo: Memo) -> tuple[OpRun, list[Section]]:
    """The op as it ran, and its timelines, one for each of its parts in sequence."""
    path = placed.plan.path
    seconds, exposed, saves = 0.0, dict[str, float](), dict[str, float]()
    sections = []
    for cost in placed.cost.stages or (placed.cost,):
        key = (path.name, repr(cost))
        if key not in memo:
            memo[key] = _timeline(cost, program_of(cost, path))
        program, timeline, on_path, saved = memo[key]
        seconds += timeline.seconds
        for total, parts in ((exposed, on_path), (saves, saved)):
            for name, part in parts.items():
                total[name] = total.get(name, 0.0) + part
        sections.append(Section(placed.op.name, placed.count, timeline, program))
    static = path.design.power.static * (seconds - op.latency_s)
    named = [name for name in exposed if name != NOT_RECORDED]
    ranked = sorted(named, key=lambda name: -exposed[name])
    changed = replace(
        op,
        latency_s=seconds,
        energy_j=op.energy_j + static,
        energy_by_j=op.energy_by_j | {"static": op.energy_by_j.get("static", 0.0) + static},
        utilization=op.utilization * op.latency_s / seconds if seconds else 0.0,
        exposed_s=exposed,
        saves_s=saves,
        bound_by=ranked[0] if ranked else op.bound_by,
        next_bound=ranked[1] if len(ranked) > 1 else op.next_bound,
    )
    return changed, sections


def _timeline(cost: Cost, program: Program) -> Ran:
    """The program's, its critical path, and what it would save were a resource never busy."""
    timeline = Engine(program).run()
    on_path = seconds_on_path(timeline)
    saved = dict(_saved(program, timeline, on_path))
    return program, timeline, on_path, saved


def _saved(
    program: Program, timeline: Timeline, on_path: dict[str, float]
) -> Iterator[tuple[str, float]]:
    """Run again without each resource that the path waits for."""
    known = {"sync", *(resource.name for resource in program.resources)}
    for name, seconds in on_path.items():
        if name in known and seconds > SHOWN * timeline.seconds:
            less = Engine(without(program, name), record=False).run()
            yield name, timeline.seconds - less.seconds


def without(program: Program, name: str) -> Program:
    """The program as if the resource, or uses of this kind, took no time."""

    def cut(actor: Actor) -> Actor:
        kept = (tuple(u for u in r.uses if name not in (u.resource, u.kind)) for r in actor.cycle)
        runs = (replace(r, uses=uses) for r, uses in zip(actor.cycle, kept, strict=True))
        return replace(actor, cycle=tuple(runs))

    return replace(program, actors=tuple(map(cut, program.actors)))


def _event_run(
    closed: Run, sections: tuple[Section, ...], latency: float, partial: bool
) -> EventRun:
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
        sections=sections,
        partial=partial,
    )
