"""Several graphs on one chip: nothing is lost, priority helps, and who is asked for is who runs."""

from __future__ import annotations

from functools import cache

import pytest

from kernels_ref.errors import UserError
from sim import simulate
from sim.beside import read_beside
from sim.event import tenants
from sim.event.program import Actor, Program, Resource, Use
from sim.event.program import Run as Firings
from sim.report.document import run_document
from sim.report.tenants import tenants_card, tenants_lines
from sim.run import Run

DESIGN, MODEL = "a100_sxm", "opt-125m"
STEP = f"{MODEL}:decode:context=64"


@cache
def together(*beside: str, **more: str) -> Run:
    return simulate(DESIGN, MODEL, context=64, simulator="event", beside=beside, **more)


@cache
def alone() -> Run:
    return simulate(DESIGN, MODEL, context=64, simulator="event")


def test_a_replica_takes_turns():
    """Both take longer than alone, no longer than one after the other; together they gain."""
    run = together(STEP)
    one, other = run.event.tenants
    assert (one.name, other.name) == ("opt-125m decode #1", "opt-125m decode #2")
    assert one.alone_s == pytest.approx(alone().latency_s, rel=0.005)
    assert one.alone_s < one.together_s <= 2 * one.alone_s
    assert other.together_s == pytest.approx(one.together_s, rel=0.05)
    assert run.event.gained == pytest.approx(
        2 * one.alone_s / max(one.together_s, other.together_s) - 1
    )
    assert run.latency_s == pytest.approx(one.together_s)
    assert run.tpot_s == pytest.approx(one.together_s)


def test_shared_resources_do_the_work_of_both():
    run = together(STEP)
    for name in ("hbm", "matrix", "l2", "power"):
        twice = 2 * alone().event.stalls[name]["busy"]
        assert run.event.stalls[name]["busy"] == pytest.approx(twice, rel=1e-3), name
    for name in ("launch", "launch.1"):
        assert run.event.stalls[name]["busy"] == pytest.approx(
            alone().event.stalls["launch"]["busy"], rel=1e-6
        )


def test_ops_of_the_run_are_its_path_and_what_others_made_it_wait():
    run = together(STEP)
    assert sum(op.count * op.latency_s for op in run.ops) == pytest.approx(run.latency_s)
    waited = sum(op.count * op.exposed_s.get("others", 0.0) for op in run.ops)
    assert 0 < waited < run.latency_s
    one = run.event.tenants[0]
    (others,) = (limit for limit in run.limits if limit.resource == "others")
    assert others.saves_s == pytest.approx(one.together_s - one.alone_s)


def test_priority_goes_first():
    usual, later = together(f"{STEP},copies=3"), together(f"{STEP},copies=3,priority=1")
    assert later.event.tenants[0].slowdown < usual.event.tenants[0].slowdown
    assert [one.priority for one in later.event.tenants] == [0, 1, 1, 1]


def test_repeats_follow_one_another():
    run = together(f"{STEP},repeat=3")
    one, other = run.event.tenants
    assert other.alone_s == pytest.approx(3 * one.alone_s, rel=1e-6)
    assert other.together_s > one.together_s


def test_more_than_the_memory_holds_is_said():
    run = together(f"{MODEL}:decode:context=2048,batch=1200")
    assert any("weights and caches of the 2 models need" in warning for warning in run.warnings)
    assert not any("models need" in warning for warning in together(STEP).warnings)


def test_hand_overs_by_themselves_take_no_engine():
    """A kernel's last hand-over takes time; one within a kernel stops its core."""
    over = Actor("hand_over", (Firings(1, (Use("matrix", 5, "sync"),)),))
    within = Actor("compute", (Firings(1, (Use("matrix", 9), Use("matrix", 5, "sync"))),))
    apart = tenants.apart(Program((over, within), (), (Resource("matrix", 1),)))
    assert [use.resource for a in apart.actors for r in a.cycle for use in r.uses] == [
        "sync", "matrix", "matrix",
    ]  # fmt: skip


def test_reports_name_every_tenant():
    run = together(STEP)
    document = run_document(run)
    assert [one["name"] for one in document["tenants"]] == [t.name for t in run.event.tenants]
    assert document["tenants_gained"] == pytest.approx(run.event.gained)
    assert "tenants" not in run_document(alone())
    title, *lines = tenants_lines(run.event)
    assert title.endswith("than one after the other")
    assert all(t.name in line for t, line in zip(run.event.tenants, lines, strict=True))
    assert "opt-125m decode #2" in tenants_card(run.event)


def test_a_model_may_be_of_any_source():
    asked = read_beside("onnx:models/vit.onnx:prefill:batch=2,formats=w4a16-g128")
    assert (asked.model, asked.phase) == ("onnx:models/vit.onnx", "prefill")
    assert asked.values == {"batch": "2", "formats": "w4a16-g128"}
    assert read_beside("opt-125m:decode").values == {}


@pytest.mark.parametrize(
    ("beside", "said"),
    [
        (MODEL, "is not MODEL:PHASE"),
        (f"{MODEL}:decode:bach=2", "did you mean 'batch'"),
        (f"{MODEL}:decode:batch=", "batch needs one value"),
        (f"{MODEL}:decode:batch=1,batch=2", "batch needs one value"),
        (f"{MODEL}:decode:batch=0", "a number from 1 on"),
        (f"{MODEL}:decode:copies=65", "at most 64"),
        (f"{MODEL}:dekode", "unknown phase 'dekode'"),
        (f"{MODEL}:decode:prompt=4", "phase decode has no prompt"),
    ],
)
def test_wrong_words(beside: str, said: str):
    with pytest.raises(UserError, match=said):
        together(beside)


def test_not_beside_a_request():
    with pytest.raises(UserError, match="not a request"):
        simulate(DESIGN, MODEL, "request", simulator="event", beside=[STEP])
