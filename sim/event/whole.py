"""A phase by events as one program, where something crosses from op to op, and its Run.

An op's latency is its part of the phase's critical path (`critical`): what the path goes to while
it does, or waits for, something of this op. So the ops' latencies add up to the phase's, and an op
all of which is hidden takes none. What a resource costs (`saves_s`) is asked of the whole phase and
divided as the path's time on it is.
"""

from __future__ import annotations

from collections.abc import Container, Mapping

from mappers.cost import added
from mappers.plan import Schedule
from sim import analytic
from sim.event.as_it_ran import as_it_ran
from sim.event.chain import phase_of
from sim.event.critical import NOT_RECORDED, seconds_by_actor
from sim.event.engine import Engine
from sim.event.graph import op_of
from sim.event.power import with_bucket
from sim.event.record import Timeline
from sim.event.run import Progress, run_of
from sim.event.without import saved_without
from sim.run import OpRun, Run, Section

Parts = dict[str, dict[str, float]]  # by op and resource


def run(schedule: Schedule, prefetch: str | None = None, progress: Progress | None = None) -> Run:
    """The phase, with `prefetch` of PREFETCHES. Interrupted (ctrl-C), the closed form's figures
    with a warning."""
    closed = analytic.run(schedule)
    number = len(closed.ops)
    try:
        program = with_bucket(phase_of(schedule, prefetch), schedule.design.power)
        timeline = Engine(program).run()
        exposed = parts_of(closed, timeline)
        saved = dict(saved_without(program, timeline, added(list(exposed.values()))))
    except KeyboardInterrupt:
        warning = f"interrupted: none of {number} ops by events, all by closed form"
        return run_of(closed, closed.ops, (), (*closed.warnings, warning))
    if progress:
        progress(number, number)
    ops = ops_of(closed, exposed, saved, schedule.design.power.static)
    section = Section(closed.phase, 1, timeline, program)
    return run_of(closed, ops, (section,), closed.warnings)


def parts_of(closed: Run, timeline: Timeline, own: Container[str] | None = None) -> Parts:
    """Seconds of the critical path (of `own` actors) by op and resource; of a run that was not
    recorded, divided as the closed form has it."""
    path, found = seconds_by_actor(timeline, own), Parts()
    unknown = path.pop(("", NOT_RECORDED), 0.0) / closed.latency_s
    for op in closed.ops if unknown else ():
        found[op.name] = {NOT_RECORDED: op.count * op.latency_s * unknown}
    for (actor, name), seconds in path.items():
        parts = found.setdefault(op_of(actor), {})
        parts[name] = parts.get(name, 0.0) + seconds
    return found


def ops_of(closed: Run, exposed: Parts, saved: Mapping[str, float], static_w: float) -> list[OpRun]:
    """The ops as they ran, each with its share of what a resource's absence saves."""
    on_path, ops = added(list(exposed.values())), list[OpRun]()
    for op in closed.ops:
        parts = {name: s / op.count for name, s in exposed.get(op.name, {}).items()}
        saves = {n: saved[n] * s / on_path[n] for n, s in parts.items() if n in saved}
        ops.append(as_it_ran(op, sum(parts.values()), parts, saves, static_w))
    return ops
