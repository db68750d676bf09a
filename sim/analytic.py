"""The closed-form simulator: a schedule's costs, composed over the graph into a Run.

Ops run one after the other (fetches from a backing memory beside the layer before, see
mappers/fetching.py); the total is the sum of count times each op's cost (mappers/cost.py,
the one definition of an op's latency and energy).
Not modeled: overlap between ops, contention (the event simulator's).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import ceil
from typing import Any

from accel_models.area import area_mm2
from accel_models.design import Design, PathKey
from accel_models.engines.pe import formats_hint
from mappers.cost import exposed_by_resource, saved_without
from mappers.map_graph import takes_some
from mappers.plan import Placed, Schedule
from mappers.residence import Residence, residence
from sim.run import Held, Limit, OpRun, Run, Traffic
from sim.trust import Shares, area_numbers, energy_numbers, latency_numbers, trust
from workloads.graph import Graph

Numbers = Callable[[Placed, str], tuple[PathKey, ...]]
ENGINE_OF = {"vector": "vector"}  # of ops that have no MACs


def run(schedule: Schedule) -> Run:
    """The phase that the schedule's graph describes."""
    graph, design = schedule.graph, schedule.design
    ops = tuple(op_run(placed) for placed in schedule)
    memory, area = next(iter(design.memory.values())), area_mm2(design)
    return Run(
        design=design.name,
        design_title=design.title,
        **of_graph(graph),
        objective=schedule.objective,
        latency_s=sum(op.count * op.latency_s for op in ops),
        energy_j=sum(op.count * op.energy_j for op in ops),
        area_mm2=area,
        area_is_die=design.area is not None,
        weight_bytes=graph.weight_bytes,
        kv_bytes=graph.kv_bytes,
        state_bytes=graph.state_bytes,
        saved_bytes=graph.saved_bytes,
        memory_bytes=round(memory.capacity * memory.instances),
        ops=ops,
        limits=limits(ops),
        latency_trust=trust(latency_shares(schedule), design.source_of),
        energy_trust=trust(energy_shares(schedule), design.source_of),
        area_trust=trust(area_numbers(design), design.source_of) if area else None,
        dollars_per_hour=design.price.per_hour if design.price else None,
        warnings=tuple(_warnings(schedule)),
        facts=facts(schedule),
        **held(graph, design),
    )


def of_graph(graph: Graph) -> dict[str, Any]:
    """What a run says of the whole graph, wherever it runs."""
    tokens = graph.tokens if graph.produced is None else graph.produced
    return {
        "workload": graph.name,
        "phase": graph.phase,
        "simulator": "analytic",
        "batch": graph.batch,
        "tokens": graph.tokens,
        "context": graph.context,
        "params": graph.params,
        "kept_params": graph.kept_params,
        "produced_tokens": graph.batch * tokens,
    }


def op_run(placed: Placed) -> OpRun:
    """The op's cost in the report's terms."""
    cost, plan = placed.cost, placed.plan
    bounds = sorted(cost.bounds().items(), key=lambda item: -item[1])
    return OpRun(
        name=placed.op.name,
        kind=placed.op.kind,
        count=placed.count,
        latency_s=float(cost.latency_s),
        energy_j=float(cost.energy_j),
        bound_by=cost.bound_by,
        next_bound=bounds[1][0],
        saves_s=saved_without(cost),
        macs=placed.macs,
        traffic={
            level: {o: Traffic(float(r), float(w)) for o, (r, w) in operands.items()}
            for level, operands in cost.work.traffic.items()
        },
        utilization=plan.utilization,
        cores=plan.path.name,
        engine=plan.path.runs_on if placed.macs else ENGINE_OF.get(placed.op.kind, "none"),
        tile=plan.tile,
        mapping=plan.mapping,
        variant=plan.variant,
        instead_s=plan.instead,
        fused=tuple(op.name for op in placed.fused),
        on_chip=plan.stays,
        busy_s={name: float(s) for name, s in cost.work.busy.items()},
        exposed_s=exposed_by_resource(cost),
        energy_by_j={name: float(j) for name, j in cost.joules.items()},
        peak_macs_per_s=plan.peak_per_s if placed.macs else 0.0,
    )


def limits(ops: Iterable[OpRun]) -> tuple[Limit, ...]:
    """Per resource over the whole run, most waited for first."""
    waited: dict[str, float] = {}
    saved: dict[str, float] = {}
    for op in ops:
        for resource, seconds in op.exposed_s.items():
            waited[resource] = waited.get(resource, 0.0) + op.count * seconds
        for resource, seconds in op.saves_s.items():
            saved[resource] = saved.get(resource, 0.0) + op.count * seconds
    found = [Limit(r, s, saved.get(r, 0.0)) for r, s in waited.items() if s > 0]
    return tuple(sorted(found, key=lambda limit: -limit.exposed_s))


