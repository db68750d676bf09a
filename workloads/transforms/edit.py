"""What transforms share: ops and matrices by name, layers, new rows, and a graph put together
again."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from math import inf
from typing import Any

from kernels_ref.errors import UserError
from workloads.graph import Graph, Node, Op, Tensor, check, stored
from workloads.ops import Attention, Gather
from workloads.phase import TRAIN, PhaseError
from workloads.transforms.split import matches

# ops whose matrices are no projections of a layer
NO_PROJECTIONS = ("lm_head", "project_in", "project_out", "gate", "router")


@dataclass(frozen=True)
class Block:
    """Neighboring nodes of one kind of layers: they are alike."""

    nodes: tuple[Node, ...]

    @property
    def count(self) -> float:
        return self.nodes[0].count


def blocks(graph: Graph) -> list[Block]:
    """The layers of the graph, kind after kind. Raises UserError where there are none."""
    found: list[list[Node]] = []
    before: tuple[float, str] | None = None
    for node in graph:
        here = (node.count, node.layer) if node.layered else None
        if node.layered:
            if here == before:
                found[-1].append(node)
            else:
                found.append([node])
        before = here
    if not found:
        raise UserError(f"{graph.name} has no layers that are alike, which the transform changes")
    return [Block(tuple(nodes)) for nodes in found]


def renewed(
    graph: Graph,
    nodes: Iterable[Node] | None = None,
    tensors: Mapping[str, Tensor] | None = None,
    **facts: Any,
) -> Graph:
    """The graph with other nodes, tensors changed or added, tensors that nobody names left out, and
    as many copies of what is stored as before."""
    kept = tuple(graph.nodes if nodes is None else nodes)
    known = {**graph.tensors, **(tensors or {})}
    before = graph.stored_copies()
    after = stored(kept, known)
    copies = facts.pop("copies", {})
    own = {name: n for name, n in before.items() if after.get(name) != n}
    own = {name: n for name, n in own.items() if known[name].kind != "kv" or name in graph.copies}
    named = {t for node in kept for t in (*node.op.inputs, node.op.output)} | set(own) | set(copies)
    return check(
        replace(
            graph,
            nodes=kept,
            tensors={name: tensor for name, tensor in known.items() if name in named},
            copies={**own, **copies},
            **facts,
        )
    )


def changed(graph: Graph, change: Callable[[Op], Op]) -> tuple[Node, ...]:
    """Every node with its op changed, or the same."""
    return tuple(replace(node, op=change(node.op)) for node in graph)


@dataclass(frozen=True)
class Where:
    """Of which ops: those of such a name, among these of some layers (None: of all of them)."""

    only: str = "*"
    inside: frozenset[str] | None = None

    @property
    def everywhere(self) -> bool:
        """Is nothing left out?"""
        return self.only == "*" and self.inside is None

    def has(self, name: str) -> bool:
        """Is the op of this name, or the matrix, among them?"""
        return matches(name.removesuffix(".weight"), self.only) and self.in_layers(name)

    def in_layers(self, name: str) -> bool:
        """Is the op of one of these layers, whatever its name there?"""
        return self.inside is None or name in self.inside


EVERYWHERE = Where()


def projections(graph: Graph, where: Where = EVERYWHERE) -> dict[str, Op]:
    """Ops of layers that multiply by a matrix of parameters, of matching names. Raises UserError if
    none has such a name."""
    found = {node.op.name: node.op for node in graph if _is_projection(graph, node.op)}
    chosen = {name: op for name, op in found.items() if where.has(name)}
    if not (chosen or where.everywhere):
        raise UserError(
            f"{graph.name} has no matrix of a layer named '{where.only}'; "
            f"there are {', '.join(found)}"
        )
    return chosen


def matrices(graph: Graph, where: Where = EVERYWHERE) -> list[str]:
    """Names of these ops' weights, and of matrices in parts that the phase does not run."""
    used = {t for node in graph for t in node.op.inputs}
    idle = [n for n in graph.copies if n not in used and _is_matrix(graph.tensors[n])]
    found = [op.inputs[1] for op in projections(graph, where).values()]
    return [*found, *(name for name in idle if where.has(name))]


