"""Attention in one pass: scores stay on chip, the softmax is computed online.

A job is a tile of `tm` query rows (the query heads of one key head packed together) of one sequence
and key head, against its visible keys in tiles of `ts`, or one of `splits` shares of them (Dao,
FlashAttention-2, arXiv 2307.08691, alg. 1; split keys as in Flash-Decoding, combined by a second
pass). Tiles that the mask hides are skipped. Per key tile and job:

    matrix: Q K^T (tm x ts x d) and P V (tm x dv x ts);  vector: softmax of tm x ts, rescaling of
    tm x dv

Jobs are dealt longest first, a round per core; a core's resources overlap between tiles. What is
moved at each level: `mappers.flash_traffic`.
Not modeled: warps specialized by role, exp emulated in multiply-adds, paged cache look-ups.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from math import ceil

import numpy as np

from accel_models.engines.tile import MatmulTile
from accel_models.path import Path
from mappers.cost import Cost, Work, compose, memory_joules, vector_joules
from mappers.flash_problem import Flash, FlashTile
from mappers.flash_traffic import Steps, flash_traffic, home
from mappers.traffic import operand_sums
from workloads.ops.attention import Attention, softmax_ops

MAX_KEY_TILE = 1024
SPLITS = (1, 2, 4, 8, 16, 32, 64, 128)


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


def menu(granule: int, extent: int) -> list[int]:
    """granule times powers of two below the extent, and the extent itself."""
    sizes, size = [], granule
    while size < extent:
        sizes.append(size)
        size *= 2
    return [*sizes, extent]


def _fits(flash: Flash, path: Path, tm: int, ts: int) -> bool:
    """Q, two tiles of K and V, scores and output beside each other where each stays."""
    op = flash.op
    inputs = tm * op.head_dim * flash.q_bytes + 2 * ts * flash.kv_row_bytes
    sums = tm * (op.v_head_dim + ts) * flash.partial_bytes
    need: dict[str, float] = {}
    for level, size in ((home("weight", path), inputs), (home("output", path), sums)):
        cores = path.cores / level.instances  # that share an instance, or a part of a core's
        need[level.name] = need.get(level.name, 0.0) + size * cores
    return all(size <= path.by_name[name].capacity for name, size in need.items())


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
    query_tiles = ceil(op.group * op.q_len / tile.tm)
    traffic = flash_traffic(flash, tile, path, Steps(total, jobs, query_tiles))
    head, tail, serial = {}, {}, {}
    for i, level in enumerate(path.memories):
        read, written = operand_sums(traffic.get(level.name, {}), level.fill_port)
        working = level.instances if i < path.first_core else cores * level.instances / path.cores
        busy[level.name] = float(level.seconds(read, written, working))
        head[level.name] = tail[level.name] = busy[level.name] * 0.5 / max(1.0, busiest)
        if level.buffering == "single":
            serial[level.name] = busy[level.name] - head[level.name] - tail[level.name]
    busy["in_flight"] = busiest * _load_latency(flash, tile, path)
    joules = memory_joules(traffic, path)
    macs = total * tile.tm * tile.ts
    joules["matrix"] = macs * (
        op.head_dim * flash.qk.pair.energy + op.v_head_dim * flash.pv.pair.energy
    )
    joules["vector"] = vector_joules(vector, path)
    sync = 2 * busiest * (path.control.sync or 0.0)
    launches = 2 if tile.splits > 1 else 1
    return compose(Work(busy, head, tail, joules, traffic, serial, sync, launches), path)


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


def _load_latency(flash: Flash, tile: FlashTile, path: Path) -> float:
    """Seconds per key tile that a core at least takes: Little's law, as in `mappers.matmul`."""
    level = home("weight", path)
    if path.levels.index(level) < path.first_core or level.buffering == "single":
        return 0.0
    latency = path.access_latency_s(path.levels.index(level) + 1)
    if level.buffering == "double":
        return latency
    return latency / max(1.0, level.capacity // (tile.ts * flash.kv_row_bytes) - 1)
