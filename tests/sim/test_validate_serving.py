"""Servers: what a chip runs in an iteration, the closed loop, and rows of measured ones."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from accel_models.path import memory_path
from accel_models.read_design import read_design
from accel_models.source import parse_source
from kernels_ref.errors import UserError
from sim.accuracy import groups
from sim.measured.cases import QUANTITY, Case
from sim.measured.iteration import Iteration, cache_bytes, kernels_of, weight_bytes
from sim.measured.library_serving import fitting_requests, solved
from sim.measured.served import COLUMNS, served_of
from sim.measured.servers import Client, Server, clients, servers
from sim.measured.serving import Needed, bunched, needed, state, with_waiting
from sim.report.validation import validation_document
from sim.report.validation_page import write_page
from sim.validate import scores, validate

DATA = Path(__file__).parents[1] / "data" / "silicon"
LLAMA, QWEN, OSS = "meta-llama/Llama-3.1-8B-Instruct", "Qwen/Qwen3-32B", "openai/gpt-oss-120b"
ROW = {
    "device": "H100-SXM5-80GB", "backend": "vllm", "model": LLAMA, "gemm_quant_mode": "",
    "isl": "1000", "osl": "100", "batch_size": "8", "concurrency": "8", "tp_size": "1",
    "pp_size": "1", "attention_dp_size": "", "moe_tp_size": "1", "moe_ep_size": "1",
    "ttft_ms": "100", "tpot_ms": "10",
}  # fmt: skip


def case(**changed: str) -> Case:
    return Case("rows.csv", 2, ROW | changed)


def served(**changed: str):
    return served_of(case(**changed))


def quick(**changed):
    """A server and a client with round numbers: 1000 tokens, 10 rounds."""
    server = {"tokens": 1000, "prefill": "mixed", "reserves": "answer", "memory": 0.9,
              "step": "1 ms", "token": "1 us"}  # fmt: skip
    client = {"shortest": 1.0, "rounds": 10, "front": "10 ms"}
    return replace(
        served(isl="500", osl="100", batch_size="10", concurrency="10"),
        server=Server.model_validate(server | changed),
        client=Client.model_validate(client),
    )


def path(name: str = "h100_sxm"):
    design = read_design(name)
    return memory_path(design, next(iter(design.cores)))


def shapes(kernels, kind: str, *columns: str) -> list[tuple[str, ...]]:
    return [tuple(k.case.values[c] for c in columns) for k in kernels if k.kind == kind]


# --- what a row says ---


@pytest.mark.parametrize(
    ("row", "copies", "requests"),
    [
        ({}, 1, 8),
        ({"concurrency": ""}, 1, 8),
        ({"concurrency": "64"}, 1, 8),  # eight servers
        ({"tp_size": "4", "concurrency": "32"}, 4, 32),  # attention is copied over the chips
        ({"tp_size": "4", "attention_dp_size": "2", "concurrency": "16"}, 2, 16),
    ],
)
def test_copies_and_requests(row, copies, requests):
    found = served(**row)
    assert (found.copies, found.requests) == (copies, requests)


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({"model": "Qwen/Qwen3-33B"}, "no configuration of 'Qwen/Qwen3-33B'; did you mean"),
        ({"model": "deepseek-ai/DeepSeek-R1"}, "latent attention"),
        ({"gemm_quant_mode": "fp9"}, "did you mean 'fp8'"),
        ({"pp_size": "2"}, "stages"),
        ({"backend": "vlm"}, "did you mean 'vllm'"),
        ({"tp_size": "4", "attention_dp_size": "3"}, "equal copies"),
        ({"model": OSS, "tp_size": "4", "moe_tp_size": "2"}, "2 x 1 are not 4 chips"),
    ],
)
def test_what_is_not_modeled_has_a_reason(row, why):
    with pytest.raises(UserError, match=why):
        served(**row)


def test_formats():
    assert served(gemm_quant_mode="fp8").dense == "fp8_static"
    assert served(gemm_quant_mode="fp8").cache == "bf16"
    assert served(gemm_quant_mode="fp8", backend="trtllm").cache == "fp8"
    assert served(kv_dtype="fp8").cache == "fp8"
    oss = served(model=OSS, gemm_quant_mode="nvfp4")
    assert (oss.dense, oss.experts) == ("bf16", "nvfp4")


def test_lengths_are_those_of_the_client():
    """InferenceMAX draws them from 0.8 to 1 of what is said."""
    assert served(aic_id="h100_vllm_agg_c8_tp1_epnone_3").prompt == 1000
    assert served(aic_id="h100_vllm_fp8_agg_c8_tp1_ep1_738").prompt == 900


def test_every_number_of_servers_has_a_source():
    for block in (*servers().values(), *clients().values()):
        numbers = [k for k, v in block if isinstance(v, (int, float)) and k != "source"]
        assert numbers
        for name in numbers:
            parse_source(block.source.get(name, block.source.get("default")))


# --- what a chip runs ---


def test_a_chip_has_its_share_of_a_layer():
    """16 of 32 query heads, 4 of 8 key heads, half of 14336; 8 decodes and a prompt."""
    kernels = list(kernels_of(served(tp_size="2"), Iteration(8, 1050, 1000)))
    assert shapes(kernels, "gemm", "M", "N", "K") == [
        ("1008", str((16 + 2 * 4) * 128), "4096"),
        ("1008", "4096", "2048"),
        ("1008", "14336", "4096"),
        ("1008", "4096", "7168"),
        ("9", "64128", "4096"),
    ]
    assert shapes(kernels, "attention", "phase", "batch", "seq_len", "q_heads") == [
        ("decode", "8", "1050", "16"),
        ("prefill", "1", "1000", "16"),
    ]
    assert shapes(kernels, "comm", "op", "bytes") == [("all_reduce", str(1008 * 4096 * 2))] * 2
    assert {k.times for k in kernels} == {32, 1}
    assert not shapes(kernels_of(served(), Iteration(8, 1050, 0)), "comm", "op")


def test_parts_of_a_prompt_have_their_share_of_its_attention():
    (part,) = [k for k in kernels_of(served(), Iteration(0, 0, 250)) if k.case.values.get("phase")]
    assert (part.times, part.case.values["seq_len"]) == (32 / 4, "1000")


def test_windows_and_experts():
    oss = served(model=OSS, tp_size="2", moe_tp_size="2", gemm_quant_mode="nvfp4")
    kernels = list(kernels_of(oss, Iteration(16, 1050, 0)))
    assert shapes(kernels, "attention", "seq_len") == [("128",), ("1050",)]
    assert shapes(kernels, "moe", "num_tokens", "moe_tp", "dtype") == [("16", "2", "nvfp4")] * 2
    prompt = [k for k in kernels_of(oss, Iteration(0, 0, 1000)) if k.kind == "attention"]
    assert prompt[0].times * 256 * int(prompt[0].case.values["batch"]) == 18 * 1000


def test_copied_attention_gathers_before_the_experts():
    row = {"model": OSS, "tp_size": "4", "moe_ep_size": "4", "concurrency": "32"}
    kernels = list(kernels_of(served(**row), Iteration(32, 1050, 0)))
    assert shapes(kernels, "comm", "op")[:2] == [("all_gather",), ("reduce_scatter",)]
    assert shapes(kernels, "attention", "batch", "q_heads")[0] == ("8", "64")
    assert shapes(kernels, "moe", "num_tokens")[0] == ("32",)


@pytest.mark.parametrize(
    ("model", "parameters"), [(LLAMA, 8.03e9), (QWEN, 32.76e9), (OSS, 116.8e9)]
)
def test_weights_are_the_models(model, parameters):
    """In 16 bits, but for norms and biases; published counts (workloads/models/published.yaml)."""
    whole = weight_bytes(served(model=model))
    assert whole == pytest.approx(2 * parameters, rel=2e-3)
    halves = weight_bytes(served(model=model, tp_size="2", moe_tp_size="2"))
    router = 36 * 128 * 2880 * 2 if model == OSS else 0  # every chip has all of it
    assert halves == pytest.approx((whole + router) / 2, rel=1e-6)


def test_what_fits():
    """Of 80 GiB 0.9, less the weights; 2 x 32 layers x 8 heads x 128 x 2 B a token."""
    found = served(osl="1000", batch_size="1000", concurrency="1000")
    assert cache_bytes(found) == 131072
    left = 0.9 * 80 * 2**30 - weight_bytes(found)
    assert fitting_requests(found, path()) == pytest.approx(left / 131072 / 1500)
    with pytest.raises(UserError, match="no room"):
        fitting_requests(served(model=OSS), path())


# --- the closed loop ---


def test_a_steady_state_by_hand():
    """10 requests, prompts of 500, answers of 100: 0.1 starts an iteration, so a prompt in every
    tenth; at once they are 5 iterations of 1000 tokens."""
    need = needed(quick(), 10, 10)
    assert need == Needed(Iteration(10, 550, 0), Iteration(10, 550, 500), Iteration(0, 550, 1000))
    seconds = {need.plain: 0.010, need.mixed: 0.050, need.burst: 0.080}
    plain, mixed, burst = 0.011 + 10e-6, 0.051 + 11e-6, 0.081 + 2e-6
    every = plain + 0.1 * (mixed - plain)
    load = 0.1 * 500 / 990
    steady = 0.010 + every + load / (2 * (1 - load)) * mixed + mixed
    found = state(quick(), 10, need, seconds)
    assert found.share == pytest.approx(0.1)
    assert found.ttft_s == pytest.approx(0.9 * steady + 0.1 * (0.010 + 3 * burst))
    assert found.tpot_s == pytest.approx(every + 2 * burst / 100 / 10)
    answer = 100 * found.tpot_s
    assert found.running == pytest.approx(10 * answer / (found.ttft_s + answer))
    assert with_waiting(quick(), 10, found).ttft_s == pytest.approx(found.ttft_s)


def test_prompts_that_go_first_have_iterations_of_their_own():
    first = quick(prefill="first")
    need = needed(first, 10, 5)
    assert bunched(first)
    assert need.plain.decodes == 10  # all of them, in step
    assert need.mixed.decodes == 0
    seconds = dict.fromkeys((need.plain, need.mixed, need.burst), 0.010)
    plain, burst = 0.011 + 10e-6, 0.011 + 2e-6
    found = state(first, 10, need, seconds)
    assert found.ttft_s == pytest.approx(0.010 + 3 * burst)
    assert found.tpot_s == pytest.approx(plain + 2 * burst / 100)
    varied = replace(first, client=first.client.model_copy(update={"shortest": 0.8}))
    assert not bunched(varied)


def test_who_does_not_fit_waits_outside():
    """Little's law for all ten, though four run."""
    need = needed(quick(), 4, 4)
    seconds = dict.fromkeys((need.plain, need.mixed, need.burst), 0.010)
    inside = state(quick(), 4, need, seconds)
    outside = with_waiting(quick(), 4, inside)
    rate = 4 / (inside.ttft_s + 100 * inside.tpot_s)
    assert outside.ttft_s + 100 * outside.tpot_s == pytest.approx(10 / rate)
    assert outside.tpot_s == inside.tpot_s


