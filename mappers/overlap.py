"""A matrix multiplication and the collective over its output: one after the other, or in tiles.

Tiling-AllReduce (FastAttention, arXiv 2410.16663): the multiplication in t tiles of equal size
(its rows, or its columns), so that the collective of tile i runs while tile i + 1 is computed:

    computed(i) = computed(i-1) + c(i)
    done(i)     = max(computed(i), done(i-1)) + r(i)
    latency     = max(done(t), sum over all tiles of each resource's busy time)

c and r are whole costs (mappers/cost.py) with launch and access latency of every tile, each tile
mapped anew; what both need, such as the outermost memory and the power, they share (the second
term). Energy: that of all tiles, static power for the latency. t is chosen by cost from TILES.
Only an all_reduce may be tiled: of the others, tiles would lie in another order.
Not modeled: tiles of unequal size to balance the first and the last, attention tiled together with
the projection, cores that the collective takes from the multiplication.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from math import ceil

from accel_models.collectives import Dims
from mappers.collective import collective_plan
from mappers.cost import FIXED, Cost, Traffic, Work, add_traffic
from mappers.plan import Placed, Plan
from mappers.search.found import OBJECTIVES
from workloads.graph import Graph, Node
from workloads.ops import Collective, Einsum

TILES = (2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
Tile = tuple[Cost, Cost]  # computing it, and the collective over it


@dataclass(frozen=True, slots=True)
class Pair:
    """A matrix multiplication as planned alone, the collective after it among chips joined by
    `dims`, and how to plan a tile: a graph of one op."""

    graph: Graph
    producer: Placed
    collective: Collective
    dims: Dims
    plan_graph: Callable[[Graph], Placed]

    def moved(self, op: Collective) -> Plan:
        """The collective, or one over a tile, on the cores of the multiplication."""
        return collective_plan(op, self.dims, self.producer.plan.path)


def overlapped(pair: Pair, objective: str) -> Placed | None:
    """The two as one op in the best number of tiles; None where one after the other is better."""
    alone = pair.moved(pair.collective)
    sequential = pipelined([(pair.producer.cost, alone.cost)])
    best, taken = _value(sequential, objective), None
    for rank, sizes in _tilings(pair):
        parts = {size: _part(pair, rank, size) for size in set(sizes)}
        collectives = {size: Placed(op, 1, pair.moved(op)) for size, op in parts.items()}
        times = [float(collectives[size].cost.latency_s) for size in sizes]
        if objective == "latency" and _at_least(pair, times) >= best[0]:
            continue
        computed = {size: pair.plan_graph(cut(pair, rank, size)) for size in set(sizes)}
        tiles = tuple((computed[size], collectives[size]) for size in sizes)
        cost = pipelined([(computing.cost, moving.cost) for computing, moving in tiles])
        if _value(cost, objective) < best:
            best = _value(cost, objective)
            taken = cost, tiles, f"{len(sizes)} tiles of {rank}"
    if taken is None:
        return None
    cost, tiles, how = taken
    each = tiles[0][0].plan
    plan = replace(
        each,
        cost=cost,
        tile=f"{each.tile}, {how}",
        mapping={"tiles": how, "each": each.mapping, "collective": alone.mapping},
        work=pair.producer.plan.work,
        variant="tiled",
        instead={"sequential": float(sequential.latency_s)},
        tiles=tiles,
    )
    return Placed(pair.producer.op, pair.producer.count, plan, (pair.collective,))


def pipelined(tiles: list[Tile]) -> Cost:
    """Tiles computed one after the other, each followed by its collective, by the formula above."""
    computed = done = 0.0
    before: list[Cost] = []  # computed so far
    waited: list[Cost] = []  # the chain that the last collective's end waited for
    for computing, moving in tiles:
        computed += computing.latency_s
        before.append(computing)
        waited = [*before, moving] if computed >= done else [*waited, moving]
        done = max(computed, done) + moving.latency_s
    costs = [cost for tile in tiles for cost in tile]
    busy = _sums(cost.work.busy for cost in costs)
    latency = max(done, *busy.values()) if len(tiles) > 1 else done
    joules = _sums(cost.work.joules for cost in costs)
    static = costs[0].joules["static"] / costs[0].latency_s * latency
    exposed = _sums({name: cost.exposed[name] for name in FIXED} for cost in waited)
    first, last = tiles[0][0], tiles[-1][1]
    ends = {"prologue": first, "epilogue": last}
    exposed |= {n: c.latency_s - sum(c.exposed[f] for f in FIXED) for n, c in ends.items()}
    exposed |= {"body": latency - sum(exposed.values()), "serial": 0.0}
    work = Work(
        busy,
        dict(first.work.busy),
        dict(last.work.busy),
        joules,
        _traffic(costs),
        launches=sum(cost.work.launches for cost in costs),
    )
    total = sum(joules.values()) + static
    return Cost(latency, total, work, exposed, joules | {"static": static})


def _sums(parts: Iterable[dict[str, float]]) -> dict[str, float]:
    total: dict[str, float] = {}
    for part in parts:
        for name, value in part.items():
            total[name] = total.get(name, 0.0) + value
    return total


def _traffic(costs: list[Cost]) -> Traffic:
    traffic: Traffic = {}
    for cost in costs:
        for level, operands in cost.work.traffic.items():
            for operand, (read, written) in operands.items():
                add_traffic(traffic, level, operand, read, written)
    return traffic


def _value(cost: Cost, objective: str) -> tuple[float, float]:
    first, second = OBJECTIVES[objective](cost)
    return float(first), float(second)


def _tilings(pair: Pair) -> Iterator[tuple[str, list[int]]]:
    """(rank, sizes of its tiles) worth a try: of rows or of columns, at least one of each."""
    op, placed = pair.collective, pair.producer
    if op.function != "all_reduce" or op.participants == 1 or placed.fused:
        return
    if not isinstance(placed.op, Einsum) or op.inputs[0] != placed.op.output:
        return
    a, b, c = (set(ranks) for ranks in placed.op.operand_ranks())
    for rank in sorted((a ^ b) & c):
        extent = placed.op.ranks[rank]
        for count in TILES:
            if count <= extent and _axes(pair, rank) is not None:
                whole, more = divmod(extent, count)
                yield rank, [whole + 1] * more + [whole] * (count - more)


def _axes(pair: Pair, rank: str) -> dict[str, int] | None:
    """Which axis of each operand the rank is; None where an operand's shape does not show it."""
    op = pair.producer.op
    assert isinstance(op, Einsum)
    found: dict[str, int] = {}
    names = (*op.inputs[:2], op.output)
    for name, ranks in zip(names, op.operand_ranks(), strict=True):
        shape = pair.graph.tensors[name].shape
        if shape != tuple(op.ranks[r] for r in ranks):
            return None
        if rank in ranks:
            found[name] = ranks.index(rank)
    if len(op.inputs) == 3 and rank == op.operand_ranks()[2][-1]:
        found[op.inputs[2]] = len(pair.graph.tensors[op.inputs[2]].shape) - 1
    return found


