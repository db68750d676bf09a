"""Layers of one kind as several: the same ops under names of their own, with counts that add up.

Layers that are alike stand in a graph once. Where some of them are to differ, they become parts:
each has its own copy of the ops, tensors and caches under a prefix, and reads the part before it.
What is stored, computed and moved in all stays as it was. A range of layers is a part that is named
after it, `layers2-29.`, so that ranges may be cut again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from typing import Any

from kernels_ref.errors import UserError
from workloads.graph import Graph, Node, check

_PART = re.compile(r"layers(\d+)-(\d+)\.?")
_RANGE = re.compile(r"(?:(.+)\.)?(\d+)(?:-(\d+))?")


@dataclass(frozen=True)
class Part:
    """`count` of the layers, whose ops begin with `prefix` and whose parameters with `weights`:
    parts of the same `weights` have them in common."""

    prefix: str
    count: float
    weights: str


@dataclass(frozen=True)
class _Layers:
    """Nodes of the layers `first` to `last` (the last included) of a kind."""

    first: int
    last: int
    nodes: tuple[Node, ...]


def in_parts(graph: Graph, inside: Sequence[Node], parts: Sequence[Part]) -> Graph:
    """The graph with these neighboring nodes, which are all of the layers of a kind, as several.

    Raises UserError where they are not alike, or read from outside other than by their last output.
    """
    total, last = inside[0].count, inside[-1].op.output
    if any(node.count != total for node in inside):
        raise UserError(f"{graph.name}: its layers are not alike any more; divide them first")
    start = graph.nodes.index(inside[0])
    if graph.nodes[start : start + len(inside)] != tuple(inside):
        raise UserError(f"{graph.name}: other ops stand between those of its layers")
    before, behind = graph.nodes[:start], graph.nodes[start + len(inside) :]
    own = _own(graph, inside, (*before, *behind))
    made_here = {node.op.output for node in inside}
    parameters = {n for n in own if graph.tensors[n].kind in ("weight", "table")} - made_here
    stream = _stream(graph, inside)
    nodes, tensors, copies = list(before), dict(graph.tensors), dict(graph.copies)
    for name in own:
        del tensors[name]
        copies.pop(name, None)
    made: str | None = None
    for part in parts:
        names = {name: part.prefix + name for name in own}
        names |= {name: part.weights + name for name in own if name in parameters}
        reads = names if made is None else {**names, stream: made}
        nodes += [_moved(node, part, reads, names, part.count / total) for node in inside]
        made = names[last]
        for name, renamed in names.items():
            tensors[renamed] = replace(graph.tensors[name], name=renamed)
            if name in graph.copies:
                copies[renamed] = graph.copies[name] * part.count / total
    assert made is not None
    nodes += [replace(n, op=_reading(n.op, {last: made})) for n in behind]
    return check(replace(graph, nodes=tuple(nodes), tensors=tensors, copies=copies))


def _own(graph: Graph, inside: Sequence[Node], others: Sequence[Node]) -> list[str]:
    """Tensors that only these layers name, with those that they store and do not use."""
    made = {node.op.output for node in inside}
    named = {t for node in inside for t in (*node.op.inputs, node.op.output)}
    elsewhere = {t for node in others for t in (*node.op.inputs, node.op.output)}
    read = sorted((made - {inside[-1].op.output}) & elsewhere)
    if read:
        raise UserError(f"{graph.name}: '{read[0]}' of its layers is read outside of them")
    kept = {n for n in named - made if graph.tensors[n].kind == "activation"} | elsewhere
    return sorted((named - kept) | made | _idle(graph, inside))


def _idle(graph: Graph, inside: Sequence[Node]) -> set[str]:
    """What these layers store and this phase does not use: by its name, and by its copies where
    layers have no name."""
    used = {t for node in graph for t in (*node.op.inputs, node.op.output)}
    label, total = inside[0].layer, inside[0].count
    idle = (n for n in graph.copies if n not in used and _label(graph, n) == label)
    return {name for name in idle if label or graph.copies[name] == total}


def _stream(graph: Graph, inside: Sequence[Node]) -> str:
    """What the first op reads of what is made before: a layer's input."""
    made = {node.op.output for node in inside}
    for name in inside[0].op.inputs:
        if name not in made and graph.tensors[name].kind == "activation":
            return name
    raise UserError(f"{graph.name}: the first op of its layers reads no layer before it")


def _moved(
    node: Node, part: Part, reads: dict[str, str], names: dict[str, str], share: float
) -> Node:
    """The node in this part."""
    op = _reading(node.op, reads)
    op = replace(op, name=part.prefix + node.op.name, output=names[node.op.output])
    count = node.count * share
    label = (part.prefix + node.layer).rstrip(".")
    whole = round(count) if abs(count - round(count)) < 1e-9 else count
    return replace(node, op=op, count=whole, layer=label)


def _reading(op: Any, names: Mapping[str, str]) -> Any:
    """The op with inputs renamed."""
    return replace(op, inputs=tuple(names.get(t, t) for t in op.inputs))


def _label(graph: Graph, tensor: str) -> str:
    """The kind of layers that a tensor which no op names is of, by its name."""
    labels = {node.layer for node in graph}
    return max((x for x in labels if not x or tensor.startswith(f"{x}.")), key=len, default="")


