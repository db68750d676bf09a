"""A matrix multiplication's work under a mapping: traffic, engine cycles, conversions, epilogue.

Engine cycles are the busiest core's
`engine.service` over its tiles, full and ragged ones counted apart; with `dispatch: dynamic` the
output tiles are dealt to cores as they fall free, so

    steps = ceil(output tiles * k splits / cores)             (wave quantization)

and every wave lasts as long as a full tile.
Traffic and conversions are those of `mappers.traffic`.
Not modeled: several output tiles in flight on one core; the order of tiles within a wave.
"""

from __future__ import annotations

from collections.abc import Mapping as Map
from itertools import product

import numpy as np

from accel_models.engines.tile import MatmulTile, Number, ceil_div
from accel_models.path import ENGINE, Path
from mappers.cost import Cost, Work, compose, memory_joules, vector_joules
from mappers.mapping import OPERAND_RANKS, RANKS, Mapping
from mappers.problem import Contraction
from mappers.reuse import Nest, busy_steps
from mappers.traffic import load_share, matmul_traffic, operand_sums, split_sums


def matmul_cost(problem: Contraction, mapping: Mapping, path: Path) -> Cost:
    """Latency and energy of `problem` under `mapping`; arrays where the mapping has arrays."""
    nest = Nest(mapping, path, problem.extents)
    traffic, conversions = matmul_traffic(problem, nest)
    cycles, out_steps, k_steps = engine_cycles(problem, nest)
    cores = np.minimum(_output_tiles(nest) / out_steps, path.cores)  # at work, on average
    sums = split_sums(problem, nest)
    epilogue = _plus(problem.epilogue_ops, {"add": sums} if np.any(sums) else {})
    vector = _plus(epilogue, conversions)
    busy = {"matrix": cycles / path.clock_hz}
    vector_s: Number = path.vector_seconds(epilogue, cores) if epilogue else 0.0
    if conversions:
        vector_s = vector_s + path.vector_seconds(conversions, cores) / path.vector.narrow
    if path.control.overlap_engines:
        busy["vector"] = vector_s
    else:
        busy["matrix"] = busy["matrix"] + vector_s
    head, tail, serial = {}, {}, {}
    for level in path.memories:
        read, written = operand_sums(traffic.get(level.name, {}), level.fill_port)
        instances = _instances_at_work(path, level.name, mapping, cores)
        busy[level.name] = level.seconds(read, written, instances)
        loads, stores = load_share(traffic.get(level.name, {}))
        head[level.name] = busy[level.name] * loads / (out_steps * k_steps)
        tail[level.name] = busy[level.name] * stores / out_steps
        if level.buffering == "single":
            serial[level.name] = busy[level.name] - head[level.name] - tail[level.name]
    busy["in_flight"] = out_steps * k_steps * _load_latency(problem, mapping, path)
    joules = memory_joules(traffic, path)
    joules["matrix"] = problem.macs * problem.datapath.pair.energy
    joules["vector"] = vector_joules(vector, path)
    syncs = (path.control.sync or 0.0) * out_steps if vector else 0.0
    # the sums of a split must be written before they can be added up
    syncs = syncs + np.where(sums > 0, 2 * path.access_latency_s(path.first_core + 1), 0.0)
    return compose(Work(busy, head, tail, joules, traffic, serial, syncs), path)


def _load_latency(problem: Contraction, mapping: Mapping, path: Path) -> Number:
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
    problem: Contraction, mapping: Mapping, path: Path, undecided: frozenset[int] = frozenset()
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


def occupancy(problem: Contraction, mapping: Mapping, path: Path, index: int) -> Number:
    """Bytes that an instance of this level holds; a tile that changes is there twice."""
    here = mapping.levels[index]
    at_once = {rank: here.tile[rank] for rank in RANKS}  # by all instances together
    for level in mapping.levels[1 : index + 1]:
        at_once = {rank: size * level.spatial[rank] for rank, size in at_once.items()}
    total: Number = 0.0
    for operand in here.keeps:
        innermost = not any(operand in level.keeps for level in mapping.levels[index + 1 :])
        feeds = innermost and operand != "output"
        size: Number = (problem.engine_bytes if feeds else problem.bytes_per_element)(operand)
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


def engine_cycles(problem: Contraction, nest: Nest) -> tuple[Number, Number, Number]:
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
    problem: Contraction, path: Path, ranks: Map[str, list[tuple[Number, Number]]]
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
    """Jobs for the cores: output tiles times k splits, those of shared levels included."""
    first = nest.path.first_core
    tiles: Number = 1
    for level in nest.mapping.levels[1 : first + 1]:
        tiles = tiles * level.spatial["k"]
    for rank in "bmn":
        tiles = tiles * nest.tiles(first, rank)
    return tiles


def _instances_at_work(path: Path, name: str, mapping: Mapping, cores: Number) -> Number:
    level = path.by_name[name]
    index = path.levels.index(level)
    if index < path.first_core:
        used: Number = 1
        for i in range(1, index + 1):
            for rank in RANKS:
                used = used * mapping.levels[i].spatial[rank]
        return np.minimum(used, level.instances)
    per_core: Number = 1
    for i in range(path.first_core + 1, index + 1):
        for rank in RANKS:
            per_core = per_core * mapping.levels[i].spatial[rank]
    return cores * np.minimum(per_core, level.instances // path.cores)


def _plus(a: Map[str, Number], b: Map[str, Number]) -> dict[str, Number]:
    return {cls: a.get(cls, 0) + b.get(cls, 0) for cls in {**a, **b}}
