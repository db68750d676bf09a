"""How good a fit is: errors |predicted / measured - 1| of rows that it saw and of rows that it did
not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from accel_models.design import Design
from sim.calibrated.fit import Problem, Values, fitted
from sim.calibrated.rows import Rows
from sim.measured.split import FOLDS

Say = Callable[[str], None]


@dataclass(frozen=True)
class Score:
    """Mean absolute percentage errors, as shares, of so many rows: of the design as it was, with
    the fit, by cross-validation, and of the rows that were left out. None where there are none."""

    rows: int
    start_mape: float | None
    mape: float | None
    cv_mape: float | None
    unseen_mape: float | None


@dataclass(frozen=True)
class Errors:
    """Of each row; NaN where there is none. `kept`: the rows that were fitted."""

    start: Values
    fit: Values
    cross: Values
    kept: Values

    def score(self, rows: Values) -> Score:
        """Of the rows of these indices."""
        kept = self.kept[rows]
        return Score(
            len(rows),
            _mean(self.start[rows]),
            _mean(self.fit[rows][kept]),
            _mean(self.cross[rows]),
            _mean(self.fit[rows][~kept]),
        )


def _mean(errors: Values) -> float | None:
    known = errors[~np.isnan(errors)]
    return float(known.mean()) if known.size else None


def errors(
    rows: Rows, problem: Problem, values: Values, found: Design, kept: Values, say: Say
) -> Errors:
    """Of a fit's values, and of the `found` design that has them, mapped anew."""
    everything = np.arange(len(rows.cases))

    def off(predicted: Values) -> Values:
        wrong: Values = np.abs(predicted / rows.measured - 1)
        return wrong

    start = off(rows.predicted(rows.design, everything))
    fit = off(rows.predicted(found, everything, anew=True))
    return Errors(start, fit, off(_crossed(rows, problem, values, kept, say)), kept)


def _crossed(rows: Rows, problem: Problem, values: Values, kept: Values, say: Say) -> Values:
    """Prediction of each row that was fitted, by a fit to the other folds."""
    folds, found = rows.folds, np.full(len(rows.cases), np.nan)
    for fold in range(FOLDS):
        judged, seen = kept & (folds == fold), kept & (folds != fold)
        if judged.any() and seen.any():
            say(f"cross-validating, fold {fold + 1} of {FOLDS}")
            without = fitted(problem, np.flatnonzero(seen), values)
            found[judged] = problem.predict(without, np.flatnonzero(judged))
    return found
