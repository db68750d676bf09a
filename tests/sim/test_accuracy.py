"""The errors that docs/accuracy.md states, on rows that no fit of a shipped design saw."""

from pathlib import Path

import pytest

from sim.accuracy import FILES, groups, own_designs, rooflines, transfers
from sim.measured.split import FOLDS
from sim.validate import scores, validate

DATA = Path(__file__).parents[1] / "data" / "silicon"

# percent: what is reached, and a tenth of it
GEMM = {
    "a100_sxm": {"bf16": 6.8, "int8_sq": 9.2, "w4a16": 10, "w8a16": 10.5},
    "h100_sxm": {"bf16": 5.7, "fp8": 11.4, "fp8_block": 10.4},
    "l40s": {"bf16": 11.2, "fp8": 11.8, "fp8_static": 14.4, "fp8_block": 8.6, "int8_sq": 10.1}
    | {"w4a16": 8.6, "w8a16": 8.2},
    "b200": {"bf16": 8.5, "fp8": 12, "fp8_block": 12.9, "nvfp4": 9.9},
}

# the same of other ops, over all unseen rows of a design; "waiting": those of a profiler that
# include waiting for other chips (Vidur's)
OTHERS = {
    "vector": {"a100_pcie": 8.1, "a100_sxm": 7, "b200": 8.2, "h100_sxm": 3.3, "l40s": 13.4},
    "comm": {"a100_sxm": 14, "h100_sxm": 7.3, "b200": 9.1, "l40s": 17.5},
    "comm, waiting": {"a100_sxm": 27, "h100_sxm": 15.5, "a100_pcie": 24.5},
    "moe": {"a100_sxm": 8.3, "h100_sxm": 24.1, "b200": 39.5},
    "layer": {"a100_sxm": 12.3, "a100_pcie": 8.2},
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


@pytest.mark.parametrize(
    "what",
    ["vector", "comm", "comm, waiting", "moe", pytest.param("layer", marks=pytest.mark.slow)],
)
def test_other_ops_that_were_not_fitted(what):
    op, _, waiting = what.partition(", ")
    rows = {design: [] for design in OTHERS[what]}
    for group in groups(DATA, op):
        if group.design in rows and ("vidur" in group.what) == bool(waiting):
            rows[group.design] += group.of_fold(True)
    for design, most in OTHERS[what].items():
        assert rows[design], design
        assert 100 * scores(rows[design])["mape"] < most, design


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


def test_a_sibling_that_was_never_fitted():
    rows = validate("gb200", DATA / "gemm_power.csv", op="gemm").predicted
    rows = [row for row in rows if row.case.values["dtype"] == "bf16"]
    long = [row for row in rows if row.measured > 300e-6]  # at the board's limit for a second
    assert 100 * scores(rows)["mape"] < 11.8
    assert 100 * scores(long)["mape"] < 6.2


@pytest.mark.slow
def test_every_op_has_rows_on_devices_of_ours():
    assert set(own_designs()) >= {"A100-SXM4-80GB", "H100-SXM5-80GB", "L40S", "B200-SXM-180GB"}
    for op in FILES:
        if op not in ("gemm", "layer"):
            found = list(groups(DATA, op))
            assert sum(len(group.rows) for group in found) > 100, op
