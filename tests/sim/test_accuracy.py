"""The errors that docs/accuracy.md states, on rows that no fit of a shipped design saw."""

from pathlib import Path

import pytest

from sim.accuracy import FILES, groups, own_designs, rooflines, transfers
from sim.measured.split import FOLDS

DATA = Path(__file__).parents[1] / "data" / "silicon"

# percent: what is reached, and a tenth of it
GEMM = {
    "a100_sxm": {"bf16": 6.8, "int8_sq": 9.5, "w4a16": 10, "w8a16": 10.5},
    "h100_sxm": {"bf16": 6.5, "fp8": 12.5, "fp8_block": 10},
    "l40s": {"bf16": 13, "fp8": 13, "fp8_block": 10.5, "int8_sq": 12, "w4a16": 9.5, "w8a16": 9},
    "b200": {"bf16": 9, "fp8": 12, "fp8_block": 13.5, "nvfp4": 10.5},
}


@pytest.fixture(scope="module")
def gemm():
    return {(group.design, group.what): group for group in groups(DATA, "gemm")}


@pytest.mark.parametrize("design", GEMM)
def test_multiplications_that_were_not_fitted(design, gemm):
    for dtype, most in GEMM[design].items():
        group = gemm[design, dtype]
        assert 100 * group.mape(True) < most, dtype
        assert not group.unsupported


def test_rows_are_split_and_none_is_lost(gemm):
    for group in gemm.values():
        judged, fitted = group.of_fold(True), group.of_fold(False)
        assert len(judged) + len(fitted) == len(group.rows)
        if len(group.rows) > 100:
            assert 0.5 / FOLDS < len(judged) / len(group.rows) < 2 / FOLDS


def test_the_model_beats_both_rooflines(gemm):
    for (design, dtype), group in gemm.items():
        if len(group.of_fold(True)) >= 20:
            naive, three = rooflines(group)
            assert group.mape(True) < three < naive, (design, dtype)


def test_a_library_is_worth_more_on_its_own_generation():
    found = {(device, other): mape for device, other, mape in transfers(DATA)}
    devices = {device for device, _ in found}
    assert len(devices) == 4
    for device in devices:
        assert found[device, device] == min(found[device, other] for other in devices)


@pytest.mark.slow
def test_every_op_has_rows_on_devices_of_ours():
    assert set(own_designs()) >= {"A100-SXM4-80GB", "H100-SXM5-80GB", "L40S", "B200-SXM-180GB"}
    for op in FILES:
        if op not in ("gemm", "layer"):
            found = list(groups(DATA, op))
            assert sum(len(group.rows) for group in found) > 100, op
