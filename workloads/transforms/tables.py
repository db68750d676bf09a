"""Token and position tables in fewer bits."""

from __future__ import annotations

from dataclasses import replace
from fnmatch import fnmatch

from kernels_ref.errors import UserError
from kernels_ref.format_names import parse_formats
from workloads.graph import Graph, Node, Tensor
from workloads.ops import Attention, Gather, Vector
from workloads.transforms.edit import renewed


def quantize_tables(
    graph: Graph, formats: str = "int8", only: str = "*", head: str = "no"
) -> Graph:
    """Tables of tokens and positions in the weights' part of `formats`, with scales along a row; a
    row that is picked is converted back. A table that doubles as lm_head is multiplied as it is
    stored; with `head`=yes an lm_head of its own is stored so too. `only`: tables of such a name.

    Source: post-training quantization of embedding tables, arXiv 1911.02079 (row-wise scales).
    Accuracy: an input.
    """
    if head not in ("yes", "no"):
        raise UserError(f"quantize_tables: head is '{head}'; write yes or no")
    number_format, _ = parse_formats(formats)
    if number_format.bits >= 16:
        raise UserError(f"quantize_tables: {formats} has no fewer bits than a table; write int8")
    known = _tables(graph)
    names = [name for name in known if fnmatch(name.removesuffix(".weight"), only)]
    if not names:
        there = ", ".join(known) or "none"
        raise UserError(f"{graph.name} has no table named '{only}'; there are {there}")
    if head == "yes" and "lm_head.weight" in graph.tensors:
        names.append("lm_head.weight")
    chosen = {name: replace(graph.tensors[name], format=number_format) for name in names}
    if any(graph.tensors[name].format.bits < 16 for name in chosen):
        raise UserError(f"{graph.name}: its tables are quantized already")
    nodes: list[Node] = []
    tensors: dict[str, Tensor] = dict(chosen)
    for node in graph:
        op = node.op
        if not isinstance(op, Gather) or op.inputs[0] not in chosen:
            nodes.append(node)
            continue
        rows, codes = graph.tensors[op.output], f"{op.name}.codes"
        tensors[codes] = replace(rows, name=codes, format=number_format)
        nodes.append(replace(node, op=replace(op, name=codes, output=codes)))
        wide = Vector(op.name, (codes,), op.output, "dequantize", op.rows, op.width)
        nodes.append(replace(node, op=wide))
    return renewed(graph, nodes, tensors)


def _tables(graph: Graph) -> list[str]:
    """Tables but those of biases of scores, which are small and read by attention."""
    readers = graph.consumers()
    biases = {
        node.op.inputs[0]
        for node in graph
        if isinstance(node.op, Gather)
        and any(isinstance(op, Attention) for op in readers.get(node.op.output, ()))
    }
    return [n for n, t in graph.tensors.items() if t.kind == "table" and n not in biases]
