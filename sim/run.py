"""The result of a simulation: plain immutable values, in SI units, ready to be shown or stored.

Per-op figures are of one instance; `count` instances run, and the run's totals are sums of count
times figure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sim.event.program import Program
from sim.event.record import Timeline
from workloads.graph import AS_IT_IS


@dataclass(frozen=True, slots=True)
class Traffic:
    """Bytes read from and written to a level for one operand."""

    read: float
    written: float


@dataclass(frozen=True, slots=True)
class OpRun:
    """One op. `busy_s` is each resource's service time; `exposed_s` splits the latency by the
    resource waited for and sums to it; `saves_s` is how much shorter the op were without each."""

    name: str
    kind: str
    count: float
    latency_s: float
    energy_j: float
    bound_by: str
    next_bound: str
    saves_s: dict[str, float]
    macs: int
    traffic: dict[str, dict[str, Traffic]]
    utilization: float
    cores: str
    engine: str  # matrix; vector, also for MACs that no PE takes; none
    tile: str
    mapping: Any
    variant: str
    instead_s: dict[str, float]
    fused: tuple[str, ...]
    on_chip: dict[str, str]  # tensors that it finds or leaves in an on-chip memory, and which
    busy_s: dict[str, float]
    exposed_s: dict[str, float]
    energy_by_j: dict[str, float]
    peak_macs_per_s: float

    @property
    def traffic_bytes(self) -> dict[str, float]:
        """Bytes read and written at each level, all operands."""
        return {
            level: sum(t.read + t.written for t in operands.values())
            for level, operands in self.traffic.items()
        }


@dataclass(frozen=True, slots=True)
class Limit:
    """What a resource costs the whole run: time spent waiting for it, and what its removal
    saves."""

    resource: str
    exposed_s: float
    saves_s: float


@dataclass(frozen=True, slots=True)
class Trust:
    """Shares of a total that rest on each kind of number, and the total's uncertainty band."""

    shares: dict[str, float]
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Held:
    """Bytes that a backing memory must hold, and has."""

    bytes: int
    capacity: int


@dataclass(frozen=True, slots=True)
class Section:
    """One op, or a part of it that follows another, as it ran by events; `count` copies did.
    `stage`: of a system, where. `pace`: its
    seconds without a power limit over those that it took."""

    op: str
    count: float
    timeline: Timeline
    program: Program
    stage: str = ""
    pace: float = 1.0


@dataclass(frozen=True, slots=True)
class PowerSpan:
    """Mean watts of the board from `start_s` on, for so many seconds of the run, and `clock`: which
    share of their speed the power limit leaves to the ops (1: it does not hold)."""

    start_s: float
    seconds: float
    watts: float
    clock: float


@dataclass(frozen=True, slots=True)
class TenantRun:
    """One of several graphs on a chip. Seconds of all its `runs`, alone and beside the others."""

    name: str
    priority: int
    runs: int
    alone_s: float
    together_s: float

    @property
    def slowdown(self) -> float:
        return self.together_s / self.alone_s


@dataclass(frozen=True, slots=True)
class EventRun:
    """What only the event simulator knows. `stalls`: seconds of every resource, all ops together
    (on a system, of a chip of the stage at work): busy, and not busy because the next use waited
    for data, space, sync or launch, or idle."""

    analytic_latency_s: float
    events: int
    stalls: dict[str, dict[str, float]]
    sections: tuple[Section, ...]
    partial: bool = False
    pipeline: Section | None = None  # batches one after the other through several stages
    policy: str = ""  # that ran ops together
    power: tuple[PowerSpan, ...] = ()  # layer by layer, of boards with a mean limit
    tenants: tuple[TenantRun, ...] = ()  # the run's own phase first, where others are beside it

    @property
    def gained(self) -> float:
        """More work per second than if the tenants had followed one another, as a share."""
        together = max((tenant.together_s for tenant in self.tenants), default=0.0)
        return sum(t.alone_s for t in self.tenants) / together - 1 if together else 0.0


def _all_fit(backing: Mapping[str, Held]) -> bool:
    return all(held.bytes <= held.capacity for held in backing.values())