def test_more_clients_wait_longer_and_get_more_in_all():
    rows = [served(batch_size=str(n), concurrency=str(n)) for n in (1, 4, 16, 64, 256)]
    ends = [end for _, end in solved(dict.fromkeys(rows), path(), {}).values()]
    assert [e.tpot_s for e in ends] == sorted(e.tpot_s for e in ends)
    assert [e.ttft_s for e in ends] == sorted(e.ttft_s for e in ends)
    rates = [
        row.requests / (end.ttft_s + row.answer * end.tpot_s)
        for row, end in zip(rows, ends, strict=True)
    ]
    assert rates == sorted(rates)


# --- files ---


@pytest.fixture
def csv_of(tmp_path):
    def write(*rows: dict[str, str]) -> Path:
        file = tmp_path / "servers.csv"
        with file.open("w", newline="") as opened:
            writer = csv.DictWriter(opened, list(ROW))
            writer.writeheader()
            writer.writerows(ROW | row for row in rows)
        return file

    return write


def test_a_line_is_two_rows(csv_of, tmp_path):
    found = validate("h100_sxm", csv_of({}, {"model": "deepseek-ai/DeepSeek-V3"}))
    assert found.op == "serving"
    assert [(row.case.line, row.column) for row in found.predicted] == [
        (2, "ttft_ms"),
        (2, "tpot_ms"),
    ]
    assert [row.measured for row in found.predicted] == pytest.approx([0.1, 0.01])
    assert [row.why for row in found.unsupported] == [
        "model: latent attention has no library model"
    ] * 2
    document = validation_document(found)
    assert (document["cases"], document["unsupported"]) == (2, 2)
    assert [row[QUANTITY] for row in document["rows"]] == ["ttft_ms", "tpot_ms"]
    both = [document[name]["mape"] for name in ("ttft_ms", "tpot_ms")]
    assert document["mape"] == pytest.approx(np.mean(both))
    write_page(found, tmp_path / "page.html")
    assert "measured, ms" in (tmp_path / "page.html").read_text()


