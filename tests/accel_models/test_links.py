"""Collectives: closed forms against messages sent wire by wire, bounds, and measured ones."""

from __future__ import annotations

import csv
from collections import Counter
from math import log2, prod
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accel_models.collective_algorithms import ON_ONE_DIM
from accel_models.collectives import COLLECTIVES, collective, hops, ways
from accel_models.links import Dim, SystemLink, dims
from accel_models.quantity import Bandwidth
from accel_models.read_system import read_system

ALPHA, RATE, SIZE = 1e-6, 100e9, 6e6
MEASURED = Path(__file__).parents[1] / "data" / "collectives.csv"


def dim(kind: str, size: int, **more: object) -> Dim:
    return Dim(**({"link": "l", "kind": kind, "size": size, "bytes_per_s": RATE,
                   "latency_s": ALPHA, "j_per_byte": 1e-11} | more))  # fmt: skip


def link(topology: str, **more: object) -> SystemLink:
    facts = {"bandwidth": Bandwidth(RATE, False), "efficiency": 1.0, "latency": "1 us",
             "energy": "1 pJ/bit"}  # fmt: skip
    return SystemLink(topology=topology, **facts, **more)


def path(of: Dim, source: int, target: int) -> list[tuple[object, ...]]:
    """The directed wires from one chip to another; on a ring the shorter way."""
    n = of.size
    if of.kind == "switch":
        return [("out", source), ("in", target)]
    if of.kind == "full":
        return [(source, target)]
    step = 1 if target > source else -1
    if of.kind == "ring" and (target - source) % n != abs(target - source):
        step = 1 if (target - source) % n <= n // 2 else -1
    elif of.kind == "ring" and (target - source) % n > n // 2:
        step = -1
    wires = []
    while source != target:
        wires.append((source, (source + step) % n))
        source = (source + step) % n
    return wires


def sent(of: Dim, rounds: list[list[tuple[int, int, float]]]) -> tuple[float, float]:
    """(seconds of rounds of (from, to, bytes), bytes times wires of a chip on average)."""
    seconds = carried = 0.0
    for messages in rounds:
        load: Counter[tuple[object, ...]] = Counter()
        far = 0
        for source, target, size in messages:
            wires = path(of, source, target)
            far = max(far, 1 if of.kind == "switch" else len(wires))
            carried += size * (1 if of.kind == "switch" else len(wires))
            for wire in wires:
                load[wire] += size
        seconds += of.latency_s * far + max(load.values()) / of.wire_bytes_per_s
    return seconds, carried / of.size


def one_way(n: int) -> list[list[tuple[int, int, float]]]:
    """Blocks handed around."""
    return [[(i, (i + 1) % n, SIZE / n) for i in range(n)] for _ in range(n - 1)]


