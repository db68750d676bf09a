"""What a cache still holds of data that is read again."""

import numpy as np
import pytest
from scipy.stats import poisson

from mappers.library.reuse import WAYS, found_again


def test_all_of_little_and_none_of_much():
    found = found_again(np.array([0.0, 0.5, 2.0, np.inf]) * 1e6, 1e6)
    assert found == pytest.approx([1, 1, 0, 0], abs=1e-6)


def test_it_is_the_chance_that_a_line_shares_its_set_with_few_enough():
    for share in (0.8, 0.95, 1.0, 1.1):
        chance = poisson(WAYS * share).cdf(WAYS - 1)
        assert float(found_again(np.array(share), 1.0)) == pytest.approx(chance)


def test_it_falls():
    found = found_again(np.linspace(0, 3, 100), 1.0)
    assert (np.diff(found) <= 1e-12).all()  # but for rounding
