"""Neurons that a layer reads from flash when it knows which: computed with as they come.

LLM in a flash (arXiv 2312.11514) keeps attention in DRAM and loads of the feed-forward layers only
rows of neurons that are predicted active and were not active in the last tokens (a window), those
of a neuron in all matrices bundled into one chunk. What is loaded is the graph's, by transforms
(sparse_neurons, offload, load_neurons), and a chunk's bandwidth is the backing memory's
(accel_models/backing.py). The policy says when: after the layer's ops before the neurons' first,
in pieces, with the ops from there on pipelined with them. The program and its closed form:
`offloaded`.
Not modeled: moving rows within DRAM, which the paper measures beside (memory management).
"""

from __future__ import annotations

from mappers.plan import Schedule
from sim.event.policies import PolicyError, Stretch
from sim.event.policies.offloaded import at_least, offloaded
from sim.event.policies.streamed import Places, streamed


def flash_loading(schedule: Schedule, buffers: int = 2, passes: int = 1) -> list[Stretch]:
    """Layers fetch what they know late only (neurons, experts) once the ops before are done, and
    compute with it piece by piece as it comes; what is known a layer ahead as in layer_streaming.

    Arguments: buffers, layers that have a place on the chip for what is known ahead, at least 1;
    passes, steps one after the other of which the average is taken, at least 1.

    Source: LLM in a flash, arXiv 2312.11514, sec. 3.
    """
    at_least(1, "flash_loading", buffers=buffers, passes=passes)
    found = offloaded(schedule, "flash_loading")
    if not any(sum(layer.late.values()) for layer in found.layers):
        raise PolicyError(
            f"flash_loading: {schedule.graph.name} knows a layer ahead all that it fetches; load "
            "neurons: --apply 'sparse_neurons(...)+offload(...,overlap=no)+load_neurons(...)', or "
            "take layer_streaming"
        )
    program = streamed(found, Places(buffers, passes=passes, pipelined=True))
    return [Stretch(found.ops, 1 / passes, program)]
