"""Two machines that share a model's layers: an accelerator, and the host that it hangs on.

A system's first machine is the accelerator, its second one the host, one chip of each, joined by a
link. A part of a graph is mapped on either as any graph is (`mappers.map_graph`), and its seconds
are those of its ops run by events one after the other (sim/event/lower.py): what a machine takes
for a task. What one part makes and the other reads goes over the link:

    seconds = bytes / (bandwidth * efficiency), and the link's latency until they are there

Both ways at once (full duplex). Energy is each op's dynamic energy where it ran, the link's per
byte, and the static power of both machines for as long as it all takes.
Not modeled: several accelerators on one host, a host of several sockets.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from accel_models.design import Design, PathKey
from accel_models.links import Dim
from accel_models.system import System
from kernels_ref.errors import UserError
from mappers import map_graph
from mappers.plan import Placed
from sim.event.critical import WAITING
from sim.event.engine import Engine
from sim.event.lower import program_of
from sim.event.policies import Setting
from sim.event.tasks import Task
from workloads.graph import Graph

TO_HOST, FROM_HOST = "to_host", "from_host"  # the link's two ways, as resources
HOST_MEMORY = "host_memory"
MACHINES = "machines"


@dataclass(frozen=True)
class Side:
    """A machine, and what is known of ops on it. `cores`: only these of its design. `machine` and
    `chip`: as it is called in its system, and among the chips that take part, if not as the side
    is."""

    name: str
    design: Design
    objective: str = "latency"
    cores: str | None = None
    machine: str = ""
    chip: str = ""
    memo: dict[Any, Any] = field(default_factory=dict)

    def placed(self, graph: Graph) -> tuple[Placed, ...]:
        """The graph's ops on this machine. Raises DesignError if it cannot do one."""
        if not graph.nodes:
            return ()
        found = map_graph(graph, self.design, self.objective, self.cores, self.memo)
        return found.placed

    def seconds(self, placed: Iterable[Placed]) -> float:
        """One copy of each, one after the other, by events."""
        return sum(self._one(group) for group in placed)

    def _one(self, group: Placed) -> float:
        known = self.memo.setdefault("event seconds", {})
        path = group.plan.path
        total = 0.0
        for cost in group.cost.stages or (group.cost,):
            key = path.name, repr(cost)
            if key not in known:
                known[key] = Engine(program_of(cost, path), record=False).run().seconds
            total += known[key]
        return total

    @property
    def memory_bytes(self) -> float:
        """Of its outermost memory."""
        memory = next(iter(self.design.memory.values()))
        return memory.capacity * memory.instances

    @property
    def memory_bytes_per_s(self) -> float:
        """What its outermost memory reads."""
        memory = next(iter(self.design.memory.values()))
        rate = memory.bandwidth or memory.read_bandwidth
        assert rate is not None  # one way of giving bandwidth
        each = rate.bytes_per_second(self.design.clock) * memory.efficiency
        return each * memory.instances


@dataclass(frozen=True, slots=True)
class Chip:
    """One of the system's chips, of this machine, and the bytes that it holds."""

    name: str
    machine: str
    number: int
    weights: float
    cache: float


@dataclass(frozen=True, slots=True)
class Sent:
    """Bytes over a link, or from a backing memory, `count` times in all; `seconds` of each, and the
    number that their energy rests on."""

    name: str
    link: str
    bytes: float
    seconds: float
    count: float
    j_per_byte: float
    energy_of: PathKey


@dataclass(frozen=True, slots=True)
class Pair:
    """Names of two machines' resources, and the link between them, as tasks see it."""

    accelerator: str
    host: str
    bytes_per_s: float
    latency_s: float

    def seconds(self, size: float) -> float:
        """That the link is busy with so many bytes."""
        return size / self.bytes_per_s

    def to_host(self, name: str, size: float, after: Sequence[str] = ()) -> Task:
        """Bytes on their way up."""
        return Task(name, {TO_HOST: self.seconds(size)}, after, self.latency_s)

    def from_host(self, name: str, size: float, after: Sequence[str] = ()) -> Task:
        """Bytes on their way back."""
        return Task(name, {FROM_HOST: self.seconds(size)}, after, self.latency_s)


@dataclass(frozen=True)
class Sides:
    """The accelerator, its host, and what joins them."""

    system: System
    accelerator: Side
    host: Side
    link: Dim

    @property
    def pair(self) -> Pair:
        link = self.link
        return Pair(self.accelerator.name, self.host.name, link.wire_bytes_per_s, link.latency_s)

    def chips(
        self, accelerator: tuple[float, float], host: tuple[float, float]
    ) -> tuple[Chip, Chip]:
        """Both, which hold so many bytes of weights and caches."""
        one, other = self.accelerator.name, self.host.name
        return Chip(one, one, 0, *accelerator), Chip(other, other, 1, *host)

    def sent(self, name: str, size: float, count: float) -> Sent:
        """What the report says of a transfer."""
        seconds, link = self.pair.seconds(size), self.link.link
        return Sent(
            name, link, size, seconds, count, self.link.j_per_byte, ("links", link, "energy")
        )

    def rests_on(self) -> dict[str, tuple[PathKey, ...]]:
        """Numbers of the system, by the resources that are no machine's."""
        link, host = ("links", self.link.link), (MACHINES, self.host.name, "memory")
        memory = next(iter(self.host.design.memory))
        rate = (*link, "bandwidth"), (*link, "efficiency")
        return {
            TO_HOST: rate,
            FROM_HOST: rate,
            WAITING: ((*link, "latency"),),
            HOST_MEMORY: ((*host, memory, "bandwidth"), (*host, memory, "efficiency")),
        }


def sides_of(setting: Setting) -> Sides:
    """The two machines of a system. Raises UserError if it has others."""
    system = setting.machine
    assert isinstance(system, System)  # sim/event/policies says so
    counts = [machine.count for machine in system.machines.values()]
    if counts != [1, 1]:
        has = ", ".join(f"{m.count} x {name}" for name, m in system.machines.items())
        raise UserError(
            f"{system.name} has {has}: an accelerator and its host are a system of two machines, "
            "the accelerator first, one of each (such as a6000_xeon)"
        )
    first, second = system.machines
    link = system.across(first, second)
    assert link is not None  # read_system sees to it
    objective, memo = setting.objective, setting.memo
    accelerator, host = (
        Side(name, system.design(name), objective, memo=memo.setdefault(name, {}))
        for name in (first, second)
    )
    return Sides(system, accelerator, host, link)
