"""Matrix multiplications of ONNX as einsums: MatMul and Gemm in all their forms.

A constant matrix is a weight [out, in]; an addition of a constant row that nobody else sees is its
bias. Where only one operand is of codes, it is multiplied as codes if it is the weight (the engine
dequantizes), else turned into numbers first.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import prod
from string import ascii_lowercase

from kernels_ref.formats import Format
from workloads.from_onnx.constants import is_coded, weight
from workloads.from_onnx.draft import Draft
from workloads.from_onnx.exported import OnnxError, OnnxNode, Shape
from workloads.from_onnx.number_formats import coded_format, grouped_format
from workloads.graph import GraphError
from workloads.ops import Einsum, Vector

ADDITIONS = ("Add",)
_SPEC = re.compile(r"([A-Za-z]+),([A-Za-z]+)->([A-Za-z]+)")


@dataclass(frozen=True)
class Side:
    """An operand: its value, its shape [..., rows, columns], and the tensor once it is known."""

    value: str
    shape: Shape


def matmul(draft: Draft, node: OnnxNode) -> None:
    """MatMul, and FusedMatMul with transposed operands."""
    left = _side(draft, node.inputs[0], node.attributes.get("transA", 0), first=True)
    right = _side(draft, node.inputs[1], node.attributes.get("transB", 0), first=False)
    if node.attributes.get("transBatchA", 0) or node.attributes.get("transBatchB", 0):
        raise OnnxError(f"{draft.facts.export.file}: {node.name}: batches transposed are not read")
    multiply(draft, node, left, right)
    constant = draft.constant(left.value) or draft.constant(right.value)
    if node.attributes.get("alpha", 1.0) != 1.0 and not constant:  # else in the weight
        _scaled(draft, node)


def _scaled(draft: Draft, node: OnnxNode) -> None:
    """The product times a number."""
    value, shape = node.outputs[0], draft.shape(node.outputs[0])
    product = draft.view(value).tensor
    name = draft.name(f"{node.name}.scale")
    rows, width = prod(shape[:-1]), shape[-1]
    draft.add(Vector(name, (product,), draft.output(value), "mul", rows, width))


def einsum(draft: Draft, node: OnnxNode) -> None:
    """Einsum of two operands. Raises OnnxError for others, and for ranks of one operand only."""
    spec = "".join(str(node.attributes["equation"]).split())
    where = f"{draft.facts.export.file}: {node.name}: '{spec}'"
    match = _SPEC.fullmatch(spec)
    if not match:
        raise OnnxError(f"{where} is no product of two operands that names every rank")
    parts = [(match[1], node.inputs[0]), (match[2], node.inputs[1])]
    if draft.constant(parts[0][1]):
        parts.reverse()
    codes = all(is_coded(draft, value) for _, value in parts)
    operands = tuple(_read(draft, value, codes) for _, value in parts)
    sizes = {
        rank: size
        for letters, value in parts
        for rank, size in zip(letters, draft.shape(value), strict=True)
    }
    name, output = draft.name(node.name), draft.output(node.outputs[0])
    op = Einsum(name, operands, output, sizes, f"{parts[0][0]},{parts[1][0]}->{match[3]}")
    try:
        op.roles()
    except GraphError as problem:
        raise OnnxError(f"{where}: {problem}") from None
    draft.add(op)


def _side(draft: Draft, value: str, transposed: int, first: bool) -> Side:
    shape = draft.shape(value)
    if len(shape) == 1:
        shape = (1, *shape) if first else (*shape, 1)
    return Side(value, (*shape[:-2], shape[-1], shape[-2]) if transposed else shape)


def multiply(
    draft: Draft,
    node: OnnxNode,
    left: Side,
    right: Side,
    bias: str = "",
    made: Format | None = None,
) -> None:
    """One einsum; `made` is the output's format where that is of codes."""
    one_matrix = prod(right.shape[:-2]) == 1
    if draft.constant(right.value) and one_matrix and not draft.constant(left.value):
        k, n = right.shape[-2:]
        activation = _read(draft, left.value, is_coded(draft, right.value))
        names = (activation, weight(draft, right.value, (n, k)))
        sizes = {"m": prod(left.shape[:-1]), "n": n, "k": k}
        _emit(draft, node, names, ("mk,nk->mn", sizes), (bias, made))
    elif draft.constant(left.value) and prod(left.shape[:-2]) == 1:
        m, k = left.shape[-2:]
        activation = _read(draft, right.value, is_coded(draft, left.value))
        names = (activation, weight(draft, left.value, (m, k)))
        sizes = {"m": prod(right.shape[:-2]) * right.shape[-1], "n": m, "k": k}
        _emit(draft, node, names, ("mk,nk->mn", sizes), (bias, made))
    else:
        _batched(draft, node, left, right, made)


