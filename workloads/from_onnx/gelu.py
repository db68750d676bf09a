"""GELU as exporters spell it out, found and taken as the one function that it is.

    exact   x * 0.5 * (1 + erf(x / sqrt 2))                              (Hendrycks 2016, sec. 2)
    tanh    x * 0.5 * (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))

in any order of the products. What lies between x and the result must be seen by nobody else.
"""

from __future__ import annotations

from dataclasses import replace

from workloads.from_onnx.draft import Draft
from workloads.from_onnx.exported import OnnxNode

Found = tuple[OnnxNode, list[OnnxNode]]
_INSIDE = ("Mul", "Div", "Add", "Pow")


def gelu(draft: Draft, core: OnnxNode) -> Found | None:
    """Around an Erf or a Tanh: the function, and every node of it."""
    plus = draft.only_reader(core.outputs[0])
    if plus is None or plus.op != "Add" or _other_scalar(draft, plus, core.outputs[0]) != 1.0:
        return None
    nodes, value, others, half = [core, plus], plus.outputs[0], [], False
    for _ in range(2):  # times a half, times x; or times x that is halved already
        times = draft.only_reader(value)
        if times is None or times.op != "Mul":
            break
        other = next((v for v in times.inputs if v != value), value)
        nodes.append(times)
        value = times.outputs[0]
        if draft.facts.scalar(other) == 0.5:
            half = True
        else:
            others.append(other)
        if half and others:
            break
    if len(others) != 1:
        return None
    x, halving = others[0], None
    if not half:
        halving = draft.facts.makers.get(x)
        if halving is None or halving.op != "Mul" or draft.only_reader(x) is None:
            return None
        x = next((v for v in halving.inputs if draft.facts.scalar(v) != 0.5), "")
        if not x or len(halving.inputs) != 2 or _other_scalar(draft, halving, x) != 0.5:
            return None
        nodes.append(halving)
    inside = _inside(draft, core.inputs[0], x)
    if inside is None:
        return None
    return replace(core, op="Gelu", inputs=(x,), outputs=(value,)), nodes + inside


def _other_scalar(draft: Draft, node: OnnxNode, value: str) -> float | None:
    other = next((v for v in node.inputs if v != value), "")
    return draft.facts.scalar(other)


def _inside(draft: Draft, value: str, x: str) -> list[OnnxNode] | None:
    """The nodes from x to the core's argument; None where something else comes in or out."""
    found: dict[int, OnnxNode] = {}
    todo = [value]
    while todo:
        name = todo.pop()
        if name == x or draft.facts.scalar(name) is not None:
            continue
        maker = draft.facts.makers.get(name)
        if maker is None or maker.op not in _INSIDE or draft.constant(name):
            return None
        readers = draft.readers.get(name, [])
        if name in draft.facts.export.outputs or len(found) > 8:
            return None
        found[id(maker)] = maker
        todo += maker.inputs
        if len(readers) > 1:
            return None
    return list(found.values())
