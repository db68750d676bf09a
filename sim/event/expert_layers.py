"""Layers with experts, taken apart: the ops that experts do, and these for some of them only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from kernels_ref.errors import UserError
from sim.event.cuts import ancestors
from sim.event.sides import Side
from workloads.graph import Graph, Node, Tensor
from workloads.ops import Experts, Vector


@dataclass(frozen=True)
class Dense:
    """A kind of layers that the accelerator runs whole."""

    nodes: Sequence[Node]

    @property
    def count(self) -> int:
        return round(max(node.count for node in self.nodes))

    @property
    def names(self) -> set[str]:
        return {node.op.name for node in self.nodes}


@dataclass(frozen=True)
class WithExperts(Dense):
    """One with experts: `chain` are the ops on rows that are dealt out to these."""

    chain: tuple[Node, ...]

    @property
    def first(self) -> Experts:
        """The chain's first multiplication."""
        return next(node.op for node in self.chain if isinstance(node.op, Experts))

    @property
    def last(self) -> Experts:
        """And its last."""
        return next(node.op for node in reversed(self.chain) if isinstance(node.op, Experts))

    @property
    def rows(self) -> list[int]:
        """Of every expert that has any, most first."""
        loads = [rows for count, rows in self.first.loads for _ in range(count)]
        return sorted(loads, reverse=True)


def kind_of(graph: Graph, nodes: Sequence[Node]) -> Dense:
    """What kind of layers these are. Raises UserError for experts that are run token by token."""
    experts = {node.op.name for node in nodes if isinstance(node.op, Experts)}
    if not experts:
        return Dense(nodes)
    if any(isinstance(node.op, Experts) and node.op.by_token for node in nodes):
        raise UserError("host_experts: experts run token by token; leave out token_major()")
    between = {
        node.op.name
        for node in nodes
        if ancestors(nodes, {node.op.name}) & experts
        and any(node.op.name in ancestors(nodes, {name}) for name in experts)
    }
    chain = tuple(node for node in nodes if node.op.name in experts | between)
    return WithExperts(nodes, chain)


def dealt(graph: Graph, kind: WithExperts, loads: Sequence[int]) -> Graph:
    """The chain alone, for experts with so many rows each."""
    pairs = tuple((loads.count(rows), rows) for rows in dict.fromkeys(loads))
    before, rows = kind.first.rows, sum(loads)
    tensors, nodes = dict(graph.tensors), []
    for node in kind.chain:
        op = node.op
        for name in (*op.inputs, op.output):
            tensors[name] = _dealt(graph.tensors[name], before, rows, len(loads))
        if isinstance(op, Experts):
            op = replace(op, loads=pairs)
        elif isinstance(op, Vector):
            op = replace(op, rows=rows)
        nodes.append(replace(node, op=op, count=1, layered=True))
    return replace(graph, nodes=tuple(nodes), tensors=tensors)


def _dealt(tensor: Tensor, before: int, rows: int, experts: int) -> Tensor:
    """Matrices of so many experts, or so many rows of what they read and make."""
    if tensor.kind == "weight":
        return replace(tensor, shape=(experts, *tensor.shape[1:]))
    return replace(tensor, shape=(tensor.shape[0] * rows // before, *tensor.shape[1:]))


@dataclass(frozen=True)
class ExpertRoom:
    """How many experts of each layer an accelerator holds: a share of them (up to 1) or a number;
    without either as many as fit."""

    graph: Graph
    accelerator: Side
    kinds: Sequence[WithExperts]
    cached: float | None

    def experts(self, kind: WithExperts) -> int:
        """In a layer, with rows or without."""
        return self.graph.tensors[kind.first.inputs[1]].shape[0]

    def expert_bytes(self, kind: WithExperts) -> float:
        """All matrices of one expert."""
        names = {
            name
            for node in kind.chain
            for name in node.op.inputs
            if self.graph.tensors[name].kind == "weight"
        }
        return sum(self.graph.tensors[name].bytes for name in names) / self.experts(kind)

    def all_experts(self) -> float:
        """Bytes."""
        return sum(k.count * self.experts(k) * self.expert_bytes(k) for k in self.kinds)

    def held_bytes(self) -> tuple[float, float]:
        """Weights that each machine has."""
        everything = self.all_experts()
        held = sum(k.count * self.held(k) * self.expert_bytes(k) for k in self.kinds)
        return self.graph.weight_bytes - everything + held, everything

    def held(self, kind: WithExperts) -> int:
        """Experts of a layer that the accelerator holds. Raises UserError."""
        there, gpu = self.experts(kind), self.accelerator
        if self.cached is None:
            everything = self.all_experts()
            room = gpu.memory_bytes - (self.graph.held_bytes - everything)
            if room < 0 or room >= everything:
                what = "even without experts" if room < 0 else "with all experts"
                fits = "does not fit" if room < 0 else "fits"
                raise UserError(
                    f"host_experts: {self.graph.name} {fits} {gpu.design.name} {what}"
                    + ("" if room < 0 else "; say how many of a layer it is to hold: cached=N")
                )
            return int(there * room / everything)
        share = self.cached <= 1
        count = round(self.cached * there) if share else self.cached
        if not 0 <= count <= there or count != int(count):
            raise UserError(
                f"host_experts: cached is {self.cached:g}; a share up to 1, or a whole number of a "
                f"layer's {there} experts"
            )
        return int(count)
