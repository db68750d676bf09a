"""Which ops of two graphs of one model are the same op.

By name; then where one name is the end of the other, in whole parts; then a matrix with the halves
that it is stated in (`x` and `x.k`, `x.v`), and the two parts of a compressed row with the row; the
rest by kind and sizes, in order of execution.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from workloads.graph import Graph, Node
from workloads.ops import Vector


@dataclass(frozen=True, slots=True)
class Pair:
    """The same work on both sides; `name` is the built graph's."""

    name: str
    traced: tuple[Node, ...]
    built: tuple[Node, ...]


Rule = Callable[[Graph, list[Node], list[Node]], Iterator[Pair]]


def pairs(traced: Graph, built: Graph) -> tuple[list[Pair], list[tuple[Graph, Node]]]:
    """The pairs, in no order, and the ops that are in one graph only."""
    ours, theirs = list(traced.nodes), list(built.nodes)
    found = []
    for rule in RULES:
        for pair in list(rule(traced, ours, theirs)):
            if all(n in ours for n in pair.traced) and all(n in theirs for n in pair.built):
                found.append(pair)
                ours = [node for node in ours if node not in pair.traced]
                theirs = [node for node in theirs if node not in pair.built]
    return found, [(traced, node) for node in ours] + [(built, node) for node in theirs]


def _same_name(graph: Graph, ours: list[Node], theirs: list[Node]) -> Iterator[Pair]:
    names = {node.op.name: node for node in ours}
    for node in theirs:
        other = names.get(node.op.name)
        if other is not None and other.op.kind == node.op.kind and _comparable(other, node):
            yield Pair(node.op.name, (other,), (node,))


def _comparable(a: Node, b: Node) -> bool:
    """False for vector ops of other sizes: names of these are ours, by role, and may be shared."""
    return a.op.kind != "vector" or _sizes(a) == _sizes(b)


def _name_alone(graph: Graph, ours: list[Node], theirs: list[Node]) -> Iterator[Pair]:
    names = {node.op.name: node for node in ours}
    for node in theirs:
        other = names.get(node.op.name)
        if other is not None and other.op.kind == node.op.kind:
            yield Pair(node.op.name, (other,), (node,))


def _name_ends(graph: Graph, ours: list[Node], theirs: list[Node]) -> Iterator[Pair]:
    for node in theirs:
        like = [other for other in ours if _ends(node, other)]
        if len(like) == 1 and sum(_ends(n, like[0]) for n in theirs) == 1:
            yield Pair(node.op.name, (like[0],), (node,))


def _ends(a: Node, b: Node) -> bool:
    one, two = f".{a.op.name}", f".{b.op.name}"
    if a.op.kind != b.op.kind or not _comparable(a, b):
        return False
    return one.endswith(two) or two.endswith(one)


def _halves(graph: Graph, ours: list[Node], theirs: list[Node]) -> Iterator[Pair]:
    for node in ours:
        parts = tuple(
            other
            for other in theirs
            if other.op.kind == "einsum" and other.op.name.startswith(f"{node.op.name}.")
        )
        if node.op.kind == "einsum" and len(parts) == 2:
            yield Pair(node.op.name, (node,), parts)


def _latent_rows(graph: Graph, ours: list[Node], theirs: list[Node]) -> Iterator[Pair]:
    for node in theirs:
        prefix, found, _ = node.op.name.partition("latent_append")
        names = (f"{prefix}k_append", f"{prefix}v_append")
        parts = tuple(other for other in ours if other.op.name in names)
        if found and len(parts) == 2:
            yield Pair(node.op.name, parts, (node,))


def _same_sizes(graph: Graph, ours: list[Node], theirs: list[Node]) -> Iterator[Pair]:
    left = list(ours)
    for node in theirs:
        other = next((n for n in left if _sizes(n) == _sizes(node)), None)
        if other is not None:
            left.remove(other)
            yield Pair(node.op.name, (other,), (node,))


def _sizes(node: Node) -> tuple[object, ...]:
    op = node.op
    function = op.function if isinstance(op, Vector) else ""
    sizes = [getattr(op, name, None) for name in ("rows", "width", "run_elements", "taps")]
    if op.kind == "gather" or op.kind == "einsum":
        sizes = sizes[:2]
    return op.kind, function, node.count, op.macs, *sizes


# In this order, each on what the ones before have left.
RULES: tuple[Rule, ...] = (_same_name, _name_ends, _halves, _latent_rows, _same_sizes, _name_alone)