def _batched(draft: Draft, node: OnnxNode, left: Side, right: Side, made: Format | None) -> None:
    """Both operands of several matrices each; where one has fewer, its matrices are shared."""
    both = is_coded(draft, left.value) and is_coded(draft, right.value)
    names = tuple(_read(draft, side.value, both) for side in (left, right))
    more = max(len(left.shape), len(right.shape)) - 2
    own = [(1,) * (more + 2 - len(s.shape)) + s.shape[:-2] for s in (left, right)]
    sizes = {"m": left.shape[-2], "n": right.shape[-1], "k": left.shape[-1]}
    letters = {"left": "", "right": "", "out": ""}
    free = iter(c for c in ascii_lowercase if c not in "mnk")
    for a, b in zip(*own, strict=True):
        if max(a, b) == 1:
            continue
        letter = next(free)
        sizes[letter] = max(a, b)
        letters["left"] += letter if a > 1 else ""
        letters["right"] += letter if b > 1 else ""
        letters["out"] += letter
    spec = f"{letters['left']}mk,{letters['right']}kn->{letters['out']}mn"
    _emit(draft, node, names, (spec, sizes), ("", made))


def _read(draft: Draft, value: str, as_codes: bool) -> str:
    """The tensor that the engine reads."""
    if draft.constant(value):
        return weight(draft, value, draft.shape(value))
    return draft.view(value).tensor if as_codes else draft.numbers(value).tensor


def _emit(
    draft: Draft,
    node: OnnxNode,
    operands: tuple[str, ...],
    what: tuple[str, dict[str, int]],
    more: tuple[str, Format | None],
) -> None:
    spec, sizes = what
    bias, made = more
    output = node.outputs[0]
    if not bias and made is None:
        bias, output = added_row(draft, output)
    if bias:
        operands = (*operands, weight(draft, bias, draft.shape(bias)))
    name = draft.name(node.name)
    draft.add(Einsum(name, operands, draft.output(output, made), sizes, spec))


def added_row(draft: Draft, output: str) -> tuple[str, str]:
    """(bias, output) where the one reader adds a constant row, and takes that node; else none."""
    reader = draft.only_reader(output)
    if reader is None or reader.op not in ADDITIONS:
        return "", output
    rows = [v for v in reader.inputs if draft.constant(v)]
    width = draft.shape(output)[-1]
    if len(rows) != 1 or draft.facts.size(rows[0]) != width or draft.shape(rows[0])[-1] != width:
        return "", output
    if draft.shape(reader.outputs[0]) != draft.shape(output) or is_coded(draft, rows[0]):
        return "", output
    draft.done.add(reader.outputs[0])
    return rows[0], reader.outputs[0]


