"""Costs worked out on paper, to the cycle."""

from __future__ import annotations

import pytest
from tiny import (
    FP16,
    attention_graph,
    design_dict,
    engine,
    matmul_graph,
    memory,
    parse,
    vector_graph,
)

from accel_models.path import Path, memory_path
from mappers import map_graph
from mappers.mapping import RANKS, LevelMapping, Mapping
from mappers.matmul import matmul_cost
from mappers.problem import Contraction
from sim import analytic
from workloads.ops import Attention

US, NS = 1e-6, 1e-9


def run(design, graph):
    (placed,) = map_graph(graph, design)
    return placed.cost, analytic.op_run(placed)


def test_matmul_in_one_tile():
    """C[4,4] += A[4,8] B[8,4], fp16, ws 4x4 ideal: two folds of 4 rows.

    Busy: matrix 2 folds * 4 = 8 cycles, and its fill rows + cols - 2 = 6 once: 14 ns. dram
    reads 64 + 64 B and writes 32 B at 8 B/cycle: 20 ns. buffer takes 128 B and the engine reads
    A once (64 B), B once (64 B); sums are read once and written twice (16 * 4 B each), and the
    result leaves (64 B as sums): 128 + 128 + 3 * 64 + 64 = 512 B at 64 B/cycle: 8 ns.
    One step: the prologue is dram's loads, 16 ns; the epilogue dram's stores, 4 ns; body 14 ns.
    """
    design = parse(
        design_dict(
            {"dram": memory("1 GiB", "8 B/cycle", kind="dram")},
            {"buffer": memory("64 KiB", "64 B/cycle")},
            engine("systolic"),
        )
    )
    path = memory_path(design, "core")
    problem = Contraction({"b": 1, "m": 4, "n": 4, "k": 8}, path.datapath(FP16, FP16), 2, 2, 2, 4)
    cost = matmul_cost(problem, one_tile(problem, path), path)
    busy = cost.work.busy
    assert busy["matrix"] == pytest.approx(14 * NS)
    assert busy["dram"] == pytest.approx(20 * NS)
    assert busy["buffer"] == pytest.approx(8 * NS)
    assert cost.exposed["prologue"] == pytest.approx(16 * NS)
    assert cost.exposed["epilogue"] == pytest.approx(4 * NS)
    launch, access = 1 * US, 1 * NS
    assert cost.latency_s == pytest.approx(launch + access + (16 + 14 + 4) * NS)
    # 160 B at dram, 512 B at the buffer, 8 pJ a byte; 128 MACs at 1 pJ; 1 W of static power
    joules = (160 * 8 + 512 * 8 + 128) * 1e-12 + 1.0 * float(cost.latency_s)
    assert cost.energy_j == pytest.approx(joules)


def one_tile(problem: Contraction, path: Path) -> Mapping:
    """Everything in the buffer at once."""
    ones = dict.fromkeys(RANKS, 1)
    return Mapping(
        tuple(LevelMapping(v.name, problem.extents, ones, RANKS, v.keeps) for v in path.levels)
    )


def test_single_buffering_adds_up():
    """The same with a buffer that cannot load while it is read: the fill is serial, not hidden."""
    levels = {"dram": memory("1 GiB", "8 B/cycle", kind="dram")}
    matrix = engine("systolic")
    one = parse(
        design_dict(levels, {"b": memory("64 KiB", "64 B/cycle", buffering="single")}, matrix)
    )
    two = parse(design_dict(levels, {"b": memory("64 KiB", "64 B/cycle")}, matrix))
    graph = matmul_graph(64, 64, 64)
    assert run(one, graph)[1].latency_s > run(two, graph)[1].latency_s
    cost, _ = run(one, graph)
    assert float(cost.exposed["serial"]) > 0


def test_decode_costs_a_weight_block_rows_cycles_with_shadow_weights():
    """One row streamed: a fold takes max(1, rows) cycles with a spare register, 1 ideally."""
    levels = {"dram": memory("1 GiB", "1 TB/s", kind="dram")}
    buffer = {"buffer": memory("1 MiB", "1 TB/s")}
    cycles = {}
    for preload in ("ideal", "shadow", "none"):
        design = parse(design_dict(levels, buffer, engine("systolic", weight_preload=preload)))
        _, op = run(design, matmul_graph(1, 64, 64))
        cycles[preload] = op.busy_s["matrix"] / NS
    folds, rows, cols = 16 * 16, 4, 4
    assert cycles["ideal"] == pytest.approx(folds * 1 + (rows + cols - 2))
    assert cycles["shadow"] == pytest.approx(folds * rows + (rows + cols - 2 + 1 - rows))
    assert cycles["none"] == pytest.approx(folds * (rows + cols - 2 + 1 + rows))


def test_vector_op():
    """4 elements a cycle: silu * up is 2 mul + exp + add + reciprocal for each of 32 elements."""
    design = parse(
        design_dict(
            {"dram": memory("1 GiB", "8 B/cycle", kind="dram")},
            {"buffer": memory("64 KiB", "64 B/cycle")},
            engine("systolic"),
        )
    )
    _, op = run(design, vector_graph("silu_mul", 4, 8))
    assert op.busy_s["vector"] == pytest.approx(32 * 5 / 4 * NS)
    assert op.busy_s["dram"] == pytest.approx(2 * 64 / 8 * NS)
    assert op.bound_by == "launch"


def test_fused_attention_skips_hidden_tiles_and_moves_the_cache_once():
    """Causal prefill: half the square. The scores never leave the core."""
    design = parse(
        design_dict(
            {"dram": memory("1 GiB", "8 B/cycle", kind="dram")},
            {"buffer": memory("4 MiB", "1 TB/s")},
            engine("dot_product"),
        )
    )
    attention = Attention("a", ("q", "k", "v"), "o", 1, 1, 1, 256, 256, 16, 16)
    _, op = run(design, attention_graph(attention))
    assert op.variant == "fused"
    square = 256 * 256 * 32  # MACs of both products without a mask
    assert attention.macs == pytest.approx(square / 2, rel=0.01)
    full = Attention("a", ("q", "k", "v"), "o", 1, 1, 1, 256, 256, 16, 16, causal=False)
    _, whole = run(design, attention_graph(full))
    assert op.busy_s["matrix"] < 0.75 * whole.busy_s["matrix"]
    tensors = 4 * 256 * 16 * 2  # q, k, v, o
    assert whole.traffic_bytes["dram"] >= tensors
    assert op.traffic_bytes["dram"] < 4 * 256 * 256 * 2  # what the scores alone would cost
