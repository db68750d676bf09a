"""A design's parameters fitted to measurements: what `validate` predicts, turned around.

The parameters are those fields of the design that its schema calls calibratable (`Fitted`): what
of a bandwidth is reached, launches, latencies. Those that the rows depend on are fitted by robust
least squares (sim/calibrated/fit.py). How good that is, is said by cross-validation: the rows are
dealt into folds by what was measured (sim/measured/split.py), each fold is predicted by a fit to
all others (begun at the fit to all), and its errors |predicted / measured - 1| are averaged.
Not modeled: mappings chosen anew while fitting. A design without a kernel library keeps the
mappings found with the numbers that it starts from; after the fit everything is mapped anew, once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from accel_models.design import Design
from accel_models.read_design import read_design
from kernels_ref.errors import UserError
from sim.calibrated.fit import WEAK, Problem, Values, at_bounds, elasticities, fitted, half_widths
from sim.calibrated.parameters import Parameter, chosen, parameters, written
from sim.calibrated.rows import Rows, changed, predictable
from sim.calibrated.scores import Say, Score, errors
from sim.measured.cases import of_device, read_cases
from sim.measured.kinds import OPS, kind_of
from sim.measured.split import JUDGED
from sim.validate import without_prediction

NOTHING = "none of the rows depends on it; it keeps its value"


@dataclass(frozen=True)
class Told:
    """What the rows say about a parameter, in SI units. `interval` (95 %) is None at a bound, and
    where the rows say nothing."""

    parameter: Parameter
    value: float
    interval: tuple[float, float] | None = None
    at_bound: str = ""  # low or high

    @property
    def identifiable(self) -> bool:
        """Do the rows say what it is? A parameter at its bound is as far as it may go."""
        if self.interval is None:
            return bool(self.at_bound)
        return self.interval[1] - self.interval[0] <= abs(self.value)

    @property
    def warning(self) -> str:
        """What to know before using the value."""
        if self.at_bound:
            bound = written(self.value, self.parameter.unit)
            return f"at its {self.at_bound} bound, {bound}"
        if self.interval is None:
            return NOTHING
        return "" if self.identifiable else "not identifiable: its interval is wider than its value"


@dataclass(frozen=True)
class Calibration:
    """A fit. `start` is the design as it was read, by the name `asked`; `design` has the values."""

    asked: str
    start: Design
    design: Design
    file: str
    op: str
    devices: tuple[str, ...]
    told: tuple[Told, ...]
    overall: Score
    groups: dict[str, Score]
    unsupported: dict[str, int]

    @property
    def fitted(self) -> tuple[Told, ...]:
        """What has a value to write."""
        return tuple(told for told in self.told if told.interval is not None or told.at_bound)

    @property
    def warnings(self) -> tuple[str, ...]:
        found = [f"{told.parameter.name}: {told.warning}" for told in self.told if told.warning]
        missing = without_prediction(self.unsupported)
        return (*found, *missing)


def calibrate(
    design: str,
    file: Path,
    op: str | None = None,
    device: str | None = None,
    params: Sequence[str] = (),
    leave_out: bool = False,
    say: Say = lambda _: None,
) -> Calibration:
    """Fit a design to the rows of a CSV. `params`: patterns of names; without them, all that the
    rows depend on. `leave_out`: a fold is not fitted, but judged. `say` is told what is done next.
    Raises UserError for a file or a pattern that is not right, and for too few rows."""
    machine = read_design(design)
    known = parameters(machine)
    asked = chosen(known, params) if params else known
    cases, columns = read_cases(file)
    name = kind_of(str(file), columns, op)
    rows = predictable(of_device(cases, device, machine.measured_as), machine, OPS[name])
    free = _told_of(rows, asked, file)
    kept = rows.folds != JUDGED if leave_out else np.full(len(rows.cases), True)
    _enough(int(kept.sum()), free, file)
    problem = rows.problem(free)
    say(f"fitting {len(free)} parameters to {int(kept.sum())} rows")
    values = fitted(problem, np.flatnonzero(kept), problem.start)
    found = changed(machine, free, values)
    off = errors(rows, problem, values, found, kept, say)
    told = _told(problem, values, np.flatnonzero(kept))
    silent = [p for p in asked if p not in free] if params else []
    return Calibration(
        asked=design,
        start=machine,
        design=found,
        file=str(file),
        op=name,
        devices=tuple(dict.fromkeys(case.device for case in rows.cases)),
        told=(*told, *(Told(p, p.value) for p in silent)),
        overall=off.score(np.arange(len(rows.cases))),
        groups={group: off.score(members) for group, members in rows.groups.items()},
        unsupported=rows.unsupported,
    )


def _told_of(rows: Rows, asked: Sequence[Parameter], file: Path) -> list[Parameter]:
    """The parameters that the rows depend on."""
    if not rows.cases:
        why = next(iter(rows.unsupported))
        raise UserError(f"{why}; {rows.design.name} can do none of the rows")
    problem = rows.problem(asked)
    strong = elasticities(problem) > WEAK
    free = [p for p, tells in zip(problem.parameters, strong, strict=True) if tells]
    if not free:
        names = ", ".join(p.name for p in problem.parameters) or "nothing"
        raise UserError(f"{file}: its rows depend on none of the parameters: {names}")
    return free


def _enough(rows: int, free: Sequence[Parameter], file: Path) -> None:
    if rows < len(free):
        raise UserError(
            f"{file}: {rows} rows for {len(free)} parameters; measure more, or name fewer with "
            f"--params: {', '.join(p.name for p in free)}"
        )


def _told(problem: Problem, values: Values, rows: Values) -> tuple[Told, ...]:
    """What is known of each."""
    widths = half_widths(problem, values, rows)
    found = []
    for parameter, value, width, bound in zip(
        problem.parameters, values.tolist(), widths, at_bounds(problem, values), strict=True
    ):
        interval = None if np.isnan(width) else (float(value - width), float(value + width))
        found.append(Told(parameter, value, interval, bound))
    return tuple(found)
