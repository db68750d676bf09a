"""A Run as the JSON document of the command-line contract. Bump SCHEMA_VERSION on a breaking
change.

SI units in keys; per-op figures are of one instance, of which `count` run. `tileloom schema run`
prints the JSON Schema of `RunDocument`.
"""

from __future__ import annotations

from typing import Any, NotRequired

from typing_extensions import TypedDict

from sim.run import EventRun, OpRun, Run, StageRun, Trust

SCHEMA_VERSION = 1


class OperandBytes(TypedDict):
    read: float
    written: float


class OpDocument(TypedDict):
    """One op. `busy_s` is each resource's service time; `exposed_s` sums to `latency_s`."""

    name: str
    kind: str
    count: float
    latency_s: float
    energy_j: float
    bound_by: str
    next_bound: str
    saves_s: dict[str, float]
    macs: int
    traffic_bytes: dict[str, float]
    traffic_by_operand: dict[str, dict[str, OperandBytes]]
    utilization: float
    cores: str
    engine: str
    variant: str | None
    instead_s: dict[str, float]
    fused: list[str]
    on_chip: dict[str, str]
    busy_s: dict[str, float]
    exposed_s: dict[str, float]
    energy_by_j: dict[str, float]
    tile: str
    mapping: Any


class LimitDocument(TypedDict):
    """Time the run waits for a resource, and what is saved if it were infinitely fast."""

    resource: str
    exposed_s: float
    saves_s: float


class StageDocument(TypedDict):
    """What a chip of a stage holds, and which of the system's chips the stage has."""

    machine: str
    design: str
    chips: list[int]
    weight_bytes: int
    kv_bytes: int
    memory_bytes: int
    fits: bool
    latency_s: float
    energy_j: float


class HeldDocument(TypedDict):
    """What lives in a backing memory, and its size."""

    bytes: int
    capacity_bytes: int


class StallDocument(TypedDict):
    """Seconds of a resource: busy; not busy since what comes next waited, in all and by cause
    (data, space, sync, launch; refresh and turns of DRAM's bus); with nothing more to do."""

    busy_s: float
    waiting_s: float
    by_cause_s: dict[str, float]
    idle_s: float


class PowerDocument(TypedDict):
    """From `start_s` of the run on the board draws so many watts, at this share of its speed."""

    start_s: float
    power_w: float
    clock: float


class TenantDocument(TypedDict):
    """One of several graphs on a chip: seconds of all its runs."""

    name: str
    priority: int
    runs: int
    alone_s: float
    together_s: float
    slowdown: float


class RunDocument(TypedDict):
    """A simulated phase. `provenance` is the share of the latency that rests on each kind of
    number."""

    schema_version: int
    design: str
    workload: str
    phase: str
    simulator: str
    objective: str
    formats: str
    batch: int
    tokens: int
    context: int
    latency_s: float
    energy_j: float
    power_w: float
    area_mm2: float | None
    area_is_die: bool
    tokens_per_s: float
    ttft_s: float | None
    tpot_s: float | None
    energy_per_token_j: float
    weight_bytes: int
    kv_bytes: int
    state_bytes: int
    saved_bytes: int
    memory_bytes: int
    fits: bool
    params: int
    kept_params: int
    provenance: dict[str, float]
    latency_band_s: list[float]
    energy_provenance: dict[str, float]
    energy_band_j: list[float]
    area_provenance: NotRequired[dict[str, float]]
    area_band_mm2: NotRequired[list[float]]
    cost_usd: NotRequired[float]
    chips: int
    parallel: dict[str, int]
    stages: NotRequired[list[StageDocument]]
    interval_s: NotRequired[float]
    resident_bytes: NotRequired[int]
    backing: NotRequired[dict[str, HeldDocument]]
    analytic_latency_s: NotRequired[float]
    events: NotRequired[int]
    stalls: NotRequired[dict[str, StallDocument]]
    partial: NotRequired[bool]
    power_over_time: NotRequired[list[PowerDocument]]
    tenants: NotRequired[list[TenantDocument]]
    tenants_gained: NotRequired[float]  # work per second over one after the other, less 1
    policy: NotRequired[str]
    limits: list[LimitDocument]
    warnings: list[str]
    ops: list[OpDocument]


