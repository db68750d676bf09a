"""Tiles of a block of ops up to an all_reduce, each tile's exchanged while the next is computed.

    attention 0, projection 0 | attention 1, projection 1 | ...
                              | all_reduce 0              | all_reduce 1 | ...

FastAttention (arXiv 2410.16663, tiling-AllReduce) cuts attention and the projection after it into
tiles of queries, so that an all_reduce starts before all of attention is done; the mapper's own
tiles (mappers/overlap.py) are of the multiplication alone. A tile of an op takes

    launch + (seconds of the op - launch) * its share

the share being that of rows, of causal attention that of visible pairs: later tiles take longer.
The outermost memory serves both as in `sim.event.overlapped`, as long as the op keeps it busy; the
exchange is the rounds of the fastest algorithm for a tile's bytes.
Not modeled: tiles that are less efficient than the whole op, keys and weights that each tile reads
again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from math import ceil

from accel_models.collective_phases import phases
from accel_models.path import Path
from mappers.collective import collective_plan
from mappers.partition import StagePlan
from mappers.plan import Placed
from sim.event.engine import Engine
from sim.event.lower import programs_of
from sim.event.overlapped import exchange_beside, tile_by_tile
from sim.event.policies import PolicyError, Stretch
from sim.event.program import FINE, Actor, Channel, Program, Resource, Run, Use
from workloads.graph import Op
from workloads.ops import Attention, Collective, Einsum

NAME = "tiling_all_reduce"
PIECES = 16  # of a tile's op, between which the exchange gets the memory
CORES = "cores"
FIXED = ("launch", "access")


def tiling_all_reduce(
    plan: StagePlan, tiles: int = 4, before: int = 1, first: float = 1.0
) -> list[Stretch]:
    """Ops up to an all_reduce run in tiles of rows, and each tile's all_reduce while the next is
    computed: attention and the projection after it, the two halves of an MLP.

    Arguments: tiles, how many, at least 2; before, ops that are tiled together with the
    multiplication whose output is reduced; first, rows of the first tile for each row of
    another.

    Source: FastAttention, arXiv 2410.16663 (tiling-AllReduce).
    """
    if tiles < 2 or before < 0:
        raise PolicyError(f"{NAME}: {tiles} tiles and {before} ops before; at least 2 and 0")
    if first <= 0:
        raise PolicyError(f"{NAME}: first is {first:g}; it is a positive number of rows")
    weights = [first, *[1.0] * (tiles - 1)]
    found = [_stretch(block, plan, weights) for block in _blocks(plan, before)]
    if not found:
        raise PolicyError(
            f"{NAME}: no all_reduce follows a multiplication; split the model over chips: --tp 8"
        )
    return found


@dataclass(frozen=True)
class Block:
    """Ops one after the other, all copies of them, and the all_reduce of the last one's output;
    `names` of all."""

    ops: tuple[Placed, ...]
    reduce: Collective
    names: tuple[str, ...]


def _blocks(plan: StagePlan, before: int) -> Iterator[Block]:
    """Of the stage: a multiplication with the all_reduce after it, and ops before it that run as
    often. None shares an op with another."""
    placed, first = list(plan.schedule), 0
    for i, each in enumerate(placed):
        names: tuple[str, ...] = ()
        if each.plan.tiles:
            (reduce,) = each.fused
        else:
            reduce = placed[i + 1].op if i + 1 < len(placed) else each.op
            names = (reduce.name,)
        if not _reduces(reduce, each):
            continue
        assert isinstance(reduce, Collective)
        ops = tuple(op for op in placed[max(first, i - before) : i + 1] if op.count == each.count)
        yield Block(ops, reduce, (*(op.op.name for op in ops), *names))
        first = i + 1


def _reduces(op: Op, producer: Placed) -> bool:
    """Is it an all_reduce of what a multiplication has computed?"""
    if not isinstance(op, Collective) or not isinstance(producer.op, Einsum):
        return False
    summed = op.function == "all_reduce" and op.participants > 1
    return summed and op.inputs[0] == producer.op.output


def _stretch(block: Block, plan: StagePlan, weights: list[float]) -> Stretch:
    """In tiles of so many rows for each other's."""
    rows = _rows(block.ops[-1])
    shares = accumulate(weights, initial=0.0)
    cuts = [round(rows * share / sum(weights)) for share in shares]
    if len(set(cuts)) < len(cuts):
        what = f"{len(weights)} tiles" + (f", the first of {weights[0]:g}" * (weights[0] != 1))
        raise PolicyError(f"{NAME}: {block.ops[-1].op.name} has {rows} rows for {what}")
    path, dims = block.ops[-1].plan.path, plan.groups[block.reduce.group]
    computed, exchanged = list[list[Program]](), list[Program]()
    for begin, end in pairwise(cuts):
        computed.append([_tile(each, begin / rows, end / rows, path) for each in block.ops])
        part = _part(block.reduce, (end - begin) / rows)
        moving = Placed(part, 1, collective_plan(part, dims, path))
        rounds = phases(part.function, dims, part.bytes)
        exchanged.append(exchange_beside(moving, rounds, path.clock_hz, computed[-1]))
    return Stretch(block.names, block.ops[-1].count, tile_by_tile(computed, exchanged))


