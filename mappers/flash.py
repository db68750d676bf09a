"""Attention in one pass: scores stay on chip, the softmax is computed online.

A job is a tile of `tm` query rows (the query heads of one key head packed together) of one sequence
and key head, against its visible keys in tiles of `ts`, or one of `splits` shares of them (Dao,
FlashAttention-2, arXiv 2307.08691, alg. 1; split keys as in Flash-Decoding, combined by a second
pass). Tiles that the mask hides are skipped. Per key tile and job:

    matrix: Q K^T (tm x ts x d) and P V (tm x dv x ts);  vector: softmax of tm x ts, rescaling of
    tm x dv

Jobs are dealt longest first, a round per core; a core's resources overlap between tiles. Keys and
values come from the outermost memory once if those of the heads in flight fit the shared memory,
else once for every round of query tiles.
Not modeled: warps specialized by role, exp emulated in multiply-adds, paged cache look-ups.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from math import ceil

import numpy as np

from accel_models.engines.pe import Datapath
from accel_models.engines.tile import MatmulTile
from accel_models.path import Level, Path
from mappers.cost import Cost, Traffic, Work, add_traffic, compose, memory_joules, vector_joules
from mappers.space import menu
from workloads.ops.attention import Attention, softmax_ops

MAX_KEY_TILE = 1024
SPLITS = (1, 2, 4, 8, 16, 32, 64, 128)


@dataclass(frozen=True)
class Flash:
    """An attention op with the widths of its operands in bytes and the engine's pairs."""

    op: Attention
    q_bytes: float
    k_bytes: float
    v_bytes: float
    o_bytes: float
    partial_bytes: float
    qk: Datapath
    pv: Datapath


@dataclass(frozen=True, slots=True)
class FlashTile:
    """Query rows, keys per step, shares of the keys, engines of a core along the rows."""

    tm: int
    ts: int
    splits: int
    grid: int

    def describe(self) -> dict[str, int]:
        """Plain values for JSON."""
        return {"query_rows": self.tm, "keys": self.ts, "key_splits": self.splits}


def flash_tiles(flash: Flash, path: Path) -> Iterator[FlashTile]:
    """Tiles that fit the cores' memories."""
    op = flash.op
    gm, gn, _ = path.engine.geometry(flash.qk.pair.macs_per_cycle)
    rows = op.group * op.q_len
    longest = min(op.kv_len, MAX_KEY_TILE)
    for tm, ts in product(menu(gm, rows), menu(gn, longest)):
        if tm > 2048 or not _fits(flash, path, tm, ts):
            continue
        jobs = op.batch * op.kv_heads * ceil(rows / tm)
        grid = max(e for e in range(1, path.engine.count + 1) if e == 1 or tm >= e * gm)
        for splits in SPLITS:
            if splits > 1 and (jobs * splits > 4 * path.cores or splits * ts > op.kv_len):
                break
            yield FlashTile(tm, ts, splits, grid)


def _fits(flash: Flash, path: Path, tm: int, ts: int) -> bool:
    """Q, two tiles of K and V, scores and output beside each other where each may stay."""
    op = flash.op
    kv = ts * (op.head_dim * flash.k_bytes + op.v_head_dim * flash.v_bytes)
    inputs = tm * op.head_dim * flash.q_bytes + 2 * kv
    sums = tm * (op.v_head_dim + ts) * flash.partial_bytes
    home = {"inputs": _home("activation", path), "sums": _home("output", path)}
    need: dict[str, float] = {}
    for what, size in (("inputs", inputs), ("sums", sums)):
        level = home[what]
        share = level.instances / path.cores if level.instances > path.cores else 1.0
        at_once = path.cores / level.instances if level.instances < path.cores else 1.0
        need[level.name] = need.get(level.name, 0.0) + size / share * at_once
    return all(size <= path.by_name[name].capacity for name, size in need.items())


def _home(operand: str, path: Path) -> Level:
    """Where an operand's tile stays: the largest memory of a core that keeps it, else the
    chip's."""
    own = [m for m in path.memories[path.first_core :] if operand in m.keeps]
    if own:
        return max(own, key=lambda m: m.capacity * m.instances)
    return [m for m in path.memories[: path.first_core] if operand in m.keeps][-1]


