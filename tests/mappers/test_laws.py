"""What must hold for every op on every machine."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from tiny import designs, graphs, matmul_graph, one_core, scheduled

from accel_models.design import Design
from accel_models.path import memory_path
from accel_models.reader import DesignError
from mappers import map_graph
from mappers.cost import exposed_by_resource
from sim import analytic
from workloads.graph import Graph, Node
from workloads.ops import Einsum


@given(designs(), graphs())
def test_bounds_below_and_above(design: Design, graph: Graph):
    """max(compute, traffic of every level) <= latency <= sum of everything."""
    (placed,) = scheduled(graph, design)
    cost = placed.cost
    slack = 1e-9
    assert cost.lower_bound_s() <= cost.latency_s * (1 + slack)
    assert cost.latency_s <= cost.upper_bound_s() * (1 + slack)
    assert sum(exposed_by_resource(cost).values()) == pytest.approx(cost.latency_s)


@given(designs(), graphs())
def test_bounds_from_first_principles(design: Design, graph: Graph):
    """Not from the cost's own parts: MACs at peak, and every operand once through the outermost."""
    (placed,) = scheduled(graph, design)
    (node,) = graph
    path = memory_path(design, "core")
    latency = float(placed.cost.latency_s)
    if node.op.macs and node.op.kind != "attention":
        assert node.op.macs / placed.plan.peak_per_s <= latency
        assert placed.plan.utilization <= 1
    operands = {*node.op.inputs, node.op.output}
    once = sum(graph.tensors[t].bytes for t in operands)
    if node.op.kind == "attention" and node.op.window:
        once = graph.tensors["q"].bytes + graph.tensors["o"].bytes
    moved = analytic.op_run(placed).traffic_bytes["dram"]
    assert moved >= once * (1 - 1e-9)
    assert moved / path.levels[0].read_bytes_per_s <= latency * (1 + 1e-9)


@given(designs(), graphs())
def test_energy_adds_up(design: Design, graph: Graph):
    (placed,) = scheduled(graph, design)
    cost = placed.cost
    assert sum(float(j) for j in cost.joules.values()) == pytest.approx(float(cost.energy_j))
    static = design.power.static * float(cost.latency_s)
    assert float(cost.joules["static"]) == pytest.approx(static)
    if isinstance(placed.op, Einsum):
        assert float(cost.joules["matrix"]) == pytest.approx(placed.op.macs * 1e-12)


def test_op_without_a_rule_is_an_error():
    graph = matmul_graph(4, 4, 4)
    (node,) = graph

    class Strange:
        kind, name, inputs, output, macs = "strange", "s", node.op.inputs, node.op.output, 0
        vector_ops: dict[str, int] = {}  # noqa: RUF012
        __dataclass_fields__: dict[str, object] = {}  # noqa: RUF012

    odd = replace(graph, nodes=(Node(Strange(), 1),))
    with pytest.raises(DesignError, match="no cost rule for ops of kind 'strange'"):
        map_graph(odd, one_core())
