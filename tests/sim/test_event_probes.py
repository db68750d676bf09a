"""Timelines worked out by hand, to the cycle, folded and unfolded. One tick is one cycle where all
clocks are alike; spans are (begin, end) of an actor's uses in order."""

from __future__ import annotations

from fractions import Fraction

import pytest

from sim.event.engine import Engine
from sim.event.program import Actor, Channel, Program, Resource, Run, Use
from sim.event.record import Timeline

GHZ = 10**9


def resource(name: str, **more: object) -> Resource:
    return Resource(name, more.pop("clock_hz", GHZ), **more)  # type: ignore[arg-type]


def actor(name: str, firings: int, *uses: Use, latency: int = 0, priority: int = 0) -> Actor:
    return Actor(name, (Run(firings, uses, latency),), 1, priority)


def ran(actors: list[Actor], channels: list[Channel], resources: list[Resource]) -> Timeline:
    """Unfolded, after a look that folding changes nothing."""
    program = Program(tuple(actors), tuple(channels), tuple(resources))
    timeline, folded = Engine(program, fold=False).run(), Engine(program).run()
    assert (folded.ticks, folded.fired) == (timeline.ticks, timeline.fired)
    assert folded.stalls() == timeline.stalls()
    return timeline


def spans(timeline: Timeline, name: str) -> list[tuple[int, int]]:
    return [(job.begin, job.end) for job in timeline.jobs if job.actor == name]


@pytest.mark.parametrize(
    ("tiles", "load", "compute", "buffers", "ticks"),
    [
        (2, 10, 10, 2, 30),  # load 0-10, 10-20; compute 10-20, 20-30
        (4, 10, 5, 1, 60),  # one buffer: load and compute take turns, 4 (10 + 5)
        (4, 10, 5, 2, 45),  # two: loads back to back, 4 * 10, and the last compute
        (4, 5, 10, 2, 45),  # two, computing is longer: the first load, 4 * 10
        (1000, 7, 9, 2, 7 + 1000 * 9),
    ],
)
def test_buffers(tiles: int, load: int, compute: int, buffers: int, ticks: int) -> None:
    loads = actor("load", tiles, Use("dram", load))
    computes = actor("compute", tiles, Use("matrix", compute))
    joined = Channel("load", "compute", capacity=buffers)
    timeline = ran([loads, computes], [joined], [resource("dram"), resource("matrix")])
    assert timeline.ticks == ticks


def test_turnaround_and_refresh() -> None:
    """Read 4, write 4, read 4 with 3 cycles a turn: 0-4, 4-11, 11-18. With 5 cycles lost after
    every 8 of service: the second passes 8 (4 + 7) and ends at 16, the third 16 and ends at 28."""
    cycle = tuple(Run(1, (Use("dram", 4, kind),)) for kind in ("read", "write", "read"))
    moves = Actor("move", cycle)
    plain = ran([moves], [], [resource("dram", turnaround=3)])
    assert spans(plain, "move") == [(0, 4), (4, 11), (11, 18)]
    tired = resource("dram", turnaround=3, refresh_every=8, refresh_for=5)
    assert spans(ran([moves], [], [tired]), "move") == [(0, 4), (4, 16), (16, 28)]


def test_row_misses_and_two_banks() -> None:
    """Bursts of 4 on the bus, each after 10 in its bank (cut-through: the bus takes the last 4 of
    the 10). One bank: 10 apart. Two: 5 apart on average, the bus being free."""
    one = actor("a", 4, Use("bank0", 10), Use("bus", 4))
    banks = [resource("bank0"), resource("bank1"), resource("bus")]
    assert ran([one], [], banks).ticks == 40
    split = [
        actor(x, 2, Use(bank, 10), Use("bus", 4)) for x, bank in (("a", "bank0"), ("b", "bank1"))
    ]
    # both ask the bus at 6: a 6-10, b 10-14; and again at 16: 16-20, 20-24
    timeline = ran(split, [], banks)
    assert timeline.ticks == 24
    bus = [(j.actor, j.begin, j.end) for j in timeline.jobs if j.resource == "bus"]
    assert bus == [("a", 6, 10), ("b", 10, 14), ("a", 16, 20), ("b", 20, 24)]


def test_two_cores_share_a_channel_in_turn() -> None:
    """Three loads of 4 each: a, b, a, b, a, b."""
    cores = [actor(name, 3, Use("dram", 4)) for name in ("a", "b")]
    timeline = ran(cores, [], [resource("dram")])
    assert spans(timeline, "a") == [(0, 4), (8, 12), (16, 20)]
    assert spans(timeline, "b") == [(4, 8), (12, 16), (20, 24)]


def test_barrier_waits_for_the_slowest() -> None:
    """Three cores of 5, 7 and 11 cycles meet twice; a meeting takes 2: 13, 26."""
    cores = {"x": 5, "y": 7, "z": 11}
    actors = [actor(name, 2, Use(name, cycles)) for name, cycles in cores.items()]
    actors.append(actor("barrier", 2, latency=2))
    channels = [Channel(name, "barrier") for name in cores]
    channels += [Channel("barrier", name, initial=1, kind="sync") for name in cores]
    timeline = ran(actors, channels, [resource(name) for name in cores])
    assert spans(timeline, "x") == [(0, 5), (13, 18)]
    assert spans(timeline, "z") == [(0, 11), (13, 24)]
    assert timeline.ticks == 26