def matches(name: str, pattern: str) -> bool:
    """Does an op have such a name, with or without that of its range of layers?"""
    return fnmatch(name, pattern) or fnmatch(_PART.sub("", name), pattern)


def layers_of(graph: Graph, kind: str) -> tuple[Node, ...]:
    """The nodes of a kind of layers that is whole. Raises UserError."""
    found = _kinds(graph).get(kind, [])
    if len(found) != 1:
        raise UserError(f"{graph.name}: its layers are in parts already; {_known(graph)}")
    return found[0].nodes


def whole_kinds(graph: Graph) -> list[str]:
    """The kinds of layers that there are."""
    return list(_kinds(graph))


def only_kind(graph: Graph) -> str:
    """The kind of layers of a model that has one. Raises UserError."""
    kinds = _kinds(graph)
    if len(kinds) != 1:
        raise UserError(f"{graph.name} has layers of several kinds, or none; {_known(graph)}")
    return next(iter(kinds))


def layer_ranges(graph: Graph, text: str) -> tuple[Graph, set[str]]:
    """The graph with parts that begin and end where the ranges of `text` do, as `2-29`, `0-1+30` or
    `sparse.3-9`; names of the ops within and of the tensors that are only stored there. Raises
    UserError."""
    names: set[str] = set()
    wanted = [_range(graph, piece) for piece in text.split("+")]
    for kind, first, last in wanted:
        for place in (first, last + 1):
            for layers in _kinds(graph)[kind]:
                if layers.first < place <= layers.last:
                    graph = _cut(graph, layers, place)
                    break
    for kind, first, last in wanted:
        for part in _kinds(graph)[kind]:
            if first <= part.first and part.last <= last:
                names |= {node.op.name for node in part.nodes} | _idle(graph, part.nodes)
    return graph, names


def _cut(graph: Graph, layers: _Layers, place: int) -> Graph:
    """These layers in two parts, the second from `place` on."""
    old = _PART.match(layers.nodes[0].op.name)
    if old:
        graph, layers = _plain(graph, layers, old[0])
    ranges = ((layers.first, place - 1), (place, layers.last))
    names = [f"layers{a}-{b}." for a, b in ranges]
    sizes = [b - a + 1 for a, b in ranges]
    parts = [Part(name, size, name) for name, size in zip(names, sizes, strict=True)]
    return in_parts(graph, layers.nodes, parts)


def _plain(graph: Graph, layers: _Layers, prefix: str) -> tuple[Graph, _Layers]:
    """The layers without the name of their range, which is to be cut."""
    own = {name: name.removeprefix(prefix) for name in graph.tensors if name.startswith(prefix)}
    label = layers.nodes[0].layer.removeprefix(prefix.rstrip(".")).lstrip(".")
    nodes = []
    for node in graph:
        op = _reading(node.op, own)
        op = replace(op, output=own.get(op.output, op.output))
        if node in layers.nodes:
            node = replace(node, layer=label)
            op = replace(op, name=op.name.removeprefix(prefix))
        nodes.append(replace(node, op=op))
    at = graph.nodes.index(layers.nodes[0])
    inside = tuple(nodes[at : at + len(layers.nodes)])
    tensors = {own.get(n, n): replace(t, name=own.get(n, n)) for n, t in graph.tensors.items()}
    copies = {own.get(name, name): n for name, n in graph.copies.items()}
    made = replace(graph, nodes=tuple(nodes), tensors=tensors, copies=copies)
    return made, replace(layers, nodes=inside)


def _range(graph: Graph, text: str) -> tuple[str, int, int]:
    """(kind, first, last) of `sparse.3-9`."""
    match, kinds = _RANGE.fullmatch(text.strip()), _kinds(graph)
    if not match:
        raise UserError(f"layers are '{text}'; write 2-29, or 0-1+30-31, or KIND.0-9")
    kind = match[1] or ""
    if kind not in kinds:
        raise UserError(f"layers={text}: {graph.name} has {_known(graph)}")
    first, most = int(match[2]), max(part.last for part in kinds[kind])
    last = int(match[3] or first)
    if not first <= last <= most:
        raise UserError(f"layers={text}: {graph.name} has {_known(graph)}")
    return kind, first, last


def _known(graph: Graph) -> str:
    found = [
        f"{kind}.{parts[0].first}-{parts[-1].last}".lstrip(".")
        for kind, parts in _kinds(graph).items()
    ]
    return f"layers {', '.join(found)}" if found else "no layers that are alike"


def _kinds(graph: Graph) -> dict[str, list[_Layers]]:
    """The parts of each kind of layers, in order."""
    groups: dict[str, list[Node]] = {}
    for node in graph:
        if node.layered:
            groups.setdefault(node.layer, []).append(node)
    found: dict[str, list[_Layers]] = {}
    for label, nodes in groups.items():
        part, count = _PART.match(label), nodes[0].count
        if count != int(count) or any(node.count != count for node in nodes):
            continue
        first = int(part[1]) if part else 0
        kind = label[part.end() :] if part else label
        here = _Layers(first, first + int(count) - 1, tuple(nodes))
        found.setdefault(kind, []).append(here)
    return found
