"""`tileloom simulate SYSTEM ... --sim event --policy` where two machines share a model."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import jsonschema
import pytest

TINY = ("a6000_xeon", "opt-125m", "--context", "64", "--sim", "event")
CASES = {
    "attention": (*TINY, "--batch", "4", "--policy", "host_attention(layers=6,batches=2)"),
    "fetched": (*TINY, "--policy", "host_attention(layers=6,by=fetch,where=spread)"),
    "request": (
        *("a6000_xeon", "opt-125m", "--phase", "request", "--prompt", "32", "--output", "8"),
        *("--sim", "event", "--policy", "host_attention(layers=6)"),
    ),
    "speculation": (
        *("dgx_a100", "opt-125m", "--context", "64", "--sim", "event"),
        *("--policy", "async_speculation(draft=opt-125m,tokens=12)"),
    ),
    "experts": (
        *("a6000_xeon", "olmoe-1b-7b", "--context", "64", "--sim", "event"),
        *("--policy", "host_experts(cached=0.5)"),
    ),
}
DONE: dict[str, Any] = {}


@cache
def schema() -> Any:
    from pydantic import TypeAdapter

    from sim.report.document import RunDocument

    return json.loads(json.dumps(TypeAdapter(RunDocument).json_schema()))


SLOW = ("request",)
NAMES = [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in CASES]


@pytest.mark.parametrize("name", NAMES)
def test_figures_add_up(name: str, run: Any) -> None:
    done = run("simulate", *CASES[name], "--json")
    assert done.code == 0, done.err
    document = done.document
    jsonschema.validate(document, schema())
    assert document["chips"] == (8 if name == "speculation" else 2)
    assert CASES[name][-1] in document["policy"]
    near = {"rel": 1e-6}
    for what in ("latency_s", "energy_j"):
        total = sum(op["count"] * op[what] for op in document["ops"])
        assert total == pytest.approx(document[what], **near)
    for op in document["ops"]:
        assert sum(op["exposed_s"].values()) == pytest.approx(op["latency_s"], **near), op["name"]
        assert sum(op["energy_by_j"].values()) == pytest.approx(op["energy_j"], **near)
    limits = sum(limit["exposed_s"] for limit in document["limits"])
    assert limits == pytest.approx(document["latency_s"], **near)
    assert document["analytic_latency_s"] <= document["latency_s"]


def test_a_page_and_a_timeline(run: Any, tmp_path: Any) -> None:
    page, trace = tmp_path / "page.html", tmp_path / "trace.json"
    done = run("simulate", *CASES["attention"], "--html", str(page), "--trace", str(trace))
    assert done.code == 0, done.err
    assert "cpu.attention" in page.read_text("utf-8")
    named = {
        event["args"]["name"]
        for event in json.loads(trace.read_text("utf-8"))["traceEvents"]
        if event["ph"] == "M" and event["name"] == "thread_name"
    }
    assert {"gpu", "cpu", "to_host", "from_host"} <= named


def test_policies_are_listed(run: Any) -> None:
    listed = run("show", "--policies", "--json").document["policies"]
    for name in ("host_attention", "host_experts", "async_speculation"):
        assert listed[name]["machine"] == "system"
        assert "arXiv" in listed[name]["source"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("a6000", "opt-125m"), "a policy of several chips; name a system"),
        (("a6000_xeon", "opt-125m", "--tp", "2"), "host_attention says itself what runs where"),
        (("dgx_a100", "opt-125m"), "an accelerator and its host are a system of two machines"),
    ],
)
def test_what_is_wrong_is_said(run: Any, arguments: tuple[str, ...], says: str) -> None:
    done = run("simulate", *arguments, "--sim", "event", "--policy", "host_attention(layers=2)")
    assert done.code == 1
    assert says in " ".join(done.err.split())


@pytest.mark.slow
def test_neurons_on_a_phone(run: Any) -> None:
    policy = "neuron_clusters(hot=0.2,active=0.1,cached=0.5)"
    words = ("snapdragon_8_gen_3", "opt-125m", "--formats", "fp16", "--context", "64")
    done = run("simulate", *words, "--sim", "event", "--policy", policy, "--json")
    assert done.code == 0, done.err
    jsonschema.validate(done.document, schema())
    assert done.document["backing"]["ufs"]["bytes"] > 0
    assert done.document["chips"] == 1


def test_a_policy_that_places_ops_runs_alone(run: Any) -> None:
    policies = "host_attention(layers=2)+host_experts"
    done = run("simulate", *TINY, "--policy", policies)
    assert done.code == 1
    assert "host_attention places all ops itself, and runs alone" in done.err
