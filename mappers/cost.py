"""The one definition of what an operation takes: service times of every resource, and how they
overlap.

For any op, with T_r the busy time of resource r (a memory level, the matrix or the vector engine,
the power supply) over the whole op:

    latency = launch + access latency + sync + prologue
              + max_r (T_r - head_r - tail_r - serial_r) + sum_r serial_r + epilogue

(of kernels from a library, mappers/library, not the maximum but a norm that is a little larger).

The first step's loads (head_r of each level) have nothing to overlap with, so they add their
largest, the prologue; the last step's stores likewise (tail_r, epilogue). serial_r is what may not
overlap: all the rest of a single-buffered level's time. Power is a resource: dynamic energy over
(limit - static), the time over which the board may spend it. Hence

    max_r T_r <= latency <= launch + access latency + sync + sum_r T_r

    energy = sum of bytes * energy per byte + MACs * energy + vector ops * energy + static * latency

What runs beside other ops (fetches from a backing memory, mappers/fetching.py) takes only what is
longer than they are: `beside` is taken off each resource's term, down to 0.

Not modeled: contention between ops, DRAM bank conflicts and refresh (the event simulator's), clock
gating of idle engines, data left on chip from one op to the next unless fused.
"""

from __future__ import annotations

from collections.abc import Mapping as Map
from dataclasses import dataclass, field, replace
from math import ceil, inf
from typing import Any

from accel_models.path import Path
from mappers.on_chip import through_network
from mappers.steps import ONE_STEP, Steps, joined

Traffic = dict[str, dict[str, tuple[float, float]]]  # level -> operand -> bytes (read, written)


@dataclass(frozen=True, slots=True)
class Work:
    """What an op asks of the machine, before it is known what overlaps.

    `busy` seconds by resource; `head` and `tail` the part of a level's time that belongs to the
    first step's loads and the last step's stores; `joules` dynamic energy by resource.
    """

    busy: dict[str, float]
    head: dict[str, float]
    tail: dict[str, float]
    joules: dict[str, float]
    traffic: Traffic
    serial: dict[str, float] = field(default_factory=dict)
    sync_s: float = 0.0  # engines handing tiles to each other, where nothing else can go on
    launches: int = 1
    beside: dict[str, float] = field(default_factory=dict)  # what runs beside other ops: how much
    # of each resource's time they hide
    launch_s: float | None = None  # of each launch, access included, if not the cores' own
    norm: float = (
        inf  # resources overlap as (sum of powers)^(1/norm): infinite, the largest of them
    )
    steps: Steps = ONE_STEP


@dataclass(frozen=True, slots=True)
class Cost:
    """What an op takes.

    `exposed` splits the latency by the resource it is spent on and sums to it.
    """

    latency_s: float
    energy_j: float
    work: Work
    exposed: dict[str, float]
    joules: dict[str, float]  # with "static"
    stages: tuple[Cost, ...] = ()  # of a sequence

    @property
    def bound_by(self) -> str:
        """The resource whose busy time (or fixed cost) is largest."""
        return max(self.bounds().items(), key=lambda item: item[1])[0]

    def bounds(self) -> dict[str, float]:
        """Seconds of every resource, and of what nothing overlaps: launch (with access) and
        sync."""
        fixed = {
            "launch": self.exposed["launch"] + self.exposed["access"],
            "sync": self.exposed["sync"],
        }
        return {name: float(seconds) for name, seconds in (self.work.busy | fixed).items()}

    def lower_bound_s(self) -> float:
        """No schedule of this mapping is faster: its busiest resource."""
        return max(float(t) for t in self.work.busy.values())

    def upper_bound_s(self) -> float:
        """Everything one after the other."""
        return sum(self.bounds().values())


def largest(values: list[float]) -> float:
    """The maximum; 0 of nothing."""
    return max(values, default=0.0)


def together(values: list[float], norm: float) -> float:
    """Seconds of resources that overlap: the largest, or more where they do not do it perfectly."""
    most = largest(values)
    if norm == inf or not most:
        return most
    return float(most * sum((value / most) ** norm for value in values) ** (1 / norm))


def overlapped(rest: Map[str, float], norm: float) -> float:
    """Seconds of what overlaps; power is no queue that others wait for: it stretches them all."""
    others = [seconds for name, seconds in rest.items() if name != "power"]
    return max(together(others, norm), rest.get("power", 0.0))


def compose(work: Work, path: Path) -> Cost:
    """Latency and energy of `work` on `path` by the formulas above."""
    work = _one_vector_engine(work) if path.runs_on == "vector" else work
    if path.network:
        times = through_network(work.traffic, (work.busy, work.head, work.tail), path)
        work = replace(work, busy=times[0], head=times[1], tail=times[2])
    dynamic = sum(work.joules.values())
    power = path.design.power
    spent = dynamic / (power.limit - power.static)
    busy = work.busy | {"power": max(spent, work.busy.get("power", 0.0))}
    launch, access = path.control.launch, path.access_latency_s()
    if work.launch_s is not None:
        launch, access = work.launch_s, 0.0
    prologue, epilogue = largest(list(work.head.values())), largest(list(work.tail.values()))
    serial = sum(work.serial.values(), 0.0)
    rest = rest_of(replace(work, busy=busy))
    body = overlapped(rest, work.norm)
    launches = work.launches
    fixed = {"launch": launch * launches, "access": access * launches, "sync": work.sync_s}
    phases = {"prologue": prologue, "body": body, "serial": serial, "epilogue": epilogue}
    exposed = fixed | phases
    latency = sum(exposed.values())
    static = power.static * latency
    return Cost(
        latency,
        dynamic + static,
        replace(work, busy=busy),
        exposed,
        work.joules | {"static": static},
    )


