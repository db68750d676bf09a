"""What the gradients of attention in one pass move at each level; see `mappers.flash_backward`.

Into a core: its keys and values once per job, Q, dO, L and D once per step. Between a core's levels
each operand passes once for every product that reads it. dQ adds up where cores meet, and passes
the outermost memory in the accumulator's format once for every round of key tiles.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import ceil

from accel_models.engines.pe import Datapath
from accel_models.engines.tile import MatmulTile
from accel_models.path import Path
from mappers.cost import Traffic, add_traffic
from mappers.flash_problem import exchange, home, own_keepers
from workloads.ops import Attention, AttentionBackward

ROW_SUMS = 8.0  # bytes of a query row: L and D


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


def products(problem: Problem, tile: Tile) -> list[tuple[int, int, int]]:
    """(m, n, k) of S, dP, dV, dK and dQ."""
    d, dv, tm, ts = problem.of.head_dim, problem.of.v_head_dim, tile.tm, tile.ts
    return [(tm, ts, d), (tm, ts, dv), (ts, dv, tm), (ts, d, tm), (tm, d, ts)]


def backward_traffic(problem: Problem, tile: Tile, path: Path) -> Traffic:
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
    for m, n, k in products(problem, tile):
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
