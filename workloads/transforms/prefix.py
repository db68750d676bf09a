"""Sequences that begin alike: keys and values of a prefix once for all that share it."""

from __future__ import annotations

import re
from dataclasses import replace

from kernels_ref.errors import UserError
from workloads.graph import Graph, Node, Op, Tensor
from workloads.ops import Attention, Vector
from workloads.transforms.edit import cached, renewed

Levels = tuple[tuple[int, int], ...]  # (groups, tokens of a prefix), the root first

_LEVEL = re.compile(r"(\d+)x(\d+)")


def shared_prefix(graph: Graph, tokens: int) -> Graph:
    """The first `tokens` keys of every sequence are the same, stored and read once: all sequences'
    queries of a head are rows of one matrix there. The parts are put together by their sums.

    Source: Hydragen, arXiv 2402.05099, sec. 3.2 (decomposition, inter-sequence batching).
    Accuracy: exact.
    """
    if tokens < 1:
        raise UserError(f"shared_prefix: tokens is {tokens}; at least 1")
    return _shared(graph, ((1, tokens),), "shared_prefix")


def prefix_tree(graph: Graph, levels: str) -> Graph:
    """Prefixes at several levels, as `1x4096/16x512`: all sequences begin with the same 4096 keys,
    after which 16 groups of them have 512 of their own in common. The keys of a level are stored
    and read once for each group; what is left is each sequence's own.

    Source: Hydragen, arXiv 2402.05099 (hierarchical sharing: the decomposition applied to a tree).
    Accuracy: exact.
    Not modeled: groups of different sizes; recognizing who shares what.
    """
    found = [_LEVEL.fullmatch(piece.strip()) for piece in levels.split("/")]
    if not all(found):
        raise UserError(f"prefix_tree: levels are '{levels}'; write GROUPSxTOKENS/GROUPSxTOKENS")
    sizes = tuple((int(match[1]), int(match[2])) for match in found if match)
    before = 1
    for groups, tokens in sizes:
        if tokens < 1 or groups < 1 or groups % before or graph.batch % groups:
            raise UserError(
                f"prefix_tree: {groups} groups of {tokens} tokens; groups divide the batch of "
                f"{graph.batch} and are a multiple of those of the level before, {before}"
            )
        before = groups
    return _shared(graph, sizes, "prefix_tree")


def _shared(graph: Graph, levels: Levels, name: str) -> Graph:
    """Attention to what is shared at each level, and to what is not."""
    nodes: list[Node] = []
    tensors: dict[str, Tensor] = {}
    names = {op.name for op in cached(graph)}
    for node in graph:
        if node.op.name in names:
            assert isinstance(node.op, Attention)
            _check(graph, node.op, sum(tokens for _, tokens in levels), name)
            made = _apart(graph, node.op, levels, tensors)
            nodes += [replace(node, op=op) for op in made]
        else:
            nodes.append(node)
    return renewed(graph, nodes, tensors)


def _check(graph: Graph, op: Attention, tokens: int, name: str) -> None:
    """Raises UserError where the sequences have no such prefix."""
    shortest = min(part.kv_len for part in op.parts())
    if tokens > shortest - op.q_len:
        raise UserError(
            f"{name}: {op.name} sees {shortest} keys, {op.q_len} of them new; a prefix has "
            f"{shortest - op.q_len} at most"
        )
    if op.window:
        raise UserError(f"{name}: {op.name} has a window of {op.window} keys")
    keys = graph.tensors[op.operands[1]]
    whole = sum(part.batch * part.kv_len for part in op.parts())
    if op.batch != graph.batch or keys.shape[0] != whole * op.kv_heads:
        raise UserError(f"{name}: {op.name} reads a part of its cache; share prefixes first")


def _apart(graph: Graph, op: Attention, levels: Levels, tensors: dict[str, Tensor]) -> list[Op]:
    """Attention to each level's prefixes, to what follows them, and their combination."""
    shared, q = sum(tokens for _, tokens in levels), op.operands[0]
    whole = sum(part.batch * part.kv_len for part in op.parts())
    marks = [""] if len(levels) == 1 else [str(i + 1) for i in range(len(levels))]
    parts: list[Attention] = []
    for mark, (groups, tokens) in zip(marks, levels, strict=True):
        for name in op.operands[1:]:
            tensor = graph.tensors[name]
            rows = groups * tokens * op.kv_heads
            prefix = replace(tensor, name=f"{name}.prefix{mark}", shape=(rows, tensor.shape[-1]))
            tensors[prefix.name] = prefix
        keys, values = (f"{name}.prefix{mark}" for name in op.operands[1:])
        parts.append(replace(
            op, name=f"{op.name}.prefix{mark}", inputs=(q, keys, values), batch=groups,
            q_len=op.batch // groups * op.q_len, kv_len=tokens, causal=False, lengths=(),
        ))  # fmt: skip
    for name in dict.fromkeys(op.operands[1:]):
        tensor, rows = graph.tensors[name], (whole - op.batch * shared) * op.kv_heads
        tensors[name] = replace(tensor, shape=(rows, tensor.shape[-1]))
    lengths = tuple((count, held - shared) for count, held in op.lengths)
    rest = replace(op, name=f"{op.name}.suffix", kv_len=op.kv_len - shared, lengths=lengths)
    made: list[Op] = [replace(part, output=part.name) for part in (*parts, rest)]
    for part in list(made):
        tensors[part.name] = replace(graph.tensors[op.output], name=part.name)
    return made + _merged(graph, op, [part.name for part in made], tensors)


def _merged(graph: Graph, op: Attention, parts: list[str], tensors: dict[str, Tensor]) -> list[Op]:
    """The parts put together, two at a time."""
    rows, so_far, made = op.batch * op.q_len * op.q_heads, parts[0], []
    for number, part in enumerate(parts[1:], start=1):
        last = number == len(parts) - 1
        name, output = (op.name, op.output) if last else (f"{op.name}.merge{number}",) * 2
        if not last:
            tensors[output] = replace(graph.tensors[op.output], name=output)
        inputs = (so_far, part)
        made.append(Vector(name, inputs, output, "softmax_merge", rows, op.v_head_dim))
        so_far = output
    return list(made)
