"""A schedule of several chips as a Run: what `sim.analytic` is for one.

Stages run one after the other, ranks of a stage at the same time and alike. Latencies are a
chip's; energies, bytes, MACs and peaks those of all chips that do the same. An op that costs the
same in several stages is shown once.
Not modeled: chips of the system that have no rank, which are off; static power of a stage that
waits for another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from math import ceil, prod
from typing import Any

from accel_models.area import area_mm2
from accel_models.design import PathKey
from accel_models.source import Source
from accel_models.system import System
from mappers.partition import StagePlan, SystemSchedule
from mappers.plan import Placed
from sim import analytic
from sim.run import Held, OpRun, Run, StageRun, Traffic, Trust
from sim.trust import Shares, area_numbers, energy_numbers, latency_numbers, trust
from workloads.graph import Graph
from workloads.sharding.sharded import BATCHED, ways

MACHINES = "machines"


def run(graph: Graph, found: SystemSchedule) -> Run:
    """The phase that the whole graph describes, on the system."""
    system, stages = found.system, found.stages
    runs = tuple(_stage(system, plan) for plan in stages)
    ops = tuple(merged(_ops(stages)))
    source_of = sources(system)
    return Run(
        design=system.name,
        design_title=system.title,
        **analytic.of_graph(graph),
        objective=stages[0].schedule.objective,
        latency_s=found.latency_s,
        energy_j=found.energy_j,
        **_sizes(system, runs),
        ops=ops,
        limits=analytic.limits(ops),
        latency_trust=trust(_latency_shares(system, stages), source_of),
        energy_trust=trust(_energy_shares(system, stages), source_of),
        area_trust=_area_trust(system, stages),
        warnings=tuple(dict.fromkeys(_warnings(graph, stages))),
        facts=_facts(stages),
        parallel=ways(graph),
        stages=runs,
        interval_s=found.interval_s if len(stages) > 1 else None,
    )


def _stage(system: System, plan: StagePlan) -> StageRun:
    graph, design = plan.schedule.graph, system.design(plan.machine)
    memory = next(iter(design.memory.values()))
    joules = sum(placed.count * placed.cost.energy_j for placed in plan.schedule)
    return StageRun(
        plan.machine,
        design.name,
        plan.chips,
        graph.weight_bytes,
        graph.kv_bytes,
        round(memory.capacity * memory.instances),
        float(plan.latency_s),
        float(joules) * len(plan.chips),
        **analytic.held(graph, design),
    )


def _sizes(system: System, runs: Sequence[StageRun]) -> dict[str, Any]:
    """Sums over all chips in use."""
    designs = [(len(run.chips), system.design(run.machine)) for run in runs]
    areas = [(n, area_mm2(design)) for n, design in designs]
    prices = [(n, design.price) for n, design in designs]
    area = sum(n * mm2 for n, mm2 in areas if mm2)
    hourly = sum(n * price.per_hour for n, price in prices if price)
    return _backing(runs) | {
        "weight_bytes": sum(len(run.chips) * run.weight_bytes for run in runs),
        "kv_bytes": sum(len(run.chips) * run.kv_bytes for run in runs),
        "memory_bytes": sum(len(run.chips) * run.memory_bytes for run in runs),
        "area_mm2": area if all(mm2 for _, mm2 in areas) else None,
        "area_is_die": all(design.area is not None for _, design in designs),
        "dollars_per_hour": hourly if all(price for _, price in prices) else None,
    }


def _backing(runs: Iterable[StageRun]) -> dict[str, Any]:
    """What lives in the chips' backing memories, by name, and what that leaves for their own."""
    found: dict[str, Held] = {}
    for run in runs:
        for name, held in run.backing.items():
            before, chips = found.get(name, Held(0, 0)), len(run.chips)
            size, room = before.bytes + chips * held.bytes, before.capacity + chips * held.capacity
            found[name] = Held(size, room)
    left = sum(len(run.chips) * run.need_bytes for run in runs)
    return {"resident_bytes": left if found else None, "backing": found}


def _ops(stages: Iterable[StagePlan]) -> Iterator[OpRun]:
    """In order, for all ranks of a stage."""
    for plan in stages:
        for placed in plan.schedule:
            yield of_ranks(analytic.op_run(placed), len(plan.chips))


