"""Whole models against arithmetic that anyone can redo."""

from __future__ import annotations

import pytest
from tiny import without_library

from accel_models.path import memory_path
from accel_models.read_design import read_design
from mappers.attention import plan_attention
from mappers.context import Context
from mappers.groups import group_of
from mappers.wiring import Wiring
from sim import simulate
from workloads import build, prefill, read_config
from workloads.transforms import quantize


def op_of(run, name):
    return next(op for op in run.ops if op.name == name)


def test_llama_2_7b_q_proj():
    """2 * 2048 * 4096^2 = 68.7 GOP; (2 * 2048 * 4096 + 4096^2) * 2 B = 67.1 MB in fp16."""
    graph = build(read_config("llama-2-7b"), prefill(1, 2048))
    op = graph.node("q_proj").op
    assert 2 * op.macs == 2 * 2048 * 4096**2 == pytest.approx(68.7e9, rel=1e-3)
    assert sum(graph.bytes_of(op).values()) == (2 * 2048 * 4096 + 4096**2) * 2
    assert sum(graph.bytes_of(op).values()) == pytest.approx(67.1e6, rel=1e-3)


def test_decode_never_beats_the_time_to_read_the_weights():
    """Llama-3-8B: 15.01 GB a token (the 1.05 GB table is gathered); A100: 2039 GB/s, 7.36 ms."""
    run = simulate("a100_sxm", "llama-3-8b", "decode", context=2048)
    weights = sum(op.count * op.traffic["hbm"]["weight"].read for op in run.ops if op.macs)
    cache = run.kv_bytes
    streamed = 2 * (8_030_261_248 - 128_256 * 4096)
    norms = (2 * 32 + 1) * 4096 * 2
    assert streamed == pytest.approx(15.01e9, rel=1e-3)
    assert weights == pytest.approx(streamed - norms + cache, rel=1e-9)
    assert streamed / 2039e9 == pytest.approx(7.36e-3, rel=1e-3)
    assert run.latency_s > streamed / 2039e9
    assert run.latency_s < 1.6 * streamed / 2039e9


def test_unfused_attention_moves_the_scores_and_fused_does_not():
    """S = 2048, 32 heads, fp16: Q K^T writes 2048^2 * 32 * 2 B = 268 MB."""
    scores = 2048**2 * 32 * 2
    assert scores == pytest.approx(268e6, rel=2e-3)
    design, config = read_design("a100_sxm"), read_config("llama-2-7b")
    graph = build(config, prefill(1, 2048))
    wiring, path = Wiring(graph), memory_path(design, "sm")
    attention = group_of(wiring, 1 << wiring.maker["attention"])
    plan = plan_attention(attention, Context(graph, path, "latency"))
    assert plan.variant == "fused"
    fused = plan.cost.work.traffic["hbm"]
    assert sum(float(r + w) for r, w in fused.values()) < scores / 2
    assert float(fused["output"][1]) == 2048 * 4096 * 2
    assert plan.instead["unfused"] > plan.cost.latency_s


def test_unfused_writes_them(monkeypatch):
    """With no tile fitting, the three steps run and write the square once, read it, and so on."""
    import mappers.attention as rules

    monkeypatch.setattr(rules, "flash_tiles", lambda flash, path: iter(()))
    run = simulate("a100_sxm", "llama-2-7b", "prefill", prompt=2048)
    op = op_of(run, "attention")
    assert op.variant == "unfused"
    scores = 2048**2 * 32 * 2
    written = sum(t.written for t in op.traffic["hbm"].values())
    assert written == pytest.approx(2 * scores + 2048 * 4096 * 2)  # scores, probabilities, output


def test_prefill_is_bounded_by_peak():
    """2 ops per MAC over 312 TOP/s; no op may claim more."""
    run = simulate("a100_sxm", "llama-3-8b", "prefill", prompt=2048)
    macs = sum(op.count * op.macs for op in run.ops)
    assert run.latency_s > 2 * macs / 312e12
    assert all(op.utilization <= 1 for op in run.ops)
    assert run.tokens_per_s == pytest.approx(2048 / run.latency_s)


def test_h200_decodes_faster_only_by_its_memory():
    h100 = simulate("h100_sxm", "llama-3-8b", "decode")
    h200 = simulate("h200_sxm", "llama-3-8b", "decode")
    assert 1.0 < h100.latency_s / h200.latency_s < 4800 / 3350


def test_narrow_weights_decode_faster_and_convert():
    """w4a16 reads about a quarter of the projections' bytes; conversions run beside."""
    machine = without_library("a100_sxm")
    wide = simulate(machine, "llama-2-7b", "decode")
    narrow = simulate(machine, "llama-2-7b", "decode", formats="w4a16-g128")
    a, b = op_of(wide, "gate_proj"), op_of(narrow, "gate_proj")
    ratio = a.traffic["hbm"]["weight"].read / b.traffic["hbm"]["weight"].read
    assert ratio == pytest.approx(16 / (4 + 20 / 128), rel=1e-6)
    assert b.busy_s["vector"] > a.busy_s["vector"]
    assert a.macs == b.macs
    graph = build(read_config("llama-2-7b"), prefill(1, 16))
    assert quantize(graph, "w4a16-g128").params == graph.params


def test_memory_that_is_too_small():
    run = simulate("a100_sxm", "llama-3-70b", "decode")
    assert not run.fits
    assert run.weight_bytes > run.memory_bytes
    assert any("weights and cache need" in warning for warning in run.warnings)
