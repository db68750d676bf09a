"""A design or system and a model, with what is done to the model's graphs: one phase after the
other is simulated with the same of these."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
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
from mappers.partition import SystemSchedule, map_system
from mappers.plan import Schedule
from sim import analytic, on_system
from sim.beside import Guest
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
PREFETCHES = ("weights", "launches")
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
class Events:
    """What only the event simulator is told: how ops run together (`policy`), what is ahead of its
    op (`prefetch`, of PREFETCHES), what runs beside (`guests`), and whether the board was idle
    before, so that it may draw more than its limit for a while (`from_idle`)."""

    policy: str | None = None
    prefetch: str | None = None
    guests: tuple[Guest, ...] = ()
    from_idle: bool = False

    @property
    def option(self) -> str:
        """On the command line, that of the first that is given but a policy; else a policy's."""
        if self.prefetch is not None:
            return "--prefetch"
        if self.guests:
            return "--beside"
        if self.from_idle:
            return "--from-idle"
        return "--policy" if self.policy is not None else ""


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
    events: Events = Events()
    progress: Progress | None = None
    memo: dict[Any, Any] = field(default_factory=dict)
    policies: tuple[Any, ...] = ()  # of sim.event.policies.Chosen

    def run(self, phase: Phase | None, partly: set[str] | None = None) -> Run:
        """One graph; with `partly`, transforms that change nothing in its phase are left out and
        added to it."""
        graph = self.changes.applied(self.model.build(phase), partly)
        return replace(self._mapped(graph), formats=self.changes.said())

    def split_for(self, phase: Phase) -> Job:
        """On a system, with the splits that are best for this phase, unless some are given."""
        if isinstance(self.machine, Design) or any(policy.places for policy in self.policies):
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
        from sim.event import tenants, whole

        schedule = self._on_board(schedule)
        if self.events.guests:
            return tenants.run(schedule, list(self._guests()), self.events.prefetch, self.progress)
        fetched = any(placed.op.kind == "fetch" for placed in schedule)
        if self.events.prefetch or (fetched and not self.policies):
            return whole.run(schedule, self.events.prefetch, self.progress)
        memo = self.memo.setdefault("event", {})
        return event.run(schedule, self.progress, memo, self.policies)

    def _on_board(self, schedule: Schedule) -> Schedule:
        from sim.event.power import held

        return schedule if self.events.from_idle else held(schedule)

    def _guests(self) -> Iterator[tuple[Guest, Schedule]]:
        """Each with its own schedule on the chip."""
        assert isinstance(self.machine, Design)  # others are refused
        for guest in self.events.guests:
            graph = guest.graph
            yield guest, map_graph(graph, self.machine, self.objective, self.cores, self.memo)

    def _together(self, graph: Graph) -> Run:
        """By a policy that places ops itself."""
        from sim.event.cooperation_run import cooperation_run
        from sim.event.policies import Setting

        (policy,) = self.policies
        if graph.splits or self.cores:
            raise UserError(
                f"{policy.name} says itself what runs where; leave out "
                + ("--tp, --pp, --ep and transforms that split" if graph.splits else "--cores")
            )
        setting = Setting(graph, self.machine, self.objective, self.memo)
        return cooperation_run(policy.cooperation(setting), policy.text)

    def _mapped(self, graph: Graph) -> Run:
        if any(policy.places for policy in self.policies):
            return self._together(graph)
        if isinstance(self.machine, Design):
            if chips := prod(ways(graph).values()) - 1:
                raise UserError(_one_chip(self.machine, chips + 1))
            return self._simulated(
                map_graph(graph, self.machine, self.objective, self.cores, self.memo)
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
        return self._on_system(graph, placed)

    def _on_system(self, graph: Graph, placed: SystemSchedule) -> Run:
        """Several chips, by the closed form or by events."""
        if self.simulator == "analytic":
            return on_system.run(graph, placed)
        from sim.event import on_system as by_events

        stages = (replace(s, schedule=self._on_board(s.schedule)) for s in placed.stages)
        placed = replace(placed, stages=tuple(stages))
        memo = self.memo.setdefault("event", {})
        return by_events.run(graph, placed, self.progress, memo, self.policies)


def by(
    simulator: str,
    job: Job,
    progress: Progress | None = None,
    events: Events = Events(),
) -> Job:
    """The job with this simulator, told this. Raises UserError for what is unknown, or for another
    simulator than is given."""
    if simulator not in SIMULATORS:
        raise UserError(f"unknown simulator '{simulator}'; known: {', '.join(SIMULATORS)}")
    job = replace(job, simulator=simulator, progress=progress, events=events)
    if simulator != "event" and (option := events.option):
        raise UserError(f"{option}: this is run by --sim event; add it")
    if events.prefetch is not None and events.prefetch not in PREFETCHES:
        known = ", ".join(PREFETCHES)
        raise UserError(f"unknown prefetch '{events.prefetch}'; known: {known}")
    if not isinstance(job.machine, Design) and (events.prefetch or events.guests):
        raise UserError(f"{job.machine.name} is several chips; {events.option} is of one design")
    if events.from_idle and not any(d.power.excursion for d in _designs(job.machine)):
        raise UserError(
            f"--from-idle: {job.machine.name} keeps its power limit at any moment; this is for "
            "boards with power.excursion"
        )
    if events.policy is None:
        return job
    if events.prefetch or events.guests or events.from_idle:
        raise UserError(f"--policy: does not go with {events.option}; leave one of them out")
    from sim.event.policies import Machine, chosen

    machine: Machine = "chip" if isinstance(job.machine, Design) else "system"
    return replace(job, policies=tuple(chosen(events.policy, machine)))


def machine_of(design: str | Design | System) -> Design | System:
    """The chip or chips, of whatever says which."""
    if not isinstance(design, str):
        return design
    return read_system(design) if is_system(design) else read_design(design)


def _one_chip(design: Design, chips: int) -> str:
    """Why a design alone will not do."""
    named = {n: [d.name for d in _designs(read_system(n))] for n in list_systems()}
    systems = [n for n, designs in named.items() if design.name in designs]
    there = f"systems of it: {', '.join(systems)}" if systems else "write a system of it"
    return f"{design.name} is one chip, and {chips} are asked for; {there} (docs/systems.md)"


def _designs(machine: Design | System) -> list[Design]:
    if isinstance(machine, Design):
        return [machine]
    return [machine.design(name) for name in machine.machines]
