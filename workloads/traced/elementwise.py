"""Elementwise operations that were not fused, as functions of workloads.ops.vector."""

from __future__ import annotations

from accel_models.explain import nearest
from workloads.ops.vector import FUNCTIONS
from workloads.traced.events import Event, TraceError

# aten operation -> function. A subtraction is an addition; a comparison, a mask, a choice between
# two values and a magnitude are a compare each.
NAMES: dict[str, str] = {
    "add": "add",
    "sub": "add",
    "rsub": "add",
    "neg": "mul",
    "mul": "mul",
    "square": "mul",
    "div": "div",
    "rsqrt": "reciprocal",
    "sqrt": "sqrt",
    "reciprocal": "reciprocal",
    "exp": "exp",
    "log": "log",
    "sum": "reduce_sum",
    "mean": "reduce_mean",
    "amax": "reduce_max",
    "max": "reduce_max",
    "clamp": "clip",
    "abs": "compare",
    "clamp_min": "compare",
    "clamp_max": "compare",
    "minimum": "compare",
    "maximum": "compare",
    "where": "compare",
    "select": "compare",
    "masked_fill": "compare",
    "bitwise_not": "compare",
    "logical_not": "compare",
    "eq": "compare",
    "ne": "compare",
    "gt": "compare",
    "ge": "compare",
    "lt": "compare",
    "le": "compare",
    "_to_copy": "convert",
    "silu": "silu",
    "gelu": "gelu",
    "relu": "relu",
    "sigmoid": "sigmoid",
    "tanh": "tanh",
    "softplus": "softplus",
    "hardtanh": "clip",
    "hardswish": "hardswish",
    "hardsigmoid": "hardsigmoid",
}
REDUCTIONS = ("reduce_sum", "reduce_mean", "reduce_max")
ACTIVATIONS = ("silu", "gelu", "relu", "quick_gelu", "squared_relu", "hardswish")
SCORES = ("softmax", "sigmoid")


def finish(event: Event) -> Event:
    """The event as a vector op with rows and width. Raises TraceError without a rule."""
    if event.kind == "aten":
        event.function = _function(event)
        event.kind = "vector"
        rows, width = event.output.shape[-2:] if len(event.output.shape) > 1 else (1, 1)
        if "part" in event.facts:
            width = event.shapes[0][-1] if event.shapes[0] else 1
            rows = event.facts["part"] // width
        event.facts = {"rows": rows, "width": width}
        if event.function in REDUCTIONS:
            event.facts = _reduced(event)
        if event.function not in ACTIVATIONS and not event.role:
            event.role = event.function
    elif event.kind == "vector" and "rows" not in event.facts:
        rows, width = event.output.shape
        event.facts["rows"], event.facts["width"] = rows, width
    return event


def _function(event: Event) -> str:
    name = event.function
    if name == "pow" and event.facts.get("scalars") in ((2,), (2.0,)):
        return "mul"
    if name == "pow" and event.facts.get("scalars") in ((0.5,), (-0.5,)):
        return "sqrt"
    if name == "div" and len(event.inputs) == 1:
        return "mul"  # by the reciprocal of a constant
    if name in NAMES and NAMES[name] in FUNCTIONS:
        return NAMES[name]
    shapes = ", ".join(str(list(shape)) for shape in event.shapes)
    raise TraceError(
        f"{event.module or 'the model'}: no rule for the operation aten::{name} of shapes "
        f"{shapes}; {nearest(name, sorted(NAMES))}. "
        "Add one to workloads/traced/elementwise.py or rules.py"
    )


def _reduced(event: Event) -> dict[str, int]:
    """One output for each row of `taps` elements that are read."""
    rows = event.output.elements
    return {"rows": rows, "width": 1, "taps": max(1, event.inputs[0].elements // rows)}
