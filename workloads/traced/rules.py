"""What an operation of torch is among our ops: rows, copies, norms, pools; products are in
`products`.

Elementwise operations have no
rule here: they are noted as they are, fused (`fuse`), and named at the end (`elementwise`).
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

from workloads.traced import products
from workloads.traced.events import Event, Value

if TYPE_CHECKING:
    from workloads.traced.recorder import Recorder

# their results depend on their inputs' shapes only
SHAPE_ONLY = frozenset(
    "zeros_like ones_like empty_like full_like new_zeros new_ones new_empty new_full "
    "new_empty_strided rand_like randn_like".split()
)

Rule = Callable[["Recorder", Any, Any, list[torch.Tensor]], None]


def embedding(r: Recorder, args: Any, kwargs: Any, outputs: list[torch.Tensor]) -> None:
    """Rows of a table."""
    table, indices = args[:2]
    _gather(r, table, indices.numel(), outputs[0], "")


def index(r: Recorder, args: Any, kwargs: Any, outputs: list[torch.Tensor]) -> None:
    """Rows picked by known indices, or elements by computed ones."""
    if not r.values(args[0]):
        _elements("select", r, args, outputs)
        return
    output = outputs[0]
    rows = output.numel() // output.shape[-1]
    stored = all(value.kind in ("weight", "table") for value in r.values(args[0]))
    role = "first_token" if rows == r.batch else "rows"
    _gather(r, args[0], rows, output, "" if stored else role)


def _gather(r: Recorder, table: torch.Tensor, rows: int, output: torch.Tensor, role: str) -> None:
    inputs = r.read(table)
    for value in inputs:
        if value.kind == "weight":
            value.kind = "table"
    width = output.numel() // rows
    facts = {"rows": rows, "width": width}
    r.emit(Event("gather", "", r.module, inputs, Value((rows, width)), role, facts), output)


def _move(r: Recorder, args: Any, kwargs: Any, outputs: list[torch.Tensor]) -> None:
    """A copy into new memory. Parts of one tensor put back together stay where they are."""
    tensors = args[0] if isinstance(args[0], (list, tuple)) else [args[0]]
    output, inputs = outputs[0], r.read(*tensors)
    whole = _put_back(r, inputs, output.numel())
    if whole is not None:
        r.bind(output, whole)
        return
    facts = {"run_elements": output.shape[-1] if output.dim() else 1}
    value = Value(r.like(inputs, output))
    r.emit(Event("move", "", r.module, inputs, value, "copy", facts), output)


def _put_back(r: Recorder, inputs: list[Value], elements: int) -> Value | None:
    """The value of which these are all the parts, some rotated in place."""
    rotated = [e for e in r.events if e.function == "rope" and e.output in inputs]
    wholes = {v for v in inputs if all(v is not e.output for e in rotated)}
    wholes |= {event.inputs[0] for event in rotated}
    if len(wholes) != 1 or len(rotated) != 1 or wholes.pop().elements != elements:
        return None
    rotated[0].output.shape = rotated[0].inputs[0].shape
    return rotated[0].output


def _copy_into(r: Recorder, args: Any, kwargs: Any, outputs: list[torch.Tensor]) -> None:
    """Writes to a part of some memory; several parts written in turn are one move."""
    target, source = args[:2]
    if _place(source) == _place(target):
        return  # what was changed in place, set to itself
    inputs, before = r.read(source), r.values(target)
    elements = target.untyped_storage().nbytes() // target.element_size()
    last = next((e for e in r.events if e.kind == "move" and e.output in before), None)
    if last is not None:
        r.events.remove(last)
        last.inputs = list(dict.fromkeys([*last.inputs, *inputs]))
        r.emit(last, target)
        return
    if not inputs:
        return
    width = (
        target.shape[-1] if target.numel() == elements or target.dim() < 2 else target.stride(-2)
    )
    kept = [] if target.numel() == elements else list(before)
    value = Value((elements // width, width))
    facts = {"run_elements": target.shape[-1]}
    r.emit(Event("move", "", r.module, [*kept, *inputs], value, "copy", facts), target)


def _place(tensor: torch.Tensor) -> tuple[object, ...]:
    """Where a tensor lies: the same for two names of the same elements."""
    storage = tensor.untyped_storage()._cdata
    return storage, tensor.storage_offset(), tensor.stride(), tensor.shape


def _norm(function: str) -> Rule:
    def rule(r: Recorder, args: Any, kwargs: Any, outputs: list[torch.Tensor]) -> None:
        x, shape = args[0], args[1]
        inputs = r.read(x, *(a for a in args[2:] if isinstance(a, torch.Tensor)))
        width = prod(shape)
        facts = {"rows": x.numel() // width, "width": width}
        value = Value(r.like(inputs, outputs[0]))
        r.emit(Event("vector", function, r.module, inputs, value, "", facts), *outputs)

    return rule


def _rowwise(function: str, role: str) -> Rule:
    """Along the last axis, or along one axis of a contiguous tensor, which is the same work."""

    def rule(r: Recorder, args: Any, kwargs: Any, outputs: list[torch.Tensor]) -> None:
        x, inputs = args[0], r.read(args[0])
        axis = args[1] if function == "softmax" else -1
        width = x.shape[axis]
        facts = {"rows": x.numel() // width, "width": width}
        if function == "top_k":
            facts["taps"] = args[1]
        value = Value(r.like(inputs, outputs[0]))
        r.emit(Event("vector", function, r.module, inputs, value, role, facts), *outputs)

    return rule


def _pool(function: str) -> Rule:
    def rule(r: Recorder, args: Any, kwargs: Any, outputs: list[torch.Tensor]) -> None:
        x, output = args[0], outputs[0]
        batch, channels = output.shape[:2]
        adaptive = x.numel() // output.numel()
        taps = adaptive if len(args) == 2 and function == "avg_pool" else prod(args[1])
        rows = batch * prod(output.shape[2:])
        value = Value((rows, channels))
        facts = {"rows": rows, "width": channels, "taps": taps}
        r.emit(Event("vector", function, r.module, r.read(x), value, "", facts), *outputs)

    return rule


def _batch_norm(r: Recorder, args: Any, kwargs: Any, outputs: list[torch.Tensor]) -> None:
    inputs = r.read(*(a for a in args if isinstance(a, torch.Tensor)))
    rows, width = outputs[0].numel() // outputs[0].shape[1], outputs[0].shape[1]
    facts = {"rows": rows, "width": width}
    value = Value(r.like(inputs, outputs[0]))
    r.emit(Event("vector", "scale_shift", r.module, inputs, value, "", facts), outputs[0])


def _picked(r: Recorder, args: Any, kwargs: Any, outputs: list[torch.Tensor]) -> None:
    _elements("select", r, args, outputs)


def _elements(function: str, r: Recorder, args: Any, outputs: list[torch.Tensor]) -> None:
    """Elements moved by computed indices: a compare each."""
    inputs = r.read(*(a for a in args if isinstance(a, torch.Tensor)))
    value = Value(r.like(inputs, outputs[0]))
    event = Event("aten", function, r.module, inputs, value)
    event.shapes = tuple(tuple(t.shape) for t in outputs)
    r.emit(event, *outputs)


RULES: dict[str, Rule] = {
    "mm": products.matmul,
    "addmm": products.addmm,
    "bmm": products.bmm,
    "baddbmm": products.baddbmm,
    "convolution": products.convolution,
    "embedding": embedding,
    "index": index,
    "index_select": index,
    "gather": _picked,
    "scatter": _picked,
    "scatter_": _picked,
    "cat": _move,
    "stack": _move,
    "clone": _move,
    "constant_pad_nd": _move,
    "roll": _move,
    "copy_": _copy_into,
    "native_layer_norm": _norm("layernorm"),
    "_fused_rms_norm": _norm("rmsnorm"),
    "_softmax": _rowwise("softmax", "softmax"),
    "topk": _rowwise("top_k", "top_k"),
    "_native_batch_norm_legit_no_training": _batch_norm,
    "avg_pool2d": _pool("avg_pool"),
    "_adaptive_avg_pool2d": _pool("avg_pool"),
    "max_pool2d_with_indices": _pool("max_pool"),
}

# Kept whole where torch would run several operations.
COMPOSITES: dict[Any, Rule] = {
    functional.linear: products.linear,
    torch.matmul: products.matmul,
    torch.Tensor.matmul: products.matmul,
    torch.Tensor.__matmul__: products.matmul,
    functional.scaled_dot_product_attention: products.attention,
}
