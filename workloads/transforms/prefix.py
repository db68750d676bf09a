"""Sequences that begin alike: the prefix's keys and values once for all of them."""

from __future__ import annotations

from dataclasses import replace

from kernels_ref.errors import UserError
from workloads.graph import Graph, Node, Tensor
from workloads.ops import Attention, Vector
from workloads.transforms.edit import cached, renewed


def shared_prefix(graph: Graph, tokens: int) -> Graph:
    """The first `tokens` keys of every sequence are the same, stored and read once: all sequences'
    queries of a head are rows of one matrix there. The parts are put together by their sums.

    Source: Hydragen, arXiv 2402.05099, sec. 3.2 (decomposition, inter-sequence batching).
    Accuracy: exact.
    """
    if tokens < 1:
        raise UserError(f"shared_prefix: tokens is {tokens}; at least 1")
    nodes: list[Node] = []
    tensors: dict[str, Tensor] = {}
    names = {op.name for op in cached(graph)}
    for node in graph:
        if node.op.name in names:
            assert isinstance(node.op, Attention)
            nodes += [replace(node, op=op) for op in _apart(graph, node.op, tokens, tensors)]
        else:
            nodes.append(node)
    return renewed(graph, nodes, tensors)


def _apart(
    graph: Graph, op: Attention, tokens: int, tensors: dict[str, Tensor]
) -> list[Attention | Vector]:
    """Attention to the prefix, to what follows it, and their combination."""
    shortest = min(part.kv_len for part in op.parts())
    if tokens > shortest - op.q_len:
        raise UserError(
            f"shared_prefix: {op.name} sees {shortest} keys, {op.q_len} of them new; a prefix has "
            f"{shortest - op.q_len} at most"
        )
    if op.window:
        raise UserError(f"shared_prefix: {op.name} has a window of {op.window} keys")
    q, *stored = op.operands
    for name in dict.fromkeys(stored):
        tensor, whole = graph.tensors[name], sum(part.batch * part.kv_len for part in op.parts())
        each = tensor.shape[0] // whole
        rest = (whole - op.batch * tokens) * each
        tensors[name] = replace(tensor, shape=(rest, *tensor.shape[1:]))
        prefix = replace(tensor, name=f"{name}.prefix", shape=(tokens * each, *tensor.shape[1:]))
        tensors[prefix.name] = prefix
    out = graph.tensors[op.output]
    parts = []
    for part in ("prefix", "suffix"):
        name = f"{op.name}.{part}"
        tensors[name] = replace(out, name=name)
        parts.append(name)
    keys, values = (f"{name}.prefix" for name in stored)
    first = replace(
        op, name=parts[0], output=parts[0], inputs=(q, keys, values), batch=1,
        q_len=op.batch * op.q_len, kv_len=tokens, causal=False, lengths=(),
    )  # fmt: skip
    lengths = tuple((count, held - tokens) for count, held in op.lengths)
    second = replace(op, name=parts[1], output=parts[1], kv_len=op.kv_len - tokens, lengths=lengths)
    rows = op.batch * op.q_len * op.q_heads
    merged = Vector(op.name, tuple(parts), op.output, "softmax_merge", rows, op.v_head_dim)
    return [first, second, merged]
