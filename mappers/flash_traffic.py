"""What one-pass attention moves at each level.

Queries, and keys with values, go down their own chain of levels that keep them. Shared levels: the
cache comes into one once if that of the heads in flight fits it, else once for every round of query
tiles, and never more than the level further in takes. A core's first level that keeps an operand is
its home: every job brings in its own key tiles (a parent's multicast serves query tiles of the same
head together). Each level further in takes the key tile once per step, and the queries again;
registers take keys once for every block of rows that their sums leave room for, and every engine
its own copy. The engine reads and writes at the innermost level that keeps an operand. Scores
become probabilities where sums stay; in blocks of several tiles they go to the innermost shared
level and back, and so do the block's sums. An operand that stays on chip is read where it lies.
Not modeled: reuse of a key tile by two jobs on one core.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import ceil

from accel_models.engines.tile import MatmulTile
from accel_models.path import Level, Path
from mappers.cost import Traffic, add_traffic
from mappers.flash_problem import Flash, FlashTile, exchange, home, own_keepers


@dataclass(frozen=True, slots=True)
class Steps:
    """Key tiles of all jobs together, jobs, query tiles of a head; blocks of tiles of all jobs, and
    tiles that need the mask."""

    total: float
    jobs: int
    query_tiles: int
    blocks: float
    cut: float


def flash_traffic(flash: Flash, tile: FlashTile, path: Path, steps: Steps) -> Traffic:
    """Bytes at every level by operand: queries are `activation`, the cache `weight`."""
    op, traffic = flash.op, Traffic()
    rows = op.batch * op.kv_heads * op.group * op.q_len
    queries = rows * op.head_dim * flash.q_bytes
    into_cores = steps.total * tile.ts * flash.kv_row_bytes
    _descend("activation", _queries_in(queries, tile, path), flash.stays.get("q"), path, traffic)
    entering = _cache_in(flash, tile, path, steps, into_cores)
    keys = op.head_dim * flash.k_bytes / flash.kv_row_bytes
    for name, share in (("k", keys), ("v", 1 - keys)):
        part = [(level, amount * share) for level, amount in entering]
        _descend("weight", part, flash.stays.get(name), path, traffic)
    again = steps.total * tile.tm * op.head_dim * flash.q_bytes
    _inside("activation", queries * tile.splits, again, (flash, tile), path, traffic)
    _inside("weight", into_cores, into_cores, (flash, tile), path, traffic)
    _engine_words(flash, tile, path, steps, traffic)
    _scores(flash, tile, path, steps, traffic)
    _masks(flash, tile, path, steps, traffic)
    _results(flash, tile, path, steps, traffic)
    return traffic


def _descend(
    operand: str,
    amounts: list[tuple[Level, float]],
    start: str | None,
    path: Path,
    traffic: Traffic,
) -> None:
    """Charge each amount to the level it enters and the one it comes from, inward of `start`."""
    parent = path.levels[0]
    below = next((i + 1 for i, (level, _) in enumerate(amounts) if level.name == start), 0)
    if below:
        add_traffic(traffic, parent.name, operand, 0.0, 0.0)
        parent = amounts[below - 1][0]
    for level, amount in amounts[below:]:
        add_traffic(traffic, parent.name, operand, amount, 0.0)
        add_traffic(traffic, level.name, operand, 0.0, amount)
        parent = level


def _queries_in(queries: float, tile: FlashTile, path: Path) -> list[tuple[Level, float]]:
    """Every query once into each shared level, once per split into the cores."""
    shared = [m for m in path.memories[1 : path.first_core] if "activation" in m.keeps]
    own = own_keepers("activation", path)[:1]
    return [(m, queries) for m in shared] + [(m, queries * tile.splits) for m in own]


def _cache_in(
    flash: Flash, tile: FlashTile, path: Path, steps: Steps, into_cores: float
) -> list[tuple[Level, float]]:
    """What enters each level of keys and values, outermost first."""
    op = flash.op
    heads = op.batch * op.kv_heads
    reach = min(op.kv_len, (op.window or op.kv_len) + op.q_len)
    once = min(into_cores, heads * reach * flash.kv_row_bytes)
    jobs_of_a_head = steps.query_tiles * tile.splits
    in_flight = min(heads, ceil(path.cores / jobs_of_a_head)) * reach * flash.kv_row_bytes
    shared = [m for m in path.memories[1 : path.first_core] if "weight" in m.keeps]
    own = own_keepers("weight", path)[:1]
    source = shared[-1] if shared else path.levels[0]
    together = min(source.multicast, steps.query_tiles)
    inward = read = max(once, into_cores / together)
    amounts: list[tuple[Level, float]] = []
    for level in reversed(shared):
        fits = in_flight <= level.capacity * level.instances
        rounds = 1 if fits else ceil(jobs_of_a_head / path.cores)
        inward = min(inward, once * rounds)
        amounts.insert(0, (level, inward))
    return amounts + [(m, read) for m in own]


def _inside(
    operand: str,
    entering: float,
    again: float,
    problem: tuple[Flash, FlashTile],
    path: Path,
    traffic: Traffic,
) -> None:
    """From a core's first level that keeps the operand to those further in.

    The home itself has been filled; with multicast it takes the whole of `entering` all the same.
    """
    keepers = own_keepers(operand, path)
    for parent, level in pairwise(keepers):
        amount = again
        if level.kind == "regfile":
            amount = again * _register_copies(operand, problem, level, path)
        add_traffic(traffic, parent.name, operand, amount, 0.0)
        add_traffic(traffic, level.name, operand, 0.0, amount)
    if operand == "weight" and keepers:
        filled = traffic[keepers[0].name][operand][1]
        add_traffic(traffic, keepers[0].name, operand, 0.0, max(0.0, entering - filled))


def _register_copies(
    operand: str, problem: tuple[Flash, FlashTile], level: Level, path: Path
) -> float:
    """How often a step's tile passes into registers: engines share rows, blocks share a tile."""
    flash, tile = problem
    engines = tile.grid if level.instances > path.cores else 1
    rows = ceil(tile.tm / engines)
    room = max(1.0, level.capacity / 2 / flash.partial_bytes)  # half for the block of sums
    block_rows = max(1, min(rows, int(room / min(tile.ts, room**0.5))))
    block_keys = max(1, min(tile.ts, int(room / block_rows)))
    if operand == "weight":
        return engines * ceil(rows / block_rows)
    return ceil(tile.ts / block_keys)


