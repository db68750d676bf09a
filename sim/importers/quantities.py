"""How an imported design writes amounts and where they come from."""

from __future__ import annotations

from pathlib import PurePath
from typing import Any

from sim.importers.machine import Machine, Macs, Store

UNLIMITED_BYTES, UNLIMITED_RATE = "1e18 B", "1e21 B/s"
NOTHING = 1e-24  # J: what costs nothing there must be above zero here


def of(value: float, unit: str) -> str:
    """`1.5 GHz`, to the digits that a float has."""
    return f"{value:.15g} {unit}"


def joules(value: float, unit: str = "pJ") -> str:
    """J as pJ (or pJ/bit), above zero."""
    return of(max(value, NOTHING) * 1e12, unit)


def derived(machine: Machine, part: Store | Macs) -> str:
    """The source of what the file says."""
    file = PurePath(part.place.file).name
    return f"derived: {file}:{part.place.line} ({machine.tool}), in our units"


def neutral(machine: Machine) -> str:
    """The source of what ours needs and theirs does not say."""
    return f"guess: not in the {machine.tool} file; a value that changes nothing"


def passing_by() -> dict[str, Any]:
    """A core needs a memory: one that keeps nothing."""
    return {
        "kind": "regfile",
        "capacity": "1 B",
        "bandwidth": UNLIMITED_RATE,
        "efficiency": 1.0,
        "latency": "1 fs",
        "granularity": "0.125 B",
        "energy": joules(0.0, "pJ/bit"),
        "keeps": [],
    }
