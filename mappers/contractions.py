"""The contractions of a graph's ops: an einsum is one, attention has two, its QK and PV; of a layer
of experts it is that of its largest load.

A name is the op's (`q_proj`), or `attention.qk` and `attention.pv`. Not here: what is fused into an
op, and the softmax between the two of attention.
"""

from __future__ import annotations

from accel_models.engines.pe import Datapath
from accel_models.explain import nearest
from accel_models.path import Path
from accel_models.reader import DesignError
from kernels_ref.formats import Format, get_format
from mappers.problem import Contraction
from mappers.sparse_weights import skipping, sparse_weights
from workloads.graph import Graph, GraphError, Tensor
from workloads.ops import Attention, Einsum, Experts

PARTS = ("qk", "pv")


def per_element(tensor: Tensor) -> float:
    """Bytes of one element, its share of the scales included."""
    return tensor.bytes / tensor.elements


def contraction_names(graph: Graph) -> list[str]:
    """Everything in the graph that `contraction` takes."""
    names: list[str] = []
    for node in graph:
        if isinstance(node.op, (Einsum, Experts)):
            names.append(node.op.name)
        elif isinstance(node.op, Attention):
            names += [f"{node.op.name}.{part}" for part in PARTS]
    return names


def contraction(
    graph: Graph, name: str, path: Path, vector_macs: bool = False
) -> tuple[Contraction, Path]:
    """The contraction of this name and the path that runs it: with `vector_macs`, the vector
    engine where no PE takes the formats.

    Raises GraphError for a name that is not one, DesignError where the path cannot do it.
    """
    activation, weight, _ = operand_tensors(graph, name)
    path, pair = datapath_on(path, weight.format, activation.format, vector_macs)
    op = _op(graph, name)
    if isinstance(op, Experts):
        op = max(op.parts(), key=lambda part: part.macs)
    if isinstance(op, Einsum):
        problem = of_einsum(op, graph, pair)
        return skipping(problem, sparse_weights(op, graph), path), path
    return of_attention(op, graph, pair, name.rpartition(".")[2]), path


def operand_tensors(graph: Graph, name: str) -> tuple[Tensor, Tensor, Tensor]:
    """Activation, weight and output of the contraction of this name. Raises GraphError."""
    op = _op(graph, name)
    inputs, out = [graph.tensors[t] for t in op.inputs], graph.tensors[op.output]
    if isinstance(op, (Einsum, Experts)):
        return inputs[0], inputs[1], out
    q, k, v = inputs[:3]
    return (q, k, out) if name.endswith(".qk") else (out, v, out)


def _op(graph: Graph, name: str) -> Einsum | Experts | Attention:
    known = contraction_names(graph)
    if name not in known:
        raise GraphError(_unknown(graph, name, known))
    whole, _, part = name.rpartition(".")
    op = graph.node(whole if part in PARTS else name).op
    assert isinstance(op, (Einsum, Experts, Attention))
    return op


def _unknown(graph: Graph, name: str, known: list[str]) -> str:
    """What is wrong with a name: no such op, attention as a whole, or an op without MACs."""
    kinds = {node.op.name: node.op.kind for node in graph}
    if kinds.get(name) == "attention":
        return f"{graph.name}: {name} is two multiplications: {name}.qk and {name}.pv"
    if name in kinds:
        return (
            f"{graph.name}: {name} is a {kinds[name]} op, which has no loops to map; "
            f"ops with some: {', '.join(known)}"
        )
    return f"{graph.name}: no op '{name}'; {nearest(name, known)}"


def datapath_on(
    path: Path, weight: Format, activation: Format, vector_macs: bool
) -> tuple[Path, Datapath]:
    """The engine's pair; where no PE takes these formats, perhaps the vector engine's.

    Raises DesignError if none does.
    """
    try:
        return path, path.datapath(weight, activation)
    except DesignError:
        if not vector_macs:
            raise
        vector = path.on_vector_engine()
        return vector, vector.datapath(weight, activation)


def of_einsum(op: Einsum, graph: Graph, pair: Datapath) -> Contraction:
    """An einsum alone, its bias included."""
    a, b, out = (graph.tensors[t] for t in (*op.inputs[:2], op.output))
    return Contraction(
        op.roles(),
        pair,
        per_element(a),
        per_element(b),
        per_element(out),
        get_format(pair.pair.accumulate).bits / 8,
        dict(op.vector_ops),
        float(sum(graph.tensors[t].bytes for t in op.inputs[2:])),
        shared_weight=b.kind in ("weight", "table"),
        weight=b.format,
        activation=a.format,
    )


def of_attention(op: Attention, graph: Graph, pair: Datapath, part: str) -> Contraction:
    """Scores from queries and keys (qk), or outputs from probabilities and values (pv): the whole
    square, as unfused attention computes it. Queries that share a key are rows of one matrix."""
    q, k, v, out = (graph.tensors[t] for t in (*op.operands, op.output))
    left, right = (q, k) if part == "qk" else (out, v)
    n, length = (op.kv_len, op.head_dim) if part == "qk" else (op.v_head_dim, op.kv_len)
    return Contraction(
        {"b": op.batch * op.kv_heads, "m": op.group * op.q_len, "n": n, "k": length},
        pair,
        per_element(left),
        per_element(right),
        per_element(out),
        get_format(pair.pair.accumulate).bits / 8,
        shared_weight=False,
        weight_run="k" if part == "qk" else "n",
    )
