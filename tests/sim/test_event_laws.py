"""What must hold for every op on every machine, run by events."""

from __future__ import annotations

from hypothesis import given
from tiny import designs, graphs, scheduled

from accel_models.design import Design
from mappers.cost import Cost, rest_of
from mappers.plan import Placed
from sim.event.engine import Engine
from sim.event.lower import program_of
from workloads.graph import Graph

TICK = 1 / (1e9 * 1024)  # no machine here is slower


def costs(placed: Placed) -> tuple[Cost, ...]:
    return placed.cost.stages or (placed.cost,)


def sooner(cost: Cost) -> float:
    """Seconds in which the longest resource may be at work already, or still, where the closed form
    has it wait for a slower level's first load or last store."""
    rest = rest_of(cost.work)
    longest = max(rest, key=lambda name: rest[name])
    ends = [(part, part.get(longest, 0.0)) for part in (cost.work.head, cost.work.tail)]
    return float(sum(max(part.values(), default=0.0) - own for part, own in ends))


@given(designs(), graphs())
def test_between_the_closed_form_and_the_sum_of_parts(design: Design, graph: Graph):
    """analytic <= event <= sum of parts, but for a tick of rounding a firing; turns of a memory's
    bus are a part."""
    (placed,) = scheduled(graph, design)
    for cost in costs(placed):
        program = program_of(cost, placed.plan.path)
        timeline = Engine(program).run()
        seconds = timeline.seconds
        turns = sum(parts.get("turnaround", 0.0) for parts in timeline.stalls().values())
        rounding = TICK * sum(
            len(run.uses) * run.count * actor.repeat
            for actor in program.actors
            for run in actor.cycle
        )
        assert seconds >= (float(cost.latency_s) - sooner(cost)) * (1 - 1e-9)
        assert seconds <= cost.upper_bound_s() * (1 + 1e-9) + turns + rounding


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
