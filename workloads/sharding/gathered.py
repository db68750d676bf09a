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
from fractions import Fraction

from workloads.graph import Graph, Node, Split, Tensor, check
from workloads.ops import Einsum, Experts
from workloads.sharding.batch import with_sequences
from workloads.sharding.exchange import exchange
from workloads.sharding.rows import fewer


def gather_weights(graph: Graph, split: Split) -> Graph:
    """What a rank along axis `weights` runs."""
    local = with_sequences(graph, split.ways)
    tensors, nodes = dict(local.tensors), list[Node]()
    for node in local:
        weight = _matrix(local, node)
        if weight is not None:
            shard = f"{weight.name}.shard"
            tensors[shard] = replace(fewer(weight, Fraction(1, split.ways)), name=shard)
            tensors[weight.name] = replace(weight, kind="activation", away=None)
            if not any(n.op.output == weight.name for n in nodes):
                name = f"{weight.name}.all_gather"
                op = exchange("all_gather", shard, weight.name, weight, split, name)
                nodes.append(replace(node, op=op))
        nodes.append(node)
    return check(replace(local, nodes=tuple(nodes), tensors=tensors))


def _matrix(graph: Graph, node: Node) -> Tensor | None:
    """The stored matrix that the op multiplies by."""
    if not isinstance(node.op, (Einsum, Experts)):
        return None
    weight = graph.tensors[node.op.inputs[1]]
    return weight if weight.kind == "weight" else None