def latency_shares(schedule: Schedule, numbers_of: Numbers = latency_numbers) -> Shares:
    """Seconds by the numbers that they rest on."""
    shares: Shares = {}
    for placed in schedule:
        for resource, seconds in exposed_by_resource(placed.cost).items():
            if seconds > 0:
                numbers = numbers_of(placed, resource)
                shares[numbers] = shares.get(numbers, 0.0) + placed.count * seconds
    return shares


def energy_shares(schedule: Schedule, numbers_of: Numbers = energy_numbers) -> Shares:
    """Joules by the numbers that they rest on."""
    shares: Shares = {}
    for placed in schedule:
        for resource, joules in placed.cost.joules.items():
            if joules > 0:
                numbers = numbers_of(placed, resource)
                shares[numbers] = shares.get(numbers, 0.0) + placed.count * float(joules)
    return shares


def _warnings(schedule: Schedule) -> Iterable[str]:
    yield from memory_warnings(schedule)
    yield from format_warnings(schedule)
    yield from context_warnings(schedule.graph)


def memory_warnings(schedule: Schedule) -> Iterable[str]:
    """What a chip does not hold."""
    graph, design = schedule.graph, schedule.design
    what = "weights, gradients, optimizer and activations"
    what = what if graph.state_bytes else "weights and cache"
    to = "" if graph.state_bytes else next(iter(design.backing), "")
    yield from _misfits(residence(graph, design), design, what, to)


def format_warnings(schedule: Schedule) -> Iterable[str]:
    """What no multiplier takes."""
    graph, design = schedule.graph, schedule.design
    for path in schedule.paths:
        if not takes_some(graph, path):
            yield (
                f"{path.name}: no PE takes the model's formats, so these cores multiply nothing; "
                f"{formats_hint(path.engine.pe)}"
            )
    slow = [p for p in schedule if p.plan.path.runs_on == "vector"]
    if slow:
        yield (
            f"no PE of {design.name} takes the formats of {', '.join(p.op.name for p in slow)}: "
            "these run on the vector engine"
        )


def context_warnings(graph: Graph) -> Iterable[str]:
    """More than the model was made for."""
    if graph.max_context and graph.context > graph.max_context:
        yield (
            f"context {graph.context} is longer than the {graph.max_context} that "
            f"{graph.name} was made for"
        )


def held(graph: Graph, design: Design) -> dict[str, Any]:
    """Backing memories that hold something; if any does, what is left for the outermost one."""
    lives = residence(graph, design)
    used = {name: each for name, each in lives.backing.items() if each[0]}
    return {
        "resident_bytes": ceil(lives.resident_bytes) if used else None,
        "backing": {name: Held(ceil(need), round(have)) for name, (need, have) in used.items()},
    }


def _misfits(lives: Residence, design: Design, held: str, to: str) -> Iterable[str]:
    """A sentence for each memory that is too small for what lives there; `to`: the memory that some
    of it could be offloaded to."""
    away = any(need for need, _ in lives.backing.values())
    if lives.resident_bytes > lives.capacity:
        what = f"what stays of {held}, with buffers, needs" if away else f"{held} need"
        offload = f"; --apply 'offload(...)' keeps some in {to}" if to and not away else ""
        yield (
            f"{what} {lives.resident_bytes / 2**30:.1f} GiB, {design.name}'s "
            f"{next(iter(design.memory))} has {lives.capacity / 2**30:.1f} GiB: the figures are "
            f"those of a chip with enough memory{offload}"
        )
    for name, (need, have) in lives.backing.items():
        if need > have:
            yield (
                f"what is kept in {design.name}'s {name} needs {need / 2**30:.1f} GiB, it has "
                f"{have / 2**30:.1f} GiB: the figures are those of one that is large enough"
            )


def facts(schedule: Schedule) -> dict[str, dict[str, float]]:
    """Roofs for plots: bandwidth of every level and peak of every format pair that was used."""
    peaks: dict[str, float] = {}
    bandwidths: dict[str, float] = {}
    for placed in schedule:
        path = placed.plan.path
        if placed.macs:
            pair = placed.plan.rests_on["matrix"][0][-2]
            name = f"{path.name} {pair}"
            peaks[name] = max(placed.plan.peak_per_s, peaks.get(name, 0.0))  # zeros skipped or not
        for level in path.memories:
            bandwidths[level.name] = level.read_bytes_per_s * level.instances
    return {"peak_macs_per_s": peaks, "bandwidth_bytes_per_s": bandwidths}
