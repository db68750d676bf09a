"""Neurons of an MLP that are zero are neither computed nor read."""

from __future__ import annotations

from dataclasses import replace
from math import ceil

from kernels_ref.errors import UserError
from workloads.graph import Graph, Node, Op, Tensor
from workloads.ops import Einsum, Vector
from workloads.transforms.edit import of_inference, renewed, share

WHOLE = ".whole"
ACTIVE = ".active"  # what is computed and read of the matrix of this name


def sparse_neurons(graph: Graph, density: float, rank: int = 0, correct: int = 0) -> Graph:
    """A share `density` of an MLP's neurons is not zero for a token; those of all tokens of the
    step together, 1 - (1 - density)^tokens, are computed and their weights read. Which they are the
    gate says, which is computed whole; or a predictor of this `rank`, and the gate is sparse too.
    With `correct`, every so many steps one is whole.

    Source: ProSparse, arXiv 2402.13516; Deja Vu, arXiv 2310.17157, sec. 4 (low-rank predictors);
    Sirius, arXiv 2409.03856, sec. 4 (correction by whole steps).
    Accuracy: an input.
    Raises UserError in phase train: each token has neurons of its own, and all of them are trained.
    """
    of_inference(graph, "sparse_neurons")
    active = 1.0 - (1.0 - share(density, "sparse_neurons: density", 1e-6)) ** _rows(graph)
    if rank < 0 or correct < 0 or correct == 1:
        raise UserError("sparse_neurons: rank is at least 0; correct is 0, or at least 2 steps")
    copies = graph.stored_copies()
    nodes: list[Node] = []
    tensors: dict[str, Tensor] = {}
    kept: dict[str, float] = {}
    found = mlp_parts(graph, rank)
    if not found:
        how = "a predictor" if rank else "a gate"
        raise UserError(f"{graph.name} has no MLP of two multiplications whose neurons {how} picks")
    for node in graph:
        part = found.get(node.op.name)
        if part is None:
            nodes.append(node)
            continue
        if rank and part == "first":
            made = _predictor(graph, node.op, rank, tensors)
            nodes += [replace(node, op=op) for op in made]
        if correct:
            nodes += _whole(graph, node, correct, tensors)
            node = replace(node, count=node.count * (1 - 1 / correct))
        nodes.append(replace(node, op=_sparse(graph, node.op, part, active, tensors)))
        if isinstance(node.op, Einsum):
            weight = node.op.inputs[1]
            kept[weight] = copies[weight]
            kept[weight + ACTIVE] = 0.0
    return renewed(graph, nodes, tensors, copies=kept)


def _rows(graph: Graph) -> int:
    return graph.batch * graph.tokens


def mlp_parts(graph: Graph, rank: int) -> dict[str, str]:
    """What part of an MLP each op is: `first` and `in` make neurons, `act` is their function, `out`
    reads them; a gate that is computed whole is not there."""
    makers = {node.op.output: node.op for node in graph}
    readers, found = graph.consumers(), {}
    for node in graph:
        act = node.op
        if not (isinstance(act, Vector) and _mlp_function(act) and _between(act, makers)):
            continue
        found[act.name] = "act"
        for place, name in enumerate(act.inputs):
            if len(readers[name]) == 1 and (rank or place):
                found[makers[name].name] = "in" if place else "first"
        for op in readers.get(act.output, []):
            if isinstance(op, Einsum):
                found[op.name] = "out"
    return found


def _mlp_function(op: Vector) -> bool:
    return op.function in ("silu_mul", "gelu_mul", "squared_relu_mul", "relu")


def _between(op: Vector, makers: dict[str, Op]) -> bool:
    """Are all its inputs made by multiplications, each by its own?"""
    sources = [makers.get(name) for name in op.inputs]
    return len(set(op.inputs)) == len(op.inputs) and all(isinstance(s, Einsum) for s in sources)


def _sparse(graph: Graph, op: Op, part: str, active: float, tensors: dict[str, Tensor]) -> Op:
    """The op on the neurons that are not zero."""
    if isinstance(op, Vector):
        return replace(op, width=ceil(op.width * active))
    assert isinstance(op, Einsum)
    rank = "k" if part == "out" else "n"
    size = ceil(op.ranks[rank] * active)
    weight = graph.tensors[op.inputs[1]]
    n, k = weight.shape
    shape = (n, size) if part == "out" else (size, k)
    name = weight.name + ACTIVE
    tensors[name] = replace(weight, name=name, shape=shape)
    if weight.away:
        axis = neuron_axis(weight, tensors[name])
        tensors[name] = replace(tensors[name], away=replace(weight.away, neurons=axis))
    inputs = (op.inputs[0], name, *op.inputs[2:])
    return replace(op, inputs=inputs, ranks={**op.ranks, rank: size})


def neuron_axis(whole: Tensor, active: Tensor) -> int:
    """Along which a matrix has a neuron: what it has of one lies together."""
    return 0 if active.shape[0] < whole.shape[0] else 1


def _whole(graph: Graph, node: Node, correct: int, tensors: dict[str, Tensor]) -> list[Node]:
    """The op as it was, in one of so many steps; nobody reads what it makes, since what it stands
    for is the same tensor."""
    name = f"{node.op.name}{WHOLE}"
    tensors[name] = replace(graph.tensors[node.op.output], name=name)
    op = replace(node.op, name=name, output=name)  # type: ignore[type-var]
    return [replace(node, op=op, count=node.count / correct)]


def _predictor(
    graph: Graph, op: Op, rank: int, tensors: dict[str, Tensor]
) -> list[Einsum | Vector]:
    """Two small multiplications and a comparison."""
    assert isinstance(op, Einsum)
    rows, like = op.ranks["m"], graph.tensors[op.inputs[1]]
    done: list[Einsum | Vector] = []
    source, width = op.inputs[0], op.ranks["k"]
    for number, size in enumerate((rank, op.ranks["n"])):
        name = f"{op.name}.predictor{number}"
        weight = replace(like, name=f"{name}.weight", shape=(size, width), away=None)
        made = replace(graph.tensors[op.output], name=name, shape=(rows, size))
        tensors |= {weight.name: weight, name: made}
        ranks = {"m": rows, "n": size, "k": width}
        done.append(Einsum(name, (source, weight.name), name, ranks, "mk,nk->mn"))
        source, width = name, size
    name = f"{op.name}.predicted"
    tensors[name] = replace(graph.tensors[op.output], name=name)
    done.append(Vector(name, (source,), name, "relu", rows, width))
    return done
