"""Attention in one pass: scores stay on chip, the softmax is computed online.

A job is a tile of `tm` query rows (the query heads of one key head packed together) of one sequence
and key head, against its visible keys in tiles of `ts`, or one of `splits` shares of them (Dao,
FlashAttention-2, arXiv 2307.08691, alg. 1; split keys as in Flash-Decoding, combined by a second
pass). Tiles that the mask hides are skipped. Per key tile and job:

    matrix: Q K^T (tm x ts x d) and P V (tm x dv x ts);  vector: softmax of tm x ts, rescaling of
    tm x dv

Two levels of tiles (FastAttention, arXiv 2410.16663, for engines that hand tiles to each other at a
cost): keys are loaded and scores handed over in blocks of several tiles. A block's scores, and the
probabilities on their way back, pass through the innermost shared memory, as do the block's sums;
hand-overs and rescalings are one per block. The mask of a tile at the edge of what is visible is
cut from a matrix of twice the largest block squared in that memory (its tiling-mask), instead of
compared with positions; a whole mask in memory costs its reading and hides no tile.

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
from mappers.flash_problem import Flash, FlashTile, exchange, home
from mappers.flash_traffic import Steps, flash_traffic
from mappers.steps import Steps as Divided
from mappers.traffic import load_share, operand_sums
from workloads.ops import Attention

MAX_KEY_TILE = 1024
MAX_BLOCK = 4096
SPLITS = (1, 2, 4, 8, 16, 32, 64, 128)
STEPS = (1, 2, 4, 8, 16)


def flash_tiles(flash: Flash, path: Path, steps: int = 1) -> Iterator[FlashTile]:
    """Tiles that fit the memories, `steps` of them to a block."""
    op = flash.op
    gm, gn, _ = path.engine.geometry(flash.qk.pair.macs_per_cycle)
    rows = op.group * op.q_len
    longest = min(op.kv_len, MAX_KEY_TILE)
    for tm, ts in product(doublings(gm, rows), doublings(gn, longest)):
        if tm > 2048 or not _fits(flash, path, FlashTile(tm, ts, 1, 1, steps)):
            continue
        jobs = op.batch * op.kv_heads * ceil(rows / tm)
        grid = max(e for e in range(1, path.engine.count + 1) if e == 1 or tm >= e * gm)
        for splits in SPLITS:
            if splits > 1 and (jobs * splits > 4 * path.cores or splits * ts * steps > op.kv_len):
                break
            yield FlashTile(tm, ts, splits, grid, steps)


def two_level_tiles(flash: Flash, path: Path) -> Iterator[FlashTile]:
    """Tiles in blocks of several, where engines hand over at a cost."""
    if not path.control.sync:
        return
    for steps in STEPS[1:]:
        for tile in flash_tiles(flash, path, steps):
            if tile.block <= MAX_BLOCK and tile.block < 2 * flash.op.kv_len:
                yield tile


def doublings(granule: int, extent: int) -> list[int]:
    """granule times powers of two below the extent, and the extent itself."""
    sizes, size = [], granule
    while size < extent:
        sizes.append(size)
        size *= 2
    return [*sizes, extent]


def _fits(flash: Flash, path: Path, tile: FlashTile) -> bool:
    """Q, two blocks of K and V, scores and output beside each other where each stays; in blocks, a
    tile's scores leave before the block's output is made."""
    op, tm = flash.op, tile.tm
    inputs = tm * op.head_dim * flash.q_bytes + 2 * tile.block * flash.kv_row_bytes
    widths = (op.v_head_dim, tile.ts)
    sums = tm * (max(widths) if tile.steps > 1 else sum(widths)) * flash.partial_bytes
    parts = [(home("weight", path), inputs), (home("output", path), sums)]
    if tile.steps > 1:
        scores = tm * tile.block * (flash.partial_bytes + flash.o_bytes)
        parts.append((exchange(path), scores + tm * op.v_head_dim * flash.partial_bytes))
    need: dict[str, float] = {}
    for level, size in parts:
        cores = path.cores / level.instances  # that share an instance, or a part of a core's
        need[level.name] = need.get(level.name, 0.0) + size * cores
    return all(size <= path.by_name[name].capacity for name, size in need.items())


def flash_cost(flash: Flash, tile: FlashTile, path: Path) -> Cost:
    """Latency and energy of the op in these tiles."""
    op = flash.op
    busiest, hand_overs, steps = dealt(flash, tile, path)
    cores = max(1.0, min(path.cores, steps.total / max(busiest, 1.0)))
    vector = _vector_work(flash, tile, steps)
    busy = {
        "matrix": busiest * _matrix_cycles(flash, tile, path) / path.clock_hz,
        "vector": path.vector_seconds(vector, cores),
    }
    if not path.control.overlap_engines:
        busy = {"matrix": sum(busy.values())}
    traffic = flash_traffic(flash, tile, path, steps)
    head, tail, serial, loads = {}, {}, {}, dict[str, float]()
    for i, level in enumerate(path.memories):
        read, written = operand_sums(traffic.get(level.name, {}), level.fill_port)
        working = level.instances if i < path.first_core else cores * level.instances / path.cores
        busy[level.name] = float(level.seconds(read, written, working))
        loads[level.name] = load_share(traffic.get(level.name, {}))[0]
        head[level.name] = tail[level.name] = busy[level.name] * 0.5 / max(1.0, hand_overs)
        if level.buffering == "single":
            serial[level.name] = busy[level.name] - head[level.name] - tail[level.name]
    busy["in_flight"] = hand_overs * _load_latency(flash, tile, path)
    joules = memory_joules(traffic, path)
    macs = steps.total * tile.tm * tile.ts
    joules["matrix"] = macs * (
        op.head_dim * flash.qk.pair.energy + op.v_head_dim * flash.pv.pair.energy
    )
    joules["vector"] = vector_joules(vector, path)
    sync = 2 * hand_overs * (path.control.sync or 0.0)
    launches = 2 if tile.splits > 1 else 1
    outputs = ceil(steps.jobs / path.cores)
    divided = Divided(outputs, ceil(hand_overs / outputs), loads=loads)
    work = Work(busy, head, tail, joules, traffic, serial, sync, launches, steps=divided)
    return compose(work, path)


def dealt(flash: Flash, tile: FlashTile, path: Path) -> tuple[float, float, Steps]:
    """Key tiles and hand-overs of the busiest core, and of all jobs together."""
    op, heads = flash.op, flash.op.batch * flash.op.kv_heads
    visited, cut = _key_tiles(flash, tile)  # per query tile of one head, already per split
    tiles = np.repeat(np.sort(visited)[::-1], tile.splits)
    blocks = -(-tiles // tile.steps)
    steps = Steps(
        float(tiles.sum()) * heads,
        len(tiles) * heads,
        ceil(op.group * op.q_len / tile.tm),
        float(blocks.sum()) * heads,
        float(cut.sum()) * heads,
    )
    return rounds(tiles, heads, path.cores), rounds(blocks, heads, path.cores), steps


def _key_tiles(flash: Flash, tile: FlashTile) -> tuple[np.ndarray, np.ndarray]:
    """Key tiles that each query tile of a head visits per split, and how many of its tiles need the
    mask: all that are visited less those that every row sees whole."""
    op: Attention = flash.op
    rows = op.group * op.q_len
    first = np.arange(0, rows, tile.tm) // op.group
    last = (np.minimum(np.arange(0, rows, tile.tm) + tile.tm, rows) - 1) // op.group
    offset = op.kv_len - op.q_len
    everything = np.full_like(last, op.kv_len)
    if flash.mask == "whole":
        visited = -(-everything // tile.ts)
        return -(-visited // tile.splits), visited
    ends = [
        np.minimum(offset + at + 1, op.kv_len) if op.causal else everything for at in (first, last)
    ]
    starts = [np.zeros_like(end) for end in ends]
    if op.window:
        seen = [offset + at + 1 if op.causal else everything for at in (first, last)]
        starts = [np.maximum(0, end - op.window) for end in seen]
    visited = -(-(ends[1] - starts[0]) // tile.ts)
    if op.density < 1.0:  # whole tiles are left out, and of those at the edge none
        visited = np.maximum(1, np.ceil(visited * op.density)).astype(np.int64)
    clear = np.maximum(0, ends[0] - starts[1]) // tile.ts
    ragged = visited * tile.ts > op.kv_len  # the last tile of all is cut by the cache's end
    return -(-visited // tile.splits), np.maximum(0, visited - clear - ragged)


def rounds(lengths: np.ndarray, heads: int, cores: int) -> int:
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


def _vector_work(flash: Flash, tile: FlashTile, steps: Steps) -> dict[str, float]:
    """Softmax of every score tile, the mask, rescaling of the running output, conversions,
    combination."""
    op = flash.op
    work = op.score_ops(steps.total * tile.tm * tile.ts)
    work["compare" if flash.mask == "index" else "add"] += steps.cut * tile.tm * tile.ts
    work["mul"] += steps.blocks * tile.tm * op.v_head_dim
    work["exp"] += steps.blocks * tile.tm
    if tile.steps > 1:
        work["add"] += steps.blocks * tile.tm * op.v_head_dim
    work["rsqrt"] = work.get("rsqrt", 0.0) + steps.jobs * tile.tm
    converted = flash.qk.convert_weight * op.head_dim + flash.pv.convert_weight * op.v_head_dim
    work["convert"] += steps.total * tile.ts * converted
    if tile.splits > 1:
        work["mul"] += steps.jobs * tile.tm * op.v_head_dim
        work["add"] += steps.jobs * tile.tm * op.v_head_dim
    return work


def _load_latency(flash: Flash, tile: FlashTile, path: Path) -> float:
    """Seconds per block that a core at least takes: Little's law, as in `mappers.matmul`."""
    level = home("weight", path)
    if path.levels.index(level) < path.first_core or level.buffering == "single":
        return 0.0
    latency = path.access_latency_s(path.levels.index(level) + 1)
    if level.buffering == "double":
        return latency
    return latency / max(1.0, level.capacity // (tile.block * flash.kv_row_bytes) - 1)
