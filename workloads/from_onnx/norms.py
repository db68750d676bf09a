"""Norms and SiLU as exporters spell them out, found and taken as the functions that they are.

    RMS norm     x / sqrt(mean(x^2) + e) * weight                      (Zhang 2019, eq. 4)
    layer norm   the same of x - mean(x), plus a bias                  (Ba 2016, eq. 4)
    SiLU         x * sigmoid(x)

over the last axis. What lies between x and the result must be seen by nobody else.
"""

from __future__ import annotations

from dataclasses import replace

from workloads.from_onnx.draft import Draft
from workloads.from_onnx.exported import OnnxNode
from workloads.from_onnx.gelu import Found


def silu(draft: Draft, core: OnnxNode) -> Found | None:
    """Around a Sigmoid."""
    x, times = core.inputs[0], draft.only_reader(core.outputs[0])
    if times is None or times.op != "Mul" or set(times.inputs) != {x, core.outputs[0]}:
        return None
    return replace(core, op="Swish", outputs=times.outputs), [core, times]


def norm(draft: Draft, core: OnnxNode) -> Found | None:
    """Around the mean of squares: the function, and every node of it."""
    square = draft.facts.makers.get(core.inputs[0])
    if square is None or not _is_square(draft, square) or not _last_axis(draft, core):
        return None
    x, nodes = square.inputs[0], [square, core]
    if draft.only_reader(square.outputs[0]) is None:
        return None
    value = core.outputs[0]
    for wanted in ("Add", "Sqrt"):
        step = draft.only_reader(value)
        if step is None or step.op != wanted:
            return None
        if wanted == "Add" and draft.facts.scalar(_other(step, value)) is None:
            return None
        nodes.append(step)
        value = step.outputs[0]
    divided = _divided(draft, value, x)
    if divided is None:
        return None
    nodes += divided
    times = draft.only_reader(nodes[-1].outputs[0])
    if times is not None and times.op == "Cast":
        nodes.append(times)
        times = draft.only_reader(times.outputs[0])
    if times is None or times.op != "Mul":
        return None
    weight = _other(times, nodes[-1].outputs[0])
    width = draft.shape(x)[-1]
    if not draft.constant(weight) or draft.facts.size(weight) != width:
        return None
    nodes.append(times)
    plain = replace(
        core, op="SimplifiedLayerNormalization", inputs=(x, weight), outputs=times.outputs,
        attributes={},
    )  # fmt: skip
    return _layer_norm(draft, plain, nodes) or (plain, nodes)


def _is_square(draft: Draft, node: OnnxNode) -> bool:
    power = node.op == "Pow" and draft.facts.scalar(node.inputs[1]) == 2.0
    return power or (node.op == "Mul" and node.inputs[0] == node.inputs[1])


def _last_axis(draft: Draft, node: OnnxNode) -> bool:
    shape = draft.shape(node.inputs[0])
    reduced = (*shape[:-1], 1) if node.attributes.get("keepdims", 1) else None
    return draft.shape(node.outputs[0]) == reduced and draft.facts.size(node.inputs[0]) > 1


def _other(node: OnnxNode, value: str) -> str:
    return next((v for v in node.inputs if v != value), value)


def _divided(draft: Draft, root: str, x: str) -> list[OnnxNode] | None:
    """x / root, or x times its reciprocal."""
    step = draft.only_reader(root)
    if step is None:
        return None
    if step.op == "Div" and step.inputs == (x, root):
        return [step]
    one_over = step.op == "Div" and draft.facts.scalar(step.inputs[0]) == 1.0
    if step.op != "Reciprocal" and not one_over:
        return None
    times = draft.only_reader(step.outputs[0])
    if times is None or times.op != "Mul" or _other(times, step.outputs[0]) != x:
        return None
    return [step, times]


def _layer_norm(draft: Draft, plain: OnnxNode, nodes: list[OnnxNode]) -> Found | None:
    """With the mean taken away before, and a bias after; None where it is no such norm."""
    minus = draft.facts.makers.get(plain.inputs[0])
    plus = draft.only_reader(plain.outputs[0])
    if minus is None or minus.op != "Sub" or plus is None or plus.op != "Add":
        return None
    mean, bias = draft.facts.makers.get(minus.inputs[1]), _other(plus, plain.outputs[0])
    inside = {id(node) for node in nodes}
    if mean is None or mean.op != "ReduceMean" or mean.inputs[0] != minus.inputs[0]:
        return None
    if any(id(reader) not in inside for reader in draft.readers.get(minus.outputs[0], [])):
        return None
    alone = draft.only_reader(mean.outputs[0]) is not None and _last_axis(draft, mean)
    width = draft.shape(minus.inputs[0])[-1]
    if not alone or not draft.constant(bias) or draft.facts.size(bias) != width:
        return None
    whole = replace(
        plain, op="LayerNormalization", inputs=(minus.inputs[0], plain.inputs[1], bias),
        outputs=plus.outputs,
    )  # fmt: skip
    return whole, [mean, minus, *nodes, plus]
