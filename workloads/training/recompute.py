"""What of the forward pass is kept for the backward pass, and what is computed again.

    none        all that gradients read is kept, attention's probabilities too (`scores.py`)
    selective   all that gradients read is kept, but attention's scores: its gradients compute them
                anew in any case (Korthikanti et al., arXiv 2205.05198, sec. 5; FlashAttention-2)
    full        what enters a layer is kept; the layer's forward pass runs again before its backward
                pass, and what gradients read of it is there for one layer at a time (Chen et al.,
                arXiv 1604.06174)

A tensor is kept as often as there are ops, layer by layer, whose gradients read it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace

from workloads.graph import Graph, Node, Tensor

AGAIN = "again."
CHOICES = ("none", "selective", "full")

Layer = tuple[float, str]  # count and name of a kind of layers


def kept(
    backward: Iterable[Node], tensors: Mapping[str, Tensor], once: Collection[str]
) -> tuple[dict[str, Tensor], dict[str, float]]:
    """Activations of the forward pass that gradients read, and how many of each: of those that
    are there `once`, made again, one."""
    nodes = [node for node in backward if not node.op.name.startswith(AGAIN)]
    again = [node for node in backward if node.op.name.startswith(AGAIN)]
    made = {node.op.output for node in nodes}
    copies: dict[str, float] = {}
    for node in (*nodes, *again):
        for name in node.op.inputs:
            tensor = tensors[name]
            fresh = name in made or tensor.part_of in made
            if tensor.kind != "activation" or fresh or (name in once and node in again):
                continue
            copies[name] = max(copies.get(name, 0.0), 1.0 if name in once else node.count)
    return {name: replace(tensors[name], kind="saved") for name in copies}, copies


def again(
    graph: Graph, backward: list[Node], tensors: dict[str, Tensor]
) -> tuple[list[Node], dict[str, Tensor]]:
    """The backward pass with each kind of layers run forward once more before it, and the tensors
    that this makes: those that gradients read are there once."""
    layers: dict[Layer, list[Node]] = {}
    for node in graph:
        if node.layered:
            layers.setdefault((node.count, node.layer), []).append(node)
    nodes: list[Node] = []
    renamed: dict[Layer, dict[str, str]] = {}
    made: dict[str, Tensor] = {}
    for node in backward:
        layer = (node.count, node.layer)
        if node.layered and layer in layers and layer not in renamed:
            inside = {n.op.output for n in layers[layer]}
            inside |= {t.name for t in tensors.values() if t.part_of in inside}
            renamed[layer] = {name: AGAIN + name for name in inside}
            made |= _copied(tensors, renamed[layer])
            nodes += _repeated(layers[layer], renamed[layer])
        names = renamed.get(layer, {}) if node.layered else {}
        inputs = tuple(names.get(t, t) for t in node.op.inputs)
        nodes.append(replace(node, op=replace(node.op, inputs=inputs)))  # type: ignore[type-var]
    return nodes, made


def _copied(tensors: dict[str, Tensor], names: dict[str, str]) -> dict[str, Tensor]:
    return {
        new: replace(
            tensors[old], name=new, part_of=names.get(tensors[old].part_of, tensors[old].part_of)
        )
        for old, new in names.items()
    }


def _repeated(nodes: list[Node], names: dict[str, str]) -> Iterator[Node]:
    for node in nodes:
        inputs = tuple(names.get(t, t) for t in node.op.inputs)
        op = replace(
            node.op, name=AGAIN + node.op.name, inputs=inputs, output=names[node.op.output]
        )  # type: ignore[type-var]
        yield replace(node, op=op)
