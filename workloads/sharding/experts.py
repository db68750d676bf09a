"""Experts spread over ranks that have sequences of their own (attention is data parallel).

`split=experts` (GShard, arXiv 2006.16668, sec. 3.2): a rank has experts / ways of them. An
all_to_all sends every row to its expert's rank before the layer's first matrix, another one back
after its last. Experts are dealt to ranks one by one, the fullest first; the rank is the first.
`split=inner` (MoEShard, arXiv 2503.08467, sec. 3): every expert is split over all ranks along its
inner width. An all_gather brings the rows of all tokens to every rank, a reduce_scatter adds up
what the ranks made and leaves each its own; no rank waits for a fuller one.

With one rank per expert and few tokens, ranks may have none; the graph is the busiest rank's.
Not modeled: a row that goes to two experts of one rank is sent twice; messages of unequal size.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil

from kernels_ref.errors import UserError
from workloads.graph import Graph, Node, Op, Split, Tensor, check
from workloads.ops import Collective, Experts, Gather, Vector
from workloads.sharding.batch import with_sequences
from workloads.sharding.exchange import exchange, reading
from workloads.sharding.rows import fewer


@dataclass(frozen=True, slots=True)
class _Layer:
    """The ops of a layer of experts: rows dealt out, what is done to them there, and their sum."""

    dispatch: Op
    inside: tuple[Op, ...]
    combine: Vector


def split_experts(graph: Graph, split: Split) -> Graph:
    """What a rank along axis `expert` runs. Raises UserError for a graph without experts, or with
    fewer of them than ranks."""
    layers = list(_layers(graph))
    if not layers:
        raise UserError(f"{graph.name} has no experts, which expert_parallel deals to ranks")
    if split.option("split") == "inner":
        return _inner(graph, split, layers)
    for op in (op for layer in layers for op in layer.inside if isinstance(op, Experts)):
        count = graph.tensors[op.inputs[1]].shape[0]
        if count < split.ways:
            raise UserError(
                f"{graph.name}: {op.name} has {count} experts, fewer than {split.ways} ranks; "
                "split=inner splits each of them"
            )
    return _dealt(graph, split, layers)


def _layers(graph: Graph) -> Iterator[_Layer]:
    """Every layer of experts, from the gather of its rows to the weighted sum."""
    makers, readers = {node.op.output: node.op for node in graph}, graph.consumers()
    for node in graph:
        if not isinstance(node.op, Gather) or node.op.inputs[0] not in makers:
            continue
        inside, left = list[Op](), [node.op.output]
        combine: Vector | None = None
        while left:
            for op in readers.get(left.pop(), []):
                if isinstance(op, Vector) and op.function == "weighted_sum":
                    combine = op
                elif op not in inside:
                    inside.append(op)
                    left.append(op.output)
        if combine is not None and any(isinstance(op, Experts) for op in inside):
            ordered = tuple(n.op for n in graph if n.op in inside)
            yield _Layer(node.op, ordered, combine)


def _dealt(graph: Graph, split: Split, layers: list[_Layer]) -> Graph:
    """The experts of a rank; rows sent to them and back."""
    local = with_sequences(graph, split.ways)
    tensors, nodes = dict(local.tensors), list[Node]()
    renamed: dict[str, str] = {}
    parts = {op.name: (layer, op) for layer in layers for op in layer.inside}
    dispatched = {layer.dispatch.name for layer in layers}
    ends = {_last(layer).name: layer for layer in layers}
    for node in local:
        op = reading(node.op, renamed)
        if node.op.name in parts:
            layer, whole = parts[node.op.name]
            op = reading(_of_rank(whole, layer, split.ways), renamed)
            tensors |= _parts(graph, whole, layer, split.ways)
        nodes.append(replace(node, op=op))
        for names, like in (
            (dispatched, _sizes(graph, op.output, layers, split.ways)),
            (ends, local.tensors[op.output]),
        ):
            if op.name in names:
                message = _message(tensors[op.output], like, split)
                tensors[message.output] = replace(like, name=message.output)
                renamed[op.output] = message.output
                nodes.append(replace(node, op=message))
    return check(replace(local, nodes=tuple(nodes), tensors=tensors))


def _last(layer: _Layer) -> Op:
    return next(op for op in layer.inside if op.output in layer.combine.inputs)


def _share(layer: _Layer, ways: int) -> Fraction:
    """Of all rows those of the busiest rank."""
    op = next(op for op in layer.inside if isinstance(op, Experts))
    return Fraction(sum(n * rows for n, rows in _loads(op, ways)), op.rows)


def _loads(op: Experts, ways: int) -> tuple[tuple[int, int], ...]:
    """Of the first rank: experts dealt one by one, the fullest first."""
    rows = [n for count, n in sorted(op.loads, key=lambda x: -x[1]) for _ in range(count)]
    own = rows[::ways]
    return tuple((own.count(n), n) for n in sorted(set(own), reverse=True))


def _of_rank(op: Op, layer: _Layer, ways: int) -> Op:
    if isinstance(op, Experts):
        return replace(op, loads=_loads(op, ways))
    if isinstance(op, Vector):
        return replace(op, rows=ceil(op.rows * _share(layer, ways)))
    raise UserError(f"expert_parallel: no rule for {op.name}, of kind '{op.kind}', among experts")


def _parts(graph: Graph, op: Op, layer: _Layer, ways: int) -> dict[str, Tensor]:
    """The rank's parameters and rows of an op."""
    found = {}
    for name in (*op.inputs, op.output):
        tensor = graph.tensors[name]
        stored = tensor.kind == "weight"
        if name == layer.dispatch.output or (stored and not isinstance(op, Experts)):
            continue
        part = Fraction(1, ways) if stored else _share(layer, ways)
        found[name] = fewer(tensor, part)
    return found


