"""Graphs cut in parts that run in different places, and what passes between them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

from kernels_ref.errors import UserError
from workloads.graph import Graph, Node


def kinds_of_layers(graph: Graph) -> list[list[Node]]:
    """Nodes of each kind of layers, in the graph's order. Raises UserError for layers that are run
    a number of times that is not whole."""
    kinds: dict[str, list[Node]] = {}
    for node in graph:
        if node.layered:
            kinds.setdefault(node.layer, []).append(node)
    for nodes in kinds.values():
        if odd := next((node for node in nodes if node.count != round(node.count)), None):
            raise UserError(
                f"{graph.name}: {odd.op.name} runs {odd.count:g} times; layers that run by chance "
                "cannot be laid out one by one: leave out the transform that makes them so"
            )
    return list(kinds.values())


def outside(graph: Graph) -> tuple[Graph, Graph]:
    """What runs before the layers, and after them."""
    names = [node.op.name for node in graph]
    layered = [i for i, node in enumerate(graph) if node.layered]
    return part(graph, names[: layered[0]]), part(graph, names[layered[-1] + 1 :])


def part(graph: Graph, names: Collection[str]) -> Graph:
    """Only the ops of these names."""
    return replace(graph, nodes=tuple(node for node in graph if node.op.name in names))


def ancestors(nodes: Sequence[Node], of: Collection[str]) -> set[str]:
    """Names of the ops, of these nodes, whose outputs those of names `of` need, themselves not."""
    makers = {node.op.output: node for node in nodes}
    found, ahead = set[str](), [node for node in nodes if node.op.name in of]
    while ahead:
        for tensor in ahead.pop().op.inputs:
            maker = makers.get(tensor)
            if maker and maker.op.name not in found and maker.op.name not in of:
                found.add(maker.op.name)
                ahead.append(maker)
    return found


def crossing(graph: Graph, names: Collection[str]) -> tuple[int, int]:
    """Bytes of a copy that go to the ops of these names from others, and from them to others; what
    is stored (weights, caches) stays where it is."""
    outputs = {node.op.output: node.op.name for node in graph}
    reads_in, reads_out = set[str](), set[str]()
    for node in graph:
        for tensor in node.op.inputs:
            if graph.tensors[tensor].kind != "activation":
                continue
            made_here = outputs.get(tensor) in names
            if node.op.name in names and not made_here:
                reads_in.add(tensor)
            elif node.op.name not in names and made_here:
                reads_out.add(tensor)
    return _bytes(graph, reads_in), _bytes(graph, reads_out)


def _bytes(graph: Graph, tensors: Iterable[str]) -> int:
    return sum(graph.tensors[name].bytes for name in tensors)