def test_clocks_convert_exactly() -> None:
    """1.41 and 1.512 GHz share 355.32 GHz ticks: 252 and 235 a cycle. A core's cycle ends at 252;
    the memory's next cycle begins at 470 and ends at 705; the core goes on at 756."""
    resources = [resource("core", clock_hz=1_410_000_000), resource("hbm", clock_hz=1_512_000_000)]
    actors = [actor("ask", 1, Use("core", 1)), actor("read", 1, Use("hbm", 1))]
    actors.append(actor("use", 1, Use("core", 1)))
    timeline = ran(actors, [Channel("ask", "read"), Channel("read", "use")], resources)
    assert timeline.tick_hz == 355_320_000_000
    assert [(j.begin, j.end) for j in timeline.jobs] == [(0, 252), (470, 705), (756, 1008)]


def test_clocks_convert_exactly_for_long() -> None:
    """Both clocks run 10,000 cycles each; neither drifts."""
    resources = [resource("core", clock_hz=1_410_000_000), resource("hbm", clock_hz=1_512_000_000)]
    actors = [actor("work", 10_000, Use("core", 1)), actor("move", 10_000, Use("hbm", 1))]
    timeline = ran(actors, [], resources)
    assert timeline.ticks == 10_000 * 252


def test_an_urgent_job_overtakes_the_queue_but_not_who_is_served() -> None:
    """Two of 10 each ask at 0, an urgent one of 5 at 3: 0-10, 10-15, 15-25."""
    actors = [actor("a", 1, Use("dram", 10)), actor("b", 1, Use("dram", 10))]
    actors.append(actor("wait", 1, Use("timer", 3)))
    actors.append(actor("urgent", 1, Use("dram", 5), priority=-1))
    timeline = ran(actors, [Channel("wait", "urgent")], [resource("dram"), resource("timer")])
    assert spans(timeline, "a") == [(0, 10)]
    assert spans(timeline, "urgent") == [(10, 15)]
    assert spans(timeline, "b") == [(15, 25)]


@pytest.mark.parametrize("chips", [2, 3, 4, 8])
def test_ring_all_reduce(chips: int) -> None:
    """2 (n - 1) steps of 1/n of the data, each over every link at once, each waiting for the piece
    that the neighbor got the step before: 2 (n - 1)/n of the data's time and a latency a step."""
    data, latency, steps = 840, 5, 2 * (chips - 1)
    actors = [
        actor(f"send{i}", steps, Use(f"link{i}", data // chips), latency=latency)
        for i in range(chips)
    ]
    ring = [
        Channel(f"send{i}", f"send{(i + 1) % chips}", initial=1, capacity=2) for i in range(chips)
    ]
    timeline = ran(actors, ring, [resource(f"link{i}") for i in range(chips)])
    assert timeline.ticks == steps * (data // chips + latency)
    for counters in timeline.counters.values():
        assert counters.amount == Fraction(2 * (chips - 1), chips) * data


def test_multicast_takes_the_bus_once() -> None:
    """A tile for four cores: once over the bus, or four times."""
    cores = [actor(f"core{i}", 3, Use(f"core{i}", 6)) for i in range(4)]
    resources = [resource("bus"), *(resource(f"core{i}") for i in range(4))]
    once = actor("send", 3, Use("bus", 8))
    to_all = [Channel("send", core.name) for core in cores]
    assert ran([once, *cores], to_all, resources).ticks == 3 * 8 + 6
    each = [actor(f"send{i}", 3, Use("bus", 8)) for i in range(4)]
    to_one = [Channel(f"send{i}", f"core{i}") for i in range(4)]
    assert ran([*each, *cores], to_one, resources).ticks == 3 * 4 * 8 + 6


def test_a_pipeline_takes_a_tile_an_interval() -> None:
    """Interval 4, latency 14: results at 14, 18, ..., 4 (n - 1) + 14."""
    engine = actor("array", 50, Use("array", 4), latency=14 - 4)
    out = actor("out", 50, Use("port", 1))
    timeline = ran([engine, out], [Channel("array", "out")], [resource("array"), resource("port")])
    assert spans(timeline, "out")[:2] == [(14, 15), (18, 19)]
    assert timeline.ticks == 4 * 49 + 14 + 1


def test_tokens_are_handed_on_in_order() -> None:
    """The first tile is 20 cycles on its way, the second 0: neither is used before 21."""
    sends = Actor("send", (Run(1, (Use("port", 1),), 20), Run(1, (Use("port", 1),))))
    uses = actor("use", 2, Use("core", 1))
    timeline = ran([sends, uses], [Channel("send", "use")], [resource("port"), resource("core")])
    assert spans(timeline, "use") == [(21, 22), (22, 23)]


def test_rounding_does_not_add_up() -> None:
    """Ten bytes at 3 a cycle, three times at once: 30 bytes in 10 cycles, ending at 4, 7, 10."""
    timeline = ran([actor("a", 3, Use("bus", 10))], [], [resource("bus", rate=Fraction(3))])
    assert spans(timeline, "a") == [(0, 4), (4, 7), (7, 10)]
