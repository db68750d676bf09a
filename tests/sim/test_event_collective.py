"""Collectives by events: round after round, held against the closed forms, to the tick by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import design_dict, engine, memory, parse

from accel_models.collective_phases import Phases, phases
from accel_models.collectives import COLLECTIVES, Dims, ways
from accel_models.links import Dim, port
from accel_models.path import Path, memory_path
from accel_models.read_design import read_design
from mappers.collective import collective_plan, transfer_cost
from mappers.cost import Cost
from sim.event.collective import Pieces, collective_program, every_rank
from sim.event.engine import Engine
from sim.event.program import FINE
from workloads.ops import Collective

ALPHA = 1e-6
MIB = 1 << 20


def path(dram: str = "100000 B/cycle", adds: int = 1_000_000, watts: int = 1_000_000) -> Path:
    """A chip at 1 GHz; without more its memory is far faster than any link."""
    memories = {"dram": memory("64 GiB", dram, kind="dram", latency="1 ns")}
    own = {"l1": memory("64 KiB", "64 B/cycle", latency="1 ns")}
    data = design_dict(memories, own, engine("systolic"), launch="1 ns")
    data["cores"]["core"]["vector"]["ops_per_cycle"]["add"] = adds
    return memory_path(parse(data | {"power": {"limit": f"{watts} W", "static": "1 W"}}), "core")


def dim(kind: str = "switch", size: int = 4, rate: float = 10e9, **more: object) -> Dim:
    made = Dim("wire", "switch", size, rate, ALPHA, 1e-11)
    return replace(made, kind=kind, **more)  # type: ignore[arg-type]


def exchange(function: str, size: int, chips: int) -> Collective:
    return Collective("exchange", ("x",), "y", function, size, size, chips, "tensor")


def run_of(
    function: str, dims: Dims, size: int, algorithm: str, on: Path
) -> tuple[Cost, Phases, float]:
    """Its cost, its phases, and the seconds by events."""
    op, links = exchange(function, size, 2), tuple(each.link for each in dims)
    (way,) = [way for way in ways(function, dims, size) if way.algorithm == algorithm]
    cost, found = transfer_cost(op, way, links, on), phases(function, dims, size, algorithm)
    return cost, found, Engine(collective_program(cost, found, on)).run().seconds


def all_ways() -> list[tuple[str, Dims, str]]:
    """Every algorithm of every collective over every kind of dim, and over several."""
    single = [
        dim(kind, size, reduction=kind == "switch")
        for kind in ("switch", "full", "ring", "line")
        for size in (2, 3, 4, 7, 8)
    ]
    several = [
        (dim(size=4, rate=300e9, link="inner"), dim(size=2, link="outer")),
        (dim("ring", 4), dim("ring", 2), dim("ring", 3)),
        (dim("line", 4), dim("full", 3, link="outer")),
    ]
    return [
        (function, dims, way.algorithm)
        for function in COLLECTIVES
        for dims in [*((each,) for each in single), *several]
        for way in ways(function, dims, MIB)
    ]


@pytest.mark.parametrize(("adds", "watts"), [(1_000_000, 1_000_000), (16, 3)])
def test_idle_systems_take_the_closed_form(adds: int, watts: int):
    """Within the rounding up to a tick, of every round: also where the chip's own part takes a
    while, if no round's is longer than its message."""
    on = path(adds=adds, watts=watts)
    for function, dims, algorithm in all_ways():
        if adds < 1000 and len(dims) > 1:  # inside a nested one are short messages
            continue
        for size in (64, MIB):
            cost, found, seconds = run_of(function, dims, size, algorithm, on)
            rounds = sum(r.count for phase in found for lane in phase for r in lane)
            expected = pytest.approx(float(cost.latency_s), abs=(3 * rounds + 2) / (1e9 * FINE))
            assert seconds == expected, (function, dims, algorithm, size)


