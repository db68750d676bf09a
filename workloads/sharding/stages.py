"""Layers cut into stages, one after the other: pipeline parallelism (GPipe, arXiv 1811.06965).

The units are single layers, kinds of layers that follow each other taken in turn, and what stands
before, between and behind them. They are cut where the stage with the most MACs has the fewest
(exactly, by dynamic programming over the cuts). Every stage but the last sends its stream on, and
what was made so far and a later stage reads (an encoder's output); in a step the last one sends
the chosen tokens back to the first. Expected counts of layers that are not whole go to all stages
alike.
Not modeled: a self-draft's own passes through the stages; its layers are a stage's that has them,
which then stores them again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise

from kernels_ref.errors import UserError
from kernels_ref.formats import FORMATS
from workloads.graph import Graph, Node, Op, Tensor, check, stored
from workloads.ops import Collective, Vector
from workloads.phase import STEPS

TOKEN = FORMATS["int32"]


@dataclass(frozen=True, slots=True)
class _Unit:
    """A layer's nodes, or one that is no layer's; `share` of the nodes' counts."""

    nodes: tuple[int, ...]
    share: float
    macs: float


def stages(graph: Graph, count: int) -> tuple[Graph, ...]:
    """The graph of every stage, in order. Raises UserError for fewer layers than stages."""
    if count == 1:
        return (graph,)
    units = list(_units(graph))
    layers = sum(len(unit.nodes) > 1 for unit in units)
    if layers < count:
        raise UserError(f"{graph.name} has {layers} layers, fewer than {count} stages")
    cuts = _cuts([unit.macs for unit in units], count)
    parts = [units[a:b] for a, b in pairwise(cuts)]
    return tuple(_stage(graph, parts, i) for i in range(count))


def _units(graph: Graph) -> Iterator[_Unit]:
    """In the order of the data."""
    numbered = list(enumerate(graph))
    for layered, group in groupby(numbered, lambda item: item[1].layered and item[1].count > 1):
        items = list(group)
        if not layered:
            yield from (_Unit((i,), 1.0, node.count * node.op.macs) for i, node in items)
            continue
        yield from _interleaved(items)


def _interleaved(items: Sequence[tuple[int, Node]]) -> Iterator[_Unit]:
    """Layers of kinds that follow each other, spread evenly."""
    kinds = [list(g) for _, g in groupby(items, lambda x: (x[1].count, x[1].layer))]
    layers = []
    for kind in kinds:
        count = kind[0][1].count
        whole = max(1, round(count))
        nodes, macs = tuple(i for i, _ in kind), float(sum(node.op.macs for _, node in kind))
        for place in range(whole):
            layers.append(((place + 0.5) / whole, _Unit(nodes, 1 / whole, macs * count / whole)))
    yield from (unit for _, unit in sorted(layers, key=lambda x: (x[0], x[1].nodes)))


def _cuts(macs: Sequence[float], count: int) -> list[int]:
    """Where to cut so that the largest sum between cuts is least; every part has a unit."""
    total, sums = 0.0, [0.0]
    for value in macs:
        total += value
        sums.append(total)
    units = len(macs)
    best = [[(float("inf"), 0)] * (units + 1) for _ in range(count + 1)]
    best[0][0] = (0.0, 0)
    for part in range(1, count + 1):
        for end in range(part, units + 1):
            best[part][end] = min(
                (max(best[part - 1][start][0], sums[end] - sums[start]), start)
                for start in range(part - 1, end)
            )
    cuts = [units]
    for part in range(count, 0, -1):
        cuts.append(best[part][cuts[-1]][1])
    return cuts[::-1]


def _stage(graph: Graph, parts: Sequence[Sequence[_Unit]], index: int) -> Graph:
    """The stage's nodes as often as it has their layers, and what it sends."""
    shares: dict[int, float] = {}
    for unit in parts[index]:
        for i in unit.nodes:
            shares[i] = shares.get(i, 0.0) + unit.share
    nodes = [
        replace(node, count=_whole(node.count * shares[i]))
        for i, node in enumerate(graph)
        if i in shares
    ]
    tensors = dict(graph.tensors)
    last = index == len(parts) - 1
    sent = [graph.tensors[nodes[-1].op.output], *_read_later(graph, parts, index)]
    if last:
        sent = [_token(graph)] if graph.phase in STEPS else []
    for number, tensor in enumerate(sent):
        if tensor.kind != "activation":
            what = f"a stage would end with {tensor.name}, which is not sent on"
            raise UserError(f"{graph.name}: {what}")
        there = f"handed_on{number or ''}"
        tensors |= {tensor.name: tensor, there: replace(tensor, name=there)}
        size = (tensor.bytes, tensor.elements)
        name = f"hand_on{number or ''}"
        nodes.append(Node(Collective(name, (tensor.name,), there, "send", *size, 2, "stage"), 1))
    named = {t for node in nodes for t in (*node.op.inputs, node.op.output)}
    copies = _copies(graph, nodes, tensors, index == 0)
    kept = {name: t for name, t in tensors.items() if name in named | set(copies)}
    return check(replace(graph, nodes=tuple(nodes), tensors=kept, copies=copies))


def _read_later(graph: Graph, parts: Sequence[Sequence[_Unit]], index: int) -> list[Tensor]:
    """Activations made up to this stage that a later one reads, beside the stream; a layer adds to
    the stream that it reads from before it."""
    nodes = list(graph)
    made = {nodes[i].op.output for part in parts[: index + 1] for u in part for i in u.nodes}
    behind = [nodes[i] for part in parts[index + 1 :] for u in part for i in u.nodes]
    own = {node.op.output for node in behind}
    streams = {t for n in behind if n.count > 1 and _adds(n.op) for t in n.op.inputs}
    last = nodes[parts[index][-1].nodes[-1]].op.output
    read = dict.fromkeys(t for node in behind for t in node.op.inputs)
    names = [t for t in read if t in made and t not in own | streams | {last}]
    return [graph.tensors[t] for t in names if graph.tensors[t].kind == "activation"]


def _adds(op: Op) -> bool:
    return isinstance(op, Vector) and op.function == "add"


def _whole(count: float) -> float:
    return round(count) if abs(count - round(count)) < 1e-9 else count


def _token(graph: Graph) -> Tensor:
    return Tensor("chosen_tokens", (graph.batch, 1), TOKEN, "activation")


def _copies(
    graph: Graph, nodes: Sequence[Node], tensors: dict[str, Tensor], first: bool
) -> dict[str, float]:
    """What the graph stores more or less often than its ops say, in proportion to the stage's part
    of the ops that use it; what no op uses in the first stage."""
    here, whole = stored(nodes, tensors), stored(graph.nodes, graph.tensors)
    found = {}
    for name, copies in graph.copies.items():
        if name in here:
            found[name] = copies * here[name] / whole[name] if whole[name] else 0.0
        elif name not in whole and first:
            found[name] = copies
    return found