def both_ways(n: int, closed: bool) -> list[list[tuple[int, int, float]]]:
    """Each chip passes on what it got, to both sides; the last blocks of an even ring by halves."""
    rounds = []
    for step in range(1, (n // 2 if closed else n - 1) + 1):
        size = SIZE / n / (2 if closed and 2 * step == n else 1)
        right = [(i, i + 1, size) for i in range(n) if closed or step - 1 <= i < n - 1]
        left = [(i, i - 1, size) for i in range(n) if closed or 1 <= i <= n - step]
        rounds.append([(a % n, b % n, s) for a, b, s in right + left])
    return rounds


def doubling(n: int, size: float, growth: float) -> list[list[tuple[int, int, float]]]:
    """Partners at distances 1, 2, 4, ..."""
    return [[(i, i ^ (1 << k), size * growth**k) for i in range(n)] for k in range(int(log2(n)))]


def everyone(n: int, size: float) -> list[list[tuple[int, int, float]]]:
    return [[(i, j, size) for i in range(n) for j in range(n) if i != j]]


def root(n: int) -> list[list[tuple[int, int, float]]]:
    """A binomial tree."""
    return [[(i, i + (1 << k), SIZE) for i in range(1 << k)] for k in range(int(log2(n)))]


GATHERS = [
    ("all_gather", "ring", "switch", one_way),
    ("all_gather", "tree", "switch", lambda n: doubling(n, SIZE / n, 2)),
    ("all_gather", "direct", "switch", lambda n: everyone(n, SIZE / n)),
    ("all_gather", "ring", "full", one_way),
    ("all_gather", "tree", "full", lambda n: doubling(n, SIZE / n, 2)),
    ("all_gather", "direct", "full", lambda n: everyone(n, SIZE / n)),
    ("all_gather", "ring", "ring", lambda n: both_ways(n, True)),
    ("all_gather", "ring", "line", lambda n: both_ways(n, False)),
    ("all_reduce", "tree", "switch", lambda n: doubling(n, SIZE, 1)),
    ("all_reduce", "one_shot", "switch", lambda n: everyone(n, SIZE)),
    ("all_reduce", "one_shot", "full", lambda n: everyone(n, SIZE)),
    ("all_reduce", "ring", "switch", lambda n: 2 * one_way(n)),
    ("all_reduce", "halving", "switch", lambda n: 2 * doubling(n, SIZE / n, 2)),
    ("all_reduce", "direct", "switch", lambda n: 2 * everyone(n, SIZE / n)),
    ("all_reduce", "ring", "ring", lambda n: 2 * both_ways(n, True)),
    ("broadcast", "tree", "switch", root),
    ("all_to_all", "direct", "switch", lambda n: everyone(n, SIZE / n)),
    ("all_to_all", "direct", "full", lambda n: everyone(n, SIZE / n)),
    ("all_to_all", "tree", "switch", lambda n: doubling(n, SIZE / 2, 1)),
    ("all_to_all", "ring", "line", lambda n: everyone(n, SIZE / n)),
    ("send", "direct", "full", lambda n: [[(0, 1, SIZE)]]),
    ("send", "direct", "line", lambda n: [[(0, 1, SIZE)]]),
]


@pytest.mark.parametrize("n", [2, 4, 8])
@pytest.mark.parametrize(("function", "algorithm", "kind", "messages"), GATHERS)
def test_closed_form_is_the_sum_over_messages(function, algorithm, kind, messages, n):
    if kind == "ring" and n == 2:
        n = 6  # two chips of a ring are joined twice: below
    of = dim(kind, n)
    way = collective(function, (of,), SIZE, algorithm)
    seconds, carried = sent(of, messages(n))
    assert way.seconds == pytest.approx(seconds)
    if function != "send":
        assert way.sent_bytes == pytest.approx(carried)


@pytest.mark.parametrize("n", [3, 5, 7])
@pytest.mark.parametrize("kind", ["ring", "line"])
def test_odd_rings_and_lines(n, kind):
    of = dim(kind, n)
    for function, messages in (
        ("all_gather", both_ways(n, kind == "ring")),
        ("all_to_all", everyone(n, SIZE / n)),
    ):
        assert collective(function, (of,), SIZE, "ring").seconds == pytest.approx(
            sent(of, messages)[0]
        )


def test_two_chips_of_a_ring_are_joined_twice():
    """Half of each block goes either way around."""
    way = collective("all_gather", (dim("ring", 2),), SIZE)
    assert way.seconds == pytest.approx(ALPHA + SIZE / 2 / 2 / (RATE / 2))


def test_part_of_a_full_mesh_has_fewer_ports():
    """Four of eight chips: three of seven wires, each as fast as before."""
    of = dim("full", 8)
    assert of.part(4).wire_bytes_per_s == pytest.approx(of.wire_bytes_per_s)
    assert of.part(4).bytes_per_s == pytest.approx(RATE * 3 / 7)


def test_in_network_reduction():
    """Each chip gives its data to the switch, fetches its slice's sum, and sends that to all:
    D (1 + 1/n) out of every chip, whatever n; two messages."""
    way = collective("all_reduce", (dim("switch", 8, reduction=True),), SIZE, "in_network")
    assert way.seconds == pytest.approx(2 * ALPHA + SIZE * 9 / 8 / RATE)
    assert way.added_bytes == 0
    with pytest.raises(ValueError, match="no algorithm 'in_network' for all_reduce on switch"):
        collective("all_reduce", (dim("switch", 8),), SIZE, "in_network")


@pytest.mark.parametrize("shape", [[4, 4, 4], [4, 4], [2, 2]])
def test_torus_uses_all_its_ports(shape):
    """Equal extents: every phase has all dims busy, so a chip's whole bandwidth is used."""
    torus = dims("l", link("torus", shape=shape), prod(shape))
    n = prod(shape)
    way = collective("all_reduce", torus, SIZE, "bucket")
    assert way.transfer_s == pytest.approx(2 * (n - 1) / n * SIZE / RATE)
    assert way.latency_s == pytest.approx(2 * sum(extent // 2 for extent in shape) * ALPHA)
    assert way.sent_bytes == pytest.approx(2 * (n - 1) / n * SIZE)


def test_nested_switches():
    """Two boxes of four: reduce_scatter inside, a quarter across, all_gather inside."""
    inside, across = dim("switch", 4), dim("switch", 2, link="n", bytes_per_s=RATE / 10)
    way = collective("all_reduce", (inside, across), SIZE, "nested")
    expected = 2 * (3 / 4 * SIZE / RATE) + 2 * (1 / 2 * SIZE / 4 / (RATE / 10))
    assert way.transfer_s == pytest.approx(expected)
    ring = collective("all_reduce", (inside, across), SIZE, "ring")
    assert ring.seconds == pytest.approx(2 * 7 * ALPHA + 2 * 7 / 8 * SIZE / (4 * RATE / 10))


def test_tree_of_switches_ring_is_bandwidth_optimal():
    """A node's uplink is one chip's bandwidth; in depth-first order a ring needs no more of it
    (Patarasu and Yuan 2009, theorem 1)."""
    tree = dims("l", link("tree", shape=[4, 2]), 8)
    assert [d.bytes_per_s for d in tree] == [RATE, RATE / 4]
    way = collective("all_reduce", tree, 1e9)
    assert (way.algorithm, way.transfer_s) == ("ring", pytest.approx(2 * 7 / 8 * 1e9 / RATE))


def test_message_over_several_dims():
    """Hops add up; the narrowest wire, with what else is on it, sets the rate."""
    route = ((dim("line", 4), 2, 3, 2.0), (dim("switch", 2), 1, 1, 1.0))
    way = hops(route, SIZE)
    assert way.seconds == pytest.approx(3 * ALPHA + SIZE * 3 / (RATE / 2))
    assert way.joules == pytest.approx(SIZE * (2 + 1) * 1e-11)


GROUPS = st.lists(
    st.builds(dim, st.sampled_from(["switch", "full", "ring", "line"]), st.integers(2, 9)),
    min_size=1,
    max_size=3,
).map(tuple)


@given(st.sampled_from(COLLECTIVES[:-1]), GROUPS, st.floats(1, 1e9))
def test_no_algorithm_beats_the_bounds(function, group, size):
    """Every chip must receive what it lacks, once: (n-1)/n of D, twice to reduce and to gather
    (Patarasu and Yuan 2009, lemma 1); and one message must get through."""
    n = prod(d.size for d in group)
    rate = sum(d.bytes_per_s for d in group)
    share = {"all_reduce": 2 * (n - 1) / n, "broadcast": 1.0}.get(function, (n - 1) / n)
    for way in ways(function, group, size):
        assert way.transfer_s * rate >= share * size * (1 - 1e-9)
        assert way.latency_s >= ALPHA
        assert way.sent_bytes > 0
        assert way.joules > 0
    assert collective(function, group, size).seconds <= min(
        w.seconds for w in ways(function, group, size)
    )


@given(st.sampled_from(COLLECTIVES), GROUPS, st.floats(1, 1e9), st.floats(1, 10))
def test_more_bytes_never_take_less_time(function, group, size, more):
    group = group[:1] if function == "send" else group
    small, large = (collective(function, group, s).seconds for s in (size, size * more))
    assert small <= large * (1 + 1e-9)
    assert large <= small * more * (1 + 1e-9)


def test_one_chip_or_no_bytes_is_nothing():
    for function in ON_ONE_DIM:
        assert collective(function, (dim("switch", 1),), SIZE).seconds == 0
        assert collective(function, (), SIZE).joules == 0


@pytest.mark.parametrize("row", list(csv.DictReader(MEASURED.open())), ids=lambda r: r["op"])
def test_measured_large_messages_stay_below_the_data_sheet(row):
    """NCCL on NVSwitch, tens of megabytes and more: never faster than the links, and no slower than
    three fifths of them; which algorithm NCCL took is not known (tests/data/collectives.md)."""
    system = {"A100-SXM4-80GB": "dgx_a100", "H100-SXM5-80GB": "dgx_h100"}[row["device"]]
    (nvlink,) = read_system(system).dims("gpu")
    group = (nvlink.part(int(row["n_gpus"])),)
    function = row["op"].replace("alltoall", "all_to_all")
    predicted = collective(function, group, float(row["bytes"])).seconds
    assert 0.6 <= predicted * 1e6 / float(row["latency_us"]) <= 1
