"""A ring of K layers on the chip: the place of a layer that is computed gets the one K ahead.

SE-MoE keeps K sections of layers' parameters on the device in a ring and the others on the host
(arXiv 2205.10034, ring memory offload). A step begins with the first K of n layers there, of the
step before, and its last loads are those of the step after. Layer i is computed once it is loaded
and layer i-1 is done, and loaded once the link is free and layer i-K is done:

    loaded(i) = max(loaded(i-1), done(i-K)) + L,    done(i) = max(done(i-1), loaded(i)) + C

until loaded(n+K-1). Of a long run a layer takes C + L with K = 1 and max(C, L) with more: nothing
waits if L <= C. Where layers differ, some of them resident say, longer rings let the link work on
while layers are computed that need none.
The program: `offloaded`.
"""

from __future__ import annotations

from mappers.plan import Schedule
from sim.event.policies import PolicyError, Stretch
from sim.event.policies.offloaded import at_least, offloaded
from sim.event.policies.streamed import Places, streamed


def ring_memory(schedule: Schedule, sections: int = 2, passes: int = 1) -> list[Stretch]:
    """A ring of `sections` layers on the chip, the first of which are there when a step begins; the
    place of a layer that is done is loaded with the one that many ahead.

    Arguments: sections, layers of the ring, at least 1 and at most all; passes, steps one after
    the other of which the average is taken, at least 1.

    Source: SE-MoE, arXiv 2205.10034 (ring memory offload).
    """
    at_least(1, "ring_memory", sections=sections, passes=passes)
    found = offloaded(schedule, "ring_memory")
    if sections > found.count:
        raise PolicyError(
            f"ring_memory: sections is {sections}, but there are {found.count} layers to go around"
        )
    program = streamed(found, Places(sections, sections, passes))
    return [Stretch(found.ops, 1 / passes, program)]
