"""The tokens of every sequence split over ranks, each of which has all parameters.

Prompts and encoders: a rank has 1 / ways of a sequence's tokens. With `by=keys` keys and values of
all tokens are gathered before attention, in which a rank's queries are spread over the sequence so
that all do the same (striped attention, arXiv 2311.09431). With `by=heads` (Ulysses, arXiv
2309.14509, sec. 3.1) an all_to_all before attention deals out heads instead of tokens, and another
one after it tokens again.
Steps of a decoder: caches are split by positions; every rank has all of the step's tokens, looks at
its own keys, and the parts are merged by their maxima and sums, which are gathered (FlashDecoding's
split over chips). What else a step does every rank does whole: combine with axis `tensor`.

Not modeled: keys passed from rank to rank while attention runs (ring attention hides part of the
gathering); recurrent states handed on.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from math import ceil

from kernels_ref.errors import UserError
from workloads.graph import Graph, Node, Op, Split, Tensor, check
from workloads.ops import Attention, Collective, Einsum, Experts, Gather, Move, Vector
from workloads.phase import STEPS
from workloads.sharding.batch import fewer_rows
from workloads.sharding.exchange import exchange, reading
from workloads.sharding.rows import fewer, row_rank

MERGED = 2  # a maximum and a sum of every head beside its output


def split_sequence(graph: Graph, split: Split) -> Graph:
    """What a rank along axis `sequence` runs. Raises UserError for a graph without attention."""
    if not any(isinstance(node.op, Attention) for node in graph):
        raise UserError(f"{graph.name} has no attention in its phase {graph.phase}")
    cached = any(_reads_cache(graph, node.op) for node in graph)
    if graph.phase in STEPS:
        return _by_positions(graph, split) if cached else graph
    if cached and split.option("by") == "heads":
        raise UserError(
            f"{graph.name}: a chunk of a prompt reads a cache that is split by positions; "
            "by=keys gathers it"
        )
    return _by_tokens(graph, split)


def _reads_cache(graph: Graph, op: Op) -> bool:
    return isinstance(op, Attention) and graph.tensors[op.operands[1]].kind == "kv"


def _by_positions(graph: Graph, split: Split) -> Graph:
    """A step: every rank's part of the cache."""
    tensors, nodes = dict(graph.tensors), list[Node]()
    part = Fraction(1, split.ways)
    renamed: dict[str, str] = {}
    for node in graph:
        op = reading(node.op, renamed)
        if not isinstance(op, Attention) or not _reads_cache(graph, op):
            if any(graph.tensors[t].kind == "kv" for t in node.op.inputs):
                raise UserError(
                    f"sequence_parallel: {op.name} reads a cache that is split by positions, and "
                    "is no attention; leave out the transform that looks at keys"
                )
            nodes.append(replace(node, op=op))
            continue
        for name in {*op.operands[1:]}:
            tensors[name] = fewer(graph.tensors[name], part)
        lengths = tuple((count, ceil(keys * part)) for count, keys in op.lengths)
        local = replace(op, kv_len=ceil(op.kv_len * part), lengths=lengths, causal=False)
        nodes.append(replace(node, op=local))
        for made in _merged(graph, local, split, tensors):
            nodes.append(replace(node, op=made))
        renamed[op.output] = nodes[-1].op.output
    return check(replace(graph, nodes=tuple(nodes), tensors=tensors))


def _merged(graph: Graph, op: Attention, split: Split, tensors: dict[str, Tensor]) -> list[Op]:
    """The parts of all ranks gathered, and merged by their maxima and sums."""
    made = graph.tensors[op.output]
    rows, width = made.shape
    wider = width + MERGED * op.q_heads
    parts = replace(made, name=f"{op.name}.parts", shape=(rows * split.ways, wider))
    whole = replace(made, name=f"{op.name}.merge")
    tensors |= {parts.name: parts, whole.name: whole}
    gathered = exchange("all_gather", op.output, parts.name, parts, split)
    heads, each = rows * op.q_heads, op.v_head_dim
    merge = Vector(whole.name, (parts.name,), whole.name, "softmax_merge", heads, each, split.ways)
    return [gathered, merge]


def _by_tokens(graph: Graph, split: Split) -> Graph:
    """A prompt: every rank's tokens."""
    part = Fraction(ceil(graph.tokens / split.ways), graph.tokens)
    kept = _of_sequences(graph)
    tensors = {
        name: t if t.kind in ("weight", "table") or name in kept else fewer(t, part)
        for name, t in graph.tensors.items()
    }
    nodes: list[Node] = []
    for node in graph:
        if node.op.output in kept:
            nodes += _of_whole(graph, node, kept, (split, tensors))
        elif isinstance(node.op, Attention):
            by = _heads if split.option("by") == "heads" else _keys
            nodes += [replace(node, op=op) for op in by(graph, node.op, split, tensors)]
        else:
            nodes.append(replace(node, op=_of_tokens(graph, node.op, part)))
    return check(replace(graph, nodes=tuple(nodes), tensors=tensors))


