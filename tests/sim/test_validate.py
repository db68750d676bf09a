"""Predictions against measurements: what is read, what is scored, what is said."""

import json
from math import sqrt

import pytest
from tiny import without_library
from typer.testing import CliRunner

from accel_models.read_design import read_design
from kernels_ref.errors import UserError
from mappers import map_graph
from sim.cli.main import app
from sim.measured.cases import read_cases
from sim.measured.gemm import DTYPES, gemm_graphs
from sim.report.validation import validation_document
from sim.validate import Judged, scores, validate

COMM = "device,n_gpus,bytes,dtype,op,latency_us"
VECTOR = "device,op,dtype,d0,d1,latency_us"
GEMM = "device,dtype,M,N,K,latency_us,best_us,worst_us"
A100 = "A100-SXM4-80GB"


@pytest.fixture
def csv(tmp_path):
    def write(*lines: str):
        path = tmp_path / "rows.csv"
        path.write_text("\n".join(lines) + "\n")
        return path

    return write


def gemm_us(dtype: str, m: int, n: int, k: int, csv) -> float:
    """Kernels of one row, mapped by themselves."""
    (case,), _ = read_cases(csv(GEMM, f"X,{dtype},{m},{n},{k},1,,"))
    placed = [p for g in gemm_graphs(case) for p in map_graph(g, without_library("h100_sxm"))]
    return 1e6 * sum(float(p.cost.latency_s) for p in placed)


def test_scores_by_hand(csv):
    predicted = gemm_us("bf16", 64, 1024, 512, csv)
    bands = ((1.0, "", ""), (0.8, predicted, predicted), (2.0, 2 * predicted, 3 * predicted))
    rows = [f"X,bf16,64,1024,512,{predicted * f},{least},{most}" for f, least, most in bands]
    found = validate(without_library("h100_sxm"), csv(GEMM, *rows)).scores()
    assert found["mape"] == pytest.approx((0 + 0.25 + 0.5) / 3)
    assert found["median_ape"] == pytest.approx(0.25)
    assert found["geomean_ratio"] == pytest.approx((1 * 1.25 * 0.5) ** (1 / 3))
    assert (found["within_10"], found["within_50"]) == (pytest.approx(1 / 3), pytest.approx(1))
    assert found["in_band"] == 0.5  # of the two that have one


def test_no_rows_have_no_scores():
    assert set(scores([]).values()) == {None}


def test_a_band_reaches_a_tenth_beyond(csv):
    (case,), _ = read_cases(csv(GEMM, "X,bf16,1,8,8,10,8,12"))
    inside = {us: Judged(case, us * 1e-6).in_band for us in (7.1, 7.3, 13.1, 13.3)}
    assert inside == {7.1: False, 7.3: True, 13.1: True, 13.3: False}


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_is_predicted_or_refused(dtype, csv):
    found = validate("b200", csv(GEMM, f"X,{dtype},16,1024,1024,5,,"))
    assert len(found.predicted) + len(found.unsupported) == 1
    if found.unsupported:
        assert found.rows[0].why


def test_quantizing_is_a_kernel_of_its_own(csv):
    plain, quantized = (gemm_us(t, 4096, 4096, 4096, csv) for t in ("bf16", "fp8"))
    assert 0.4 * plain < quantized < plain
    (case,), _ = read_cases(csv(GEMM, "X,fp8,4096,4096,4096,1,,"))
    names = [node.op.name for graph in gemm_graphs(case) for node in graph]
    assert names == ["quantize", "gemm"]


def test_a_device_is_asked_for_where_there_are_several(csv):
    path = csv(GEMM, f"{A100},bf16,64,128,128,5,,", "L40S,bf16,64,128,128,6,,")
    with pytest.raises(UserError, match=f"measured as {A100}: write --device NAME"):
        validate("a100_sxm", path)
    with pytest.raises(UserError, match="no device 'L40'; did you mean 'L40S'"):
        validate("a100_sxm", path, device="L40")
    assert len(validate("a100_sxm", path, device=A100).rows) == 1
    everything = validate("a100_sxm", path, device="all")
    assert len(everything.rows) == 2
    assert "rows of L40S" in everything.warnings[0]


def test_a_design_is_not_measured_as_the_one_it_extends():
    assert read_design("a100_sxm").measured_as == [A100]
    assert read_design("a100_sxm_host").measured_as == []
    assert read_design("h200_sxm").measured_as == ["H200-SXM5-141GB"]


