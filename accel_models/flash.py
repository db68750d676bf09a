"""Flash storage: read bandwidth by chunk size and threads.

device   min(peak, random_4k (chunk / 4 KiB)^x),  x = ln(peak / random_4k) / ln(1 MiB / 4 KiB):
         a power between two published points, 4 KiB at random and the sequential peak, which
         chunks of 1 MiB are taken to reach
threads  each has one request waiting: threads * chunk / (latency + chunk / peak)
The bandwidth is the smaller. Chunks move as whole 4 KiB pages.
Source of the form: LLM in a flash, arXiv 2312.11514, sec. 2 (throughput grows with chunk and
threads). Of its three figures for an M1 Max the model is given two and meets the third (32 KiB,
2.25 GB/s) within 2 %. PowerInfer-2's UFS 4.0 figures are recalled ones: never a gate.
Not modeled: range of the reads (random reads over a wide range are slower on UFS), garbage
collection, caches, writes by chunk, which core issues the requests.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, log

PAGE = 4096
SEQUENTIAL = 1 << 20  # bytes of a chunk that the device takes as sequential (guess)
THREADS = 32


@dataclass(frozen=True, slots=True)
class Flash:
    """Bandwidths in bytes/s. `latency`: of one page read alone, s. `energy`: J per bit read."""

    peak_read: float
    peak_write: float
    random_4k: float
    latency: float
    energy: float
    source: str


_NVME_ENERGY = "energy guess ±50%: 6 to 8 W at the peak"
KINDS: dict[str, Flash] = {
    "ufs3.1": Flash(
        2.1e9,
        1.2e9,
        0.41e9,
        110e-6,
        60e-12,
        "recalled ±20%: Samsung eUFS 3.1 512 GB (2100 and 1200 MB/s, 100 000 random reads/s); "
        "latency and energy guess ±50%",
    ),
    "ufs4.0": Flash(
        4.2e9,
        2.8e9,
        1.0e9,
        100e-6,
        50e-12,
        "recalled ±20%: Samsung UFS 4.0 (4200 and 2800 MB/s, 6 MB/s per mA); 1 GB/s at random: "
        "PowerInfer-2; latency guess ±50%",
    ),
    "nvme_m1_max": Flash(
        6.1e9,
        5.0e9,
        1.25e9,
        100e-6,
        80e-12,
        "paper ±15%: LLM in a flash, arXiv 2312.11514 (quoted: 6.1 GB/s sequential, 1.25 at 4 KiB);"
        f" write and latency guess ±50%; {_NVME_ENERGY}",
    ),
    "nvme_pcie4": Flash(
        7.4e9,
        6.9e9,
        5.7e9,
        45e-6,
        100e-12,
        "recalled ±20%: Samsung 990 PRO (7450 and 6900 MB/s, 1.4 M random reads/s at depth 32 of "
        f"16 threads, 22 000 alone); {_NVME_ENERGY}",
    ),
}


def read_bandwidth(flash: Flash, chunk_bytes: float, threads: int = THREADS) -> float:
    """Useful bytes/s of reads of `chunk_bytes` at random places. Raises ValueError."""
    if chunk_bytes <= 0 or threads < 1:
        raise ValueError(f"chunks of {chunk_bytes:g} bytes, {threads} threads")
    device = (flash.peak_read, flash.random_4k, flash.latency)
    return in_chunks(chunk_bytes, PAGE, device, threads)


def in_chunks(
    chunk_bytes: float, page: float, device: tuple[float, float, float], requests: int
) -> float:
    """Useful bytes/s by the formulas above. `device`: its peak, its rate in single pages at random
    (the peak, where places do not matter), both bytes/s, and its latency in s."""
    peak, random, latency = device
    moved = ceil(chunk_bytes / page) * page
    reached = peak
    if random < peak and page < SEQUENTIAL:
        exponent = log(peak / random) / log(SEQUENTIAL / page)
        reached = min(peak, random * (moved / page) ** exponent)
    asked = requests * moved / (latency + moved / peak)
    return min(reached, asked) * chunk_bytes / moved


def read_s(flash: Flash, total_bytes: float, chunk_bytes: float, threads: int = THREADS) -> float:
    """Time to read a total in chunks, the latency of the first one included."""
    return flash.latency + total_bytes / read_bandwidth(flash, chunk_bytes, threads)