def test_a_design_without_a_library_says_so(csv_of):
    (why,) = {row.why for row in validate("tpu_v4", csv_of({})).unsupported}
    assert "kernel library" in why


def test_a_row_that_is_not_right_stops(csv_of):
    for row in ({"ttft_ms": "-1"}, {"tpot_ms": "fast"}, {"isl": "1.5"}):
        with pytest.raises(UserError, match=r"servers\.csv:2: "):
            validate("h100_sxm", csv_of(row))
    file = csv_of({})
    file.write_text(file.read_text().replace("tpot_ms", "tpot"))
    with pytest.raises(UserError, match="no column tpot_ms"):
        validate("h100_sxm", file, op="serving")


def test_columns_are_those_of_the_data_set():
    with (DATA / "serving_e2e.csv").open(newline="") as file:
        assert set(COLUMNS) <= set(next(csv.reader(file)))


# percent, of rows that no fit saw: median error of TPOT and TTFT; a tenth above what is reached
REACHED = {"H100-SXM5-80GB": (5.4, 21.4), "B200-SXM-180GB": (7.7, 22.7)}


def test_measured_servers():
    found = list(groups(DATA, "serving"))
    assert sum(len(g.rows) + g.unsupported for g in found) == 2 * 796
    for device, limits in REACHED.items():
        own = [group for group in found if group.device == device]
        for column, most in zip(("tpot_ms", "ttft_ms"), limits, strict=True):
            rows = [row for group in own for row in group.about(column).of_fold(True)]
            median = scores(rows)["median_ape"]
            assert median is not None
            assert 100 * median < most, (device, column)
