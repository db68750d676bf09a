"""LLM.int8(): where the threshold lies, what goes where, and what it saves."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from installed import KINDS_OF_VALUES

from kernels_ref.cases import Case
from kernels_ref.elements import round_to
from kernels_ref.kernel import Inputs
from kernels_ref.outliers import THRESHOLD, datapath, definition, exact, inputs, quantize
from kernels_ref.pairs import Pair

PAIR = Pair("int8", "fp16", "fp32")
BELOW = float(np.nextafter(np.float16(6), np.float16(0)))


def sqnr(truth: np.ndarray, found: np.ndarray) -> float:
    noise = np.sum((found.astype(np.float64) - truth) ** 2)
    return float(10 * np.log10(np.sum(truth**2) / noise))


def gaussian(rows: int, columns: int, k: int, seed: int) -> Inputs:
    rng = np.random.default_rng(seed)
    return {
        "activations": round_to(np.clip(rng.standard_normal((rows, k)), -BELOW, BELOW), "fp16"),
        "weights": round_to(rng.standard_normal((columns, k)) / 16, "fp16"),
        "threshold": THRESHOLD,
    }


@pytest.mark.parametrize("size", [1, 7, 65])
def test_the_datapath_is_its_definition(size: int) -> None:
    for values in KINDS_OF_VALUES:
        given = inputs(Case((size, 5, size), values, 3), PAIR)
        found, expected = datapath(**given), definition(**given)
        assert found.dtype == expected.dtype == np.float16
        np.testing.assert_array_equal(found, expected)


def test_by_hand() -> None:
    """Row (1, -0.5, 8): 127 and round(-63.5) = -64 of 1/127; column (2, 4, 3): round(63.5) = 64 and
    127 of 4/127. (127 * 64 - 64 * 127) = 0 of 4 / 127^2; the third column adds 8 * 3 in FP16.
    """
    x, w = np.array([[1.0, -0.5, 8.0]]), np.array([[2.0, 4.0, 3.0]])
    assert datapath(x, w, THRESHOLD) == 24.0
    x8, row_max, outlier = quantize(x.astype(np.float32), THRESHOLD)
    assert (x8.tolist(), row_max.tolist(), outlier.tolist()) == (
        [[127, -64, 0]],
        [1.0],
        [False, False, True],
    )


def test_plain_vectorwise_int8_by_its_formula() -> None:
    """Integers of maximum 127 are their own codes: the product is exact but for FP16."""
    rng = np.random.default_rng(1)
    x, w = (rng.integers(-126, 127, shape).astype(np.float64) for shape in ((4, 90), (3, 90)))
    x[:, 0], w[:, 0] = 127, -127
    expected = (x / 128) @ (w / 128).T  # 127 of 127/128 each
    found = datapath(x / 128, w / 128, THRESHOLD)
    np.testing.assert_allclose(found, expected, rtol=2.0**-10)


def test_without_outliers_it_is_plain_int8() -> None:
    given = gaussian(6, 7, 200, 0)
    plain = {**given, "threshold": np.inf}
    np.testing.assert_array_equal(datapath(**given), datapath(**plain))


def test_the_threshold_itself_is_an_outlier() -> None:
    """6.0 goes to FP16 exactly; the number below does not, and is the row's maximum."""
    for sign in (1, -1):
        x = np.array([[sign * 6.0, 1.0], [0.5, 1.0]], np.float32)
        _, row_max, outlier = quantize(x, THRESHOLD)
        assert outlier.tolist() == [True, False]
        assert row_max.tolist() == [1.0, 1.0]
        x[0, 0] = sign * BELOW
        _, row_max, outlier = quantize(x, THRESHOLD)
        assert not outlier.any()
        assert row_max.tolist() == [np.float32(BELOW), 1.0]


def test_a_column_is_apart_for_all_rows() -> None:
    """The second row is small in the first row's outlier column, and exact there too: its integer
    part is zero. As the maximum of its row it still sets the scale (documented)."""
    x = np.array([[100.0, 0.0], [0.3, 0.001]])
    w = np.array([[0.7, 0.0], [0.0, 1.0]])
    half = round_to(x, "fp16"), round_to(w, "fp16")
    found = datapath(*half, THRESHOLD)
    assert found[1, 0] == np.float16(half[0][1, 0] * half[1][0, 0])
    assert found[1, 1] == 0  # 0.001 is below half a step of 0.3 / 127