def test_what_a_design_cannot_do_is_reported(csv):
    rows = ("X,2,4096,fp16,all_reduce,5", "X,2,4096,fp16,send_recv,5", "X,4,4096,fp16,gossip,5")
    found = validate("a100_sxm", csv(COMM, *rows[::2]))
    assert (len(found.predicted), len(found.unsupported)) == (1, 1)
    document = validation_document(found)
    assert (document["cases"], document["unsupported"]) == (1, 1)
    assert document["unsupported_rows"][0]["line"] == 3
    assert "no collective 'gossip'" in document["unsupported_rows"][0]["why"]
    assert json.loads(json.dumps(document)) == document
    alone = validate("raspberry_pi_4", csv(COMM, *rows))
    assert "no link joins 2 chips" in alone.rows[0].why
    assert not alone.predicted
    assert set(alone.scores().values()) == {None}


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ((GEMM,), "no rows"),
        ((GEMM, "X,bf16,64,128"), "rows.csv:2: has more or fewer values .* 4 for 8; quote"),
        ((GEMM, "X,bf16,64,128,1k,5,,"), "rows.csv:2: K: '1k'; write a positive number"),
        ((GEMM, "X,bf16,64,128,8,-5,,"), "rows.csv:2: latency_us: '-5'"),
        ((GEMM, "X,bf16,6.5,128,8,5,,"), "rows.csv:2: M: '6.5'; write a whole number"),
        ((GEMM, "X,bf16,64,128,8,nan,,"), "rows.csv:2: latency_us: 'nan'; write a positive number"),
        ((GEMM, ",bf16,64,128,8,5,,"), "rows.csv:2: device: ''; name the device"),
        ((f"{GEMM},M", "X,bf16,64,128,8,5,,,65"), "rows.csv:1: column 'M' is there twice; rename"),
        (("device;dtype;M", "X;bf16;1"), "rows.csv:1: .* separated by semicolons; .* by commas"),
        (("device\tdtype\tM", "X\tbf16\t1"), "rows.csv:1: its columns are separated by tabs"),
        (("device,M,latency_us", "X,1,2"), "rows.csv:1: its columns are those of no kind of op"),
        (("device,dtype,M,N,latency_us", "X,bf16,1,2,3"), "rows.csv:1: no column K, .* gemm need$"),
        (
            ("device,Dtype,m,N,K,latency_ms", "X,bf16,1,2,3,4"),
            "no column latency_us, dtype, M, .*; rename 'latency_ms' to latency_us, 'Dtype' to "
            r"dtype, 'm' to M \(microseconds\)$",
        ),
        (("", "X,1"), "rows.csv:2: has more or fewer values than there are columns, 2 for 0"),
        ((VECTOR, "X,gelu,fp16,8,x,5"), "rows.csv:2: d1: 'x'; write a positive number"),
    ],
)
def test_a_file_that_is_not_right_says_where(lines, says, csv):
    with pytest.raises(UserError, match=says):
        validate("a100_sxm", csv(*lines))


def test_what_spreadsheets_add_is_no_mistake(tmp_path):
    path = tmp_path / "rows.csv"
    lines = ("device, dtype, M, N, K, latency_us,,", "X, bf16, 64, 1024, 512, 5,,", "")
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())  # a mark of UTF-8 before all
    ((case,), columns) = read_cases(path)
    assert columns[:2] == ("device", "dtype")
    assert (case.line, case.device, case.count("M")) == (2, "X", 64)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "no rows; the first line names the columns"),
        (
            "device,dtype\nX,bf16\n".encode("utf-16"),
            "is not text in UTF-8; save it as CSV in UTF-8",
        ),
    ],
)
def test_a_file_that_is_no_csv_is_refused(content, says, tmp_path):
    path = tmp_path / "rows.csv"
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"rows.csv: {says}"):
        read_cases(path)
    with pytest.raises(UserError, match=r"none.csv: cannot be read: No such file or directory$"):
        read_cases(tmp_path / "none.csv")


def test_a_dtype_that_is_not_known_is_said_with_its_line(csv):
    rows = ("X,bf16,64,128,128,5,,", "X,bf17,64,128,128,5,,", "X,bf17,32,128,128,5,,")
    some = CliRunner().invoke(app, ["validate", "h100_sxm", str(csv(GEMM, *rows))])
    assert some.exit_code == 0
    said = " ".join(some.stdout.split())
    assert "2 rows without a prediction: " in said
    assert "rows.csv:3: dtype: no dtype 'bf17'; did you mean 'bf16'?" in said
    none = CliRunner().invoke(app, ["validate", "h100_sxm", str(csv(GEMM, *rows[1:])), "--json"])
    assert none.exit_code == 1
    assert none.stderr.endswith(
        "rows.csv:2: dtype: no dtype 'bf17'; did you mean 'bf16'? No row has a prediction\n"
    )
    assert json.loads(none.stdout)["unsupported"] == 2


