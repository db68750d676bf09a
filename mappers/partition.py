"""Where the shards of a graph run: which chips of a system, in which layout of their groups.

A graph that a transform has split comes as stages, one after the other (pipeline parallelism), each
a graph that all ranks of the stage run alike; `axes` are the ranks' directions (tensor, expert,
data, ...), and every collective op names the axis it runs along. A stage hands its output on by a
collective op `send` of the group `stage`, the last one to the first.

    latency  = sum over stages of (ops of a chip, collectives overlapped where that pays) + sends
    energy   = sum over stages of ranks * (ops of a chip, their sends with them)
    interval = the longest stage with its send: a full pipeline finishes one graph in that time

Chosen by cost, all together: the machine (kind of chips) and the layout (mappers/layout.py) of the
stages, the slot of each stage, the algorithm of every collective, tiles where a collective runs
beside its producer (mappers/overlap.py). Stages that do not fit their chip's memory are avoided
first. The search is exact over these: layouts whose groups and routes are equal are tried once, and
stages are assigned to slots depth first with the bound

    cost so far + sum of the least that each stage left costs on any machine + as many least sends

It stops at EXPANSIONS assignments of a layout and says so (`optimal`).
Not modeled: stages working at the same time on one link, ranks of a stage that do unequal work,
several groups' messages on one port beyond what a layout's strides say.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from itertools import product

from accel_models.collectives import Dims, Route
from accel_models.explain import nearest
from accel_models.reader import DesignError
from accel_models.system import System
from mappers.arrangement import STAGE
from mappers.assign import Amount, Assignment, Costs, assign
from mappers.layout import Layout, layouts
from mappers.plan import Schedule
from mappers.stage_costs import StageCosts, SystemMemos
from workloads.graph import GraphError, Op
from workloads.ops import Collective
from workloads.sharding.sharded import Sharded


@dataclass(frozen=True)
class StagePlan:
    """A stage's chips, of the system's numbers, in the order of its ranks (the last axis fastest),
    what its groups see, its way to the stage after it, and what one chip runs."""

    machine: str
    chips: tuple[int, ...]
    groups: Mapping[str, Dims]
    route: Route
    schedule: Schedule
    fits: bool

    @property
    def latency_s(self) -> float:
        """Of a chip, what it sends on included."""
        return sum(placed.count * placed.cost.latency_s for placed in self.schedule)


@dataclass(frozen=True)
class SystemSchedule:
    """What runs where. `layouts`: by machine; `tried` of them, `optimal` if the search ended."""

    system: System
    stages: tuple[StagePlan, ...]
    layouts: Mapping[str, Layout]
    latency_s: float
    energy_j: float
    interval_s: float
    tried: int
    optimal: bool


def map_system(
    sharded: Sharded, system: System, objective: str = "latency", memos: SystemMemos | None = None
) -> SystemSchedule:
    """The schedule with the least `objective` of all that the module describes.

    A caller that maps several graphs on the same system may pass the same `memos`, a dict.
    Raises DesignError if the system has too few chips of a kind or none that can do an op, and
    GraphError for a collective that runs along no axis.
    """
    _check(sharded)
    planner = StageCosts(sharded.stages, system, objective, memos)
    best: tuple[Choice, Assignment] | None = None
    tried, complete = 0, True
    for choice in _choices(sharded, system):
        tried += 1
        below = best[1].amount if best else None
        found = assign(choice.costs(planner), objective, choice.orders(), below)
        complete &= found.complete
        if found.slots is not None:
            best = choice, found
    if best is None:
        raise DesignError(_too_few(sharded, system))
    stages = tuple(best[0].stage(i, best[1], planner) for i in range(len(sharded.stages)))
    return SystemSchedule(
        system,
        stages,
        best[0].layouts,
        best[1].amount.latency_s,
        best[1].amount.energy_j,
        max(stage.latency_s for stage in stages),
        tried,
        complete,
    )


@dataclass(frozen=True)
class Choice:
    """A layout of every machine that is used; their slots together are where stages can go."""

    sharded: Sharded
    system: System
    layouts: Mapping[str, Layout]

    def slots(self) -> list[tuple[str, int]]:
        """(machine, its slot)."""
        return [(m, i) for m, layout in self.layouts.items() for i in range(len(layout.slots))]

    def route(self, source: tuple[str, int], target: tuple[str, int]) -> Route:
        """From the chips of a slot to those of another."""
        if source[0] == target[0]:
            return self.layouts[source[0]].route(source[1], target[1])
        dim = self.system.across(source[0], target[0])
        assert dim is not None  # read_system sees to it
        return ((dim, 1, 1, 1.0),)

    def costs(self, planner: StageCosts) -> Costs:
        """Of stages in slots, each looked up once."""
        slots, ranks, alike = self.slots(), self.sharded.ranks, planner.alike

        @cache
        def node(stage: int, slot: int) -> Amount:
            machine = slots[slot][0]
            ops = planner.ops(stage, machine, self.layouts[machine].groups)
            misfits = 0 if planner.fits(stage, machine) else 1
            return replace(planner.amount(ops, ranks), misfits=misfits)

        @cache
        def edge(stage: int, source: int, target: int) -> Amount:
            route = self.route(slots[source], slots[target])
            return planner.amount(planner.sends(stage, slots[source][0], route), ranks)

        stages = self.sharded.stages
        closed = any(_hands_on(node.op) for node in stages[-1])
        return Costs(
            len(stages),
            len(slots),
            lambda i, slot: node(alike[i], slot),
            lambda i, source, target: edge(alike[i], source, target),
            closed,
        )

    def orders(self) -> list[list[int]]:
        """Slots as numbered, and along a snake through each machine."""
        snake, first = [], 0
        for layout in self.layouts.values():
            snake += [first + slot for slot in layout.snake()]
            first += len(layout.slots)
        return [list(range(first)), snake]

    def stage(self, index: int, found: Assignment, planner: StageCosts) -> StagePlan:
        """The stage where the assignment puts it."""
        assert found.slots is not None
        slots, graph = self.slots(), self.sharded.stages[index]
        source, target = (slots[found.slots[i % len(found.slots)]] for i in (index, index + 1))
        machine, slot = source
        layout = self.layouts[machine]
        first = self.system.first_chip(machine)
        ops = planner.ops(index, machine, layout.groups)
        route = self.route(source, target)
        sends = planner.sends(index, machine, route)
        alone = planner.schedule(index, machine)
        return StagePlan(
            machine,
            tuple(first + chip for chip in layout.chips(slot)),
            dict(layout.groups),
            route,
            replace(alone, graph=graph, placed=(*ops, *sends)),
            planner.fits(index, machine),
        )


def _choices(sharded: Sharded, system: System) -> Iterator[Choice]:
    """Every layout of every machine with every one of the others, equal ones once."""
    stages, options = len(sharded.stages), dict[str, list[Layout]]()
    for machine in system.machines:
        counts = [stages] if len(system.machines) == 1 else range(1, stages + 1)
        found = {
            layout.key: layout
            for count in counts  # of the stages that this machine may have
            for layout in layouts(system.dims(machine), sharded.axes, count)
        }
        if found:
            options[machine] = list(found.values())
    for chosen in product(*options.values()):
        choice = Choice(sharded, system, dict(zip(options, chosen, strict=True)))
        if len(choice.slots()) >= stages:
            yield choice


def _hands_on(op: Op) -> bool:
    return isinstance(op, Collective) and op.group == STAGE


def _check(sharded: Sharded) -> None:
    """There are stages and ranks, and every collective runs along an axis with as many ranks, or
    hands on to the next stage."""
    if not sharded.stages or min(sharded.axes.values(), default=1) < 1:
        axes = ", ".join(f"{name} {size}" for name, size in sharded.axes.items())
        raise GraphError(f"{len(sharded.stages)} stages, axes {axes or 'none'}: at least 1 of each")
    for op in (node.op for graph in sharded.stages for node in graph):
        if not isinstance(op, Collective) or op.participants == 1:
            continue
        if _hands_on(op) and op.function == "send":
            continue
        if op.group not in sharded.axes:
            known = [*sharded.axes, STAGE]
            raise GraphError(f"{op.name}: no axis '{op.group}'; {nearest(op.group, known)}")
        size = sharded.axes[op.group]
        if op.participants != size:
            has = f"axis '{op.group}' has {size} ranks"
            raise GraphError(f"{op.name}: {op.participants} participants, but {has}")


def _too_few(sharded: Sharded, system: System) -> str:
    """Why no layout was found."""
    axes = " x ".join(f"{name} {size}" for name, size in sharded.axes.items())
    stages = len(sharded.stages)
    what = f"{stages} x {sharded.ranks} chips ({axes})" if axes else f"{stages} chips"
    has = ", ".join(f"{machine.count} {name}" for name, machine in system.machines.items())
    return (
        f"{system.name}: the stages need {what}, a stage's all of one kind and in a box of its "
        f"links; there are {has}"
    )
