"""The way of data from the outermost memory to one kind of core, as numbers ready for formulas.

Bandwidths are achievable ones (times efficiency) in bytes per second of one instance; energies are
per byte. `instances` counts the chip's. Every level remembers the key path it was read from, so
that a result can say which numbers it rests on. The last level is the engines' own registers: it
stores nothing, and its instances are the matrix engines.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import ceil

from accel_models.design import Control, Core, Design, PathKey
from accel_models.engines.blocks import Simd
from accel_models.engines.pe import PE, Datapath, Pair, choose_datapath
from accel_models.engines.sparse import engine_form
from accel_models.engines.tile import Engine, EngineForm
from accel_models.engines.vector import VectorEngine
from accel_models.memory import Memory
from accel_models.network import Network
from accel_models.reader import DesignError
from kernels_ref.formats import Format

ENGINE = "engine"


@dataclass(frozen=True, slots=True)
class Level:
    """One memory level as this kind of core sees it."""

    name: str
    at: PathKey
    instances: int
    kind: str = "regfile"
    capacity: float = 0.0
    read_bytes_per_s: float = 0.0
    write_bytes_per_s: float = 0.0
    shared_port: bool = True  # reads and writes take turns
    latency_s: float = 0.0
    granularity: float = 1.0
    read_j_per_byte: float = 0.0
    write_j_per_byte: float = 0.0
    keeps: tuple[str, ...] = ()
    bypass: tuple[str, ...] = ()
    buffering: str = "double"
    fill_port: bool = False
    multicast: int = 1
    reduction: bool = False

    def seconds(self, read: float, write: float, instances: float) -> float:
        """Time to read and write these bytes in all through `instances` working at once."""
        r = read / (self.read_bytes_per_s * instances)
        w = write / (self.write_bytes_per_s * instances)
        return r + w if self.shared_port else max(r, w)


@dataclass(frozen=True)
class Path:
    """Levels outermost first, ending with the engines; `first_core` indexes the first level that
    each core has for itself."""

    design: Design
    name: str  # of the kind of core
    core: Core
    clock_hz: float
    levels: tuple[Level, ...]
    first_core: int
    by_name: dict[str, Level] = field(default_factory=dict)
    runs_on: str = "matrix"  # which engine does the MACs

    @property
    def engine(self) -> Engine:
        return self.core.engine

    @property
    def vector(self) -> VectorEngine:
        return self.core.vector

    @property
    def control(self) -> Control:
        return self.core.control

    @property
    def cores(self) -> int:
        return self.core.count

    @property
    def memories(self) -> tuple[Level, ...]:
        """The levels that store."""
        return self.levels[:-1]

    @property
    def network(self) -> Network | None:
        """Between the cores and the innermost memory that they share."""
        level = self.memories[self.first_core - 1]
        return self.design.memory[level.name].network

    def datapath(self, weight: Format, activation: Format) -> Datapath:
        """The engine's pair for these operands. Raises DesignError if it has none."""
        where = f"{self.design.name}: {self.name}"
        return choose_datapath(self.engine.pe, weight, activation, where)

    def on_vector_engine(self) -> Path:
        """The same path with the vector engine doing the MACs: a multiply and an add each, in
        fp32."""
        rates = self.vector.ops_per_cycle
        each = 1 / (1 / rates.mul + 1 / rates.add)
        lanes = max(1, ceil(each))
        engine = Simd.model_construct(
            count=self.vector.count,
            lanes=lanes,
            pipeline=1,
            pe=PE.model_construct(
                formats={
                    "fp32": Pair.model_construct(
                        macs_per_cycle=each / lanes,
                        accumulate="fp32",
                        energy=2 * self.vector.energy,
                    )
                }
            ),
        )
        shared = [level for level in self.memories if level.instances <= self.cores]
        engines = Level(ENGINE, ("cores", self.name, "vector"), self.cores * self.vector.count)
        return replace(
            self,
            core=self.core.model_copy(update={"matrix": engine}),
            levels=(*shared, engines),
            runs_on="vector",
        )

    def form(self, pair: Datapath) -> EngineForm:
        """The engine's numbers in this format pair, zeros that it skips left out."""
        return engine_form(self.engine, pair, pair.skip)

    def peak_macs_per_s(self, pair: Datapath) -> float:
        """All engines of all cores, full, in this format pair: MACs of the dense operation, those
        that are skipped among them."""
        rate = pair.pair.macs_per_cycle * pair.skip.deeper
        per_cycle = self.engine.peak(rate, pair.weight.bits) / pair.skip.issued
        return per_cycle * self.engine.count * self.cores * self.clock_hz

    def vector_seconds(self, work: dict[str, float], cores: float) -> float:
        """Time of this work, operations by class, spread over `cores` cores."""
        return self.vector.cycles(work) / (self.vector.count * cores * self.clock_hz)

    def access_latency_s(self, levels: int | None = None) -> float:
        """A first access to the farthest of these levels (all): each latency is end to end."""
        return self.farthest(levels).latency_s

    def farthest(self, levels: int | None = None) -> Level:
        """Of the first so many levels (all), the one that takes longest to answer."""
        return max(self.memories[:levels], key=lambda level: level.latency_s)


def memory_path(design: Design, core_name: str) -> Path:
    """The path to the cores of this name. Raises DesignError if there are none."""
    if core_name not in design.cores:
        known = ", ".join(design.cores)
        raise DesignError(f"{design.name}: no cores named '{core_name}'; there are {known}")
    core = design.cores[core_name]
    clock = design.clock_of(core)
    levels = [
        _level(key, ("memory", key), memory, memory.instances, design.clock)
        for key, memory in design.memory.items()
        if memory.serves is None or core_name in memory.serves
    ]
    first_core = len(levels)
    if network := design.memory[levels[-1].name].network:
        beyond = network.latency_s()
        levels = [replace(level, latency_s=level.latency_s + beyond) for level in levels]
    for key, memory in core.memory.items():
        instances = core.count * (core.engine.count if memory.per == "engine" else 1)
        levels.append(_level(key, ("cores", core_name, "memory", key), memory, instances, clock))
    engines = core.count * core.engine.count
    levels.append(Level(ENGINE, ("cores", core_name, "matrix"), engines))
    by_name = {level.name: level for level in levels}
    return Path(design, core_name, core, clock, tuple(levels), first_core, by_name)


def _level(name: str, at: PathKey, memory: Memory, instances: int, clock: float) -> Level:
    shared = memory.bandwidth is not None
    read, write = (
        memory.bandwidth or memory.read_bandwidth,
        memory.bandwidth or memory.write_bandwidth,
    )
    if read is None or write is None:
        raise DesignError(f"{'.'.join(at)}: no bandwidth")
    return Level(
        name=name,
        at=at,
        instances=instances,
        kind=memory.kind,
        capacity=memory.capacity,
        read_bytes_per_s=read.bytes_per_second(clock) * memory.efficiency,
        write_bytes_per_s=write.bytes_per_second(clock) * memory.efficiency,
        shared_port=shared,
        latency_s=memory.latency,
        granularity=memory.granularity,
        read_j_per_byte=memory.energy * 8,
        write_j_per_byte=(memory.write_energy or memory.energy) * 8,
        keeps=memory.keeps,
        bypass=memory.bypass,
        buffering=memory.buffering,
        fill_port=memory.fill_port,
        multicast=memory.multicast,
        reduction=memory.reduction,
    )
