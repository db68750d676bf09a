"""A design or system and a model, with what is done to the model's graphs: one phase after the
other is simulated with the same of these."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

from accel_models.design import Design
from accel_models.read_design import read_design
from accel_models.read_system import is_system, list_systems, read_system
from accel_models.system import System
from kernels_ref.errors import UserError
from mappers import map_graph
from mappers.parallelism import best_parallelism
from mappers.partition import map_system
from mappers.plan import Schedule
from sim import analytic, on_system
from sim.run import Run
from workloads.graph import Graph, Split
from workloads.phase import TRAIN, Phase
from workloads.read_model import Model
from workloads.sharding.sharded import shard, ways
from workloads.training import trained
from workloads.transforms import quantize
from workloads.transforms.apply import apply as apply_transforms
from workloads.transforms.parallel import expert_parallel, pipeline_parallel, tensor_parallel

SIMULATORS = ("analytic", "event")
Progress = Callable[[int, int], None]  # ops done, of so many
WAYS: dict[str, Callable[[Graph, int], Graph]] = {
    "tp": tensor_parallel,
    "pp": pipeline_parallel,
    "ep": expert_parallel,
}


@dataclass(frozen=True, slots=True)
class Changes:
    """What is done to a model's graph: formats, ways to split it, transforms, as on the command
    line. `ways`: of tensor, pipeline and expert parallelism, where they are given."""

    formats: str | None = None
    kv: str | None = None
    apply: str | None = None
    ways: Mapping[str, int | None] = field(default_factory=dict)

    def applied(self, graph: Graph, partly: set[str] | None = None) -> Graph:
        """The graph with them; with `partly`, transforms that change nothing in its phase are left
        out and added to it."""
        if self.formats or self.kv:
            graph = quantize(graph, self.formats, self.kv)
        for name, transform in WAYS.items():
            if (ways := self.ways.get(name)) is not None:
                graph = transform(graph, ways)
        graph = apply_transforms(graph, self.apply, partly) if self.apply else graph
        return trained(graph)

    def said(self) -> str:
        """In a word; ways are told apart from that."""
        parts = [self.formats or "model's own"]
        parts += [f"kv {self.kv}"] if self.kv else []
        parts += [self.apply] if self.apply else []
        return ", ".join(parts)


@dataclass(frozen=True, slots=True)
class Job:
    """What stays the same from one simulated phase to the next."""

    machine: Design | System
    model: Model
    changes: Changes
    objective: str
    cores: str | None
    splits: tuple[Split, ...] | None = None  # where the best were looked for
    simulator: str = "analytic"  # or event
    progress: Progress | None = None
    memo: dict[Any, Any] = field(default_factory=dict)

    def run(self, phase: Phase | None, partly: set[str] | None = None) -> Run:
        """One graph; with `partly`, transforms that change nothing in its phase are left out and
        added to it."""
        graph = self.changes.applied(self.model.build(phase), partly)
        return replace(self._mapped(graph), formats=self.changes.said())

    def split_for(self, phase: Phase) -> Job:
        """On a system, with the splits that are best for this phase, unless some are given."""
        if isinstance(self.machine, Design):
            return self
        graph = self.changes.applied(self.model.build(phase), partly=set())
        if graph.splits:
            return self
        chosen, _ = best_parallelism(graph, self.machine, self.objective, self.memo)
        return replace(self, splits=chosen.splits)

    def _simulated(self, schedule: Schedule) -> Run:
        """By the closed form, or by events."""
        if self.simulator == "analytic":
            return analytic.run(schedule)
        from sim.event import run as event

        return event.run(schedule, self.progress, self.memo.setdefault("event", {}))

    def _mapped(self, graph: Graph) -> Run:
        if isinstance(self.machine, Design):
            if chips := prod(ways(graph).values()) - 1:
                raise UserError(_one_chip(self.machine, chips + 1))
            return self._simulated(
                map_graph(graph, self.machine, self.objective, self.cores, self.memo)
            )
        if self.simulator == "event":
            raise UserError(
                f"{self.machine.name} is several chips, which --sim event does not run yet; name "
                "one design"
            )
        if graph.phase == TRAIN:
            raise UserError(
                f"{self.machine.name} is several chips, among which a training step is not shared "
                "out yet; name one design"
            )
        if self.cores:
            raise UserError("cores are those of one design; a system has no such choice")
        if self.splits is not None and not graph.splits:
            graph = replace(graph, splits=self.splits)
        if graph.splits or self.splits is not None:
            placed = map_system(shard(graph), self.machine, self.objective, self.memo)
        else:
            graph, placed = best_parallelism(graph, self.machine, self.objective, self.memo)
        return on_system.run(graph, placed)


def by(simulator: str, progress: Progress | None, job: Job) -> Job:
    """The job with this simulator. Raises UserError for an unknown one."""
    if simulator not in SIMULATORS:
        raise UserError(f"unknown simulator '{simulator}'; known: {', '.join(SIMULATORS)}")
    return replace(job, simulator=simulator, progress=progress)


def machine_of(design: str | Design | System) -> Design | System:
    """The chip or chips, of whatever says which."""
    if not isinstance(design, str):
        return design
    return read_system(design) if is_system(design) else read_design(design)


def _one_chip(design: Design, chips: int) -> str:
    """Why a design alone will not do."""
    systems = [n for n in list_systems() if design.name in _designs(read_system(n))]
    there = f"systems of it: {', '.join(systems)}" if systems else "write a system of it"
    return f"{design.name} is one chip, and {chips} are asked for; {there} (docs/systems.md)"


def _designs(system: System) -> list[str]:
    return [system.design(machine).name for machine in system.machines]
