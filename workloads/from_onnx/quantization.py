"""QuantizeLinear and DequantizeLinear: formats of the tensors between, and work where it remains.

A tensor that is made by a multiplication, attention or function and only ever quantized is written
as codes at once. Codes are read as codes by multiplications of two quantized operands; whoever else
reads them turns them into numbers (`Draft.read`).
"""

from __future__ import annotations

from dataclasses import replace

from workloads.from_onnx.constants import scaled_format
from workloads.from_onnx.draft import Draft
from workloads.from_onnx.exported import OnnxError, OnnxNode
from workloads.from_onnx.layouts import SHOWING
from workloads.from_onnx.multiplications import codes_format, tag_codes
from workloads.from_onnx.number_formats import coded_format, format_of
from workloads.from_onnx.views import View, dense
from workloads.ops import Vector

QUANTIZE = ("QuantizeLinear", "com.microsoft:QuantizeLinear")
_MAKES_CODES = ("einsum", "vector", "attention")


def quantize(draft: Draft, node: OnnxNode) -> None:
    """Codes by a scale that is known."""
    value, output = node.inputs[0], node.outputs[0]
    made = scaled_format(draft.facts, node)
    view = draft.view(value)
    if view.coded and draft.scales.get(view.tensor) == node.inputs[1:3]:  # the same codes again
        draft.views[output] = replace(view, coded=False)
        return
    view = draft.numbers(value)
    if _written_as_codes(draft, node, view):
        draft.retag(view.tensor, made)
        draft.scales[view.tensor] = node.inputs[1:3]
        draft.views[output] = view
        return
    source = draft.read(value)
    assert source is not None
    shape = draft.shape(output)
    rows, width = draft.facts.size(output) // shape[-1], shape[-1]
    name = draft.output(output, made)
    draft.scales[name] = node.inputs[1:3]
    draft.add(Vector(draft.name(node.name), (source,), name, "requantize", rows, width))


def _written_as_codes(draft: Draft, node: OnnxNode, view: View) -> bool:
    """Does an op make the tensor, for nobody but quantizers like this one?"""
    maker = next((n.op for n in draft.nodes if n.op.output == view.tensor), None)
    if maker is None or maker.kind not in _MAKES_CODES:
        return False
    return view.distinct == draft.tensors[view.tensor].elements and _only_quantized(
        draft, node, draft.roots[view.tensor]
    )


def _only_quantized(draft: Draft, node: OnnxNode, value: str) -> bool:
    if value in draft.facts.export.outputs:
        return False
    for reader in draft.readers.get(value, []):
        alike = reader.op in QUANTIZE and reader.inputs[1:] == node.inputs[1:]
        shows = reader.op in SHOWING and _only_quantized(draft, node, reader.outputs[0])
        if not alike and not shows:
            return False
    return True


def dequantize(draft: Draft, node: OnnxNode) -> None:
    """The numbers that codes stand for; the codes of an input get the format that this says."""
    view = draft.view(node.inputs[0])
    tensor = draft.tensors[view.tensor]
    if not tensor.format.scales and tensor.format.kind != "float":
        draft.retag(view.tensor, scaled_format(draft.facts, node))
        draft.scales[view.tensor] = node.inputs[1:3]
    draft.views[node.outputs[0]] = replace(view, coded=True)


def dynamic(draft: Draft, node: OnnxNode) -> None:
    """DynamicQuantizeLinear: a scale and a zero-point of the whole tensor, found first."""
    source = draft.read(node.inputs[0])
    assert source is not None
    made = coded_format("UINT8", "tensor", "FLOAT", True, node.name)
    codes = draft.output(node.outputs[0], made)
    shape = draft.shape(node.outputs[0])
    rows, width = draft.facts.size(node.outputs[0]) // shape[-1], shape[-1]
    draft.add(Vector(draft.name(node.name), (source,), codes, "quantize", rows, width))
    for value in filter(None, node.outputs[1:]):  # a number each, beside the codes
        kind = format_of(draft.facts.type(value), value)
        draft.views[value] = dense(draft.tensor(value, (), kind, "activation"), ())


def on_codes(draft: Draft, node: OnnxNode, function: str, operands: int) -> None:
    """QLinearAdd and its kind: numbers of codes, the function, codes of the result."""
    triples = [node.inputs[3 * i : 3 * i + 3] for i in range(operands)]
    inputs = tuple(_numbers(draft, *triple) for triple in triples)
    scale, zero = node.inputs[3 * operands : 3 * operands + 2]
    made = codes_format(draft, node.outputs[0], scale, zero)
    shape = draft.shape(node.outputs[0])
    rows, width = draft.facts.size(node.outputs[0]) // shape[-1], shape[-1]
    name = draft.output(node.outputs[0], made)
    draft.scales[name] = (scale, zero)
    draft.add(Vector(draft.name(node.name), inputs, name, function, rows, width))


def _numbers(draft: Draft, value: str, scale: str, zero: str) -> str:
    """A tensor of what codes stand for, in single precision."""
    tag_codes(draft, value, scale, zero)
    codes, shape = draft.view(value).tensor, draft.shape(value)
    made = draft.tensor(f"{value}.numbers", shape, format_of("FLOAT", value), "activation")
    width = shape[-1] if shape else 1
    rows = draft.facts.size(value) // width
    draft.add(Vector(draft.name(made), (codes,), made, "dequantize", rows, width))
    return made


def qlinear_add(draft: Draft, node: OnnxNode) -> None:
    """A sum of two."""
    on_codes(draft, node, "add", 2)


def qlinear_mul(draft: Draft, node: OnnxNode) -> None:
    """A product of two."""
    on_codes(draft, node, "mul", 2)


def qlinear_sigmoid(draft: Draft, node: OnnxNode) -> None:
    """Of one."""
    on_codes(draft, node, "sigmoid", 1)


def qlinear_softmax(draft: Draft, node: OnnxNode) -> None:
    """Along the last axis. Raises OnnxError for another."""
    axis = node.attributes.get("axis", -1)
    if axis not in (-1, len(draft.shape(node.inputs[0])) - 1):
        raise OnnxError(f"{draft.facts.export.file}: {node.name}: axis {axis} is not the last")
    on_codes(draft, node, "softmax", 1)