def _sizes(graph: Graph, name: str, layers: list[_Layer], ways: int) -> Tensor:
    """A tensor of rows as the busiest rank receives it."""
    tensor = graph.tensors[name]
    for layer in layers:
        if name == layer.dispatch.output:
            return fewer(tensor, _share(layer, ways))
    return tensor


def _message(source: Tensor, made: Tensor, split: Split) -> Collective:
    """Rows to the ranks of their experts, or back: as many as the fuller side has."""
    most = max(source, made, key=lambda tensor: tensor.bytes)
    return exchange("all_to_all", source.name, f"{source.name}.all_to_all", most, split)


def _inner(graph: Graph, split: Split, layers: list[_Layer]) -> Graph:
    """All experts' shares of their inner width; every token's rows gathered and added up."""
    names = {op.name for x in layers for op in (x.dispatch, *x.inside, x.combine)}
    local = with_sequences(graph, split.ways, names)
    tensors, nodes = dict(local.tensors), list[Node]()
    part = Fraction(1, split.ways)
    for node in local:
        op = node.op
        if op.name not in names:
            nodes.append(node)
            continue
        layer = next(x for x in layers if op in (x.dispatch, x.combine) or op in x.inside)
        renamed = {}
        if op in (layer.dispatch, layer.combine):
            nodes += _all_tokens(graph, node, (split, tensors))
            renamed = {t: there for t in op.inputs if (there := f"{t}.all_gather") in tensors}
        op = reading(_narrower(op, layer, part), renamed)
        tensors |= _narrow(graph, op, layer, part)
        if op.name == layer.combine.name:
            nodes += _added_up(graph, node, op, (split, tensors))
        else:
            nodes.append(replace(node, op=op))
    return check(replace(local, nodes=tuple(nodes), tensors=tensors))


def _all_tokens(graph: Graph, node: Node, made: tuple[Split, dict[str, Tensor]]) -> Iterator[Node]:
    """What the op reads of a rank's own tokens, gathered from all ranks once."""
    split, tensors = made
    for name in node.op.inputs:
        whole, there = graph.tensors[name], f"{name}.all_gather"
        if tensors[name].shape != whole.shape and there not in tensors:
            tensors[there] = replace(whole, name=there)
            yield replace(node, op=exchange("all_gather", name, there, whole, split))


def _added_up(
    graph: Graph, node: Node, op: Op, made: tuple[Split, dict[str, Tensor]]
) -> list[Node]:
    """The sum over experts of every token, and its sum over ranks for the rank's own tokens."""
    split, tensors = made
    whole = graph.tensors[op.output]
    sums = f"{op.output}.sums"
    tensors[sums] = replace(whole, name=sums)
    rows = ceil(ceil(graph.batch / split.ways) * Fraction(whole.shape[0], graph.batch))
    tensors[op.output] = replace(whole, shape=(rows, *whole.shape[1:]))
    name = f"{op.name}.reduce_scatter"
    message = exchange("reduce_scatter", sums, op.output, whole, split, name)
    combine = replace(op, output=sums)  # type: ignore[type-var]
    return [replace(node, op=combine), replace(node, op=message)]


def _narrower(op: Op, layer: _Layer, part: Fraction) -> Op:
    """The op on a share of the experts' inner width: the outputs of the first matrix, the sums of
    the second."""
    if isinstance(op, Experts):
        if op is _last(layer):
            return replace(op, k=ceil(op.k * part))
        return replace(op, n=ceil(op.n * part))
    if isinstance(op, Vector) and _narrowed(op, layer):
        return replace(op, width=ceil(op.width * part))
    return op


def _narrowed(op: Op, layer: _Layer) -> bool:
    """Is what it makes as wide as the experts inside: between their first matrix and their last?"""
    names = [other.name for other in layer.inside]
    first = next(other.name for other in layer.inside if isinstance(other, Experts))
    inside = op.name in names and op.name != _last(layer).name
    return inside and names.index(op.name) >= names.index(first)


def _narrow(graph: Graph, op: Op, layer: _Layer, part: Fraction) -> dict[str, Tensor]:
    """Parameters and rows of an op as wide as the rank's share."""
    last = op.name == _last(layer).name
    found = {}
    if isinstance(op, Experts):
        weight, *bias = (graph.tensors[name] for name in op.inputs[1:])
        dim = 2 if last else 1
        shape = list(weight.shape)
        shape[dim] = ceil(shape[dim] * part)
        found[weight.name] = replace(weight, shape=tuple(shape))
        for b in bias if not last else ():
            found[b.name] = replace(b, shape=(b.shape[0], ceil(b.shape[1] * part)))
    if _narrowed(op, layer):
        made = graph.tensors[op.output]
        found[op.output] = replace(made, shape=(made.shape[0], ceil(made.shape[1] * part)))
    return found
