"""What several machines did together, as a Run.

Programs run one after the other (`Stretch`, each so many times over). Ops are shown where they ran.
Machines work at the same time, so that seconds of ops alone add up to more than the run's; of the
run's latency an op has the share that it has of those:

    latency of an op = its latency alone * the run's / sum over ops of their latencies alone

Energy: dynamic energy of every op, the link's per byte, and the static power of all machines for as
long as it takes. How far to trust the latency is judged by the critical path: seconds of each
machine on it, divided as its ops divide theirs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from math import ceil
from typing import Any

from accel_models.area import area_mm2
from mappers.plan import Schedule
from sim import analytic
from sim.event.cooperation import Cooperation, Done
from sim.event.cooperation_trust import energy_trust, latency_trust
from sim.event.critical import seconds_on_path
from sim.event.engine import Engine
from sim.event.sides import Chip, Sent
from sim.event.without import saved_without
from sim.on_system import merged
from sim.run import EventRun, Limit, OpRun, Run, Section, StageRun


def cooperation_run(made: Cooperation, policy: str = "") -> Run:
    """Runs the programs. `policy`: what said so."""
    graph, system = made.graph, made.system
    sections = tuple(
        Section(s.name, s.count, Engine(s.program).run(), s.program) for s in made.stretches
    )
    latency = sum(section.count * section.timeline.seconds for section in sections)
    static = sum(system.design(chip.machine).power.static for chip in made.chips) * latency
    alone = merged([*map(_op, made.done), *map(_link, made.sent)])
    ops = tuple(_shares(alone, latency, static))
    on_path = _on_path(sections)
    facts = analytic.of_graph(graph)
    return Run(
        design=system.name,
        design_title=system.title,
        **facts
        | {
            "simulator": "event",
            "batch": graph.batch * made.batches,
            "produced_tokens": facts["produced_tokens"] * made.batches
            if made.produced is None
            else made.produced,
        },
        **_sizes(made, latency),
        objective=made.objective,
        latency_s=latency,
        energy_j=sum(op.count * op.energy_j for op in ops),
        ops=ops,
        limits=tuple(_limits(sections, on_path)),
        latency_trust=latency_trust(made, on_path),
        energy_trust=energy_trust(made, static),
        area_trust=None,
        warnings=tuple(analytic.context_warnings(graph)),
        facts=_roofs(made),
        event=_event(sections, latency, policy),
    )


def _sizes(made: Cooperation, latency: float) -> dict[str, Any]:
    """Sums over the machines."""
    stages = tuple(_stage(made, chip, latency) for chip in made.chips)
    designs = [made.system.design(chip.machine) for chip in made.chips]
    areas, prices = [area_mm2(design) for design in designs], [d.price for d in designs]
    return {
        "area_mm2": sum(a for a in areas if a) if all(areas) else None,
        "area_is_die": all(design.area is not None for design in designs),
        "dollars_per_hour": sum(p.per_hour for p in prices if p) if all(prices) else None,
        "weight_bytes": made.graph.weight_bytes,
        "kv_bytes": made.graph.kv_bytes * made.batches,
        "memory_bytes": sum(stage.memory_bytes for stage in stages),
        "stages": stages if len(stages) > 1 else (),
        "resident_bytes": stages[0].need_bytes if made.backing else None,
        "backing": dict(made.backing),
    }


def _shares(ops: Sequence[OpRun], latency: float, static: float) -> Iterator[OpRun]:
    """Of the run's latency, and of its static energy."""
    ratio = latency / sum(op.count * op.latency_s for op in ops)
    for op in ops:
        seconds = op.latency_s * ratio
        spent = op.energy_by_j | {"static": static * seconds / latency}
        yield replace(
            op,
            latency_s=seconds,
            energy_j=sum(spent.values()),
            energy_by_j=spent,
            utilization=op.utilization / ratio,
            exposed_s={name: s * ratio for name, s in op.exposed_s.items()},
            saves_s={name: s * ratio for name, s in op.saves_s.items()},
        )


