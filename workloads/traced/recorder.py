"""Running a module on meta tensors while noting every aten operation and the module it is in.

The program runs as it is, in eager mode, so nothing has to be traceable but its shapes: two modes
of torch see every call. `Operations` sees aten operations (matrix products split into views and
`mm`), `Composites` the few functions that are better kept whole (`rules.COMPOSITES`).
Values are found by the memory they live in: two tensors of one storage are views of one value.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from workloads.traced.events import Event, Value
from workloads.traced.fuse import fuse_leaf
from workloads.traced.rules import COMPOSITES, RULES, SHAPE_ONLY

PARAMETERS = ("weight", "table")


class Recorder:
    """The events so far, the values alive, and where in the module tree the program is."""

    def __init__(self, batch: int) -> None:
        self.batch = batch
        self.events: list[Event] = []
        self.parameters: list[Value] = []
        self.stack: list[str] = []
        self.paused = False
        self._values: dict[int, tuple[Value, ...]] = {}
        self._alive: list[Any] = []  # storages, so that no address is used again
        self._rows: dict[Any, Value] = {}

    @property
    def module(self) -> str:
        return self.stack[-1] if self.stack else ""

    def bind(self, tensor: torch.Tensor, *values: Value) -> None:
        """What the tensor's memory holds from now on."""
        storage = tensor.untyped_storage()
        self._alive.append(storage)
        self._values[storage._cdata] = values

    def keep(self, tensor: torch.Tensor) -> None:
        """The tensor lives as long as the recorder, so that its address is its own."""
        self._alive.append(tensor)

    def values(self, tensor: torch.Tensor) -> tuple[Value, ...]:
        """What the tensor's memory holds; nothing for a constant."""
        return self._values.get(tensor.untyped_storage()._cdata, ())

    def read(self, *tensors: Any) -> list[Value]:
        """The values of tensors as an op's inputs, each once; None stands for no tensor."""
        found: dict[Value, None] = {}
        for tensor in tensors:
            if isinstance(tensor, torch.Tensor):
                found.update(dict.fromkeys(self._selected(tensor, v) for v in self.values(tensor)))
        return list(found)

    def _selected(self, tensor: torch.Tensor, value: Value) -> Value:
        """The value, or its rows that the tensor is a view of, gathered."""
        if value.kind != "activation" or not _some_rows(tensor, value.shape):
            return value
        key = (value, tensor.storage_offset(), tuple(tensor.shape))
        if key not in self._rows:
            rows, width = tensor.numel() // value.shape[-1], value.shape[-1]
            output = Value((rows, width))
            which = "last_token" if tensor.storage_offset() else "first_token"
            role = which if rows == self.batch else "rows"
            facts = {"rows": rows, "width": width}
            self.events.append(Event("gather", "", self.module, [value], output, role, facts))
            self._rows[key] = output
        return self._rows[key]

    def emit(self, event: Event, *outputs: torch.Tensor) -> None:
        """Note an event whose output these tensors hold."""
        self.events.append(event)
        for tensor in outputs:
            self.bind(tensor, event.output)

    def like(self, inputs: list[Value], tensor: torch.Tensor) -> tuple[int, ...]:
        """[rows, width] of a result: as the first input of its size has it, else its own."""
        for value in inputs:
            if value.kind == "activation" and value.elements == tensor.numel():
                return value.shape
        return flat(tensor)

    @contextmanager
    def pause(self) -> Iterator[None]:
        """Nothing is noted meanwhile."""
        before, self.paused = self.paused, True
        yield
        self.paused = before

    def operation(self, func: Any, args: Any, kwargs: Any, result: Any) -> None:
        """One aten operation that was run."""
        inputs = [t for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)]
        outputs = [t for t in tree_leaves(result) if isinstance(t, torch.Tensor)]
        name = func._schema.name.split("::")[1]
        known = [value for tensor in inputs for value in self.values(tensor)]
        if not outputs or not known or name in SHAPE_ONLY:
            return
        writes = func._schema.is_mutable
        if not writes and _address(outputs[0]) in {_address(tensor) for tensor in inputs}:
            return  # a view
        if name not in RULES and all(value.kind in PARAMETERS for value in known):
            for tensor in outputs:  # arithmetic on parameters alone is done when they are loaded
                self.bind(tensor, *dict.fromkeys(known))
            return
        if name in RULES:
            RULES[name](self, args, kwargs, outputs)
            return
        self._elementwise(name.removesuffix("_"), args, inputs, outputs, writes)

    def _elementwise(
        self, name: str, args: Any, inputs: list[Any], outputs: list[Any], writes: bool
    ) -> None:
        """An operation without a rule of its own; `writes` to its first input."""
        facts: dict[str, Any] = {"complex": outputs[0].is_complex()}
        facts["scalars"] = tuple(a for a in args if isinstance(a, (int, float)))
        whole = self.values(inputs[0])[:1]
        if writes and whole and whole[0].elements > inputs[0].numel():  # to a part of a value
            facts["part"] = inputs[0].numel()
            read, shape = [*whole, *self.read(*inputs[1:])], whole[0].shape
        else:
            read = self.read(*inputs)
            shape = self.like(read, outputs[0])
        shapes = tuple(tuple(tensor.shape) for tensor in (*inputs, *outputs))
        self.emit(Event("aten", name, self.module, read, Value(shape), "", facts, shapes), *outputs)


