"""Attention that an export keeps whole: ONNX's Attention, and onnxruntime's contrib operators.

What is in one node is written as its parts: a projection, rotation, the new entries of the cache
(copied into `present`, kind kv), and attention over all keys.
Sources: ONNX operator specification, Attention (opset 23); onnxruntime, ContribOperators.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

from workloads.from_onnx.constants import is_coded, weight
from workloads.from_onnx.draft import Draft
from workloads.from_onnx.exported import OnnxError, OnnxNode, Shape
from workloads.from_onnx.number_formats import format_of
from workloads.from_onnx.views import dense
from workloads.ops import Attention, Einsum, Move, Vector


@dataclass(frozen=True)
class Heads:
    """Sizes of one attention."""

    batch: int
    q_heads: int
    kv_heads: int
    q_len: int
    kv_len: int
    head_dim: int
    v_head_dim: int


def standard(draft: Draft, node: OnnxNode) -> None:
    """Attention of opset 23: q, k, v of three axes (with head counts) or four."""
    q, k, v = (draft.shape(value) for value in node.inputs[:3])
    given, past = node.attributes, node.input(4)
    if len(q) == 3:
        q_heads, kv_heads = given["q_num_heads"], given["kv_num_heads"]
        sizes = (q[0], q_heads, kv_heads, q[1], k[1], q[2] // q_heads, v[2] // kv_heads)
    else:
        sizes = (q[0], q[1], k[1], q[2], k[2], q[3], v[3])
    heads = Heads(*sizes)
    inputs = [draft.numbers(value).tensor for value in node.inputs[:3]]
    seen = heads.kv_len + (draft.shape(past)[2] if past else 0)
    caches = _caches(draft, node, heads, inputs[1:], (node.output(1), node.output(2)), seen)
    options = {
        "causal": bool(given.get("is_causal", 0)),
        "softcap": given.get("softcap", 0.0) > 0,
        "bias": bool(node.input(3)),
    }
    _attend(draft, node, heads, seen, (inputs[0], *caches, *_added(draft, node.input(3))), options)


def multi_head(draft: Draft, node: OnnxNode) -> None:
    """MultiHeadAttention: q, k, v apart, or packed in q as [batch, length, heads, 3, width]."""
    q, key, value = node.inputs[0], node.input(1), node.input(2)
    past = node.input(6)
    count, shape = node.attributes["num_heads"], draft.shape(q)
    query = _biased(draft, node, q)
    if len(shape) == 5 or not key:
        if not len(shape) == 5:
            raise _unsupported(draft, node, "a query alone that is not packed with key and value")
        inputs = [query] * 3
        sizes = (shape[0], count, count, shape[1], shape[1], shape[-1], shape[-1])
    else:
        k, v = draft.shape(key), draft.shape(value) if value else (0, 0, 0)
        if len(k) == 5 or len(v) != len(k):
            raise _unsupported(draft, node, "keys packed with values")
        inputs = [query, draft.numbers(key).tensor, draft.numbers(value).tensor]
        length = k[2] if len(k) == 4 else k[1]
        width, v_width = (k[3], v[3]) if len(k) == 4 else (k[2] // count, v[2] // count)
        sizes = (shape[0], count, count, shape[1], length, width, v_width)
    heads = Heads(*sizes)
    seen = heads.kv_len + (draft.shape(past)[2] if past else 0)
    caches = _caches(draft, node, heads, inputs[1:], (node.output(1), node.output(2)), seen)
    options = {
        "causal": bool(node.attributes.get("unidirectional", 0)),
        "bias": bool(node.input(4) or node.input(5)),
    }
    _attend(draft, node, heads, seen, (inputs[0], *caches, *_added(draft, node.input(5))), options)


def _biased(draft: Draft, node: OnnxNode, q: str) -> str:
    """The query; with a bias of all three, after its addition."""
    source = draft.numbers(q).tensor
    if not node.input(3):
        return source
    row = weight(draft, node.inputs[3], draft.shape(node.inputs[3]))
    if draft.tensors[source].format != draft.tensors[row].format and is_coded(draft, q):
        raise _unsupported(draft, node, "a bias beside quantized queries")
    done = source
    for value in dict.fromkeys(v for v in node.inputs[:3] if v):
        plain, shape = draft.numbers(value).tensor, draft.shape(value)
        made = draft.tensor(f"{value}.biased", shape, draft.tensors[plain].format, "activation")
        width = shape[-1]
        op = Vector(draft.name(made), (plain, row), made, "add", prod(shape) // width, width)
        draft.add(op)
        draft.views[value] = dense(made, shape)
        done = made if value == q else done
    return done


def grouped_query(draft: Draft, node: OnnxNode) -> None:
    """GroupQueryAttention: causal; k and v maybe packed behind q; rotates where it says so."""
    given = node.attributes
    count, kv_count = given["num_heads"], given["kv_num_heads"]
    shape, packed = draft.shape(node.inputs[0]), not node.input(1)
    width = shape[2] // (count + 2 * kv_count if packed else count)
    seen = shape[1]
    if node.output(1):
        seen = draft.shape(node.outputs[1])[2]
    heads = Heads(shape[0], count, kv_count, shape[1], shape[1], width, width)
    names = [draft.numbers(v).tensor for v in node.inputs[:3] if v]
    q, k, v = names * 3 if packed else names
    if given.get("do_rotary", 0):
        q, k = _rotated(draft, node, heads, (q, k), packed)
        v = q if packed else v
    caches = _caches(draft, node, heads, [k, v], (node.output(1), node.output(2)), seen)
    window = given.get("local_window_size", -1)
    options = {
        "causal": True,
        "softcap": given.get("softcap", 0.0) > 0,
        "window": window if window > 0 else None,
    }
    _attend(draft, node, heads, seen, (q, *caches), options)


def _rotated(
    draft: Draft, node: OnnxNode, heads: Heads, names: tuple[str, str], packed: bool
) -> tuple[str, str]:
    """q and k after rotary embedding; packed, both in one op."""
    part = 2 * draft.shape(node.inputs[7])[-1] if node.input(7) else heads.head_dim
    rows = heads.batch * heads.q_len
    if packed:
        return (_rotate(draft, node, names[0], rows, (heads.q_heads + heads.kv_heads) * part),) * 2
    q = _rotate(draft, node, names[0], rows, heads.q_heads * part)
    return q, _rotate(draft, node, names[1], rows, heads.kv_heads * part)


def _rotate(draft: Draft, node: OnnxNode, source: str, rows: int, width: int) -> str:
    old = draft.tensors[source]
    made = draft.tensor(f"{source}.rotated", old.shape, old.format, "activation")
    draft.add(Vector(draft.name(f"{node.name}.rope"), (source,), made, "rope", rows, width))
    return made


def rotary(draft: Draft, node: OnnxNode) -> None:
    """RotaryEmbedding: the table of sines is shared and small."""
    source = draft.read(node.inputs[0])
    assert source is not None
    shape, tables = draft.shape(node.outputs[0]), [v for v in node.inputs[1:] if v]
    half = next((draft.shape(v)[-1] for v in tables if len(draft.shape(v)) >= 2), 0)
    width = shape[-1]
    rows, output = prod(shape) // width, draft.output(node.outputs[0])
    part = min(width, 2 * half) if len(shape) == 4 and half else width
    draft.add(Vector(draft.name(node.name), (source,), output, "rope", rows, part))


def packed_projection(draft: Draft, node: OnnxNode) -> None:
    """com.microsoft:Attention: a merged projection of the input, then attention."""
    x, matrix, bias = node.inputs[0], node.inputs[1], node.input(2)
    given, shape, (k, n) = node.attributes, draft.shape(x), draft.shape(matrix)
    count = given["num_heads"]
    parts = given.get("qkv_hidden_sizes") or [n // 3] * 3
    operands = [draft.numbers(x).tensor, weight(draft, matrix, (n, k))]
    operands += [weight(draft, bias, (n,))] if bias else []
    rows = prod(shape[:-1])
    made = format_of(draft.facts.type(node.outputs[0]), node.name)
    merged = draft.tensor(f"{node.outputs[0]}.qkv", (*shape[:-1], n), made, "activation")
    name = draft.name(f"{node.name}.qkv")
    ranks = {"m": rows, "n": n, "k": k}
    draft.add(Einsum(name, tuple(operands), merged, ranks, "mk,nk->mn"))
    heads = Heads(shape[0], count, count, shape[1], shape[1], parts[0] // count, parts[2] // count)
    past = node.input(4)
    seen = shape[1] + (draft.shape(past)[3] if past else 0)
    caches = _caches(draft, node, heads, [merged] * 2, (node.output(1),) * 2, seen)
    options = {"causal": bool(given.get("unidirectional", 0)), "bias": bool(node.input(5))}
    _attend(draft, node, heads, seen, (merged, *caches, *_added(draft, node.input(5))), options)


def _caches(
    draft: Draft,
    node: OnnxNode,
    heads: Heads,
    fresh: list[str],
    presents: tuple[str, str],
    seen: int,
) -> tuple[str, str]:
    """Keys and values as attention reads them: the caches, once the new rows are in them."""
    if not any(presents) or not (presents[0] in draft.readers or seen > heads.kv_len
                                 or presents[0] in draft.facts.export.outputs):  # fmt: skip
        return fresh[0], fresh[1]
    found = []
    widths = (heads.head_dim, heads.v_head_dim)
    for letter, source, present, width in zip("kv", fresh, presents, widths, strict=True):
        made = draft.tensors[source].format
        shape: Shape = (heads.batch, heads.kv_heads, seen, width)
        name = draft.tensor(f"{node.name}.{letter}_cache", shape, made, "kv")
        run = heads.kv_len * width
        draft.add(Move(draft.name(f"{node.name}.{letter}_append"), (source,), name, run))
        if present and len(draft.shape(present)) == 4:
            draft.views[present] = dense(name, shape)
        found.append(name)
    return found[0], found[1]


def _added(draft: Draft, bias: str) -> tuple[str, ...]:
    """The tensor that is added to the scores, read once; none."""
    name = draft.read(bias) if bias else None
    return (name,) if name else ()


def _attend(
    draft: Draft,
    node: OnnxNode,
    heads: Heads,
    seen: int,
    inputs: tuple[str, ...],
    options: dict[str, Any],
) -> None:

    if heads.q_heads % heads.kv_heads:
        raise _unsupported(draft, node, f"{heads.q_heads} heads over {heads.kv_heads}")
    draft.add(
        Attention(
            draft.name(node.name), inputs, draft.output(node.outputs[0]), heads.batch,
            heads.q_heads, heads.kv_heads, heads.q_len, seen, heads.head_dim, heads.v_head_dim,
            **options,
        )
    )  # fmt: skip


def _unsupported(draft: Draft, node: OnnxNode, what: str) -> OnnxError:
    return OnnxError(f"{draft.facts.export.file}: {node.name}: {node.op} with {what} is not read")