def _is_projection(graph: Graph, op: Op) -> bool:
    """A matrix of parameters inside a layer; a table that doubles as lm_head is not."""
    return op.kind in ("einsum", "experts") and _is_matrix(graph.tensors[op.inputs[1]])


def _is_matrix(tensor: Tensor) -> bool:
    """Of a layer's parameters, by its name `<op>.weight`."""
    op = tensor.name.removesuffix(".weight").rpartition(".")[2]
    return tensor.kind == "weight" and len(tensor.shape) >= 2 and op not in NO_PROJECTIONS


def attentions(graph: Graph, names: str = "*") -> list[Attention]:
    """The attention ops of matching names. Raises UserError where there are none."""
    ops = [node.op for node in graph if isinstance(node.op, Attention)]
    if not ops:
        raise PhaseError(f"{graph.name} has no attention in its phase {graph.phase}")
    found = [op for op in ops if fnmatch.fnmatch(op.name, names)]
    if not found:
        raise UserError(
            f"{graph.name}: no attention is named '{names}'; there are "
            f"{', '.join(op.name for op in ops)}"
        )
    return found


def cached(graph: Graph, names: str = "*") -> Iterator[Attention]:
    """Attention ops that read a cache. Raises UserError where there are none."""
    found = [op for op in attentions(graph, names) if graph.tensors[op.operands[1]].kind == "kv"]
    if not found:
        raise PhaseError(
            f"{graph.name}: no attention reads a cache in its phase {graph.phase}; "
            "a decode step does"
        )
    return iter(found)


def cache_writes(graph: Graph) -> list[Node]:
    """The nodes that write new rows to a cache."""
    moves = (node for node in graph if node.op.kind == "move")
    return [node for node in moves if graph.tensors[node.op.output].kind == "kv"]


def cache_makers(graph: Graph, writes: Iterable[Node], most_readers: float = inf) -> set[str]:
    """Names of these writes and of the ops that make their rows, back to a multiplication, as long
    as no more than so many ops read what one makes."""
    makers, readers = {node.op.output: node.op for node in graph}, graph.consumers()
    found: set[str] = set()
    for node in writes:
        found.add(node.op.name)
        source = makers.get(node.op.inputs[0])
        while source is not None and len(readers[source.output]) <= most_readers:
            found.add(source.name)
            if source.kind == "einsum":
                break
            source = makers.get(source.inputs[0])
    return found


def prefixed(
    graph: Graph, prefix: str, times: int = 1, kept: Collection[str] = ()
) -> tuple[list[Node], dict[str, Tensor]]:
    """The graph `times` over, its names with a prefix; tensors in `kept` keep theirs."""

    def name(text: str) -> str:
        return text if text in kept else prefix + text

    nodes = []
    for node in graph:
        op = node.op
        inputs = tuple(name(t) for t in op.inputs)
        renamed = replace(op, name=prefix + op.name, inputs=inputs, output=name(op.output))  # type: ignore[type-var]
        label = (prefix + node.layer).rstrip(".")
        nodes.append(Node(renamed, node.count * times, label, node.layered))
    tensors = {
        name(t): replace(tensor, name=name(t))
        for t, tensor in graph.tensors.items()
        if t not in kept
    }
    return nodes, tensors


def of_parameters(graph: Graph, op: Op) -> bool:
    """Does the op read nothing but matrices, so that its work does not depend on the tokens? (What
    says which of their columns are read may be an activation.)"""
    return graph.tensors[op.inputs[0]].kind == "weight"


def of_inference(graph: Graph, name: str) -> None:
    """Raises UserError in the phase train, for a transform of this name that gradients do not
    follow."""
    if graph.phase == TRAIN:
        raise UserError(f"{name} is of inference; {graph.name} in phase {TRAIN} is without it")


def share(value: float, name: str, least: float = 0.0, most: float = 1.0) -> float:
    """The value, within these limits. Raises UserError."""
    if not least <= value <= most:
        raise UserError(f"{name} is {value:g}; write a number from {least:g} to {most:g}")
    return value


def score_biases(graph: Graph) -> set[str]:
    """Tables of biases of scores that attention reads, which have nothing to do with tokens."""
    readers = graph.consumers()
    made = {node.op.output for node in graph if isinstance(node.op, Gather)}
    return {
        name
        for name in made
        for op in readers.get(name, [])
        if isinstance(op, Attention) and name in op.inputs[3:]
    }
