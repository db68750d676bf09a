"""How many chips a graph runs on, and along which axes, where nobody says: the best of them.

Tried are tensor parallelism over a divisor of the chips of a kind, together with expert parallelism
where there are experts. Stages are added, as few as will do, where a rank's weights and cache do
not fit its memory: they shorten nothing. Every candidate is placed by `map_system`, those with the
least possible latency first, and one whose least latency is above the best found is left out:

    latency >= sum over ops of max(MACs that are no zero / peak,
                                   stored bytes / bandwidth of the outermost memory)

For another objective all are placed. Where none fits it is the one whose fullest chip lacks least.
Not tried: data, sequence and stream parallelism, gathered weights (which can be asked for).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import ceil

from accel_models.design import Design
from accel_models.path import Path, memory_path
from accel_models.reader import DesignError
from accel_models.system import System
from kernels_ref.errors import UserError
from mappers.partition import SystemMemos, SystemSchedule, map_system
from mappers.residence import residence
from workloads.graph import Graph, GraphError, Op, Split
from workloads.ops import Einsum, Experts
from workloads.sharding.sharded import Sharded, shard

MATRICES = (Einsum, Experts)


def best_parallelism(
    graph: Graph, system: System, objective: str = "latency", memos: SystemMemos | None = None
) -> tuple[Graph, SystemSchedule]:
    """The graph with the splits that it runs best with, and its schedule. Raises DesignError if it
    runs with none."""
    found = sorted(_candidates(graph, system), key=lambda item: item[0])
    if not found:
        raise DesignError(f"{system.name}: {graph.name} can be split over its chips in no way")
    best: tuple[float, Graph, SystemSchedule] | None = None
    for (lacks, least), split, sharded in found:
        worse = objective == "latency" and best is not None and least >= best[0]
        if worse or lacks > found[0][0][0]:
            break
        schedule = map_system(sharded, system, objective, memos)
        value = _value(schedule, objective)
        if best is None or value < best[0]:
            best = value, split, schedule
    assert best is not None
    return best[1], best[2]


def _value(schedule: SystemSchedule, objective: str) -> float:
    latency, energy = schedule.latency_s, schedule.energy_j
    return {"latency": latency, "energy": energy, "edp": latency * energy}[objective]


def _candidates(graph: Graph, system: System) -> Iterator[tuple[tuple[int, float], Graph, Sharded]]:
    """((bytes that the fullest chip lacks, least latency), graph with its splits, its shards)."""
    most = max(machine.count for machine in system.machines.values())
    experts = any(isinstance(node.op, Experts) for node in graph)
    for tensor in _divisors(most):
        for expert in _divisors(most // tensor) if experts else (1,):
            if expert > 1 and graph.batch < expert:
                continue
            yield from _staged(graph, system, {"tensor": tensor, "expert": expert})


def _staged(
    graph: Graph, system: System, axes: dict[str, int]
) -> Iterator[tuple[tuple[int, float], Graph, Sharded]]:
    """With as few stages as fit, or as many as there can be."""
    largest = max(system.machines, key=lambda name: system.machines[name].count)
    design = system.design(largest)
    ranks = axes["tensor"] * axes["expert"]
    last = None
    for stages in range(1, system.machines[largest].count // ranks + 1):
        split = _with(graph, axes | {"stage": stages})
        try:
            sharded = shard(split)
        except UserError:
            break
        lacks = max(0, *(lacking(stage, design) for stage in sharded.stages))
        least = sum(least_seconds(stage, design) for stage in sharded.stages)
        last = (lacks, least), split, sharded
        if not lacks:
            break
    if last is not None:
        yield last


def _with(graph: Graph, axes: dict[str, int]) -> Graph:
    splits = tuple(Split(axis, ways) for axis, ways in axes.items() if ways > 1)
    return replace(graph, splits=splits)


def _divisors(number: int) -> list[int]:
    return [n for n in range(1, number + 1) if number % n == 0]


def lacking(graph: Graph, design: Design) -> int:
    """Bytes of the graph's weights and caches beyond the design's outermost memory."""
    lives = residence(graph, design)
    return max(0, ceil(lives.resident_bytes) - round(lives.capacity))


def least_seconds(graph: Graph, design: Design) -> float:
    """What no schedule of the graph on one chip is below, on the best of its kinds of cores."""
    paths = [memory_path(design, name) for name in design.cores]
    return sum(n.count * min(_least(graph, n.op, path) for path in paths) for n in graph)


def _least(graph: Graph, op: Op, path: Path) -> float:
    top, seconds = path.levels[0], 0.0
    if isinstance(op, MATRICES):
        weight, activation = (graph.tensors[op.inputs[i]] for i in (1, 0))
        macs = op.macs * weight.kept / weight.elements
        try:
            pair = path.datapath(weight.format, activation.format)
            seconds = macs / path.peak_macs_per_s(pair)
        except (DesignError, GraphError):
            seconds = 0.0
    if isinstance(op, Experts):  # of the experts only those with a row are read
        return seconds
    stored = sum(graph.tensors[t].bytes for t in op.inputs if graph.tensors[t].kind == "weight")
    return max(seconds, stored / (top.read_bytes_per_s * top.instances))
