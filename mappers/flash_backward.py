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
from dataclasses import dataclass
from itertools import pairwise
from math import ceil

import numpy as np

from accel_models.engines.pe import Datapath
from accel_models.engines.tile import MatmulTile
from accel_models.path import Path
from accel_models.reader import DesignError
from kernels_ref.formats import get_format
from mappers.context import Context, datapath_of
from mappers.contractions import per_element
from mappers.cost import Cost, Traffic, Work, add_traffic, compose, memory_joules, vector_joules
from mappers.flash import doublings, rounds
from mappers.flash_problem import exchange, home, own_keepers
from mappers.fused_matmul import pair_facts
from mappers.groups import Group
from mappers.plan import Plan
from mappers.search.found import OBJECTIVES
from mappers.traffic import operand_sums
from workloads.ops import Attention, AttentionBackward

ROW_SUMS = 8.0  # bytes of a query row: L and D
MOST_ROWS = 512


@dataclass(frozen=True)
class Problem:
    """The op with bytes of an element of each tensor, and the pair that multiplies them."""

    op: AttentionBackward
    q: float
    k: float
    v: float
    out: float
    made: float
    partial: float
    pair: Datapath

    @property
    def of(self) -> Attention:
        """The forward op."""
        return self.op.forward

    @property
    def heads(self) -> int:
        """Of keys, in all sequences."""
        return self.of.batch * self.of.kv_heads

    @property
    def key_bytes(self) -> float:
        """A key and its value."""
        return self.of.head_dim * self.k + self.of.v_head_dim * self.v

    @property
    def query_bytes(self) -> float:
        """A query row, its output's gradient, and its two sums."""
        return self.of.head_dim * self.q + self.of.v_head_dim * self.out + ROW_SUMS


@dataclass(frozen=True, slots=True)
class Tile:
    """Query rows and keys; the steps of all jobs, those of the busiest core, and key tiles."""

    tm: int
    ts: int
    steps: float
    busiest: float
    jobs: int


