"""A matrix multiplication's work under a mapping: traffic, engine cycles, conversions, epilogue.

Traffic by `mappers.reuse`; each level is charged with what its children read from and write to it
and with what it is filled with. Partial sums that leave an instance travel at the accumulator's
width, written every time and read back all but the first. Engine cycles are the busiest core's
`engine.service` over its tiles, full and ragged ones counted apart; with `dispatch: dynamic` the
output tiles are dealt to cores as they fall free, so

    steps = ceil(output tiles * k splits / cores)             (wave quantization)

and every wave lasts as long as a full tile. Weights are stored in the order they are read; rows of
activations shorter than a memory's granularity fetch whole granules. An operand the PE cannot take
is converted by the vector engine each time it enters a core.
Not modeled: several output tiles in flight on one core; the order of tiles within a wave.
"""

from __future__ import annotations

from collections.abc import Mapping as Map
from dataclasses import dataclass, field
from itertools import product

import numpy as np

from accel_models.engines.pe import Datapath
from accel_models.engines.tile import MatmulTile, Number, ceil_div
from accel_models.path import ENGINE, Path
from mappers.cost import (
    Cost,
    Traffic,
    Work,
    add_traffic,
    compose,
    memory_joules,
    vector_joules,
    whole_granules,
)
from mappers.mapping import OPERAND_RANKS, RANKS, Mapping
from mappers.reuse import Nest, busy_steps, moved_elements


@dataclass(frozen=True)
class Matmul:
    """C[b,m,n] = A[b,m,k] B[b,k,n]. Bytes are per element, metadata included."""

    extents: Map[str, int]
    datapath: Datapath
    activation_bytes: float
    weight_bytes: float
    output_bytes: float
    partial_bytes: float
    epilogue_ops: Map[str, float] = field(default_factory=dict)  # vector work on the outputs
    epilogue_bytes: float = 0.0  # further operands read once with the outputs
    shared_weight: bool = True  # stored by us, so in the order we read it

    @property
    def macs(self) -> int:
        return int(np.prod([self.extents[r] for r in RANKS], dtype=object))

    def key(self) -> tuple[object, ...]:
        """Hashable identity."""
        return (
            tuple(self.extents.items()),
            self.datapath,
            (self.activation_bytes, self.weight_bytes, self.output_bytes, self.partial_bytes),
            (tuple(self.epilogue_ops.items()), self.epilogue_bytes, self.shared_weight),
        )

    def bytes_per_element(self, operand: str) -> float:
        return {"activation": self.activation_bytes, "weight": self.weight_bytes}.get(
            operand, self.output_bytes
        )


def matmul_cost(problem: Matmul, mapping: Mapping, path: Path) -> Cost:
    """Latency and energy of `problem` under `mapping`; arrays where the mapping has arrays."""
    nest = Nest(mapping, path, problem.extents)
    traffic, conversions = _traffic(problem, nest)
    cycles, out_steps, k_steps = engine_cycles(problem, nest)
    cores = np.minimum(_output_tiles(nest) / out_steps, path.cores)  # at work, on average
    vector = _plus(problem.epilogue_ops, conversions)
    busy = {"matrix": cycles / path.clock_hz}
    vector_s = path.vector_seconds(vector, cores) if vector else 0.0
    if path.control.overlap_engines:
        busy["vector"] = vector_s
    else:
        busy["matrix"] = busy["matrix"] + vector_s
    head, tail, serial = {}, {}, {}
    for level in path.memories:
        read, written = _sums(traffic.get(level.name, {}))
        instances = _instances_at_work(path, level.name, mapping, cores)
        busy[level.name] = level.seconds(read, written, instances)
        loads, stores = _load_share(traffic.get(level.name, {}))
        head[level.name] = busy[level.name] * loads / (out_steps * k_steps)
        tail[level.name] = busy[level.name] * stores / out_steps
        if level.buffering == "single":
            serial[level.name] = busy[level.name] - head[level.name] - tail[level.name]
    busy["in_flight"] = out_steps * k_steps * _load_latency(problem, mapping, path)
    joules = memory_joules(traffic, path)
    joules["matrix"] = problem.macs * problem.datapath.pair.energy
    joules["vector"] = vector_joules(vector, path)
    syncs = (path.control.sync or 0.0) * out_steps if vector else 0.0
    return compose(Work(busy, head, tail, joules, traffic, serial, syncs), path)


