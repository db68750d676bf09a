"""DRAM as the event engine sees it: one resource for all channels, and what an access asks of it.

Addresses are spread over the channels in chunks of `interleave` bytes. An access ends when the
channel with most of its chunks is through, so small ones reach few channels:

    chunks  = ceil(bytes / interleave)            of an access, the first at a chunk's start
    busiest = ceil(chunks / channels)             chunks of the busiest channel
    cycles  = busiest * chunk / (channel's bytes a cycle * share of runs)

and while it is served nothing else is (as if the others' channels waited). `share of runs`: of rows
and banks, `accel_models.dram.bandwidth_share` without refresh and turnaround, which happen here:
tRFC is lost every tREFI, and the bus turns for half of `turnaround`, which is that of a batch of
writes among reads, when reads follow writes or the other way. Sources of timing:
accel_models/dram.py.

An op of a design whose memory names its `device` (`sim.event.lower`) states no accesses but seconds
T at the design's efficiency e, in which refresh is contained. So it moves data for (1 - f) T and is
refreshed for f T:

    f = min(tRFC / tREFI, 1 - e)        (refresh per bank, or a stated e above 1 - tRFC / tREFI,
                                         leaves less of it)

and turns of the bus come on top, each half of `turnaround`, or of the share that a store shorter
than a batch of writes (`accel_models.dram.BATCH`) has of it.
Not modeled: accesses that overlap on different channels, refresh while idle, order within a queue.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, isqrt, log
from typing import Literal

from accel_models.dram import BATCH, KINDS, Dram, bandwidth_share
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
        turnaround=_cycles(timing.turnaround / 2, clock),
        refresh_every=round((timing.refi - timing.rfc) * clock),
        refresh_for=_cycles(timing.rfc, clock),
    )


@dataclass(frozen=True, slots=True)
class Losses:
    """What a memory's device takes: the share of its time that refresh is, seconds from one refresh
    to the next, of a turn of the bus, and of a batch of writes."""

    refresh: float
    interval_s: float
    turn_s: float
    batch_s: float

    def turn(self, store_s: float) -> float:
        """Seconds of a turn to or from stores that take so long; of shorter ones than a batch the
        controller gathers several before it turns, and each pays its share."""
        return self.turn_s * min(1.0, store_s / self.batch_s)


def losses_of(memory: Memory) -> Losses | None:
    """Of DRAM whose device is known. Reads and writes with ports of their own do not turn."""
    if memory.device is None:
        return None
    kind = KINDS[memory.device]
    timing, burst_s = kind.timing, kind.granularity / kind.channel_bandwidth
    refresh = min(timing.rfc / timing.refi, 1 - memory.efficiency)
    turn = timing.turnaround / 2 if memory.bandwidth else 0.0
    return Losses(refresh, timing.refi, turn, BATCH * burst_s)


@dataclass(frozen=True, slots=True)
class Devices:
    """What the memories of a design lose whose devices it names."""

    losses: Mapping[str, Losses]

    def of(self, resource: str) -> Losses | None:
        """Of a resource, whichever core's."""
        return self.losses.get(resource.partition(".")[0])

    def turn_s(self, resource: str, store_s: float) -> float:
        """Seconds of a turn of its bus to or from stores that take so long."""
        losses = self.of(resource)
        return losses.turn(store_s) if losses else 0.0

    def loads_between(self, seconds: Mapping[str, float], parts: int) -> int:
        """Of a result's `parts` loads, those from one refresh to the next; seconds of one load by
        resource."""
        found = [
            loads_between(losses.interval_s / seconds[name], parts)
            for name, losses in self.losses.items()
            if losses.refresh and seconds.get(name)
        ]
        return min(found, default=1)

    def moved(self, uses: tuple[Use, ...], kind: str) -> tuple[Use, ...]:
        """The uses with their kind, without the refresh that is contained in them."""
        return self.refreshed(uses, kind, 0)

    def refreshed(self, uses: tuple[Use, ...], kind: str, each: int = 1) -> tuple[Use, ...]:
        """The same, with the refresh for so many."""
        return tuple(self._apart(use, kind, each) for use in uses)

    def _apart(self, use: Use, kind: str, each: int) -> Use:
        losses = self.of(use.resource)
        if losses is None:
            return use
        refresh = ceil(use.amount * losses.refresh * each)
        moved = ceil(use.amount * (1 - losses.refresh))
        return Use(use.resource, moved + refresh, kind, refresh)


def devices_of(memories: Mapping[str, Memory]) -> Devices:
    """Of those that name their device."""
    found = {name: losses_of(memory) for name, memory in memories.items()}
    return Devices({name: losses for name, losses in found.items() if losses})


def loads_between(wanted: float, parts: int) -> int:
    """Of the numbers that divide a result's `parts` loads, the nearest to how many there should be
    from one refresh to the next, so that the program has a steady state; a refresh is as much
    longer or shorter."""
    small = [n for n in range(1, isqrt(parts) + 1) if parts % n == 0]
    return min((*small, *(parts // n for n in small)), key=lambda n: (abs(log(n / wanted)), n))


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
