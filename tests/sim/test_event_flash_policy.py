"""Attention of a schedule as a pipeline of engines that exchange tiles through a shared memory."""

from __future__ import annotations

from dataclasses import replace
from math import ceil

import pytest

from accel_models.read_design import read_design
from kernels_ref.errors import UserError
from mappers import map_graph
from sim.api import simulate
from sim.event.engine import Engine
from sim.event.policies.flash_attention import flash_attention_pipeline
from workloads import prefill, read_model

NAME = "flash_attention_pipeline"


@pytest.fixture(scope="module")
def schedule():
    graph = read_model("opt-125m").build(prefill(1, 2048))
    alone = tuple(node for node in graph if node.op.kind == "attention")  # the others take longer
    return map_graph(replace(graph, nodes=alone), read_design("ascend_910b1"))


def attention(schedule):
    return next(placed for placed in schedule if placed.op.kind == "attention")


def seconds(schedule, **knobs) -> float:
    (stretch,) = flash_attention_pipeline(schedule, **knobs)
    return Engine(stretch.program, record=False).run().seconds


def test_resources_are_as_busy_as_in_the_closed_form(schedule):
    """To a cycle a tile and stage, which round up."""
    placed = attention(schedule)
    (stretch,) = flash_attention_pipeline(schedule, hold="no")
    timeline = Engine(stretch.program).run()
    assert (stretch.ops, stretch.count) == (("attention",), 12)
    busy, path = placed.cost.work.busy, placed.plan.path
    tiles = timeline.counters["matrix"].jobs
    spare = 2 * tiles / path.clock_hz
    matrix = max(busy["matrix"], *(busy[level] for level in ("l1", "l0a", "l0b", "l0c")))
    for name, expected in (
        ("matrix", matrix),
        ("vector", busy["vector"]),
        ("hbm", busy["hbm"]),
        ("power", busy["power"]),
    ):
        found = timeline.counters[name].total / timeline.tick_hz
        assert expected * 0.9999 <= found <= expected + spare, name
    l2 = max(timeline.counters[way].total / timeline.tick_hz for way in ("read", "write"))
    assert l2 == pytest.approx(busy["l2"], rel=0.02)


def test_with_many_tiles_on_the_way_the_busiest_decides(schedule):
    """Between launch and its busy time, and one tile's way through all stages more."""
    placed = attention(schedule)
    (stretch,) = flash_attention_pipeline(schedule, look_ahead=8, hold="no")
    timeline = Engine(stretch.program).run()
    fixed = placed.cost.exposed["launch"] + placed.cost.exposed["access"]
    busiest = max(c.total for c in timeline.counters.values()) / timeline.tick_hz
    way = sum(run.uses[0].amount for a in stretch.program.actors[2:] for run in a.cycle if run.uses)
    way = way / timeline.tick_hz + placed.plan.path.control.sync
    assert fixed + busiest <= timeline.seconds <= fixed + busiest + 2 * way


def test_knobs_do_what_they_say(schedule):
    """More on the way is never slower; one on the way, holding hand-overs, turns without overlap of
    qk: slower than the pipeline; single buffers slower still; and all between the resources' bound
    and the sum of everything."""
    ahead = [seconds(schedule, look_ahead=n) for n in (1, 2, 4, 8)]
    assert ahead == sorted(ahead, reverse=True)
    assert seconds(schedule, hold="no") <= ahead[2]
    assert seconds(schedule, buffers=1) > ahead[2]
    busy = attention(schedule).cost.work.busy
    assert ahead[3] > max(busy["matrix"], busy["vector"], busy["l2"], busy["hbm"])
    sync = 540e-9
    held = [seconds(schedule, look_ahead=8, sync_every=n, buffers=1) for n in (1, 4)]
    (stretch,) = flash_attention_pipeline(schedule, look_ahead=8, sync_every=4)
    hand_overs = Engine(stretch.program).run().counters["matrix"].busy["sync"]
    tiles = Engine(flash_attention_pipeline(schedule)[0].program).run().counters["matrix"]
    assert hand_overs / 1.85e9 == pytest.approx(ceil(tiles.busy["sync"] / 1.85e9 / sync / 4) * sync,
                                                rel=1e-3)  # fmt: skip
    assert min(held) > 0


def test_on_the_command_lines_way():
    words = {"phase": "prefill", "prompt": 128, "simulator": "event"}
    alone = simulate("ascend_910b1", "opt-125m", **words)
    run = simulate("ascend_910b1", "opt-125m", policy=f"{NAME}(look_ahead=2)", **words)
    both = [next(op for op in r.ops if op.kind == "attention") for r in (alone, run)]
    assert both[1].latency_s < both[0].latency_s
    assert (both[1].macs, both[1].traffic) == (both[0].macs, both[0].traffic)
    assert run.latency_s == pytest.approx(
        alone.latency_s + 12 * (both[1].latency_s - both[0].latency_s)
    )


@pytest.mark.parametrize(
    ("design", "model", "policy", "message"),
    [
        ("ascend_910b1", "opt-125m", "(hold=maybe)", "hold is 'maybe'; write yes or no"),
        ("ascend_910b1", "opt-125m", "(look_ahead=0)", "look_ahead is 0; at least 1"),
        ("ascend_910b1", "opt-125m", "(look_ahead=2,sync_every=4)", "make look_ahead as large"),
        ("a100_sxm", "opt-125m", "", "engines of a100_sxm do not hand tiles to each other"),
        ("ascend_910b1", "rwkv-4-169m", "", "has no attention"),
    ],
)
def test_what_it_does_not_run(design, model, policy, message):
    with pytest.raises(UserError, match=message):
        simulate(design, model, context=64, formats="fp16", simulator="event",
                 policy=NAME + policy)  # fmt: skip
