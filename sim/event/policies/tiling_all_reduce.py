"""Tiles of compute, each tile's all-reduce on the links while the next one is computed.

    compute tile 1 | compute tile 2 | ...
                   | 2(n-1) ring steps of tile 1 | of tile 2 | ...

One chip's tile is reduced in a ring of n chips: n-1 steps of reduce-scatter and n-1 of all-gather,
each with bytes/n on the chip's outgoing link, each after the neighbor's chunk of the step before
has arrived (Patarasuk and Yuan, "Bandwidth optimal all-reduce algorithms", JPDC 69(2), 2009). With
c seconds of compute and r of all-reduce a tile, t tiles take

    t c + r if c >= r (only the last is exposed), else c + t r

FastAttention (arXiv 2410.16663) does this for attention and the projection after it. Chips that do
the same are one (`apart`: each is run). Not modeled: adding up the chunks, memory traffic of the
links, several rings at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from sim.event.program import Actor, Channel, Program, Resource, Run, Use

NANOSECONDS = 10**9  # ticks a second


@dataclass(frozen=True, slots=True)
class Ring:
    """Chips in a ring; `latency_s` from the end of sending to arrival."""

    chips: int
    bytes_per_s: int
    latency_s: float

    @property
    def steps(self) -> int:
        """Of one all-reduce."""
        return 2 * (self.chips - 1)


@dataclass(frozen=True, slots=True)
class Tiles:
    """Equal tiles of work: seconds of compute and bytes to be reduced of each."""

    count: int
    compute_s: float
    bytes: int


def tiling_all_reduce(tiles: Tiles, ring: Ring, apart: bool = False) -> Program:
    """Of one chip, or of all of them. Raises ValueError for a ring of one, and for bytes that the
    chips cannot share."""
    if ring.chips < 2 or tiles.bytes % ring.chips:
        raise ValueError(f"{tiles.bytes} bytes cannot go around {ring.chips} chips in equal parts")
    chips = range(ring.chips if apart else 1)
    rate = Fraction(ring.bytes_per_s, NANOSECONDS)
    actors = [actor for chip in chips for actor in _chip(tiles, ring, chip)]
    channels = [
        channel
        for chip in chips
        for channel in (
            Channel(f"compute {chip}", f"reduce {chip}", produce=ring.steps),
            Channel(f"reduce {chip}", f"reduce {(chip + 1) % len(chips)}", initial=1),
        )
    ]
    resources = [
        resource
        for chip in chips
        for resource in (
            Resource(f"core {chip}", NANOSECONDS),
            Resource(f"link {chip}", NANOSECONDS, rate),
        )
    ]
    return Program(tuple(actors), tuple(channels), tuple(resources))


def _chip(tiles: Tiles, ring: Ring, chip: int) -> Iterator[Actor]:
    """Its compute, and its sending."""
    compute = Use(f"core {chip}", round(tiles.compute_s * NANOSECONDS))
    send = Use(f"link {chip}", tiles.bytes // ring.chips)
    latency = round(ring.latency_s * NANOSECONDS)
    yield Actor(f"compute {chip}", (Run(tiles.count, (compute,)),))
    yield Actor(f"reduce {chip}", (Run(tiles.count * ring.steps, (send,), latency),))
