"""Tensors that live in a design's backing memories: what fetching them adds to a step.

The layers of one kind run one after the other, and while one computes, what the next one reads is
fetched (prefetch by one layer, two buffers; ZeRO-Inference, DeepSpeed Inference, arXiv 2207.00032,
sec. 6; FlexGen, arXiv 2303.06865, sec. 3). In the steady state a layer that fetches takes

    max(C, max over backing memories b of F_b, max over r of B_r + M_r - L) + L

    C    the latencies of its ops                       F_b  time of what is fetched ahead from b,
    L    time of what is fetched late (nothing hides it)     and of the cache rows written to it
    B_r  what its ops keep the outermost memory, or the power supply, busy for; M_r: the same of the
         fetched bytes (written there) and of the rows on their way out (read there)

and a layer that does not, C. The energy of backing memories and their links counts, though the
chip's power supply does not feed them. The ops of a layer stand in the schedule as they are; an
entry `fetch` for those layers is what is longer: its latency is the difference, its busy times and
bytes are whole. Layers that fetch different tensors are nested: those with the smaller share also
fetch the tensors with the larger one. What is fetched for ops outside of layers is hidden by these
only. What fits is `mappers/residence.py`.
Not modeled: the first layer of a run of steps, whose fetch is hidden by the step before it; copy
kernels that take cores; a queue in which one layer's late fetches wait for the next one's early
ones; on a system, collectives, which fetches could hide behind too, and chips that share a link.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from accel_models.backing import Backing
from accel_models.design import Design
from accel_models.path import Path
from mappers.cost import Cost, Traffic, Work, add_traffic, compose, memory_joules
from mappers.plan import Placed, Plan
from mappers.residence import Asked, Layers, backing_of, layers
from workloads.graph import Graph

OPERANDS = {"weight": "weight", "table": "table", "kv": "keys, values"}


@dataclass(frozen=True, slots=True)
class Fetch:
    """What brings tensors in; the mapper makes it, no graph has it."""

    name: str
    inputs: tuple[str, ...]
    output: str = ""
    kind: str = "fetch"
    macs: int = 0
    vector_ops: dict[str, float] = field(default_factory=dict)


def fetches(graph: Graph, design: Design, placed: Sequence[Placed]) -> Iterator[Placed]:
    """What the layers wait for, beside the ops that are placed. Raises DesignError."""
    for kind in layers(graph):
        own = groups_of(kind, placed)
        for number, (count, asked) in enumerate(kind.nested()):
            label = ".".join(filter(None, (kind.name.strip("."), f"fetch{number or ''}")))
            op = Fetch(label, tuple(a.tensor.name for a in asked))
            yield Placed(op, count, _plan(asked, own, kind.count, design))


def groups_of(kind: Layers, placed: Sequence[Placed]) -> list[Placed]:
    """The groups of ops that run in layers of this kind."""
    names = {node.op.name for node in kind.nodes}
    return [group for group in placed if group.op.name in names] or [
        group for group in placed if names & {op.name for op in group.fused}
    ]


def _plan(asked: Sequence[Asked], own: Sequence[Placed], count: float, design: Design) -> Plan:
    """The fetches of a layer, beside the ops of this layer."""
    path = own[0].plan.path
    by_memory: dict[str, list[Asked]] = {}
    for one in asked:
        by_memory.setdefault(backing_of(design, one.away), []).append(one)
    stores = {name: _Store(name, design.backing[name], design.clock) for name in by_memory}
    outside = {name: stores[name].traffic(parts) for name, parts in by_memory.items()}
    seconds = {name: stores[name].seconds(parts) for name, parts in by_memory.items()}
    joules = {name: stores[name].joules(moved) for name, moved in outside.items()}
    cost = _beside(_work(asked, seconds, path), own, count, path)
    cost = replace(
        cost,
        energy_j=cost.energy_j + sum(joules.values()),
        joules=cost.joules | joules,
        work=replace(cost.work, traffic=cost.work.traffic | outside),
    )
    numbers: dict[str, tuple[tuple[str, ...], ...]] = {
        name: tuple(("backing", name, key) for key in _keys(design.backing[name], moved))
        for name, moved in outside.items()
    }
    size, where = sum(one.fetched for one in asked), ", ".join(by_memory)
    stored = sum(one.written for one in asked)
    tile = f"{_mib(size)} from {where}" + (f", {_mib(stored)} to it" if stored else "")
    mapping = {"fetched_bytes": size, "stored_bytes": stored, "backing": list(by_memory)}
    return Plan(path, cost, tile, mapping, 0.0, 0.0, rests_on=numbers)


def _mib(size: float) -> str:
    return f"{size / 2**20:,.1f} MiB" if size >= 2**20 else f"{size / 2**10:,.1f} KiB"


def _work(asked: Sequence[Asked], seconds: dict[str, tuple[float, float]], path: Path) -> Work:
    """What the chip sees of it: the links (seconds ahead and late), the outermost memory."""
    main = path.levels[0]
    traffic = {main.name: _through(asked)}
    read, written = (sum(way) for way in zip(*traffic[main.name].values(), strict=True))
    busy = {name: ahead + late for name, (ahead, late) in seconds.items()}
    busy[main.name] = float(main.seconds(read, written, main.instances))
    late = {name: late for name, (_, late) in seconds.items()}
    return Work(busy, {}, {}, memory_joules(traffic, path), traffic, late, launches=0)


def _beside(work: Work, own: Sequence[Placed], count: float, path: Path) -> Cost:
    """The work beside a layer of these ops. What they leave of the outermost memory and of the
    power supply hides its share; so does the time in which they wait for what is late."""
    ops_s = sum(p.count * float(p.cost.latency_s) for p in own) / count
    beside = dict.fromkeys(work.busy, ops_s)
    for resource in (path.levels[0].name, "power"):
        used = sum(p.count * float(p.cost.work.busy.get(resource, 0.0)) for p in own) / count
        beside[resource] = ops_s - used + sum(work.serial.values())
    return compose(replace(work, beside=beside), path)


def _through(asked: Sequence[Asked]) -> dict[str, tuple[float, float]]:
    """Bytes by operand at the outermost memory: fetched ones are written, a cache's rows read."""
    traffic: Traffic = {}
    for one in asked:
        operand = OPERANDS[one.tensor.kind]
        add_traffic(traffic, "main", operand, one.written, one.fetched)
    return traffic["main"]


