"""An ONNX file to a Graph: `from_onnx("model.onnx?batch=1,seq=128")`.

    exported   the file, its sizes fixed          facts   shapes, and what is constant
    draft      the graph while it is written      rules   what each type of node is

A node without a rule, or a tensor without a shape, is refused, all of them at once. Views are free,
real copies are `move` or `copy`; what runtimes fold when they load a model (constants, batch norms
aside) is folded. Identical blocks that follow each other stand in the graph once, with a count.
Not modeled: control flow; sparse tensors; what a runtime fuses into kernels of its own (the mapper
decides that here).
"""

from __future__ import annotations

from workloads.from_onnx.compositions import with_compositions
from workloads.from_onnx.contrib import SHAPES
from workloads.from_onnx.draft import Draft
from workloads.from_onnx.exported import OnnxError, read_export
from workloads.from_onnx.facts import settle
from workloads.from_onnx.repeats import folded
from workloads.from_onnx.rules import RULES
from workloads.graph import AS_IT_IS, Graph, check

__all__ = ["OnnxError", "from_onnx"]


def from_onnx(spec: str) -> Graph:
    """The graph of `FILE` or `FILE?NAME=SIZE,...`. Raises OnnxError; UserError without the package
    that reads such files."""
    export = read_export(spec)
    facts = with_compositions(settle(export, RULES, SHAPES))
    draft = Draft(facts)
    for node in facts.nodes:
        if node.outputs[0] in draft.done:
            continue
        if facts.size(node.outputs[0]):  # of a tensor without elements nothing is done
            RULES[node.op](draft, node)
    for value in export.outputs:
        draft.deliver(value)
    if not draft.nodes:
        raise OnnxError(f"{export.file}: nothing is left to run; every node is constant or a view")
    used = {t for node in draft.nodes for t in (*node.op.inputs, node.op.output)}
    graph = Graph(
        name=export.name,
        phase=AS_IT_IS,
        batch=1,
        tokens=1,
        nodes=tuple(draft.nodes),
        tensors={name: tensor for name, tensor in draft.tensors.items() if name in used},
        context=1,
    )
    return folded(check(graph))
