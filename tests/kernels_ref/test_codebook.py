"""GANQ: what alternating minimization promises, and the product with looked-up weights."""

from __future__ import annotations

from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from installed import KINDS_OF_VALUES

from kernels_ref.cases import Case
from kernels_ref.codebook import _lloyd, _substitute, expand, fit, objective
from kernels_ref.codebook_matmul import codebook_matmul, exact
from kernels_ref.elements import round_to
from kernels_ref.formats import FormatError


def correlated(k: int, seed: int) -> np.ndarray:
    """A Gram matrix of inputs that mostly repeat each other, as a model's do."""
    rng = np.random.default_rng(seed)
    inputs = rng.standard_normal((k, max(k // 4, 1))) @ rng.standard_normal((max(k // 4, 1), 4 * k))
    inputs += 0.3 * rng.standard_normal(inputs.shape)
    return inputs @ inputs.T


def heavy_tailed(rows: int, k: int, seed: int) -> np.ndarray:
    return 0.05 * np.random.default_rng(seed).standard_t(4, (rows, k))


@pytest.mark.parametrize("weighted", [False, True])
def test_the_objective_never_rises(weighted: bool) -> None:
    weights = heavy_tailed(6, 65, 0)
    gram = correlated(65, 1) if weighted else None
    seen = [objective(weights, fit(weights, 3, gram, n), gram) for n in range(12)]
    for earlier, later in pairwise(seen):
        assert (later <= earlier).all()
    assert (seen[-1] < seen[0]).all()


def test_the_objective_is_the_error_of_the_outputs() -> None:
    weights = heavy_tailed(3, 7, 2)
    inputs = np.random.default_rng(3).standard_normal((7, 20))
    books = fit(weights, 2)
    errors = (weights - expand(*books)) @ inputs
    np.testing.assert_allclose(objective(weights, books, inputs @ inputs.T), (errors**2).sum(1))


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_a_gram_matrix_helps_the_outputs(bits: int) -> None:
    """Correlated inputs: errors of one weight are made up for by others. Three times less here."""
    weights, gram = heavy_tailed(8, 128, 4), correlated(128, 5)
    without = objective(weights, fit(weights, bits), gram)
    with_gram = objective(weights, fit(weights, bits, gram), gram)
    assert (with_gram <= without).all()
    assert 3 * with_gram.sum() < without.sum()


def test_a_gram_matrix_of_uncorrelated_inputs_is_a_weighting() -> None:
    """Diagonal H: one weight of influence, which then gets a value of its own."""
    weights = heavy_tailed(4, 65, 6)
    gram = np.diag(np.where(np.arange(65) == 33, 1e12, 1.0))
    kept = expand(*fit(weights, 2, gram))[:, 33]
    np.testing.assert_array_equal(kept, round_to(weights[:, 33], "fp16"))


def test_a_code_that_no_weight_has_keeps_its_value() -> None:
    tables, codes = _lloyd(np.array([[1.0, 2.0]]), (np.array([[1.0, 5.0]]), np.zeros((1, 2), int)))
    np.testing.assert_array_equal(tables, [[1.5, 5]])
    np.testing.assert_array_equal(codes, [[0, 0]])


@pytest.mark.parametrize("k", [1, 7, 128, 129, 300])
def test_back_substitution_is_equation_20(k: int) -> None:
    """One weight after the other, the last first; also across the columns done together."""
    weights, lower = heavy_tailed(2, k, 13), np.linalg.cholesky(correlated(k, 14))
    tables = np.random.default_rng(15).permuted(np.linspace(-0.2, 0.2, 16).reshape(2, 8), axis=1)
    found = _substitute(weights, tables, lower)
    for row in range(2):
        residuals = np.zeros(k)
        for j in reversed(range(k)):
            shift = sum(residuals[u] * lower[u, j] for u in range(j + 1, k)) / lower[j, j]
            code = min(range(8), key=lambda s: abs(weights[row, j] + shift - tables[row, s]))
            assert found[row, j] == code
            residuals[j] = weights[row, j] - tables[row, code]


def test_one_row_by_trying_everything() -> None:
    """Seven weights, one bit: the least objective of all 2^7 splits; `fit` comes near."""
    weights, gram = heavy_tailed(1, 7, 7), correlated(7, 8)
    best = np.inf
    for split in product((0, 1), repeat=7):
        chosen = np.array(split)[:, np.newaxis] == np.arange(2)
        half = np.linalg.cholesky(gram).T
        table = np.linalg.lstsq(half @ chosen.astype(float), half @ weights[0], rcond=None)[0]
        error = half @ (weights[0] - chosen @ table)
        best = min(best, error @ error)
    found = objective(weights, fit(weights, 1, gram, 20), gram)[0]
    assert best * (1 - 1e-9) <= found <= 1.5 * best


@given(st.integers(1, 4), st.integers(1, 70), st.integers(0, 2**16), st.booleans())
def test_few_values_are_kept_exactly(bits: int, k: int, seed: int, weighted: bool) -> None:
    rng = np.random.default_rng(seed)
    values = round_to(rng.standard_t(2, (3, 2**bits)) * 10.0 ** rng.integers(-6, 4), "fp16")
    values[1] = values[1, 0]  # a row of one value
    codes = rng.integers(0, 2**bits, (3, k)) * (rng.random((3, k)) < 0.3)  # mostly the first
    weights = np.take_along_axis(values, codes, axis=1)
    gram = correlated(k, seed) if weighted else None
    np.testing.assert_array_equal(expand(*fit(weights, bits, gram)), weights)


@given(st.sampled_from(KINDS_OF_VALUES), st.integers(1, 4), st.integers(1, 80), st.integers(0, 99))
def test_tables_are_fp16_and_codes_choose_the_nearest(
    kind: str, bits: int, k: int, seed: int
) -> None:
    weights = Case((5, 1, k), kind, seed).reals("weights", (5, k))
    tables, codes = fit(weights, bits)
    assert (tables.shape, codes.shape, codes.dtype) == ((5, 2**bits), (5, k), np.uint8)
    np.testing.assert_array_equal(tables, round_to(tables, "fp16"))
    distance = np.abs(weights[:, :, np.newaxis] - tables[:, np.newaxis, :]).min(axis=2)
    np.testing.assert_array_equal(np.abs(weights - expand(tables, codes)), distance)


@pytest.mark.parametrize("bits", [3, 4])
def test_a_codebook_beats_a_uniform_grid(bits: int) -> None:
    """Round to nearest between each row's extremes, in exact arithmetic. Never worse, and on
    heavy-tailed rows 1.5 times better or more."""
    weights = heavy_tailed(32, 513, 9)
    low, high = weights.min(axis=1, keepdims=True), weights.max(axis=1, keepdims=True)
    step = (high - low) / (2**bits - 1)
    uniform = (((weights - low) / step).round() * step + low - weights) ** 2
    errors = objective(weights, fit(weights, bits))
    assert (errors < uniform.sum(axis=1)).all()
    assert 1.5 * errors.sum() < uniform.sum()


def test_a_singular_gram_matrix() -> None:
    weights = heavy_tailed(2, 33, 10)
    gram = np.ones((33, 33))  # only the sum of the errors counts
    errors = objective(weights, fit(weights, 2, gram), gram)
    assert (errors < 1e-3 * objective(weights, fit(weights, 2), np.eye(33))).all()
    plain, nothing = fit(weights, 2), fit(weights, 2, np.zeros((33, 33)))
    np.testing.assert_array_equal(expand(*plain), expand(*nothing))


def test_numbers_beyond_fp16() -> None:
    weights = np.array([[1e300, -1e300, 1e-300, 0.0, 2.0]])
    np.testing.assert_array_equal(expand(*fit(weights, 2)), [[65504, -65504, 0, 0, 2]])


@pytest.mark.parametrize(
    ("weights", "bits", "gram", "message"),
    [
        ([[1.0, np.nan]], 2, None, "a codebook has no value for infinities and NaN"),
        ([[1.0, -np.inf]], 2, None, "a codebook has no value for infinities and NaN"),
        ([[1.0, 2.0]], 9, None, "codebooks have 1 to 8 bits, not 9"),
        (
            [[1.0, 2.0]],
            2,
            np.eye(3),
            r"a Gram matrix of 2 inputs is \[2, 2\], symmetric and finite",
        ),
        ([[1.0, 2.0]], 2, np.triu(np.ones((2, 2))), "symmetric"),
        ([[1.0, 2.0]], 2, -np.eye(2), "the Gram matrix is not positive semidefinite"),
    ],
)
def test_refusals(
    weights: list[list[float]], bits: int, gram: np.ndarray | None, message: str
) -> None:
    with pytest.raises(FormatError, match=message):
        fit(np.array(weights), bits, gram)


def test_a_look_up_is_a_weight() -> None:
    rng = np.random.default_rng(11)
    weights = heavy_tailed(7, 65, 12)
    activations = rng.integers(-8, 8, (3, 65)) / 4
    tables, codes = fit(weights, 4)
    found = codebook_matmul(activations, tables, codes)
    np.testing.assert_allclose(found, activations @ expand(tables, codes).T, rtol=0, atol=1e-5)
    np.testing.assert_allclose(
        exact(activations, tables, codes), activations @ expand(tables, codes).T
    )


def test_sums_are_rounded_to_fp32_in_order() -> None:
    """2^24 + 1 is 2^24 in FP32, twice; 1 + 1 + 2^24 is not."""
    tables = np.array([[4096.0, 1.0]])
    last, first = np.array([[0, 1, 1]], np.uint8), np.array([[1, 1, 0]], np.uint8)
    assert codebook_matmul(np.array([[4096.0, 1, 1]]), tables, last) == 2**24
    assert codebook_matmul(np.array([[1, 1, 4096.0]]), tables, first) == 2**24 + 2


def test_largest_products_do_not_overflow() -> None:
    k = 513
    found = codebook_matmul(
        np.full((1, k), 65504.0), np.full((1, 4), -65504.0), np.zeros((1, k), np.uint8)
    )
    np.testing.assert_allclose(found, -k * 65504.0**2, rtol=k * 2.0**-24)