def _engine_words(
    flash: Flash, tile: FlashTile, path: Path, steps: Steps, traffic: Traffic
) -> None:
    """Operands and sums of Q K^T and P V."""
    op = flash.op
    places = {
        operand: (own_keepers(operand, path) or [home(operand, path)])[-1].name
        for operand in ("activation", "weight", "output")
    }
    qk = MatmulTile(tile.tm, tile.ts, op.head_dim, flash.qk.pair.macs_per_cycle)
    pv = MatmulTile(tile.tm, op.v_head_dim, tile.ts, flash.pv.pair.macs_per_cycle)
    for matmul, pair, a_bytes, b_bytes in (
        (qk, flash.qk, flash.q_bytes, flash.k_bytes),
        (pv, flash.pv, flash.o_bytes, flash.v_bytes),
    ):
        words = path.engine.operand_words(matmul)
        a = pair.activation.bits / 8 if pair.convert_activation else a_bytes
        b = pair.weight.bits / 8 if pair.convert_weight else b_bytes
        sums = (words.output_read, words.output_write)
        read, written = (steps.total * float(n) * flash.partial_bytes for n in sums)
        reads = {"activation": float(words.activation) * a, "weight": float(words.weight) * b}
        for operand, each in reads.items():
            add_traffic(traffic, places[operand], operand, steps.total * each, 0.0)
        add_traffic(traffic, places["output"], "output", read, written)


def _scores(flash: Flash, tile: FlashTile, path: Path, steps: Steps, traffic: Traffic) -> None:
    """Scores to the vector engine, probabilities back; between blocks, sums too."""
    scores = steps.total * tile.tm * tile.ts
    wide, narrow = scores * flash.partial_bytes, scores * flash.o_bytes
    at = home("output", path).name
    if tile.steps == 1:
        add_traffic(traffic, at, "scores", wide, narrow)
        return
    sums = steps.blocks * tile.tm * flash.op.v_head_dim * flash.partial_bytes
    add_traffic(traffic, at, "scores", wide + sums, 0.0)
    add_traffic(traffic, exchange(path).name, "scores", wide + narrow + sums, wide + narrow + sums)
    add_traffic(traffic, home("activation", path).name, "scores", 0.0, narrow)


def _masks(flash: Flash, tile: FlashTile, path: Path, steps: Steps, traffic: Traffic) -> None:
    """Tiles of a mask that is read: from the shared level, and to it from the outermost."""
    if flash.mask == "index":
        return
    read = steps.cut * tile.tm * tile.ts * flash.o_bytes
    level = exchange(path)
    add_traffic(traffic, level.name, "mask", read, 0.0)
    once = flash.op.q_len * flash.op.kv_len * flash.o_bytes
    if flash.mask == "whole" and level is not path.levels[0]:
        outer = once if once <= level.capacity * level.instances / 2 else max(once, read)
        add_traffic(traffic, path.levels[0].name, "mask", outer, 0.0)
        add_traffic(traffic, level.name, "mask", 0.0, outer)


def _results(flash: Flash, tile: FlashTile, path: Path, steps: Steps, traffic: Traffic) -> None:
    """The output on its way out, and the partial ones of split keys written and read back."""
    op = flash.op
    out = op.batch * op.kv_heads * op.group * op.q_len * op.v_head_dim * flash.o_bytes
    shared = [m for m in path.memories[1 : path.first_core] if "output" in m.keeps]
    way = [path.levels[0], *shared]
    start = flash.stays.get("o")
    add_traffic(traffic, path.levels[0].name, "output", 0.0, 0.0)
    end, *inward = next((way[i:] for i, m in enumerate(way) if m.name == start), way)
    add_traffic(traffic, end.name, "output", 0.0, out)
    for level in inward:
        add_traffic(traffic, level.name, "output", out, out)
    if tile.splits > 1:
        spill = steps.jobs * tile.tm * op.v_head_dim * flash.partial_bytes
        meeting = (shared[-1] if shared else path.levels[0]).name
        add_traffic(traffic, meeting, "output", spill, spill)
