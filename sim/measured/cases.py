"""Measurements from CSV: rows of one kind of op, checked, with where each stands in its file.

The first line names columns; a kind of op needs those of its entry in `sim.measured.kinds.OPS`,
others may be there. `latency_us` is what was measured, in microseconds; `best_us` and `worst_us`,
where given, are what other libraries or versions take for the same.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from accel_models.explain import nearest
from kernels_ref.errors import UserError

ALL = "all"  # of a file's devices
MICRO, MILLI, MEGA = 1e-6, 1e-3, 1e6
SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}  # that are not read
UNITS = {  # of what is measured, in SI
    "latency_us": ("s", MICRO),
    "power_w": ("W", 1.0),
    "ttft_ms": ("s", MILLI),
    "tpot_ms": ("s", MILLI),
}
QUANTITY = "quantity"  # which of several a case is about: no column of a file


class RowError(UserError):
    """A row that is not right: not something that a design cannot do."""


@dataclass(frozen=True)
class Case:
    """One measured op: its row's values by column, in which line of which file."""

    file: str
    line: int
    values: Mapping[str, str]

    @property
    def device(self) -> str:
        return self.values["device"]

    @property
    def measured_s(self) -> float:
        return self.number("latency_us") * MICRO

    def measured(self, column: str) -> float:
        """What a column of UNITS says, in SI."""
        return self.number(column) * UNITS[column][1]

    @property
    def band_s(self) -> tuple[float, float] | None:
        """(least, most) that others measured, where the file says."""
        if not self.values.get("best_us") or not self.values.get("worst_us"):
            return None
        return self.number("best_us") * MICRO, self.number("worst_us") * MICRO

    def number(self, column: str) -> float:
        """A positive number. Raises RowError with the line."""
        try:
            value = float(self.values[column])
        except ValueError:
            value = 0.0
        if not 0 < value < float("inf"):
            raise RowError(self.at(column, "write a positive number"))
        return value

    def count(self, column: str) -> int:
        """A whole number above zero. Raises RowError with the line."""
        value = self.number(column)
        if value != int(value):
            raise RowError(self.at(column, "write a whole number"))
        return int(value)

    def at(self, column: str, fix: str) -> str:
        """Where a value stands, what it is, and what would be right."""
        return f"{self.file}:{self.line}: {column}: '{self.values[column]}'; {fix}"


def read_cases(path: Path) -> tuple[list[Case], tuple[str, ...]]:
    """Every row, and the names of the columns. Raises UserError for a file that has none."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            columns = _columns(path, next(reader, []))
            rows = [_case(path, reader.line_num, columns, row) for row in reader if row]
    except UnicodeDecodeError:
        raise UserError(f"{path}: is not text in UTF-8; save it as CSV in UTF-8") from None
    except OSError as problem:
        raise UserError(f"{path}: cannot be read: {problem.strerror}") from None
    except csv.Error as problem:
        raise UserError(f"{path}:{reader.line_num}: cannot be read: {problem}") from None
    if not rows:
        raise UserError(f"{path}: no rows; the first line names the columns, the others are data")
    return rows, columns


def _columns(path: Path, names: list[str]) -> tuple[str, ...]:
    """The names in the first line. Raises UserError for other separators and a name given twice."""
    for separator, called in SEPARATORS.items():
        if len(names) == 1 and separator in names[0]:
            raise UserError(
                f"{path}:1: its columns are separated by {called}; separate them by commas, and "
                "write 12.5 with a point"
            )
    found = tuple(name.strip() for name in names)
    twice = sorted({name for name in found if name and found.count(name) > 1})
    if twice:
        raise UserError(f"{path}:1: column '{twice[0]}' is there twice; rename one or take it out")
    return found


def _case(path: Path, line: int, columns: Sequence[str], row: Sequence[str]) -> Case:
    if len(row) != len(columns):
        raise UserError(
            f"{path}:{line}: has more or fewer values than there are columns, {len(row)} for "
            f"{len(columns)}; quote a value that has a comma, and write 12.5 with a point"
        )
    stripped = (value.strip() for value in row)
    case = Case(str(path), line, dict(zip(columns, stripped, strict=True)))
    if case.values.get("device") == "":
        raise RowError(case.at("device", "name the device that was measured"))
    for column in ("latency_us", "best_us", "worst_us"):
        if case.values.get(column):
            case.number(column)
    return case


def of_device(cases: list[Case], asked: str | None, measured_as: Iterable[str]) -> list[Case]:
    """The rows of a device, or all of them. Raises UserError where a file has several and none is
    asked for, or not this one."""
    found = list(dict.fromkeys(case.device for case in cases))
    if asked == ALL or (asked is None and len(found) == 1):
        return cases
    if asked is None:
        own = [name for name in found if name in set(measured_as)]
        which = f"this design was measured as {', '.join(own)}" if own else "name one"
        raise UserError(
            f"{cases[0].file} has several devices: {', '.join(found)}; {which}: write "
            f"--device NAME, or --device {ALL} to judge every row with the design"
        )
    if asked not in found:
        raise UserError(f"{cases[0].file} has no device '{asked}'; {nearest(asked, found)}")
    return [case for case in cases if case.device == asked]