def _op(done: Done) -> OpRun:
    """As it ran alone, named after its machine too."""
    op = analytic.op_run(done.placed)
    return replace(op, name=f"{done.side.name}.{op.name}", count=done.count)


def _link(sent: Sent) -> OpRun:
    joules = sent.bytes * sent.j_per_byte
    return OpRun(
        name=sent.name,
        kind="collective" if sent.energy_of[0] == "links" else "fetch",
        count=sent.count,
        latency_s=sent.seconds,
        energy_j=joules,
        bound_by=sent.link,
        next_bound="",
        saves_s={sent.link: sent.seconds},
        macs=0,
        traffic={},
        utilization=0.0,
        cores="",
        engine="none",
        tile=f"{sent.bytes / 2**20:,.3g} MiB",
        mapping={"bytes": sent.bytes},
        variant="",
        instead_s={},
        fused=(),
        on_chip={},
        busy_s={sent.link: sent.seconds},
        exposed_s={sent.link: sent.seconds},
        energy_by_j={sent.link: joules},
        peak_macs_per_s=0.0,
    )


def _dynamic(op: OpRun) -> float:
    """Joules without static power, which is paid for as long as all takes."""
    return op.energy_j - op.energy_by_j.get("static", 0.0)


def _stage(made: Cooperation, chip: Chip, latency: float) -> StageRun:
    """What the chip holds, and its share of the energy."""
    design = made.system.design(chip.machine)
    memory = next(iter(design.memory.values()))
    mine = [done for done in made.done if done.chip == chip.name]
    dynamic = sum(done.count * _dynamic(_op(done)) for done in mine)
    return StageRun(
        chip.machine,
        design.name,
        (chip.number,),
        ceil(chip.weights),
        ceil(chip.cache),
        round(memory.capacity * memory.instances),
        latency,
        dynamic + design.power.static * latency,
    )


def _roofs(made: Cooperation) -> dict[str, dict[str, float]]:
    """Of all machines, for plots."""
    found: dict[str, dict[str, float]] = {}
    for machine in dict.fromkeys(chip.machine for chip in made.chips):
        mine = tuple(done.placed for done in made.done if done.machine == machine)
        schedule = Schedule(made.graph, made.system.design(machine), made.objective, mine, ())
        for kind, roofs in analytic.facts(schedule).items():
            found.setdefault(kind, {}).update(roofs)
    return found


def _on_path(sections: Iterable[Section]) -> dict[str, float]:
    """Seconds of the critical paths by resource, longest first."""
    found: dict[str, float] = {}
    for section in sections:
        for name, seconds in seconds_on_path(section.timeline).items():
            found[name] = found.get(name, 0.0) + section.count * seconds
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def _limits(sections: Sequence[Section], on_path: Mapping[str, float]) -> Iterator[Limit]:
    """With what it saves to run again without each resource."""
    saved: dict[str, float] = {}
    for section in sections:
        path = seconds_on_path(section.timeline)
        for name, seconds in saved_without(section.program, section.timeline, path):
            saved[name] = saved.get(name, 0.0) + section.count * seconds
    for name, seconds in on_path.items():
        yield Limit(name, seconds, saved.get(name, 0.0))


def _event(sections: tuple[Section, ...], latency: float, policy: str) -> EventRun:
    """Its closed form is that of machines that never wait: each stretch's busiest one's time."""
    stalls: dict[str, dict[str, float]] = {}
    least = 0.0
    for section in sections:
        timeline = section.timeline
        busiest = max(counters.total for counters in timeline.counters.values())
        least += section.count * busiest / timeline.tick_hz
        for name, parts in timeline.stalls().items():
            total = stalls.setdefault(name, {})
            for what, seconds in parts.items():
                total[what] = total.get(what, 0.0) + section.count * seconds
    for parts in stalls.values():  # what stretches do that do not use it
        parts["idle"] = parts.get("idle", 0.0) + max(0.0, latency - sum(parts.values()))
    return EventRun(
        analytic_latency_s=least,
        events=sum(section.timeline.events for section in sections),
        stalls=stalls,
        sections=sections,
        policy=policy,
    )
