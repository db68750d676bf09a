"""Token buckets by hand: what is spent first, what fills, periods leapt over while they last."""

from __future__ import annotations

from fractions import Fraction

import pytest

from sim.event.engine import Engine
from sim.event.program import Actor, Channel, Program, Resource, Run, Use
from sim.event.record import Timeline


def program(count: int, power: int, burst: int, credit: int, rate: int = 1) -> Program:
    """Firings of two cycles of an engine that ask for so much power each, two on their way."""
    work = Actor("work", (Run(count, (Use("matrix", 2), Use("power", power))),))
    bucket = Resource("power", 1, Fraction(rate), burst=burst, credit=credit)
    two = Channel("work", "work", initial=2, kind="space")
    return Program((work,), (two,), (Resource("matrix", 1), bucket))


def ran(built: Program) -> Timeline:
    folded, whole = Engine(built).run(), Engine(built, fold=False).run()
    assert folded.ticks == whole.ticks
    assert folded.credits == whole.credits
    assert folded.stalls() == whole.stalls()
    return whole


def test_credit_is_spent_first_and_then_the_rate_holds() -> None:
    """4 a firing of 2 cycles: credit 10, 6, 4, 2, 0 after uses at 0, 2, 4, 6; at 8 two are missing;
    from 10 on each use takes 4 cycles."""
    timeline = ran(program(8, 4, burst=10, credit=10))
    spans = [(job.begin, job.end) for job in timeline.jobs if job.resource == "power"]
    assert spans == [(0, 0), (2, 2), (4, 4), (6, 6), (8, 10), (10, 14), (14, 18), (18, 22)]
    assert timeline.credits["power"].last == timeline.credits["power"].least == 0


def test_without_credit_every_use_takes_its_time() -> None:
    """Less the one that fills in while the use before it was asked for."""
    timeline = ran(program(3, 4, burst=10, credit=0))
    assert [j.end for j in timeline.jobs if j.resource == "power"] == [4, 8, 12]


def test_it_fills_while_idle_up_to_its_burst() -> None:
    """Uses of 6 at 0 and, after 3 or 30 cycles, again: 2 left and 3 filled, 6 of 8 filled up."""
    for pause, end in ((3, 4), (30, 30)):
        first = Actor("first", (Run(1, (Use("power", 6),), pause),))
        second = Actor("second", (Run(1, (Use("power", 6),)),))
        bucket = Resource("power", 1, burst=8, credit=8)
        timeline = ran(Program((first, second), (Channel("first", "second"),), (bucket,)))
        assert timeline.ticks == end


def test_what_ends_on_a_whole_cycle_later_is_credit() -> None:
    """Three a cycle: 4 without credit take two cycles, and leave 2."""
    timeline = ran(program(1, 4, burst=9, credit=0, rate=3))
    assert timeline.ticks == 2
    assert timeline.credits["power"].last == 2


@pytest.mark.parametrize("credit", [0, 999, 1000])
@pytest.mark.parametrize("power", [1, 2, 3])
def test_periods_are_leapt_over_until_the_bucket_is_empty_or_full(power: int, credit: int) -> None:
    """2 a firing are filled in: 1 fills the bucket, 3 empties it, after which power takes all the
    time that the credit does not cover."""
    timeline = Engine(program(5000, power, 1000, credit)).run()
    assert timeline.folds
    assert timeline.events < 500
    ran(program(5000, power, 1000, credit))
    assert timeline.ticks == max(5000 * 2, 5000 * power - credit)


def test_a_bucket_serves_one_at_a_time() -> None:
    wide = Resource("power", 1, width=2, burst=4, credit=4)
    with pytest.raises(ValueError, match="power: a bucket serves one at a time, up to its burst"):
        Engine(Program((), (), (wide,)))
    with pytest.raises(ValueError, match="up to its burst"):
        Engine(Program((), (), (Resource("power", 1, burst=4, credit=5),)))
