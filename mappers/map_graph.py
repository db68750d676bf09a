"""A graph onto a design: what is fused, every group's mapping, which cores run it, what stays on
chip.

`mappers.groups` says which ops may run as one kernel, `mappers.cost_rules` what that costs, and
`mappers.fusion` finds the cheapest division. For latency and energy the division is the optimum
over what these allow; for another objective it is the best of those that no other beats in both,
groups being mapped for the objective each. Identical groups are planned once; graphs that differ in
the length of their caches only are divided alike. Not modeled: kinds of cores working on different
ops at the same time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from accel_models.design import Design
from accel_models.engines.pe import takes
from accel_models.path import Path, memory_path
from accel_models.reader import DesignError
from mappers.context import Context
from mappers.cost import in_sequence
from mappers.fetching import fetches
from mappers.fused_tables import with_tables
from mappers.fusion import Step, best_division
from mappers.groups import legal_groups
from mappers.plan import Placed, Plan, Schedule
from mappers.pricing import Planner
from mappers.search.found import OBJECTIVES
from mappers.wiring import Wiring
from workloads.graph import Graph

Memo = dict[Any, dict[Any, Any]]
ADDS_UP = {"latency": 0, "energy": 1}


def map_graph(
    graph: Graph,
    design: Design,
    objective: str = "latency",
    cores: str | None = None,
    memo: Memo | None = None,
) -> Schedule:
    """The schedule with the least `objective` (latency, energy or edp).

    `cores` restricts it to one kind of cores. A caller that maps several graphs on the same design
    may pass the same `memo`, a dict that keeps the mappings found. Raises DesignError for an op
    that no cores can do.
    """
    if objective not in OBJECTIVES:
        raise DesignError(f"unknown objective '{objective}'; known: {', '.join(OBJECTIVES)}")
    names = [cores] if cores else list(design.cores)
    paths = [memory_path(design, name) for name in names]
    known = {} if memo is None else memo
    extended, tables = with_tables(graph, paths)
    contexts = [
        Context(
            extended,
            path,
            objective,
            takes_some(graph, path),
            known.setdefault((path.name, objective), {}),
            tables=tables,
            costed=known.setdefault(("costed", path.name, objective), {}),
        )
        for path in paths
    ]
    wiring = Wiring(extended)
    planner = Planner(wiring, contexts, objective, known.setdefault(("plans", objective), {}))
    apart = {op.name: planner.alone(op) for op in wiring.ops}
    divided = known.setdefault(("division", objective, tuple(names)), {})
    steps = _division(wiring, planner, objective, divided)
    placed = tuple(_placed(step, planner, apart) for step in steps)
    fetched = tuple(fetches(graph, design, placed))
    return Schedule(graph, design, objective, (*placed, *fetched), tuple(paths))


def _division(
    wiring: Wiring, planner: Planner, objective: str, divided: dict[Any, Any]
) -> Sequence[Step]:
    """The steps of the best division, or those of a graph that differs in its context only."""
    shape = _shape(wiring.graph)
    groups = legal_groups(wiring)
    if shape in divided:
        by_mask = {group.mask: group for group in groups}
        again = [Step(by_mask[mask], way, here) for mask, way, here in divided[shape]]
        if all(planner.price(step) is not None for step in again):
            return again
    everything = (1 << len(wiring.ops)) - 1
    found = best_division(groups, planner, everything, ADDS_UP.get(objective))
    best = min(found, key=lambda steps: _value(steps, planner, objective))
    divided[shape] = [(step.group.mask, step.way, step.here) for step in best]
    return best


def _shape(graph: Graph) -> tuple[Any, ...]:
    """Equal for graphs that differ in the length of their caches at most."""
    found = []
    for node in graph:
        op = node.op
        wires = (*op.inputs, op.output)
        formats = tuple((graph.tensors[t].format.name, graph.tensors[t].sparsity) for t in wires)
        grows = op.kind in ("attention", "move")
        sizes = () if grows else (op.macs, *(graph.tensors[t].bytes for t in wires))
        found.append((op.kind, node.count, wires, formats, sizes))
    return tuple(found)


def _value(steps: Sequence[Step], planner: Planner, objective: str) -> tuple[float, float]:
    """The objective of a whole division."""
    costs = [(step.group.count, planner.plan(step).cost) for step in steps]
    total = replace(
        in_sequence([cost for _, cost in costs]),
        latency_s=sum(count * float(cost.latency_s) for count, cost in costs),
        energy_j=sum(count * float(cost.energy_j) for count, cost in costs),
    )
    a, b = OBJECTIVES[objective](total)
    return float(a), float(b)


def _placed(step: Step, planner: Planner, apart: dict[str, Plan]) -> Placed:
    """The group's plan; with what its ops would take apart."""
    group, plan = step.group, replace(planner.plan(step), stays=planner.stays(step))
    if len(group.ops) > 1:
        seconds = sum(float(apart[op.name].cost.latency_s) for op in group.ops)
        plan = replace(plan, instead=plan.instead | {"apart": seconds})
    return Placed(group.anchor, group.count, plan, group.fused)


def takes_some(graph: Graph, path: Path) -> bool:
    """Can the matrix engine do any of the graph's multiplications?

    Then the vector engine may do the others (the attention of an integer-only array, say); where it
    can do none, the formats are the wrong ones for the design and the user should hear so.
    """
    for node in graph:
        if node.op.kind in ("einsum", "experts"):
            a, b = (graph.tensors[t].format for t in node.op.inputs[:2])
            if takes(path.engine.pe, b, a):
                return True
    return False


def mappings_in(memo: Memo, design: Design, objective: str = "latency") -> Memo:
    """The mappings found, without what they cost: for a design that has the same room and other
    numbers. What is best there may differ."""
    keys = [(name, objective) for name in design.cores]
    return {key: memo[key] for key in keys if key in memo}
