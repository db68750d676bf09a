"""Steps that fetch from a backing memory, against arithmetic that anyone can redo."""

from __future__ import annotations

from functools import cache

import pytest

from accel_models.read_design import parse_design, read_design
from accel_models.read_system import read_system
from accel_models.reader import DesignError
from mappers import map_graph
from mappers.partition import Sharded, map_system
from mappers.residence import residence
from sim import simulate
from sim.report.document import run_document
from workloads import build, decode, read_config
from workloads.transforms.apply import apply

GPU, MODEL = "a100_sxm_host", "opt-6.7b"
RATE, LATENCY = 31.5e9 * 0.8, 10e-6  # PCIe 4.0 x16
WIDTH = 4096
LAYER = 2 * (12 * WIDTH**2 + 13 * WIDTH)  # bytes: matrices; 9 widths of biases, 4 of norms
FETCH = LATENCY + LAYER / RATE
TILES = "fetch"


@cache
def run(apply=None, phase="decode", design=GPU, model=MODEL, **sizes):
    return simulate(design, model, phase, apply=apply, **sizes)


def per_layer(done):
    return sum(op.latency_s for op in done.ops if op.count == 32 and op.kind != TILES)


def fetch_of(done):
    return [op for op in done.ops if op.kind == TILES]


def test_a_link_bound_step_takes_as_long_as_the_link() -> None:
    """12.9 GB of layers at 25.2 GB/s: 0.51 s; embedding and head are the chip's own."""
    plain, done = run(), run("offload")
    rest = plain.latency_s - 32 * per_layer(plain)
    assert done.latency_s == pytest.approx(32 * FETCH + rest, rel=1e-9)
    assert done.tpot_s == pytest.approx(32 * LAYER / RATE, rel=2e-3)
    (op,) = fetch_of(done)
    assert (op.count, op.bound_by) == (32, "host")
    assert op.traffic_bytes["host"] == op.traffic["hbm"]["weight"].written == LAYER
    assert done.limits[0].resource == "host"
    saved = done.limits[0].saves_s
    written = LAYER / (2039e9 * 0.88)  # what remains: HBM also takes in what it gives
    busy = sum(op.busy_s["hbm"] for op in done.ops if op.count == 32)
    left = plain.latency_s + 32 * (busy - per_layer(plain))
    assert busy > per_layer(plain) > busy - written
    assert done.latency_s - saved == pytest.approx(left, rel=1e-9)


def test_a_compute_bound_prompt_does_not_notice() -> None:
    plain = run(phase="prefill", batch=8, prompt=2048)
    done = run("offload", phase="prefill", batch=8, prompt=2048)
    assert per_layer(plain) > FETCH
    assert done.latency_s == plain.latency_s
    moved = 32 * LAYER * 8 * (26e-12 + 3.9e-12)
    assert done.energy_j - plain.energy_j == pytest.approx(moved, rel=1e-6)


def test_nothing_ahead_adds_up() -> None:
    assert run("offload(overlap=no)").latency_s == pytest.approx(run().latency_s + 32 * FETCH)


def test_a_share_of_the_layers_waits() -> None:
    wait = FETCH - per_layer(run())
    for share in (0.25, 0.5):
        done = run(f"offload(share={share})")
        assert done.latency_s == pytest.approx(run().latency_s + 32 * share * wait, rel=1e-9)
    assert run("offload(share=0)").latency_s == run().latency_s


def test_layers_are_nested_by_share() -> None:
    """A quarter fetches weights and cache, another quarter its cache only."""
    done = run("offload(share=0.25)+offload(kv,share=0.5)")
    cache_bytes = 2 * 2048 * WIDTH * 2
    layer = per_layer(run())
    both = LATENCY + (LAYER + cache_bytes) / RATE
    only = LATENCY + cache_bytes / RATE
    wait = 8 * (both - layer) + 8 * max(0.0, only - layer)
    assert done.latency_s == pytest.approx(run().latency_s + wait, rel=1e-9)
    assert [op.count for op in fetch_of(done)] == [8, 8]


def test_a_cache_is_read_whole_and_its_new_rows_written() -> None:
    (op,) = fetch_of(run("offload(kv)", batch=4))
    row = WIDTH * 2
    moved = op.traffic["host"]["keys, values"]
    assert (moved.read, moved.written) == (2 * 4 * 2048 * row, 2 * 4 * row)
    (op,) = fetch_of(run("offload(kv)", phase="prefill", prompt=512))
    moved = op.traffic["host"]["keys, values"]
    assert (moved.read, moved.written) == (0, 2 * 512 * row)


