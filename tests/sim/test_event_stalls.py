"""What a resource without work is said to wait for, by hand."""

from __future__ import annotations

import pytest

from sim.event.engine import Engine
from sim.event.program import Actor, Channel, Program, Resource, Run, Use

GHZ = 10**9


def through_two_memories(count: int, outer: int) -> Program:
    """Tiles stream through dram into sram, where there is room for one; computing takes 10."""
    return Program(
        (
            Actor("load", (Run(count, (Use("dram", outer), Use("sram", 2))),)),
            Actor("compute", (Run(count, (Use("matrix", 10),)),)),
        ),
        (Channel("load", "compute", capacity=1),),
        (Resource("dram", GHZ), Resource("sram", GHZ), Resource("matrix", GHZ)),
    )


@pytest.mark.parametrize("fold", [True, False])
@pytest.mark.parametrize("count", [3, 400])
def test_a_later_use_waits_for_what_its_firing_waited_for(count: int, fold: bool):
    """Loads at 0, 12, 24 ...: sram's next tile waits for room until then, not for data."""
    counters = Engine(through_two_memories(count, 2), fold).run().counters
    assert counters["dram"].waited == {"space": 10 * (count - 1)}
    assert counters["sram"].waited == {"space": 10 * (count - 1)}
    assert counters["matrix"].waited == {"data": 2 * count}


@pytest.mark.parametrize("fold", [True, False])
@pytest.mark.parametrize("count", [3, 400])
def test_and_then_for_the_use_before_it(count: int, fold: bool):
    """Loads at 0, 16, 32 ...: dram takes 6, so that sram's 2 begin 4 after it."""
    counters = Engine(through_two_memories(count, 6), fold).run().counters
    assert counters["dram"].waited == {"space": 10 * (count - 1)}
    assert counters["sram"].waited == {"data": 4 * count, "space": 10 * (count - 1)}
