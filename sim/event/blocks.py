"""A tiled matrix product as blocks of threads on multiprocessors, as a program.

A block computes a tile of C[m,n]: k / tile_k steps, each with a tile of A and one of B brought from
L2 (`stages` tiles held), read from shared memory as fragments of one instruction's depth (two held)
and multiplied. Its warps stand on the core's engines side by side, alike; the `blocks_per_core`
blocks of a core take turns instruction by instruction (loose round robin). The block's tile of C
is stored, then the next block takes its place. All cores do the same: one stands for all, what they
share does a core's part.

    sectors = blocks * (k / tile_k * (tile_m + tile_n) * tile_k + tile_m * tile_n) * bytes / sector
    engine  = blocks / cores * k / tile_k * instructions of a warp's step * repeat * issue

DRAM moves A, B and C once each, spread evenly over the loads and stores (larger caches than all of
them). Not modeled: hits in L1, bank conflicts, issue slots of other instructions, register reads,
waiting in L2's and DRAM's queues beyond their service, cores with unequal numbers of blocks.
Source of the form: CUTLASS's efficient GEMM document (tiles, warps, instructions, stages).
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import ceil, prod

from sim.event.program import Actor, Channel, Program, Resource, Run, Use

Size = tuple[int, int, int]  # m, n, k
PARTS = 1 << 10  # DRAM's work is told in so many parts of a byte


@dataclass(frozen=True)
class TiledMatmul:
    """The product, its tiling and the machine; rates a cycle of `clock_hz`, latencies in cycles."""

    problem: Size
    tile: Size
    warp: Size
    instruction: Size
    repeat: int
    element_bytes: int
    stages: int
    blocks_per_core: int
    cores: int
    clock_hz: int
    engines: int
    issue_cycles: int
    engine_latency: int
    launch_cycles: int
    sector_bytes: int
    core_sectors_per_cycle: int
    l2_sectors_per_cycle: int
    dram_bytes_per_cycle: int
    shared_bytes_per_cycle: int
    shared_latency: int
    load_latency: int

    @property
    def blocks(self) -> int:
        return prod(ceil(self.problem[i] / self.tile[i]) for i in (0, 1))

    @property
    def steps(self) -> int:
        """Of a block."""
        return ceil(self.problem[2] / self.tile[2])

    @property
    def groups(self) -> int:
        """Fragments of a step, one instruction deep."""
        return self.tile[2] // self.instruction[2]

    @property
    def issues(self) -> int:
        """Instructions of a fragment on each engine."""
        warps = prod(self.tile[i] // self.warp[i] for i in (0, 1))
        each = prod(self.warp[i] // self.instruction[i] for i in (0, 1))
        return ceil(warps / self.engines) * each * self.repeat

    def sectors(self, elements: int) -> int:
        """That so many contiguous elements take."""
        return ceil(elements * self.element_bytes / self.sector_bytes)

    @property
    def load_sectors(self) -> int:
        """Of a step."""
        m, n, k = self.tile
        return self.sectors(m * k) + self.sectors(n * k)

    @property
    def store_sectors(self) -> int:
        """Of a block."""
        return self.sectors(self.tile[0] * self.tile[1])


def blocks_program(work: TiledMatmul) -> Program:
    """One core's share."""
    clock = work.clock_hz
    resources = (
        Resource("launch", clock),
        Resource("engine", clock),
        Resource("shared", clock, Fraction(work.shared_bytes_per_cycle)),
        Resource("core port", clock, Fraction(work.core_sectors_per_cycle)),
        Resource("l2", clock, Fraction(work.l2_sectors_per_cycle, work.cores)),
        Resource("dram", clock, Fraction(work.dram_bytes_per_cycle * PARTS, work.cores)),
    )
    actors = [Actor("launch", (Run(1, (Use("launch", work.launch_cycles),)),))]
    channels = list[Channel]()
    for place in range(work.blocks_per_core):
        mine, joins = _place(work, place)
        actors += mine
        channels += joins
    return Program(tuple(actors), tuple(channels), resources)


def _place(work: TiledMatmul, place: int) -> tuple[list[Actor], list[Channel]]:
    """Block after block where one at a time has its place on the core."""
    blocks = ceil(work.blocks / work.cores / work.blocks_per_core)
    steps, groups, issues = work.steps, work.groups, work.issues
    m, n, _ = work.tile
    fragment = m * (n // work.warp[1]) + n * (m // work.warp[0])  # rows and columns of all warps
    read = fragment * work.instruction[2] * work.element_bytes
    start, load, fetch, multiply, store = (
        f"{name}.{place}" for name in ("start", "load", "fetch", "multiply", "store")
    )
    last = Run(1, (Use("engine", work.issue_cycles),), work.engine_latency - work.issue_cycles)
    actors = [
        Actor(start, (Run(blocks),)),
        Actor(load, (Run(steps * blocks, _moved(work, work.load_sectors), work.load_latency),)),
        Actor(fetch, (Run(groups * steps * blocks, (Use("shared", read),), work.shared_latency),)),
        Actor(multiply, (Run(issues * groups * steps * blocks, last.uses, last.latency),)),
        Actor(store, (Run(blocks, _moved(work, work.store_sectors)),)),
    ]
    channels = [
        Channel("launch", start, blocks, 1, kind="launch"),
        Channel(store, start, initial=1, kind="space"),
        Channel(start, load, steps, 1, kind="launch"),
        Channel(load, fetch, groups, 1, capacity=groups * work.stages),
        Channel(fetch, multiply, issues, 1, capacity=2 * issues),
        Channel(multiply, store, 1, issues * groups * steps),
    ]
    return actors, channels


def _moved(work: TiledMatmul, sectors: int) -> tuple[Use, ...]:
    """Sectors through DRAM, L2 and the core's port; DRAM's part of them."""
    m, n, k = work.problem
    once = (m * k + k * n + m * n) * work.element_bytes
    share = Fraction(once, all_sectors(work)) * sectors
    return Use("dram", ceil(share * PARTS)), Use("l2", sectors), Use("core port", sectors)


def all_sectors(work: TiledMatmul) -> int:
    """Sectors that all blocks load and store."""
    return work.blocks * (work.steps * work.load_sectors + work.store_sectors)