def gemm(draft: Draft, node: OnnxNode) -> None:
    """A' B' + C; a C of several rows, or one that is no constant, is added after."""
    left = _side(draft, node.inputs[0], node.attributes.get("transA", 0), first=True)
    right = _side(draft, node.inputs[1], node.attributes.get("transB", 0), first=False)
    added, width = node.input(2), right.shape[-1]
    is_row = added and draft.constant(added) and draft.facts.size(added) in (1, width)
    weights = draft.constant(left.value) or draft.constant(right.value)
    if is_row and weights and draft.facts.size(added) == width:
        multiply(draft, node, left, right, bias=added)
        return
    if not added or (is_row and draft.facts.scalar(added) == 0):
        multiply(draft, node, left, right)
        return
    output = node.outputs[0]
    multiply(draft, node, left, right)
    product, row = draft.view(output).tensor, draft.read(added)
    rows, width = draft.shape(output)
    inputs = (product, row) if row else (product,)
    name = draft.name(f"{node.name}.add")
    draft.add(Vector(name, inputs, draft.output(output), "add", rows, width))


def matmul_integer(draft: Draft, node: OnnxNode) -> None:
    """Codes by codes to 32-bit sums; the scales are other nodes'."""
    left = _side(draft, node.inputs[0], 0, first=True)
    right = _side(draft, node.inputs[1], 0, first=False)
    multiply(draft, node, left, right)


def qlinear_matmul(draft: Draft, node: OnnxNode) -> None:
    """Codes by codes to codes, each with its scale among the inputs."""
    a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero = node.inputs
    tag_codes(draft, a, a_scale, a_zero)
    tag_codes(draft, b, b_scale, b_zero)
    made = codes_format(draft, node.outputs[0], y_scale, y_zero)
    left, right = _side(draft, a, 0, first=True), _side(draft, b, 0, first=False)
    multiply(draft, node, left, right, made=made)


def qgemm(draft: Draft, node: OnnxNode) -> None:
    """com.microsoft:QGemm: codes by codes; to codes where a scale of the output is given."""
    a, a_scale, a_zero, b, b_scale, b_zero = node.inputs[:6]
    tag_codes(draft, a, a_scale, a_zero)
    tag_codes(draft, b, b_scale, b_zero)
    made = None
    if node.input(7):
        made = codes_format(draft, node.outputs[0], node.inputs[7], node.input(8))
    left = _side(draft, a, node.attributes.get("transA", 0), first=True)
    right = _side(draft, b, node.attributes.get("transB", 0), first=False)
    multiply(draft, node, left, right, bias=node.input(6), made=made)


def codes_format(draft: Draft, value: str, scale: str, zero: str) -> Format:
    """Of codes whose scale and zero-point are given beside them."""
    from workloads.from_onnx.constants import has_zero

    kind = draft.facts.type(value)
    per = "tensor" if draft.facts.size(scale) == 1 else "channel"
    with_zero = has_zero(draft.facts, zero, kind)
    return coded_format(kind, per, draft.facts.type(scale), with_zero, value)


def tag_codes(draft: Draft, value: str, scale: str, zero: str) -> None:
    """Give a constant, or an input of the graph, the format that its reader says it has."""
    if draft.constant(value):
        shape = draft.shape(value)
        name = weight(draft, value, (*shape[:-2], *shape[:-3:-1]) if len(shape) == 2 else shape)
    else:
        name = draft.view(value).tensor
    if not draft.tensors[name].format.scales:
        draft.retag(name, codes_format(draft, value, scale, zero))


def matmul_nbits(draft: Draft, node: OnnxNode) -> None:
    """Packed weights of a few bits in groups along the reduction (onnxruntime, MatMulNBits)."""
    facts, attributes = draft.facts, node.attributes
    n, k, bits = (attributes[key] for key in ("N", "K", "bits"))
    packed, scales, zeros = node.inputs[1], node.inputs[2], node.input(3)
    made = grouped_format(
        bits, attributes["block_size"], facts.type(scales), bool(zeros), node.name
    )
    if packed not in draft.views:
        name = draft.tensor(packed, (n, k), made, "weight")
        from workloads.from_onnx.views import dense

        draft.views[packed] = dense(name, (n, k))
    operands = (draft.numbers(node.inputs[0]).tensor, draft.views[packed].tensor)
    sizes = {"m": prod(draft.shape(node.inputs[0])[:-1]), "n": n, "k": k}
    _emit(draft, node, operands, ("mk,nk->mn", sizes), (node.input(5), None))
