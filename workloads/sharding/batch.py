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
from workloads.sharding.column_attention import dealt_lengths


def split_batch(graph: Graph, split: Split) -> Graph:
    """What a rank along axis `data` runs."""
    return with_sequences(graph, split.ways)


def with_sequences(graph: Graph, ways: int, whole: Collection[str] = ()) -> Graph:
    """The graph on a rank's share of the sequences; ops of the names `whole` stay, and what they
    make."""
    batch = ceil(graph.batch / ways)
    part = Fraction(batch, graph.batch)
    fixed = {node.op.output for node in graph if node.op.name in whole} | _fixed(graph)
    tensors = {
        name: t if name in fixed or t.kind in ("weight", "table") else _fewer(t, part)
        for name, t in graph.tensors.items()
    }
    for node in graph:
        if isinstance(node.op, Attention) and node.op.lengths:
            tensors |= _caches(graph, node.op, ways)
        elif isinstance(node.op, Attention) and _shared(graph, node.op):
            share = Fraction(_groups(node.op, part)[0], node.op.batch)
            names = node.op.operands[1:]
            tensors |= {name: _fewer(graph.tensors[name], share) for name in names}
    nodes = tuple(
        node if node.op.output in fixed else replace(node, op=_of_rank(graph, node.op, ways))
        for node in graph
    )
    return check(replace(graph, batch=batch, nodes=nodes, tensors=tensors))


def _fewer(tensor: Tensor, part: Fraction) -> Tensor:
    return replace(tensor, shape=(ceil(tensor.shape[0] * part), *tensor.shape[1:]))


def _shared(graph: Graph, op: Attention) -> bool:
    """Do several sequences' queries attend to the same keys, as one with many queries?"""
    return op.batch < graph.batch


def _groups(op: Attention, part: Fraction) -> tuple[int, int]:
    """(groups of sequences that share keys, queries of each) on a rank."""
    groups = max(1, ceil(op.batch * part))
    return groups, ceil(op.batch * op.q_len * part / groups)


def _fixed(graph: Graph) -> set[str]:
    """Tensors that have nothing to do with sequences: biases of scores."""
    tables = {name for name, t in graph.tensors.items() if t.kind == "table"}
    readers = graph.consumers()
    return {
        node.op.output
        for node in graph
        if isinstance(node.op, Gather)
        and node.op.inputs[0] in tables
        and any(
            isinstance(reader, Attention) and node.op.output in reader.inputs[3:]
            for reader in readers.get(node.op.output, [])
        )
    }


def _caches(graph: Graph, op: Attention, ways: int) -> dict[str, Tensor]:
    """Caches of sequences that differ, of the rank with the longest of them."""
    before = sum(count * keys for count, keys in op.lengths)
    after = sum(count * keys for count, keys in dealt_lengths(op.lengths, ways))
    names = {name for name in op.operands[1:] if graph.tensors[name].kind == "kv"}
    return {name: _fewer(graph.tensors[name], Fraction(after, before)) for name in names}


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
        lengths = dealt_lengths(op.lengths, ways)
        own = sum(count for count, _ in lengths) or ceil(op.batch * part)
        longest = lengths[-1][1] if lengths else op.kv_len
        several = lengths if len(lengths) > 1 else ()
        return replace(op, batch=own, kv_len=longest, lengths=several)
    if isinstance(op, Collective):
        return replace(op, bytes=ceil(op.bytes * part), elements=ceil(op.elements * part))
    raise UserError(f"{op.name}: no rule for fewer sequences of an op of kind '{op.kind}'")


def _rows(graph: Graph, op: Einsum, part: Fraction) -> dict[str, int]:
    """The ranks, those of rows fewer."""
    if graph.tensors[op.inputs[1]].kind == "activation":
        raise UserError(
            f"{op.name} multiplies activations: which of its ranks are sequences is unknown"
        )
    a, b, c = op.operand_ranks()
    rows = [r for r in op.ranks if r in a and r in c and r not in b]
    if len(rows) != 1:
        raise UserError(f"{op.name}: '{op.spec}' has no one rank that is the rows")
    return {**op.ranks, rows[0]: ceil(op.ranks[rows[0]] * part)}


def fewer_rows(graph: Graph, op: Experts, part: Fraction) -> tuple[tuple[int, int], ...]:
    """Loads of a share of the rows."""
    count = graph.tensors[op.inputs[1]].shape[0]
    tokens = graph.batch * graph.tokens
    each, rows = max(1, op.rows // tokens), ceil(op.rows * part)
    if op.loads == balanced(op.rows, active_experts(count, each, max(1, op.rows // each))):
        return balanced(rows, active_experts(count, each, max(1, rows // each)))
    return tuple((experts, max(1, ceil(n * part))) for experts, n in op.loads)
