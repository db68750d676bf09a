"""Collectives of libraries: protocols by hand, and what must hold of them."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accel_models.collectives import COLLECTIVES, collective, ways
from accel_models.kernel_library.collective import CollectiveKernels
from accel_models.library_collectives import OWN_CHUNK, library_ways
from accel_models.links import Dim, SystemLink, dims
from accel_models.quantity import Bandwidth
from accel_models.read_design import parse_design
from accel_models.reader import DesignError

RATE = 100e9
LIBRARY = CollectiveKernels(
    rings={
        "LL": {"setup": "5 us", "step": "1 us", "share": 0.25},
        "Simple": {"setup": "20 us", "step": "2 us", "share": 0.8},
    },
    messages={"Simple": {"setup": "10 us", "share": 0.5}},
    in_network={"setup": "30 us", "share": 0.75},
    custom={
        "one_shot": {"setup": "3 us", "share": 0.5},
        "two_shot": {"setup": "6 us", "share": 0.5},
    },
    crossings=[{"chips": 8, "share": 0.25}],
)


def dim(size: int, **more) -> Dim:
    given = {"link": "l", "kind": "switch", "size": size, "bytes_per_s": RATE, "latency_s": 1e-6}
    return Dim(**(given | {"j_per_byte": 1e-11, "library": LIBRARY} | more))


def test_rings_by_hand():
    small, large = (collective("all_gather", (dim(4),), size) for size in (1e3, 1e9))
    assert small.algorithm == "ring LL"
    assert small.seconds == pytest.approx(5e-6 + 3e-6 + (3 + OWN_CHUNK) / 4 * 1e3 / 25e9)
    assert large.algorithm == "ring Simple"
    assert large.seconds == pytest.approx(20e-6 + 6e-6 + (3 + OWN_CHUNK) / 4 * 1e9 / 80e9)
    assert small.launched


def test_an_all_reduce_has_every_way():
    found = {way.algorithm: way.seconds for way in ways("all_reduce", (dim(4),), 1e6)}
    assert found == pytest.approx(
        {
            "ring LL": 5e-6 + 6e-6 + (6 + OWN_CHUNK) / 4 * 1e6 / 25e9,
            "ring Simple": 20e-6 + 12e-6 + (6 + OWN_CHUNK) / 4 * 1e6 / 80e9,
            "one_shot": 3e-6 + 3 * 1e6 / 50e9,
            "two_shot": 6e-6 + 1.5 * 1e6 / 50e9,
            "in_network": 30e-6 + 1.25 * 1e6 / 75e9,
        }
    )


def test_messages_by_hand():
    assert collective("send", (dim(2),), 1e6).seconds == pytest.approx(10e-6 + 1e6 / 50e9)
    all_to_all = collective("all_to_all", (dim(4),), 1e6).seconds
    assert all_to_all == pytest.approx(10e-6 + (3 + OWN_CHUNK) / 4 * 1e6 / 50e9)


def test_sends_may_differ_from_messages():
    own = LIBRARY.model_copy(
        update={"sends": {"LL": LIBRARY.messages["Simple"].model_copy(update={"share": 1.0})}}
    )
    way = collective("send", (dim(2, library=own),), 1e6)
    assert (way.algorithm, way.seconds) == ("direct LL", pytest.approx(10e-6 + 1e6 / RATE))


def test_a_crossing_leaves_a_share():
    below, across = (collective("all_gather", (dim(n),), 1e9) for n in (7, 8))
    wire = [(n - 1 + OWN_CHUNK) / n * 1e9 for n in (7, 8)]
    assert below.transfer_s == pytest.approx(wire[0] / 80e9)
    assert across.transfer_s == pytest.approx(wire[1] / 20e9)


def test_shares_are_of_the_whole_link():
    slow = replace(dim(4), bytes_per_s=RATE * 0.9, efficiency=0.9)
    assert collective("all_gather", (slow,), 1e9).seconds == pytest.approx(
        collective("all_gather", (dim(4),), 1e9).seconds
    )


def test_rings_of_wires_and_other_functions_are_the_links_own():
    assert library_ways("all_reduce", dim(4, kind="ring"), 1e6) == []
    assert library_ways("broadcast", dim(4), 1e6) == []
    assert collective("broadcast", (dim(4),), 1e6).seconds > 0
    assert not collective("broadcast", (dim(4),), 1e6).launched


@given(st.sampled_from(COLLECTIVES), st.integers(2, 9), st.floats(1, 1e9), st.floats(1, 10))
def test_more_bytes_never_take_less_time(function, chips, size, more):
    small, large = (collective(function, (dim(chips),), s).seconds for s in (size, size * more))
    assert small <= large * (1 + 1e-9)


def test_a_systems_link_may_have_a_library():
    link = SystemLink(
        topology="switch",
        bandwidth=Bandwidth(RATE, False),
        efficiency=0.9,
        latency="1 us",
        energy="1 pJ/bit",
        library=LIBRARY,
    )
    (one,) = dims("l", link, 4)
    assert collective("all_gather", (one,), 1e9).seconds == pytest.approx(
        collective("all_gather", (dim(4),), 1e9).seconds
    )


def test_errors_name_the_key():
    text = "extends: h100_sxm\nlinks:\n  nvlink:\n    library: {rings: {LL: {setup: 5 us}}}\n"
    with pytest.raises(DesignError, match="share"):
        parse_design(text)
