"""Functions of a model's own file that are noted as one op, known by their names.

Rotary embedding comes in variants (halves, interleaved, complex, of a part of a head); what it is
costed by, the elements that it rotates, is counted in what it runs. Mamba's scan and convolution
are loops over tokens in Python, in place of which engines have a kernel.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from transformers.activations import ACT2FN

from workloads.ops import Window
from workloads.traced.events import Event, Value
from workloads.traced.recorder import Recorder


@contextmanager
def replaced(recorder: Recorder, model: torch.nn.Module) -> Iterator[None]:
    """The functions of KNOWN are wrapped in every file that the model's modules are from."""
    files = {sys.modules[type(module).__module__] for module in model.modules()}
    undo = []
    for file in sorted(files, key=lambda file: file.__name__):
        for name, function in list(vars(file).items()):
            known = KNOWN.get(name) if file.__name__.startswith("transformers.models.") else None
            if known and callable(function):
                undo.append((file, name, function))
                setattr(file, name, known(recorder, function))
    for name in ("find_packed_sequence_indices",):  # reads positions, of which there are none
        file = sys.modules["transformers.masking_utils"]
        undo.append((file, name, getattr(file, name)))
        setattr(file, name, lambda positions: None)
    try:
        yield
    finally:
        for module, name, original in undo:
            setattr(module, name, original)


def _rotary(r: Recorder, original: Callable[..., Any]) -> Callable[..., Any]:
    """Rotary embedding of queries and keys: whatever variant, x * cos + rotate(x) * sin."""

    def rotate(*args: Any, **kwargs: Any) -> Any:
        start = len(r.events)
        sources = [(t, v) for t in args if isinstance(t, torch.Tensor) and (v := r.values(t))]
        results = original(*args, **kwargs)
        outputs = list(results) if isinstance(results, tuple) else [results]
        inside = r.events[start:]
        if len(sources) != len(outputs):
            return results  # not the function that we know: as it ran
        del r.events[start:]
        merged = len({value[0] for _, value in sources}) < len(sources)
        if merged:
            _rotate_merged(r, inside, sources, outputs)
        else:
            roles = ("rope_q", "rope_k") if len(outputs) == 2 else ("rope",)
            for (tensor, values), output, role in zip(sources, outputs, roles, strict=True):
                width = _rotated(inside, values[0]) // _tokens(r, tensor)
                _rope(r, values[0], width, _tokens(r, tensor), role, [output])
        return results

    return rotate


