"""Formats of some layers: what is cut in parts stays what it was in all."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels_ref.errors import UserError
from sim import simulate
from workloads import build, decode, prefill, read_config
from workloads.graph import check
from workloads.phase import encode
from workloads.transforms.apply import apply
from workloads.transforms.split import layer_ranges

STEP = build(read_config("llama-3-8b"), decode(8, 4096))
LAYER = 4096 * (4096 + 1024 + 1024 + 4096) + 3 * 4096 * 14336  # matrices of one layer
CASES = [
    ("llama-3-8b", decode(2, 90), "", 32), ("gemma-2-2b", decode(1, 300), "global.", 13),
    ("deepseek-v2-lite", prefill(1, 30), "sparse.", 26), ("t5-small", decode(1, 30), "decoder.", 6),
    ("t5-small", prefill(1, 30), "encoder.", 6), ("bert-base", encode(1, 30), "", 12),
    ("llava-1.5-7b", prefill(1, 1000), "vision.", 23), ("mamba-130m", decode(1, 9), "", 24),
]  # fmt: skip


def macs(graph):
    return sum(node.count * node.op.macs for node in graph)


def stored(graph, kind):
    copies = graph.stored_copies().items()
    return sum(graph.tensors[t].bytes * n for t, n in copies if graph.tensors[t].kind == kind)


@pytest.mark.parametrize(("name", "phase", "kind", "count"), CASES)
def test_layers_in_parts_are_the_layers(name, phase, kind, count):
    graph = apply(build(read_config(name), phase), "quantize(bf16)")
    last = count - 1
    after, names = layer_ranges(graph, f"{kind}0+{kind}2-{last}")
    check(after)
    assert after.params == graph.params
    assert macs(after) == macs(graph)
    for stays in ("weight", "table", "kv"):
        assert stored(after, stays) == pytest.approx(stored(graph, stays), rel=1e-12)
    assert 0 < len(names) < 2 * len(graph.nodes)
    whole = apply(graph, f"quantize(w4a16,layers={kind}0-{last})")
    parts = apply(graph, f"quantize(w4a16,layers={kind}1-{last})+quantize(w4a16,layers={kind}0)")
    assert parts.weight_bytes == whole.weight_bytes < graph.weight_bytes


@settings(deadline=None, max_examples=30)
@given(st.data())
def test_ranges_may_be_cut_again(data):
    graph = STEP
    for _ in range(3):
        first = data.draw(st.integers(0, 31))
        last = data.draw(st.integers(first, 31))
        graph, names = layer_ranges(graph, f"{first}-{last}")
        q = [node for node in graph if node.op.name in names and node.op.name.endswith("q_proj")]
        assert sum(node.count for node in q) == last - first + 1
    assert graph.params == STEP.params
    assert graph.kv_bytes == STEP.kv_bytes
    assert macs(graph) == macs(STEP)


def test_a_range_of_layers_has_a_format_of_its_own():
    after = apply(STEP, "quantize(w4a16,layers=2-29)+quantize(w8a8,layers=0-1+30-31)")
    rows = 4096 + 1024 + 1024 + 4096 + 2 * 14336 + 4096  # of all matrices, a scale each
    four, eight = 28 * LAYER * (128 * 4 + 20) // 1024, 4 * (LAYER + 2 * rows)
    sixteen = 2 * (2 * 128256 * 4096 + 65 * 4096)  # table, lm_head, norms
    assert after.weight_bytes == four + eight + sixteen
    converted = [n.op.name for n in after if n.op.name.endswith(".quantize")]
    assert not [name for name in converted if name.startswith("layers2-29.")]
    assert len(converted) == 8


def test_caches_of_a_range_of_layers():
    after = apply(STEP, "quantize(kv=fp8,layers=8-31)")
    assert after.kv_bytes == STEP.kv_bytes * (8 + 24 / 2) / 32


def test_formats_of_ops_follow_each_other_in_any_order():
    one = apply(STEP, "quantize(w4a8,only=v_proj)+quantize(w8a8,only=q_proj)")
    assert one.tensors["v_proj.weight"].format.bits == 4
    assert [n.op.name for n in one if n.op.name.endswith("quantize")] == [
        "input_layernorm.quantize"
    ]
    two = apply(STEP, "quantize(w4a8,only=v_proj)+quantize(fp8,only=q_proj)")
    assert two.node("q_proj").op.inputs[0] == "input_layernorm.quantize.fp8"
    assert two.node("v_proj").op.inputs[0] == "input_layernorm.quantize"
    assert two.tensors["input_layernorm.quantize.fp8"].format.name == "fp8"


@pytest.mark.slow
def test_the_same_formats_in_parts_take_as_long():
    parts = "quantize(w8a16,layers=0-15)+quantize(w8a16,layers=16-31)"
    runs = [
        simulate("a100_sxm", "llama-3-8b", context=1024, apply=a)
        for a in (parts, "quantize(w8a16)")
    ]
    assert runs[0].latency_s == pytest.approx(runs[1].latency_s, rel=1e-9)


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("llama-3-8b", "quantize(w4a16,layers=30-32)", "llama-3-8b has layers 0-31"),
        ("llama-3-8b", "quantize(w4a16,layers=3-2)", "llama-3-8b has layers 0-31"),
        ("llama-3-8b", "quantize(w4a16,layers=all)", "write 2-29, or 0-1+30-31, or KIND.0-9"),
        ("gemma-2-2b", "quantize(w4a16,layers=0-1)", "has layers local.0-12, global.0-12"),
        ("llama-3-8b", "quantize(bf16,layers=0-1)", "bf16 is for the whole graph"),
        ("llama-3-8b", "quantize(w4a16,layers=0-1)+quantize(w8a8,layers=1)", "quantized already"),
        ("llama-3-8b", "skip_layers(0.3)+quantize(w4a16,layers=0-1)", "no layers that are alike"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(name, text, says):
    with pytest.raises(UserError) as problem:
        apply(build(read_config(name), decode(1, 50)), text)
    assert says in str(problem.value)
