"""The trace and the cards of a whole run by events."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
from pydantic import TypeAdapter

from sim.api import simulate
from sim.event.trace_document import TraceDocument
from sim.report.timeline import stretches, timeline_cards, write_run_trace


def test_a_run_has_a_trace_and_cards(tmp_path: Path):
    run = simulate("a100_sxm", "opt-125m", "decode", batch=1, context=128, simulator="event")
    assert run.event is not None
    path = tmp_path / "trace.json"
    write_run_trace(run, path)
    trace = json.loads(path.read_text("utf-8"))
    jsonschema.validate(trace, TypeAdapter(TraceDocument).json_schema())
    bars = [event for event in trace["traceEvents"] if event["ph"] == "X"]
    ops = [bar for bar in bars if bar["cat"] == "op"]
    assert [bar["args"]["op"] for bar in ops] == [part.op for part in run.event.sections]
    whole = sum(bar["dur"] * bar["args"]["count"] for bar in ops)
    assert whole * 1e-6 == pytest.approx(run.latency_s, rel=1e-6)
    cards = timeline_cards(run)
    assert cards.count("<section>") == 2
    for name in run.event.stalls:
        assert name in cards


def test_a_closed_form_has_none():
    run = simulate("a100_sxm", "opt-125m", "decode", batch=1, context=128)
    assert not stretches(run)
    assert timeline_cards(run) == ""
