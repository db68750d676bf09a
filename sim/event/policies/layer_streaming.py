"""Layers whose weights come from a host's memory or flash while the layer before is computed.

    load layer i+1 (backing) | compute layer i          `buffers` layers have a place on the chip

ZeRO-Inference streams every layer (DeepSpeed Inference, arXiv 2207.00032): n layers of
L seconds to load and C to compute take L + (n-1) max(L, C) + C with two buffers or more, n (L + C)
with one. Of a pass (a token, or a prompt) the first `resident` layers stay on the chip.

LLM in a flash (arXiv 2312.11514) loads of the feed-forward layers only rows of neurons that are
active and were not in the last tokens' window:

    share of neurons loaded = a (1 - a)^k     a active, window of k tokens, if activity is
                                              independent between tokens (it clusters: sec. 3.1)
    chunk = row bytes, twice that where the up row and the down column of a neuron lie together

and a chunk's bandwidth is the backing memory's (accel_models/backing.py). Not modeled: deciding
which neurons, moving rows within DRAM, writes.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from accel_models.backing import Backing
from sim.event.program import Actor, Channel, Program, Resource, Run, Use

NANOSECONDS = 10**9  # ticks a second


@dataclass(frozen=True, slots=True)
class Layers:
    """Equal layers, in a pass; bytes to load in chunks of so many, and seconds to compute."""

    count: int
    bytes: float
    chunk: float
    compute_s: float
    resident: int = 0


def layer_streaming(
    layers: Layers, backing: Backing, clock_hz: float, passes: int = 1, buffers: int = 2
) -> Program:
    """All passes over all layers. Raises ValueError for more resident layers than there are."""
    streamed = layers.count - layers.resident
    if streamed < 0:
        raise ValueError(f"{layers.resident} resident layers of {layers.count}")
    seconds = backing.seconds({layers.chunk: layers.bytes}, 0.0, clock_hz)
    load = Use("backing", ceil(seconds * NANOSECONDS), "read")
    compute = Use("chip", round(layers.compute_s * NANOSECONDS))
    loads = (Run(layers.resident), Run(streamed, (load,)))
    return Program(
        (
            Actor("load", tuple(run for run in loads if run.count), passes),
            Actor("compute", (Run(layers.count, (compute,)),), passes),
        ),
        (Channel("load", "compute", capacity=buffers),),
        (Resource("backing", NANOSECONDS), Resource("chip", NANOSECONDS)),
    )


def windowed_bytes(neuron_bytes: float, active: float, window: int) -> float:
    """Of the feed-forward layers' `neuron_bytes`, those that a token loads."""
    return neuron_bytes * active * (1.0 - active) ** window


def chunk_bytes(row_bytes: float, bundled: bool) -> float:
    """Of one read."""
    return 2 * row_bytes if bundled else row_bytes
