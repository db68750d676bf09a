"""A matrix multiplication in tiles, and the collective over each beside the next tile.

    compute 0 | compute 1  | compute 2 | ...
              | exchange 0 | exchange 1 | ...

Tiles are those that the mapper chose (mappers/overlap.py), each a program as if alone (`lower`),
each exchange the rounds of its algorithm (`collective`). Exchange i begins when tile i is stored
and exchange i-1 is over. Memory, power and the vector engine serve both: what one does on them, the
other waits for; exchanges go in pieces that hold the memory no longer than a tile's own loads do,
and are read at the pace of the port. Two kernels can be launched at a time. So, with c(i) and r(i)
alone,

    max(done(t), sum over all tiles of each resource's busy time) <= seconds <= sum of c(i) + r(i)

done as in mappers/overlap.py; the upper bound is that of resources which never idle together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from math import ceil

from accel_models.collective_phases import Phases
from mappers.plan import Placed
from sim.event.collective import Pieces, collective_program
from sim.event.compose import after, suffixed, together
from sim.event.lower import program_of
from sim.event.program import Channel, Program

MOST_PIECES = 64  # of a message: finer ones change nothing but the number of events
KERNELS = 2  # launched at a time: one that computes, one that exchanges

PhasesOf = Callable[[Placed], Phases]


def overlapped_program(placed: Placed, phases_of: PhasesOf) -> Program:
    """Of a plan with `tiles`; `phases_of` a collective's."""
    clock = max(each.plan.path.clock_hz for pair in placed.plan.tiles for each in pair)
    computed, exchanged = list[list[Program]](), list[Program]()
    for computing, moving in placed.plan.tiles:
        computed.append(list(_stages(computing, clock)))
        exchanged.append(exchange_beside(moving, phases_of(moving), clock, computed[-1]))
    return tile_by_tile(computed, exchanged)


def tile_by_tile(computed: list[list[Program]], exchanged: list[Program]) -> Program:
    """The programs of each tile, one after the other, and the exchange over it beside the next."""
    computed = [
        [suffixed(stage, f".{number}.{i}") for i, stage in enumerate(stages)]
        for number, stages in enumerate(computed)
    ]
    exchanged = [suffixed(each, f".{number}.exchange") for number, each in enumerate(exchanged)]
    joined = together(
        [*(stage for tile in computed for stage in tile), *exchanged],
        _joins(computed, exchanged),
    )
    resources = (
        replace(each, width=KERNELS) if each.name == "launch" else each for each in joined.resources
    )
    return replace(joined, resources=tuple(resources))


def exchange_beside(moving: Placed, phases: Phases, clock: float, beside: list[Program]) -> Program:
    """In pieces as fine as the memory is used beside it."""
    path = replace(moving.plan.path, clock_hz=clock)
    memory = path.levels[0].name
    grain = max(_longest(program, memory) for program in beside)
    whole = collective_program(moving.cost, phases, path)
    count = min(MOST_PIECES, ceil(_longest(whole, memory) / grain)) if grain else 1
    return collective_program(moving.cost, phases, path, Pieces(max(1, count)))


def _longest(program: Program, resource: str) -> int:
    """The most that a use asks of the resource."""
    uses = (use for actor in program.actors for run in actor.cycle for use in run.uses)
    return max((use.amount for use in uses if use.resource == resource), default=0)


def _stages(computing: Placed, clock: float) -> Iterator[Program]:
    """A tile's parts in sequence."""
    path = replace(computing.plan.path, clock_hz=clock)
    for cost in computing.cost.stages or (computing.cost,):
        yield program_of(cost, path)


def _joins(computed: list[list[Program]], exchanged: list[Program]) -> Iterator[Channel]:
    """Tile after tile, exchange after exchange, and each exchange after its tile."""
    for one, other in pairwise([stage for tile in computed for stage in tile]):
        yield after(one, other)
    for one, other in pairwise(exchanged):
        yield after(one, other)
    for tile, exchange in zip(computed, exchanged, strict=True):
        yield after(tile[-1], exchange)