class Operations(TorchDispatchMode):
    """Sees aten operations."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self.recorder = recorder

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if not self.recorder.paused:
            self.recorder.operation(func, args, kwargs or {}, result)
        return result


class Composites(TorchFunctionMode):
    """Sees calls of functions that are kept whole."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self.recorder = recorder

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        rule, kwargs = COMPOSITES.get(func), kwargs or {}
        if rule is None or self.recorder.paused:
            return func(*args, **kwargs)
        with self.recorder.pause():
            result = func(*args, **kwargs)
        rule(self.recorder, args, kwargs, [result])
        return result


@contextmanager
def watching(recorder: Recorder, model: torch.nn.Module) -> Iterator[None]:
    """What the model runs meanwhile is noted, with the module that runs it."""
    for name, parameter in _stored(model):
        recorder.parameters.append(Value(tuple(parameter.shape) or (1,), "weight", name))
        recorder.bind(parameter, recorder.parameters[-1])
    handles = []
    for name, module in model.named_modules():
        enter, leave = _hooks(recorder, name)
        handles.append(module.register_forward_pre_hook(enter, prepend=True))
        handles.append(module.register_forward_hook(leave))
    try:
        with torch.no_grad(), Composites(recorder), Operations(recorder):
            yield
    finally:
        for handle in handles:
            handle.remove()


def _stored(model: torch.nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """What a checkpoint has of numbers: parameters, and buffers that are saved with them."""
    yield from model.named_parameters()
    saved = model.state_dict(keep_vars=True)
    for name, buffer in model.named_buffers():
        if name in saved and buffer.is_floating_point():
            yield name, buffer


def _hooks(recorder: Recorder, name: str) -> tuple[Any, Any]:
    """Hooks that keep the stack, and fuse what a module without children has done."""
    starts: list[int] = []

    def enter(module: torch.nn.Module, inputs: Any) -> None:
        recorder.stack.append(name)
        starts.append(len(recorder.events))

    def leave(module: torch.nn.Module, inputs: Any, output: Any) -> None:
        recorder.stack.pop()
        start = starts.pop()
        if not any(True for _ in module.children()):
            recorder.events[start:] = fuse_leaf(recorder.events[start:])

    return enter, leave


def flat(tensor: torch.Tensor) -> tuple[int, int]:
    """[rows, width] of a tensor."""
    shape = tuple(tensor.shape) or (1,)
    return prod(shape[:-1]), shape[-1]


def _address(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage()._cdata


def _some_rows(tensor: torch.Tensor, shape: tuple[int, ...]) -> bool:
    """True if the tensor is a view of some whole rows of a value of this shape."""
    width = shape[-1]
    if not tensor.dim() or tensor.shape[-1] != width or tensor.stride(-1) != 1:
        return False
    strides = (s for s, n in zip(tensor.stride()[:-1], tensor.shape[:-1], strict=True) if n > 1)
    return tensor.numel() < prod(shape) and all(stride % width == 0 for stride in strides)
