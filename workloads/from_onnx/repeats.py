"""Identical blocks that follow each other, as layers do: once in the graph, with a count.

Two blocks are identical if their ops are, position by position, with tensors of the same shapes and
formats, and are wired alike: inside a block, to the block before (the first block: to what comes
before all of them), to weights and inputs of its own or to such that all share (these are stored
once: `Graph.copies`). What the last block leaves may be read after it. The blocks that save most
ops are folded, until none is left; a reader of an inner block's results keeps blocks apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from workloads.graph import Graph, Op

MULTIPLIES = ("einsum", "attention", "experts")
STORED = ("weight", "table")


@dataclass(frozen=True)
class Blocks:
    """`times` blocks of `length` ops each, the first at `start`."""

    start: int
    length: int
    times: int

    @property
    def saved(self) -> int:
        """Ops that the graph has less."""
        return self.length * (self.times - 1)

    def op(self, block: int, position: int) -> int:
        """Where the op stands in the graph."""
        return self.start + block * self.length + position


def folded(graph: Graph) -> Graph:
    """The graph with repeated blocks once, named as the first of them."""
    graph = _prepared(graph)
    while True:
        found = _best(graph)
        if found is None:
            return graph
        graph = _folded(graph, found)


def _prepared(graph: Graph) -> Graph:
    """What rests on no multiplication first: masks and positions that exporters write where they
    are first read, inside a layer that is like the others but for them."""
    later: set[str] = set()
    first, rest = [], []
    for node in graph:
        if node.op.kind in MULTIPLIES or later & set(node.op.inputs):
            later.add(node.op.output)
            rest.append(node)
        else:
            first.append(node)
    return replace(graph, nodes=(*first, *rest))


def _best(graph: Graph) -> Blocks | None:
    """The blocks that save most; of equals, the shortest and then the first."""
    marks = _marks(graph)
    for blocks in _candidates(marks):
        ops = graph.nodes[blocks.start : blocks.start + blocks.length]
        if any(n.count > 1 for n in ops) or not any(n.op.kind in MULTIPLIES for n in ops):
            continue
        if _alike(graph, blocks):
            return blocks
    return None


def _marks(graph: Graph) -> np.ndarray:
    """A number for each op, equal for ops that differ in names only."""
    numbers: dict[Any, int] = {}
    marks = []
    for node in graph:
        names = (*node.op.inputs, node.op.output)
        facts = tuple(
            (t.shape, t.format.name, t.kind) for t in (graph.tensors[name] for name in names)
        )
        key = (node.count, _work(node.op), facts)
        marks.append(numbers.setdefault(key, len(numbers)))
    return np.array(marks)


def _work(op: Op) -> tuple[Any, ...]:
    fields = op.__dataclass_fields__  # type: ignore[attr-defined]
    values = (getattr(op, name) for name in fields if name not in ("name", "inputs", "output"))
    return tuple(tuple(v.items()) if isinstance(v, dict) else v for v in values)


def _candidates(marks: np.ndarray) -> list[Blocks]:
    """Runs of ops that repeat after some length, in every alignment, the most saving first."""
    found = []
    for length in range(1, len(marks) // 2 + 1):
        same = np.concatenate(([0], (marks[:-length] == marks[length:]).astype(int), [0]))
        edges = np.flatnonzero(np.diff(same))
        for first, end in zip(edges[::2], edges[1::2], strict=True):
            run = int(end - first)
            for shift in range(min(length, run - length + 1)):
                times = (run - shift) // length + 1
                found.append(Blocks(int(first) + shift, length, times))
    return sorted(found, key=lambda b: (-b.saved, b.length, b.start))


def _alike(graph: Graph, blocks: Blocks) -> bool:
    """Are the blocks wired as the module says?"""
    makers = {node.op.output: i for i, node in enumerate(graph)}
    for position in range(blocks.length):
        ops = [graph.nodes[blocks.op(b, position)].op for b in range(blocks.times)]
        for sources in zip(*(op.inputs for op in ops), strict=True):
            if not _same_role(graph, blocks, makers, sources):
                return False
    return _own(graph, blocks, makers) and _left_alone(graph, blocks, makers)


def _same_role(
    graph: Graph, blocks: Blocks, makers: dict[str, int], sources: Sequence[str]
) -> bool:
    """One input of the ops at one position of every block."""
    made = [makers.get(name, -1) - blocks.start for name in sources]
    outside = [at < 0 for at in made]
    if all(outside):
        return len(set(sources)) in (1, len(sources))
    if any(outside[1:]):
        return False
    steps = [b - at // blocks.length for b, at in enumerate(made)][1:]
    positions = {at % blocks.length for at in made[1:]}
    if len(positions) > 1 or len(set(steps)) > 1 or steps[0] not in (0, 1):
        return False
    if steps[0] == 0:
        return not outside[0] and made[0] in positions
    return outside[0]


def _own(graph: Graph, blocks: Blocks, makers: dict[str, int]) -> bool:
    """Does what nobody makes and each block has of its own stand for one another in every op that
    reads it, and is it read nowhere else?"""
    partner: list[dict[str, str]] = [{} for _ in range(blocks.times)]
    inside = range(blocks.start, blocks.start + blocks.length * blocks.times)
    for position in range(blocks.length):
        first = _names(graph, blocks.op(0, position))
        for b in range(blocks.times):
            for name, own in zip(first, _names(graph, blocks.op(b, position)), strict=True):
                if partner[b].setdefault(name, own) != own:
                    return False
    given = [name for name, own in partner[1].items() if name not in makers and own not in makers]
    given += [name for name in partner[0] if graph.tensors[name].kind == "kv"]
    theirs = [names[name] for name in given for names in partner if names[name] != name]
    theirs += [name for name in given if len({names[name] for names in partner}) > 1]
    elsewhere = {t for i in range(len(graph.nodes)) if i not in inside for t in _names(graph, i)}
    return len(set(theirs)) == len(theirs) and not elsewhere & set(theirs)


def _names(graph: Graph, index: int) -> tuple[str, ...]:
    op = graph.nodes[index].op
    return (*op.inputs, op.output)


def _left_alone(graph: Graph, blocks: Blocks, makers: dict[str, int]) -> bool:
    """Does nobody after the blocks read what an inner one makes?"""
    end = blocks.start + blocks.length * blocks.times
    last = end - blocks.length
    return all(
        not blocks.start <= makers.get(t, -1) < last
        for node in graph.nodes[end:]
        for t in node.op.inputs
    )


def _folded(graph: Graph, blocks: Blocks) -> Graph:
    end = blocks.start + blocks.length * blocks.times
    first = graph.nodes[blocks.start : blocks.start + blocks.length]
    last = graph.nodes[end - blocks.length : end]
    renamed = {b.op.output: a.op.output for a, b in zip(first, last, strict=True)}
    rest = [
        replace(node, op=replace(node.op, inputs=tuple(renamed.get(t, t) for t in node.op.inputs)))  # type: ignore[type-var]
        for node in graph.nodes[end:]
    ]
    nodes = (
        *graph.nodes[: blocks.start],
        *(replace(node, count=blocks.times, layered=True) for node in first),
        *rest,
    )
    second = graph.nodes[blocks.start + blocks.length : blocks.start + 2 * blocks.length]
    shared = {t for a in first for t in a.op.inputs} & {t for b in second for t in b.op.inputs}
    once = {t: 1.0 for t in shared if graph.tensors[t].kind in STORED}
    used = {t for node in nodes for t in (*node.op.inputs, node.op.output)}
    tensors = {name: t for name, t in graph.tensors.items() if name in used}
    return replace(graph, nodes=nodes, tensors=tensors, copies={**graph.copies, **once})