def flash_cost(flash: Flash, tile: FlashTile, path: Path) -> Cost:
    """Latency and energy of the op in these tiles."""
    op = flash.op
    steps = _key_tiles(op, tile)  # per query tile of one head, already per split
    heads = op.batch * op.kv_heads
    lengths = np.sort(np.repeat(steps, tile.splits))[::-1]
    jobs = len(lengths) * heads
    busiest = float(_rounds(lengths, heads, path.cores))
    total = float(lengths.sum()) * heads
    cores = max(1.0, min(path.cores, total / max(busiest, 1.0)))
    vector = _vector_work(flash, tile, total, jobs)
    cycles = busiest * _matrix_cycles(flash, tile, path)
    vector_s = path.vector_seconds(vector, cores)
    busy = {"matrix": cycles / path.clock_hz, "vector": vector_s}
    if not path.control.overlap_engines:
        busy = {"matrix": busy["matrix"] + vector_s}
    traffic = _traffic(flash, tile, path, total, jobs)
    head, tail = {}, {}
    for i, level in enumerate(path.memories):
        read = sum(float(r) for r, _ in traffic.get(level.name, {}).values())
        written = sum(float(w) for _, w in traffic.get(level.name, {}).values())
        working = level.instances if i < path.first_core else cores * level.instances / path.cores
        busy[level.name] = float(level.seconds(read, written, working))
        head[level.name] = busy[level.name] * 0.5 / max(1.0, busiest)
        tail[level.name] = busy[level.name] * 0.5 / max(1.0, busiest)
    joules = memory_joules(traffic, path)
    macs = total * tile.tm * tile.ts
    joules["matrix"] = macs * (
        op.head_dim * flash.qk.pair.energy + op.v_head_dim * flash.pv.pair.energy
    )
    joules["vector"] = vector_joules(vector, path)
    sync = 2 * busiest * (path.control.sync or 0.0)
    launches = 2 if tile.splits > 1 else 1
    return compose(Work(busy, head, tail, joules, traffic, sync_s=sync, launches=launches), path)


