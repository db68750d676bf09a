"""Layers that are alike kept once, with a count.

A stack is a list of modules (torch's ModuleList) that is not inside another one. Two of its layers
are alike if they do the same ops with the same sizes, in the same order, wired alike. Of each kind
the first layer is kept; one kind follows the other, though the model may interleave them: the first
op of a kind reads what the kind before it leaves, which has the same shape.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from workloads.traced.events import Event, Value

STORED = ("weight", "table")

Layer = tuple[str, int]  # path of the stack, index in it


@dataclass(frozen=True, slots=True)
class Kept:
    """An event that stays, how often it runs, its layer's stack and kind, its path in the layer."""

    event: Event
    count: int
    stack: str
    label: str
    path: str


def fold(events: list[Event], stacks: Iterable[str]) -> list[Kept]:
    """The events of one layer of each kind and those outside of layers, in order."""
    places = {event: _place(event.path, stacks) for event in events}
    for event in _shared(events, places):
        places[event] = ("", 0, event.path)
    layers: dict[Layer, list[Event]] = {}
    for event in events:
        stack, index, _ = places[event]
        if stack:
            layers.setdefault((stack, index), []).append(event)
    kinds = _kinds(layers)
    _rewire(events, places, layers, kinds)
    counts = {kind[0]: len(kind) for found in kinds.values() for kind in found}
    labels = {
        kind[0]: label
        for found in kinds.values()
        for kind, label in zip(found, _labels([layers[k[0]] for k in found]), strict=True)
    }
    kept = []
    for event in events:
        stack, index, path = places[event]
        if not stack:
            kept.append(Kept(event, 1, "", "", event.path))
        elif (stack, index) in counts:
            layer = (stack, index)
            kept.append(Kept(event, counts[layer], stack, labels[layer], path))
    return kept


def _shared(events: list[Event], places: dict[Event, tuple[str, int, str]]) -> list[Event]:
    """What a layer makes of parameters alone for other layers too (T5's biases of scores): it is no
    part of the layer."""
    made = {e.output: e for e in events if all(v.kind in STORED for v in e.inputs)}
    found = [
        made[value]
        for event in events
        for value in event.inputs
        if value in made and places[event][:2] != places[made[value]][:2]
    ]
    return list(dict.fromkeys(found))


def _place(path: str, stacks: Iterable[str]) -> tuple[str, int, str]:
    """(stack, index, path in the layer), the stack empty outside of them."""
    for stack in stacks:
        if path.startswith(f"{stack}."):
            index, _, rest = path.removeprefix(f"{stack}.").partition(".")
            return stack, int(index), rest
    return "", 0, path


def _kinds(layers: dict[Layer, list[Event]]) -> dict[str, list[list[Layer]]]:
    """Of each stack its layers, those alike together, in order of first occurrence."""
    found: dict[str, dict[object, list[Layer]]] = {}
    for layer, events in layers.items():
        found.setdefault(layer[0], {}).setdefault(_signature(layer, events), []).append(layer)
    return {stack: list(kinds.values()) for stack, kinds in found.items()}


def _signature(layer: Layer, events: list[Event]) -> object:
    """Equal for layers that are alike."""
    stack, index = layer
    prefix = f"{stack}.{index}."
    known: dict[Value, object] = {}
    parts = []
    for i, event in enumerate(events):
        for value in event.inputs:
            name = value.name.removeprefix(prefix)
            known.setdefault(value, ("outer", value.kind, name, value.shape))
        known[event.output] = ("made", i)
        wiring = tuple(known[value] for value in event.inputs)
        facts = repr(sorted(event.facts.items()))
        path = f"{event.path}.".removeprefix(prefix)
        parts.append((event.kind, event.function, path, facts, wiring, event.output.shape))
    return tuple(parts)


def _rewire(
    events: list[Event],
    places: dict[Event, tuple[str, int, str]],
    layers: dict[Layer, list[Event]],
    kinds: dict[str, list[list[Layer]]],
) -> None:
    """Whatever reads a layer that is not kept reads the kept one of its kind, and a stack's last
    layer is its last kind."""
    now: dict[Value, Value] = {}
    ends: dict[Value, str] = {}  # what a layer leaves -> its stack
    for stack, found in kinds.items():
        for kind in found:
            for layer in kind:
                ends[layers[layer][-1].output] = stack
                for event, first in zip(layers[layer], layers[kind[0]], strict=True):
                    now[event.output] = first.output
                    now.update(zip(event.inputs, first.inputs, strict=True))
    for value in [value for value, other in now.items() if other is value]:
        del now[value]
    finals = {s: [layers[kind[0]][-1].output for kind in found] for s, found in kinds.items()}
    firsts = {kind[0]: i for found in kinds.values() for i, kind in enumerate(found)}
    for event in events:
        stack, index, _ = places[event]
        at = firsts.get((stack, index), 0)
        for i, value in enumerate(event.inputs):
            end = ends.get(value)
            if end is None or (end == stack and (not at or value in _made(layers[stack, index]))):
                event.inputs[i] = now.get(value, value)
                continue
            before = finals[end][at - 1] if end == stack else finals[end][-1]
            event.inputs[i] = before if before.shape == value.shape else now.get(value, value)


def _made(events: list[Event]) -> set[Value]:
    return {event.output for event in events}


def _labels(kinds: list[list[Event]]) -> list[str]:
    """A word for each kind of layer: by window, by experts, else by number; none for a single."""
    if len(kinds) == 1:
        return [""]
    mixed = ["sparse" if any(e.kind == "experts" for e in kind) else "dense" for kind in kinds]
    windows = [{e.facts.get("window") for e in kind if e.kind == "attention"} for kind in kinds]
    ranges = ["local" if any(found) else "global" for found in windows]
    for labels in (ranges, mixed, [f"{a}_{b}" for a, b in zip(ranges, mixed, strict=True)]):
        if len(set(labels)) == len(kinds):
            return labels
    return [f"kind_{i}" for i in range(len(kinds))]