def test_a_kind_must_have_its_columns(csv):
    with pytest.raises(UserError, match="no column phase, batch"):
        validate("a100_sxm", csv(GEMM, "X,bf16,1,8,8,5,,"), op="attention")
    with pytest.raises(UserError, match="did you mean 'gemm'"):
        validate("a100_sxm", csv(GEMM, "X,bf16,1,8,8,5,,"), op="gem")


ATTENTION = "device,phase,batch,q_heads,kv_heads,head_dim,seq_len,q_dtype,kv_dtype,latency_us"


def test_attention_reads_a_cache_in_steps_only(csv):
    rows = [f"X,{phase},8,32,8,128,2048,bf16,{kv},100" for phase in ("prefill", "decode")
            for kv in ("bf16", "fp8")]  # fmt: skip
    found = validate(without_library("h100_sxm"), csv(ATTENTION, *rows))
    prompt, prompt8, step, step8 = (row.predicted for row in found.predicted)
    assert prompt8 < prompt < 1.05 * prompt8  # the cache is only written
    assert step8 < 0.8 * step  # and read
    assert found.rows[2].bound_by == "hbm"


def test_attention_of_a_library_is_its_kernels(csv):
    rows = [f"X,{phase},64,8,8,128,8192,{q},{kv},100" for phase in ("prefill", "decode")
            for q, kv in (("bf16", "bf16"), ("bf16", "fp8"), ("int8", "bf16"))]  # fmt: skip
    found = validate("h100_sxm", csv(ATTENTION, *rows))
    prompt, prompt8, none, step, step8, _ = (row.predicted for row in found.rows)
    assert prompt == pytest.approx(prompt8, rel=0.15)  # FlashAttention-3 transposes fp8 values
    assert step8 < 0.6 * step
    assert none is None
    assert found.rows[0].bound_by == "compute"
    assert found.rows[3].bound_by == "dram"
    assert found.unsupported[0].why == "no attention kernel for int8 queries and a bf16 cache"
    with pytest.raises(UserError, match="phase: 'decoding'"):
        validate("h100_sxm", csv(ATTENTION, "X,decoding,8,8,8,128,64,bf16,bf16,1"))


def test_vector_functions_stream_what_they_read(csv):
    """On cores whose kernels are not known."""
    rows = [f"X,{op},fp16,8192,8192,1" for op in ("rmsnorm", "add", "silu_mul")]
    once, twice, gated = (r.predicted for r in validate("tpu_v4", csv(VECTOR, *rows)).predicted)
    assert twice / once == pytest.approx(1.5, rel=0.02)  # two in, one out
    assert gated == pytest.approx(twice, rel=0.02)
    unknown = validate("tpu_v4", csv(VECTOR, "X,rmsnorn,fp16,8,8,1")).unsupported
    assert "did you mean 'rmsnorm'" in unknown[0].why


def test_collectives_run_over_the_designs_links(csv):
    rows = [f"X,8,{1 << 30},fp16,{op},1" for op in ("all_reduce", "all_gather")]
    both = validate("a100_sxm", csv(COMM, *rows)).predicted
    assert both[0].predicted / both[1].predicted == pytest.approx(2, rel=0.05)
    assert both[0].bound_by == "nvlink"


def test_a_page_shows_rows_and_scores(csv, tmp_path):
    from sim.report.validation_page import write_page

    rows = [f"X,bf16,{m},1024,1024,{3 + sqrt(m)},," for m in (1, 64, 4096)]
    page = tmp_path / "page.html"
    write_page(validate("h100_sxm", csv(GEMM, *rows, "X,w4a16,1,1,1,1,,")), page)
    text = page.read_text()
    assert "Parity" in text
    assert "Error by M" in text
    assert "arithmetic intensity" in text


def test_methods_that_are_not_known_are_said(csv):
    columns = GEMM + ",method"
    found = validate("h100_sxm", csv(columns, "X,bf16,64,1024,512,5,,,cudagraf"))
    assert any("did you mean 'cudagraph'" in warning for warning in found.warnings)


def test_quantized_is_zero_or_one(csv):
    columns = GEMM + ",act_quant"
    zero, one = (
        validate("h100_sxm", csv(columns, f"X,fp8,64,1024,512,5,,,{said}")).rows[0].predicted
        for said in ("0.0", "1")
    )
    assert zero < one
    with pytest.raises(UserError, match="act_quant: 'yes'; write 0 or 1"):
        validate("h100_sxm", csv(columns, "X,fp8,64,1024,512,5,,,yes"))


def test_a_host_s_clock_may_time_any_function(csv):
    found = validate(
        "h100_sxm", csv(VECTOR + ",method", "X,rmsnorm,bf16,1024,4096,40,pytorch_wallclock")
    )
    assert found.rows[0].predicted > 10e-6
