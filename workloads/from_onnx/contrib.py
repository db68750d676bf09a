"""Shapes of onnxruntime's contrib operators, which ONNX's inference does not know.

Source: onnxruntime, docs/ContribOperators.md.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from workloads.from_onnx.exported import OnnxNode, Shape
from workloads.from_onnx.facts import Facts, Known

CONTRIB = "com.microsoft:"


def _like_first(facts: Facts, node: OnnxNode) -> list[Known]:
    return [facts.known[node.inputs[0]]]


def _skip_norm(facts: Facts, node: OnnxNode) -> list[Known]:
    """Output, mean, inverse deviation (no shape that anybody needs), sum."""
    whole = facts.known[node.inputs[0]]
    row: Known = ((*whole[0][:-1], 1), "FLOAT")
    return [whole, row, row, whole]


def _fused_matmul(facts: Facts, node: OnnxNode) -> list[Known]:
    a, kind = facts.known[node.inputs[0]]
    b = facts.shape(node.inputs[1])
    m = a[-1] if node.attributes.get("transA", 0) else a[-2]
    n = b[-2] if node.attributes.get("transB", 0) else b[-1]
    batch = a[:-2] if len(a) >= len(b) else b[:-2]
    return [((*batch, m, n), kind)]


def _matmul_nbits(facts: Facts, node: OnnxNode) -> list[Known]:
    shape, kind = facts.known[node.inputs[0]]
    return [((*shape[:-1], node.attributes["N"]), kind)]


def _multi_head(facts: Facts, node: OnnxNode) -> list[Known]:
    q, kind = facts.known[node.inputs[0]]
    count = node.attributes["num_heads"]
    if len(q) == 5:
        return [((q[0], q[1], count * q[4]), kind)]
    v = facts.shape(node.input(2)) if node.input(2) else q
    width = v[3] * count if len(v) == 4 else v[-1]
    length = v[2] if len(v) == 4 else v[1]
    if node.input(6):
        length += facts.shape(node.inputs[6])[2]
    heads: Shape = (q[0], count, length, width // count)
    return [((q[0], q[1], width), kind), (heads, kind), (heads, kind)]


def _grouped_query(facts: Facts, node: OnnxNode) -> list[Known]:
    """present has room for the longer of past and the total sequence."""
    q, kind = facts.known[node.inputs[0]]
    count, kv_count = node.attributes["num_heads"], node.attributes["kv_num_heads"]
    width = q[2] // (count if node.input(1) else count + 2 * kv_count)
    length = facts.scalar(node.input(6)) if node.input(6) else None
    past = facts.shape(node.inputs[3])[2] if node.input(3) else 0
    total = int(length) if length else past + q[1]
    cache: Shape = (q[0], kv_count, max(past, total), width)
    return [((q[0], q[1], count * width), kind), (cache, kind), (cache, kind)]


def _packed(facts: Facts, node: OnnxNode) -> list[Known]:
    x, kind = facts.known[node.inputs[0]]
    parts = node.attributes.get("qkv_hidden_sizes")
    n = facts.shape(node.inputs[1])[1]
    width, count = (parts[2] if parts else n // 3), node.attributes["num_heads"]
    past = facts.shape(node.inputs[4])[3] if node.input(4) else 0
    cache: Shape = (2, x[0], count, x[1] + past, width // count)
    return [((*x[:-1], width), kind), (cache, kind)]


def _codes_like_first(facts: Facts, node: OnnxNode) -> list[Known]:
    """QuantizeLinear: of the zero-point's type."""
    kind = facts.type(node.inputs[2]) if node.input(2) else "UINT8"
    return [(facts.shape(node.inputs[0]), kind)]


def _numbers_like_first(facts: Facts, node: OnnxNode) -> list[Known]:
    return [(facts.shape(node.inputs[0]), facts.type(node.inputs[1]))]


def _qlinear_two(facts: Facts, node: OnnxNode) -> list[Known]:
    shape = np.broadcast_shapes(facts.shape(node.inputs[0]), facts.shape(node.inputs[3]))
    return [(tuple(shape), facts.type(node.inputs[0]))]


def _qgemm(facts: Facts, node: OnnxNode) -> list[Known]:
    a, b = facts.shape(node.inputs[0]), facts.shape(node.inputs[3])
    given = node.attributes
    shape = (a[given.get("transA", 0)], b[1 - given.get("transB", 0)])
    return [(shape, facts.type(node.inputs[0]) if node.input(7) else "FLOAT")]


SHAPES: dict[str, Callable[[Facts, OnnxNode], list[Known]]] = {
    f"{CONTRIB}Gelu": _like_first,
    f"{CONTRIB}FastGelu": _like_first,
    f"{CONTRIB}QuickGelu": _like_first,
    f"{CONTRIB}BiasGelu": _like_first,
    f"{CONTRIB}RotaryEmbedding": _like_first,
    f"{CONTRIB}SkipLayerNormalization": _skip_norm,
    f"{CONTRIB}SkipSimplifiedLayerNormalization": _skip_norm,
    "SkipSimplifiedLayerNormalization": _skip_norm,
    "SkipLayerNormalization": _skip_norm,
    "SimplifiedLayerNormalization": _like_first,
    f"{CONTRIB}FusedMatMul": _fused_matmul,
    f"{CONTRIB}MatMulNBits": _matmul_nbits,
    f"{CONTRIB}MultiHeadAttention": _multi_head,
    f"{CONTRIB}GroupQueryAttention": _grouped_query,
    f"{CONTRIB}Attention": _packed,
    f"{CONTRIB}QLinearAdd": _qlinear_two,
    f"{CONTRIB}QLinearMul": _qlinear_two,
    f"{CONTRIB}QLinearSigmoid": _like_first,
    f"{CONTRIB}QLinearSoftmax": _like_first,
    f"{CONTRIB}QGemm": _qgemm,
    f"{CONTRIB}QuantizeLinear": _codes_like_first,
    f"{CONTRIB}DequantizeLinear": _numbers_like_first,
}
