"""Robust least squares of parameters, with what the data say about each.

With r_i = log(predicted_i / measured_i) of the rows and x the parameters, each in units of its
start value, the fit minimizes within the parameters' bounds (trust region reflective: Branch,
Coleman, Li, SIAM J. Sci. Comput. 21, 1999, as in scipy.optimize.least_squares)

    sum over i of F^2 rho((r_i / F)^2),  rho(z) = 2 (sqrt(1 + z) - 1),  F = 0.08

which counts errors up to F by their square and larger ones by their size, so that rows where the
model is wrong altogether do not bend the others. With J = dr/dx (differences of 2 %), n rows, the p
parameters that are not at a bound and w_i = rho'((r_i / F)^2) = 1 / sqrt(1 + (r_i / F)^2), the 95 %
intervals are those of weighted linear regression (Seber, Wild, Nonlinear Regression, sec. 2.1.2):

    x_j +- t(0.975, n - p) sqrt(s^2 [(J^T W J)^-1]_jj),   s^2 = sum w_i r_i^2 / (n - p)

Not modeled: errors of rows that resemble one another go together, so that intervals are too narrow;
the start decides which of several minima is found.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from sim.calibrated.parameters import Parameter

Values = np.ndarray  # floats: of shape (parameters,) in SI units, or (rows,)
F_SCALE = 0.08  # errors beyond this are taken for the model's
STEP = 0.02  # of a parameter, for differences
EVALUATIONS = 30  # at most
TOLERANCE = 1e-5
AT_BOUND = 0.005  # of the bound
WEAK = 0.01  # root mean square of d log predicted / d log parameter: below, rows do not tell
FLOOR = 1e-12  # of the largest eigenvalue: a direction that no row tells anything about


@dataclass(frozen=True)
class Problem:
    """`predict` says what the rows of these indices are with these values, in `measured`'s unit."""

    parameters: Sequence[Parameter]
    measured: Values
    predict: Callable[[Values, Values], Values]

    @property
    def start(self) -> Values:
        return np.array([p.value for p in self.parameters], dtype=float)

    @property
    def scale(self) -> Values:
        return np.array([p.scale for p in self.parameters], dtype=float)

    @property
    def bounds(self) -> tuple[Values, Values]:
        """Least and most of each."""
        low = np.array([p.fitted.low for p in self.parameters], dtype=float)
        return low, np.array([p.fitted.high for p in self.parameters], dtype=float)

    def residuals(self, values: Values, rows: Values) -> Values:
        """log(predicted / measured)."""
        found: Values = np.log(self.predict(values, rows) / self.measured[rows])
        return found


def jacobian(problem: Problem, values: Values, rows: Values, at: Values) -> Values:
    """d residual / d (value / scale), of shape (rows, parameters); `at`: the residuals there."""
    columns = []
    for j in range(len(values)):
        step = max(STEP * abs(values[j]), 0.1 * STEP * problem.scale[j])
        if values[j] + step > problem.bounds[1][j]:
            step = -step
        moved = values.copy()
        moved[j] += step
        difference = problem.residuals(moved, rows) - at
        columns.append(difference * problem.scale[j] / step)
    return np.stack(columns, axis=1)


def elasticities(problem: Problem) -> Values:
    """Root mean square, over the rows, of what each parameter does to them at the start."""
    rows = np.arange(len(problem.measured))
    slopes = jacobian(problem, problem.start, rows, problem.residuals(problem.start, rows))
    found: Values = np.sqrt((slopes**2).mean(axis=0))
    return found


def fitted(problem: Problem, rows: Values, start: Values) -> Values:
    """The values that the rows say, within bounds."""
    from scipy.optimize import least_squares

    known: dict[bytes, Values] = {}

    def residuals(x: Values) -> Values:
        key = x.tobytes()
        if key not in known:
            known.clear()
            known[key] = problem.residuals(x * problem.scale, rows)
        return known[key]

    def slopes(x: Values) -> Values:
        return jacobian(problem, x * problem.scale, rows, residuals(x))

    low, high = problem.bounds
    found = least_squares(
        residuals,
        np.clip(start, low, high) / problem.scale,
        slopes,
        (low / problem.scale, high / problem.scale),
        loss="soft_l1",
        f_scale=F_SCALE,
        max_nfev=EVALUATIONS,
        ftol=TOLERANCE,
        xtol=TOLERANCE,
    )
    values: Values = np.clip(found.x * problem.scale, low, high)
    return np.where(_near(values, low), low, np.where(_near(values, high), high, values))


def at_bounds(problem: Problem, values: Values) -> list[str]:
    """low, high, or nothing, for each parameter."""
    low, high = problem.bounds
    return [
        "low" if v <= least else "high" if v >= most else ""
        for v, least, most in zip(values, low, high, strict=True)
    ]


def _near(values: Values, bound: Values) -> Values:
    return np.abs(values - bound) <= AT_BOUND * np.abs(bound)


def half_widths(problem: Problem, values: Values, rows: Values) -> Values:
    """Of the 95 % intervals, in SI units; NaN for parameters at a bound, which are no longer free,
    infinite where the rows tell nothing."""
    from scipy.special import stdtrit

    residuals = problem.residuals(values, rows)
    free = np.array([not where for where in at_bounds(problem, values)])
    found = np.full(len(values), np.nan)
    if not free.any():
        return found
    weights = 1 / np.sqrt(1 + (residuals / F_SCALE) ** 2)
    slopes = jacobian(problem, values, rows, residuals)[:, free] * np.sqrt(weights)[:, None]
    left = max(1, len(rows) - int(free.sum()))
    variance = (weights * residuals**2).sum() / left
    widths = np.sqrt(variance * _diagonal_of_inverse(slopes)) * problem.scale[free]
    found[free] = float(stdtrit(left, 0.975)) * widths
    return found


def _diagonal_of_inverse(slopes: Values) -> Values:
    """Of J^T J; infinite where a column is zero. Directions without information get very little."""
    size = np.sqrt((slopes**2).sum(axis=0))
    told = size > 0
    unit = slopes[:, told] / size[told]
    strength, directions = np.linalg.eigh(unit.T @ unit)
    strength = np.maximum(strength, FLOOR * max(1.0, float(strength.max(initial=0.0))))
    found = np.full(slopes.shape[1], np.inf)
    found[told] = (directions**2 / strength).sum(axis=1) / size[told] ** 2
    return found
