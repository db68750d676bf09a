"""Memories behind the chip's own: a host's DRAM over PCIe, an SSD, a phone's flash.

No core reads them. What lives there is copied to the chip's outermost memory before it is used, in
chunks:

read     sum over chunk sizes c of bytes(c) / bandwidth(c), and the latency once
         bandwidth(c) = min(reached, requests * m / (latency + m / peak)) * c / m
         m = c in whole granules; peak = bandwidth * efficiency
         reached = peak, or, where `random_bandwidth` states what single granules at random places
         reach, the power of m between that and the peak at 1 MiB (chunked_reads.py)
write    bytes / (write bandwidth * efficiency): queued behind one another, no latency
Reads and writes take turns on one `bandwidth`, and pass each other on two (full duplex).
Source of the form: LLM in a flash, arXiv 2312.11514, sec. 2; PCIe as one that has no random rate.
Not modeled: pageable host memory, NUMA, other users of the host's memory or of the link, several
chips behind one switch, wear and garbage collection, a flash page's write amplification.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from typing import Any, Literal

from pydantic import Field, model_validator

from accel_models.chunked_reads import in_chunks
from accel_models.facts import Count, Facts, Fraction
from accel_models.memory import one_way_of_giving_bandwidth
from accel_models.quantity import Bytes, BytesPerSecond, JoulesPerBit, Seconds


class Backing(Facts):
    """One such memory with the link to it; figures are those of the slower of the two."""

    kind: Literal["dram", "flash"]
    capacity: Bytes
    bandwidth: BytesPerSecond | None = Field(default=None, description="reads and writes together")
    read_bandwidth: BytesPerSecond | None = Field(default=None, description="towards the chip")
    write_bandwidth: BytesPerSecond | None = None
    efficiency: Fraction = Field(description="achievable share of the bandwidth in long chunks")
    random_bandwidth: BytesPerSecond | None = Field(
        default=None, description="of reads of single granules at random places, if less"
    )
    requests: Count = Field(description="chunks that are on the way at once")
    latency: Seconds = Field(description="of one granule read alone, its request included")
    granularity: Bytes = Field(description="smallest transfer")
    energy: JoulesPerBit = Field(description="per bit read, the link's included")
    write_energy: JoulesPerBit | None = Field(default=None, description="if not as a read")

    @model_validator(mode="before")
    @classmethod
    def _one_way_of_giving_bandwidth(cls, data: Any) -> Any:
        return one_way_of_giving_bandwidth(data)

    def peaks(self, clock: float) -> tuple[float, float]:
        """Achievable bytes/s of long reads and writes."""
        read, write = self.bandwidth or self.read_bandwidth, self.bandwidth or self.write_bandwidth
        assert read is not None  # one way of giving bandwidth
        assert write is not None
        return tuple(  # type: ignore[return-value]
            way.bytes_per_second(clock) * self.efficiency for way in (read, write)
        )

    def read_bytes_per_s(self, chunk: float, clock: float) -> float:
        """Useful bytes/s of reads of this size."""
        peak = self.peaks(clock)[0]
        random = self.random_bandwidth
        slowest = peak if random is None else min(peak, random.bytes_per_second(clock))
        device = (peak, slowest, self.latency)
        return in_chunks(chunk, self.granularity, device, self.requests)

    def moved(self, size: float, chunk: float) -> float:
        """Bytes that pass for `size` useful ones in chunks, in whole granules."""
        return size * ceil(chunk / self.granularity) * self.granularity / chunk

    def seconds(self, read: Mapping[float, float], written: float, clock: float) -> float:
        """Time to read these bytes, by chunk size, and to write so many."""
        reads = [n / self.read_bytes_per_s(chunk, clock) for chunk, n in read.items() if n]
        loads = sum(reads) + (self.latency if reads else 0.0)
        stores = written / self.peaks(clock)[1]
        return loads + stores if self.bandwidth is not None else max(loads, stores)

    def joules(self, moved: float, written: float) -> float:
        """Energy of these bytes."""
        write = self.energy if self.write_energy is None else self.write_energy
        return 8 * (moved * self.energy + written * write)
