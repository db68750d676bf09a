"""Attention ops of a schedule as a pipeline of the matrix and the vector engine.

On cores whose engines hand tiles to each other through a memory that all cores share (a design's
`control.sync`; Ascend 910B's through L2) the closed form has every hand-over exposed. This is the
pipeline of `flash_pipeline` instead, a tile being what the mapper hands over at a time: a block of
query rows by a block of keys. What the stages take is the schedule's, so that each resource is busy
as long as in the closed form:

    qk, pv    the matrix engine's, by widths of keys and values
    gu        rescaling the sums of a block, once for every tile; p: the vector engine's other work
    moving    bytes of the shared memory: keys and scores with qk, scores and probabilities with p,
              probabilities, values and sums with pv, sums with gu; beside, with qk and pv, the
              outermost memory and the power supply

    with n tiles on the busiest core, all on their way at once:
    launch + n max(qk + pv [+ sync / sync_every if it holds], p + gu, any shared memory)
    + the first tile's way to the busiest of these and the last one's from there

Source: FastAttention, arXiv 2410.16663 (two levels of tiles); FlashAttention-3, arXiv 2407.08608,
sec. 3 (softmax beside the products of other tiles). Not modeled: tiles of a block that the mask
shortens, told apart; combining splits of keys; the cores that have less to do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from math import ceil

from accel_models.path import Path
from mappers.attention import flash_of
from mappers.context import Context
from mappers.flash import dealt, flash_tiles, two_level_tiles
from mappers.flash_problem import Flash, FlashTile, exchange
from mappers.plan import Placed, Schedule
from sim.event.policies import PolicyError, Stretch
from sim.event.policies.flash_pipeline import (
    FlashKnobs,
    FlashMachine,
    FlashSizes,
    Stage,
    flash_program,
)
from sim.event.policies.offloaded import at_least
from sim.event.program import Program
from workloads.ops import Attention

NAME = "flash_attention_pipeline"
HOLD = ("yes", "no")


def flash_attention_pipeline(
    schedule: Schedule,
    look_ahead: int = 4,
    sync_every: int = 1,
    hold: str = "yes",
    buffers: int = 2,
) -> list[Stretch]:
    """Attention in one pass where matrix and vector engines exchange tiles through a shared memory:
    scores of the next tiles are made while the softmax of one is computed.

    Arguments: look_ahead, tiles of scores on their way at once, at least 1; sync_every, tiles that
    are handed over at once, at most look_ahead; hold, yes if a hand-over stops the matrix engine,
    no if it only delays the tiles; buffers, 1 if an engine moves and computes in turn, else 2.

    Source: FastAttention, arXiv 2410.16663; FlashAttention-3, arXiv 2407.08608, sec. 3.
    """
    at_least(1, NAME, look_ahead=look_ahead, sync_every=sync_every, buffers=buffers)
    if hold not in HOLD:
        raise PolicyError(f"{NAME}: hold is '{hold}'; write yes or no")
    if sync_every > look_ahead:
        raise PolicyError(
            f"{NAME}: {sync_every} tiles cannot be handed over at once with {look_ahead} on their "
            "way; make look_ahead as large as sync_every"
        )
    knobs = FlashKnobs(True, buffers > 1, look_ahead, sync_every, hold == "yes")
    found = [
        Stretch((placed.op.name,), placed.count, _program(placed, schedule, knobs))
        for placed in schedule
        if _is_exchanged(placed)
    ]
    if not found:
        raise PolicyError(f"{NAME}: {_nothing(schedule)}")
    return found


def _is_exchanged(placed: Placed) -> bool:
    """In one pass, on engines that hand over at a cost."""
    path, op = placed.plan.path, placed.op
    alike = isinstance(op, Attention) and not op.lengths
    one_pass = alike and "query_rows" in placed.plan.mapping
    return one_pass and path.runs_on == "matrix" and bool(path.control.sync)


def _nothing(schedule: Schedule) -> str:
    """Why there is no such op."""
    if not any(isinstance(placed.op, Attention) for placed in schedule):
        return f"{schedule.graph.name} has no attention"
    if not any(path.control.sync for path in schedule.paths):
        return (
            f"engines of {schedule.design.name} do not hand tiles to each other through a memory "
            "(control.sync); those of ascend_910b1 do"
        )
    return "no attention of this schedule runs in one pass on such engines, all sequences alike"


def _program(placed: Placed, schedule: Schedule, knobs: FlashKnobs) -> Program:
    """Of the busiest core: all its tiles in a row."""
    op = placed.op
    assert isinstance(op, Attention)
    flash, path = flash_of(op, Context(schedule.graph, placed.plan.path, schedule.objective))
    tile = _tile(flash, path, placed)
    tiles = ceil(dealt(flash, tile, path)[1])
    whole = ceil(tiles / knobs.sync_every) * knobs.sync_every
    machine = _machine(placed, path)
    stages = dict(_stages(placed, flash, tile, tiles, whole))
    sizes = FlashSizes(tile.tm, whole * tile.block, 1, op.head_dim, tile.tm, tile.block)
    return flash_program(sizes, machine, knobs, stages)


def _tile(flash: Flash, path: Path, placed: Placed) -> FlashTile:
    """That the schedule says."""
    two_level = replace(flash, mask="tile") if flash.op.causal else flash
    tiles = (*flash_tiles(flash, path), *two_level_tiles(two_level, path))
    return next(tile for tile in tiles if tile.describe() == placed.plan.mapping)


def _machine(placed: Placed, path: Path) -> FlashMachine:
    """All cores as one: what they share is given for all of them."""
    shared, clock = exchange(path), path.clock_hz
    fixed = placed.cost.exposed["launch"] + placed.cost.exposed["access"]
    return FlashMachine(
        round(clock),
        1,
        shared.read_bytes_per_s * shared.instances / clock,
        shared.write_bytes_per_s * shared.instances / clock,
        launch=float(fixed) * clock,
        sync=(path.control.sync or 0.0) * clock,
    )


def _stages(
    placed: Placed, flash: Flash, tile: FlashTile, tiles: int, whole: int
) -> Iterator[tuple[str, Stage]]:
    """One of so many tiles; those that fill the last hand-over take from the others."""
    path, op, busy = placed.plan.path, flash.op, placed.cost.work.busy
    cycles = path.clock_hz / whole
    inner = [level.name for level in path.memories[path.first_core :]]
    matrix = max(float(busy[name]) for name in ("matrix", *inner)) * cycles
    sums = tile.tm * op.v_head_dim
    update = {"mul": float(sums), "exp": float(tile.tm), "add": float(sums * (tile.steps > 1))}
    gu = min(float(busy["vector"]), path.vector_seconds(update, 1) * tiles) * cycles
    keys = op.head_dim / (op.head_dim + op.v_head_dim)
    computing = {
        "qk": matrix * keys,
        "p": float(busy["vector"]) * cycles - gu,
        "pv": matrix * (1 - keys),
        "gu": gu,
    }
    shared = exchange(path)
    beside = [name for name in (path.levels[0].name, "power") if name != shared.name]
    for name, (read, written) in _moved(placed, flash, tile).items():
        seconds = float(shared.seconds(read, written, shared.instances))
        part = {"qk": keys, "pv": 1 - keys}.get(name, 0.0)
        others = tuple((other, float(busy[other]) * cycles * part) for other in beside if part)
        engine = "matrix" if name in ("qk", "pv") else "vector"
        if shared.shared_port:
            read, written = seconds * shared.read_bytes_per_s * shared.instances, 0.0
        moving = seconds * cycles
        yield name, Stage(engine, computing[name], moving, read / whole, written / whole, others)


def _moved(placed: Placed, flash: Flash, tile: FlashTile) -> dict[str, tuple[float, float]]:
    """Bytes that each stage reads from and writes to the shared memory, of the op's traffic
    there."""
    level, op = exchange(placed.plan.path), flash.op
    keys = op.head_dim * flash.k_bytes / flash.kv_row_bytes
    wide, narrow = tile.block * flash.partial_bytes, tile.block * flash.o_bytes
    sums = op.v_head_dim * flash.partial_bytes
    row = wide + narrow + sums
    shares: Mapping[str, tuple[dict[str, float], dict[str, float]]] = {
        "activation": ({"qk": 1.0}, {"qk": 1.0}),
        "weight": ({"qk": keys, "pv": 1 - keys}, {"qk": keys, "pv": 1 - keys}),
        "scores": (
            {"p": wide / row, "pv": narrow / row, "gu": sums / row},
            {"qk": wide / row, "p": narrow / row, "pv": sums / row},
        ),
        "output": ({"gu": 1.0}, {"pv": 1.0}),
    }
    found = dict.fromkeys(("qk", "p", "pv", "gu"), (0.0, 0.0))
    for operand, (read, written) in placed.cost.work.traffic.get(level.name, {}).items():
        reads, writes = shares.get(operand, ({"p": 1.0}, {"p": 1.0}))
        if level.fill_port and operand not in ("output", "scores"):
            writes = {}
        for name, (r, w) in found.items():
            found[name] = r + read * reads.get(name, 0.0), w + written * writes.get(name, 0.0)
    return found
