"""The quantize transform: formats change bytes and never work."""

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels_ref.errors import UserError
from kernels_ref.formats import FormatError, get_format
from workloads import build, decode, prefill, quantize, read_config
from workloads.builders import phases_of
from workloads.config import shipped_models
from workloads.graph import check
from workloads.phase import Phase, encode
from workloads.transforms import TRANSFORMS

PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def graph_of(name, phase):
    return build(read_config(name), phase)


def macs(graph):
    return sum(node.op.macs * node.count for node in graph)


def formats_of(graph):
    return {name: tensor.format for name, tensor in graph.tensors.items()}


CACHED = [name for name in shipped_models() if "decode" in phases_of(read_config(name))]
RECURRENT = ("mamba-130m", "mamba-2.8b", "rwkv-4-169m")
ATTENTIVE = [name for name in CACHED if name not in (*RECURRENT, "bitnet-b1.58-2b")]


@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from(ATTENTIVE),
    st.sampled_from([None, "fp16", "fp32", "fp8", "w8a8", "w4a16", "w4a8", "w3a16-g64-sym"]),
    st.sampled_from([None, "fp8", "int8", "int4"]),
    st.sampled_from([prefill(1, 700), decode(3, 65), Phase("prefill", 1, 4, 65)]),
)
def test_formats_change_bytes_and_never_work(name, formats, kv, phase):
    before = graph_of(name, phase)
    after = check(quantize(before, formats, kv))
    assert macs(after) == macs(before)
    assert after.params == before.params
    assert Counter(t.kind for t in after.tensors.values()) >= Counter(
        t.kind for t in before.tensors.values()
    )
    old = {node.op.name: node for node in before}
    added = [node for node in after if node.op.name not in old]
    assert {node.op.function for node in added} <= {"quantize"}
    assert {n.op.name: n.count for n in after if n.op.name in old} == {
        n: node.count for n, node in old.items()
    }


def test_w4a16_of_llama_3_8b():
    graph = quantize(graph_of("llama-3-8b", decode(1, 8)), "w4a16")
    layer = 4096 * (4096 + 1024 + 1024 + 4096) + 3 * 4096 * 14336
    group_bits = 128 * 4 + 16 + 4  # AWQ: a scale and a zero-point for 128 weights
    sixteen = 2 * (2 * 128256 * 4096 + 65 * 4096)  # table, lm_head, norms
    assert graph.weight_bytes == 32 * layer * group_bits // (128 * 8) + sixteen
    assert formats_of(graph)["q_proj"].name == "bf16"
    assert not [n for n in graph if n.op.name.endswith(".quantize")]


def test_w8a8_converts_each_input_once_for_all_its_readers():
    graph = quantize(graph_of("llama-3-8b", decode(1, 8)), "w8a8")
    added = [n.op.name for n in graph if n.op.name.endswith(".quantize")]
    assert added == [
        "input_layernorm.quantize", "attention.quantize", "post_attention_layernorm.quantize",
        "act_mul.quantize",
    ]  # fmt: skip
    assert {graph.node(n).count for n in added} == {32}
    for name in PROJECTIONS:
        source, weight = graph.node(name).op.inputs
        assert source.endswith(".quantize")
        assert graph.tensors[source].format.element == "int8"
        assert graph.tensors[weight].format.element == "int8"
        assert graph.tensors[name].format.name == "bf16"
    assert formats_of(graph)["lm_head.weight"].name == "bf16"
    assert formats_of(graph)["input_layernorm.weight"].name == "bf16"


def test_one_format_for_everything_from_16_bits_on():
    graph = quantize(graph_of("llama-3-8b", decode(1, 8)), "fp16")
    assert {f.name for f in formats_of(graph).values()} == {"fp16"}


def test_16_bits_are_the_models_own():
    fp16 = quantize(graph_of("llama-2-7b", decode(1, 8)), "w4a16")
    assert formats_of(fp16)["k_cache"].name == formats_of(fp16)["norm.weight"].name == "fp16"
    fp32 = quantize(quantize(graph_of("llama-2-7b", decode(1, 8)), "fp32"), "w4a16")
    assert formats_of(fp32)["k_cache"].name == formats_of(fp32)["norm.weight"].name == "bf16"