@given(
    st.sampled_from(all_ways()),
    st.sampled_from(["1 B/cycle", "16 B/cycle", "1000 B/cycle"]),
    st.sampled_from([100, 3 * MIB]),
)
@settings(max_examples=60)
def test_between_the_closed_form_and_the_sum_of_parts(
    way: tuple[str, Dims, str], dram: str, size: int
):
    cost, _, seconds = run_of(*way[:2], size, way[2], path(dram))
    assert float(cost.latency_s) * (1 - 1e-9) <= seconds
    assert seconds <= cost.upper_bound_s() * (1 + 1e-9) + 1e-9


@pytest.mark.parametrize("dram", ["10 B/cycle", "100000 B/cycle"])
def test_all_ranks_take_as_long_as_one(dram: str):
    """Of every algorithm, whether links or memories take longest."""
    on = path(dram)
    for function, dims, algorithm in all_ways():
        sizes = [each.size for each in dims]
        if max(sizes) > 4:
            continue
        cost, found, seconds = run_of(function, dims, MIB, algorithm, on)
        every = Engine(every_rank(cost, found, on, sizes)).run()
        assert every.seconds == pytest.approx(seconds, rel=1e-9), (function, dims, algorithm)


def test_a_ring_moves_two_shares_less_two_over_n():
    """8 chips, 8 MB, 10 GB/s a wire: 14 rounds of 100 us, to the tick, and 14 latencies of 1 us."""
    on, found = path(), phases("all_reduce", (dim(size=8),), 8_000_000, "ring")
    plan = collective_plan(exchange("all_reduce", 8_000_000, 8), (dim(size=8),), on)
    timeline = Engine(collective_program(plan.cost, found, on)).run()
    tick = 1_000_000_000 * FINE
    assert timeline.tick_hz == tick
    assert timeline.counters["wire"].total == 14 * 100 * tick // 1_000_000
    assert timeline.counters["wire"].jobs == 14
    launch = timeline.counters["launch"].total
    assert timeline.ticks == launch + 14 * 101 * tick // 1_000_000
    sends = [(j.begin - launch, j.end - launch) for j in timeline.jobs if j.resource == "wire"]
    assert sends[1] == (101 * tick // 1_000_000, 201 * tick // 1_000_000)


def test_chunks_hide_latencies():
    """A ring of 4, 4 MB in 100 pieces: six rounds of 100 us back to back, then one latency; if a
    round's pieces wait for each other, it is as without."""
    on, dims = path(), (dim(size=4),)
    plan = collective_plan(exchange("all_reduce", 4_000_000, 4), dims, on)
    found = phases("all_reduce", dims, 4_000_000, "ring")
    whole, chunked, waiting = (
        Engine(collective_program(plan.cost, found, on, pieces)).run().seconds
        for pieces in (Pieces(), Pieces(100, chunked=True), Pieces(100))
    )
    assert whole - chunked == pytest.approx(5 * ALPHA, abs=1e-11)
    assert waiting == pytest.approx(whole, abs=6e-11)
    with pytest.raises(ValueError, match="0 pieces: it has at least 1"):
        Pieces(0)


def test_a_slow_memory_leaves_the_latencies_exposed():
    """Memory slower than the wire: the closed form hides the latencies behind it, rounds do not."""
    on, dims = path("1 B/cycle"), (dim(size=4, rate=100e9),)
    cost, found, seconds = run_of("all_gather", dims, 4_000_000, "ring", on)
    assert cost.bound_by == "dram"
    assert seconds - float(cost.latency_s) == pytest.approx(3 * ALPHA, rel=1e-6)
    assert sum(len(lane) for phase in found for lane in phase) == 1


def test_a_librarys_time_is_one_use():
    design = read_design("a100_sxm")
    on = memory_path(design, "sm")
    wire = port("nvlink", design.links["nvlink"], design.clock, 8)
    plan = collective_plan(exchange("all_reduce", 64 * MIB, 8), (wire,), on)
    found = phases("all_reduce", (wire,), 64 * MIB)
    timeline = Engine(collective_program(plan.cost, found, on)).run()
    assert timeline.counters["nvlink"].jobs == 1
    assert timeline.seconds == pytest.approx(float(plan.cost.latency_s), rel=1e-9)
    assert "launch" not in timeline.counters  # measured with it