_SAME_NAME = (
    "design workload phase simulator objective formats batch tokens context latency_s energy_j "
    "power_w area_mm2 area_is_die tokens_per_s ttft_s tpot_s energy_per_token_j weight_bytes "
    "kv_bytes state_bytes saved_bytes memory_bytes fits params kept_params"
).split()
_SAME_NAME_OP = (
    "name kind count latency_s energy_j bound_by next_bound saves_s macs traffic_bytes utilization "
    "cores engine instead_s on_chip busy_s exposed_s energy_by_j tile mapping"
).split()


def run_document(run: Run) -> RunDocument:
    """Plain values; floats rounded to 9 significant digits so that documents compare."""
    document: dict[str, Any] = {"schema_version": SCHEMA_VERSION}
    document |= {name: getattr(run, name) for name in _SAME_NAME}
    document["provenance"] = run.latency_trust.shares
    document["latency_band_s"] = _band(run.latency_trust)
    document["energy_provenance"] = run.energy_trust.shares
    document["energy_band_j"] = _band(run.energy_trust)
    if run.area_trust:
        document["area_provenance"] = run.area_trust.shares
        document["area_band_mm2"] = _band(run.area_trust)
    if run.cost_usd is not None:
        document["cost_usd"] = run.cost_usd
    document["chips"], document["parallel"] = run.chips, dict(run.parallel)
    if run.stages:
        document["stages"] = [_stage(stage) for stage in run.stages]
    if run.interval_s is not None:
        document["interval_s"] = run.interval_s
    if run.backing:
        document["resident_bytes"] = run.main_bytes
        document["backing"] = {
            name: {"bytes": held.bytes, "capacity_bytes": held.capacity}
            for name, held in run.backing.items()
        }
    if run.event:
        document |= _by_events(run.event)
    document["limits"] = [
        {"resource": x.resource, "exposed_s": x.exposed_s, "saves_s": x.saves_s} for x in run.limits
    ]
    document["warnings"] = list(run.warnings)
    document["ops"] = [_op(op) for op in run.ops]
    return rounded(document)


def _by_events(event: EventRun) -> dict[str, Any]:
    stalls = {}
    for name, parts in event.stalls.items():
        causes = {cause: s for cause, s in parts.items() if cause not in ("busy", "idle") and s}
        stalls[name] = {
            "busy_s": parts["busy"],
            "waiting_s": sum(causes.values()),
            "by_cause_s": causes,
            "idle_s": parts["idle"],
        }
    return {
        "analytic_latency_s": event.analytic_latency_s,
        "events": event.events,
        "stalls": stalls,
        "partial": event.partial,
    } | _optional(event)


def _optional(event: EventRun) -> dict[str, Any]:
    """What only some runs have."""
    found: dict[str, Any] = {"policy": event.policy} if event.policy else {}
    if event.tenants:
        names = "name priority runs alone_s together_s slowdown".split()
        found["tenants"] = [{n: getattr(one, n) for n in names} for one in event.tenants]
        found["tenants_gained"] = event.gained
    return found | ({"power_over_time": _power(event)} if event.power else {})


def _power(event: EventRun) -> list[dict[str, float]]:
    return [
        {"start_s": span.start_s, "power_w": span.watts, "clock": span.clock}
        for span in event.power
    ]


def _stage(stage: StageRun) -> dict[str, Any]:
    names = "machine design weight_bytes kv_bytes memory_bytes fits latency_s energy_j".split()
    return {name: getattr(stage, name) for name in names} | {"chips": list(stage.chips)}


def _band(trust: Trust) -> list[float]:
    return [trust.low, trust.high]


def _op(op: OpRun) -> dict[str, Any]:
    by_operand = {
        level: {o: {"read": t.read, "written": t.written} for o, t in operands.items()}
        for level, operands in op.traffic.items()
    }
    return {name: getattr(op, name) for name in _SAME_NAME_OP} | {
        "traffic_by_operand": by_operand,
        "variant": op.variant or None,
        "fused": list(op.fused),
    }


def rounded(value: Any) -> Any:
    """Plain values with their floats at 9 significant digits."""
    if isinstance(value, float):
        return float(f"{value:.9g}")
    if isinstance(value, dict):
        return {k: rounded(v) for k, v in value.items()}
    if isinstance(value, list):
        return [rounded(v) for v in value]
    return value
