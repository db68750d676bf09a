"""What must hold for every op on every machine, run by events."""

from __future__ import annotations

from event_law import TICK, check_law, costs
from hypothesis import given
from tiny import designs, graphs, scheduled

from accel_models.design import Design
from sim.event.engine import Engine
from sim.event.lower import program_of
from workloads.graph import Graph


@given(designs(), graphs())
def test_between_the_closed_form_and_the_sum_of_parts(design: Design, graph: Graph):
    """analytic <= event <= sum of parts."""
    (placed,) = scheduled(graph, design)
    for cost in costs(placed):
        check_law(cost, placed.plan.path)


@given(designs(), graphs())
def test_folded_runs_are_the_unfolded_ones(design: Design, graph: Graph):
    """To the tick, and in every counter."""
    (placed,) = scheduled(graph, design)
    for cost in costs(placed):
        program = program_of(cost, placed.plan.path)
        folded, whole = Engine(program).run(), Engine(program, fold=False).run()
        assert folded.ticks == whole.ticks
        assert folded.stalls() == whole.stalls()
        assert folded.fired == whole.fired


@given(designs(), graphs())
def test_no_resource_does_more_than_it_can(design: Design, graph: Graph):
    """Busy for what the closed form says, and never for longer than there was time."""
    (placed,) = scheduled(graph, design)
    for cost in costs(placed):
        timeline = Engine(program_of(cost, placed.plan.path)).run()
        for name, parts in timeline.stalls().items():
            assert all(seconds >= -1e-15 for seconds in parts.values()), name
            if name in cost.work.busy:
                steps = cost.work.steps
                slack = 5 * TICK * steps.total + 1e-15
                moved = parts["busy"] + parts.get("refresh", 0.0)
                assert abs(moved - float(cost.work.busy[name])) <= slack, name
