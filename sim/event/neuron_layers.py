"""A design that divides neurons among its kinds of cores, and what a layer's parts take on it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

from accel_models.backing import Backing
from accel_models.design import Design, PathKey
from mappers import map_graph
from mappers.plan import Placed
from sim.event.cooperation import Done, Stretch
from sim.event.critical import WAITING
from sim.event.cuts import ancestors, part
from sim.event.neurons import Mlp, neurons, predictor
from sim.event.policies import Setting
from sim.event.policies.neuron_clusters import (
    ClusterLayer,
    Engines,
    Load,
    neuron_clusters_program,
)
from sim.event.program import Program
from sim.event.sides import MACHINES, Sent, Side
from sim.event.tasks import Task, tasks_program
from workloads.graph import Graph, Node

CHIP = "chip"  # the machine of a system of one
HALVES = 2  # reads of a neuron


@dataclass(frozen=True, slots=True)
class Knobs:
    """`needed`: of the cold neurons, those that a step computes."""

    hot: float
    needed: float
    cached: float
    hits: float
    clusters: int
    rank: int
    pipeline: str


@dataclass(frozen=True)
class Phone:
    """A graph on the design."""

    setting: Setting
    engines: Engines
    knobs: Knobs

    @property
    def design(self) -> Design:
        assert isinstance(self.setting.machine, Design)
        return self.setting.machine

    @property
    def store(self) -> Backing:
        return self.design.backing[self.engines.flash]

    def side(self, cores: str) -> Side:
        """A kind of cores."""
        memo: dict[Any, Any] = self.setting.memo.setdefault(f"cores {cores}", {})
        return Side(cores, self.design, self.setting.objective, cores, CHIP, CHIP, memo)

    def best(self, graph: Graph) -> tuple[Placed, ...]:
        """On whatever cores are best."""
        if not graph.nodes:
            return ()
        objective, memo = self.setting.objective, self.setting.memo
        return map_graph(graph, self.design, objective, None, memo).placed

    def times(self, placed: Iterable[Placed]) -> list[tuple[str, float]]:
        """(cores, seconds) one after the other."""
        found: list[tuple[str, float]] = []
        for group in placed:
            name = group.plan.path.name
            seconds = self.side(name).seconds([group])
            if found and found[-1][0] == name:
                found[-1] = name, found[-1][1] + seconds
            else:
                found.append((name, seconds))
        return found

    def load(self, cores: str, placed: Sequence[Placed]) -> Load:
        """Seconds of these ops, and of the memory in them."""
        busy = (float(p.cost.work.busy.get(self.engines.memory, 0.0)) for p in placed)
        return Load(self.side(cores).seconds(placed), sum(busy))

    def alone(self, name: str, count: float, placed: Sequence[Placed]) -> Stretch:
        """Ops one after the other."""
        tasks, last = list[Task](), list[str]()
        for number, (cores, seconds) in enumerate(self.times(placed)):
            tasks.append(Task(f"{name} {number}", {cores: seconds}, tuple(last)))
            last = [f"{name} {number}"]
        return Stretch(name, count, tasks_program(tasks))

    def done(self, group: Placed, count: float) -> Done:
        return Done(self.side(group.plan.path.name), group, count)

    def rests_on(self) -> dict[str, tuple[PathKey, ...]]:
        """Numbers of what no ops run on."""
        memory = (MACHINES, CHIP, "memory", self.engines.memory)
        flash = (MACHINES, CHIP, "backing", self.engines.flash)
        shared = self.design.memory[self.engines.memory].bandwidth is not None
        width = "bandwidth" if self.store.bandwidth is not None else "read_bandwidth"
        random = ((*flash, "random_bandwidth"),) if self.store.random_bandwidth else ()
        return {
            self.engines.memory: (
                (*memory, "bandwidth" if shared else "read_bandwidth"),
                (*memory, "efficiency"),
            ),
            self.engines.flash: ((*flash, width), *random),
            WAITING: ((*flash, "latency"),),
        }


@dataclass(frozen=True)
class NeuronLayer:
    """A kind of layers with an MLP."""

    phone: Phone
    nodes: Sequence[Node]
    mlp: Mlp

    def count(self, share: float) -> int:
        """So many of the neurons, at least one."""
        return max(1, round(self.mlp.width * share))

    @property
    def cold(self) -> int:
        """Neurons that the sparse cores compute; of one expert."""
        knobs = self.phone.knobs
        return self.count((1 - knobs.hot) * knobs.needed)

    @property
    def away(self) -> int:
        """Clusters that are read."""
        knobs = self.phone.knobs
        return ceil(round(knobs.clusters * (1 - knobs.hits), 9))

    @property
    def read_bytes(self) -> float:
        """Of a step's neurons."""
        graph, missed = self.phone.setting.graph, 1 - self.phone.knobs.hits
        return missed * self.cold * self.mlp.experts * self.mlp.bytes(graph)

    @property
    def chunk(self) -> float:
        """Of one read."""
        return self.mlp.bytes(self.phone.setting.graph) / HALVES

    def placed(self) -> dict[str, tuple[Placed, ...]]:
        """By part."""
        phone, graph, mlp = self.phone, self.phone.setting.graph, self.mlp
        names = {node.op.name for node in self.nodes}
        first = ancestors(self.nodes, mlp.names)
        dense, sparse = phone.side(phone.engines.dense), phone.side(phone.engines.sparse)
        knobs = phone.knobs
        cold = self.count(1 - knobs.hot)
        return {
            "before": phone.best(part(graph, first)),
            "after": phone.best(part(graph, names - first - mlp.names)),
            "hot": dense.placed(neurons(graph, mlp, self.count(knobs.hot))) if knobs.hot else (),
            "cold": sparse.placed(neurons(graph, mlp, self.cold)) if knobs.needed else (),
            "predict": sparse.placed(predictor(graph, mlp, knobs.rank, cold)) if knobs.rank else (),
        }

    def all_placed(self) -> list[Placed]:
        """Once each."""
        return [group for placed in self.placed().values() for group in placed]

    def program(self) -> Program:
        """Of one layer."""
        phone, knobs, placed = self.phone, self.phone.knobs, self.placed()
        engines = phone.engines
        cold = phone.load(engines.sparse, placed["cold"])
        share = 1 / self.mlp.matrices
        return neuron_clusters_program(
            ClusterLayer(
                phone.times(placed["before"]),
                phone.times(placed["after"]),
                phone.load(engines.dense, placed["hot"]),
                phone.load(engines.sparse, placed["predict"]),
                Load(cold.seconds * share, cold.memory * share),
                Load(cold.seconds * (1 - share), cold.memory * (1 - share)),
                self.read(),
                knobs.clusters,
                self.away,
            ),
            engines,
            knobs.pipeline == "matrix",
        )

    def read(self) -> Load:
        """Seconds of flash, and of the memory that is written."""
        phone = self.phone
        rate = phone.store.read_bytes_per_s(self.chunk, phone.design.clock)
        memory = phone.design.memory[phone.engines.memory]
        width = memory.bandwidth or memory.write_bandwidth
        assert width is not None  # one way of giving bandwidth
        written = width.bytes_per_second(phone.design.clock) * memory.efficiency
        return Load(self.read_bytes / rate, self.read_bytes / written)

    def sent(self, count: float, label: str) -> list[Sent]:
        """What is read, in whole granules."""
        if not self.away:
            return []
        phone, flash = self.phone, self.phone.engines.flash
        moved = phone.store.moved(self.read_bytes, self.chunk)
        energy = (MACHINES, CHIP, "backing", flash, "energy")
        seconds, joules = self.read().seconds, 8 * phone.store.energy
        return [Sent(f"neurons read{label}", flash, moved, seconds, count, joules, energy)]
