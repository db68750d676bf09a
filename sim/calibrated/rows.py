"""Measured rows that a design can do, predicted with its parameters at any values.

Not modeled: mappings chosen anew for other values. A design without a kernel library keeps the
mappings found at the start.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from accel_models.design import Design
from mappers.map_graph import Memo, mappings_in
from sim.calibrated.fit import Problem, Values
from sim.calibrated.parameters import Parameter, with_values
from sim.measured.cases import Case
from sim.measured.kinds import Kind, judged_column
from sim.measured.split import fold_of
from sim.validate import judged, reasons


@dataclass(frozen=True)
class Rows:
    """`unsupported` counts the other rows by the reason (`sim.validate.reasons`)."""

    design: Design
    kind: Kind
    cases: tuple[Case, ...]
    mappings: Memo
    unsupported: dict[str, int]

    @property
    def measured(self) -> Values:
        """Seconds, or watts where the rows are of power."""
        return np.array([case.measured(judged_column(case, self.kind)) for case in self.cases])

    @property
    def folds(self) -> Values:
        return np.array([fold_of(case, self.kind.columns) for case in self.cases], dtype=int)

    @property
    def groups(self) -> dict[str, Values]:
        """Indices of rows by the first column that says what they are: dtype, phase, op."""
        found: dict[str, list[int]] = {}
        for i, case in enumerate(self.cases):
            found.setdefault(case.values[self.kind.shown[0]], []).append(i)
        return {name: np.array(members) for name, members in found.items()}

    def predicted(self, design: Design, rows: Values, anew: bool = False) -> Values:
        """Predictions of the rows of these indices; with the mappings found at the start, or
        anew."""
        memo: Memo = {} if anew else dict(self.mappings)
        found = judged([self.cases[i] for i in rows], design, self.kind, memo)
        return np.array([row.predicted for row in found], dtype=float)

    def problem(self, free: Sequence[Parameter]) -> Problem:
        """What fits these parameters."""

        def predict(values: Values, rows: Values) -> Values:
            return self.predicted(changed(self.design, free, values), rows)

        return Problem(free, self.measured, predict)


def changed(design: Design, free: Sequence[Parameter], values: Values) -> Design:
    """The design with these values of these parameters."""
    new = {p.path: float(value) for p, value in zip(free, values, strict=True)}
    return with_values(design, new)


def predictable(cases: Sequence[Case], design: Design, kind: Kind) -> Rows:
    """The rows that have a prediction; it finds their mappings."""
    memo: Memo = {}
    rows = list(judged(cases, design, kind, memo))
    able = tuple(row.case for row in rows if row.predicted is not None)
    unsupported = reasons([row for row in rows if row.predicted is None])
    return Rows(design, kind, able, mappings_in(memo, design), unsupported)