FAST = """
extends: a100_sxm
backing:
  pool: {kind: dram, capacity: 1 TB, bandwidth: 8 TB/s, efficiency: 1.0, requests: 64,
         latency: 1 us, granularity: 64 B, energy: 5 pJ/bit, source: "guess: a test"}
"""


def test_the_outermost_memory_is_busy_with_what_is_fetched_too() -> None:
    """Behind a fast link a layer takes what HBM needs to write and to read its weights."""
    design = parse_design(FAST, "fast")
    graph = build(read_config(MODEL), decode(1, 2048))
    done = map_graph(apply(graph, "offload"), design)
    fetched = next(p for p in done if p.op.kind == "fetch")
    own = [p for p in done if p.count == 32 and p is not fetched]
    busy = sum(float(p.cost.work.busy["hbm"]) for p in own)
    total = sum(float(p.cost.latency_s) for p in own)
    written = LAYER / (2039e9 * 0.88)
    assert fetched.cost.latency_s == pytest.approx(busy + written - total, rel=1e-9)
    assert fetched.cost.latency_s > 0


def test_a_share_of_what_is_ahead_is_guessed_wrong() -> None:
    """Of two experts of 8 every token needs, a measured third is missed: fetched ahead at once,
    a fifth of them again."""
    plain, text = run(design="a6000_host", model="mixtral-8x7b"), "expert_cache(0.5,hit=0.6667"
    done = run(f"{text},predictor=0.8)", design="a6000_host", model="mixtral-8x7b")
    (op,) = fetch_of(done)
    active = 2 * 3 * 4096 * 14336 * 2
    missed = (1 - 0.6667) * active
    assert op.traffic["gddr"]["weight"].written == pytest.approx(1.2 * missed, rel=1e-9)
    layer = per_layer(plain)
    ahead, late = LATENCY + missed / RATE, LATENCY + 0.2 * missed / RATE
    assert op.latency_s == pytest.approx(max(0.0, ahead - layer) + late, rel=0.01)
    late_only = fetch_of(run(f"{text})", design="a6000_host", model="mixtral-8x7b"))[0]
    assert late_only.traffic["gddr"]["weight"].written == pytest.approx(missed, rel=1e-9)


@pytest.mark.parametrize("model", ["mixtral-8x7b", "deepseek-v2-lite"])
def test_a_cache_of_all_experts_changes_nothing(model) -> None:
    plain = run(design="a6000_host", model=model)
    held = run("expert_cache(1)", design="a6000_host", model=model)
    assert held.latency_s == plain.latency_s
    assert held.energy_j == plain.energy_j


def test_what_fits_where() -> None:
    """Llama-3-70B: 131 GiB, 80 layers of 1.63 GiB; 48 GiB hold two layers' buffers and the rest."""
    graph = build(read_config("llama-3-70b"), decode(1, 2048))
    design = read_design("a6000_host")
    away = apply(graph, "offload")
    layer = 2 * (2 * 8192**2 + 2 * 8192 * 1024 + 3 * 8192 * 28672 + 2 * 8192)
    lives = residence(away, design)
    assert lives.backing["host"][0] == 80 * layer
    assert lives.backing["nvme"][0] == 0
    rest = graph.weight_bytes + graph.kv_bytes - 80 * layer
    assert lives.resident_bytes == rest + 2 * layer
    assert lives.fits
    late = residence(apply(graph, "offload(overlap=no)"), design)
    assert late.resident_bytes == rest + layer
    assert not residence(graph, design).fits
    held = residence(
        apply(build(read_config("mixtral-8x7b"), decode(1, 8)), "expert_cache(0.5)"), design
    )
    experts = 32 * 8 * 3 * 4096 * 14336 * 2
    assert held.backing["host"][0] == experts
    assert held.resident_bytes > experts / 2


@pytest.mark.parametrize("text", ["offload(only=lm_head)", "offload(share=0.3,only=lm_head)"])
def test_a_matrix_that_is_there_once_needs_no_second_buffer(text) -> None:
    graph, design = build(read_config("llama-3-8b"), decode(1, 512)), read_design(GPU)
    plain, lives = residence(graph, design), residence(apply(graph, text), design)
    assert lives.resident_bytes == pytest.approx(plain.resident_bytes, rel=1e-12)
    assert lives.backing["host"][0] > 0


