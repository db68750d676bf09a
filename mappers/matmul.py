"""A contraction's work under a mapping: traffic, engine cycles, conversions, epilogue.

Engine cycles are the busiest core's `engine.service` over its tiles, full and ragged ones counted
apart; with `dispatch: dynamic` the output tiles are dealt to cores as they fall free, so

    steps = ceil(output tiles * k splits / cores)             (wave quantization)

and every wave lasts as long as a full tile.
Traffic and conversions are those of `mappers.traffic`. This is the definition of what a mapping
costs; the search's compiled form of it (mappers/search) gives the same numbers.
Not modeled: several output tiles in flight on one core; the order of tiles within a wave.
"""

from __future__ import annotations

from collections.abc import Mapping as Map
from itertools import product
from math import prod

from accel_models.engines.tile import ceil_div
from accel_models.path import Path
from mappers.cost import Cost, Work, compose, memory_joules, vector_joules
from mappers.mapping import Mapping
from mappers.problem import Contraction
from mappers.reuse import Nest, busy_steps
from mappers.steps import Steps
from mappers.traffic import load_share, matmul_traffic, operand_sums, split_sums


def matmul_cost(problem: Contraction, mapping: Mapping, path: Path) -> Cost:
    """Latency and energy of `problem` under `mapping`."""
    nest = Nest(mapping, path, problem)
    traffic, conversions = matmul_traffic(problem, nest)
    cycles, out_steps, k_steps = engine_cycles(nest)
    cores = min(output_jobs(nest) / out_steps, path.cores)  # at work, on average
    sums = split_sums(problem, nest)
    epilogue = _plus(problem.epilogue_ops, {"add": sums} if sums else {})
    vector = _plus(epilogue, conversions)
    busy = {"matrix": cycles / path.clock_hz}
    vector_s = epilogue_s = path.vector_seconds(epilogue, cores) if epilogue else 0.0
    if conversions:
        vector_s += path.vector_seconds(conversions, cores) / path.vector.narrow
    if path.control.overlap_engines:
        busy["vector"] = vector_s
    else:
        busy["matrix"] += vector_s
    head, tail, serial = {}, {}, {}
    for index, level in enumerate(path.memories):
        read, written = operand_sums(traffic.get(level.name, {}), level.fill_port)
        busy[level.name] = level.seconds(read, written, _at_work(nest, index, cores))
        loads, stores = load_share(traffic.get(level.name, {}))
        head[level.name] = busy[level.name] * loads / (out_steps * k_steps)
        tail[level.name] = busy[level.name] * stores / out_steps
        if level.buffering == "single":
            serial[level.name] = busy[level.name] - head[level.name] - tail[level.name]
    busy["in_flight"] = out_steps * k_steps * _load_latency(problem, mapping, path)
    joules = memory_joules(traffic, path)
    joules["matrix"] = problem.macs * problem.datapath.energy
    joules["vector"] = vector_joules(vector, path)
    syncs = (path.control.sync or 0.0) * out_steps if vector else 0.0
    if sums:  # they must be written before they can be added up
        syncs += 2 * path.access_latency_s(path.first_core + 1)
    held = tiles_held(problem, mapping, path)
    steps = Steps(out_steps, k_steps, held, *_vector_shares(vector_s, epilogue_s))
    return compose(Work(busy, head, tail, joules, traffic, serial, syncs, steps=steps), path)


def _vector_shares(vector_s: float, epilogue_s: float) -> tuple[float, float]:
    """Of its seconds those before a step, conversions, and those after a result."""
    if not vector_s:
        return 0.0, 0.0
    return 1.0 - epilogue_s / vector_s, epilogue_s / vector_s


def _load_latency(problem: Contraction, mapping: Mapping, path: Path) -> float:
    """Seconds per step that a core at least takes: a tile's load latency over the tiles on the way.

    Little's law with the tiles that fit beside the one in use (one with double buffering).
    """
    level, here = path.levels[path.first_core], mapping.levels[path.first_core]
    if level.buffering == "single" or not {"activation", "weight"} & set(here.keeps):
        return 0.0
    latency = path.access_latency_s(path.first_core + 1)
    return latency / max(1, tiles_held(problem, mapping, path) - 1)


