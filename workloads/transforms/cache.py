"""A smaller key-value cache: fewer positions, fewer layers that have one, or fewer tokens to one.

Of positions a share or a budget stays; attention sees what stays.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import ceil

from kernels_ref.errors import UserError
from workloads.graph import Graph, Tensor
from workloads.ops import Attention, Move, Vector
from workloads.transforms.edit import (
    PhaseError,
    attentions,
    blocks,
    cache_makers,
    cache_writes,
    renewed,
    share,
)

Keys = Callable[[int], int]  # how many of so many stay


def evict(graph: Graph, budget: int, score: str = "yes") -> Graph:
    """Every head keeps `budget` positions of a sequence, chosen by scores: a small projection of
    each new row, and a comparison with what is kept.

    Source: Locret, arXiv 2410.01805, sec. 3 (retaining heads); H2O, arXiv 2306.14048, for others.
    Accuracy: an input.
    """
    if budget < 1:
        raise UserError(f"evict: budget is {budget}; at least 1")
    if score not in ("yes", "no"):
        raise UserError(f"evict: score is '{score}'; write yes or no")
    graph = kept_positions(graph, lambda keys: min(keys, budget))
    return _scored(graph, budget) if score == "yes" else graph


def compress_kv(graph: Graph, ratio: float) -> Graph:
    """Neighboring positions are merged, `ratio` of them into one on average.

    Source: dynamic memory compression, arXiv 2403.09636, sec. 3: the decision is read off a key's
    and a query's own elements, the merge is a weighted mean.
    Accuracy: an input.
    """
    share(1 / ratio if ratio else 0.0, "compress_kv: 1 / ratio", 1e-6)
    return kept_positions(graph, lambda keys: ceil(keys / ratio))


def prefix_kv(graph: Graph, first: float, last: float) -> Graph:
    """Layers keep a share of positions that falls linearly from `first` to `last`; every layer
    stands for the mean.

    Source: PrefixKV, arXiv 2412.03409, sec. 3 (sizes per layer).
    Accuracy: an input.
    """
    mean = (share(first, "prefix_kv: first") + share(last, "prefix_kv: last")) / 2
    share(mean, "prefix_kv: the mean", 1e-6)
    return kept_positions(graph, lambda keys: max(1, ceil(keys * mean)))


def share_kv(graph: Graph, layers: int) -> Graph:
    """So many neighboring layers use one cache: the others neither make keys and values nor write
    them.

    Source: cross-layer attention, arXiv 2405.12981, sec. 2.2; YOCO, arXiv 2405.05254.
    Accuracy: an input; the model is trained for it.
    """
    if layers < 2:
        raise UserError(f"share_kv: layers is {layers}; at least 2")
    several = [block for block in blocks(graph) if block.count > 1]
    inside = {id(node) for block in several for node in block.nodes}
    writes = [node for node in cache_writes(graph) if id(node) in inside]
    fewer = cache_makers(graph, writes, most_readers=2)  # the next one's and attention
    if not fewer:
        raise UserError(f"{graph.name} writes no cache in its phase {graph.phase}")
    nodes = [
        replace(node, count=node.count / layers) if node.op.name in fewer else node
        for node in graph
    ]
    held = {n.op.output: n.count / layers for n in writes}
    made = {f"{name}.{part}" for name in fewer for part in ("weight", "bias")}
    counts = {t: n.count / layers for n in graph for t in n.op.inputs if t in made}
    return renewed(graph, nodes, copies={**held, **counts})


def kept_positions(graph: Graph, keys: Keys) -> Graph:
    """Caches with so many positions, and attention over them. A prefill attends to everything and
    keeps so many."""
    tensors: dict[str, Tensor] = {}
    ops = {op.name: op for op in attentions(graph)}
    held = {n.op.output for n in graph if isinstance(n.op, Move)}
    held = {name for name in held if graph.tensors[name].kind == "kv"}
    reading = {name for name, op in ops.items() if graph.tensors[op.operands[1]].kind == "kv"}
    for op in ops.values():
        names = set(op.operands[1:])
        if op.name not in reading:
            names = {name for name in held if _layer(name) == _layer(op.name)}
            op = replace(op, kv_len=min(op.kv_len, op.window or op.kv_len), q_len=1)
        before, after = _positions(op), _positions(_shorter(op, keys))
        for name in names:
            tensor = graph.tensors[name]
            rows = ceil(tensor.shape[0] * min(1.0, after / before))
            tensors[name] = replace(tensor, shape=(rows, *tensor.shape[1:]))
    if not tensors:
        raise PhaseError(f"{graph.name} has no key-value cache in its phase {graph.phase}")
    nodes = [
        replace(node, op=_shorter(ops[node.op.name], keys)) if node.op.name in reading else node
        for node in graph
    ]
    return renewed(graph, nodes, tensors)


def _layer(name: str) -> str:
    """The prefix of a layer's kind: what is before the last dot."""
    return name.rpartition(".")[0]


def _shorter(op: Attention, keys: Keys) -> Attention:
    lengths = tuple((count, max(op.q_len, keys(length))) for count, length in op.lengths)
    return replace(op, kv_len=max(op.q_len, keys(op.kv_len)), lengths=lengths)


def _positions(op: Attention) -> int:
    """Of all sequences."""
    return sum(part.batch * part.kv_len for part in op.parts())


def _scored(graph: Graph, budget: int) -> Graph:
    """A score of every new row, and the least of those kept, for each key head: looked for where
    the first of a layer's caches, that of the keys, is written."""
    tensors, nodes, layers = {}, [], set()
    for node in graph:
        nodes.append(node)
        op = node.op
        if not (isinstance(op, Move) and graph.tensors[op.output].kind == "kv"):
            continue
        if _layer(op.name) in layers:
            continue
        layers.add(_layer(op.name))
        rows, name = graph.tensors[op.inputs[0]], f"{op.name}.score"
        tensors[name] = replace(rows, name=name, shape=(rows.shape[0], 1), kind="activation")
        heads = max(1, rows.shape[-1] // graph.tensors[op.output].shape[-1])
        scored = Vector(name, (op.inputs[0],), name, "top_k", rows.shape[0] * heads, budget)
        nodes.append(replace(node, op=scored))
    return renewed(graph, nodes, tensors)
