"""The sequences of a batch dealt to ranks, each of which has all parameters.

A rank has ceil(batch / ways) sequences; where they differ in length they are dealt one by one, the
longest first, and the rank is the one with most keys. Experts see fewer rows: where all experts
were equally likely, fewer of them are expected to get one; loads of another kind shrink in
proportion.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from fractions import Fraction
from math import ceil

from kernels_ref.errors import UserError
from workloads.builders.experts import active_experts
from workloads.graph import Graph, Op, Split, Tensor, check
from workloads.ops import Attention, Collective, Einsum, Experts, Gather, Move, Vector
from workloads.ops.experts import balanced
from workloads.sharding.rows import dealt, dealt_lengths, fewer, row_rank
from workloads.transforms.edit import score_biases


def split_batch(graph: Graph, split: Split) -> Graph:
    """What a rank along axis `data` runs."""
    return with_sequences(graph, split.ways)


def with_sequences(graph: Graph, ways: int, whole: Collection[str] = ()) -> Graph:
    """The graph on a rank's share of the sequences; ops of the names `whole` stay, and what they
    make."""
    batch = ceil(graph.batch / ways)
    part = Fraction(batch, graph.batch)
    fixed = {node.op.output for node in graph if node.op.name in whole} | score_biases(graph)
    tensors = {
        name: t if name in fixed or t.kind in ("weight", "table") else fewer(t, part)
        for name, t in graph.tensors.items()
    }
    for node in graph:
        if isinstance(node.op, Attention) and node.op.lengths:
            tensors |= _caches(graph, node.op, ways)
        elif isinstance(node.op, Attention) and _shared(graph, node.op):
            share = Fraction(_groups(node.op, part)[0], node.op.batch)
            names = node.op.operands[1:]
            tensors |= {name: fewer(graph.tensors[name], share) for name in names}
    nodes = tuple(
        node if node.op.output in fixed else replace(node, op=_of_rank(graph, node.op, ways))
        for node in graph
    )
    return check(replace(graph, batch=batch, nodes=nodes, tensors=tensors))


def _shared(graph: Graph, op: Attention) -> bool:
    """Do several sequences' queries attend to the same keys, as one with many queries?"""
    return op.batch < graph.batch


def _groups(op: Attention, part: Fraction) -> tuple[int, int]:
    """(groups of sequences that share keys, queries of each) on a rank."""
    groups = max(1, ceil(op.batch * part))
    return groups, ceil(op.batch * op.q_len * part / groups)


def _caches(graph: Graph, op: Attention, ways: int) -> dict[str, Tensor]:
    """Caches of sequences that differ, of the rank with the longest of them."""
    before = sum(count * keys for count, keys in op.lengths)
    after = sum(count * keys for count, keys in dealt_lengths(op.lengths, ways))
    names = {name for name in op.operands[1:] if graph.tensors[name].kind == "kv"}
    return {name: fewer(graph.tensors[name], Fraction(after, before)) for name in names}


def _of_rank(graph: Graph, op: Op, ways: int) -> Op:
    """The op on the sequences of a rank."""
    batch = ceil(graph.batch / ways)
    part = Fraction(batch, graph.batch)
    if isinstance(op, Einsum):
        return replace(op, ranks=_rows(graph, op, part))
    if isinstance(op, Experts):
        return replace(op, loads=fewer_rows(graph, op, part))
    if isinstance(op, (Vector, Gather)):
        return replace(op, rows=ceil(op.rows * part))
    if isinstance(op, Move):
        return op
    if isinstance(op, Attention):
        if _shared(graph, op):
            groups, queries = _groups(op, part)
            return replace(op, batch=groups, q_len=queries)
        return dealt(op, ways, ceil(op.batch * part))
    if isinstance(op, Collective):
        return replace(op, bytes=ceil(op.bytes * part), elements=ceil(op.elements * part))
    raise UserError(f"{op.name}: no rule for fewer sequences of an op of kind '{op.kind}'")


def _rows(graph: Graph, op: Einsum, part: Fraction) -> dict[str, int]:
    """The ranks, those of rows fewer."""
    if graph.tensors[op.inputs[1]].kind == "activation":
        raise UserError(
            f"{op.name} multiplies activations: which of its ranks are sequences is unknown"
        )
    rows = row_rank(op)
    if rows is None:
        raise UserError(f"{op.name}: '{op.spec}' has no one rank that is the rows")
    return {**op.ranks, rows: ceil(op.ranks[rows] * part)}


def fewer_rows(graph: Graph, op: Experts, part: Fraction) -> tuple[tuple[int, int], ...]:
    """Loads of a share of the rows."""
    count = graph.tensors[op.inputs[1]].shape[0]
    tokens = graph.batch * graph.tokens
    each, rows = max(1, op.rows // tokens), ceil(op.rows * part)
    if op.loads == balanced(op.rows, active_experts(count, each, max(1, op.rows // each))):
        return balanced(rows, active_experts(count, each, max(1, rows // each)))
    return tuple((experts, max(1, ceil(n * part))) for experts, n in op.loads)
