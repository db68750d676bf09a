"""Numbers of papers that follow from a graph's sizes alone."""

import time

import pytest

from workloads import build, decode, read_config
from workloads.builders.experts import active_experts
from workloads.config import ModelConfig, shipped_models
from workloads.phase import encode
from workloads.read_model import of_config
from workloads.transforms.apply import apply
from workloads.transforms.speculate import expected_tokens

# Chowdhery et al., PaLM, arXiv 2204.02311, table 1; one key and value head. What its layers do in
# parallel does not matter for the cache.
PALM_540B = {
    "model_type": "llama",
    "hidden_size": 18432,
    "intermediate_size": 73728,
    "num_hidden_layers": 118,
    "num_attention_heads": 48,
    "num_key_value_heads": 1,
    "head_dim": 256,
    "vocab_size": 256000,
    "hidden_act": "silu",
    "torch_dtype": "bfloat16",
}


@pytest.mark.parametrize(("batch", "published"), [(128, 43_000), (512, 10_700)])
def test_the_longest_context_of_palm_540b(batch: int, published: int):
    """64 chips of 32 GiB, 30 % of them for a cache that is spread over the batch (Pope et al.,
    arXiv 2211.05102, table 1, multiquery, optimized)."""
    graph = build(ModelConfig("palm", PALM_540B, "palm.json"), decode(batch, 1))
    positions = 0.3 * 64 * 32 * 2**30 / graph.kv_bytes
    assert positions == pytest.approx(published, rel=0.01)


def test_hydragen_reads_the_prefix_once():
    """Of n sequences with a prefix of p and s tokens of their own, (p + n s) / (n (p + s)) of the
    bytes (arXiv 2402.05099, sec. 3.2)."""
    n, p, s = 32, 1024, 128
    whole = build(read_config("llama-3-8b"), decode(n, p + s))
    shared = apply(whole, f"shared_prefix({p})")
    assert shared.kv_bytes / whole.kv_bytes == pytest.approx((p + n * s) / (n * (p + s)))


@pytest.mark.parametrize(
    ("experts", "picked", "tokens", "expected"),
    [(8, 2, 1, 2), (8, 2, 4, 5.46875), (256, 8, 64, 222.4), (64, 6, 10_000, 64)],
)
def test_experts_that_get_a_row(experts: int, picked: int, tokens: int, expected: float):
    """E (1 - (1 - k/E)^T), worked out by hand."""
    assert active_experts(experts, picked, tokens) == round(expected)


def test_tokens_of_a_speculative_step():
    """Leviathan et al., arXiv 2211.17192, table 1: a 0.8, gamma 5."""
    assert expected_tokens(5, 0.8) == pytest.approx(3.69, abs=0.005)


def test_a_graph_is_built_in_milliseconds():
    for name in shipped_models():
        model = of_config(read_config(name))
        phase = decode(8, 400) if "decode" in model.phases else encode(8, 64)
        seconds = []
        for _ in range(3):
            started = time.perf_counter()
            model.build(phase)
            seconds.append(time.perf_counter() - started)
        assert min(seconds) < 0.05, name


@pytest.mark.parametrize(("name", "group"), [("qwen3-8b", 4), ("qwen3-32b", 8)])
@pytest.mark.parametrize("context", [1024, 32_768])
def test_kinetics_equivalent_flops_of_a_step(name: str, group: int, context: int):
    """Kinetics, arXiv 2506.05333, sec. 2: eFLOPs = FLOPs + I * bytes; of a step at context L with D
    elements of keys and values to a token and r query heads to a key head: 2 P of matrices, 2 r D L
    of attention, 2 I D L of its 16-bit cache. I = 562.5 FLOP/byte, a B200's 4.5 PFLOP/s over 8
    TB/s. The cache costs I / r times what attention computes."""
    intensity = 4.5e15 / 8e12
    graph = build(read_config(name), decode(1, context))
    flops = {
        kind: 2 * sum(n.count * n.op.macs for n in graph if n.op.kind == kind)
        for kind in ("attention", "einsum")
    }
    size = graph.kv_bytes / 2 / context
    assert flops["attention"] == 2 * group * size * context
    memory = intensity * graph.kv_bytes
    assert memory / flops["attention"] == pytest.approx(562.5 / group)
    parameters = graph.params - graph.tensors["embed_tokens.weight"].elements  # only gathered
    assert flops["einsum"] == pytest.approx(2 * parameters, rel=1e-3)
    dominated = (flops["attention"] + memory) / flops["einsum"]
    by_hand = (group + 562.5) * size * context / parameters
    assert dominated == pytest.approx(by_hand, rel=1e-3)