def test_all_columns_apart_is_an_fp16_gemm() -> None:
    """FP32 sums in order of k, rounded once; nothing of INT8 is left."""
    given = gaussian(5, 4, 130, 2)
    given["activations"] = given["activations"] * 8
    given["activations"][0] = 48.0
    x, w = given["activations"].astype(np.float32), given["weights"].astype(np.float32)
    total = np.zeros((5, 4), np.float32)
    for k in range(130):
        total = total + np.outer(x[:, k], w[:, k])
    np.testing.assert_array_equal(datapath(**given), total.astype(np.float16))


def test_what_outliers_cost_plain_int8() -> None:
    """1 column in 64, 20 times as large. Its rows' steps are about 10 times coarser in plain INT8:
    the decomposition must win 15 dB, and be as good as INT8 is without outlier columns.
    """
    given = gaussian(64, 64, 512, 3)
    without = sqnr(exact(**given), datapath(**given))
    given["activations"][:, ::64] *= 20
    apart = (np.abs(given["activations"]) >= THRESHOLD).any(axis=0)
    assert apart.sum() == 8
    truth = exact(**given)
    decomposed = sqnr(truth, datapath(**given))
    plain = sqnr(truth, datapath(**{**given, "threshold": np.inf}))
    assert decomposed > plain + 15
    assert decomposed > without


@given(
    sizes=st.tuples(st.integers(1, 6), st.integers(1, 6), st.integers(1, 90)),
    values=st.sampled_from(KINDS_OF_VALUES),
    seed=st.integers(0, 50),
)
def test_errors_are_those_of_the_codes(sizes: tuple[int, int, int], values: str, seed: int) -> None:
    """Half a step off in x and w each, in the regular columns alone, and three FP16 roundings."""
    case = inputs(Case(sizes, values, seed), PAIR)
    x, w = np.abs(case["activations"]), np.abs(case["weights"])
    regular = ~(x >= THRESHOLD).any(axis=0)
    dx = np.where(x < THRESHOLD, x, 0).max(axis=1, keepdims=True) / 254 * 1.0001
    dw = w.max(axis=1, keepdims=True) / 254 * 1.0001
    xr, wr = x[:, regular], w[:, regular]
    codes = xr.sum(1)[:, None] * dw.T + dx * wr.sum(1)[None] + regular.sum() * dx * dw.T
    size = x @ w.T + codes
    allowed = codes + size * (2 * 2.0**-11 + 100 * 2.0**-24) + 2.0**-24
    assert np.all(np.abs(datapath(**case) - exact(**case)) <= allowed)


@given(seed=st.integers(0, 99), threshold=st.sampled_from([0.5, 1.0, 6.0, np.inf]))
def test_codes_are_symmetric_and_reach_127(seed: int, threshold: float) -> None:
    x = np.random.default_rng(seed).standard_normal((4, 30)).astype(np.float32)
    codes, absmax, outlier = quantize(x, threshold)
    assert codes.min() >= -127
    assert np.all(np.abs(codes).max(axis=1) == np.where(absmax > 0, 127, 0))
    np.testing.assert_array_equal(outlier, (np.abs(x) >= threshold).any(axis=0))
    assert np.all(absmax < threshold)


def test_a_lower_threshold_moves_more_columns() -> None:
    x = np.random.default_rng(0).standard_normal((40, 300)).astype(np.float32)
    apart = [quantize(x, t)[2].sum() for t in (4.5, 4.0, 3.0, 2.0, 0.1)]
    assert apart == sorted(apart)
    assert apart[-1] == 300
    assert 0 < apart[2] < 300


def test_zeros_and_denormals() -> None:
    """A row or a column of weights of zeros gives zeros; the smallest FP16 number is a maximum like
    any other: 127 codes of it are what it was."""
    x, w = np.zeros((2, 9)), np.zeros((3, 9))
    x[1], w[2] = 2.0**-24, 1.0
    found = datapath(x, w, THRESHOLD)
    assert np.all(found[:, :2] == 0)
    assert np.all(found[0] == 0)
    assert found[1, 2] == 9 * 2.0**-24


def test_overflow() -> None:
    """Beyond 65504 infinity. The integer part is rounded first: 4 * 5 * 60000 already overflows,
    and -65504 * 240000 more does not bring it back."""
    big = {"weights": np.full((1, 8), 100.0), "threshold": THRESHOLD}
    assert datapath(np.full((1, 8), 100.0), **big) == np.inf
    assert datapath(np.full((1, 8), -100.0), **big) == -np.inf
    x = np.array([[5.0] * 4 + [-65504.0] * 4])
    opposed = {"weights": np.full((1, 8), 60000.0), "threshold": THRESHOLD}
    assert exact(x, **opposed) < 0
    assert datapath(x, **opposed) == definition(x, **opposed) == np.inf
