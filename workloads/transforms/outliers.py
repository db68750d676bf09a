"""INT8 multiplications whose outlier columns are done apart at 16 bits: LLM.int8()'s decomposition.

    out = int8(x without outliers) int8(w)^T + x[:, outliers] w[:, outliers]^T

A column of activations with a number beyond the threshold (6.0 in the paper) is an outlier for all
rows. The INT8 multiplication keeps its size, with zeros in these columns. Beside it: a comparison
of every activation with the threshold, a copy of the outlier columns of activations and of the INT8
weights (one element to a column and row: whole granules of memory), the weights back at 16 bits,
the narrow multiplication, the sum. So it adds rows * outputs * outliers MACs and several kernels,
which small matrices feel and large ones hardly do. The arithmetic is `kernels_ref/outliers.py`;
unlike there the outliers' weights are those read back from INT8, since no second copy is kept.
"""

from __future__ import annotations

from dataclasses import replace
from math import ceil

from kernels_ref.errors import UserError
from workloads.graph import Graph, Node, Op, Tensor
from workloads.ops import Einsum, Experts, Gather, Vector
from workloads.transforms.edit import renewed
from workloads.transforms.edit import share as limited


def outliers(graph: Graph, share: float = 0.001) -> Graph:
    """A `share` of the activations' columns goes through a 16-bit multiplication beside every INT8
    one, of a graph that `quantize(w8a8)` made.

    Source: LLM.int8(), arXiv 2208.07339, sec. 3.2 (mixed-precision decomposition: at most 0.1 % of
    the columns); bitsandbytes for the weights read back.
    Accuracy: an input.
    """
    limited(share, "outliers: share", 1e-6)
    makers = {node.op.output: node.op for node in graph}
    nodes: list[Node] = []
    tensors: dict[str, Tensor] = {}
    found: set[str] = set()
    for node in graph:
        op = node.op
        if not _is_int8(graph, op):
            nodes.append(node)
            continue
        maker = makers.get(op.inputs[0])
        if not isinstance(op, Einsum) or op.spec != "mk,nk->mn" or not isinstance(maker, Vector):
            raise UserError(
                f"outliers: {op.name} is not a matrix times rows that were quantized before it; "
                "quantize others only, by only="
            )
        source, cols = maker.inputs[0], ceil(share * op.ranks["k"])
        made: list[Op] = []
        if source not in found:
            found.add(source)
            made += _columns(graph, source, cols, tensors)
        made += _decomposed(graph, op, source, cols, tensors)
        nodes += [replace(node, op=new) for new in made]
    if not found:
        raise UserError(f"{graph.name} multiplies no INT8 with INT8; quantize(w8a8) goes before")
    held = {name: 0.0 for name, tensor in tensors.items() if tensor.kind == "weight"}
    return renewed(graph, nodes, tensors, copies=held)


def _is_int8(graph: Graph, op: Op) -> bool:
    if not isinstance(op, (Einsum, Experts)):
        return False
    return all(graph.tensors[t].format.element == "int8" for t in op.inputs[:2])


def _columns(graph: Graph, source: str, cols: int, tensors: dict[str, Tensor]) -> list[Op]:
    """Which columns have an outlier, and a copy of them."""
    like = graph.tensors[source]
    rows, width = like.shape
    flags = replace(like, name=f"{source}.outlier_columns", shape=(1, width))
    copied = replace(like, name=f"{source}.outlier_values", shape=(rows, cols))
    tensors |= {flags.name: flags, copied.name: copied}
    return [
        Vector(flags.name, (source,), flags.name, "compare", rows, width),
        Gather(copied.name, (source, flags.name), copied.name, rows * cols, 1),
    ]


def _decomposed(
    graph: Graph, op: Einsum, source: str, cols: int, tensors: dict[str, Tensor]
) -> list[Op]:
    """The INT8 multiplication, the outliers' own with its weights, and the sum."""
    weight, out, half = graph.tensors[op.inputs[1]], graph.tensors[op.output], graph.tensors[source]
    rows, n = op.ranks["m"], op.ranks["n"]
    codes = replace(weight, name=f"{op.name}.outlier_codes", shape=(n, cols))
    wide = replace(codes, name=f"{op.name}.outlier_weights", format=half.format)
    parts = [replace(out, name=f"{op.name}.{part}") for part in ("int8", "outliers")]
    tensors |= {tensor.name: tensor for tensor in (codes, wide, *parts)}
    regular, apart = (part.name for part in parts)
    flags, ranks = f"{source}.outlier_columns", {"m": rows, "n": n, "k": cols}
    return [
        replace(op, name=regular, output=regular),
        Gather(codes.name, (weight.name, flags), codes.name, n * cols, 1),
        Vector(wide.name, (codes.name,), wide.name, "dequantize", n, cols),
        Einsum(apart, (f"{source}.outlier_values", wide.name), apart, ranks, "mk,nk->mn"),
        Vector(op.name, (regular, apart), op.output, "add", rows, n),
    ]