def of_ranks(op: OpRun, ranks: int) -> OpRun:
    """So many chips at the same op."""
    return replace(
        op,
        macs=op.macs * ranks,
        energy_j=op.energy_j * ranks,
        energy_by_j={name: joules * ranks for name, joules in op.energy_by_j.items()},
        peak_macs_per_s=op.peak_macs_per_s * ranks,
        traffic={
            level: {o: Traffic(t.read * ranks, t.written * ranks) for o, t in operands.items()}
            for level, operands in op.traffic.items()
        },
    )


def merged(ops: Iterable[OpRun]) -> list[OpRun]:
    """Ops that are alike but for their count as one; what is not alike bears a number."""
    found: list[OpRun] = []
    for op in ops:
        same = next((i for i, old in enumerate(found) if replace(old, count=op.count) == op), None)
        if same is None:
            found.append(op)
        else:
            found[same] = replace(found[same], count=found[same].count + op.count)
    names: dict[str, int] = {}
    for i, op in enumerate(found):
        names[op.name] = names.get(op.name, 0) + 1
        if names[op.name] > 1:
            found[i] = replace(op, name=f"{op.name}.{names[op.name]}")
    return found


def sources(system: System) -> Callable[[PathKey], Source]:
    """Of numbers of the system's links, and of its machines' designs."""

    def source_of(path: PathKey) -> Source:
        if path[0] == MACHINES:
            return system.design(path[1]).source_of(path[2:])
        return system.source_of(path)

    return source_of


def _latency_shares(system: System, stages: Iterable[StagePlan]) -> Shares:
    """Seconds by the numbers that they rest on, of all stages."""
    found: list[Shares] = []
    for plan in stages:
        numbers = _numbers(system, plan.machine, latency_numbers, ("bandwidth", "latency"))
        found.append(analytic.latency_shares(plan.schedule, numbers))
    return _added(found)


def _energy_shares(system: System, stages: Iterable[StagePlan]) -> Shares:
    """Joules of all ranks by the numbers that they rest on."""
    found: list[Shares] = []
    for plan in stages:
        numbers = _numbers(system, plan.machine, energy_numbers, ("energy",))
        shares = analytic.energy_shares(plan.schedule, numbers)
        found.append({paths: joules * len(plan.chips) for paths, joules in shares.items()})
    return _added(found)


def _numbers(
    system: System,
    machine: str,
    of_chip: Callable[[Placed, str], tuple[PathKey, ...]],
    of_link: tuple[str, ...],
) -> Callable[[Placed, str], tuple[PathKey, ...]]:
    """What a figure of a chip's resource rests on, or of links of the system."""

    def numbers(placed: Placed, resource: str) -> tuple[PathKey, ...]:
        links = resource.split("+")
        if all(link in system.links for link in links):
            return tuple(("links", link, key) for link in links for key in of_link)
        return tuple((MACHINES, machine, *path) for path in of_chip(placed, resource))

    return numbers


def _area_trust(system: System, stages: Iterable[StagePlan]) -> Trust | None:
    """Of all chips in use, where each states its area."""
    found: list[Shares] = []
    for plan in stages:
        design = system.design(plan.machine)
        if not area_mm2(design):
            return None
        found.append(
            {
                tuple((MACHINES, plan.machine, *path) for path in paths): mm2 * len(plan.chips)
                for paths, mm2 in area_numbers(design).items()
            }
        )
    return trust(_added(found), sources(system))


def _added(several: Iterable[Shares]) -> Shares:
    total: Shares = {}
    for shares in several:
        for numbers, amount in shares.items():
            total[numbers] = total.get(numbers, 0.0) + amount
    return total


def _facts(stages: Iterable[StagePlan]) -> dict[str, dict[str, float]]:
    """Roofs of all ranks of a stage; of stages that differ the highest."""
    found: dict[str, dict[str, float]] = {}
    for plan in stages:
        for kind, roofs in analytic.facts(plan.schedule).items():
            here = found.setdefault(kind, {})
            for name, value in roofs.items():
                here[name] = max(here.get(name, 0.0), value * len(plan.chips))
    return found


def _warnings(graph: Graph, stages: Iterable[StagePlan]) -> Iterator[str]:
    for plan in stages:
        yield from analytic.memory_warnings(plan.schedule)
        yield from analytic.format_warnings(plan.schedule)
    yield from analytic.context_warnings(graph)
    ranks = prod(n for axis, n in ways(graph).items() if axis in BATCHED)
    if graph.batch % ranks:
        counted = ceil(graph.batch / ranks) * ranks
        yield (
            f"{graph.batch} sequences do not divide over {ranks} ranks: latency is that of the "
            f"fullest, energy, caches and MACs are those of {counted} sequences"
        )
