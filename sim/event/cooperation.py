"""What a policy that places ops itself says: programs, and what ran where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from accel_models.design import PathKey
from accel_models.system import System
from mappers.plan import Placed
from sim.event.program import Program
from sim.event.sides import Chip, Sent, Side
from sim.run import Held
from workloads.graph import Graph


@dataclass(frozen=True)
class Stretch:
    """A program that runs `count` times."""

    name: str
    count: float
    program: Program


@dataclass(frozen=True)
class Done:
    """An op on a machine, `count` times in all."""

    side: Side
    placed: Placed
    count: float

    @property
    def machine(self) -> str:
        """Of the system."""
        return self.side.machine or self.side.name

    @property
    def chip(self) -> str:
        """Its name among those that took part."""
        return self.side.chip or self.side.name


@dataclass(frozen=True)
class Cooperation:
    """What ran where; the chips that took part, and the backing memory of a single one. `rests_on`:
    for resources of the programs that no ops run on, the system's numbers that they rest on.
    `batches` of the graph's size were served."""

    graph: Graph
    system: System
    objective: str
    stretches: Sequence[Stretch]
    done: Sequence[Done]
    sent: Sequence[Sent]
    chips: Sequence[Chip]
    rests_on: Mapping[str, tuple[PathKey, ...]]
    batches: int = 1
    backing: Mapping[str, Held] = field(default_factory=dict)
    produced: float | None = None  # tokens, where that is not what the graph says
