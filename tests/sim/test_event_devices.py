"""DRAM of a known kind in lowered ops: refresh within the design's efficiency, turns on top."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from tiny import design_dict, engine, matmul_graph, memory, parse, scheduled

from accel_models.design import Design
from accel_models.dram import KINDS
from accel_models.path import memory_path
from mappers.cost import Cost, Work, compose
from mappers.steps import Steps
from sim.event.dram import Devices, Losses, losses_of
from sim.event.engine import Engine
from sim.event.lower import program_of
from sim.event.record import Timeline

DDR4 = KINDS["ddr4"].timing
SHARE = DDR4.rfc / DDR4.refi
TICK = 1 / (1024 * 1e9)


def with_dram(**more: Any) -> Design:
    dram = memory("1 GiB", "0.1 B/cycle", kind="dram", efficiency=0.9, latency="1 ns") | more
    dram = {key: value for key, value in dram.items() if value is not None}
    own = {"l1": memory("64 KiB", "65536 B/cycle", latency="1 ns")}
    return parse(design_dict({"dram": dram}, own, engine("systolic"), launch="1 us"))


def test_refresh_takes_no_more_than_efficiency_leaves() -> None:
    for efficiency, share in ((0.9, SHARE), (0.97, 0.03), (1.0, 0.0)):
        losses = losses_of(with_dram(device="ddr4", efficiency=efficiency).memory["dram"])
        assert losses is not None
        assert losses.refresh == pytest.approx(share)
        assert losses.turn_s == DDR4.turnaround / 2
    assert losses_of(with_dram().memory["dram"]) is None


def test_ports_of_their_own_do_not_turn() -> None:
    ports = {"bandwidth": None, "read_bandwidth": "8 B/cycle", "write_bandwidth": "8 B/cycle"}
    losses = losses_of(with_dram(device="ddr4", **ports).memory["dram"])
    assert losses is not None
    assert losses.turn_s == 0


@pytest.mark.parametrize(
    ("load_us", "parts", "loads"),
    [(1.0, 8, 8), (1.0, 12, 6), (1.0, 7, 7), (4.0, 12, 2), (20.0, 12, 1), (1e-3, 12, 12)],
)
def test_refreshes_fall_on_whole_loads_of_a_result(load_us: float, parts: int, loads: int) -> None:
    devices = Devices({"dram": Losses(SHARE, 7e-6, 0.0, 1.0)})
    assert devices.loads_between({"dram": load_us * 1e-6, "l1": 1.0}, parts) == loads


def test_stores_shorter_than_a_batch_pay_their_share_of_a_turn() -> None:
    losses = Losses(SHARE, 7e-6, 10e-9, 80e-9)
    assert losses.turn(160e-9) == losses.turn(80e-9) == 10e-9
    assert losses.turn(20e-9) == pytest.approx(2.5e-9)


def ran(
    design: Design, busy: dict[str, float], store: float, steps: Steps
) -> tuple[Cost, Timeline]:
    head = {"dram": (busy["dram"] - store * steps.outputs) / steps.total}
    work = Work(busy, head, {"dram": store} if store else {}, {}, {}, steps=steps)
    cost = compose(work, memory_path(design, "core"))
    program = program_of(cost, memory_path(design, "core"))
    folded = Engine(program).run()
    assert Engine(program, fold=False).run().ticks == folded.ticks
    return cost, folded


def ticks(seconds: float) -> float:
    return seconds / TICK


def test_eight_loads_after_one_refresh() -> None:
    """Eight loads of 1 us, of which refresh (tREFI 7.8 us) is a part: they are over after 8 us as
    in the closed form, and the last one's step after another 0.5 us."""
    cost, timeline = ran(with_dram(device="ddr4"), {"dram": 8e-6, "matrix": 4e-6}, 0.0, Steps(1, 8))
    fixed = 1e-6 + 1e-9
    assert timeline.ticks == pytest.approx(ticks(fixed + 8e-6 + 0.5e-6), abs=12)
    assert timeline.seconds >= cost.latency_s
    stalls = timeline.stalls()["dram"]
    assert stalls["refresh"] == pytest.approx(8e-6 * SHARE, abs=2 * TICK)
    assert stalls["busy"] == pytest.approx(8e-6 * (1 - SHARE), abs=9 * TICK)
    assert sum(stalls.values()) == pytest.approx(timeline.seconds)
    first, second = [job for job in timeline.jobs if job.resource == "dram"][:2]
    assert (first.kind, second.kind) == ("read", "read")
    longer = first.end - first.begin - (second.end - second.begin)
    assert longer == pytest.approx(ticks(8e-6 * SHARE), abs=2)


def test_a_refresh_delays_what_does_not_wait_for_memory() -> None:
    """The matrix engine is busier: a refresh at the start comes on top of the closed form."""
    busy = {"dram": 2e-6, "matrix": 8e-6}
    cost, timeline = ran(with_dram(device="ddr4"), busy, 0.0, Steps(1, 8))
    late = 2e-6 * SHARE * 7 / 8  # of the refresh, beyond the first load's share
    assert timeline.ticks == pytest.approx(ticks(float(cost.latency_s) + late), abs=12)


def test_the_bus_turns_between_loads_and_stores() -> None:
    """Four results: loads of 1 us, stores of 1 us, each way a turn but before the first and after
    the last. Without a device there is none."""
    busy = {"dram": 8e-6, "matrix": 1e-9}
    _, plain = ran(with_dram(), busy, 1e-6, Steps(4, 1, buffers=1))
    _, turning = ran(with_dram(device="ddr4"), busy, 1e-6, Steps(4, 1, buffers=1))
    kinds = [j.kind for j in turning.jobs if j.resource == "dram"]
    turns = sum(a != b for a, b in pairwise(kinds))
    assert turns
    lost = turning.stalls()["dram"]["turnaround"]
    assert lost == pytest.approx(turns * DDR4.turnaround / 2, abs=turns * TICK)
    assert turning.ticks - plain.ticks == pytest.approx(ticks(lost), abs=40)
    assert "turnaround" not in plain.stalls()["dram"]


def test_a_stream_of_reads_is_the_closed_form() -> None:
    """Memory alone limits, results are few."""
    (placed,) = scheduled(matmul_graph(4, 64, 4096), with_dram(device="ddr4"))
    timeline = Engine(program_of(placed.cost, placed.plan.path)).run()
    turned = timeline.stalls()["dram"].get("turnaround", 0.0)
    assert timeline.seconds - turned == pytest.approx(float(placed.cost.latency_s), rel=1e-3)
    refresh = timeline.stalls()["dram"]["refresh"]
    assert refresh == pytest.approx(SHARE * float(placed.cost.work.busy["dram"]), rel=1e-5)


def test_the_closed_form_knows_no_devices() -> None:
    plain, named = (
        scheduled(matmul_graph(64, 64, 64), with_dram(**more)) for more in ({}, {"device": "ddr4"})
    )
    assert [p.cost for p in plain] == [p.cost for p in named]
