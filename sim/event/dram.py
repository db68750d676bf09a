"""DRAM as the event engine sees it: one resource for all channels, and what an access asks of it.

Addresses are spread over the channels in chunks of `interleave` bytes. An access ends when the
channel with most of its chunks is through, so small ones reach few channels:

    chunks  = ceil(bytes / interleave)            of an access, the first at a chunk's start
    busiest = ceil(chunks / channels)             chunks of the busiest channel
    cycles  = busiest * chunk / (channel's bytes a cycle * share of runs)

and while it is served nothing else is (as if the others' channels waited). `share of runs`: of rows
and banks, `accel_models.dram.bandwidth_share` without refresh and turnaround, which happen here:
tRFC is lost every tREFI, and the bus turns for `turnaround` when reads follow writes or the other
way. Sources of timing: accel_models/dram.py.
Not modeled: accesses that overlap on different channels, refresh while idle, order within a queue.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from typing import Literal

from accel_models.dram import Dram, bandwidth_share
from accel_models.memory import Memory
from sim.event.program import Resource, Use

FINE = 1 << 10  # an amount is told in so many parts of a byte


@dataclass(frozen=True, slots=True)
class Channels:
    """Channels alike of one kind; `interleave`: bytes of a chunk."""

    name: str
    kind: Dram
    count: int
    interleave: int

    @property
    def clock_hz(self) -> int:
        """Of the command clock: two bits of a pin a cycle."""
        return round(self.kind.rate / 2)


def channels_of(name: str, memory: Memory, kind: Dram, interleave: int = 0) -> Channels:
    """As many channels as make the memory's bandwidth; chunks of its granularity, or of
    `interleave` bytes. Raises ValueError if the memory is no DRAM."""
    if memory.kind != "dram":
        raise ValueError(f"{name} is {memory.kind}, not dram")
    bandwidth = memory.bandwidth or memory.read_bandwidth
    if bandwidth is None or bandwidth.per_cycle:
        raise ValueError(f"{name}: bytes per second of DRAM do not depend on the design's clock")
    count = max(1, round(bandwidth.amount / kind.channel_bandwidth))
    return Channels(name, kind, count, interleave or ceil(memory.granularity))


def resource(channels: Channels) -> Resource:
    """All channels together, in cycles of their clock; amounts in parts of a byte."""
    timing, clock = channels.kind.timing, channels.clock_hz
    rate = Fraction(channels.kind.channel_bits, 8) * 2 * channels.count * FINE
    return Resource(
        channels.name,
        clock,
        rate,
        turnaround=_cycles(timing.turnaround, clock),
        refresh_every=round((timing.refi - timing.rfc) * clock),
        refresh_for=_cycles(timing.rfc, clock),
    )


def access(channels: Channels, amount: int, run_bytes: int, kind: Literal["read", "write"]) -> Use:
    """Of so many bytes in runs of `run_bytes` contiguous ones: what it asks of the resource."""
    per_run = ceil(min(run_bytes, amount) / channels.interleave)
    runs = ceil(amount / run_bytes)
    busiest = ceil(per_run * runs / channels.count)
    piece = min(run_bytes, amount, channels.interleave)
    chunk = channels.kind.granularity * ceil(piece / channels.kind.granularity)
    share = run_share(channels, ceil(per_run / channels.count) * piece)
    return Use(channels.name, ceil(busiest * chunk * channels.count * FINE / share), kind)


def run_share(channels: Channels, channel_run: int) -> float:
    """Share of a channel's bandwidth that rows and banks leave to runs of whole bursts of which it
    holds `channel_run` bytes."""
    kind = channels.kind
    whole = kind.granularity * ceil(channel_run / kind.granularity)
    refreshed = 1 - kind.timing.rfc / kind.timing.refi
    return min(1.0, bandwidth_share(kind, whole) / refreshed)


def _cycles(seconds: float, clock_hz: int) -> int:
    """Whole cycles, a millionth of one being rounding of floats."""
    return ceil(round(seconds * clock_hz, 6))
