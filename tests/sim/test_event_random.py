"""Laws of the event engine on random programs: folding, conservation, order, independence of delay.

Programs are chains of actors with forks and joins, several rates, clocks and priorities, on
resources with widths, turnaround and refresh. Those that cannot run for want of space are left out.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from fractions import Fraction
from math import gcd

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sim.event.engine import DeadlockError, Engine
from sim.event.program import Actor, Channel, Program, Resource, Run, Use
from sim.event.record import Timeline

NAMES = ("north", "east", "south")
ROUND = 12  # firings of every actor are multiples


@st.composite
def resources(draw: st.DrawFn, name: str) -> Resource:
    every = draw(st.sampled_from([0, 0, 11]))
    width = draw(st.sampled_from([1, 1, 1, 2]))
    burst = draw(st.sampled_from([0, 0, 7, 60, 900])) if width == 1 else 0
    return Resource(
        name,
        draw(st.sampled_from([2, 2, 3, 5])),
        draw(st.sampled_from([Fraction(1), Fraction(3, 2), Fraction(2, 3)])),
        width,
        draw(st.sampled_from([0, 0, 3])),
        every,
        4 if every else 0,
        burst,
        draw(st.integers(0, burst)),
    )


@st.composite
def runs(draw: st.DrawFn, count: int) -> Run:
    names = draw(st.lists(st.sampled_from(NAMES), max_size=2, unique=True))
    kinds = st.sampled_from(["read", "write"])
    uses = tuple(Use(name, draw(st.integers(0, 9)), draw(kinds)) for name in names)
    return Run(count, uses, draw(st.sampled_from([0, 0, 0, 7, 40])))


@st.composite
def actors(draw: st.DrawFn, name: str, firings: int) -> Actor:
    """All firings alike, a cycle of two runs over and over, or one run after another."""
    priority = draw(st.sampled_from([0, 0, 0, 1]))
    shape = draw(st.sampled_from(["alike", "cycle", "phases"]))
    if shape == "alike":
        return Actor(name, (draw(runs(firings)),), 1, priority)
    length = draw(st.sampled_from([2, 3, 4])) if shape == "cycle" else firings
    first = draw(st.integers(1, length - 1))
    cycle = (draw(runs(first)), draw(runs(length - first)))
    return Actor(name, cycle, firings // length, priority)


@st.composite
def channels(draw: st.DrawFn, source: Actor, target: Actor) -> Channel:
    common = gcd(source.firings, target.firings)
    produce, consume = target.firings // common, source.firings // common
    room = draw(st.sampled_from([None, 0, 1, 4]))
    capacity = None if room is None else produce + consume + room
    return Channel(source.name, target.name, produce, consume, 0, capacity)


@st.composite
def programs(draw: st.DrawFn) -> Program:
    """Every actor but the first takes from one or two before it; maybe credits go back."""
    rounds = ROUND * draw(st.integers(1, 12))
    count = draw(st.integers(2, 5))
    players = tuple(
        draw(actors(f"actor{i}", rounds * draw(st.sampled_from([1, 1, 2, 3]))))
        for i in range(count)
    )
    joins = []
    for i in range(1, count):
        for source in draw(st.sets(st.integers(max(0, i - 2), i - 1), min_size=1)):
            joins.append(draw(channels(players[source], players[i])))
    if draw(st.booleans()):
        back = draw(channels(players[-1], players[0]))
        credits_ = draw(st.integers(1, 3)) * (back.produce + back.consume)
        joins.append(replace(back, initial=credits_, capacity=None, kind="space"))
    return Program(players, tuple(joins), tuple(draw(resources(name)) for name in NAMES))


def timeline(program: Program, fold: bool = False) -> Timeline:
    try:
        return Engine(program, fold).run()
    except DeadlockError:
        assume(False)
        raise


@settings(max_examples=240, deadline=None)
@given(programs())
def test_folded_is_unfolded(program: Program) -> None:
    folded, unfolded = timeline(program, True), timeline(program)
    assert (folded.ticks, folded.fired) == (unfolded.ticks, unfolded.fired)
    for name, counters in folded.counters.items():
        plain = unfolded.counters[name]
        assert (counters.busy, counters.jobs, counters.amount, counters.queued) == (
            plain.busy, plain.jobs, plain.amount, plain.queued
        )  # fmt: skip
        assert counters.waited == plain.waited
    assert folded.credits == unfolded.credits


@settings(max_examples=60, deadline=None)
@given(programs())
def test_the_order_of_writing_down_does_not_matter(program: Program) -> None:
    parts = program.actors, program.channels, program.resources
    mixed = timeline(Program(*(part[::-1] for part in parts)))
    plain = timeline(program)
    assert mixed.ticks == plain.ticks
    assert {(j.actor, j.index, j.resource, j.begin, j.end) for j in mixed.jobs} == {
        (j.actor, j.index, j.resource, j.begin, j.end) for j in plain.jobs
    }


@settings(max_examples=60, deadline=None)
@given(programs())
def test_nothing_is_lost_and_nothing_works_beyond_its_width(program: Program) -> None:
    engine = Engine(program, fold=False)
    try:
        ran = engine.run()
    except DeadlockError:
        assume(False)
    asked: dict[str, int] = defaultdict(int)
    for actor in program.actors:
        for run in actor.cycle:
            for use in run.uses:
                asked[use.resource] += use.amount * run.count * actor.repeat
    for spec in program.resources:
        assert ran.counters[spec.name].amount == asked[spec.name]
        jobs = [j for j in ran.jobs if j.resource == spec.name and j.end > j.begin]
        changes = sorted([(j.begin, 1) for j in jobs] + [(j.end, -1) for j in jobs])
        at_once = 0
        for _, change in changes:
            at_once += change
            assert 0 <= at_once <= spec.width
    for stream in engine.streams:
        spec = stream.spec
        left = (
            spec.initial + stream.source.total * spec.produce - stream.target.total * spec.consume
        )
        assert stream.tokens == left
        assert stream.room is None or stream.room == spec.capacity - left


@settings(max_examples=60, deadline=None)
@given(programs(), st.integers(1, 5), st.data())
def test_slow_ones_move_the_same(program: Program, slower: int, data: st.DataObject) -> None:
    """However slow one actor is, each fires as often, and every resource does as much."""
    name = data.draw(st.sampled_from([actor.name for actor in program.actors]))
    slowed = tuple(
        replace(a, cycle=tuple(replace(r, latency=r.latency + 13 * slower) for r in a.cycle))
        if a.name == name
        else a
        for a in program.actors
    )
    plain, slow = timeline(program), timeline(replace(program, actors=slowed))
    assert slow.fired == plain.fired
    for name, counters in slow.counters.items():
        assert counters.amount == plain.counters[name].amount
