"""A graph onto a design: every op's mapping, what is fused, which cores run it.

Each op goes to the kind of cores that does it best. An elementwise op whose input is produced by
the op before it and read by nobody else may ride in that op's epilogue; it does if the two
together cost less than apart. Identical ops are planned once.
Not modeled: kinds of cores working on different ops at the same time; fusion across reductions.
"""

from __future__ import annotations

from math import prod
from typing import Any

from accel_models.design import Design
from accel_models.engines.pe import takes
from accel_models.path import Path, memory_path
from accel_models.reader import DesignError
from mappers.cost_rules import COST_RULES, Context
from mappers.plan import Placed, Plan, Schedule
from mappers.search.found import OBJECTIVES
from workloads.graph import Graph, Op
from workloads.ops import Vector

Memo = dict[Any, dict[Any, Any]]
FUSES_INTO = ("einsum", "vector")


def map_graph(
    graph: Graph,
    design: Design,
    objective: str = "latency",
    cores: str | None = None,
    memo: Memo | None = None,
) -> Schedule:
    """The schedule with the least `objective` (latency, energy or edp) op by op.

    `cores` restricts it to one kind of cores. A caller that maps several graphs on the same design
    may pass the same `memo`, a dict that keeps the mappings found. Raises DesignError for an op
    that no cores can do.
    """
    if objective not in OBJECTIVES:
        raise DesignError(f"unknown objective '{objective}'; known: {', '.join(OBJECTIVES)}")
    names = [cores] if cores else list(design.cores)
    paths = [memory_path(design, name) for name in names]
    planner = _Planner(graph, paths, objective, {} if memo is None else memo)
    placed: list[Placed] = []
    riding: set[str] = set()
    for i, node in enumerate(graph):
        if node.op.name not in riding:
            plan, taken = planner.grouped(node.op, _followers(graph, i))
            placed.append(Placed(node.op, node.count, plan, taken))
            riding |= {op.name for op in taken}
    return Schedule(graph, design, objective, tuple(placed), tuple(paths))


def _followers(graph: Graph, index: int) -> list[Op]:
    """The chain of elementwise ops that this op's output feeds, and nothing else does.

    Their other inputs must be there when this op runs.
    """
    node = graph.nodes[index]
    if node.op.kind not in FUSES_INTO:
        return []
    consumers = graph.consumers()
    late = {n.op.output for n in graph.nodes[index + 1 :]}
    found: list[Op] = []
    output = node.op.output
    while len(readers := consumers.get(output, [])) == 1:
        op = readers[0]
        ready = all(t == output or t not in late for t in op.inputs)
        if not isinstance(op, Vector) or op.reduction or not ready:
            break
        if graph.node(op.name).count != node.count:
            break
        found.append(op)
        output = op.output
    return found


def takes_some(graph: Graph, path: Path) -> bool:
    """Can the matrix engine do any of the graph's multiplications?

    Then the vector engine may do the others (the attention of an integer-only array, say); where it
    can do none, the formats are the wrong ones for the design and the user should hear so.
    """
    for node in graph:
        if node.op.kind == "einsum":
            a, b = (graph.tensors[t].format for t in node.op.inputs[:2])
            if takes(path.engine.pe, b, a):
                return True
    return False


class _Planner:
    """Plans already made, so that identical ops are planned once."""

    def __init__(self, graph: Graph, paths: list[Path], objective: str, memo: Memo) -> None:
        self.contexts = [
            Context(
                graph,
                path,
                objective,
                takes_some(graph, path),
                memo.setdefault((path.name, objective), {}),
            )
            for path in paths
        ]
        self.graph, self.objective = graph, objective
        self.known: dict[Any, Plan] = {}

    def grouped(self, op: Op, followers: list[Op]) -> tuple[Plan, tuple[Op, ...]]:
        """The op with as many of its followers as pay, one more at a time."""
        plan = self.best(op, ())
        taken: tuple[Op, ...] = ()
        for follower in followers:
            together = self.best(op, (*taken, follower))
            apart = self._value(plan) + self._value(self.best(follower, ()))
            if self._value(together) > apart:
                break
            plan, taken = together, (*taken, follower)
        return plan, taken

    def best(self, op: Op, epilogue: tuple[Op, ...]) -> Plan:
        """The best plan over the kinds of cores. Raises DesignError if none can do it."""
        key = _signature(op, epilogue, self.graph)
        if key not in self.known:
            self.known[key] = self._search(op, epilogue)
        return self.known[key]

    def _search(self, op: Op, epilogue: tuple[Op, ...]) -> Plan:
        if op.kind not in COST_RULES:
            known = ", ".join(COST_RULES)
            raise DesignError(
                f"{op.name}: no cost rule for ops of kind '{op.kind}'; known: {known}"
            )
        plans, problems = [], []
        for context in self.contexts:
            try:
                plans.append(COST_RULES[op.kind](op, epilogue, context))
            except DesignError as problem:
                problems.append(str(problem))
        if not plans:
            raise DesignError("\n".join(dict.fromkeys(problems)))
        return min(plans, key=self._value)

    def _value(self, plan: Plan) -> float:
        return float(OBJECTIVES[self.objective](plan.cost)[0])


def _signature(op: Op, epilogue: tuple[Op, ...], graph: Graph) -> tuple[Any, ...]:
    """Equal for ops that any rule plans alike: names aside, the same sizes, formats and work."""

    def of(o: Op) -> tuple[Any, ...]:
        tensors = tuple(graph.tensors[t] for t in (*o.inputs, o.output))
        facts = tuple(
            (name, tuple(value.items()) if isinstance(value, dict) else value)
            for name in o.__dataclass_fields__  # type: ignore[attr-defined]
            if name not in ("name", "inputs", "output")
            for value in [getattr(o, name)]
        )
        return facts, tuple((prod(t.shape), t.format, t.kind) for t in tensors)

    return of(op), tuple(of(e) for e in epilogue)
