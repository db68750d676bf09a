"""`tileloom simulate --sim event`: what runs ahead and beside."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

TINY = ("simulate", "a100_sxm", "opt-125m", "--context", "64")
EVENTS = (*TINY, "--sim", "event")


def test_prefetch(run: Any):
    usual, ahead = (
        run(*EVENTS, *words, "--json").document for words in ((), ("--prefetch", "weights"))
    )
    assert ahead["latency_s"] < usual["latency_s"]
    assert "tenants" not in ahead


def test_beside(run: Any, tmp_path: Path):
    page, trace = tmp_path / "page.html", tmp_path / "trace.json"
    beside = ("--beside", "opt-125m:decode:context=64", "--beside", "opt-125m:prefill:prompt=8")
    done = run(*EVENTS, *beside, "--html", str(page), "--trace", str(trace))
    assert done.code == 0
    assert "more work per second than one after the other" in done.out
    assert "opt-125m prefill" in done.out
    assert "<h2>Tenants</h2>" in page.read_text("utf-8")
    names = {e["name"] for e in json.loads(trace.read_text("utf-8"))["traceEvents"]}
    assert any(name.startswith("opt-125m prefill / ") for name in names)


def test_a_board_from_idle(run: Any):
    """A prompt's multiplications want more than an L40S's limit."""
    prompt = ("simulate", "l40s", "opt-6.7b", "--phase", "prefill", "--sim", "event", "--json")
    held, idle = run(*prompt).document, run(*prompt, "--from-idle").document
    assert "power_over_time" not in held
    assert held["latency_s"] >= held["analytic_latency_s"] * (1 - 1e-9)
    assert idle["latency_s"] < held["latency_s"]
    assert {span["clock"] for span in idle["power_over_time"]} == {1.0}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((*TINY, "--prefetch", "weights"), "--prefetch: this is run by --sim event; add it"),
        ((*TINY, "--beside", "opt-125m:decode"), "--beside: this is run by --sim event; add it"),
        ((*TINY, "--from-idle"), "--from-idle: this is run by --sim event; add it"),
        (
            ("simulate", "tpu_v4", "opt-125m", "--sim", "event", "--from-idle"),
            "tpu_v4 keeps its power limit at any moment",
        ),
        ((*EVENTS, "--from-idle", "--policy", "layer_streaming"), "does not go with --from-idle"),
        ((*EVENTS, "--prefetch", "all"), "unknown prefetch 'all'; known: weights, launches"),
        ((*EVENTS, "--beside", "opt-125m"), "is not MODEL:PHASE"),
        (
            (*TINY[:3], "--sim", "event", "--phase", "request", "--beside", "opt-125m:decode"),
            "not a request",
        ),
        (
            ("simulate", "dgx_a100", "opt-125m", "--sim", "event", "--prefetch", "weights"),
            "several chips; --prefetch is of one design",
        ),
    ],
)
def test_wrong_words(run: Any, words: tuple[str, ...], said: str):
    done = run(*words)
    assert done.code == 1
    assert said in done.err
