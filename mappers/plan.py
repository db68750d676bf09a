"""What the mapper decides for one group of ops, and for a graph."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from accel_models.design import Design
from accel_models.path import Path
from mappers.cost import Cost
from workloads.graph import Graph, Op


@dataclass(frozen=True, slots=True)
class Plan:
    """How a group of ops runs on one kind of core. `tile` is for a person, `mapping` for JSON.

    `rests_on` are key paths of design numbers, beyond the memories', by resource. `stays` are
    tensors that the group finds or leaves in an on-chip memory, and which. `tiles`: where a
    collective runs beside the multiplication before it, each part of the two.
    """

    path: Path
    cost: Cost
    tile: str
    mapping: Any
    peak_per_s: float  # of the engine that does the op's work, in its units per second
    work: float  # in those units, so utilization = work / (latency * peak)
    variant: str = ""  # how attention runs, or what is fused
    instead: dict[str, float] = field(default_factory=dict)  # latency of the variants not taken
    rests_on: dict[str, tuple[tuple[str, ...], ...]] = field(default_factory=dict)
    stays: dict[str, str] = field(default_factory=dict)
    tiles: tuple[tuple[Placed, Placed], ...] = ()

    @property
    def utilization(self) -> float:
        """Share of its engine's peak that the op reaches."""
        if not self.peak_per_s:
            return 0.0
        return self.work / (float(self.cost.latency_s) * self.peak_per_s)


@dataclass(frozen=True, slots=True)
class Placed:
    """A group of ops, known by its main one, and its plan; `count` copies run."""

    op: Op
    count: float
    plan: Plan
    fused: tuple[Op, ...] = ()

    @property
    def cost(self) -> Cost:
        return self.plan.cost

    @property
    def macs(self) -> int:
        """Of all its ops."""
        return self.op.macs + sum(op.macs for op in self.fused)


@dataclass(frozen=True)
class Schedule:
    """The graph's ops in the order they run, each in one group, with its plan."""

    graph: Graph
    design: Design
    objective: str
    placed: tuple[Placed, ...]
    paths: tuple[Path, ...]  # the kinds of cores that were tried

    def __iter__(self) -> Iterator[Placed]:
        return iter(self.placed)
