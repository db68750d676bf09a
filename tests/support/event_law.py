"""What an op by events may take: analytic <= event <= sum of parts."""

from __future__ import annotations

from accel_models.path import Path
from mappers.cost import Cost, rest_of
from mappers.plan import Placed
from sim.event.engine import Engine
from sim.event.lower import program_of

TICK = 1 / (1e9 * 1024)  # no machine here is slower


def costs(placed: Placed) -> tuple[Cost, ...]:
    """Of an op's parts in sequence."""
    return placed.cost.stages or (placed.cost,)


def check_law(cost: Cost, path: Path) -> None:
    """But for a tick of rounding a use; turns of a memory's bus are a part."""
    program = program_of(cost, path)
    timeline = Engine(program).run()
    turns = sum(parts.get("turnaround", 0.0) for parts in timeline.stalls().values())
    rounding = TICK * sum(
        len(run.uses) * run.count * actor.repeat for actor in program.actors for run in actor.cycle
    )
    assert timeline.seconds >= (float(cost.latency_s) - sooner(cost)) * (1 - 1e-9)
    assert timeline.seconds <= cost.upper_bound_s() * (1 + 1e-9) + turns + rounding


def sooner(cost: Cost) -> float:
    """Seconds in which the longest resource may be at work already, or still, where the closed form
    has it wait for a slower level's first load or last store."""
    rest = rest_of(cost.work)
    longest = max(rest, key=lambda name: rest[name])
    ends = [(part, part.get(longest, 0.0)) for part in (cost.work.head, cost.work.tail)]
    return float(sum(max(part.values(), default=0.0) - own for part, own in ends))
