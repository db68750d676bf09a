"""An MLP's neurons: the MLP with some of them only, what predicts which, and their bytes.

A neuron is a row of each of the first matrices (gate and up, or the one there is) and a column of
the last. Of experts, each active one has neurons of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sim.event.cuts import ancestors
from sim.event.expert_layers import WithExperts, kind_of
from workloads.graph import Graph, Node, Tensor
from workloads.ops import Einsum, Experts, Vector
from workloads.transforms.neurons import mlp_parts

LAST = "out"


@dataclass(frozen=True)
class Mlp:
    """Its ops, and which of them reads the neurons (`out`)."""

    nodes: tuple[Node, ...]
    out: str

    @property
    def names(self) -> set[str]:
        return {node.op.name for node in self.nodes}

    @property
    def multiplications(self) -> list[Einsum | Experts]:
        """In order."""
        return [node.op for node in self.nodes if isinstance(node.op, Einsum | Experts)]

    @property
    def width(self) -> int:
        """Neurons; of one expert."""
        return _sizes(self.multiplications[-1])[1]

    @property
    def matrices(self) -> int:
        """Rows and columns that a neuron has."""
        return sum(_sizes(op)[0] for op in self.multiplications[:-1]) // self.width + 1

    @property
    def experts(self) -> int:
        """That are at work; 1 where there are none."""
        first = self.multiplications[0]
        return first.active if isinstance(first, Experts) else 1

    def bytes(self, graph: Graph) -> float:
        """Of one neuron."""
        weights = (graph.tensors[op.inputs[1]] for op in self.multiplications)
        stored = [(w.bytes, w.shape[0] if len(w.shape) == 3 else 1) for w in weights]
        return sum(size / copies for size, copies in stored) / self.width

    def stored(self, graph: Graph) -> int:
        """Bytes of all its matrices, of all experts."""
        return sum(graph.tensors[op.inputs[1]].bytes for op in self.multiplications)


def mlp_of(graph: Graph, nodes: Sequence[Node]) -> Mlp | None:
    """Of a layer: its experts, or the MLP with the most neurons, if it has one."""
    kind = kind_of(graph, nodes)
    if isinstance(kind, WithExperts):
        return Mlp(kind.chain, kind.last.name)
    parts = mlp_parts(graph, 1)
    mine = [node for node in nodes if node.op.name in parts]
    found = []
    for node in mine:
        if parts[node.op.name] == LAST:
            names = ancestors(mine, {node.op.name}) | {node.op.name}
            found.append(Mlp(tuple(n for n in mine if n.op.name in names), node.op.name))
    return max(found, key=lambda mlp: mlp.width, default=None)


def neurons(graph: Graph, mlp: Mlp, count: int) -> Graph:
    """The MLP of one layer, with so many neurons."""
    tensors, nodes = dict(graph.tensors), list[Node]()
    for node in mlp.nodes:
        op = node.op
        if isinstance(op, Vector):
            op = replace(op, width=op.width * count // mlp.width)
            tensors[op.output] = _last(tensors[op.output], count, mlp.width)
        elif op.name == mlp.out:
            assert isinstance(op, Einsum | Experts)
            tensors[op.inputs[1]] = _last(tensors[op.inputs[1]], count, mlp.width)
            op = _with(op, _sizes(op)[0], count)
        else:
            assert isinstance(op, Einsum | Experts)
            n, k = _sizes(op)
            weight = tensors[op.inputs[1]]
            rows = (*weight.shape[:-2], n * count // mlp.width, k)
            tensors[op.inputs[1]] = replace(weight, shape=rows)
            for name in (*op.inputs[2:], op.output):
                tensors[name] = _last(tensors[name], count, mlp.width)
            op = _with(op, n * count // mlp.width, k)
        nodes.append(replace(node, op=op, count=1, layered=True))
    return replace(graph, nodes=tuple(nodes), tensors=tensors)


def predictor(graph: Graph, mlp: Mlp, rank: int, count: int) -> Graph:
    """Two matrices of this rank that say which of so many neurons are active, for one layer."""
    first = mlp.multiplications[0]
    rows, weight = graph.tensors[first.inputs[0]], graph.tensors[first.inputs[1]]
    k = _sizes(first)[1]
    shapes = {"predictor.down": (rank, k), "predictor.up": (count, rank)}
    tensors, nodes, source = dict(graph.tensors), list[Node](), first.inputs[0]
    for name, (n, depth) in shapes.items():
        tensors[f"{name}.weight"] = replace(weight, name=f"{name}.weight", shape=(n, depth))
        tensors[name] = replace(rows, name=name, shape=(rows.shape[0], n))
        ranks = {"m": rows.shape[0], "n": n, "k": depth}
        op = Einsum(name, (source, f"{name}.weight"), name, ranks, "mk,nk->mn")
        nodes.append(Node(op, 1, layered=True))
        source = name
    return replace(graph, nodes=tuple(nodes), tensors=tensors)


def _sizes(op: Einsum | Experts) -> tuple[int, int]:
    """Rows of its matrix, and what it sums over."""
    return (op.n, op.k) if isinstance(op, Experts) else (op.ranks["n"], op.ranks["k"])


def _with(op: Einsum | Experts, n: int, k: int) -> Einsum | Experts:
    if isinstance(op, Experts):
        return replace(op, n=n, k=k)
    return replace(op, ranks={**op.ranks, "n": n, "k": k})


def _last(tensor: Tensor, count: int, width: int) -> Tensor:
    """With as much less in its last axis."""
    return replace(tensor, shape=(*tensor.shape[:-1], tensor.shape[-1] * count // width))
