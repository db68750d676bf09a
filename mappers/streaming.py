"""Ops that stream their operands through the cores once: vector functions, gathers, copies.

Rows are spread over the cores; a row that must be seen whole (a norm, a softmax) stays on one core
and is read twice where it does not fit the core's memory. Every level on the way is written and
read once per byte; an operand that stays on chip is known further out by nobody. A core has at most
half its memory in flight, so it needs bytes / (capacity / 2) times the access latency (Little's
law). Where the cores have a library of such kernels, the time is its kernels'
(mappers/library/vector_plan.py).
"""

from __future__ import annotations

from collections.abc import Mapping as Map
from dataclasses import dataclass, field
from math import ceil

from accel_models.path import Level, Path
from mappers.cost import (
    Cost,
    Traffic,
    Work,
    add_traffic,
    added,
    compose,
    memory_joules,
    vector_joules,
    whole_granules,
)
from mappers.library.vector_plan import Call, as_library
from mappers.steps import Steps
from mappers.traffic import load_share, operand_sums


@dataclass(frozen=True)
class Stream:
    """Bytes in and out (by operand, all rows), functions' work, and how it divides.

    `stays`: the level where an operand lies already, or is left.
    """

    read_bytes: Map[str, float]
    written_bytes: Map[str, float]
    rows: int
    row_bytes: float  # of the inputs, per row
    calls: tuple[Call, ...] = ()
    reduction: bool = False
    run_bytes: float | None = None  # contiguous bytes at the outermost memory; None: long
    stays: Map[str, str] = field(default_factory=dict)


def stream_cost(stream: Stream, path: Path) -> Cost:
    """Latency and energy of streaming once through the cores."""
    rows = max(1, stream.rows)
    parts = rows if stream.reduction else _chunks(stream, path)
    cores = min(path.cores, parts)
    balanced = parts / ceil(parts / cores)  # cores at work on average
    core_memory = core_level(path)
    work: dict[str, float] = added([dict(call.ops) for call in stream.calls])
    twice = stream.reduction and stream.row_bytes > core_memory.capacity
    traffic = _traffic(stream, path, 2.0 if twice else 1.0)
    busy: dict[str, float] = {"vector": path.vector_seconds(work, balanced) if work else 0.0}
    for level in path.memories:
        read, written = operand_sums(traffic.get(level.name, {}), level.fill_port)
        first = path.levels.index(level) < path.first_core
        busy[level.name] = float(
            level.seconds(read, written, level.instances if first else balanced)
        )
    loaded = (n for o, n in stream.read_bytes.items() if stream.stays.get(o) != core_memory.name)
    per_core = sum(loaded) / balanced
    loads = per_core / (core_memory.capacity / 2)
    busy["in_flight"] = loads * path.access_latency_s(path.first_core + 1)
    joules = memory_joules(traffic, path)
    joules["vector"] = vector_joules(work, path)
    inward = {m.name: load_share(traffic.get(m.name, {}))[0] for m in path.memories}
    steps = Steps(ceil(parts / cores), loads=inward)
    single = {m.name: busy[m.name] for m in path.memories if m.buffering == "single"}
    found = Work(busy, {}, {}, joules, traffic, single, steps=steps)
    return compose(as_library(found, stream.calls, path, balanced), path)


def _chunks(stream: Stream, path: Path) -> int:
    """Independent pieces of an elementwise op: one vector's worth of 4-byte lanes each."""
    total = max(sum(stream.written_bytes.values()), *stream.read_bytes.values(), 1.0)
    return max(1, ceil(total / (path.vector.lanes * 4)))


def core_level(path: Path) -> Level:
    """The memory of a core that holds activations, else its outermost."""
    own = path.memories[path.first_core :]
    return next((level for level in own if "activation" in level.keeps), own[0])


def _traffic(stream: Stream, path: Path, passes: float) -> Traffic:
    """Every operand from where it lies to the core, every result from there to where it goes."""
    traffic: Traffic = {}
    extra = 1.0
    if stream.run_bytes:
        extra = float(whole_granules(stream.run_bytes, path.levels[0].granularity))
    for operand, size in stream.read_bytes.items():
        add_traffic(traffic, path.levels[0].name, operand, 0.0, 0.0)
        parent, *way = _way(stream, operand, path)
        gaps = extra if parent is path.levels[0] else 1.0
        add_traffic(traffic, parent.name, operand, size * gaps * passes, 0.0)
        for level in way:
            add_traffic(traffic, level.name, operand, size * passes, size * passes)
    for operand, size in stream.written_bytes.items():
        add_traffic(traffic, path.levels[0].name, "output", 0.0, 0.0)
        parent, *way = _way(stream, operand, path)
        gaps = extra if parent is path.levels[0] else 1.0
        add_traffic(traffic, parent.name, "output", 0.0, size * gaps)
        for level in way:
            add_traffic(traffic, level.name, "output", size, size)
    return traffic


def _way(stream: Stream, operand: str, path: Path) -> list[Level]:
    """Levels that it passes, outermost first."""
    core_memory = core_level(path)
    way = [path.levels[0]]
    for level in path.memories[1 : path.levels.index(core_memory) + 1]:
        if "activation" in level.keeps:
            way.append(level)
    start = stream.stays.get(operand)
    return next((way[i:] for i, level in enumerate(way) if level.name == start), way)
