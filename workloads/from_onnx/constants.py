"""Weights behind constants: as they are stored, with the scales of DequantizeLinear in the format.

Between a stored tensor and a multiplication may stand what runtimes fold when they load a model:
Transpose, Reshape and the like, and DequantizeLinear (ONNX operator specification), whose axis and
block size say what shares a scale.
"""

from __future__ import annotations

from dataclasses import dataclass

from kernels_ref.formats import Format
from workloads.from_onnx.draft import Draft
from workloads.from_onnx.exported import OnnxNode, Shape
from workloads.from_onnx.facts import Facts
from workloads.from_onnx.number_formats import coded_format, format_of
from workloads.from_onnx.views import dense

SAME_ELEMENTS = (
    "Transpose", "Reshape", "Identity", "Squeeze", "Unsqueeze", "Flatten",
)  # fmt: skip
DEQUANTIZE = ("DequantizeLinear", "com.microsoft:DequantizeLinear")


@dataclass(frozen=True)
class Stored:
    """The stored value behind a constant, and whether that is codes with scales."""

    value: str
    format: Format
    coded: bool


def stored(facts: Facts, value: str) -> Stored:
    """What a constant is stored as."""
    base = _base(facts, value)
    maker = facts.makers.get(base)
    if maker is None or maker.op not in DEQUANTIZE:
        return Stored(base, format_of(facts.type(base), base), False)
    return Stored(_base(facts, maker.inputs[0]), scaled_format(facts, maker), True)


def _base(facts: Facts, value: str) -> str:
    maker = facts.makers.get(value)
    while maker is not None and maker.op in SAME_ELEMENTS:
        value = maker.inputs[0]
        maker = facts.makers.get(value)
    return value


def scaled_format(facts: Facts, node: OnnxNode) -> Format:
    """The format of a quantized tensor, from its QuantizeLinear or DequantizeLinear."""
    quantizes = node.op.endswith("QuantizeLinear") and not node.op.endswith("DequantizeLinear")
    codes = node.outputs[0] if quantizes else node.inputs[0]
    scale, zero = node.inputs[1], node.input(2)
    kind = facts.type(codes)
    block = node.attributes.get("block_size", 0)
    per: int | str = "tensor" if facts.size(scale) == 1 else "channel"
    if kind == "INT32":  # a bias: its scale is the product of the operands'
        return format_of(kind, codes)
    return coded_format(
        kind, block or per, facts.type(scale), has_zero(facts, zero, kind), node.name
    )


def has_zero(facts: Facts, zero: str, kind: str) -> bool:
    """Is there a zero-point that is not 0 everywhere? Unsigned codes have one whatever it is."""
    if kind.startswith("UINT"):
        return True
    values = facts.values.get(zero)
    return bool(zero) and (values is None or bool(values.astype("float32").any()))


def weight(draft: Draft, value: str, shape: Shape, kind: str = "weight") -> str:
    """The tensor of a constant, in the shape [out, in]; one that is known already keeps its own."""
    found = stored(draft.facts, value)
    if found.value in draft.views:
        return draft.views[found.value].tensor
    name = draft.tensor(found.value, shape, found.format, kind)
    draft.views[found.value] = dense(name, shape, found.coded)
    return name


def is_coded(draft: Draft, value: str) -> bool:
    """Does the value stand for codes of a quantized tensor?"""
    if draft.constant(value):
        return stored(draft.facts, value).coded
    return draft.view(value).coded
