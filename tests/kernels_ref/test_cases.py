"""Input values: what the kinds promise, whatever the seed and the size."""

from __future__ import annotations

import numpy as np
import pytest
from installed import KINDS_OF_VALUES

from kernels_ref.cases import VALUES, Case


@pytest.mark.parametrize("columns", [2, 7, 65, 513])
@pytest.mark.parametrize("seed", range(8))
def test_heavy_tailed_arrays_have_an_outlier_column(columns: int, seed: int) -> None:
    """Of 400 rows, so that a column's median tells: t of 4 degrees of freedom has |x| below 0.74 in
    half of the cases, 20 times that in an outlier column."""
    numbers = Case((1, 1, 1), "heavy_tailed", seed).reals("x", (400, columns))
    medians = np.median(np.abs(numbers), axis=0)
    large = medians > 5 * medians.min()
    assert 1 <= large.sum() <= max(1, 0.03 * columns)
    assert medians[large].mean() / medians[~large].mean() == pytest.approx(20, rel=0.2)


@pytest.mark.parametrize("kind", KINDS_OF_VALUES)
@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (1, 1), (2, 3, 5)])
def test_every_kind_fills_every_shape(kind: str, shape: tuple[int, ...]) -> None:
    numbers = VALUES[kind](np.random.default_rng(0), shape)
    assert numbers.shape == shape
    assert (np.abs(numbers) <= 1).all()


def test_widths_of_weights_differ_by_about_two() -> None:
    """Log-normal, sigma 0.25: the widths one sigma above and below the median are 1.65 apart, two
    sigma 2.7."""
    numbers = Case((1, 1, 1), "weights", 1).reals("x", (400, 513))
    low, high = np.quantile(numbers.std(axis=1), [0.16, 0.84])
    assert high / low == pytest.approx(np.exp(0.5), rel=0.1)
