"""A fit's values into YAML: into a file that has them, or as a design that extends the one fitted.

Values have three digits and their file's own units.
"""

from __future__ import annotations

import os
from datetime import date
from pathlib import Path

from accel_models.read_design import read_design
from accel_models.reader import read_yaml
from kernels_ref.errors import UserError
from sim.calibrate import Calibration
from sim.calibrated.edit import edited
from sim.calibrated.parameters import parameters, written
from sim.calibrated.values import as_block, quoted, source_text

YAML = (".yaml", ".yml")


def yaml_file(path: Path) -> Path:
    """The path, if it can be a design. Raises UserError."""
    if path.suffix not in YAML:
        raise UserError(f"{path}: name a YAML file, {path.stem or 'design'}.yaml")
    return path


def write(found: Calibration, out: Path, day: date) -> tuple[str, ...]:
    """Into `out`: its own values where it is there, else a design of that name. Returns warnings.
    Raises UserError for a file that has not all of the values."""
    source = source_text(found, day)
    if not out.exists():
        out.write_text(_new_design(found, out, source), encoding="utf-8")
        read_design(str(out))
        return ()
    document = read_yaml(out)
    missing = [t.parameter for t in found.fitted if t.parameter.path not in document.places]
    if missing:
        names = ", ".join(parameter.name for parameter in missing)
        raise UserError(
            f"{out}: does not set {names}; write to a file that is not there yet, which becomes a "
            f"design that extends {found.asked}, or fit what it sets with --params"
        )
    with out.open(newline="", encoding="utf-8") as file:
        text = file.read()
    changed = edited(text, found.fitted, source)
    with out.open("w", newline="", encoding="utf-8") as file:
        file.write(changed)
    return _unread(found, out)


def _new_design(found: Calibration, out: Path, source: str) -> str:
    """It is of the same device, with other numbers."""
    base = found.asked
    if base.endswith(YAML) or "/" in base or os.sep in base:
        base = Path(os.path.relpath(base, out.parent)).as_posix()
    head = [f"extends: {base}", f"title: {quoted(f'{found.start.title}, calibrated')}"]
    if found.start.measured_as:
        names = ", ".join(quoted(name) for name in found.start.measured_as)
        head.append(f"measured_as: [{names}]")
    return "\n".join([*head, as_block(found.fitted, source)])


def _unread(found: Calibration, out: Path) -> tuple[str, ...]:
    """Is the design that was fitted another one than that which the file is part of?"""
    now = {parameter.path: parameter for parameter in parameters(read_design(found.asked))}
    others = [
        told.parameter.name
        for told in found.fitted
        if written(now[told.parameter.path].value, "") != written(told.value, "")
        and abs(now[told.parameter.path].value - told.value) > 0.006 * abs(told.value)
    ]
    if not others:
        return ()
    return (f"{found.asked} does not take {', '.join(others)} from {out}",)
