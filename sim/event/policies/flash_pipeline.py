"""FlashAttention where a matrix and a vector engine exchange tiles through a shared memory.

    launch -> dispatch -> qk -> p -> [hand-over] -> pv -> gu -> tail
                          ^____ look-ahead credits ___|

    qk  scores of a tile          matrix      pv  probabilities times values     matrix
    p   softmax of the tile       vector      gu  rescale and add to the sums    vector

With the engines overlapping, qk runs up to `look_ahead` tiles before pv (FlashAttention-3,
arXiv 2407.08608, sec. 3: softmax of one tile beside the products of others); without, a tile
begins when the one before is through gu. Tiles are handed over `sync_every` at a time; a hand-over
holds the matrix engine for `sync` cycles, or delays the tiles only (flags that a queue of tiles
hides). With single buffers a stage moves, then computes; with more, both go on at once. Blocks of
queries are dealt to cores in waves; all cores of a wave do the same, so one is run, and the shared
memory moves what all of them ask for, those of the last wave fewer.
Tiles at the edges take as long as whole ones; everything lasts whole cycles, rounded up. Not
modeled: causal masks, the first touch of keys and values in DRAM, loading the queries, legality of
the buffers' sizes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from math import ceil

from sim.event.program import Actor, Channel, Program, Resource, Run, Use

STAGES = ("qk", "p", "pv", "gu")
RESOURCES = ("launch", "dispatch", "matrix", "vector", "matrix_move", "vector_move", "read",
             "write", "store")  # fmt: skip


@dataclass(frozen=True, slots=True)
class FlashSizes:
    """Queries, keys, heads; and the block of queries and the tile of keys that a core takes."""

    queries: int
    keys: int
    heads: int
    width: int
    tile_queries: int
    tile_keys: int

    @property
    def tiles(self) -> int:
        """Of one block."""
        return ceil(self.keys / self.tile_keys)

    @property
    def blocks(self) -> int:
        return self.heads * ceil(self.queries / self.tile_queries)

    @property
    def flop(self) -> int:
        """Of both products; softmax is not counted, as nobody does."""
        return 4 * self.queries * self.keys * self.heads * self.width


@dataclass(frozen=True, slots=True)
class Stage:
    """What one tile asks of one core, in its cycles: `service` with moving and computing at once,
    `hidden` the shorter of the two; the bytes read from and written to the shared memory; and
    cycles of what else all cores share, by name."""

    engine: str
    service: float
    hidden: float
    read: float
    written: float
    beside: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class FlashMachine:
    """Cycles of `clock_hz`; what the shared memory reads and writes in one of them."""

    clock_hz: int
    cores: int
    read_bytes: float
    written_bytes: float
    launch: float = 0.0
    dispatch: float = 0.0
    tail: float = 0.0
    sync: float = 0.0


@dataclass(frozen=True, slots=True)
class FlashKnobs:
    """The mechanisms. `sync_holds`: a hand-over stops the matrix engine."""

    overlap_engines: bool = True
    multi_buffer: bool = True
    look_ahead: int = 4
    sync_every: int = 1
    sync_holds: bool = True


def flash_program(
    sizes: FlashSizes, machine: FlashMachine, knobs: FlashKnobs, stages: dict[str, Stage]
) -> Program:
    """Of the core that has the most blocks. `stages` by name in STAGES. Raises ValueError for
    knobs that do not fit together."""
    _check(sizes, knobs)
    flash = _Flash(sizes, machine, knobs)
    names: list[str] = []
    actors = [*flash.start()]
    for name in STAGES:
        if name == "pv":
            actors.append(flash.hand_over())
            names.append("hand_over")
        mine = list(flash.stage(name, stages[name]))
        actors += mine
        names += [actor.name for actor in mine]
    actors.append(Actor("tail", (Run(flash.blocks, (flash.use("store", machine.tail),)),)))
    return Program(
        tuple(actors), tuple(flash.joins(names)), tuple(flash.resources(stages.values()))
    )


def together(*uses: Use) -> tuple[Use, ...]:
    """Of resources of one rate: the longest first, so that they end together if nothing waits."""
    return tuple(sorted(uses, key=lambda use: -use.amount))


def _check(sizes: FlashSizes, knobs: FlashKnobs) -> None:
    ahead = knobs.look_ahead if knobs.overlap_engines else 1
    if knobs.sync_every > ahead:
        raise ValueError(f"hands over {knobs.sync_every} tiles at once, but runs {ahead} ahead")
    if sizes.tiles % knobs.sync_every:
        raise ValueError(f"{sizes.tiles} tiles cannot be handed over {knobs.sync_every} at a time")


@dataclass(frozen=True)
class _Flash:
    """A program being put together."""

    sizes: FlashSizes
    machine: FlashMachine
    knobs: FlashKnobs

    @property
    def blocks(self) -> int:
        """Of the core that has the most."""
        return ceil(self.sizes.blocks / self.machine.cores)

    @property
    def waves(self) -> tuple[tuple[int, int], ...]:
        """(blocks, cores at work): whole waves, then the cores that are left over."""
        whole, rest = divmod(self.sizes.blocks, self.machine.cores)
        found = ((whole, self.machine.cores), (1, rest))
        return tuple((count, cores) for count, cores in found if count and cores)

    def use(self, resource: str, cycles: float, kind: str = "") -> Use:
        return Use(resource, ceil(cycles), kind)

    def resources(self, stages: Iterable[Stage]) -> Iterator[Resource]:
        beside = dict.fromkeys(name for stage in stages for name, _ in stage.beside)
        for name in (*RESOURCES, *beside):
            yield Resource(name, self.machine.clock_hz)

    def start(self) -> Iterator[Actor]:
        machine = self.machine
        yield Actor("launch", (Run(1, (self.use("launch", machine.launch),)),))
        yield Actor("dispatch", (Run(self.blocks, (self.use("dispatch", machine.dispatch),)),))

    def shared(self, stage: Stage, cores: int) -> tuple[Use, ...]:
        """The shared memory, for all cores at work."""
        machine = self.machine
        read = self.use("read", stage.read * cores / machine.read_bytes)
        write = self.use("write", stage.written * cores / machine.written_bytes)
        others = (self.use(name, cycles * cores) for name, cycles in stage.beside)
        return tuple(use for use in (read, write, *others) if use.amount)

    def stage(self, name: str, stage: Stage) -> Iterator[Actor]:
        """One actor that moves and computes at once, or one after the other with single buffers."""
        move = self.use(f"{stage.engine}_move", stage.hidden)
        compute = self.use(stage.engine, stage.service)
        runs, moves = [], []
        for blocks, cores in self.waves:
            tiles = blocks * self.sizes.tiles
            shared = self.shared(stage, cores)
            moves.append(Run(tiles, together(*shared, move)))
            runs.append(Run(tiles, together(*shared, move, compute)))
        if not self.knobs.multi_buffer:
            yield Actor(f"{name} move", tuple(moves))
            runs = [Run(run.count, (compute,)) for run in runs]
        yield Actor(name, tuple(runs))

    def hand_over(self) -> Actor:
        """From the vector engine to the matrix engine, several tiles at a time."""
        knobs, sync = self.knobs, self.machine.sync
        times = self.blocks * self.sizes.tiles // knobs.sync_every
        if knobs.sync_holds:
            return Actor("hand_over", (Run(times, (self.use("matrix", sync, "sync"),)),))
        return Actor("hand_over", (Run(times, latency=ceil(sync)),))

    def joins(self, names: list[str]) -> Iterator[Channel]:
        """Data from stage to stage, credits back."""
        tiles, knobs = self.sizes.tiles, self.knobs
        every, ahead = knobs.sync_every, knobs.look_ahead
        yield Channel("launch", "dispatch", self.blocks, 1, kind="launch")
        yield Channel("dispatch", names[0], tiles, 1, capacity=tiles, kind="launch")
        for source, target in pairwise(names):
            produce = every if source == "hand_over" else 1
            consume = every if target == "hand_over" else 1
            kind = "sync" if source == "hand_over" else "data"
            single = target == source.removesuffix(" move")
            yield Channel(source, target, produce, consume, 0, 1 if single else None, kind)
        if knobs.overlap_engines:
            yield Channel("pv", names[0], initial=ahead, kind="space")
            yield Channel("gu", "pv" if knobs.multi_buffer else "pv move", initial=ahead,
                          kind="space")  # fmt: skip
        else:
            yield Channel("gu", names[0], initial=1, kind="space")
        yield Channel("gu", "tail", consume=tiles)
