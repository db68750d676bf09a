"""What a stage costs on a kind of chip in a layout, each thing planned once.

The ops of one chip come from `map_graph`, which sees every collective as one of a single chip: no
work. Then each is planned among the chips of its group, beside its producer where that pays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from accel_models.collectives import Dims, Route, hops
from accel_models.system import System
from mappers.arrangement import STAGE
from mappers.assign import Amount
from mappers.collective import collective_plan, transfer_plan
from mappers.fetching import Fetch
from mappers.map_graph import Memo, map_graph
from mappers.overlap import Pair, overlapped
from mappers.plan import Placed, Plan, Schedule
from mappers.residence import residence
from mappers.search.found import OBJECTIVES
from workloads.graph import Graph
from workloads.ops import Collective, Einsum

Groups = tuple[tuple[str, Dims], ...]
SystemMemos = dict[str, Memo]  # what `map_graph` keeps, by machine


class StageCosts:
    """Plans of `graphs` on the machines of a system, remembered."""

    def __init__(
        self,
        graphs: Sequence[Graph],
        system: System,
        objective: str,
        memos: SystemMemos | None = None,
    ) -> None:
        self.graphs, self.system, self.objective = graphs, system, objective
        self.alike = [
            next(j for j in range(i + 1) if graphs[j] == graphs[i]) for i in range(len(graphs))
        ]
        known = {} if memos is None else memos
        self.memos: SystemMemos = {name: known.setdefault(name, {}) for name in system.machines}
        self.alone: dict[tuple[int, str], Schedule] = {}
        self.tiles: dict[tuple[object, ...], Placed] = {}
        self.sent: dict[tuple[int, str, Route], tuple[Placed, ...]] = {}
        self.known: dict[tuple[int, str, Groups], tuple[Placed, ...]] = {}

    def ops(self, stage: int, machine: str, groups: Groups) -> tuple[Placed, ...]:
        """What a chip of the stage runs, but for what it sends to the next stage."""
        key = (self.alike[stage], machine, groups)
        if key not in self.known:
            self.known[key] = tuple(self._planned(key[0], machine, dict(groups)))
        return self.known[key]

    def sends(self, stage: int, machine: str, route: Route) -> tuple[Placed, ...]:
        """The messages of a chip to the next stage, over this route."""
        key = (self.alike[stage], machine, route)
        if key not in self.sent:
            self.sent[key] = tuple(self._sends(*key))
        return self.sent[key]

    def _sends(self, stage: int, machine: str, route: Route) -> Iterator[Placed]:
        paths = self.schedule(stage, machine).paths
        links = tuple(dim.link for dim, *_ in route)
        for node in self.graphs[stage]:
            op = node.op
            if isinstance(op, Collective) and op.group == STAGE:
                transfer = hops(route, op.bytes)
                plans = [transfer_plan(op, transfer, links, path) for path in paths]
                yield Placed(op, node.count, self._best(plans))

    def amount(self, placed: Sequence[Placed], ranks: int) -> Amount:
        """Latency of one chip and energy of all ranks."""
        return Amount(
            sum(p.count * p.cost.latency_s for p in placed),
            ranks * sum(p.count * p.cost.energy_j for p in placed),
        )

    def fits(self, stage: int, machine: str) -> bool:
        """Do the stage's weights and cache fit the chip's outermost memory and its backing ones?"""
        return residence(self.graphs[stage], self.system.design(machine)).fits

    def schedule(self, stage: int, machine: str) -> Schedule:
        """The stage on one chip, alone."""
        key = (self.alike[stage], machine)
        if key not in self.alone:
            self.alone[key] = self._mapped(_alone(self.graphs[stage]), machine)
        return self.alone[key]

    def _mapped(self, graph: Graph, machine: str) -> Schedule:
        design = self.system.design(machine)
        return map_graph(graph, design, self.objective, memo=self.memos[machine])

    def _planned(self, stage: int, machine: str, groups: Mapping[str, Dims]) -> list[Placed]:
        graph, found = self.graphs[stage], list[Placed]()
        paths = self.schedule(stage, machine).paths
        for placed in self.schedule(stage, machine):
            op = placed.op if isinstance(placed.op, Fetch) else graph.node(placed.op.name).op
            if not isinstance(op, Collective):
                found.append(placed)
                continue
            if op.group == STAGE:
                continue
            dims = groups.get(op.group, ())  # of one chip there need be no axis
            if found and found[-1].count == placed.count:
                pair = Pair(graph, found[-1], op, dims, self._tile(stage, machine))
                if both := overlapped(pair, self.objective):
                    found[-1] = both
                    continue
            plans = [collective_plan(op, dims, path) for path in paths]
            found.append(Placed(op, placed.count, self._best(plans)))
        return found

    def _tile(self, stage: int, machine: str) -> Callable[[Graph], Placed]:
        """How to plan a tile of an op of the stage, once for all layouts."""

        def plan(graph: Graph) -> Placed:
            op = graph.nodes[0].op
            assert isinstance(op, Einsum)
            key = (stage, machine, op.name, *op.ranks.items())
            if key not in self.tiles:
                self.tiles[key] = next(iter(self._mapped(graph, machine)))
            return self.tiles[key]

        return plan

    def _best(self, plans: Sequence[Plan]) -> Plan:
        value = OBJECTIVES[self.objective]
        return min(plans, key=lambda plan: tuple(float(v) for v in value(plan.cost)))


def _alone(graph: Graph) -> Graph:
    """The graph with every collective among one chip, which is nothing to do."""
    nodes = [
        replace(node, op=replace(node.op, participants=1))
        if isinstance(node.op, Collective)
        else node
        for node in graph
    ]
    return replace(graph, nodes=tuple(nodes))
