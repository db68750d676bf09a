"""Gradients of attention on a machine: what is visited, what moves at least, the bounds."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny import without_library

from accel_models.path import memory_path
from accel_models.reader import DesignError
from kernels_ref.formats import get_format
from mappers import map_graph
from mappers.context import Context
from mappers.flash_backward import plan_attention_backward, query_tiles
from mappers.groups import group_of
from mappers.wiring import Wiring
from workloads import build, read_config
from workloads.graph import Graph, Node, Tensor
from workloads.ops import Attention, AttentionBackward, Update
from workloads.phase import train
from workloads.training import training

A100 = without_library("a100_sxm")


def forward(batch=1, heads=8, kv_heads=2, length=512, width=64, **more):
    return Attention(
        "a", ("q", "k", "v"), "o", batch, heads, kv_heads, length, length, width, width, **more
    )


def backward(op):
    half, wide = get_format("bf16"), get_format("fp32")
    rows = op.batch * op.q_len
    q, kv = op.q_heads * op.head_dim, op.kv_heads * op.head_dim
    shapes = {"q": q, "k": kv, "v": kv, "do": q, "l": op.q_heads, "d": op.q_heads, "g": q + 2 * kv}
    tensors = {
        name: Tensor(name, (rows, width), wide if name in "ld" else half, "activation")
        for name, width in shapes.items()
    }
    made = AttentionBackward("a.gradient", tuple(shapes)[:6], "g", op)
    return Graph("t", "train", op.batch, op.q_len, (Node(made, 1),), tensors, op.q_len)


def plan(op, design=A100):
    graph = backward(op)
    path = memory_path(design, next(iter(design.cores)))
    group = group_of(Wiring(graph), 1)
    return plan_attention_backward(group, Context(graph, path, "latency"))


@given(
    st.integers(1, 60), st.integers(1, 60), st.integers(1, 3), st.integers(1, 20),
    st.integers(1, 20), st.booleans(), st.none() | st.integers(1, 70),
)  # fmt: skip
def test_tiles_of_queries_that_a_tile_of_keys_meets_equal_a_count(
    q_len, more, group, tm, ts, causal, window
):
    kv_len = q_len + more - 1
    op = replace(forward(heads=group, kv_heads=1), q_len=q_len, kv_len=kv_len, causal=causal)
    op = replace(op, window=window if causal else None)

    def sees(query, key):
        at = kv_len - q_len + query
        return not causal or (key <= at and (window is None or key > at - window))

    for tile, found in enumerate(query_tiles(op, tm, ts)):
        keys = range(tile * ts, min(kv_len, (tile + 1) * ts))
        queries = [q for q in range(q_len) if any(sees(q, k) for k in keys)]
        rows = (max(queries) - min(queries) + 1) * group if queries else 0
        assert found == -(-rows // tm)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("length", [1, 65, 512, 4096])
def test_latency_is_between_its_bounds(causal, length):
    found = plan(forward(length=length, causal=causal))
    op = AttentionBackward("g", (), "", forward(length=length, causal=causal))
    assert found.cost.lower_bound_s() <= found.cost.latency_s <= found.cost.upper_bound_s()
    assert found.cost.latency_s >= op.macs / found.peak_per_s
    assert 0 < found.utilization <= 1


def test_every_operand_and_gradient_passes_the_outermost_memory_once():
    op = forward(batch=2, heads=8, kv_heads=8, length=256, causal=False)
    traffic = plan(op).cost.work.traffic["hbm"]
    tokens, width = 2 * 256, 8 * 64
    assert traffic["weight"] == (2 * tokens * width * 2, 0.0), "keys and values"
    assert traffic["activation"][0] == 2 * tokens * width * 2 + 8 * tokens * 8, "Q, dO, L, D"
    sums = 4 * tokens * width  # dQ in fp32, written and read once
    assert traffic["output"] == (sums, 3 * tokens * width * 2 + sums)


def test_it_takes_longer_than_the_forward_pass_and_less_with_fewer_keys():
    step = training(build(read_config("llama-3.2-1b"), train(1, 2048)))
    schedule = map_graph(step, A100)
    seconds = {p.op.kind: float(p.cost.latency_s) for p in schedule if "attention" in p.op.kind}
    assert 2 < seconds["attention_backward"] / seconds["attention"] < 4
    whole, near = plan(forward(length=4096)), plan(forward(length=4096, window=256))
    assert near.cost.latency_s < whole.cost.latency_s / 3
    some = plan(forward(length=4096, density=0.25))
    assert some.cost.latency_s < whole.cost.latency_s / 2


def test_more_sequences_and_longer_ones_take_longer():
    times = [float(plan(forward(length=n)).cost.latency_s) for n in (256, 512, 1024, 2048, 4096)]
    assert times == sorted(times)
    assert plan(forward(batch=16)).cost.latency_s > plan(forward()).cost.latency_s


def test_rows_too_wide_for_a_core_are_refused():
    with pytest.raises(DesignError, match=r"a\.gradient: no tile of keys, values and the sums"):
        plan(forward(width=100_000, length=64))


def test_an_update_reads_gradients_and_states_and_writes_states_and_weights():
    half, wide, n = get_format("bf16"), get_format("fp32"), 1_000_000
    tensors = {name: Tensor(name, (n,), wide, "state") for name in ("m", "v", "master")}
    tensors |= {"g": Tensor("g", (n,), half, "state"), "w": Tensor("w", (n,), half, "activation")}
    op = Update("adam", ("g", "m", "v", "master"), "w", "adam", n, 3)
    graph = Graph("t", "train", 1, 1, (Node(op, 1),), tensors, 1)
    (placed,) = map_graph(graph, A100)
    hbm = placed.cost.work.traffic["hbm"]
    assert sum(read for read, _ in hbm.values()) == (2 + 12) * n
    assert sum(written for _, written in hbm.values()) == (12 + 2) * n
    assert placed.cost.latency_s >= 28 * n / 2.039e12
    assert np.isclose(sum(op.vector_ops.values()), 18 * n)
