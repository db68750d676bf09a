"""Convolutions and pools of ONNX: padding by numbers or by rule, over any number of axes.

auto_pad SAME pads so that positions = ceil(size / stride) (ONNX operator specification, Conv).
"""

from __future__ import annotations

from math import prod

from kernels_ref.formats import Format
from workloads.convolution import Sliding, convolution
from workloads.from_onnx.constants import is_coded, weight
from workloads.from_onnx.draft import Draft
from workloads.from_onnx.exported import OnnxError, OnnxNode, Shape
from workloads.from_onnx.multiplications import codes_format, tag_codes
from workloads.graph import GraphError
from workloads.ops import Vector


def conv(draft: Draft, node: OnnxNode) -> None:
    """Conv; an input of codes by a weight of codes stays codes."""
    image, kernel = node.inputs[:2]
    both = draft.constant(kernel) and is_coded(draft, kernel) and is_coded(draft, image)
    source = draft.view(image).tensor if both else draft.numbers(image).tensor
    _emit(draft, node, (image, kernel, node.input(2)), source, None)


def conv_integer(draft: Draft, node: OnnxNode) -> None:
    """Codes by codes to 32-bit sums."""
    image, kernel = node.inputs[:2]
    _emit(draft, node, (image, kernel, ""), draft.view(image).tensor, None)


def qlinear_conv(draft: Draft, node: OnnxNode) -> None:
    """Codes by codes to codes, each with its scale among the inputs."""
    x, x_scale, x_zero, w, w_scale, w_zero, y_scale, y_zero = node.inputs[:8]
    tag_codes(draft, x, x_scale, x_zero)
    tag_codes(draft, w, w_scale, w_zero)
    made = codes_format(draft, node.outputs[0], y_scale, y_zero)
    _emit(draft, node, (x, w, node.input(8)), draft.view(x).tensor, made)


def _emit(
    draft: Draft,
    node: OnnxNode,
    values: tuple[str, str, str],
    source: str,
    made: Format | None,
) -> None:
    image, kernel, bias = values
    shapes = draft.shape(image), draft.shape(kernel)
    if not draft.constant(kernel):
        filters = draft.numbers(kernel).tensor
    else:
        filters = weight(draft, kernel, shapes[1])
    operands = (source, filters)
    if bias:
        operands = (*operands, weight(draft, bias, draft.shape(bias)))  # type: ignore[assignment]
    name = draft.name(node.name)
    output = draft.output(node.outputs[0], made)
    try:
        op = convolution(name, operands, output, shapes, _sliding(node, *shapes))
    except GraphError as problem:
        raise OnnxError(f"{draft.facts.export.file}: {node.name}: {problem}") from None
    draft.add(op)


def _sliding(node: OnnxNode, image: Shape, kernel: Shape) -> Sliding:
    ones, given = (1,) * (len(image) - 2), node.attributes
    stride, dilation = tuple(given.get("strides", ones)), tuple(given.get("dilations", ones))
    pads, rule = tuple(given.get("pads", (0,) * (2 * len(ones)))), given.get("auto_pad", "NOTSET")
    padding = tuple(a + b for a, b in zip(pads[: len(ones)], pads[len(ones) :], strict=True))
    if rule.startswith("SAME"):
        padding = tuple(
            max(0, (-(-n // s) - 1) * s + d * (k - 1) + 1 - n)
            for n, k, s, d in zip(image[2:], kernel[2:], stride, dilation, strict=True)
        )
    return Sliding(stride, dilation, padding, given.get("group", 1))


def pool(draft: Draft, node: OnnxNode) -> None:
    """Max and average over a window, or over everything (Global...)."""
    view = draft.view(node.inputs[0])
    coded = view.coded and node.op == "MaxPool"  # the largest code is that of the largest number
    source = view.tensor if coded else draft.read(node.inputs[0])
    assert source is not None
    taps = prod(node.attributes.get("kernel_shape", draft.shape(node.inputs[0])[2:]))
    function = "max_pool" if node.op.endswith("MaxPool") else "avg_pool"
    made = draft.tensors[source].format if coded else None
    output = draft.output(node.outputs[0], made, coded)
    if coded:
        draft.scales[output] = draft.scales.get(source, ())
    width = draft.shape(node.outputs[0])[-1]
    rows = draft.facts.size(node.outputs[0]) // width
    draft.add(Vector(draft.name(node.name), (source,), output, function, rows, width, taps))
