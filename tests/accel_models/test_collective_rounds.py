"""Rounds of collectives add up to their closed forms, whatever joins the chips."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accel_models.collective_algorithms import Transfer
from accel_models.collective_phases import Phases, handed_on, phases, ports
from accel_models.collectives import COLLECTIVES, Dims, collective, hops, ways
from accel_models.links import Dim, port
from accel_models.read_design import read_design

ALPHA = 1e-6


def dim(kind: str = "switch", size: int = 4, rate: float = 10e9, **more: object) -> Dim:
    made = Dim("wire", "switch", size, rate, ALPHA, 1e-11)
    return replace(made, kind=kind, **more)  # type: ignore[arg-type]


@st.composite
def joined(draw: st.DrawFn) -> Dims:
    """One to three directions; of several, on one link or on two."""
    kinds = st.sampled_from(["switch", "full", "ring", "line"])
    same = draw(st.booleans())
    found = []
    for i in range(draw(st.integers(1, 3))):
        size, rate = draw(st.integers(2, 9)), draw(st.sampled_from([1e9, 25e9, 300e9]))
        made = dim(draw(kinds), size, rate, reduction=draw(st.booleans()))
        found.append(replace(made, link="wire" if same else f"wire{i}"))
    return tuple(found)


def added_up(found: Phases) -> Transfer:
    """A phase takes as long as its slowest lane."""
    total = Transfer("")
    for phase in found:
        slow = max(phase, key=lambda lane: sum(each.seconds for each in lane))
        total = replace(
            total,
            latency_s=total.latency_s + sum(r.count * r.latency_s for r in slow),
            transfer_s=total.transfer_s + sum(r.count * r.transfer_s for r in slow),
            sent_bytes=total.sent_bytes + sum(r.count * r.sent for la in phase for r in la),
            received_bytes=total.received_bytes
            + sum(r.count * r.received for la in phase for r in la),
            added_bytes=total.added_bytes + sum(r.count * r.added for la in phase for r in la),
        )
    return total


def assert_same(found: Phases, way: Transfer) -> None:
    total = added_up(found)
    times = ("seconds",) if way.launched else ("latency_s", "transfer_s")
    for name in (*times, "sent_bytes", "received_bytes", "added_bytes"):
        assert getattr(total, name) == pytest.approx(getattr(way, name), rel=1e-12), name


@given(joined(), st.sampled_from(COLLECTIVES), st.sampled_from([1.0, 4096.0, 3e7]))
def test_rounds_add_up_to_the_closed_form(dims: Dims, function: str, size: float):
    for way in ways(function, dims, size):
        assert_same(phases(function, dims, size, way.algorithm), way)


@pytest.mark.parametrize("function", COLLECTIVES)
@pytest.mark.parametrize("name", ["a100_sxm", "h100_sxm", "b200"])
def test_what_a_library_reaches_is_one_round(name: str, function: str):
    design = read_design(name)
    wire = port("nvlink", design.links["nvlink"], design.clock, 8)
    for size in (4096.0, 1e8):
        way = collective(function, (wire,), size)
        found = phases(function, (wire,), size)
        assert_same(found, way)
        assert (not way.launched) or sum(len(lane) for phase in found for lane in phase) == 1


def test_a_message_over_several_dims():
    route = ((dim("ring", 8), 3, 2, 2.5), (dim("switch", 4, 1e9), 1, 1, 1.0))
    assert_same(handed_on(route, 1e6), hops(route, 1e6))
    assert handed_on((), 1e6) == ()


def test_nothing_for_one_chip():
    assert phases("all_reduce", (dim(size=1),), 1e6) == ()
    assert phases("all_reduce", (dim(),), 0) == ()
    with pytest.raises(ValueError, match="no algorithm 'magic'"):
        phases("all_reduce", (dim(),), 1e6, "magic")


def test_rounds_of_an_even_ring_and_of_a_line():
    """Six chips in a ring: both ways twice, then half both ways; in a line five times one way."""
    ring = phases("all_gather", (dim("ring", 6),), 6e6)[0][0]
    assert [(r.count, r.sent) for r in ring] == [(2, 2e6), (1, 1e6)]
    line = phases("all_gather", (dim("line", 6),), 6e6)[0][0]
    assert [(r.count, r.sent) for r in line] == [(5, 1e6)]


def test_parts_of_a_bucket_take_turns_at_the_ports():
    dims = (dim("ring", 4), dim("ring", 2), dim("ring", 8))
    for phase in phases("all_reduce", dims, 1e6, "bucket"):
        assert sorted(lane[0].port for lane in phase) == ["wire 1", "wire 2", "wire 3"]
    assert ports(dims[:1]) == [(0, "wire")]
