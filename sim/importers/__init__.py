"""Machines and mappings of other tools as designs and mappings of ours.

An importer reads its tool's files into a `Machine` and a loop nest (`machine`, `nest`), which
become a design and a mapping file (`write`, `imported`); everything in the files is either carried
over, or listed with the reason. New tool: a module with `read` and a line here.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from accel_models.explain import nearest
from kernels_ref.errors import UserError

if TYPE_CHECKING:
    from sim.importers.imported import Imported

# Tool -> the module whose `read(files) -> Imported` reads its files.
IMPORTERS: dict[str, str] = {
    "accelforge": "sim.importers.accelforge",
    "timeloop": "sim.importers.timeloop",
    "zigzag": "sim.importers.zigzag",
    "scalesim": "sim.importers.scalesim",
}


def import_files(tool: str, files: list[Path]) -> Imported:
    """What the files of a tool say, in our terms. Raises UserError (ForeignFileError with file and
    line for what is wrong in a file)."""
    if tool not in IMPORTERS:
        raise UserError(f"unknown tool '{tool}'; {nearest(tool, list(IMPORTERS))}")
    if not files:
        raise UserError(f"name the files of {tool} to import")
    reader: Callable[[list[Path]], Imported] = import_module(IMPORTERS[tool]).read
    return reader(files)