def _one_vector_engine(work: Work) -> Work:
    """MACs on the vector engine take turns with its other work."""

    def merged(parts: dict[str, float]) -> dict[str, float]:
        rest = {name: value for name, value in parts.items() if name != "matrix"}
        return rest | {"vector": parts.get("vector", 0.0) + parts.get("matrix", 0.0)}

    return replace(work, busy=merged(work.busy), joules=merged(work.joules))


def in_one_kernel(works: list[Work]) -> Work:
    """Jobs of several kinds beside each other: what resources are busy with adds up; the first
    kind's first loads, the last one's last stores, one launch."""
    return Work(
        added([w.busy for w in works]),
        works[0].head,
        works[-1].tail,
        added([w.joules for w in works]),
        _traffic_of(works),
        added([w.serial for w in works]),
        sum(w.sync_s for w in works),
        max(w.launches for w in works),
        launch_s=works[0].launch_s,
        norm=works[0].norm,
        steps=joined([(w.steps, w.busy) for w in works]),
    )


def _traffic_of(works: list[Work]) -> Traffic:
    traffic: Traffic = {}
    for work in works:
        for level, operands in work.traffic.items():
            for operand, (read, written) in operands.items():
                add_traffic(traffic, level, operand, read, written)
    return traffic


def in_sequence(costs: list[Cost]) -> Cost:
    """One after the other: everything adds up."""
    works = [cost.work for cost in costs]
    return Cost(
        sum(cost.latency_s for cost in costs),
        sum(cost.energy_j for cost in costs),
        Work(
            added([w.busy for w in works]),
            added([w.head for w in works]),
            added([w.tail for w in works]),
            added([w.joules for w in works]),
            _traffic_of(works),
            added([w.serial for w in works]),
            sum(w.sync_s for w in works),
            sum(w.launches for w in works),
        ),
        added([cost.exposed for cost in costs]),
        added([cost.joules for cost in costs]),
        tuple(costs),
    )


FIXED = ("launch", "access", "sync")  # times that add to the latency whatever overlaps


def rest_of(work: Work) -> dict[str, float]:
    """Each resource's time that is neither the first loads, the last stores, nor serial, and that
    other ops do not hide."""
    apart = (work.head, work.tail, work.serial)
    rest = {
        name: seconds - sum(part.get(name, 0.0) for part in apart)
        for name, seconds in work.busy.items()
    }
    if not work.beside:
        return rest
    return {name: max(0.0, s - work.beside.get(name, 0.0)) for name, s in rest.items()}


def exposed_by_resource(cost: Cost) -> dict[str, float]:
    """Scalar latency split by resource: which resource each exposed part waits for."""
    if cost.stages:
        return added([exposed_by_resource(stage) for stage in cost.stages])
    work = cost.work
    found = {name: float(cost.exposed[name]) for name in FIXED}
    phases = ((work.head, "prologue"), (work.tail, "epilogue"), (rest_of(work), "body"))
    for parts, phase in phases:
        if parts:
            name = max(parts, key=lambda n: float(parts[n]))
            found[name] = found.get(name, 0.0) + float(cost.exposed[phase])
    return added([found, {name: float(s) for name, s in work.serial.items()}])


def saved_without(cost: Cost) -> dict[str, float]:
    """Per resource, how much shorter the op would be if that resource took no time."""
    if cost.stages:
        return added([saved_without(stage) for stage in cost.stages])
    work, saved = cost.work, {name: float(cost.exposed[name]) for name in FIXED}
    parts = (work.head, work.tail, rest_of(work))
    norms = (inf, inf, work.norm)
    for name in work.busy:
        others = whole = 0.0
        for part, norm in zip(parts, norms, strict=True):
            whole += overlapped(part, norm)
            others += overlapped({n: v for n, v in part.items() if n != name}, norm)
        saved[name] = whole - others + float(work.serial.get(name, 0.0))
    return saved


def added(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """Sums by name."""
    total: dict[str, Any] = {}
    for part in parts:
        for name, value in part.items():
            total[name] = total.get(name, 0.0) + value
    return total


def memory_joules(traffic: Traffic, path: Path) -> dict[str, float]:
    """Access energy by level."""
    found: dict[str, float] = {}
    for name, operands in traffic.items():
        level = path.by_name[name]
        found[name] = sum(
            read * level.read_j_per_byte + written * level.write_j_per_byte
            for read, written in operands.values()
        )
    return found


def vector_joules(work: Map[str, float], path: Path) -> float:
    """Energy of vector operations of any class."""
    return sum(work.values()) * path.vector.energy


def add_traffic(traffic: Traffic, level: str, operand: str, read: float, written: float) -> None:
    """Count bytes read from and written to `level` for `operand`."""
    before = traffic.setdefault(level, {}).get(operand, (0.0, 0.0))
    traffic[level][operand] = (before[0] + read, before[1] + written)


def whole_granules(run_bytes: float, granularity: float) -> float:
    """How many times its size a run of contiguous bytes moves (at least 1)."""
    return ceil(run_bytes / granularity) * granularity / run_bytes
