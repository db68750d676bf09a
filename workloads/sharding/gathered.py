"""Parameters split over ranks and gathered for every use, each rank having its own sequences: the
weight-gathered layouts of Pope et al. (arXiv 2211.05102, sec. 3.2.3), and of fully sharded data
parallelism (ZeRO stage 3, arXiv 1910.02054).

Every matrix of a layer, [n, k] or [experts, n, k], is stored in slices of its first dimension. An
all_gather makes it whole before the op that multiplies by it. Small parameters and tables stay
whole on every rank.
Not modeled: gathering the next layer's while this one computes; the memory of what is gathered.
"""

from __future__ import annotations

from dataclasses import replace
from math import ceil

from workloads.graph import Graph, Node, Split, Tensor, check
from workloads.ops import Collective, Einsum, Experts
from workloads.sharding.batch import with_sequences


def gather_weights(graph: Graph, split: Split) -> Graph:
    """What a rank along axis `weights` runs."""
    local = with_sequences(graph, split.ways)
    tensors, nodes = dict(local.tensors), list[Node]()
    for node in local:
        weight = _matrix(local, node)
        if weight is not None:
            shard = f"{weight.name}.shard"
            first = ceil(weight.shape[0] / split.ways)
            tensors[shard] = replace(weight, name=shard, shape=(first, *weight.shape[1:]))
            tensors[weight.name] = replace(weight, kind="activation", away=None)
            if not any(n.op.output == weight.name for n in nodes):
                nodes.append(replace(node, op=_gather(weight, shard, split)))
        nodes.append(node)
    return check(replace(local, nodes=tuple(nodes), tensors=tensors))


def _matrix(graph: Graph, node: Node) -> Tensor | None:
    """The stored matrix that the op multiplies by."""
    if not isinstance(node.op, (Einsum, Experts)):
        return None
    weight = graph.tensors[node.op.inputs[1]]
    return weight if weight.kind == "weight" else None


def _gather(weight: Tensor, shard: str, split: Split) -> Collective:
    name = f"{weight.name}.all_gather"
    size = (weight.bytes, weight.elements)
    return Collective(name, (shard,), weight.name, "all_gather", *size, split.ways, split.axis)
