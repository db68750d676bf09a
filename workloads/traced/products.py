"""Matrix products, convolutions and attention of a trace.

Weights are stated as [out, in], however the program lays them out.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import torch

from workloads.ops import Window
from workloads.traced.events import Event, TraceError, Value

if TYPE_CHECKING:
    from workloads.traced.recorder import Recorder


def linear(r: Recorder, args: Any, kwargs: Any, outputs: list[torch.Tensor]) -> None:
    """y[m, n] = sum over k of x[m, k] w[n, k], plus a bias."""
    x, weight = args[:2]
    bias = args[2] if len(args) > 2 else kwargs.get("bias")
    n, k = weight.shape
    _product(r, (x, weight, bias), outputs[0], {"m": x.numel() // k, "n": n, "k": k})


def matmul(r: Recorder, args: Any, kwargs: Any, outputs: list[torch.Tensor]) -> None:
    """A product with a matrix on either side, or of two batches of matrices."""
    left, right = args[:2]
    if right.dim() == 2:
        k, n = right.shape
        _product(r, (left, right, None), outputs[0], {"m": left.numel() // k, "n": n, "k": k})
    elif left.dim() == 2:  # w @ x: the rows are x's columns
        n, k = left.shape
        _product(r, (right, left, None), outputs[0], {"m": right.numel() // k, "n": n, "k": k})
    else:
        _batched(r, (left, right, None), outputs[0])


def addmm(r: Recorder, args: Any, kwargs: Any, outputs: list[torch.Tensor]) -> None:
    """A product with a matrix, plus a bias."""
    bias, left, right = args
    (m, k), n = left.shape, right.shape[1]
    _product(r, (left, right, bias), outputs[0], {"m": m, "n": n, "k": k})


def bmm(r: Recorder, args: Any, kwargs: Any, outputs: list[torch.Tensor]) -> None:
    """A product of two batches of matrices."""
    _batched(r, (args[0], args[1], None), outputs[0])


def baddbmm(r: Recorder, args: Any, kwargs: Any, outputs: list[torch.Tensor]) -> None:
    """A product of two batches of matrices, plus a bias."""
    _batched(r, (args[1], args[2], args[0]), outputs[0])


def _batched(r: Recorder, operands: tuple[Any, Any, Any], output: torch.Tensor) -> None:
    """C[b, m, n] = sum over k of A[b, m, k] B[b, k, n], plus a bias."""
    left, right, bias = operands
    m, k = left.shape[-2:]
    n = right.shape[-1]
    ranks = {"b": output.numel() // (m * n), "m": m, "n": n, "k": k}
    inputs = [*r.read(left, right), *r.read(bias)]
    facts = {"ranks": ranks, "spec": "bmk,bkn->bmn", "window": None}
    if len(inputs) == 1:
        inputs = inputs * 2
    value = Value((ranks["b"] * m, n))
    r.emit(Event("einsum", "", r.module, inputs, value, "product", facts), output)


def _product(
    r: Recorder, operands: tuple[Any, Any, Any], output: torch.Tensor, ranks: dict[str, int]
) -> None:
    """A matrix product whose weight is told as [n, k]."""
    x, weight, bias = operands
    inputs = [*r.read(x), *r.read(weight), *r.read(bias)]
    if len(inputs) < 2:
        raise TraceError(
            f"{r.module}: a product of {tuple(x.shape)} and {tuple(weight.shape)}, of which one is "
            "a constant of the program; there is no rule for it"
        )
    for value in inputs[1:]:
        if value.kind == "weight" and value.elements == ranks["n"] * ranks["k"]:
            value.shape = (ranks["n"], ranks["k"])
    facts = {"ranks": ranks, "spec": "mk,nk->mn", "window": None}
    owner = _owner(r, inputs[1])
    r.emit(
        Event("einsum", "", r.module, inputs, Value((ranks["m"], ranks["n"])), owner, facts), output
    )


def _owner(r: Recorder, weight: Value) -> str:
    """The role of a product: none where the weight is this module's only one."""
    inside = f"{r.module}."
    if not weight.name.startswith(inside):
        return ""
    rest = weight.name.removeprefix(inside).rsplit(".", 1)
    return rest[0] if len(rest) == 2 else ""


def convolution(r: Recorder, args: Any, kwargs: Any, outputs: list[torch.Tensor]) -> None:
    """Implicit GEMM: m over output positions, k over taps and a group's channels."""
    x, weight, bias, stride, _padding, dilation, transposed, _, groups = args
    if transposed:
        raise TraceError(f"{r.module}: transposed convolution is not modeled")
    output = outputs[0]
    kernel = tuple(weight.shape[2:])
    positions = output.shape[0] * prod(output.shape[2:])
    n, k = output.shape[1] // groups, weight.shape[1] * prod(kernel)
    window = Window(x.shape[1], tuple(x.shape[2:]), kernel, tuple(stride), tuple(dilation))
    ranks = {"m": positions, "n": n, "k": k}
    if groups > 1:
        ranks = {"g": groups, **ranks}
    spec = "gmk,gnk->gmn" if groups > 1 else "mk,nk->mn"
    inputs = [*r.read(x), *r.read(weight), *r.read(bias)]
    facts = {"ranks": ranks, "spec": spec, "window": window}
    value = Value((positions, output.shape[1]))
    r.emit(Event("einsum", "", r.module, inputs, value, "", facts), output)


def attention(r: Recorder, args: Any, kwargs: Any, outputs: list[torch.Tensor]) -> None:
    """Attention that a model calls itself, without the attention interface."""
    names = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")
    given = dict(zip(names, args, strict=False)) | kwargs
    q, k, v = given["query"], given["key"], given["value"]
    if given.get("attn_mask") is not None:
        shape = tuple(given["attn_mask"].shape)
        raise TraceError(
            f"{r.module}: scaled_dot_product_attention with a mask {shape} that the model makes "
            "itself; what it hides cannot be told without its values"
        )
    emit_attention(r, (q, k, v), outputs[0], {"causal": bool(given.get("is_causal"))})


def emit_attention(
    r: Recorder, qkv: tuple[Any, Any, Any], output: torch.Tensor, facts: dict[str, Any]
) -> None:
    """q [b, heads, tokens, d], k and v [b, kv heads, keys, d]; `facts` further fields."""
    q, k, v = qkv
    batch, heads, tokens, width = q.shape
    tables = facts.pop("tables", [])
    inputs = [_one(r, tensor) for tensor in qkv]
    inputs += [value for value in tables if value not in inputs]
    sizes = {
        "batch": batch,
        "q_heads": heads,
        "kv_heads": k.shape[1],
        "q_len": tokens,
        "kv_len": k.shape[2],
        "head_dim": width,
        "v_head_dim": v.shape[-1],
    }
    value = Value((batch * tokens, heads * v.shape[-1]))
    r.emit(Event("attention", "", r.module, inputs, value, "attention", sizes | facts), output)


def _one(r: Recorder, tensor: torch.Tensor) -> Value:
    values = r.read(tensor)
    if len(values) != 1:
        raise TraceError(f"{r.module}: attention over {tuple(tensor.shape)}, which is a constant")
    return values[0]