def _rotate_merged(r: Recorder, inside: list[Event], sources: Any, outputs: Any) -> None:
    """Queries and keys are parts of one tensor: rotated in it, in one op."""
    tensor, (value, *_) = sources[0]
    tokens = _tokens(r, tensor)
    parts = [source for source, _ in sources]
    _rope(r, value, _rotated(inside, value) // tokens, tokens, "rope", [*parts, *outputs])


def _rope(
    r: Recorder, source: Value, width: int, rows: int, role: str, tensors: list[torch.Tensor]
) -> None:
    output = Value(source.shape)
    part = tensors[-1].numel()
    if len(tensors) == 1 and part != source.elements:  # of a part of the source
        output = Value((rows, part // rows))
    facts = {"rows": rows, "width": width}
    r.emit(Event("vector", "rope", r.module, [source], output, role, facts), *tensors)


def _tokens(r: Recorder, tensor: torch.Tensor) -> int:
    """Tokens of queries or keys: the value's rows (a head's tensor has its own axes)."""
    return r.values(tensor)[0].shape[0]


def _rotated(inside: list[Event], source: Value) -> int:
    """Elements that are rotated: of the multiplications in the formula there are two to each, and
    four in a product of complex numbers."""
    derived, multiplied = {source}, 0
    for event in inside:
        if any(value in derived for value in event.inputs):
            derived.add(event.output)
            if event.function == "mul":
                multiplied += event.output.elements * (4 if event.facts["complex"] else 1)
    return multiplied // 2


def _scan(r: Recorder, original: Callable[..., Any]) -> Callable[..., Any]:
    """Mamba's selective scan: x [batch, channels, tokens], states of n to a channel."""

    def scan(x: torch.Tensor, dt: Any, a: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        given = dict(zip(("B", "C", "D", "z", "delta_bias"), args, strict=False)) | kwargs
        batch, channels, tokens = x.shape
        given["bias"], given["softplus"] = given.get("delta_bias"), given.get("delta_softplus")
        output, state = torch.empty_like(x), x.new_empty(batch, channels, a.shape[1])
        _note_scan(r, (x, dt, a), given, (batch * tokens, channels), [output, state])
        return (output, state) if given.get("return_last_state") else output

    return scan


def _scan_step(r: Recorder, original: Callable[..., Any]) -> Callable[..., Any]:
    """One token of the scan: x [batch, channels], the state [batch, channels, n] in place."""

    def step(
        state: Any, x: torch.Tensor, dt: Any, a: torch.Tensor, *args: Any, **kwargs: Any
    ) -> Any:
        given = dict(zip(("B", "C", "D", "z", "dt_bias"), args, strict=False)) | kwargs
        given["bias"], given["softplus"] = given.get("dt_bias"), given.get("dt_softplus")
        output = torch.empty_like(x)
        _note_state(r, "ssm_state", state, r.values(state)[0].shape)
        _note_scan(r, (x, dt, a), given, (x.shape[0], x.shape[1]), [output])
        return output

    return step


def _note_scan(
    r: Recorder, operands: Any, given: Any, shape: tuple[int, int], outputs: list[torch.Tensor]
) -> None:
    """Step sizes' softplus, the scan, and its gate; what it does with the state stays on chip."""
    x, dt, a = operands
    sizes = {"rows": shape[0], "width": shape[1]}

    def vector(function: str, role: str, inputs: list[Value], **facts: int) -> Value:
        inputs = list(dict.fromkeys(inputs))
        event = Event("vector", function, r.module, inputs, Value(shape), role, sizes | facts)
        r.emit(event)
        return event.output

    step = r.read(dt)
    made = next((e for e in reversed(r.events) if e.output in step), None)
    if made is not None and made.kind == "einsum" and len(made.inputs) == 2:
        made.inputs += r.read(given["bias"])  # the projection's, which the scan adds
    if given["softplus"]:
        step = [vector("softplus", "dt_proj.act", step)]
    inputs = [*r.read(x), *step, *r.read(given["B"], given["C"], a, given["D"])]
    result = vector("selective_scan", "scan", inputs, taps=a.shape[1])
    if given.get("z") is not None:
        result = vector("silu_mul", "gate", [result, *r.read(given["z"])])
    for tensor in outputs:
        r.bind(tensor, result)


def _note_state(r: Recorder, role: str, state: torch.Tensor, shape: tuple[int, ...]) -> None:
    """A state is read from the step before and written for the next."""
    output = Value(shape)
    facts = {"run_elements": shape[-1]}
    r.emit(Event("move", "", r.module, r.read(state), output, role, facts), state)


def _causal_convolution(r: Recorder, original: Callable[..., Any]) -> Callable[..., Any]:
    """A convolution of each channel of x [batch, channels, tokens] that sees the past only."""

    def convolve(
        x: torch.Tensor, weight: torch.Tensor, bias: Any = None, activation: Any = None, **_: Any
    ) -> torch.Tensor:
        return _note_convolution(r, x, r.read(x), (weight, bias), activation)

    return convolve


def _convolution_step(r: Recorder, original: Callable[..., Any]) -> Callable[..., Any]:
    """The same for one token, with the state [batch, channels, taps] in place."""

    def convolve(
        x: torch.Tensor, state: Any, weight: torch.Tensor, bias: Any = None, activation: Any = None
    ) -> torch.Tensor:
        _note_state(r, "conv_state", state, r.values(state)[0].shape)
        return _note_convolution(r, x, r.read(x), (weight, bias), activation)

    return convolve


def _note_convolution(
    r: Recorder, x: torch.Tensor, source: list[Value], stored: tuple[Any, Any], activation: Any
) -> torch.Tensor:
    (batch, channels, tokens), taps = x.shape, stored[0].shape[-1]
    inputs = [*source, *(value for tensor in stored for value in r.read(tensor))]
    ranks = {"g": channels, "m": batch * tokens, "n": 1, "k": taps}
    window = Window(channels, (tokens,), (taps,), (1,), (1,))
    facts = {"ranks": ranks, "spec": "gmk,gnk->gmn", "window": window}
    output, value = torch.empty_like(x), Value((batch * tokens, channels))
    r.emit(Event("einsum", "", r.module, inputs, value, "conv1d", facts), output)
    return output if activation is None else ACT2FN[activation](output)


# Functions of a model's own file that are noted as one op.
KNOWN: dict[str, Callable[[Recorder, Callable[..., Any]], Callable[..., Any]]] = {
    "apply_rotary_pos_emb": _rotary,
    "apply_rotary_pos_emb_interleave": _rotary,
    "apply_rotary_emb": _rotary,
    "mamba_selective_scan": _scan,
    "mamba_selective_state_update": _scan_step,
    "causal_conv1d_fn": _causal_convolution,
    "causal_conv1d_update": _convolution_step,
}
