"""A Calibration as JSON and in the terminal."""

from __future__ import annotations

from datetime import date
from itertools import takewhile
from math import isinf
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from accel_models.reader import KeyPath, dotted
from sim.calibrate import Calibration, Told
from sim.calibrated.parameters import written
from sim.calibrated.scores import Score
from sim.calibrated.values import as_block, source_text
from sim.report.document import SCHEMA_VERSION, rounded
from sim.validate import without_prediction


def calibration_document(found: Calibration) -> dict[str, Any]:
    """Plain values; SI units, shares. `low` and `high` are the bounds, `interval` is of 95 %."""
    document: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "design": found.start.name,
        "file": found.file,
        "op": found.op,
        "devices": list(found.devices),
        **_score(found.overall),
        "parameters": [_parameter(told) for told in found.told],
        "groups": {name: _score(score) for name, score in found.groups.items()},
        "unsupported": sum(found.unsupported.values()),
        "warnings": list(found.warnings),
    }
    checked: dict[str, Any] = rounded(document)
    return checked


def _score(score: Score) -> dict[str, Any]:
    document: dict[str, Any] = {
        "rows": score.rows,
        "start_mape": score.start_mape,
        "mape": score.mape,
        "cv_mape": score.cv_mape,
    }
    return document | ({} if score.unseen_mape is None else {"unseen_mape": score.unseen_mape})


def _parameter(told: Told) -> dict[str, Any]:
    parameter, interval = told.parameter, told.interval
    return {
        "name": parameter.name,
        "path": list(parameter.path),
        "start": parameter.value,
        "value": told.value,
        "low": parameter.fitted.low,
        "high": parameter.fitted.high,
        "interval": None if interval is None or isinf(interval[0]) else list(interval),
        "at_bound": bool(told.at_bound),
        "identifiable": told.identifiable,
    }


def show_calibration(found: Calibration, console: Console) -> None:
    """What was fitted, and how good that is."""
    above = _above(found)
    console.print(f"[bold]{found.start.title}[/] fitted to {found.file}, {found.op}")
    console.print(f"parameters of {dotted(above)}" if above else "parameters")
    table = Table(header_style="bold", pad_edge=False)
    for name in ("parameter", "was", "is", "95 %", "bounds", ""):
        table.add_column(name, justify="left" if name in ("parameter", "") else "right")
    for told in found.told:
        table.add_row(*_cells(told, len(above)))
    console.print(table)
    console.print(_scores(found))
    for sentence in without_prediction(found.unsupported):
        console.print(f"[yellow]{escape(sentence)}[/]")


def _scores(found: Calibration) -> Table:
    """Errors of all rows, and of those that are alike."""
    table = Table(header_style="bold", pad_edge=False)
    left_out = found.overall.unseen_mape is not None
    for name in ("rows", "n", "MAPE before", "fitted", "cross-validated", *["unseen"] * left_out):
        table.add_column(name, justify="left" if name == "rows" else "right")
    for group, score in {"all": found.overall, **found.groups}.items():
        shares = [score.start_mape, score.mape, score.cv_mape, *[score.unseen_mape] * left_out]
        cells = ("" if share is None else f"{100 * share:.1f} %" for share in shares)
        table.add_row(group, str(score.rows), *cells)
    return table


def _above(found: Calibration) -> KeyPath:
    """The keys that all parameters have in common."""
    paths = [told.parameter.path[:-1] for told in found.told]
    same = takewhile(lambda keys: len(set(keys)) == 1, zip(*paths, strict=False))
    return tuple(keys[0] for keys in same)


def _cells(told: Told, above: int) -> tuple[str, ...]:
    parameter, unit = told.parameter, told.parameter.unit
    name = dotted(parameter.path[above:])
    ends = parameter.fitted.low, parameter.fitted.high
    bounds = f"{_bare(ends[0], unit)} to {written(ends[1], unit)}"
    if told.interval is None:
        interval = ""
    elif isinf(told.interval[0]):
        interval = "any"
    else:
        interval = f"± {written((told.interval[1] - told.interval[0]) / 2, unit)}"
    if told.interval is None:
        note = f"at its {told.at_bound} bound" if told.at_bound else "no row depends on it"
    else:
        note = "" if told.identifiable else "not identifiable"
    was, now = written(parameter.value, unit), written(told.value, unit)
    return name, was, now, interval, bounds, note


def _bare(value: float, unit: str) -> str:
    return written(value, unit).removesuffix(f" {unit}")


def show_yaml(found: Calibration, day: date) -> None:
    """The values as a design would have them, to copy."""
    print(as_block(found.fitted, source_text(found, day)), end="")