@dataclass(frozen=True, slots=True)
class StageRun:
    """What a chip of a stage holds, and which chips of the system's numbers the stage has."""

    machine: str
    design: str
    chips: tuple[int, ...]
    weight_bytes: int
    kv_bytes: int
    memory_bytes: int
    latency_s: float
    energy_j: float  # of all its chips
    resident_bytes: int | None = None  # of the weights and cache, if not all live there
    backing: dict[str, Held] = field(default_factory=dict)  # each chip's own

    @property
    def need_bytes(self) -> int:
        """Weights and cache of a chip, as far as they live in its outermost memory; buffers."""
        whole = self.weight_bytes + self.kv_bytes
        return whole if self.resident_bytes is None else self.resident_bytes

    @property
    def fits(self) -> bool:
        """Do they fit its outermost memory, and its backing ones what is there?"""
        return self.need_bytes <= self.memory_bytes and _all_fit(self.backing)


@dataclass(frozen=True)
class Run:
    """A simulated phase of a model on a design; on a system, bytes, MACs and energies are those of
    all chips in use, and `parallel` says how they share the work."""

    design: str
    design_title: str
    workload: str
    phase: str
    simulator: str
    objective: str
    batch: int
    tokens: int  # new tokens of one sequence
    context: int  # keys seen by the last of them
    latency_s: float
    energy_j: float
    area_mm2: float | None
    area_is_die: bool  # else the sum of the parts that state an area
    params: int
    kept_params: int  # that sparsity leaves
    weight_bytes: int
    kv_bytes: int
    memory_bytes: int  # of the outermost memory
    produced_tokens: float  # by the whole batch
    ops: tuple[OpRun, ...]
    limits: tuple[Limit, ...]
    latency_trust: Trust
    energy_trust: Trust
    area_trust: Trust | None
    state_bytes: int = 0  # gradients and the optimizer's, in training
    saved_bytes: int = 0  # activations kept for the backward pass
    dollars_per_hour: float | None = None
    ttft_s: float | None = None
    tpot_s: float | None = None
    warnings: tuple[str, ...] = ()
    formats: str = ""
    facts: dict[str, Any] = field(default_factory=dict)  # peaks and bandwidths, for plots
    parallel: dict[str, int] = field(default_factory=dict)  # ranks along each axis; stages
    stages: tuple[StageRun, ...] = ()  # on a system
    interval_s: float | None = None  # from one batch to the next where the stages are all busy
    resident_bytes: int | None = None  # of the weights and cache, if not all live there
    backing: dict[str, Held] = field(default_factory=dict)  # the memories with the rest
    event: EventRun | None = None  # by events

    @property
    def unit(self) -> str:
        """What is counted as produced: tokens, or runs of a graph that has none."""
        return "run" if self.phase == AS_IT_IS else "token"

    @property
    def power_w(self) -> float:
        """Average over the run."""
        return self.energy_j / self.latency_s

    @property
    def tokens_per_s(self) -> float:
        """Of the whole batch: processed in prefill, trained in train, generated otherwise."""
        return self.produced_tokens / self.latency_s

    @property
    def energy_per_token_j(self) -> float:
        return self.energy_j / self.produced_tokens

    @property
    def fits(self) -> bool:
        """Do weights and cache fit the outermost memory, of every chip, and the backing ones what
        is there?"""
        if self.stages:
            return all(stage.fits for stage in self.stages)
        return self.main_bytes <= self.memory_bytes and _all_fit(self.backing)

    @property
    def main_bytes(self) -> int:
        """Bytes that the outermost memory must hold: weights and cache, unless they live elsewhere,
        and buffers for what is fetched."""
        return self.held_bytes if self.resident_bytes is None else self.resident_bytes

    @property
    def held_bytes(self) -> int:
        """All that must be in memory at a time."""
        return sum(self.held().values())

    def held(self) -> dict[str, int]:
        """Bytes by what they are, in words for a person."""
        if not self.state_bytes:
            return {"weights": self.weight_bytes, "cache": self.kv_bytes}
        return {
            "weights": self.weight_bytes,
            "gradients and optimizer": self.state_bytes,
            "activations": self.saved_bytes,
        }

    @property
    def chips(self) -> int:
        """In use."""
        return sum(len(stage.chips) for stage in self.stages) or 1

    @property
    def cost_usd(self) -> float | None:
        """The run's share of the price per hour."""
        if self.dollars_per_hour is None:
            return None
        return self.latency_s / 3600 * self.dollars_per_hour
