"""A system as plain values: its machines, and what their chips see of the links."""

from __future__ import annotations

from typing import Any

from accel_models.collectives import collective
from accel_models.links import Dim
from accel_models.read_system import read_system
from accel_models.system import System

MEASURES = {"1 KiB": 1 << 10, "1 MiB": 1 << 20, "1 GiB": 1 << 30}


def system_document(name: str) -> dict[str, Any]:
    """A system's machines, links, and what an all_reduce over each machine takes. Raises
    DesignError."""
    system = read_system(name)
    return {
        "system": system.name,
        "title": system.title,
        "chips": system.chips,
        "machines": {machine: _machine(system, machine) for machine in system.machines},
        "links": {name: _link(system, name) for name in system.links},
        "notes": system.notes,
    }


def _machine(system: System, name: str) -> dict[str, Any]:
    design, count = system.design(name), system.machines[name].count
    memory = next(iter(design.memory.values()))
    dims = system.dims(name)
    return {
        "design": system.machines[name].design,
        "count": count,
        "memory_bytes": count * memory.capacity * memory.instances,
        "power_limit_w": count * design.power.limit,
        "joined_by": [_joined(dim) for dim in dims],
        "all_reduce_s": {
            f"{size} ({way.algorithm})": way.seconds
            for size, number in MEASURES.items()
            for way in [collective("all_reduce", dims, number)]
        },
    }


def _joined(dim: Dim) -> str:
    """A dim in a word: its link, kind and size."""
    words = {"switch": "switch of", "full": "all of", "ring": "ring of", "line": "line of"}
    return f"{dim.link} ({words[dim.kind]} {dim.size})"


def _link(system: System, name: str) -> dict[str, Any]:
    link = system.links[name]
    return {
        "topology": link.topology,
        "shape": " x ".join(str(extent) for extent in link.shape) if link.shape else None,
        "joins": system.joined(name),
        "size": link.size,
        "bandwidth_bytes_per_s": link.bandwidth.amount,
        "efficiency": link.efficiency,
        "latency_s": link.latency,
        "pj_per_bit": link.energy * 1e12,
        "reduction": link.reduction or None,
    }
