"""Attention in three ops, whose probabilities are kept for the backward pass: S = Q K^T, P =
softmax(S), O = P V, as before FlashAttention. The whole square is computed and kept; the mask and
the scale of scores are part of the softmax's work.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from kernels_ref.errors import UserError
from workloads.graph import Graph, Node, Tensor
from workloads.ops import Attention, Einsum, Vector


def with_scores(graph: Graph) -> Graph:
    """The graph with every attention in three ops. Raises UserError where it is not plain."""
    tensors = dict(graph.tensors)
    nodes: list[Node] = []
    for node in graph:
        if isinstance(node.op, Attention):
            nodes += (replace(node, op=op) for op in _three(graph, node.op, tensors))
        else:
            nodes.append(node)
    return replace(graph, nodes=tuple(nodes), tensors=tensors)


def _three(graph: Graph, op: Attention, tensors: dict[str, Tensor]) -> Iterator[Einsum | Vector]:
    plain = not (op.softcap or op.bias or op.latent or op.lengths or op.window)
    if not plain or op.density < 1.0 or len(op.inputs) != 3 or len(set(op.inputs)) != 3:
        raise UserError(
            f"{graph.name}: recompute=none keeps the scores of plain attention only, with queries, "
            f"keys and values in tensors of their own; {op.name} is not so: use selective or full"
        )
    q, k, v = op.inputs
    heads, rows = op.batch * op.kv_heads, op.group * op.q_len
    names = [f"{op.name}.scores", f"{op.name}.probabilities"]
    for name in names:
        shape = (heads * rows, op.kv_len)
        tensors[name] = replace(graph.tensors[op.output], name=name, shape=shape)
    scores, made = names
    sizes = {"b": heads, "m": rows, "n": op.kv_len, "k": op.head_dim}
    yield Einsum(scores, (q, k), scores, sizes, "bmk,bnk->bmn")
    yield Vector(made, (scores,), made, "softmax", heads * rows, op.kv_len)
    sizes = {"b": heads, "m": rows, "n": op.v_head_dim, "k": op.kv_len}
    yield Einsum(op.name, (made, v), op.output, sizes, "bmk,bkn->bmn")
