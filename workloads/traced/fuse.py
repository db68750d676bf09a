"""Joining elementwise operations that a vector unit does in one pass over the data.

A module without children whose operations are, in order, those of a known function is that
function (`SIGNATURES`); conversions of format in between are done on the way. Across modules:
activation times a second operand, a soft cap, a sigmoid's or softmax's rescaling. Rotary embedding
is known by the function that the model's file defines for it (`interfaces`).
"""

from __future__ import annotations

from collections.abc import Callable

from workloads.traced.events import Event, Value

CASTS = ("_to_copy",)

# Operations of a module in order, without casts -> function of workloads.ops.vector.
SIGNATURES: dict[tuple[str, ...], str] = {
    ("pow", "mean", "add", "rsqrt", "mul", "mul"): "rmsnorm",
    ("pow", "mean", "add", "rsqrt", "mul"): "rmsnorm",  # without a weight
    ("pow", "mean", "add", "pow", "mul", "mul"): "rmsnorm",  # (variance + eps) ** -0.5
    ("pow", "mean", "add", "pow", "mul"): "rmsnorm",
    ("mean", "sub", "pow", "mean", "sub", "add", "rsqrt", "mul", "mul"): "layernorm",
    # 0.5 x (1 + tanh(c (x + a x^3)))
    ("mul", "pow", "mul", "add", "mul", "tanh", "add", "mul"): "gelu",
    ("mul", "mul", "mul", "mul", "add", "tanh", "add", "mul"): "gelu",
    ("mul", "sigmoid", "mul"): "quick_gelu",
    ("relu", "pow"): "squared_relu",
    ("relu", "square"): "squared_relu",
}

# Operations of one module that follow each other, without casts -> function.
SEQUENCES: dict[tuple[str, ...], str] = {
    ("pow", "sum", "pow", "div"): "l2norm",
    ("linalg_vector_norm", "div"): "l2norm",
    # min(x, c) * sigmoid(a x) * (clamp(up) + 1), as gpt-oss
    ("clamp", "clamp", "mul", "sigmoid", "mul", "add", "mul"): "clamped_silu_mul",
}

# function of an activation -> of it times a second operand
GATED = {"silu": "silu_mul", "gelu": "gelu_mul", "squared_relu": "squared_relu_mul"}


