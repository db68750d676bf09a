"""Several graphs on one chip at a time: who slows whom down, and what running them together gains.

Every tenant is a phase's program (`chain`), its launches by a thread of its own; all else are the
same resources, which serve the tenants in turn, tile by tile, or by priority:

    slowdown = together / alone       gained = sum of alone / until the last has ended - 1

A hand-over between engines that follows a kernel's last step lets the tenants beside it go on; one
that stops a core within a kernel stops them too. The first tenant is the one that the Run is of:
its ops' latencies are their parts of its own critical path, with `others` for the time in which
what it needs serves somebody else. Static power is counted in its energy as if it were alone.

Replicas of a model on one GPU: Recasens et al., "Mind the Memory Gap", arXiv 2503.08311, sec. 6.
Not modeled: what tenants take from each other in caches and scratchpads, each has all of a core's
buffers; cores that are dealt out among them; switching.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from mappers.cost import added
from mappers.plan import Schedule
from mappers.residence import residence
from sim import analytic
from sim.beside import Guest
from sim.event.chain import phase_of
from sim.event.critical import NOT_RECORDED, OTHERS, WAITING
from sim.event.engine import Engine
from sim.event.graph import union, used
from sim.event.power import with_bucket
from sim.event.program import Actor, Program, Resource, Use
from sim.event.record import Timeline
from sim.event.run import Progress, run_of
from sim.event.whole import ops_of, parts_of
from sim.event.without import SHOWN, without
from sim.run import Run, Section, TenantRun

PRIORITIES = 2  # of a program's own actors
OWN = ("launch", "sync")  # resources that a tenant has for itself


@dataclass(frozen=True)
class Tenant:
    """A program among others, and that of its phase alone."""

    name: str
    phase: Program
    program: Program
    guest: Guest

    def seconds(self, timeline: Timeline) -> float:
        """Until the last of its actors was done."""
        last = max(timeline.ended[actor.name] for actor in self.program.actors)
        return last / timeline.tick_hz


def run(
    schedule: Schedule,
    guests: Sequence[tuple[Guest, Schedule]],
    prefetch: str | None = None,
    progress: Progress | None = None,
) -> Run:
    """The schedule's phase beside those of the guests. Interrupted, the closed form's figures of
    the phase alone, with a warning."""
    closed = analytic.run(schedule)
    closed = replace(closed, warnings=(*closed.warnings, *_crowded(schedule, guests)))
    try:
        return _run(schedule, closed, list(_tenants(schedule, guests, prefetch)), progress)
    except KeyboardInterrupt:
        warning = "interrupted: nothing by events; the closed form's figures, of one model alone"
        return run_of(closed, closed.ops, (), (*closed.warnings, warning))


def _run(
    schedule: Schedule, closed: Run, tenants: Sequence[Tenant], progress: Progress | None
) -> Run:
    alone, first = _alone(tenants), tenants[0]
    whole = union([tenant.program for tenant in tenants])
    timeline = Engine(whole).run()
    own = frozenset(actor.name for actor in first.program.actors)
    exposed = parts_of(closed, timeline, own)
    saved = dict(_saved(first, whole, timeline, added(list(exposed.values()))))
    saved[OTHERS] = first.seconds(timeline) - alone[id(first.phase)]
    if progress:
        progress(len(closed.ops), len(closed.ops))
    ops = ops_of(closed, exposed, saved, schedule.design.power.static)
    found = run_of(closed, ops, (Section("all", 1, timeline, whole),), closed.warnings)
    told = tuple(
        TenantRun(t.name, t.guest.priority, t.guest.repeat, alone[id(t.phase)], t.seconds(timeline))
        for t in tenants
    )
    assert found.event is not None
    return replace(found, event=replace(found.event, tenants=told))


def _tenants(
    schedule: Schedule, guests: Sequence[tuple[Guest, Schedule]], prefetch: str | None
) -> Iterator[Tenant]:
    """The phase itself first."""
    known: dict[tuple[int, int], Program] = {}
    name = f"{schedule.graph.name} {schedule.graph.phase}"
    asked = [(Guest(name, schedule.graph), schedule), *guests]
    names = [guest.name for guest, _ in asked]
    for number, (guest, own) in enumerate(asked):
        copy = names[:number].count(guest.name) + 1
        label = f"{guest.name} #{copy}" if names.count(guest.name) > 1 else guest.name
        key = id(guest.graph), guest.repeat
        if key not in known:
            phase = phase_of(own, prefetch, guest.repeat)
            known[key] = with_bucket(phase, schedule.design.power)
        phase = known[key]
        yield Tenant(label, phase, _own(phase, number, label, guest.priority), guest)


def _own(phase: Program, number: int, label: str, priority: int) -> Program:
    """The program of a tenant: actors of its name, and resources that nobody shares."""
    mine = {name: f"{name}.{number}" if number else name for name in OWN}

    def change(use: Use) -> Use:
        return replace(use, resource=mine.get(use.resource, use.resource))

    def called(name: str) -> str:
        return f"{label} / {name}" if number else name

    actors = [
        replace(a, name=called(a.name), priority=a.priority + PRIORITIES * priority)
        for a in used(apart(phase), change).actors
    ]
    channels = (
        replace(c, source=called(c.source), target=called(c.target)) for c in phase.channels
    )
    clock = max(resource.clock_hz for resource in phase.resources)
    names = {use.resource for actor in actors for run in actor.cycle for use in run.uses}
    known = {resource.name for resource in phase.resources}
    resources = [r for r in phase.resources if r.name in names]
    resources += [Resource(name, clock) for name in sorted(names - known)]
    pacers = tuple(map(called, phase.pacers))
    return Program(tuple(actors), tuple(channels), tuple(resources), pacers)


def apart(phase: Program) -> Program:
    """Hand-overs that are all that an actor does take no engine, just time."""

    def handed(actor: Actor) -> Actor:
        uses = [use for run in actor.cycle for use in run.uses]
        if not uses or any(use.kind != "sync" for use in uses):
            return actor
        runs = (
            replace(r, uses=tuple(replace(u, resource="sync") for u in r.uses)) for r in actor.cycle
        )
        return replace(actor, cycle=tuple(runs))

    return replace(phase, actors=tuple(map(handed, phase.actors)))


def _alone(tenants: Sequence[Tenant]) -> dict[int, float]:
    """Seconds of each tenant's phase, all its runs, without the others."""
    found: dict[int, float] = {}
    for tenant in tenants:
        if id(tenant.phase) not in found:
            found[id(tenant.phase)] = Engine(tenant.phase, record=False).run().seconds
    return found


def _saved(
    tenant: Tenant, whole: Program, timeline: Timeline, on_path: Mapping[str, float]
) -> Iterator[tuple[str, float]]:
    """By how much earlier the tenant would end without a resource that its path waits for."""
    seconds = tenant.seconds(timeline)
    for name, part in on_path.items():
        if name not in (OTHERS, NOT_RECORDED, WAITING) and part > SHOWN * seconds:
            less = Engine(without(whole, name), record=False).run()
            yield name, max(0.0, seconds - tenant.seconds(less))


def _crowded(schedule: Schedule, guests: Sequence[tuple[Guest, Schedule]]) -> Iterator[str]:
    """A warning, if what all of them keep in memory does not fit."""
    design = schedule.design
    held = [residence(s.graph, design) for s in (schedule, *(own for _, own in guests))]
    need, have = sum(one.resident_bytes for one in held), held[0].capacity
    if need > have:
        yield (
            f"weights and caches of the {len(held)} models need {need / 2**30:.1f} GiB, "
            f"{design.name}'s {next(iter(design.memory))} has {have / 2**30:.1f} GiB: the figures "
            "are those of a chip with enough memory"
        )
