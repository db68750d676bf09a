"""Fewer layers than the model has: some skipped by every token, or a token leaving early.

Counts become expectations; what is stored stays whole.
"""

from __future__ import annotations

from dataclasses import replace

from kernels_ref.errors import UserError
from workloads.graph import Graph, Node
from workloads.transforms.edit import blocks, cache_makers, cache_writes, renewed, share


def skip_layers(graph: Graph, skipped: float) -> Graph:
    """A share of every kind of layers is not run, its keys and values neither made nor read.

    Source: LayerSkip, arXiv 2404.16710, sec. 4 (self-draft); ShortGPT, arXiv 2403.03853.
    Accuracy: an input; which layers can go is the method's finding.
    """
    kept = 1.0 - share(skipped, "skip_layers: skipped")
    counts = {id(node): node.count * kept for block in blocks(graph) for node in block.nodes}
    if not kept:
        raise UserError("skip_layers: all layers would be skipped")
    nodes = [replace(node, count=counts.get(id(node), node.count)) for node in graph]
    held = {t.name for t in graph.tensors.values() if t.kind == "kv"}
    fewer = {name: count * kept for name, count in graph.copies.items() if name in held}
    return renewed(graph, nodes, copies=fewer)


def early_exit(graph: Graph, after: float, taken: float, propagate: str = "yes") -> Graph:
    """A token leaves after layer `after` with probability `taken`, where the head looks at it once
    more; layers behind it run with probability 1 - taken. With `propagate`, tokens that have left
    still write keys and values in every layer.

    Source: CALM, arXiv 2207.07061, sec. 3.1 (state propagation); BranchyNet, arXiv 1709.01686.
    Accuracy: an input; so is how often tokens leave.
    """
    chance, groups = share(taken, "early_exit: taken"), blocks(graph)
    layers = sum(block.count for block in groups)
    if not 0 < after < layers:
        raise UserError(f"early_exit: after is {after:g}; {graph.name} has {layers:g} layers")
    if propagate not in ("yes", "no"):
        raise UserError(f"early_exit: propagate is '{propagate}'; write yes or no")
    expected = (after + (layers - after) * (1.0 - chance)) / layers
    needed = cache_makers(graph, cache_writes(graph)) if propagate == "yes" else set()
    nodes: list[Node] = []
    inside = {id(node) for block in groups for node in block.nodes}
    for node in graph:
        if id(node) in inside:
            whole = node.op.name in needed
            nodes.append(node if whole else replace(node, count=node.count * expected))
        elif node.op.name == _head(graph):
            nodes.append(replace(node, count=2.0))
        else:
            nodes.append(node)
    return renewed(graph, nodes)


def _head(graph: Graph) -> str:
    """The op that scores the vocabulary or classes."""
    return [node.op.name for node in graph if node.op.kind == "einsum"][-1]