def _rows(placed: Placed) -> int:
    """Of the multiplication's output."""
    op = placed.op
    assert isinstance(op, Einsum)
    a, b, _ = op.operand_ranks()
    rows = 1
    for rank in a:
        rows *= op.ranks[rank] if rank not in b else 1
    return rows


def _part(op: Collective, share: float) -> Collective:
    return replace(op, bytes=ceil(op.bytes * share), elements=ceil(op.elements * share))


def _tile(placed: Placed, begin: float, end: float, path: Path) -> Program:
    """Of an op, its rows from one share to another."""
    fixed, seconds, memory_s = _alone(placed, path)
    share = _work(placed, end) - _work(placed, begin)
    clock = round(path.clock_hz) * FINE
    times = {path.levels[0].name: min(seconds, memory_s) * share, CORES: seconds * share}
    uses = [Use(name, ceil(s * clock / PIECES)) for name, s in times.items() if s]
    launch = Actor("launch", (Run(1, (Use("launch", ceil(fixed * clock)),) if fixed else ()),))
    compute = Actor("compute", (Run(PIECES, tuple(uses)),))
    names = [use.resource for actor in (launch, compute) for r in actor.cycle for use in r.uses]
    return Program(
        (launch, compute),
        (Channel("launch", "compute", produce=PIECES, kind="launch"),),
        tuple(Resource(name, clock) for name in names),
    )


def _alone(placed: Placed, path: Path) -> tuple[float, float, float]:
    """Seconds of launch, of the op without it, and of the outermost memory in these. Of a
    multiplication that the mapper has in tiles, those of all tiles; a launch of one."""
    costs = [each.cost for each, _ in placed.plan.tiles] or [placed.cost]
    fixed = [sum(float(cost.exposed[name]) for name in FIXED) for cost in costs]
    memory = sum(float(cost.work.busy.get(path.levels[0].name, 0.0)) for cost in costs)
    if not placed.plan.tiles:
        return fixed[0], float(placed.cost.latency_s) - fixed[0], memory
    seconds = (_by_events(each) for each, _ in placed.plan.tiles)
    return fixed[0], sum(seconds) - sum(fixed), memory


def _by_events(placed: Placed) -> float:
    """Seconds, alone."""
    return sum(Engine(program).run().seconds for program in programs_of(placed))


def _work(placed: Placed, share: float) -> float:
    """Share of the op's work that is in the first rows: of causal attention of long prompts, as
    many as there are pairs."""
    op = placed.op
    if not isinstance(op, Attention) or op.q_len == 1:
        return share
    rows = op.q_len * op.batch * share  # sequence after sequence
    whole, queries = divmod(round(rows), op.q_len)
    if not queries:
        return share
    first = replace(op, q_len=queries, kv_len=op.kv_len - op.q_len + queries, lengths=())
    if not op.causal:
        first = replace(first, kv_len=op.kv_len)
    alone = replace(op, lengths=())
    return (whole + first.visible_pairs / alone.visible_pairs) / op.batch