def _load_latency(problem: Matmul, mapping: Mapping, path: Path) -> Number:
    """Seconds per step that a core at least takes: a tile's load latency over the tiles on the way.

    Little's law with the tiles that fit beside the one in use (one with double buffering).
    """
    level, here = path.levels[path.first_core], mapping.levels[path.first_core].tile
    bytes_per_step = sum(
        here[r0] * here[r1] * problem.bytes_per_element(operand)
        for operand, r0, r1 in (("activation", "m", "k"), ("weight", "k", "n"))
        if operand in level.keeps
    )
    latency = path.access_latency_s(path.first_core + 1)
    if level.buffering == "single" or isinstance(bytes_per_step, int):  # int: it keeps no inputs
        return 0.0
    if level.buffering == "double":
        return latency
    return latency / np.maximum(1, level.capacity // bytes_per_step - 1)


def legal(
    problem: Matmul, mapping: Mapping, path: Path, undecided: frozenset[int] = frozenset()
) -> Number:
    """True where every tile fits its memory (`undecided` levels aside) and every split its
    fan-out."""
    fits: Number = True
    for i, level in enumerate(path.levels[1:], start=1):
        here = mapping.levels[i]
        fan_out = path.levels[i].instances // path.levels[i - 1].instances
        used = 1
        for rank in RANKS:
            used = used * here.spatial[rank]
        fits = np.logical_and(fits, used <= fan_out)
        if level.name != ENGINE and i not in undecided:
            fits = np.logical_and(fits, occupancy(problem, mapping, path, i) <= level.capacity)
    return fits


def occupancy(problem: Matmul, mapping: Mapping, path: Path, index: int) -> Number:
    """Bytes that an instance of this level holds; a tile that changes is there twice."""
    here = mapping.levels[index]
    at_once = {rank: here.tile[rank] for rank in RANKS}  # by all instances together
    for level in mapping.levels[1 : index + 1]:
        at_once = {rank: size * level.spatial[rank] for rank, size in at_once.items()}
    total: Number = 0.0
    for operand in here.keeps:
        size: Number = problem.bytes_per_element(operand)
        changes: Number = False
        for rank in OPERAND_RANKS[operand]:
            size = size * here.tile[rank]
            changes = np.logical_or(changes, problem.extents[rank] > at_once[rank])
        if operand == "output":
            widths = problem.partial_bytes / problem.output_bytes
            size = size * (widths if index >= path.first_core else 1.0)
        elif path.levels[index].buffering != "single":
            size = size * np.where(changes, 2, 1)
        total = total + size
    return total


def engine_cycles(problem: Matmul, nest: Nest) -> tuple[Number, Number, Number]:
    """(cycles of the busiest engine, its core's output steps, k steps of one output tile)."""
    path, mapping = nest.path, nest.mapping
    last, first = len(path.levels) - 1, path.first_core
    dynamic = path.control.dispatch == "dynamic"
    ranks: dict[str, list[tuple[Number, Number]]] = {}
    out_steps: Number = ceil_div(_output_tiles(nest), path.cores) if dynamic else 1
    for rank in RANKS:
        extent = problem.extents[rank]
        start = first + 1 if dynamic and rank != "k" else 1
        size = mapping.levels[first].tile[rank] if start > 1 else extent
        full, tile, edge = busy_steps(nest, rank, size, start, last)
        ranks[rank] = [(full, tile), (1, edge)]
        if not dynamic and rank != "k":
            out_steps = out_steps * (busy_steps(nest, rank, extent, 1, first)[0] + 1)
    k_steps = busy_steps(nest, "k", problem.extents["k"], 1, first)[0] + 1
    cycles = _service_cycles(problem, path, ranks) * (out_steps if dynamic else 1)
    return cycles, out_steps, k_steps


def _service_cycles(
    problem: Matmul, path: Path, ranks: Map[str, list[tuple[Number, Number]]]
) -> Number:
    """Engine time over all combinations of full and last tiles, and the pipeline's fill once."""
    pair = problem.datapath
    batches = sum(count * size for count, size in ranks["b"])
    cycles: Number = 0.0
    fill: Number = 0.0
    for (cm, m), (cn, n), (ck, k) in product(ranks["m"], ranks["n"], ranks["k"]):
        tile = MatmulTile(m, n, k, pair.pair.macs_per_cycle, pair.weight.bits)
        service = path.engine.service(tile)
        cycles = cycles + cm * cn * ck * service.interval
        fill = service.latency - service.interval  # of the last combination, the ragged corner
    return cycles * batches + fill


def _output_tiles(nest: Nest) -> Number:
    """Jobs for the cores: output tiles times k splits."""
    first = nest.path.first_core
    tiles: Number = nest.mapping.levels[first].spatial["k"]
    for rank in "bmn":
        tiles = tiles * nest.tiles(first, rank)
    return tiles


def _instances_at_work(path: Path, name: str, mapping: Mapping, cores: Number) -> Number:
    level = path.by_name[name]
    index = path.levels.index(level)
    if index < path.first_core:
        return level.instances
    per_core: Number = 1
    for i in range(path.first_core + 1, index + 1):
        for rank in RANKS:
            per_core = per_core * mapping.levels[i].spatial[rank]
    return cores * np.minimum(per_core, level.instances // path.cores)


def _traffic(problem: Matmul, nest: Nest) -> tuple[Traffic, dict[str, Number]]:
    """Bytes at every level by operand, and conversions by the vector engine."""
    traffic: Traffic = {}
    conversions: dict[str, Number] = {}
    for operand in OPERAND_RANKS:
        _flow(operand, problem, nest, traffic)
        convert = (
            problem.datapath.convert_weight
            if operand == "weight"
            else operand == "activation" and problem.datapath.convert_activation
        )
        if convert:
            level = max(_kept(operand, nest.mapping), nest.path.first_core)
            entering = moved_elements(nest, operand, level, False)
            conversions["convert"] = conversions.get("convert", 0) + entering
    if problem.epilogue_bytes:
        for shared in nest.path.levels[: nest.path.first_core]:
            add_traffic(traffic, shared.name, "epilogue", problem.epilogue_bytes, 0.0)
    return traffic, conversions


def _kept(operand: str, mapping: Mapping) -> int:
    """Index of the innermost level that keeps the operand."""
    return max(i for i, level in enumerate(mapping.levels) if operand in level.keeps)


def _flow(operand: str, problem: Matmul, nest: Nest, traffic: Traffic) -> None:
    """Charge the operand's way down through the levels that keep it, and into the engine."""
    parent = 0
    for i in range(1, len(nest.path.memories)):
        if operand in nest.mapping.levels[i].keeps:
            _between(operand, (parent, i), problem, nest, traffic)
            parent = i
    _into_engine(operand, parent, problem, nest, traffic)


def _between(
    operand: str, ends: tuple[int, int], problem: Matmul, nest: Nest, traffic: Traffic
) -> None:
    """Bytes from parent to child; outputs go the other way, partial sums both."""
    up, down = nest.path.levels[ends[0]].name, nest.path.levels[ends[1]].name
    seen = moved_elements(nest, operand, ends[1], True)
    held = moved_elements(nest, operand, ends[1], False)
    width, partial = problem.bytes_per_element(operand), problem.partial_bytes
    extra = _overfetch(operand, ends, problem, nest)
    if operand != "output":
        add_traffic(traffic, up, operand, seen * width * extra, 0.0)
        add_traffic(traffic, down, operand, 0.0, held * width)
        return
    once = problem.extents["b"] * problem.extents["m"] * problem.extents["n"]
    written = once * width * extra + (seen - once) * partial
    add_traffic(traffic, up, operand, (seen - once) * partial, written)
    add_traffic(traffic, down, operand, held * partial, (held - once) * partial)


def _overfetch(operand: str, ends: tuple[int, int], problem: Matmul, nest: Nest) -> Number:
    """Bytes moved per byte used: a tile's rows of a row-major operand, in whole granules."""
    if operand == "weight" and problem.shared_weight:
        return 1.0
    granularity = nest.path.levels[ends[0]].granularity
    rank = {"activation": "k", "weight": "n", "output": "n"}[operand]
    tile = nest.mapping.levels[ends[1]].tile[rank]
    whole = tile >= problem.extents[rank]  # then rows follow each other without a gap
    run: Number = np.where(whole, np.maximum(tile, granularity), tile)
    return whole_granules(run * problem.bytes_per_element(operand), granularity)


def _into_engine(operand: str, source: int, problem: Matmul, nest: Nest, traffic: Traffic) -> None:
    """What the engine reads and writes at the innermost level that keeps the operand."""
    tile, last, pair = nest.mapping.levels[-1].tile, len(nest.path.levels) - 1, problem.datapath
    words = nest.path.engine.operand_words(
        MatmulTile(tile["m"], tile["n"], tile["k"], pair.pair.macs_per_cycle, pair.weight.bits)
    )
    share: Number = tile["b"]  # tiles, ragged ones by their useful part
    for rank, extent in problem.extents.items():
        share = share * (extent / tile[rank])
    name = nest.path.levels[source].name
    if operand == "output":
        outputs = problem.extents["b"] * problem.extents["m"] * problem.extents["n"]
        read = words.output_read * share + (nest.tiles(last, "k") - 1) * outputs
        partial = problem.partial_bytes
        add_traffic(traffic, name, operand, read * partial, words.output_write * share * partial)
        return
    elements = words.activation if operand == "activation" else words.weight
    add_traffic(traffic, name, operand, elements * share * problem.bytes_per_element(operand), 0.0)


def _sums(operands: Map[str, tuple[Number, Number]]) -> tuple[Number, Number]:
    read: Number = 0.0
    written: Number = 0.0
    for r, w in operands.values():
        read, written = read + r, written + w
    return read, written


def _load_share(operands: Map[str, tuple[Number, Number]]) -> tuple[Number, Number]:
    """Shares of a level's bytes that are loads of inputs, and stores of outputs."""
    read, written = _sums(operands)
    total = np.maximum(read + written, 1e-30)
    out_read, out_written = operands.get("output", (0.0, 0.0))
    stores = (out_read + out_written) / total
    return 1.0 - stores, stores


def _plus(a: Map[str, Number], b: Map[str, Number]) -> dict[str, Number]:
    return {cls: a.get(cls, 0) + b.get(cls, 0) for cls in {**a, **b}}
