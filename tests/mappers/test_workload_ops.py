"""Ops of the later workloads on machines: experts, convolutions, batches of several lengths, latent
attention."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tiny import FP16, attention_graph, design_dict, engine, memory, parse, without_library

from accel_models.design import Design
from mappers import map_graph
from sim import analytic
from workloads import build, prefill, read_config
from workloads.graph import Graph, Node, Tensor, check
from workloads.ops import Attention, Einsum, Experts, Window
from workloads.phase import encode, ragged

A100 = without_library("a100_sxm")


def one_op(op, shapes: dict[str, tuple[int, ...]], weights: tuple[str, ...] = ("w",)) -> Graph:
    tensors = {
        name: Tensor(name, shape, FP16, "weight" if name in weights else "activation")
        for name, shape in shapes.items()
    }
    return check(Graph("tiny", "prefill", 1, 1, (Node(op, 1),), tensors, 1))


def cost_of(graph: Graph, design: Design = A100):
    (placed,) = map_graph(graph, design)
    return placed.cost


def experts(loads, n: int = 512, k: int = 1024) -> Graph:
    op = Experts("up", ("x", "w"), "y", loads, n, k)
    return one_op(op, {"x": (op.rows, k), "w": (64, n, k), "y": (op.rows, n)})


def test_experts_read_the_weights_of_those_that_have_rows():
    """Of 64 experts stored, those with a row are read once: the memory moves no others."""
    for active in (4, 32):
        cost = cost_of(experts(((active, 3),)))
        read, _ = cost.work.traffic["hbm"]["weight"]
        assert read == active * 512 * 1024 * 2


def test_a_layer_of_experts_is_one_launch():
    alike, mixed = cost_of(experts(((20, 2),))), cost_of(experts(((10, 3), (10, 1))))
    assert mixed.work.launches == alike.work.launches
    assert mixed.latency_s < 1.3 * alike.latency_s
    several = sum(cost_of(experts((load,))).latency_s for load in ((10, 3), (10, 1)))
    assert mixed.latency_s < several


def test_equal_experts_cost_what_a_batched_multiplication_does():
    op = Einsum("up", ("x", "w"), "y", {"e": 8, "m": 3, "n": 512, "k": 1024}, "emk,enk->emn")
    batched = one_op(op, {"x": (24, 1024), "w": (8, 512, 1024), "y": (24, 512)})
    assert cost_of(experts(((8, 3),))).latency_s == pytest.approx(cost_of(batched).latency_s)


def conv(side: int, kernel: int, stride: int, channels: int = 64, out: int = 64) -> Graph:
    made = side // stride
    window = Window(channels, (side, side), (kernel,) * 2, (stride,) * 2, (1, 1))
    ranks = {"m": made * made, "n": out, "k": channels * kernel**2}
    op = Einsum("conv", ("x", "w"), "y", ranks, "mk,nk->mn", window)
    shapes = {
        "x": (side * side, channels),
        "w": (out, channels * kernel**2),
        "y": (made * made, out),
    }
    return one_op(op, shapes)


def test_a_convolution_reads_each_element_of_the_image_once_from_memory():
    """Not once for each of its nine taps; the levels further in see all of them."""
    graph = conv(56, 3, 1)
    traffic = cost_of(graph).work.traffic
    image = 56 * 56 * 64 * 2
    assert traffic["hbm"]["activation"][0] == pytest.approx(image)
    assert traffic["l2"]["activation"][0] > 5 * image


def test_a_stride_without_overlap_reads_what_it_takes():
    """A 1 x 1 convolution with a stride of 2 takes a quarter of the positions."""
    read, _ = cost_of(conv(56, 1, 2)).work.traffic["hbm"]["activation"]
    assert read == pytest.approx(28 * 28 * 64 * 2)
    assert conv(56, 1, 2).node("conv").op.window.taken() == 0.25


def test_a_convolution_of_one_tap_is_a_multiplication():
    op = conv(56, 1, 1).node("conv").op
    plain = replace(conv(56, 1, 1), nodes=(Node(replace(op, window=None), 1),))
    assert cost_of(conv(56, 1, 1)).latency_s == cost_of(plain).latency_s


def test_an_image_network_runs_on_a_tiny_machine():
    design = parse(
        design_dict(
            {
                "dram": memory("1 GiB", "16 B/cycle", kind="dram"),
                "l2": memory("1 MiB", "64 B/cycle"),
            },
            {"l1": memory("64 KiB", "64 B/cycle")},
            engine("systolic", 1),
        )
    )
    graph = build(read_config("lenet-5"), encode(2))
    graph = replace(
        graph, tensors={name: replace(t, format=FP16) for name, t in graph.tensors.items()}
    )
    run = analytic.run(map_graph(graph, design))
    assert sum(op.count * op.macs for op in run.ops) == 2 * 416520


STEP = Attention("attention", ("q", "k", "v"), "o", 4, 32, 8, 1, 4096, 128, 128)


def test_sequences_of_equal_length_cost_the_same_said_one_by_one():
    alike = cost_of(attention_graph(STEP))
    same = cost_of(attention_graph(replace(STEP, lengths=((4, 4096),))))
    assert same.latency_s == pytest.approx(alike.latency_s)
    assert same.energy_j == pytest.approx(alike.energy_j)


def test_sequences_of_several_lengths_move_what_they_hold():
    """As many keys in all: as many bytes, one launch, and no faster than when they are alike."""
    alike = cost_of(attention_graph(STEP))
    op = replace(STEP, kv_len=7168, lengths=((1, 1024), (2, 4096), (1, 7168)))
    graph = replace(attention_graph(STEP), nodes=(Node(op, 1),))
    mixed = cost_of(graph)
    assert op.macs == STEP.macs
    assert mixed.work.launches <= 2
    keys = (cost.work.traffic["hbm"]["weight"][0] for cost in (alike, mixed))  # of keys and values
    one, other = keys
    assert other == pytest.approx(one)
    assert mixed.latency_s >= 0.99 * alike.latency_s


def test_a_ragged_step_of_a_model_holds_the_sum_of_its_contexts():
    config = read_config("gemma-2-2b")
    graph = build(config, ragged([1000, 3000, 6000]))
    local, whole = 1000 + 3000 + 4096, 10_000
    assert graph.kv_bytes == 13 * (local + whole) * 2 * 4 * 256 * 2


def test_a_latent_value_is_read_with_its_key():
    op = replace(STEP, q_heads=16, kv_heads=1, head_dim=576, v_head_dim=512)
    apart, latent = (
        cost_of(attention_graph(replace(op, latent=kind))).work.traffic["hbm"]["weight"][0]
        for kind in (False, True)
    )
    assert latent == pytest.approx(4 * 4096 * 576 * 2)
    assert apart == pytest.approx(latent * (576 + 512) / 576)


def test_a_share_of_the_pairs_takes_less():
    op = replace(STEP, q_len=2048, kv_len=2048, batch=1)
    whole, part = (cost_of(attention_graph(replace(op, density=d))) for d in (1.0, 0.25))
    assert 0.2 < part.latency_s / whole.latency_s < 0.6


def test_a_layer_of_experts_follows_its_router():
    """What the router decides is needed before rows are dealt: no kernel has the router and the
    weighted sum in it."""
    graph = build(read_config("mixtral-8x7b"), prefill(1, 64))
    for placed in map_graph(graph, A100):
        names = {placed.op.name, *(op.name for op in placed.fused)}
        assert not {"gate", "experts.combine"} <= names