def _keys(store: Backing, traffic: dict[str, tuple[float, float]]) -> tuple[str, ...]:
    """The numbers that the time of this traffic rests on."""
    ways = ("read_bandwidth", "write_bandwidth")
    sums = (sum(way) for way in zip(*traffic.values(), strict=True))
    rates = tuple(way for way, size in zip(ways, sums, strict=True) if size)
    if store.bandwidth is not None:
        rates = ("bandwidth",)
    random = ("random_bandwidth",) if store.random_bandwidth is not None else ()
    return (*rates, *random, "efficiency")


@dataclass(frozen=True, slots=True)
class _Store:
    """A backing memory of a design, and what moves there."""

    name: str
    memory: Backing
    clock: float

    def seconds(self, asked: Sequence[Asked]) -> tuple[float, float]:
        """What is fetched ahead, with the rows written, and what is fetched late."""
        whole = sum(one.fetched for one in asked if not one.chunk)
        ahead, late = dict[float, float](), dict[float, float]()
        for one in asked:
            chunk = one.chunk or whole
            ahead[chunk] = ahead.get(chunk, 0.0) + one.away.ahead(one.read)
            late[chunk] = late.get(chunk, 0.0) + one.away.late(one.read)
        written = sum(one.written for one in asked)
        return (
            self.memory.seconds(_some(ahead), written, self.clock),
            self.memory.seconds(_some(late), 0.0, self.clock),
        )

    def traffic(self, asked: Sequence[Asked]) -> dict[str, tuple[float, float]]:
        """Bytes by operand, whole granules of what is read."""
        whole = sum(one.fetched for one in asked if not one.chunk)
        traffic: Traffic = {}
        for one in asked:
            chunk = one.chunk or whole
            moved = self.memory.moved(one.fetched, chunk) if one.fetched else 0.0
            add_traffic(traffic, self.name, OPERANDS[one.tensor.kind], moved, one.written)
        return traffic[self.name]

    def joules(self, traffic: dict[str, tuple[float, float]]) -> float:
        read, written = (sum(way) for way in zip(*traffic.values(), strict=True))
        return self.memory.joules(read, written)


def _some(by_chunk: dict[float, float]) -> dict[float, float]:
    return {chunk: size for chunk, size in by_chunk.items() if size}
