"""`tileloom simulate`: the JSON that scripts rely on, and what its figures must add up to."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from sim.report.table import COLUMNS, WIDEST_NAME

KEYS = (
    "schema_version design workload phase batch latency_s energy_j power_w area_mm2 tokens_per_s "
    "weight_bytes kv_bytes fits params ops provenance latency_band_s"
).split()
OP_KEYS = (
    "name kind count latency_s energy_j bound_by macs traffic_bytes utilization mapping"
).split()
KINDS = {"calibrated", "datasheet", "derived", "recalled", "guessed"}

TINY = ("opt-125m", "--context", "64")
CASES = {
    "decode": ("a100_sxm", *TINY),
    "decode in int8 on an array": ("systolic_128x128", *TINY, "--formats", "int8"),
    "decode with quantized cache": ("h100_sxm", *TINY, "--formats", "w4a16-g128", "--kv", "fp8"),
    "decode on several kinds of cores": ("snapdragon_8_gen_3", *TINY),
    "train": ("a100_sxm", "opt-125m", "--phase", "train", "--prompt", "32", "--batch", "2"),
    "prefill": ("a100_sxm", "opt-125m", "--phase", "prefill", "--prompt", "32", "--batch", "2"),
    "request": (
        *("a100_sxm", "opt-125m", "--phase", "request"),
        *("--prompt", "32", "--output", "20"),
    ),
}  # fmt: skip
DONE: dict[str, Any] = {}


@pytest.fixture
def document(request: pytest.FixtureRequest, run: Any) -> Any:
    """The document of a case; each is simulated once."""
    name = request.param
    if name not in DONE:
        done = run("simulate", *CASES[name], "--json")
        assert done.code == 0
        DONE[name] = done.document
        assert done.err == "".join(f"warning: {w}\n" for w in DONE[name]["warnings"])
    return DONE[name]


SLOW = ("decode on several kinds of cores",)
NAMES = [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in CASES]
ALL_CASES = pytest.mark.parametrize("document", NAMES, indirect=True)


@cache
def run_schema() -> Any:
    from pydantic import TypeAdapter

    from sim.report.document import RunDocument

    return TypeAdapter(RunDocument).json_schema()


@ALL_CASES
def test_contract(document: Any) -> None:
    assert document["schema_version"] == 1
    assert set(KEYS) <= document.keys()
    assert document["ops"]
    assert all(set(OP_KEYS) <= op.keys() for op in document["ops"])
    assert document["provenance"].keys() == KINDS
    assert document["fits"] is True


@ALL_CASES
def test_fits_its_json_schema(document: Any) -> None:
    jsonschema.validate(document, run_schema())


def test_schema_command_prints_that_schema(run: Any) -> None:
    assert run("schema", "run").document == json.loads(json.dumps(run_schema()))


@ALL_CASES
def test_figures_add_up(document: Any) -> None:
    """Floats have nine digits; sums of them a little fewer."""
    near = {"rel": 1e-7}
    ops = document["ops"]
    latency, energy = document["latency_s"], document["energy_j"]
    assert sum(op["count"] * op["latency_s"] for op in ops) == pytest.approx(latency, **near)
    assert sum(op["count"] * op["energy_j"] for op in ops) == pytest.approx(energy, **near)
    for op in ops:
        assert sum(op["exposed_s"].values()) == pytest.approx(op["latency_s"], **near), op["name"]
        assert sum(op["energy_by_j"].values()) == pytest.approx(op["energy_j"], **near), op["name"]
        for level, operands in op["traffic_by_operand"].items():
            moved = sum(o["read"] + o["written"] for o in operands.values())
            assert moved == pytest.approx(op["traffic_bytes"][level], **near)
    assert sum(x["exposed_s"] for x in document["limits"]) == pytest.approx(latency, **near)
    assert energy / latency == pytest.approx(document["power_w"], **near)
    for shares in (document["provenance"], document["energy_provenance"]):
        assert sum(shares.values()) == pytest.approx(1, **near)
    low, high = document["latency_band_s"]
    assert low <= latency <= high
    assert document["energy_band_j"][0] <= energy <= document["energy_band_j"][1]


@pytest.mark.parametrize("document", ["decode", "prefill"], indirect=True)
def test_tokens_and_times_of_a_phase(document: Any) -> None:
    made = document["batch"] * document["tokens"]
    assert made == (1 if document["phase"] == "decode" else 64)
    assert document["tokens_per_s"] == pytest.approx(made / document["latency_s"], rel=1e-7)
    one, other = ("tpot_s", "ttft_s") if document["phase"] == "decode" else ("ttft_s", "tpot_s")
    assert document[one] == document["latency_s"]
    assert document[other] is None


def test_request_is_a_prefill_and_decode_steps(run: Any) -> None:
    sizes = ("--prompt", "32", "--output", "20")
    whole = run("simulate", "a100_sxm", "opt-125m", "--phase", "request", *sizes, "--json").document
    first = run(
        "simulate", "a100_sxm", "opt-125m", "--phase", "prefill", "--prompt", "32", "--json"
    ).document
    steps = [
        run("simulate", "a100_sxm", "opt-125m", "--context", str(n), "--json").document["latency_s"]
        for n in (33, 51)
    ]
    assert whole["ttft_s"] == first["latency_s"]
    assert whole["latency_s"] == pytest.approx(whole["ttft_s"] + 19 * whole["tpot_s"], rel=1e-7)
    assert min(steps) <= whole["tpot_s"] <= max(steps)
    assert whole["tokens_per_s"] == pytest.approx(20 / whole["latency_s"], rel=1e-7)


def test_request_of_one_token_is_a_prefill(run: Any) -> None:
    words = ("a100_sxm", "opt-125m", "--prompt", "32", "--json")
    one = run("simulate", *words, "--phase", "request", "--output", "1").document
    first = run("simulate", *words, "--phase", "prefill").document
    assert one["latency_s"] == one["ttft_s"] == first["latency_s"]


def test_same_input_same_bytes(run: Any) -> None:
    for name in ("decode", "request"):
        words = ("simulate", *CASES[name], "--json")
        assert run(*words).out == run(*words).out


def test_sizes_in_k_are_times_1024(run: Any) -> None:
    def context(text: str) -> Any:
        done = run("simulate", "a100_sxm", "opt-125m", "--context", text, "--json")
        return done.document["context"]

    assert context("2k") == context("2K") == context("2048") == 2048


def test_a_model_that_does_not_fit_is_a_warning(run: Any) -> None:
    done = run("simulate", "a40", "llama-3-70b", "--context", "64", "--json")
    warning = (
        "weights and cache need 131.4 GiB, a40's gddr has 48.0 GiB: "
        "the figures are those of a chip with enough memory"
    )
    assert done.code == 0
    assert done.document["fits"] is False
    assert done.document["warnings"] == [warning]
    assert done.err == f"warning: {warning}\n"


def test_table_by_default(run: Any) -> None:
    done = run("simulate", "a100_sxm", *TINY)
    assert (done.code, done.err) == (0, "")
    for word in ("opt-125m on NVIDIA A100", "latency", "what limits", "how far to trust it"):
        assert word in done.out


def test_html_is_written_beside_the_json(run: Any, tmp_path: Path) -> None:
    page = tmp_path / "run.html"
    done = run("simulate", "a100_sxm", *TINY, "--html", str(page), "--json")
    assert done.code == 0
    assert done.document["design"] == "a100_sxm"
    assert done.err == f"wrote {page}\n"
    assert page.read_text("utf-8").lower().startswith("<!doctype html>")


@pytest.mark.parametrize("command", ["simulate", "show"])
def test_golden_text(command: str, run: Any, golden: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    words = {
        "simulate": ("systolic_128x128", "opt-125m", "--context", "64", "--formats", "int8"),
        "show": ("systolic_128x128",),
    }
    text = run(command, *words[command]).out
    golden(f"{command}.txt", "".join(line.rstrip() + "\n" for line in text.splitlines()))


def test_a_training_step_says_what_it_holds_and_counts_trained_tokens(run: Any) -> None:
    """16 bytes a parameter with Adam (ZeRO, arXiv 1910.02054): 14 beside the 16-bit weights."""
    words = ("simulate", *CASES["train"])
    shown = run(*words, "--json").document
    assert shown["state_bytes"] == 14 * shown["params"]
    assert shown["saved_bytes"] > 0
    assert shown["kv_bytes"] == 0
    assert shown["ttft_s"] is None
    assert shown["tpot_s"] is None
    assert shown["tokens_per_s"] == pytest.approx(64 / shown["latency_s"])
    kinds = {op["kind"] for op in shown["ops"]}
    assert {"attention_backward", "update"} <= kinds
    table = run(*words).out
    assert "gradients of attention" in table
    assert "gradients and optimizer" in table
    four = run(*words, "--apply", "training(accumulate=4)", "--json").document
    assert four["tokens_per_s"] == pytest.approx(4 * 64 / four["latency_s"])
    assert four["latency_s"] < 4 * shown["latency_s"]


def test_the_table_of_a_training_step_leaves_room_for_its_figures(run: Any) -> None:
    words = ("simulate", "a100_sxm", "llama-3.2-1b", "--phase", "train", "--prompt", "64")
    text = run(*words).out
    head = next(line for line in text.splitlines() if line.startswith("┃"))
    titles = [cell.strip() for cell in head.strip("┃").split("┃")]
    assert titles == list(COLUMNS)
    assert len(head.strip("┃").split("┃")[0]) <= WIDEST_NAME + 2
    figures = [line.split("│")[2:5] for line in text.splitlines() if line.startswith("│")]
    assert not [cell for cells in figures for cell in cells if "…" in cell]


def test_a_step_that_does_not_fit_is_not_told_to_offload(run: Any) -> None:
    """Training keeps all in the chip's own memory."""
    words = ("simulate", "a100_sxm_host", "llama-3-8b", "--phase", "train", "--prompt", "64")
    (warning,) = run(*words, "--json").document["warnings"]
    assert warning.startswith("weights, gradients, optimizer and activations need")
    assert "offload" not in warning


def test_a_training_step_of_several_chips_is_refused(run: Any) -> None:
    done = run("simulate", "dgx_a100", "opt-125m", "--phase", "train", "--prompt", "64")
    assert done.code == 1
    assert "is several chips, among which a training step is not shared" in done.err
    tp = ("simulate", "a100_sxm", "opt-125m", "--phase", "train", "--prompt", "64", "--tp", "2")
    assert run(*tp).code == 1