def plan_attention_backward(group: Group, context: Context) -> Plan:
    """The best tiles. Raises DesignError where none fits."""
    op, graph = group.ops[0], context.graph
    assert isinstance(op, AttentionBackward)
    q, k, v, out = (graph.tensors[t] for t in op.inputs[:4])
    path, pair = datapath_of(context, k.format, q.format)
    problem = Problem(
        op,
        *(per_element(t) for t in (q, k, v, out, graph.tensors[op.output])),
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
    traffic = _traffic(problem, tile, path)
    head, tail, serial = {}, {}, {}
    for i, level in enumerate(path.memories):
        read, written = operand_sums(traffic.get(level.name, {}), level.fill_port)
        working = level.instances if i < path.first_core else cores * level.instances / path.cores
        busy[level.name] = float(level.seconds(read, written, working))
        head[level.name] = tail[level.name] = busy[level.name] * 0.5 / max(1.0, tile.busiest)
        if level.buffering == "single":
            serial[level.name] = busy[level.name] - head[level.name] - tail[level.name]
    busy["in_flight"] = tile.busiest * _load_latency(problem, tile, path)
    joules = memory_joules(traffic, path)
    widths = 3 * op.forward.head_dim + 2 * op.forward.v_head_dim
    joules["matrix"] = scores * widths * problem.pair.pair.energy
    joules["vector"] = vector_joules(vector, path)
    sync = 4 * tile.busiest * (path.control.sync or 0.0)
    return compose(Work(busy, head, tail, joules, traffic, serial, sync, 2), path)


def _products(problem: Problem, tile: Tile) -> list[tuple[int, int, int]]:
    """(m, n, k) of S, dP, dV, dK and dQ."""
    d, dv, tm, ts = problem.of.head_dim, problem.of.v_head_dim, tile.tm, tile.ts
    return [(tm, ts, d), (tm, ts, dv), (ts, dv, tm), (ts, d, tm), (tm, d, ts)]


def _step_cycles(problem: Problem, tile: Tile, path: Path) -> float:
    """Engine cycles of one step, its products' rows and then columns spread over the engines."""
    gm, pair = path.engine.geometry(problem.pair.pair.macs_per_cycle)[0], problem.pair
    cycles = 0.0
    for m, n, k in _products(problem, tile):
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


def _traffic(problem: Problem, tile: Tile, path: Path) -> Traffic:
    """Bytes at every level: Q and dO are `activation`, K and V `weight`, gradients `output`."""
    op, traffic = problem.of, Traffic()
    rows = problem.heads * op.group * op.q_len
    keys = problem.heads * op.kv_len * problem.key_bytes
    into_cores = tile.steps * tile.tm * problem.query_bytes
    again = _rounds_of_keys(problem, tile, path)
    outer = path.levels[0].name
    shared = [m for m in path.memories[1 : path.first_core] if "output" in m.keeps]
    once = min(into_cores, rows * problem.query_bytes * again)
    for operand, amount, inward in (("activation", once, into_cores), ("weight", keys, keys)):
        way = [m for m in path.memories[1 : path.first_core] if operand in m.keeps]
        own = own_keepers(operand, path)[:1]
        parent = path.levels[0]
        for level, size in [(m, amount) for m in way] + [(m, inward) for m in own]:
            add_traffic(traffic, parent.name, operand, size, 0.0)
            add_traffic(traffic, level.name, operand, 0.0, size)
            parent = level
    sums = tile.steps * tile.tm * op.head_dim * problem.partial  # dQ, added where cores meet
    add_traffic(traffic, exchange(path).name, "output", sums, sums)
    width = op.head_dim + op.v_head_dim
    results = problem.heads * op.kv_len * width * problem.made
    dq = rows * op.head_dim
    spilled = dq * problem.partial * (again if shared else 0.0)
    add_traffic(traffic, outer, "output", 0.0, results + dq * problem.made)
    add_traffic(traffic, outer, "output", spilled, spilled)
    for level in shared:
        add_traffic(traffic, level.name, "output", results, results)
    _inside(problem, tile, path, traffic)
    return traffic


def _rounds_of_keys(problem: Problem, tile: Tile, path: Path) -> float:
    """How often queries and their sums pass the shared memories: once if those of the heads in
    flight fit, else once for every round of key tiles."""
    op = problem.of
    jobs = tile.jobs / problem.heads
    level = exchange(path)
    rows = op.group * op.q_len
    size = rows * (problem.query_bytes + op.head_dim * problem.partial)
    in_flight = min(problem.heads, ceil(path.cores / jobs)) * size
    return 1.0 if in_flight <= level.capacity * level.instances else ceil(jobs / path.cores)


def _inside(problem: Problem, tile: Tile, path: Path, traffic: Traffic) -> None:
    """Operands and sums of the products at the engine, and what passes between a core's levels:
    each operand once for every product that reads it."""
    places = {
        operand: (own_keepers(operand, path) or [home(operand, path)])
        for operand in ("activation", "weight", "output")
    }
    for m, n, k in _products(problem, tile):
        words = path.engine.operand_words(
            MatmulTile(m, n, k, problem.pair.pair.macs_per_cycle, problem.pair.weight.bits)
        )
        for operand, count, size in (
            ("activation", float(words.activation) * problem.q, m * k * problem.q),
            ("weight", float(words.weight) * problem.k, n * k * problem.k),
        ):
            add_traffic(traffic, places[operand][-1].name, operand, tile.steps * count, 0.0)
            for parent, level in pairwise(places[operand]):
                add_traffic(traffic, parent.name, operand, tile.steps * size, 0.0)
                add_traffic(traffic, level.name, operand, 0.0, tile.steps * size)
        sums = (float(w) * problem.partial for w in (words.output_read, words.output_write))
        read, written = (tile.steps * w for w in sums)
        add_traffic(traffic, places["output"][-1].name, "output", read, written)
    scores = 2 * tile.steps * tile.tm * tile.ts  # S and dP to the vector engine; P and dS back
    add_traffic(traffic, home("output", path).name, "scores", scores * problem.partial, 0.0)
    add_traffic(traffic, home("activation", path).name, "scores", 0.0, scores * problem.out)
