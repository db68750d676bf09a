"""The gradients of attention in one pass: scores are computed anew, tile by tile.

A job is a tile of `ts` keys of one sequence and key head, against the query rows that see them in
tiles of `tm` (Dao, FlashAttention-2, arXiv 2307.08691, sec. 3.2: parallel over blocks of keys). Its
keys, values and the sums of their gradients stay in the core; per tile of queries it takes in Q,
dO, L and D, makes

    S = Q K^T, dP = dO V^T, dV += P^T dO, dK += dS^T Q, dQ += dS K

and adds dQ, in the accumulator's format, to what other jobs have made of it in the innermost shared
memory (which holds the heads in flight, or passes it on: once for every round of key tiles). Last
of all dQ is read once more and written in its own format. Probabilities and dS are written to where
activations stay and read as operands.
Not modeled: contention of the additions; an order of jobs that makes sums repeatable; a mapping
through memory where no tile fits.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil

import numpy as np

from accel_models.engines.tile import MatmulTile
from accel_models.path import Path
from accel_models.reader import DesignError
from kernels_ref.formats import get_format
from mappers.context import Context, datapath_of
from mappers.contractions import per_element
from mappers.cost import Cost, Work, compose, memory_joules, vector_joules
from mappers.flash import doublings, rounds
from mappers.flash_backward_traffic import Problem, Tile, backward_traffic, products
from mappers.flash_problem import home
from mappers.fused_matmul import pair_facts
from mappers.groups import Group
from mappers.plan import Plan
from mappers.search.found import OBJECTIVES
from mappers.steps import Steps
from mappers.traffic import load_share, operand_sums
from workloads.ops import Attention, AttentionBackward

MOST_ROWS = 512


def plan_attention_backward(group: Group, context: Context) -> Plan:
    """The best tiles. Raises DesignError where none fits."""
    op, graph = group.ops[0], context.graph
    assert isinstance(op, AttentionBackward)
    q, k, v, out = (graph.tensors[t] for t in op.inputs[:4])
    path, pair = datapath_of(context, k.format, q.format)
    problem = Problem(
        op,
        per_element(q),
        per_element(k),
        per_element(v),
        per_element(out),
        per_element(graph.tensors[op.output]),
        get_format(pair.pair.accumulate).bits / 8,
        pair,
    )
    value = OBJECTIVES[context.objective]
    costs = [(cost_of(problem, tile, path), tile) for tile in tiles(problem, path)]
    if not costs:
        raise DesignError(
            f"{path.design.name}: {path.name}: {op.name}: no tile of keys, values and the sums of "
            "their gradients fits a core"
        )
    cost, tile = min(costs, key=lambda found: tuple(float(n) for n in value(found[0])))
    return Plan(
        path,
        cost,
        f"kv{tile.ts} q{tile.tm}",
        {"keys": tile.ts, "query_rows": tile.tm},
        path.peak_macs_per_s(pair),
        op.macs,
        "fused",
        rests_on={"matrix": pair_facts(path, pair)},
    )


def tiles(problem: Problem, path: Path) -> Iterator[Tile]:
    """Tiles that fit the memories."""
    op = problem.of
    gm, gn, _ = path.engine.geometry(problem.pair.pair.macs_per_cycle)
    rows = min(op.group * op.q_len, MOST_ROWS)
    for tm in doublings(min(gm, rows), rows):
        for ts in doublings(min(gn, op.kv_len), min(op.kv_len, MOST_ROWS)):
            if _fits(problem, path, tm, ts):
                seen = query_tiles(op, tm, ts)
                steps = float(seen.sum()) * problem.heads
                busiest = rounds(np.sort(seen)[::-1], problem.heads, path.cores)
                yield Tile(tm, ts, steps, float(busiest), len(seen) * problem.heads)


def query_tiles(op: Attention, tm: int, ts: int) -> np.ndarray:
    """How many tiles of query rows each tile of keys of a head meets."""
    first = np.arange(0, op.kv_len, ts)
    last = np.minimum(first + ts, op.kv_len) - 1
    offset = op.kv_len - op.q_len  # query i stands at position offset + i
    start = np.maximum(0, first - offset) if op.causal else np.zeros_like(first)
    end = np.full_like(first, op.q_len)
    if op.window and op.causal:
        end = np.clip(last + op.window - offset, 0, op.q_len)
    rows = np.maximum(0, end - start) * op.group
    seen = -(-rows // tm)
    if op.density < 1.0:
        seen = np.where(seen, np.maximum(1, np.ceil(seen * op.density)), 0).astype(np.int64)
    return seen


def _fits(problem: Problem, path: Path, tm: int, ts: int) -> bool:
    """Keys, values, two tiles of queries, probabilities and dS; sums of dK, dV, dQ and scores."""
    op = problem.of
    widths = op.head_dim + op.v_head_dim
    inputs = ts * problem.key_bytes + 2 * tm * problem.query_bytes + 2 * tm * ts * problem.out
    sums = (ts * widths + tm * max(2 * ts, op.head_dim)) * problem.partial
    need: dict[str, float] = {}
    for level, size in ((home("activation", path), inputs), (home("output", path), sums)):
        need[level.name] = need.get(level.name, 0.0) + size * path.cores / level.instances
    return all(size <= path.by_name[name].capacity for name, size in need.items())


def cost_of(problem: Problem, tile: Tile, path: Path) -> Cost:
    """Latency and energy of the op in these tiles."""
    op = problem.op
    cores = max(1.0, min(path.cores, tile.steps / max(tile.busiest, 1.0)))
    scores = tile.steps * tile.tm * tile.ts
    vector = op.score_ops(scores)
    queries = problem.heads * problem.of.group * problem.of.q_len * problem.of.head_dim
    vector["convert"] += queries + tile.jobs * tile.ts * (
        op.forward.head_dim + op.forward.v_head_dim
    )
    vector["add"] += tile.steps * tile.tm * op.forward.head_dim
    busy = {
        "matrix": tile.busiest * _step_cycles(problem, tile, path) / path.clock_hz,
        "vector": path.vector_seconds(vector, cores),
    }
    if not path.control.overlap_engines:
        busy = {"matrix": sum(busy.values())}
    traffic = backward_traffic(problem, tile, path)
    head, tail, serial, loads = {}, {}, {}, dict[str, float]()
    for i, level in enumerate(path.memories):
        read, written = operand_sums(traffic.get(level.name, {}), level.fill_port)
        working = level.instances if i < path.first_core else cores * level.instances / path.cores
        busy[level.name] = float(level.seconds(read, written, working))
        loads[level.name] = load_share(traffic.get(level.name, {}))[0]
        head[level.name] = tail[level.name] = busy[level.name] * 0.5 / max(1.0, tile.busiest)
        if level.buffering == "single":
            serial[level.name] = busy[level.name] - head[level.name] - tail[level.name]
    busy["in_flight"] = tile.busiest * _load_latency(problem, tile, path)
    joules = memory_joules(traffic, path)
    widths = 3 * op.forward.head_dim + 2 * op.forward.v_head_dim
    joules["matrix"] = scores * widths * problem.pair.pair.energy
    joules["vector"] = vector_joules(vector, path)
    sync = 4 * tile.busiest * (path.control.sync or 0.0)
    outputs = ceil(tile.jobs / path.cores)
    parts = ceil(tile.busiest / outputs)
    steps = Steps(outputs, parts, loads=loads)
    return compose(Work(busy, head, tail, joules, traffic, serial, sync, 2, steps=steps), path)


def _step_cycles(problem: Problem, tile: Tile, path: Path) -> float:
    """Engine cycles of one step, its products' rows and then columns spread over the engines."""
    gm, pair = path.engine.geometry(problem.pair.pair.macs_per_cycle)[0], problem.pair
    cycles = 0.0
    for m, n, k in products(problem, tile):
        grid = max(1, min(path.engine.count, m // gm))
        spare = max(1, path.engine.count // grid)
        part = MatmulTile(
            ceil(m / grid), ceil(n / spare), k, pair.pair.macs_per_cycle, pair.weight.bits
        )
        cycles += float(path.engine.service(part).interval)
    return cycles


def _load_latency(problem: Problem, tile: Tile, path: Path) -> float:
    """Seconds per step that a core at least takes: Little's law, as in `mappers.matmul`."""
    level = home("activation", path)
    if path.levels.index(level) < path.first_core or level.buffering == "single":
        return 0.0
    latency = path.access_latency_s(path.levels.index(level) + 1)
    if level.buffering == "double":
        return latency
    return latency / max(1.0, level.capacity // (tile.tm * problem.query_bytes) - 1)