def tiles_held(problem: Contraction, mapping: Mapping, path: Path) -> int:
    """Steps whose input tiles the core's memory holds at once: one, two, or all that fit."""
    level, here = path.levels[path.first_core], mapping.levels[path.first_core]
    inputs = [operand for operand in ("activation", "weight") if operand in here.keeps]
    if level.buffering != "multi" or not inputs:
        return 1 if level.buffering == "single" else 2
    step = sum(
        problem.footprint(operand, here.tile) * problem.bytes_per_element(operand)
        for operand in inputs
    )
    return max(2, int(level.capacity // step))


def engine_cycles(nest: Nest) -> tuple[float, int, int]:
    """(cycles of the busiest engine, its core's output steps, k steps of one output tile)."""
    problem, path, mapping = nest.problem, nest.path, nest.mapping
    last, first = len(path.levels) - 1, path.first_core
    dynamic = path.control.dispatch == "dynamic"
    ranks: dict[str, tuple[tuple[int, int], tuple[int, int]]] = {}
    out_steps = ceil_div(output_jobs(nest), path.cores) if dynamic else 1
    k_steps = 1
    for rank, extent in problem.extents.items():
        dealt = nest.dealt(first, rank)
        size = mapping.levels[first].tile[rank] if dealt else extent
        full, tile, edge = busy_steps(nest, rank, size, first + 1 if dealt else 1, last)
        ranks[rank] = ((full, tile), (1, edge))
        if not dealt:
            steps = busy_steps(nest, rank, extent, 1, first)[0] + 1
            if problem.roles[rank] == "k":
                k_steps *= steps
            else:
                out_steps *= steps
    cycles = _service_cycles(problem, path, ranks)
    return cycles * (out_steps if dynamic else 1), out_steps, k_steps


def _service_cycles(
    problem: Contraction, path: Path, ranks: Map[str, tuple[tuple[int, int], tuple[int, int]]]
) -> float:
    """Engine time over all combinations of full and last tiles, and the pipeline's fill once."""
    form = path.form(problem.datapath)
    batches = prod(
        sum(count * size for count, size in ranks[rank]) for rank in problem.of_role("b")
    )
    inner = [rank for rank in ranks if problem.roles[rank] != "b"]
    cycles = 0.0
    for combination in product(*(ranks[rank] for rank in inner)):
        count = prod(c for c, _ in combination)
        sizes = dict(zip(inner, (size for _, size in combination), strict=True))
        service = form.service(*(problem.length(role, sizes) for role in "mnk"))
        if count:
            cycles += count * service.interval
    # the last combination is the ragged corner
    return cycles * batches + service.latency - service.interval


def output_jobs(nest: Nest) -> int:
    """Jobs for the cores: output tiles times k splits, those of shared levels included."""
    first, problem = nest.path.first_core, nest.problem
    jobs = prod(nest.tiles(first, rank) for rank in problem.ranks_of("output"))
    for level in nest.mapping.levels[1 : first + 1]:
        jobs *= prod(level.spatial[rank] for rank in problem.of_role("k"))
    return jobs


def _at_work(nest: Nest, index: int, cores: float) -> float:
    """Instances of a level that are used, on average."""
    path, levels = nest.path, nest.mapping.levels
    instances = path.levels[index].instances
    if index < path.first_core:
        used = prod(prod(levels[i].spatial.values()) for i in range(1, index + 1))
        return min(used, instances)
    inside = range(path.first_core + 1, index + 1)
    used = prod(prod(levels[i].spatial.values()) for i in inside)
    return cores * min(used, instances // path.cores)


def _plus(a: Map[str, float], b: Map[str, float]) -> dict[str, float]:
    return {cls: a.get(cls, 0) + b.get(cls, 0) for cls in {**a, **b}}
