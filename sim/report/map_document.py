"""A mapping as the JSON document of the command-line contract. Bump SCHEMA_VERSION on a breaking
change.

SI units in keys. `mapping` is a mapping file (mappers/mapping_file.py): `--mapping` reads it.
"""

from __future__ import annotations

from typing import Any

from typing_extensions import TypedDict

from mappers.cost import exposed_by_resource
from mappers.legality import occupancy
from mappers.mapping_file import mapping_values
from sim.map_api import PARETO, Mapped
from sim.report.document import OperandBytes, rounded

SCHEMA_VERSION = 1


class FrontPoint(TypedDict):
    """A mapping that no other of the front beats in latency, energy and bytes held at once."""

    latency_s: float
    energy_j: float
    held_bytes: float
    optimality_gap: float
    mapping: Any


class MapDocument(TypedDict):
    """A contraction on a design. `optimality_gap` is the share by which the optimum can be lower at
    most; null where nothing was searched. `pruned` mappings were excluded without being costed."""

    schema_version: int
    design: str
    cores: str
    engine: str
    workload: str
    objective: str
    formats: dict[str, str]
    ranks: dict[str, int]
    macs: int
    latency_s: float
    energy_j: float
    clock_hz: float
    cycles: float
    compute_cycles: float
    utilization: float
    bound_by: str
    busy_s: dict[str, float]
    exposed_s: dict[str, float]
    energy_by_j: dict[str, float]
    traffic_bytes: dict[str, dict[str, float]]
    traffic_by_operand: dict[str, dict[str, OperandBytes]]
    held_bytes: dict[str, dict[str, float]]
    capacity_bytes: dict[str, float]
    mapping: Any
    mapping_file: str | None
    mappings_total: int
    evaluated: int
    pruned: int
    seconds: float
    optimality_gap: float | None
    cached: bool
    interrupted: bool
    pareto: list[FrontPoint]


def map_document(mapped: Mapped) -> MapDocument:
    """Plain values; floats rounded to 9 significant digits so that documents compare."""
    cost, path, problem = mapped.cost, mapped.path, mapped.problem
    document: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "design": mapped.design.name,
        "cores": path.name,
        "engine": path.runs_on,
        "workload": mapped.workload,
        "objective": PARETO if mapped.front else mapped.objective,
        "formats": dict(mapped.formats),
        "ranks": dict(problem.extents),
        "macs": problem.macs,
        "latency_s": cost.latency_s,
        "energy_j": cost.energy_j,
        "clock_hz": path.clock_hz,
        "cycles": mapped.cycles,
        "compute_cycles": mapped.compute_cycles,
        "utilization": mapped.utilization,
        "bound_by": cost.bound_by,
        "busy_s": {name: float(seconds) for name, seconds in cost.work.busy.items()},
        "exposed_s": exposed_by_resource(cost),
        "energy_by_j": {name: float(joules) for name, joules in cost.joules.items()},
    }
    return rounded(document | _moved(mapped) | _held(mapped) | _search(mapped))


def _moved(mapped: Mapped) -> dict[str, Any]:
    traffic = mapped.cost.work.traffic
    by_operand = {
        level: {o: {"read": float(r), "written": float(w)} for o, (r, w) in moved.items()}
        for level, moved in traffic.items()
    }
    sums = {
        level: {o: float(r + w) for o, (r, w) in moved.items()} for level, moved in traffic.items()
    }
    return {"traffic_bytes": sums, "traffic_by_operand": by_operand}


def _held(mapped: Mapped) -> dict[str, Any]:
    held: dict[str, dict[str, float]] = {}
    for index, level in enumerate(mapped.path.memories):
        parts = occupancy(mapped.problem, mapped.found.mapping, mapped.path, index)
        held[level.name] = {operand: float(size) for operand, size in parts.items()}
    capacity = {level.name: float(level.capacity) for level in mapped.path.memories}
    return {"held_bytes": held, "capacity_bytes": capacity}


def _search(mapped: Mapped) -> dict[str, Any]:
    found = mapped.found
    return {
        "mapping": mapping_values(found.mapping, mapped.problem, mapped.path),
        "mapping_file": mapped.file,
        "mappings_total": found.total,
        "evaluated": found.evaluated,
        "pruned": found.pruned,
        "seconds": found.seconds,
        "optimality_gap": mapped.gap,
        "cached": found.cached,
        "interrupted": found.interrupted,
        "pareto": [
            {
                "latency_s": point.latency_s,
                "energy_j": point.energy_j,
                "held_bytes": point.held_bytes,
                "optimality_gap": point.found.gap,
                "mapping": mapping_values(point.found.mapping, mapped.problem, mapped.path),
            }
            for point in mapped.front
        ],
    }
