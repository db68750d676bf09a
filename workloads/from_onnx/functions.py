"""Elementwise and row-wise functions of ONNX, by the function of `workloads.ops.vector` each is."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from workloads.from_onnx.draft import Draft
from workloads.from_onnx.exported import OnnxError, OnnxNode
from workloads.from_onnx.views import dense
from workloads.ops import Vector

CONTRIB = "com.microsoft:"

# One output element for each, inputs broadcast. What moves or decides is a comparison; what is one
# instruction of the special-function unit is in the class of exp or rsqrt.
ELEMENTWISE: dict[str, str] = {
    "Add": "add", "Sub": "add", "Sum": "add", "Mean": "add", "Mul": "mul", "Neg": "mul",
    "Div": "div", "Reciprocal": "reciprocal", "Sqrt": "sqrt", "Exp": "exp", "Log": "log",
    "Erf": "erf", "Sin": "sine", "Cos": "sine", "Tanh": "tanh", "Sigmoid": "sigmoid",
    "Softplus": "softplus", "Relu": "relu", "LeakyRelu": "leaky_relu", "PRelu": "leaky_relu",
    "Elu": "elu", "Selu": "elu", "Celu": "elu", "HardSigmoid": "hardsigmoid",
    "HardSwish": "hardswish", "Gelu": "gelu", "Swish": "silu", "Clip": "clip",
    "Abs": "compare", "Sign": "compare", "Min": "compare", "Max": "compare", "Where": "compare",
    "Equal": "compare", "Less": "compare", "Greater": "compare", "LessOrEqual": "compare",
    "GreaterOrEqual": "compare", "And": "compare", "Or": "compare", "Xor": "compare",
    "Not": "compare", "IsNaN": "compare", "IsInf": "compare",
    "Floor": "convert", "Ceil": "convert", "Round": "convert",
    f"{CONTRIB}Gelu": "gelu", f"{CONTRIB}FastGelu": "gelu", f"{CONTRIB}QuickGelu": "quick_gelu",
    f"{CONTRIB}BiasGelu": "gelu",
}  # fmt: skip

REDUCTIONS: dict[str, str] = {
    "ReduceSum": "reduce_sum", "ReduceMean": "reduce_mean", "ReduceMax": "reduce_max",
    "ReduceMin": "reduce_max", "ReduceProd": "reduce_sum", "ReduceL1": "reduce_sum",
    "ReduceSumSquare": "reduce_squares", "ReduceL2": "reduce_squares", "ArgMax": "reduce_max",
    "ArgMin": "reduce_max",
}  # fmt: skip
_WITH_BIAS = (f"{CONTRIB}FastGelu", f"{CONTRIB}BiasGelu")


def emit(draft: Draft, node: OnnxNode, function: str, inputs: Sequence[str], taps: int = 1) -> None:
    """The function over the first output, row by row of its last axis."""
    shape = draft.shape(node.outputs[0])
    width = shape[-1] if shape else 1
    output = draft.output(node.outputs[0])
    rows = prod(shape) // width
    draft.add(Vector(draft.name(node.name), tuple(inputs), output, function, rows, width, taps))


def elementwise(draft: Draft, node: OnnxNode) -> None:
    """A function of ELEMENTWISE. A biased GELU is an addition and the function."""
    if node.op in _WITH_BIAS and node.input(1):
        _biased(draft, node)
        return
    function = ELEMENTWISE[node.op]
    more = len([v for v in node.inputs if v]) - 1 if node.op in ("Sum", "Mean") else 1
    emit(draft, node, function, draft.reads(node), taps=max(1, more))


def _biased(draft: Draft, node: OnnxNode) -> None:
    value, shape = node.outputs[0], draft.shape(node.outputs[0])
    output = draft.output(value)
    rows, width = prod(shape[:-1]), shape[-1]
    draft.add(Vector(draft.name(f"{node.name}.add"), draft.reads(node), output, "add", rows, width))
    second = draft.output(value)
    draft.add(Vector(draft.name(node.name), (output,), second, "gelu", rows, width))


def power(draft: Draft, node: OnnxNode) -> None:
    """x^y: products where y is a small whole number, a root for a half, else exp(y log x)."""
    exponent = draft.facts.scalar(node.inputs[1])
    if exponent in (2.0, 3.0, 4.0):
        emit(draft, node, "mul", draft.reads(node), taps={2.0: 1, 3.0: 2, 4.0: 2}[exponent])
    else:
        emit(draft, node, "sqrt" if exponent == 0.5 else "power", draft.reads(node))


def cast(draft: Draft, node: OnnxNode) -> None:
    """To another type; to the same one, nothing."""
    source, output = node.inputs[0], node.outputs[0]
    if draft.facts.type(source) == draft.facts.type(output):
        draft.views[output] = draft.view(source)
    else:
        emit(draft, node, "convert", draft.reads(node))


def softmax(draft: Draft, node: OnnxNode) -> None:
    """Along an axis; before opset 13 along all from it."""
    shape = draft.shape(node.inputs[0])
    old = draft.facts.export.opsets.get("", 1) < 13
    axis = node.attributes.get("axis", 1 if old else -1) % len(shape)
    width = prod(shape[axis:]) if old else shape[axis]
    _rows(draft, node, "log_softmax" if node.op == "LogSoftmax" else "softmax", width)


def norm(draft: Draft, node: OnnxNode) -> None:
    """LayerNormalization and its kind: whole rows from an axis on."""
    shape = draft.shape(node.inputs[0])
    width = prod(shape[node.attributes.get("axis", -1) % len(shape) :])
    _rows(draft, node, "layernorm" if node.op == "LayerNormalization" else "rmsnorm", width)


def group_norm(draft: Draft, node: OnnxNode) -> None:
    """GroupNormalization, InstanceNormalization: a row is a group of channels with its area."""
    shape = draft.shape(node.inputs[0])
    groups = node.attributes.get("num_groups", shape[1])
    _rows(draft, node, "layernorm", prod(shape[1:]) // groups)


def lp_norm(draft: Draft, node: OnnxNode) -> None:
    """x / |x| along an axis."""
    shape = draft.shape(node.inputs[0])
    _rows(draft, node, "l2norm", shape[node.attributes.get("axis", -1) % len(shape)])


def batch_norm(draft: Draft, node: OnnxNode) -> None:
    """With statistics that are known: a scale and a shift for each channel."""
    emit(draft, node, "scale_shift", draft.reads(node))


def skip_norm(draft: Draft, node: OnnxNode) -> None:
    """input + skip [+ bias], normalized; the sum is the last output."""
    plain = "Simplified" in node.op
    x, skip, gamma = node.inputs[:3]
    beta, bias = ("", node.input(3)) if plain else (node.input(3), node.input(4))
    total = node.output(3) or f"{node.outputs[0]}.sum"
    shape = draft.shape(node.outputs[0])
    draft.facts.known[total] = draft.facts.known[node.outputs[0]]
    parts = [draft.read(v) for v in (x, skip, bias) if v]
    inputs = tuple(dict.fromkeys(p for p in parts if p))
    rows, width = prod(shape[:-1]), shape[-1]
    name = draft.name(f"{node.name}.add")
    draft.add(Vector(name, inputs, draft.output(total), "add", rows, width, len(parts) - 1))
    stored = [draft.read(v) for v in (total, gamma, beta) if v]
    function = "rmsnorm" if plain else "layernorm"
    output = draft.output(node.outputs[0])
    op = Vector(draft.name(node.name), tuple(s for s in stored if s), output, function, rows, width)
    draft.add(op)


def _rows(draft: Draft, node: OnnxNode, function: str, width: int) -> None:
    inputs, output = draft.reads(node), draft.output(node.outputs[0])
    rows = draft.facts.size(node.outputs[0]) // width
    draft.add(Vector(draft.name(node.name), inputs, output, function, rows, width))


def reduction(draft: Draft, node: OnnxNode) -> None:
    """One output for all elements of some axes; the axes are a constant, perhaps an input."""
    source = draft.read(node.inputs[0])
    assert source is not None
    output, size = draft.output(node.outputs[0]), draft.facts.size(node.outputs[0])
    taps, name = draft.facts.size(node.inputs[0]) // size, draft.name(node.name)
    draft.add(Vector(name, (source,), output, REDUCTIONS[node.op], size, 1, taps))


def top_k(draft: Draft, node: OnnxNode) -> None:
    """A pass over the row for each that is picked; values and indices are of one size."""
    shape = draft.shape(node.inputs[0])
    width = shape[node.attributes.get("axis", -1) % len(shape)]
    picked = draft.shape(node.outputs[0])[node.attributes.get("axis", -1) % len(shape)]
    source, output = draft.read(node.inputs[0]), draft.output(node.outputs[0])
    rows = prod(shape) // width
    assert source is not None
    op = Vector(draft.name(node.name), (source,), output, "top_k", rows, width, picked)
    draft.add(op)
    if node.output(1):
        draft.views[node.outputs[1]] = dense(output, draft.shape(node.outputs[1]))


def cumulative_sum(draft: Draft, node: OnnxNode) -> None:
    """Along an axis."""
    shape = draft.shape(node.inputs[0])
    axis = draft.facts.integers(node.inputs[1])[0] % len(shape)
    _rows(draft, node, "cumulative_sum", shape[axis])


def resize(draft: Draft, node: OnnxNode) -> None:
    """Nearest neighbors are copied; linear takes four. Raises OnnxError for other modes."""
    mode = node.attributes.get("mode", "nearest")
    functions = {"nearest": "copy", "linear": "bilinear"}
    if mode not in functions:
        raise OnnxError(
            f"{draft.facts.export.file}: {node.name}: {node.op} of mode '{mode}'; known: "
            f"{', '.join(functions)}"
        )
    source = draft.read(node.inputs[0])
    assert source is not None
    emit(draft, node, functions[mode], (source,))
