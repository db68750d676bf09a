"""Reads in chunks at random places, of memories with a latency: flash, a host's memory.

device    min(peak, random (chunk / page)^x),  x = ln(peak / random) / ln(1 MiB / page): a power
          between two published points, single pages at random and the sequential peak, which chunks
          of 1 MiB are taken to reach
requests  so many wait at once: requests * chunk / (latency + chunk / peak)
The bandwidth is the smaller. Chunks move as whole pages.
Source of the form: LLM in a flash, arXiv 2312.11514, sec. 2 (throughput grows with chunk and
threads). Of its three figures for an M1 Max the model is given two and meets the third (32 KiB,
2.25 GB/s) within 2 % (tests/accel_models/test_chunked_reads.py).
Not modeled: range of the reads (random reads over a wide range are slower on UFS), garbage
collection, caches, writes by chunk, which core issues the requests.
"""

from __future__ import annotations

from math import ceil, log

SEQUENTIAL = 1 << 20  # bytes of a chunk that the device takes as sequential (guess)


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
