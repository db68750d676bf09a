"""Attention over fewer keys: a window with sinks, or blocks that an estimate picks.

A window hides keys by position; in a decode step the cache keeps no others. Blocks are picked for
each query block and head by an estimate of the scores, which costs: of means of blocks of queries
and keys, or of all scores with operands of 4 bits. What the estimate needs of cached keys is kept
beside them, not made anew from all of them; a step's own share of it is left out.
"""

from __future__ import annotations

from dataclasses import replace
from math import ceil

from kernels_ref.errors import UserError
from kernels_ref.formats import get_format
from workloads.graph import Graph, Node, Tensor
from workloads.ops import Attention, Einsum, Vector
from workloads.phase import WHOLE
from workloads.transforms.cache import kept_positions
from workloads.transforms.edit import attentions, renewed, share

LAST = 64  # queries whose scores stand for all (MInference, sec. 3.2)


def window(graph: Graph, keys: int, sinks: int = 0) -> Graph:
    """Every query sees the last `keys` keys, itself included, and the first `sinks` (an A shape).

    Source: StreamingLLM, arXiv 2309.17453, sec. 3.2; Mistral 7B, arXiv 2310.06825, sec. 2.
    Accuracy: an input.
    """
    if keys < 1 or sinks < 0:
        raise UserError(f"window: {keys} keys and {sinks} sinks; at least 1 key and 0 sinks")
    seen = keys + sinks
    names = {op.name for op in attentions(graph) if op.causal}
    if not names:
        raise UserError(
            f"{graph.name}: none of its attention is causal, so that a window has no end"
        )
    if graph.phase not in WHOLE:
        graph = kept_positions(graph, lambda held: min(held, seen))
    nodes = []
    for node in graph:
        op = node.op
        if isinstance(op, Attention) and op.name in names:
            op = replace(op, window=min(seen, op.window or seen))
        nodes.append(replace(node, op=op))
    return renewed(graph, nodes)


def block_sparse(graph: Graph, density: float, block: int = 64, estimate: str = "means") -> Graph:
    """A share `density` of the visible blocks is computed. `estimate`: means (of blocks), last (the
    scores of the last 64 queries), int4 (all scores, operands of 4 bits) or none (known
    beforehand).

    Source: MInference, arXiv 2407.02490, sec. 3.2 (block-sparse heads by means; vertical and slash
    lines, as blocks, by the last queries; A shapes known beforehand); SALE, arXiv 2505.24179
    (scores of 4 bits).
    Accuracy: an input.
    """
    share(density, "block_sparse: density", 1e-6)
    if estimate not in ("means", "last", "int4", "none"):
        raise UserError(f"block_sparse: estimate is '{estimate}'; write means, last, int4 or none")
    if block < 1:
        raise UserError(f"block_sparse: block is {block}; at least 1")
    names = {op.name for op in attentions(graph)}
    nodes: list[Node] = []
    tensors: dict[str, Tensor] = {}
    for node in graph:
        op = node.op
        if not isinstance(op, Attention) or op.name not in names:
            nodes.append(node)
            continue
        if op.lengths:
            raise UserError(f"block_sparse: {op.name} has sequences of different lengths")
        if estimate != "none":
            work = _estimate(graph, op, block, estimate, tensors)
            nodes += [replace(node, op=made) for made in work]
            q = f"{op.name}.estimate.pick"
            nodes.append(replace(node, op=replace(op, density=density, inputs=(*op.inputs, q))))
        else:
            nodes.append(replace(node, op=replace(op, density=density)))
    return renewed(graph, nodes, tensors)


def _estimate(
    graph: Graph, op: Attention, block: int, kind: str, tensors: dict[str, Tensor]
) -> list[Vector | Einsum]:
    """Scores of block means, of the last queries, or of everything in 4 bits; the choice of
    blocks."""
    if kind == "last":
        done: list[Vector | Einsum] = []
        operands, sizes = [*op.operands[:2]], [min(LAST, op.q_len), op.kv_len]
    else:
        done, operands, sizes = _coarse(graph, op, block, kind == "int4", tensors)
    heads, full = op.batch * op.q_heads, f"{op.name}.estimate.scores"
    scores = replace(
        graph.tensors[op.output], name=full, shape=(heads * sizes[0], sizes[1]), kind="activation"
    )
    tensors[full] = scores
    group = op.q_heads // op.kv_heads
    ranks = {"h": op.batch * op.kv_heads, "m": group * sizes[0], "n": sizes[1], "k": op.head_dim}
    multiplied = Einsum(full, tuple(operands), full, ranks, "hmk,hnk->hmn")
    full = f"{op.name}.estimate.pick"
    tensors[full] = replace(scores, name=full, shape=(heads * ceil(op.q_len / block), 1))
    rows = heads if kind == "last" else heads * ceil(op.q_len / block)
    width = scores.elements // rows
    return [*done, multiplied, Vector(full, (multiplied.output,), full, "softmax", rows, width)]


def _coarse(
    graph: Graph, op: Attention, block: int, four_bits: bool, tensors: dict[str, Tensor]
) -> tuple[list[Vector | Einsum], list[str], list[int]]:
    """Queries and keys as means of blocks, or all of them in 4 bits: what makes them, their names,
    and how many there are of a head."""
    done: list[Vector | Einsum] = []
    operands, sizes = [], []
    parts = (
        (op.operands[0], op.q_len, op.batch * op.q_heads),
        (op.operands[1], op.kv_len, op.batch * op.kv_heads),
    )
    for letter, (name, length, count) in zip("qk", parts, strict=True):
        rows = length if four_bits else ceil(length / block)
        full = f"{op.name}.estimate.{letter}"
        like = graph.tensors[name]
        shape = (count * rows, op.head_dim)
        made = replace(like, name=full, shape=shape)
        tensors[full] = replace(made, format=get_format("int4")) if four_bits else made
        function, taps = ("quantize", 1) if four_bits else ("avg_pool", block)
        if like.kind != "kv":
            done.append(Vector(full, (name,), full, function, *shape, taps))
        operands.append(full)
        sizes.append(rows)
    return done, operands, sizes
