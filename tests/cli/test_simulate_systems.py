"""`tileloom simulate SYSTEM ... --sim event` as a user types it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from pydantic import TypeAdapter

from sim.event.trace_document import TraceDocument

WORDS = ("simulate", "dgx_a100", "opt-125m", "--context", "64", "--tp", "2", "--sim", "event")


def test_a_step_with_its_files(run: Any, tmp_path: Path) -> None:
    trace, page = tmp_path / "trace.json", tmp_path / "page.html"
    done = run(*WORDS, "--pp", "2", "--json", "--trace", str(trace), "--html", str(page))
    assert done.code == 0, done.err
    document = done.document
    assert document["simulator"] == "event"
    assert document["analytic_latency_s"] <= document["latency_s"]
    assert document["chips"] == 4
    assert document["interval_s"] < document["latency_s"]
    assert sum(s["latency_s"] for s in document["stages"]) == pytest.approx(document["latency_s"])
    assert "nvlink" in document["stalls"]
    drawn = json.loads(trace.read_text("utf-8"))
    jsonschema.validate(drawn, TypeAdapter(TraceDocument).json_schema())
    moved = [e["args"]["value"] for e in drawn["traceEvents"] if e["name"] == "hbm GB/s"]
    assert 1000 < max(moved) < 2039  # of one chip of 80 GB
    assert "Batches through the stages" in page.read_text("utf-8")


def test_text_says_who_waits(run: Any) -> None:
    text = run(*WORDS).out
    assert "who waits (" in text
    assert "nvlink: " in text


def test_prefill_and_request(run: Any) -> None:
    words = ("simulate", "dgx_a100", "opt-125m", "--tp", "2", "--sim", "event", "--prompt", "32")
    prefill = run(*words, "--phase", "prefill", "--json").document
    assert prefill["analytic_latency_s"] <= prefill["latency_s"]
    request = run(*words, "--phase", "request", "--output", "3", "--json").document
    assert request["ttft_s"] == pytest.approx(prefill["latency_s"])


def test_a_training_step_is_still_refused(run: Any) -> None:
    done = run("simulate", "dgx_a100", "opt-125m", "--phase", "train", "--sim", "event")
    assert done.code == 1
    assert "is several chips, among which a training step" in done.err


def test_a_policy_of_systems(run: Any) -> None:
    words = ("simulate", "dgx_a100", "opt-125m", "--phase", "prefill", "--prompt", "64", "--tp")
    tiled = (*words, "2", "--sim", "event", "--policy", "tiling_all_reduce(tiles=2)")
    assert run(*tiled, "--json").document["policy"] == "tiling_all_reduce(tiles=2)"
    assert "who waits by tiling_all_reduce(tiles=2) (" in run(*tiled).out
    done = run(*words, "1", "--sim", "event", "--policy", "tiling_all_reduce")
    assert done.code == 1
    assert "no all_reduce follows a multiplication; split the model over chips: --tp 8" in done.err
