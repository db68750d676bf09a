"""Speculative runs through a pipeline: closed forms, by hand, and the engine's times."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accel_models.read_system import parse_system
from kernels_ref.errors import UserError
from sim.event.cooperation_run import cooperation_run
from sim.event.engine import Engine
from sim.event.policies import Setting
from sim.event.policies.async_speculation import async_speculation
from sim.event.policies.speculative_runs import (
    WAYS,
    Pipeline,
    Speculation,
    speculation_program,
)
from workloads import decode, read_model

STAGES, K = 3, 4
PIPE = Pipeline((100,) * STAGES, (120,) * STAGES, (130,) * STAGES, (10,) * STAGES, 25, 7, K, 8)
HOP = 7


def made(right: list[bool], way: str, pipeline: Pipeline = PIPE) -> Speculation:
    return Speculation(pipeline, right, way).make()


def test_none_is_a_pipeline_a_token():
    found = made([True] * 5, "none")
    assert found.known == [n * STAGES * (100 + HOP) for n in range(1, 6)]


def test_sync_is_a_draft_and_a_pipeline_a_round():
    """Three right and one wrong; all four right: four tokens, then five."""
    found = made([True] * 3 + [False] + [True] * 5, "sync")
    a_round = K * 25 + HOP + STAGES * (130 + HOP)
    assert found.known == [a_round] * 4 + [2 * a_round] * 5


def test_async_with_right_drafts_is_a_stage_for_k_tokens():
    found = made([True] * (1 + 5 * K), "async")
    first = HOP + STAGES * (120 + HOP) + K * 25
    assert found.known[0] == STAGES * (100 + HOP)
    assert found.known[-1] == first + 4 * 120
    assert len(found.runs) == 1 + 5


def test_async_with_wrong_drafts_is_none():
    """The first drafted token is always wrong: what is known comes from runs of one token, which
    runs that are given up keep waiting for a layer at most."""
    wrong = [False] * 4
    none, found = made(wrong, "none"), made(wrong, "async")
    late = [a - n for a, n in zip(found.known, none.known, strict=True)]
    assert late[0] == 0
    assert all(b - a in range(120 // 10 + 1) for a, b in pairwise(late))
    uncancelled = made(wrong, "uncancelled")
    assert uncancelled.known[-1] > found.known[-1]


def test_a_wrong_token_in_the_second_run():
    """Right, right, wrong: the base run knows the first one, the first drafted run the others."""
    found = made([True, True, False, True], "async")
    first = STAGES * (100 + HOP)
    second = K * 25 + HOP + STAGES * (120 + HOP)
    assert found.known[:3] == [first, second, second]


def test_places_hold_drafts_back():
    few, many = (
        made([True] * 41, "async", replace(PIPE, places=places)).known[-1] for places in (2, 8)
    )
    assert few > many
    starved = made([True] * 41, "async", replace(PIPE, places=1000)).known[-1]
    assert starved == many


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.booleans(), min_size=1, max_size=25),
    st.sampled_from(WAYS),
    st.integers(1, 5),
    st.integers(2, 6),
    st.lists(st.tuples(*[st.integers(20, 90)] * 3), min_size=1, max_size=4),
    st.tuples(st.integers(1, 60), st.integers(0, 9)),
)
def test_the_engine_finds_the_same_times(right, way, k, places, stages, small):
    one, drafted, verified = (tuple(s) for s in zip(*stages, strict=True))
    pipeline = Pipeline(one, drafted, verified, (4,) * len(one), *small, k, places)
    found = made(right, way, pipeline)
    assert len(found.known) == len(right)
    assert found.known == sorted(found.known)
    timeline = Engine(speculation_program(found)).run()
    ends = {job.actor: job.end for job in timeline.jobs}
    for number, run in enumerate(found.runs):
        if len(run.ticks) == len(one):
            last = ends[f"run {number:05} at {len(one) - 1}"]
            assert last + pipeline.hop == run.out
    used = sum(sum(run.ticks) for run in found.runs)
    assert used == sum(c.total for n, c in timeline.counters.items() if n != "draft")


@settings(max_examples=30, deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=25))
def test_cancelling_is_no_slower_and_both_make_the_same_text(right):
    found, uncancelled = made(right, "async"), made(right, "uncancelled")
    assert found.known[-1] <= uncancelled.known[-1] + 120 // 10 * len(right)
    assert len(found.known) == len(uncancelled.known) == len(right)


FEW = """
title: Three chips
source: "guess: a test"
machines: {gpu: {design: a100_sxm, count: 3}}
links:
  net: {topology: switch, bandwidth: 10 GB/s, efficiency: 1.0, latency: 5 us, energy: 1 pJ/bit}
"""
TWO_KINDS = FEW.replace("count: 3}", "count: 2}, other: {design: h100_sxm, count: 1}")
MEMO: dict[object, object] = {}


def on(text: str = FEW, batch: int = 1) -> Setting:
    graph = read_model("opt-125m").build(decode(batch, 64))
    return Setting(graph, parse_system(text, "few"), memo=MEMO)


def ran(text: str = FEW, **knobs):
    return cooperation_run(async_speculation(on(text), "opt-125m", **{"tokens": 24} | knobs))


def test_a_pipeline_of_chips_and_its_draft():
    run = ran(accept=0.7)
    assert run.produced_tokens == 24
    assert [stage.chips for stage in run.stages] == [(0,), (1,), (2,)]
    assert {"stage 0", "stage 1", "draft"} == run.event.stalls.keys()
    assert sum(stage.energy_j for stage in run.stages) == pytest.approx(run.energy_j, rel=1e-3)


def test_what_is_accepted_sets_the_order():
    none, sync = ran(way="none").latency_s, ran(way="sync", accept=0.0).latency_s
    assert sync > none
    assert ran(accept=1.0).latency_s < ran(accept=0.5).latency_s
    assert ran(accept=0.5).latency_s == ran(accept=0.5).latency_s
    assert ran(accept=0.5, seed=1).latency_s != ran(accept=0.5).latency_s


def test_none_is_the_model_over_the_links():
    run = ran(way="none")
    stages = [op for op in run.ops if op.name.startswith("stage")]
    assert not [op for op in run.ops if op.name.startswith("draft")]
    macs = sum(node.count * node.op.macs for node in on().graph)
    assert sum(op.count * op.macs for op in stages) == 24 * macs
    sent = next(op for op in run.ops if op.kind == "collective")
    assert (sent.count, sent.mapping["bytes"]) == (24 * 2, 768 * 2)


def test_a_draft_on_another_machine():
    run = ran(TWO_KINDS)
    assert [stage.machine for stage in run.stages] == ["gpu", "gpu", "other"]


@pytest.mark.parametrize(
    ("knobs", "says"),
    [
        ({"way": "later"}, "no way 'later'"),
        ({"k": 0}, "k and tokens are at least 1"),
        ({"accept": 1.5}, "accept is a share"),
    ],
)
def test_what_is_wrong_is_said(knobs, says):
    with pytest.raises(UserError, match=says):
        ran(**knobs)


def test_single_chips_and_batches_are_refused():
    alone = FEW.replace("count: 3", "count: 1").partition("links")[0]
    with pytest.raises(UserError, match="few has one chip"):
        async_speculation(on(alone), "opt-125m")
    with pytest.raises(UserError, match="one sequence's decode step"):
        async_speculation(on(batch=2), "opt-125m")
    many = FEW.replace("count: 3", "count: 14")
    with pytest.raises(UserError, match="13 stages, but 12 layers"):
        async_speculation(on(many), "opt-125m")
