"""Layers whose weights come from a host's memory or flash while the layers before are computed.

    load layer i+1 (backing) | compute layer i          `buffers` layers have a place on the chip

ZeRO-Inference streams every layer (DeepSpeed Inference, arXiv 2207.00032, sec. 6): with L seconds
to load one and C to compute it, its throughput is that of the slower of both, C growing with the
batch. The program and its closed form: `offloaded`.
"""

from __future__ import annotations

from mappers.plan import Schedule
from sim.event.policies import Stretch
from sim.event.policies.offloaded import at_least, offloaded
from sim.event.policies.streamed import Places, streamed


def layer_streaming(schedule: Schedule, buffers: int = 2, passes: int = 1) -> list[Stretch]:
    """Layers fetch what lives in a backing memory while those before are computed, as far as there
    are places for them.

    Arguments: buffers, layers that have a place on the chip at once, at least 1; passes, steps one
    after the other of which the average is taken, at least 1.

    Source: ZeRO-Inference, DeepSpeed Inference, arXiv 2207.00032, sec. 6.
    """
    at_least(1, "layer_streaming", buffers=buffers, passes=passes)
    found = offloaded(schedule, "layer_streaming")
    program = streamed(found, Places(buffers, passes=passes))
    return [Stretch(found.ops, 1 / passes, program)]
