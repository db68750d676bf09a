"""Backing memories: rates by chunk, two ways of bandwidth, and what a design file may say."""

from __future__ import annotations

import pytest

from accel_models.library import list_designs
from accel_models.read_design import parse_design, read_design
from accel_models.reader import DesignError

HOST = read_design("a100_sxm_host").backing["host"]
UFS = read_design("snapdragon_8_gen_3").backing["ufs"]
LINK = 16e9 * 16 / 8 * 128 / 130  # PCIe 4.0 x16


def test_pcie_4_x16_is_its_lanes() -> None:
    assert HOST.peaks(1e9)[0] / HOST.efficiency == pytest.approx(LINK, rel=1e-3)


def test_long_copies_reach_the_peak_and_short_ones_wait_for_the_latency() -> None:
    """Two on the way, each taking 10 us + 4096 B / 25.2 GB/s."""
    assert HOST.read_bytes_per_s(1 << 30, 1e9) == pytest.approx(31.5e9 * 0.8)
    alone = 10e-6 + 4096 / 25.2e9
    assert HOST.read_bytes_per_s(4096, 1e9) == pytest.approx(2 * 4096 / alone)


def test_ufs_meets_the_points_that_its_design_states() -> None:
    """1 GB/s in pages at random, 4.2 in chunks of 1 MiB, between them their power: at 64 KiB, half
    the way, the geometric mean."""
    assert UFS.read_bytes_per_s(4096, 1e9) == pytest.approx(1.0e9)
    assert UFS.read_bytes_per_s(1000, 1e9) == pytest.approx(1.0e9 * 1000 / 4096)
    assert UFS.read_bytes_per_s(1 << 20, 1e9) == pytest.approx(4.2e9)
    assert UFS.read_bytes_per_s(1 << 16, 1e9) == pytest.approx((1.0e9 * 4.2e9) ** 0.5)


def test_bundling_two_rows_reads_faster() -> None:
    assert UFS.read_bytes_per_s(16384, 1e9) > 1.1 * UFS.read_bytes_per_s(8192, 1e9)


def test_two_bandwidths_pass_each_other_and_one_takes_turns() -> None:
    assert HOST.seconds({1 << 30: 2**30}, 0.0, 1e9) == pytest.approx(10e-6 + 2**30 / 25.2e9)
    both = HOST.seconds({1 << 30: 2**30}, 2**30, 1e9)
    assert both == pytest.approx(10e-6 + 2**30 / 25.2e9)
    shared = HOST.model_copy(
        update={"bandwidth": HOST.read_bandwidth, "read_bandwidth": None, "write_bandwidth": None}
    )
    assert shared.seconds({1 << 30: 2**30}, 2**30, 1e9) == pytest.approx(10e-6 + 2 * 2**30 / 25.2e9)
    assert HOST.seconds({}, 0.0, 1e9) == 0.0


def test_whole_granules_move() -> None:
    assert UFS.moved(1000, 1000) == 4096
    assert UFS.moved(10 * 5000, 5000) == 10 * 8192


@pytest.mark.parametrize("granule", [1 << 20, 1 << 21])
def test_granules_that_are_sequential_by_themselves_reach_the_peak(granule: int) -> None:
    for memory in (HOST, UFS):
        large = memory.model_copy(update={"granularity": granule, "requests": 1000})
        assert large.read_bytes_per_s(granule, 1e9) == pytest.approx(memory.peaks(1e9)[0])


EXTRA = """
extends: a100_sxm
backing:
  {name}:
    kind: {kind}
    capacity: 1 TB
    {rate}
    efficiency: 0.8
    requests: 2
    latency: 10 us
    granularity: 256 B
    energy: 26 pJ/bit
    source: "guess: a test"
"""


@pytest.mark.parametrize(
    ("name", "kind", "rate", "message"),
    [
        ("host", "dram", "latency_: 1 us", "missing key 'bandwidth'"),
        ("host", "tape", "bandwidth: 1 GB/s", "must be 'dram' or 'flash', not 'tape'"),
        ("host", "dram", "bandwith: 1 GB/s", "missing key 'bandwidth'"),
        ("hbm", "dram", "bandwidth: 1 GB/s", "backing.hbm: the name is taken"),
        ("nvlink", "dram", "bandwidth: 1 GB/s", "backing.nvlink: the name is taken"),
        ("smem", "dram", "bandwidth: 1 GB/s", "backing.smem: the name is taken"),
    ],
)
def test_what_is_wrong_is_said(name: str, kind: str, rate: str, message: str) -> None:
    with pytest.raises(DesignError, match=message):
        parse_design(EXTRA.format(name=name, kind=kind, rate=rate))


def test_every_number_has_a_source() -> None:
    for path in list_designs().values():
        design = read_design(str(path))
        for name, store in design.backing.items():
            for key in store.model_fields_set - {"kind", "source"}:
                assert design.source_of(("backing", name, key)).text
