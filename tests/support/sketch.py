"""Small graphs of several ops, written op by op, and what groups of them cost."""

from __future__ import annotations

from typing import Any

from accel_models.design import Design
from accel_models.path import memory_path
from kernels_ref.formats import FORMATS, Format
from mappers.context import Context
from mappers.fusion import NOTHING, Step, Way
from mappers.groups import group_of
from mappers.plan import Plan
from mappers.pricing import Planner
from mappers.wiring import Wiring
from workloads.graph import Graph, Node, Tensor, check
from workloads.ops import Einsum, Move, Vector

FP16 = FORMATS["fp16"]


class Sketch:
    """A graph while it is written: activations of `rows` rows, the first of them `x`."""

    def __init__(self, rows: int, width: int) -> None:
        self.rows, self.count = rows, 1
        self.tensors: dict[str, Tensor] = {}
        self.nodes: list[Node] = []
        self.made = [self._tensor("x", (rows, width), "activation")]

    def _tensor(
        self, name: str, shape: tuple[int, ...], kind: str, number_format: Format = FP16
    ) -> str:
        self.tensors[name] = Tensor(name, shape, number_format, kind)
        return name

    def _add(self, op: Any) -> str:
        self.nodes.append(Node(op, self.count))
        return op.output

    def vector(self, function: str, *inputs: str, to: Format = FP16) -> str:
        width = self.tensors[inputs[0]].shape[1]
        out = self._tensor(f"{function}{len(self.nodes)}", (self.rows, width), "activation", to)
        self.made.append(out)
        return self._add(Vector(out, inputs, out, function, self.rows, width))

    def multiply(self, source: str, width: int, weights: Format = FP16) -> str:
        k = self.tensors[source].shape[1]
        name = f"mm{len(self.nodes)}"
        weight = self._tensor(f"{name}.weight", (width, k), "weight", weights)
        out = self._tensor(name, (self.rows, width), "activation")
        self.made.append(out)
        ranks = {"m": self.rows, "n": width, "k": k}
        return self._add(Einsum(name, (source, weight), out, ranks, "mk,nk->mn"))

    def copy(self, source: str) -> str:
        cache = self._tensor(f"cache{len(self.nodes)}", self.tensors[source].shape, "kv")
        return self._add(Move(cache, (source,), cache, 4))

    def graph(self) -> Graph:
        return check(
            Graph("sketch", "prefill", 1, self.rows, tuple(self.nodes), self.tensors, self.rows)
        )


def planner_of(graph: Graph, design: Design, objective: str) -> Planner:
    contexts = [
        Context(graph, memory_path(design, name), objective, vector_macs=True)
        for name in design.cores
    ]
    return Planner(Wiring(graph), contexts, objective, {})


def plan_of(graph: Graph, design: Design, *names: str) -> Plan:
    """The plan of the group of these ops (all) on the first kind of cores, nothing on chip."""
    planner = planner_of(graph, design, "latency")
    mask = sum(1 << i for i, op in enumerate(planner.wiring.ops) if not names or op.name in names)
    group = group_of(planner.wiring, mask)
    assert group is not None
    return planner.plan(Step(group, Way(0), NOTHING))
