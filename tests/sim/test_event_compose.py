"""Programs made of programs."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest

from sim.event.compose import after, suffixed, together
from sim.event.engine import Engine
from sim.event.program import Actor, Channel, Program, Resource, Run, Use


def work(count: int, ticks: int, **more: int) -> Program:
    """Launched once, then so many uses."""
    actors = (Actor("launch", (Run(1),)), Actor("work", (Run(count, (Use("core", ticks),)),)))
    begins = Channel("launch", "work", produce=count)
    return Program(actors, (begins,), (Resource("core", 1000, **more),))


def test_one_begins_when_the_other_is_over():
    """Two of 3 x 5 ticks share a core; the second's launch waits for all of the first."""
    one, other = suffixed(work(3, 5), ".a"), suffixed(work(3, 5), ".b")
    joined = together([one, other], [after(one, other)])
    assert [actor.name for actor in joined.actors] == ["launch.a", "work.a", "launch.b", "work.b"]
    (core,) = joined.resources
    assert core == Resource("core", 1000)
    assert joined.channels[-1].consume == 3
    timeline = Engine(joined).run()
    assert timeline.ticks == 30
    assert [job.actor for job in timeline.jobs] == ["work.a"] * 3 + ["work.b"] * 3


def test_a_resource_of_several_loses_the_most():
    joined = together([suffixed(work(1, 1, turnaround=n), f".{n}") for n in (2, 7, 0)])
    assert joined.resources == (Resource("core", 1000, turnaround=7),)


def test_clocks_and_rates_are_the_same():
    one = work(1, 1)
    for other in (Resource("core", 999), Resource("core", 1000, Fraction(2))):
        with pytest.raises(ValueError, match="'core' is not the same in all programs"):
            together([one, suffixed(replace(one, resources=(other,)), ".b")])
