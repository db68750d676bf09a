"""Energies of a Timeloop machine: an energy reference table (ERT), or attributes of the elements.

An ERT gives pJ by element and action; an action of a memory moves one row of `width` bits. Where an
action has several entries (how much of the data changes), the largest counts, as Timeloop's own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from sim.importers.foreign import Block
from sim.importers.machine import Notes
from sim.importers.timeloop_tree import Element

PJ = 1e-12
Table = Mapping[str, float]  # action -> pJ
COMPUTE_ACTIONS = ("compute", "mac_random", "mac", "multiply", "mult")
_LAST = re.compile(r"([^.\[\]()]+)(?:\[[^\]]*\])?(?:\([^)]*\))?$")


def energies_of(document: Block) -> dict[str, Table]:
    """pJ by element and action of every table in the file. Raises ForeignFileError."""
    ert = document.block("ERT", "ert")
    ert.get("version")
    found: dict[str, Table] = {}
    for table in ert.blocks("tables"):
        match = _LAST.search(str(table.need("name")))
        actions: dict[str, float] = {}
        for action in table.blocks("actions"):
            name, energy = str(action.need("name")), action.number("energy") or 0.0
            actions[name] = max(actions.get(name, 0.0), energy)
            action.pass_over()
        if match:
            found[match[1]] = actions
    return found


def store_energy_of(
    element: Element, table: Mapping[str, Table], width: float, notes: Notes
) -> tuple[float | None, float | None]:
    """J per bit read and written; None where the files do not say."""
    vector = element.number("vector_access_energy", "vector-access-energy")
    if vector is not None:
        return vector * PJ / width, vector * PJ / width
    actions = table.get(element.name)
    if not actions or "read" not in actions:
        return None, None
    read, write = actions["read"], actions.get("write", actions["read"])
    if actions.get("update", write) != write:
        what = f"{element.name}: an update costs {actions['update']} pJ, a write {write} pJ"
        notes.drop(element.block.place, what, "one energy of writes here: the write's")
    return read * PJ / width, write * PJ / width


def mac_energy_of(element: Element, table: Mapping[str, Table]) -> float | None:
    """J of a multiply-accumulate; None where the files do not say."""
    given = element.number("energy_per_op", "energy-per-op")
    if given is not None:
        return given * PJ
    actions = table.get(element.name, {})
    return next((actions[name] * PJ for name in COMPUTE_ACTIONS if name in actions), None)