def cut(pair: Pair, rank: str, size: int) -> Graph:
    """A graph of the multiplication alone, with so much of the rank."""
    op, graph = pair.producer.op, pair.graph
    assert isinstance(op, Einsum)
    axes = _axes(pair, rank) or {}
    tensors = {name: graph.tensors[name] for name in (*op.inputs, op.output)}
    for name, axis in axes.items():
        shape = tensors[name].shape
        shape = (*shape[:axis], size, *shape[axis + 1 :])
        tensors[name] = replace(tensors[name], shape=shape)
    tile = replace(op, ranks={**op.ranks, rank: size})
    return replace(graph, nodes=(Node(tile, 1),), tensors=tensors)


def _part(pair: Pair, rank: str, size: int) -> Collective:
    """The collective over a tile."""
    op = pair.collective
    assert isinstance(pair.producer.op, Einsum)
    extent = pair.producer.op.ranks[rank]
    return replace(
        op, bytes=ceil(op.bytes * size / extent), elements=ceil(op.elements * size / extent)
    )


def _at_least(pair: Pair, times: list[float]) -> float:
    """No tiling with these times of its collectives takes less: they follow one another, and so do
    the tiles, which launch each and compute no faster than at the engine's peak."""
    plan = pair.producer.plan
    fixed = plan.cost.exposed["launch"] + plan.cost.exposed["access"]
    peak = plan.work / plan.peak_per_s if plan.peak_per_s else 0.0
    return max(fixed + sum(times), len(times) * fixed + peak + times[-1])
