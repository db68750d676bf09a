"""Board power against NVML: what a row is judged by, and what a first run reads."""

from __future__ import annotations

import pytest

from accel_models.read_design import read_design
from sim.measured.cases import Case
from sim.measured.power import is_first_run, reading
from sim.report.validation import validation_document
from sim.validate import validate

HEADER = "device,dtype,M,N,K,latency_us,power_w,power_limit_w,data_init,source"
TRTLLM = "aic:gb200/gemm/trtllm/1.3.0rc17"


def case(dtype: str, m: int, n: int, k: int, source: str = TRTLLM) -> Case:
    values = {"dtype": dtype, "M": str(m), "N": str(n), "K": str(k), "source": source}
    return Case("x.csv", 2, {"device": "GB200", "latency_us": "500", **values})


@pytest.fixture
def rows(tmp_path):
    def write(*lines: str):
        path = tmp_path / "power.csv"
        path.write_text("\n".join([HEADER, *lines]) + "\n")
        return path

    return write


@pytest.mark.parametrize(
    ("m", "n", "k", "first"),
    [
        (32768, 8192, 8192, True),
        (4353, 8192, 8192, True),  # the fourth of the collector's list
        (4352, 8192, 8192, False),
        (4352, 65536, 2048, True),  # 32768 x 65536 is left out, so that this is the fourth
        (4097, 65536, 65536, False),
        (1024, 8192, 8192, False),
    ],
)
def test_the_largest_of_every_sweep_are_first_runs(m: int, n: int, k: int, first: bool) -> None:
    assert is_first_run(case("bf16", m, n, k)) is first
    assert not is_first_run(case("bf16", m, n, k, source="mine"))


def test_a_first_run_reads_as_much_of_what_was_before() -> None:
    """Static before bf16; before fp8 a bf16 row with M = 1; later rows are read as they are."""
    drawn = {"8192": 1000.0, "1": 800.0, "1024": 1000.0}

    def watts(row: Case) -> float:
        assert row.values["dtype"] == ("bf16" if row.values["M"] == "1" else "fp8") or not fp8
        return drawn[row.values["M"]]

    fp8 = False
    assert reading(case("bf16", 8192, 8192, 8192), watts, 200.0) == 600.0
    assert reading(case("bf16", 1024, 8192, 8192), watts, 200.0) == 1000.0
    fp8 = True
    assert reading(case("fp8", 8192, 8192, 8192), watts, 200.0) == 900.0


def test_watts_are_judged_and_short_rows_are_not(rows) -> None:
    path = rows(
        f"GB200,bf16,4097,51200,8192,2612,1169.8,1200,random,{TRTLLM}",
        f"GB200,bf16,1024,8192,8192,120,900,1200,random,{TRTLLM}",
    )
    found = validate("gb200", path, op="power")
    (row,), (short,) = found.predicted, found.unsupported
    assert row.measured == 1169.8
    assert row.ape < 0.03
    assert row.bound_by == "power"
    assert row.in_band is None
    assert "no longer than 300 us" in short.why
    document = validation_document(found)
    assert document["rows"][0]["measured"] == 1169.8
    latency = validate("gb200", path, op="gemm")
    assert latency.predicted[0].measured == pytest.approx(2612e-6)


def test_the_columns_alone_are_those_of_multiplications(rows) -> None:
    path = rows(f"GB200,bf16,64,1024,1024,500,600,1200,random,{TRTLLM}")
    assert validate("gb200", path).op == "gemm"


def test_no_board_draws_more_than_its_limit(rows) -> None:
    shapes = [(64, 8192, 8192), (2048, 16384, 7168), (1, 51200, 51200)]
    lines = [f"X,{d},{m},{n},{k},500,500,1,random,x" for m, n, k in shapes for d in ("bf16", "fp8")]
    for name in ("h100_sxm", "b200", "gb200", "l40s"):
        power = read_design(name).power
        for row in validate(name, rows(*lines), op="power").predicted:
            assert row.predicted is not None
            assert power.static < row.predicted <= power.limit * (1 + 1e-9)