def _of_whole(
    graph: Graph, node: Node, kept: set[str], made: tuple[Split, dict[str, Tensor]]
) -> list[Node]:
    """An op that every rank does whole, what it reads of tokens gathered before it."""
    split, tensors = made
    found, names = list[Node](), dict[str, str]()
    for name in () if isinstance(node.op, Gather) else dict.fromkeys(node.op.inputs):
        tensor = graph.tensors[name]
        if tensor.kind != "activation" or name in kept or tensors[name].shape == tensor.shape:
            continue
        names[name] = f"{name}.all_gather"
        if names[name] not in tensors:
            gathered = exchange("all_gather", name, names[name], tensor, split)
            found.append(replace(node, op=gathered))
            tensors[names[name]] = replace(tensor, name=names[name])
    return [*found, replace(node, op=reading(node.op, names))]


def _of_sequences(graph: Graph) -> set[str]:
    """What has a row for a sequence, not for a token: the last token's, and what is made of it;
    and biases of scores, which have nothing to do with either."""
    rows, found = graph.batch * graph.tokens, set[str]()
    for node in graph:
        op = node.op
        last = isinstance(op, Gather) and op.rows % rows > 0
        if last or op.inputs[0] in found:
            found.add(op.output)
    return found


def _of_tokens(graph: Graph, op: Op, part: Fraction) -> Op:
    """The op on a rank's tokens."""
    if isinstance(op, Einsum) and graph.tensors[op.inputs[1]].kind != "activation":
        rows = row_rank(op)
        if rows is not None and op.window is None:
            return replace(op, ranks={**op.ranks, rows: ceil(op.ranks[rows] * part)})
    if isinstance(op, Experts):
        return replace(op, loads=fewer_rows(graph, op, part))
    if isinstance(op, (Vector, Gather)):
        return replace(op, rows=ceil(op.rows * part))
    if isinstance(op, Move):
        return replace(op, run_elements=max(1, ceil(op.run_elements * part)))
    if isinstance(op, Collective):
        return replace(op, bytes=ceil(op.bytes * part), elements=ceil(op.elements * part))
    raise UserError(f"sequence_parallel: no rule for {op.name}, an op of kind '{op.kind}'")


def _keys(graph: Graph, op: Attention, split: Split, tensors: dict[str, Tensor]) -> list[Op]:
    """All keys and values to every rank's queries."""
    found: list[Op] = []
    names = {}
    for name in dict.fromkeys(op.operands[1:]):
        whole = graph.tensors[name]
        if name == op.operands[0]:  # queries merged with keys and values, which alone are sent
            width = op.kv_heads * (op.head_dim + op.v_head_dim)
            whole = replace(whole, shape=(whole.shape[0], width))
        names[name] = f"{name}.all_gather"
        tensors[names[name]] = replace(whole, name=names[name], kind="activation")
        found.append(exchange("all_gather", name, names[name], whole, split))
    q, *others = op.inputs
    inputs = (q, *(names.get(name, name) for name in others))
    seen = op.visible_pairs * op.density / (op.q_len * op.kv_len)
    queries = ceil(op.q_len / split.ways)
    local = replace(op, inputs=inputs, q_len=queries, causal=False, window=None, density=seen)
    return [*found, local]


def _heads(graph: Graph, op: Attention, split: Split, tensors: dict[str, Tensor]) -> list[Op]:
    """All tokens of a rank's heads."""
    if op.q_heads % split.ways or op.kv_heads % split.ways:
        raise UserError(
            f"{graph.name}: {op.name} has {op.q_heads} heads of queries and {op.kv_heads} of keys, "
            f"which cannot be dealt to {split.ways} ranks; by=keys needs no heads"
        )
    found: list[Op] = []
    names = {name: f"{name}.all_to_all" for name in dict.fromkeys(op.operands)}
    for name, there in names.items():
        found.append(exchange("all_to_all", name, there, tensors[name], split))
        tensors[there] = replace(tensors[name], name=there)
    inputs = tuple(names.get(name, name) for name in op.inputs)
    made = f"{op.output}.heads"
    tensors[made] = replace(tensors[op.output], name=made)
    heads = (op.q_heads // split.ways, op.kv_heads // split.ways)
    local = replace(op, inputs=inputs, output=made, q_heads=heads[0], kv_heads=heads[1])
    name = f"{made}.all_to_all"
    return [*found, local, exchange("all_to_all", made, op.output, tensors[made], split, name)]