def test_a_cache_that_layers_share_is_fetched_once_for_them() -> None:
    (each,) = fetch_of(run("offload(kv)", batch=4))
    (shared,) = fetch_of(run("share_kv(2)+offload(kv)", batch=4))
    moved = [op.traffic["host"]["keys, values"] for op in (shared, each)]
    assert moved[0].read == moved[1].read / 2
    assert moved[0].written == moved[1].written / 2
    graph = apply(build(read_config(MODEL), decode(4, 2048)), "share_kv(2)")
    lives = residence(apply(graph, "offload(kv)"), read_design(GPU))
    layer = 2 * 4 * 2048 * WIDTH * 2
    assert lives.resident_bytes == graph.weight_bytes + 2 * layer
    assert lives.backing["host"][0] == graph.kv_bytes == 16 * layer


def test_what_does_not_fit_is_a_warning_that_says_what_to_do() -> None:
    (warning,) = run(design="a6000_host", model="llama-3-70b").warnings
    assert "132.0 GiB" in warning
    assert "--apply 'offload(...)' keeps some in host" in warning
    done = run("offload", design="a6000_host", model="llama-3-70b")
    assert not done.warnings
    assert done.fits
    document = run_document(done)
    assert document["backing"]["host"]["bytes"] > document["resident_bytes"]
    half = run("offload(share=0.5)", design="a6000_host", model="llama-3-70b")
    assert "what stays of weights and cache, with buffers, needs" in half.warnings[0]
    full = run("offload", design="a6000_host", model="qwen3-235b-a22b")
    assert any("what is kept in a6000_host's host needs" in text for text in full.warnings)
    assert not full.fits


@pytest.mark.parametrize(
    ("design", "text", "message"),
    [
        ("a100_sxm", "offload", "designs that have one: .*a6000_host"),
        ("a6000_host", "offload(to=nvm)", "no backing memory 'nvm'; did you mean 'nvme'"),
    ],
)
def test_memories_that_are_not_there(design, text, message) -> None:
    with pytest.raises(DesignError, match=message):
        run(text, design=design)


def test_seconds_rest_on_the_link_s_numbers() -> None:
    shares = run("offload").latency_trust.shares
    assert shares["recalled"] > 0.95, "the link's efficiency"


PAIR = """
title: Two with a host each
source: "guess: a test"
machines: {gpu: {design: a100_sxm_host, count: 2}}
links:
  nvlink: {topology: switch, bandwidth: 300 GB/s, efficiency: 1.0, latency: 600 ns,
           energy: 11 pJ/bit, source: "guess: a test"}
"""


@pytest.mark.parametrize(
    "text", ["offload+tensor_parallel(2)", "tensor_parallel(2)+offload", "offload+data_parallel(2)"]
)
def test_chips_fetch_their_share_each_over_its_own_link(tmp_path, text) -> None:
    (tmp_path / "pair.yaml").write_text(PAIR)
    done = run(text, design=str(tmp_path / "pair.yaml"), model="opt-125m", batch=2)
    alone = run("offload", model="opt-125m", batch=2)
    copies = 2 if "data" in text else 1
    moved = [sum(o.count * o.traffic_bytes["host"] for o in fetch_of(r)) for r in (done, alone)]
    assert moved[0] == pytest.approx(copies * moved[1], rel=0.01)  # biases are on both
    assert done.backing["host"].bytes == pytest.approx(
        copies * alone.backing["host"].bytes, rel=0.01
    )
    assert done.fits
    waits = [
        sum(o.count * o.busy_s["host"] for o in fetch_of(r)) - 12 * LATENCY for r in (done, alone)
    ]
    assert waits[0] == pytest.approx(copies * waits[1] / 2, rel=0.01)


def test_a_stage_of_a_system_fetches_as_a_chip_does() -> None:
    graph = apply(build(read_config("opt-125m"), decode(1, 64)), "offload")
    alone = map_graph(graph, read_design("a6000_host"))
    placed = map_system(Sharded((graph,), {}), read_system("a6000_host"))
    expected = sum(p.count * float(p.cost.latency_s) for p in alone)
    assert any(p.op.kind == "fetch" for p in placed.stages[0].schedule)
    assert placed.latency_s == pytest.approx(expected, rel=1e-9)
    assert placed.stages[0].fits
