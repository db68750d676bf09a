"""Experts one after the other, their matrices loaded beside: closed forms on real schedules."""

from __future__ import annotations

import pytest

from kernels_ref.errors import UserError
from sim.api import simulate

CHIP = ("systolic_128x128", "m3vit-small", "encode")
HOST = ("a100_sxm_host", "olmoe-1b-7b", "decode")
AWAY = "offload(only=experts.*,overlap=no)"


def run(case, policy=None, apply=None, **more):
    design, model, phase = case
    return simulate(
        design, model, phase, formats="int8" if case is CHIP else None, apply=apply,
        simulator="event", policy=policy, **more,
    )  # fmt: skip


def experts_s(done) -> float:
    """Of one layer: from its first op with experts to its last."""
    named = [op.name for op in done.ops]
    at = [n for n, op in enumerate(done.ops) if op.kind == "experts"]
    taken = {*named[at[0] : at[-1] + 1]} | {n for n in named if n.endswith("fetch")}
    return sum(op.latency_s for op in done.ops if op.name in taken)


@pytest.mark.parametrize("apply", [None, "token_major"])
def test_two_places_hide_the_shorter_of_load_and_compute(apply):
    """M3ViT: E matrices of L to load and C to compute, twice, an activation between them. One place
    is L + C each; two hide all but the first load; the first down matrix loads beside the
    activation."""
    alone = run(CHIP, apply=apply)
    ops = {op.name.removeprefix("sparse.experts."): op for op in alone.ops}
    first, middle = ops["gate_up_proj"], ops["act_mul"]
    jobs = 788 if apply else 16
    dram = first.traffic["dram"]
    share = dram["weight"].read / sum(t.read + t.written for t in dram.values())
    load = first.busy_s["dram"] * share / jobs
    compute = max(first.busy_s["matrix"], first.busy_s["buffer"]) / jobs
    launch = 0.6e-6  # the design's, and its first access
    two = 2 * (launch + load + (jobs - 1) * max(load, compute) + compute) + middle.latency_s
    one = 2 * (launch + jobs * (load + compute)) + middle.latency_s
    rest = first.busy_s["dram"] * (1 - share)  # moved beside
    got = [experts_s(run(CHIP, f"expert_streaming(buffers={n})", apply)) for n in (1, 2)]
    assert one - launch - load <= got[0] <= one + 2 * rest
    assert two - 2 * (launch + load) <= got[1] <= two + 2 * rest
    assert got[1] < got[0]


def test_order_by_expert_loads_each_once():
    """788 rows of 16 experts: 49.25 times the bytes of weights token by token, which no policy
    changes."""
    bytes_by_order = []
    for apply in (None, "token_major"):
        done = run(CHIP, "expert_streaming", apply)
        op = next(op for op in done.ops if op.kind == "experts")
        bytes_by_order.append(op.traffic["dram"]["weight"].read)
    assert bytes_by_order[1] / bytes_by_order[0] == pytest.approx(788 / 16, rel=0.01)


def test_experts_from_a_host():
    """The link is the bound: all loads one after the other, and the last matrix's compute."""
    done = run(HOST, "expert_streaming", AWAY, batch=4, context=64)
    fetch = next(op for op in done.ops if op.kind == "fetch")
    ops = [op for op in run(HOST, batch=4, context=64).ops if op.name.startswith("experts.")]
    alone = sum(op.latency_s for op in ops)
    link = fetch.busy_s["host"]
    assert link < experts_s(done) < link + 0.2 * alone
    single = run(HOST, "expert_streaming(buffers=1)", AWAY, batch=4, context=64)
    assert experts_s(single) == pytest.approx(link + alone, rel=0.02)


@pytest.mark.parametrize(
    ("case", "apply", "message"),
    [
        (("a100_sxm", "opt-125m", "decode"), None, "opt-125m has no experts"),
        (HOST, "offload(only=experts.*)", "and when their layer asks"),
        (HOST, "offload(weights,overlap=no)", "are to be fetched alone"),
        (HOST, "offload(only=experts.*,overlap=no,share=0.5)", "by all layers"),
    ],
)
def test_what_it_does_not_run(case, apply, message):
    with pytest.raises(UserError, match=message):
        run(case, "expert_streaming", apply, context=64)


@pytest.mark.parametrize(("case", "apply"), [(CHIP, None), (CHIP, "token_major"), (HOST, None)])
def test_experts_alone_are_loaded_beside_compute(case, apply):
    """Nothing contends within an op: events are the closed form, within 1 %."""
    sizes = {} if case is CHIP else {"context": 64, "batch": 4}
    done = run(case, apply=apply, **sizes)
    design, model, phase = case
    closed = simulate(design, model, phase, formats="int8" if case is CHIP else None, apply=apply,
                      **sizes)  # fmt: skip
    for mine, other in zip(done.ops, closed.ops, strict=True):
        if mine.kind == "experts":
            assert other.latency_s * (1 - 1e-9) <= mine.latency_s <= 1.01 * other.latency_s


def test_places_are_counted():
    with pytest.raises(UserError, match="buffers is 0; at least 1"):
        run(CHIP, "expert_streaming(buffers=0)")