@pytest.mark.parametrize("name", ATTENTIVE)
def test_an_8_bit_cache_is_half_as_large(name):
    before = quantize(graph_of(name, decode(2, 65)), "bf16")
    after = quantize(before, kv="fp8")
    assert 2 * after.kv_bytes == before.kv_bytes
    appended = [n.op for n in after if n.op.kind == "move"]
    assert all(op.inputs[0].endswith(".quantize_kv") for op in appended)
    assert quantize(before, kv="bf16").kv_bytes == before.kv_bytes


@pytest.mark.parametrize("name", RECURRENT)
def test_a_model_without_a_cache_says_so(name):
    with pytest.raises(UserError, match="has no key-value cache in its phase decode"):
        quantize(graph_of(name, decode(2, 65)), kv="fp8")


@pytest.mark.parametrize("name", ["vit-base", "resnet-50", "bert-base", "clip-vit-base-patch32"])
def test_encoders_store_their_matrices_in_8_bits(name):
    before = graph_of(name, encode(1, 16))
    after = quantize(before, "w8a8")
    assert macs(after) == macs(before)
    assert after.params == before.params
    kept = quantize(before, "fp16").weight_bytes
    assert kept / 2 < after.weight_bytes < 0.8 * kept


def test_routers_stay_at_16_bits_and_experts_do_not():
    formats = formats_of(quantize(graph_of("mixtral-8x7b", decode(1, 8)), "w4a16"))
    assert formats["gate.weight"].name == "bf16"
    assert formats["experts.down_proj.weight"].bits == 4


def test_matrices_by_name():
    graph = graph_of("mixtral-8x7b", decode(1, 8))
    after = quantize(quantize(graph, "w4a16", only="experts.*"), "w8a16", only="[qkvo]_proj")
    formats = formats_of(after)
    assert formats["experts.down_proj.weight"].bits == 4
    assert formats["q_proj.weight"].bits == formats["o_proj.weight"].bits == 8
    assert formats["lm_head.weight"].name == formats["q_proj"].name == "bf16"
    with pytest.raises(UserError, match="no matrix of a layer named 'mlp'; there are q_proj"):
        quantize(graph, "w4a16", only="mlp")
    with pytest.raises(UserError, match="is quantized already"):
        quantize(after, "w4a16", only="q_proj")


def test_what_a_phase_does_not_run_is_stored_like_the_rest():
    bytes_of = {
        phase.kind: quantize(graph_of("t5-small", phase), "w8a8").weight_bytes
        for phase in (encode(1, 16), prefill(1, 16), decode(1, 16))
    }
    assert len(set(bytes_of.values())) == 1


def test_an_int8_cache_stores_a_scale_per_head_and_token():
    graph = quantize(graph_of("llama-3-8b", decode(2, 65)), kv="int8")
    assert graph.kv_bytes == 2 * 65 * 2 * 32 * 8 * (128 + 2)


def test_biases_stay_at_16_bits():
    graph = quantize(graph_of("opt-6.7b", decode(1, 8)), "w8a8", "fp8")
    assert formats_of(graph)["fc1.bias"].name == "fp16"
    assert formats_of(graph)["fc1.weight"].bits == 8


def test_a_format_twice_or_an_accumulators_is_refused():
    graph = graph_of("llama-3-8b", decode(1, 8))
    with pytest.raises(UserError, match="is quantized already"):
        quantize(quantize(graph, "w8a8"), "w8a8")
    with pytest.raises(UserError, match="caches are quantized already"):
        quantize(quantize(graph, kv="fp8"), kv="fp8")
    with pytest.raises(FormatError, match="int32 is an accumulator's format"):
        quantize(graph, "int32")


def test_batched_weights_are_projections_too():
    graph = graph_of("llama-3-8b", decode(1, 8))
    weight = graph.tensors["q_proj.weight"]
    stacked = replace(weight, shape=(2, *weight.shape))
    graph = replace(graph, tensors={**graph.tensors, "q_proj.weight": stacked})
    assert formats_of(quantize(graph, "w4a16"))["q_proj.weight"] != get_format("bf16")


def test_transforms_are_callable_by_name():
    assert TRANSFORMS["quantize"] is quantize
