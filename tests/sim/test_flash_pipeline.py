"""The FlashAttention pipeline: timelines by hand, to the cycle."""

from __future__ import annotations

from dataclasses import replace

import pytest

from accel_models.path import memory_path
from accel_models.read_design import read_design
from sim.event.engine import Engine
from sim.event.policies.flash_pipeline import (
    FlashKnobs,
    FlashMachine,
    FlashSizes,
    Stage,
    flash_program,
)
from sim.event.policies.flash_stages import FlashWork, design_stages, flash_machine

QK, P, PV, GU = 100, 90, 60, 30
HIDDEN = {"qk": 40, "p": 30, "pv": 20, "gu": 10}
STAGES = {
    "qk": Stage("matrix", QK, HIDDEN["qk"], 0, 0),
    "p": Stage("vector", P, HIDDEN["p"], 0, 0),
    "pv": Stage("matrix", PV, HIDDEN["pv"], 0, 0),
    "gu": Stage("vector", GU, HIDDEN["gu"], 0, 0),
}
MACHINE = FlashMachine(10**9, 1, 64.0, 64.0, launch=1000, dispatch=200, tail=7, sync=50)
SIZES = FlashSizes(128, 1024, 1, 128, 128, 128)  # one block of eight tiles
SERIAL = FlashKnobs(overlap_engines=False, sync_holds=False)


def cycles(sizes=SIZES, machine=MACHINE, knobs=SERIAL, stages=STAGES, fold=True) -> int:
    return Engine(flash_program(sizes, machine, knobs, stages), fold=fold).run().ticks


def test_without_overlap_tiles_follow_one_another():
    assert cycles() == 1000 + 200 + 8 * (QK + P + 50 + PV + GU) + 7


def test_single_buffers_add_what_was_hidden():
    more = 8 * sum(HIDDEN.values())
    assert cycles(knobs=replace(SERIAL, multi_buffer=False)) == cycles() + more


def each(knobs) -> float:
    """Cycles of a tile more, when many are on the way."""
    longer = [cycles(replace(SIZES, keys=n * 128), knobs=knobs) for n in (16, 32)]
    return (longer[1] - longer[0]) / 16


def test_with_overlap_the_matrix_engine_never_waits():
    """It is the busier. Beside it only the last tile's way through softmax, hand-over and update
    shows, and with enough tiles on the way not even all of that."""
    for ahead in (3, 4, 8):
        knobs = FlashKnobs(look_ahead=ahead, sync_holds=False)
        busy = 1000 + 200 + 8 * (QK + PV) + GU + 7
        assert busy <= cycles(knobs=knobs) <= busy + P + 50
        assert each(knobs) == QK + PV


def test_with_overlap_the_busier_engine_decides():
    stages = {**STAGES, "p": replace(STAGES["p"], service=500)}
    knobs = FlashKnobs(sync_holds=False)
    expected = 1000 + 200 + QK + 8 * (500 + GU) + 50 + PV + 7
    # the last tile's hand-over and second product are exposed, but for the update before it
    assert cycles(knobs=knobs, stages=stages) == expected - GU


def test_looking_ahead_by_one_is_waiting():
    """qk of the next tile begins when pv of this one is through: only gu overlaps."""
    knobs = FlashKnobs(look_ahead=1, sync_holds=False)
    assert cycles(knobs=knobs) == 1000 + 200 + 8 * (QK + P + 50 + PV) + GU + 7


@pytest.mark.parametrize("every", [1, 2, 4])
def test_a_hand_over_that_holds_counts_once_for_so_many_tiles(every):
    assert each(FlashKnobs(look_ahead=8, sync_every=every)) == QK + PV + 50 / every


def test_waves_and_the_last_one():
    """Ten blocks on four cores: two whole waves, and one of two cores that contend less."""
    stages = {**STAGES, "qk": replace(STAGES["qk"], read=3200)}  # 50 cycles a core
    sizes = replace(SIZES, queries=10 * 128)
    machine = replace(MACHINE, cores=4)
    whole, last = 4 * 50, 2 * 50
    expected = 1000 + 200 + 8 * (2 * (whole + P + 50 + PV + GU) + (last + P + 50 + PV + GU)) + 7
    # dispatching and storing a block go on beside the others
    assert cycles(sizes, machine, stages=stages) == expected


@pytest.mark.parametrize("every", [1, 2])
@pytest.mark.parametrize("holds", [True, False])
@pytest.mark.parametrize("buffers", [True, False])
def test_folded_is_unfolded(every, holds, buffers):
    sizes = replace(SIZES, queries=5 * 128, keys=32 * 128)
    knobs = FlashKnobs(True, buffers, 4, every, holds)
    machine = replace(MACHINE, cores=2)
    folded = cycles(sizes, machine, knobs)
    assert folded == cycles(sizes, machine, knobs, fold=False)


def test_knobs_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="hands over 4 tiles at once, but runs 2 ahead"):
        cycles(knobs=FlashKnobs(look_ahead=2, sync_every=4))
    with pytest.raises(ValueError, match="8 tiles cannot be handed over 3 at a time"):
        cycles(knobs=FlashKnobs(look_ahead=4, sync_every=3))


def test_stages_of_a_design_by_hand():
    """910B1: 4096 MACs a cycle in one cube, two vector engines of 64 lanes; of the shared L2
    110 * 0.85 B/cycle read and 86 * 0.85 written are one core's."""
    path = memory_path(read_design("ascend_910b1"), "aicore")
    work = FlashWork("fp16", 4, {"mul": 3.0, "exp": 1.0}, {"add": 2.0})
    sizes = FlashSizes(128, 256, 1, 128, 128, 256)
    found = design_stages(path, sizes, work)
    computing = 128 * 256 * 128 / 4096
    scores = 128 * 256 * 4 / (86 * 0.85)
    assert found["qk"].hidden == pytest.approx(computing)
    assert found["qk"].service == pytest.approx(scores)
    assert found["qk"].written == 128 * 256 * 4
    assert found["p"].service == pytest.approx(128 * 256 * (3 / 64 + 1 / 16) / 2)
    assert found["gu"].hidden == pytest.approx(128 * 128 * 2 / 64 / 2)
    machine = flash_machine(path, 24)
    assert machine.read_bytes == pytest.approx(24 * 110 * 0.85)
    assert machine.sync == pytest.approx(540e-9 * 1.85e9)