def fuse_leaf(events: list[Event]) -> list[Event]:
    """The events of one module without children, as one if they are a known function."""
    names = tuple(e.function for e in events if e.function not in CASTS)
    function = SIGNATURES.get(names)
    if function is None or any(event.kind != "aten" for event in events):
        return events
    inputs = _outer(events)
    source = next((value for value in inputs if value.kind == "activation"), None)
    if source is None:
        return events
    first, last = events[0], events[-1]
    output = last.output
    event = Event("vector", function, last.module, inputs, output, "", {}, first.shapes)
    width = first.shapes[0][-1]
    if function in ("rmsnorm", "layernorm"):
        event.facts = {"rows": source.elements // width, "width": width}
        if source.elements == output.elements:
            output.shape = source.shape
        else:  # a part of the source
            event.facts["rows"] = output.elements // width
    return [event]


def _outer(events: list[Event]) -> list[Value]:
    """What the events read and do not make."""
    made = {event.output for event in events}
    return list(dict.fromkeys(v for e in events for v in e.inputs if v not in made))


def fuse(events: list[Event]) -> list[Event]:
    """The events with activations, soft caps and conversions joined to their neighbors."""
    events = _dropped(_sequences(events), _keeps_all)
    events = _soft_caps(events)
    events = _gated(events)
    events = _query_scales(events)
    return _conversions(events)


def _keeps_all(event: Event) -> bool:
    """True for a multiplication by one, whose output is its input from then on."""
    one = event.function in ("mul", "div") and event.facts.get("scalars") in ((1,), (1.0,))
    return event.kind == "aten" and one and len(event.inputs) == 1


def _sequences(events: list[Event]) -> list[Event]:
    """Runs of SEQUENCES as one event each."""
    readers, found, at = _readers(events), [], 0
    while at < len(events):
        for names, function in SEQUENCES.items():
            span = events[at : at + len(names)]
            if tuple(e.function for e in span) == names and _closed(span, readers):
                output = span[-1].output
                role = "act_mul" if function.endswith("_mul") else function
                inputs, module = _outer(span), span[0].module
                found.append(Event("vector", function, module, inputs, output, role))
                at += len(span)
                break
        else:
            found.append(events[at])
            at += 1
    return found


def _closed(span: list[Event], readers: dict[Value, list[Event]]) -> bool:
    """True if all but the last are read inside the span only, in one module."""
    inner = [reader for event in span[:-1] for reader in readers.get(event.output, [])]
    return all(e.kind == "aten" and e.module == span[0].module for e in span) and all(
        reader in span for reader in inner
    )


def _readers(events: list[Event]) -> dict[Value, list[Event]]:
    found: dict[Value, list[Event]] = {}
    for event in events:
        for value in event.inputs:
            found.setdefault(value, []).append(event)
    return found


def _gated(events: list[Event]) -> list[Event]:
    """act(gate) * up as one function of gate and up."""
    readers, makers = _readers(events), {event.output: event for event in events}
    gone: set[Event] = set()
    for event in events:
        if event.function != "mul" or event.kind != "aten" or not event.inputs:
            continue
        gate = next((m for v in event.inputs if (m := _gate(makers.get(v))) is not None), None)
        if gate is None or readers[gate.output] != [event]:
            continue
        others = [value for value in event.inputs if value is not gate.output]
        if not others or any(value.kind != "activation" for value in others):
            continue
        event.kind, event.function = "vector", GATED[gate.function]
        event.inputs = list(dict.fromkeys([*gate.inputs, *others]))
        event.facts = {}
        event.role = "act_mul"
        gone.add(gate)
    return [event for event in events if event not in gone]


def _gate(event: Event | None) -> Event | None:
    return event if event is not None and event.function in GATED else None


def _soft_caps(events: list[Event]) -> list[Event]:
    """cap * tanh(x / cap): a scaling, tanh, a scaling."""
    readers, makers = _readers(events), {event.output: event for event in events}
    gone: set[Event] = set()
    for event in events:
        if event.function != "tanh" or event.kind != "aten":
            continue
        before, after = makers.get(event.inputs[0]), readers.get(event.output, [])
        if before is None or len(after) != 1 or not (_scales(before) and _scales(after[0])):
            continue
        event.kind, event.function, event.role = "vector", "softcap", "softcap"
        event.inputs, event.output = before.inputs, after[0].output
        event.facts = {}
        gone |= {before, after[0]}
    return [event for event in events if event not in gone]


def _query_scales(events: list[Event]) -> list[Event]:
    """Without a scaling of queries that only attention reads: attention scales its scores."""
    readers = _readers(events)
    kept = []
    for event in events:
        after = readers.get(event.output, [])
        last = event
        while len(after) == 1 and after[0].kind == "move":
            last, after = after[0], readers.get(after[0].output, [])
        only = len(after) == 1 and after[0].kind == "attention"
        if only and _scales(event) and after[0].inputs[0] is last.output:
            for reader in readers[event.output]:
                reader.inputs = [event.inputs[0] if v is event.output else v for v in reader.inputs]
        else:
            kept.append(event)
    return kept


def _scales(event: Event) -> bool:
    """True for a multiplication of one value with a constant."""
    return event.kind == "aten" and event.function in ("mul", "div") and len(event.inputs) == 1


def _conversions(events: list[Event]) -> list[Event]:
    """Without conversions that a vector operation next to them does on the way."""
    readers, makers = _readers(events), {event.output: event for event in events}

    def rides(event: Event) -> bool:
        maker, after = makers.get(event.inputs[0]), readers.get(event.output, [])
        before = maker is not None and maker.kind in ("vector", "aten")
        return event.function in CASTS and (
            before or (bool(after) and all(e.kind in ("vector", "aten") for e in after))
        )

    return _dropped(events, rides)


def _dropped(events: list[Event], drops: Callable[[Event], bool]) -> list[Event]:
    """Without events of one input that change nothing; their readers read the input."""
    replaced: dict[Value, Value] = {}
    kept = []
    for event in events:
        event.inputs = [_now(replaced, value) for value in event.inputs]
        if event.inputs and drops(event):
            replaced[event.output] = event.inputs[0]
        else:
            kept.append(event)
    return kept


def _now(replaced: dict[Value, Value], value: Value) -> Value:
    while value in replaced:
        value = replaced[value]
    return value