def _key_tiles(op: Attention, tile: FlashTile) -> np.ndarray:
    """Key tiles that each query tile of a head visits, per split."""
    rows = op.group * op.q_len
    first = np.arange(0, rows, tile.tm) // op.group
    last = (np.minimum(np.arange(0, rows, tile.tm) + tile.tm, rows) - 1) // op.group
    offset = op.kv_len - op.q_len
    high = np.minimum(offset + last + 1, op.kv_len) if op.causal else np.full_like(last, op.kv_len)
    low = np.zeros_like(first)
    if op.window:
        seen = offset + first + 1 if op.causal else np.full_like(first, op.kv_len)
        low = np.maximum(0, seen - op.window)
    tiles = -(-(high - low) // tile.ts)
    return -(-tiles // tile.splits)


def _rounds(lengths: np.ndarray, heads: int, cores: int) -> int:
    """Steps of the busiest core: jobs sorted by length, each repeated per head, dealt in rounds."""
    ends = (np.arange(len(lengths)) + 1) * heads
    rounds = np.diff(-(-ends // cores), prepend=0)  # rounds that start with a job of this length
    return int((lengths * rounds).sum())


def _matrix_cycles(flash: Flash, tile: FlashTile, path: Path) -> float:
    """Engine cycles of one key tile of one job, its rows spread over the core's engines."""
    op, m = flash.op, ceil(tile.tm / tile.grid)
    spare = max(1, path.engine.count // tile.grid)  # engines left to share the keys or columns
    ts, dv = ceil(tile.ts / spare), ceil(op.v_head_dim / spare)
    qk = MatmulTile(m, ts, op.head_dim, flash.qk.pair.macs_per_cycle, flash.qk.weight.bits)
    pv = MatmulTile(m, dv, tile.ts, flash.pv.pair.macs_per_cycle, flash.pv.weight.bits)
    return float(path.engine.service(qk).interval + path.engine.service(pv).interval)


def _vector_work(flash: Flash, tile: FlashTile, total: float, jobs: int) -> dict[str, float]:
    """Softmax of every score tile, rescaling of the running output, conversions, combination."""
    op = flash.op
    work = softmax_ops(total * tile.tm * tile.ts, op.softcap)
    work["mul"] += total * tile.tm * op.v_head_dim
    work["exp"] += total * tile.tm
    work["rsqrt"] = work.get("rsqrt", 0.0) + jobs * tile.tm
    converted = flash.qk.convert_weight * op.head_dim + flash.pv.convert_weight * op.v_head_dim
    work["convert"] += total * tile.ts * converted
    if tile.splits > 1:
        work["mul"] += jobs * tile.tm * op.v_head_dim
        work["add"] += jobs * tile.tm * op.v_head_dim
    return work


def _traffic(flash: Flash, tile: FlashTile, path: Path, total: float, jobs: int) -> Traffic:
    op = flash.op
    heads, rows = op.batch * op.kv_heads, op.group * op.q_len
    reach = min(op.kv_len, (op.window or op.kv_len) + op.q_len)
    kv_row = op.head_dim * flash.k_bytes + op.v_head_dim * flash.v_bytes
    q_once = heads * rows * op.head_dim * flash.q_bytes
    out = heads * rows * op.v_head_dim * flash.o_bytes
    kv_in = total * tile.ts * kv_row  # into cores, every job its own
    kv_once = min(kv_in, float(heads * reach * kv_row))
    query_tiles = ceil(rows / tile.tm)
    shared = path.memories[1 : path.first_core]
    capacity = max((m.capacity * m.instances for m in shared), default=0.0)
    in_flight = min(heads, ceil(path.cores / (query_tiles * tile.splits))) * reach * kv_row
    rounds = 1 if in_flight <= capacity else ceil(query_tiles * tile.splits / path.cores)
    from_top = kv_in if not shared else min(kv_in, kv_once * rounds)
    spill = jobs * tile.tm * op.v_head_dim * flash.partial_bytes if tile.splits > 1 else 0.0
    traffic: Traffic = {}
    top, meeting = path.levels[0].name, (shared[-1] if shared else path.levels[0]).name
    add_traffic(traffic, top, "weight", from_top, 0.0)
    add_traffic(traffic, top, "activation", q_once * (tile.splits if not shared else 1), 0.0)
    add_traffic(traffic, top, "output", 0.0, out)
    for level in shared:
        add_traffic(traffic, level.name, "weight", kv_in, from_top)
        add_traffic(traffic, level.name, "activation", q_once * tile.splits, q_once)
        add_traffic(traffic, level.name, "output", out, out)
    add_traffic(traffic, meeting, "output", spill, spill)
    _core_traffic(flash, tile, path, total, (q_once * tile.splits, kv_in), traffic)
    return traffic


def _core_traffic(
    flash: Flash,
    tile: FlashTile,
    path: Path,
    total: float,
    entering: tuple[float, float],
    traffic: Traffic,
) -> None:
    """Fills of the core's input memory, and of engines' own registers where there are any.

    `entering`: bytes of queries, and of keys and values, brought into cores. Each engine with
    registers of its own takes its share of the rows and all the keys.
    """
    q, kv = entering
    inputs = _home("activation", path)
    if path.levels.index(inputs) >= path.first_core:
        add_traffic(traffic, inputs.name, "weight", 0.0, kv)
        add_traffic(traffic, inputs.name, "activation", 0.0, q)
    feeding = next(
        (m for m in path.memories if m.instances > path.cores and "activation" in m.keeps), inputs
    )
    if feeding is not inputs:
        add_traffic(traffic, inputs.name, "weight", kv * tile.grid, 0.0)
        add_traffic(traffic, inputs.name, "activation", q, 0.0)
        add_traffic(traffic, feeding.name, "weight", 0.0, kv * tile.grid)
        add_traffic(traffic, feeding.name, "activation", 0.0, q)
    _engine_traffic(flash, tile, path, total, feeding, traffic)


def _engine_traffic(
    flash: Flash, tile: FlashTile, path: Path, total: float, feeding: Level, traffic: Traffic
) -> None:
    """What the engine reads and writes: queries, keys, values, scores, running outputs."""
    op, sums = flash.op, _home("output", path)
    qk = MatmulTile(tile.tm, tile.ts, op.head_dim, flash.qk.pair.macs_per_cycle)
    pv = MatmulTile(tile.tm, op.v_head_dim, tile.ts, flash.pv.pair.macs_per_cycle)
    for matmul, a_bytes, b_bytes, a_home in (
        (qk, flash.q_bytes, flash.k_bytes, feeding),
        (pv, flash.o_bytes, flash.v_bytes, sums),
    ):
        words = path.engine.operand_words(matmul)
        a, b = total * float(words.activation) * a_bytes, total * float(words.weight) * b_bytes
        read = total * float(words.output_read) * flash.partial_bytes
        written = total * float(words.output_write) * flash.partial_bytes
        add_traffic(traffic, a_home.name, "activation", a, 0.0)
        add_traffic(traffic, feeding.name, "weight", b, 0.0)
        add_traffic(traffic, sums.name, "output", read, written)
    scores = total * tile.tm * tile.ts
    add_traffic(traffic, sums.name, "scores", scores * flash.partial_bytes, scores * flash.o_bytes)
