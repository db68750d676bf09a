"""Vector functions: elementary ones swept densely, kernels at their extremes."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from installed import KINDS_OF_VALUES
from numba import njit

from kernels_ref import vector
from kernels_ref import vector_tables as tables
from kernels_ref.cases import Case
from kernels_ref.elements import every_value, round_to
from kernels_ref.formats import ELEMENTS
from kernels_ref.kernel import Kernel
from kernels_ref.pairs import Pair
from kernels_ref.vector_tables import UNIT

KERNELS = {
    "softmax": vector.SOFTMAX,
    "rms_norm": vector.RMS_NORM,
    "layer_norm": vector.LAYER_NORM,
    "rope": tables.ROPE,
    "silu": vector.SILU,
    "gelu_tanh": vector.GELU_TANH,
    "gelu_erf": tables.GELU_ERF,
}
FP32, FP16 = Pair("fp32", "fp32", "fp32"), Pair("fp16", "fp16", "fp32")
HALVES = every_value(ELEMENTS["fp16"]).astype(np.float32)[None]
EXTREMES = np.array([0, -0.0, 1e-45, -1e-45, 1e-38, -1e-38, 3.4e38, -3.4e38], np.float32)[None]


def ulp_of_half(x: np.ndarray) -> np.ndarray:
    """The distance of FP16 numbers at x (float64)."""
    _, exponent = np.frexp(x)
    return np.ldexp(1.0, np.maximum(exponent - 11, -24))


@njit
def each(function: Callable[[float], float], x: np.ndarray) -> np.ndarray:
    out = np.empty_like(x)
    for i in range(len(x)):
        out[i] = function(x[i])
    return out


def errors(
    function: Callable[[float], float], x: np.ndarray, exact: Callable[[np.ndarray], np.ndarray]
) -> tuple[float, float]:
    """(largest relative error in u where the result is normal, largest absolute one elsewhere)."""
    x = x.astype(np.float32)
    want = exact(x.astype(np.float64))
    error, normal = np.abs(each(function, x) - want), np.abs(want) >= 2.0**-126
    relative = (error[normal] / np.abs(want[normal])).max(initial=0.0)
    return relative / UNIT, error[~normal].max(initial=0.0)


def test_exponential() -> None:
    """Within 4 u: 1.92 u at worst in these sweeps."""
    wide = np.linspace(-104.5, 88.7, 200_000)
    near = np.linspace(-1, 1, 200_000)
    relative, absolute = errors(tables.exponential, np.concatenate([wide, near]), np.exp)
    assert 1.0 < relative <= 2.5
    assert absolute <= 2.0**-149
    x = np.array([-np.inf, -1e30, -105.0, 0.0, -0.0, 1e-45, 90.0, np.inf], np.float32)
    np.testing.assert_array_equal(each(tables.exponential, x), [0, 0, 0, 1, 1, 1, np.inf, np.inf])


def test_reciprocal_root() -> None:
    """Within 4 u, subnormal arguments included: 2.45 u at worst."""
    every = np.exp2(np.linspace(-149, 127.99, 200_000))
    period = np.linspace(1, 4, 200_000)
    exact = lambda x: 1 / np.sqrt(x)  # noqa: E731
    relative, _ = errors(tables.reciprocal_root, np.concatenate([every, period]), exact)
    assert 1.0 < relative <= 3.0
    assert each(tables.reciprocal_root, np.array([np.inf], np.float32))[0] == 0


def test_the_polynomial_alone() -> None:
    """Degree 6 over +-ln(2)/2: the remainder of the Chebyshev interpolation is at most
    2 (ln(2)/4)^7 / 7! e^(ln(2)/2); coefficients 1 / i! are rounded, each relatively by u at most.
    """
    half = math.log(2) / 2
    r = np.linspace(-half, half, 10_001)
    remainder = 2 * (half / 2) ** 7 / math.factorial(7) * math.exp(half)
    rounding = sum(UNIT / math.factorial(i) * half**i for i in range(7))
    found = np.polynomial.Polynomial(tables.EXPONENTIAL.astype(np.float64))(r)
    assert np.abs(found - np.exp(r)).max() <= remainder + rounding
    assert remainder < UNIT / 16


def test_seeds() -> None:
    """2^-6.7 each; a Newton step in exact arithmetic leaves at most 1.5 e^2 (1 + e / 3)."""
    m = np.linspace(1, 4, 50_000, endpoint=False)
    y = tables.SEEDS[((m - 1) * tables.SEEDS_PER_UNIT).astype(int)].astype(np.float64)
    e = np.abs(y * np.sqrt(m) - 1)
    assert 2.0**-7 < e.max() <= 2.0**-6.7
    assert (tables.SEEDS * 256 % 1 == 0).all()
    after = np.abs(y * (1.5 - 0.5 * m * y * y) * np.sqrt(m) - 1)
    assert (after <= 1.5 * e**2 * (1 + e / 3) + 1e-15).all()


def test_sigmoid() -> None:
    """Within 8 u: 3.3 u at worst. Symmetric about one half, from 0 to 1."""
    x = np.linspace(-120, 120, 200_000)
    small = lambda x: np.exp(-np.abs(x))  # noqa: E731
    exact = lambda x: np.where(x >= 0, 1.0, small(x)) / (1 + small(x))  # noqa: E731
    relative, absolute = errors(tables.sigmoid, x, exact)
    assert 1.0 < relative <= 4.0
    assert absolute <= 2.0**-149
    ends = np.array([-np.inf, -3e38, 0, 3e38, np.inf], np.float32)
    np.testing.assert_array_equal(each(tables.sigmoid, ends), [0, 0, 0.5, 1, 1])


@pytest.mark.parametrize("element", ["fp32", "fp16"])
def test_interpolation(element: str) -> None:
    """h^2 max|f''| / 8 is reached, halfway between entries near 1, where the slope bends most."""
    table = tables.samples(tables.normal, tables.END, 1 / tables.STEPS, element)
    x = np.linspace(0, tables.END + 1, 100_000)
    lines = tables.STEEPEST / (8 * tables.STEPS**2)
    rounding = 2.0 ** -(ELEMENTS[element].mantissa + 2) + 4 * UNIT
    found = np.array([tables.interpolate(np.float32(v), table, tables.STEPS) for v in x[::50]])
    error = np.abs(found - tables.normal(x[::50]))
    assert 0.9 * lines < error.max() <= lines + rounding
    assert len(table) == tables.END * tables.STEPS + 1


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("pair", [FP32, FP16, Pair("fp16", "fp32", "fp32")])
def test_within_the_bound(name: str, pair: Pair) -> None:
    kernel = KERNELS[name]
    assert kernel.bound is not None
    for values in KINDS_OF_VALUES:
        for sizes in ((1, 1, 1), (7, 65, 1), (65, 7, 1), (2, 513, 1)):
            inputs = kernel.inputs(Case(sizes, values, 1), pair)
            found, bound = kernel.datapath(**inputs), kernel.bound(**inputs)
            assert np.isfinite(found).all()
            np.testing.assert_array_equal(round_to(found, pair.activation), found)
            assert (np.abs(found - kernel.definition(**inputs)) <= bound).all()


@pytest.mark.parametrize("kernel", [vector.SILU, vector.GELU_TANH])
def test_activations_of_every_fp16_number(kernel: Kernel) -> None:
    """Computed in FP32, stored in FP16: the nearest FP16 number but for ties that FP32's error of
    some u decides, so within half an ulp and 2^-11 of one."""
    found = kernel.datapath(HALVES, "fp16").astype(np.float64)
    exact = kernel.definition(HALVES, "fp16")
    assert (np.abs(found - exact) <= ulp_of_half(exact) * (0.5 + 2.0**-11)).all()


@pytest.mark.parametrize("table", ["fp32", "fp16"])
def test_gelu_from_a_table_of_every_fp16_number(table: str) -> None:
    """The absolute error is |x| times that of the table, and of FP16's half ulp."""
    found = tables.gelu_erf(HALVES, table, "fp16").astype(np.float64)
    exact = tables.gelu_erf_definition(HALVES, table, "fp16")
    unit = 2.0 ** -(ELEMENTS[table].mantissa + 1)
    of_table = tables.STEEPEST / (8 * tables.STEPS**2) + unit / 2 + 4 * UNIT
    allowed = np.abs(HALVES.astype(np.float64)) * of_table + 0.51 * ulp_of_half(exact)
    assert (np.abs(found - exact) <= allowed).all()


@pytest.mark.parametrize("kernel", [vector.SILU, vector.GELU_TANH])
def test_activations_at_the_extremes(kernel: Kernel) -> None:
    """Zero stays, denormals are halved, large numbers pass or vanish."""
    out = kernel.datapath(EXTREMES, "fp32")[0]
    np.testing.assert_array_equal(out[:2], 0)
    np.testing.assert_allclose(out[4:6], [5e-39, -5e-39], rtol=1e-6)
    np.testing.assert_array_equal(out[6:], [EXTREMES[0, 6], 0])
    assert (np.abs(out[2:4]) <= 2.0**-149).all()


def test_softmax_of_masked_scores() -> None:
    minus = np.float32(-np.inf)
    x = np.array([[minus, 0, minus, 0], [minus] * 4, [3e38, -3e38, 3e38, minus]], np.float32)
    expected = [[0, 0.5, 0, 0.5], [0] * 4, [0.5, 0, 0.5, 0]]
    np.testing.assert_array_equal(vector.softmax(x, "fp32"), expected)
    np.testing.assert_array_equal(vector.softmax_definition(x, "fp32"), expected)


@pytest.mark.parametrize("width", [1, 7, 64])
def test_softmax_of_equal_scores(width: int) -> None:
    for value in (0.0, -3e38, 3e38, 1e-45):
        x = np.full((2, width), value, np.float32)
        expected = np.full(x.shape, np.float32(1) / np.float32(width))
        np.testing.assert_array_equal(vector.softmax(x, "fp32"), expected)


@given(st.integers(0, 999), st.floats(-50, 50, width=16))
def test_softmax_sums_to_one_and_ignores_a_shift(seed: int, shift: float) -> None:
    """Scores with 6 bits after the point, so that the shift is exact."""
    x = np.random.default_rng(seed).integers(-640, 640, (2, 33)).astype(np.float32) / 64
    shift = round(shift)
    out = vector.softmax(x, "fp32")
    np.testing.assert_allclose(out.astype(np.float64).sum(axis=1), 1, atol=35 * UNIT)
    np.testing.assert_array_equal(vector.softmax(x + np.float32(shift), "fp32"), out)


def test_softmax_is_the_attention_of_one_head() -> None:
    """The bound at work: e^-20 keeps a relative error of some 30 u (the difference's rounding)."""
    x = np.array([[0.1, -19.9]], np.float32)
    found = vector.softmax(x, "fp32")[0, 1]
    difference = float(x[0, 1]) - float(x[0, 0])
    exact = math.exp(difference) / (1 + math.exp(difference))
    assert abs(found / exact - 1) <= (abs(difference) + 8) * UNIT


def test_norms_by_hand() -> None:
    """Rows with a root mean square of 5 and, once centered, a deviation of 1."""
    one = np.ones(2, np.float32)
    out = vector.rms_norm(np.array([[1, 7]], np.float32), one, "fp32")
    np.testing.assert_allclose(out, [[0.2, 1.4]], rtol=1e-6)
    out = vector.layer_norm(np.array([[6, 8]], np.float32), np.array([1, 3], np.float32), "fp32")
    np.testing.assert_allclose(out, [[-1, 3]], rtol=2e-6)


@pytest.mark.parametrize("norm", [vector.rms_norm, vector.layer_norm])
def test_norms_at_the_extremes(norm: Callable[..., np.ndarray]) -> None:
    """Zero rows stay zero; numbers below epsilon's root shrink; at 2^58 squares still fit."""
    gain = np.ones(4, np.float32)
    assert (norm(np.zeros((1, 4), np.float32), gain, "fp32") == 0).all()
    signs = np.array([[1, -1, 1, -1]], np.float32)
    tiny = norm(signs * np.float32(1e-40), gain, "fp32")
    np.testing.assert_allclose(tiny, signs * 1e-37, rtol=1e-3)
    large = norm(signs * np.float32(2.0**58), gain, "fp32")
    np.testing.assert_allclose(large, signs, rtol=8 * UNIT)


def test_squares_that_overflow_give_zero() -> None:
    """Beyond the range that the kernel is tried on, as its module says; no NaN."""
    x = np.full((1, 8), 3e38, np.float32)
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(vector.rms_norm(x, np.ones(8, np.float32), "fp32"), 0 * x)


def test_layer_norm_of_a_constant_row() -> None:
    """What is left of 0.1 after subtracting its rounded mean is divided by epsilon's root: within
    the bound, though not zero for every width."""
    for width in (2, 7, 65):
        x, gain = np.full((1, width), 0.1, np.float32), np.ones(width, np.float32)
        found = vector.layer_norm(x, gain, "fp32")
        assert (np.abs(found) <= vector.layer_bound(x, gain, "fp32")).all()
        assert np.abs(found).max() < 1e-3


def test_rope_by_hand() -> None:
    """Width 4, position 1: angles 1 and 10000^(-1/2) = 0.01 of the pairs (0, 2) and (1, 3)."""
    x = np.array([[1, 0, 0, 2]], np.float32)
    out = tables.rope(x, np.array([1]), "fp32", "fp32")
    expected = [[math.cos(1), -2 * math.sin(0.01), math.sin(1), 2 * math.cos(0.01)]]
    np.testing.assert_allclose(out, expected, rtol=3 * UNIT)


def test_rope_at_position_zero_is_the_identity() -> None:
    x = np.random.default_rng(0).standard_normal((1, 9)).astype(np.float32)
    np.testing.assert_array_equal(tables.rope(x, np.array([0]), "fp16", "fp32"), x)


@given(st.integers(0, 4000), st.integers(0, 4000), st.integers(0, 99))
def test_rope_depends_on_the_distance(first: int, second: int, seed: int) -> None:
    """q(i) . k(j) is the same at any i - j, up to rounding of the tables."""
    q, k = np.random.default_rng(seed).standard_normal((2, 1, 16)).astype(np.float32)

    def score(i: int, j: int) -> float:
        turned = [
            tables.rope(x, np.array([p]), "fp32", "fp32").astype(np.float64)
            for x, p in ((q, i), (k, j))
        ]
        return float((turned[0] * turned[1]).sum())

    size = float(np.abs(q).sum() * np.abs(k).sum())
    assert abs(score(first, second) - score(first + 100, second + 100)) <= 16 * UNIT * size


def test_rope_tables_in_fp16_cost_2_to_the_minus_11() -> None:
    """Of a pair's length; FP32 tables are 2^13 times better."""
    x = np.random.default_rng(0).standard_normal((64, 64)).astype(np.float32)
    positions = np.arange(64) + 1000
    exact = tables.rope_definition(x, positions, "fp16", "fp32")
    length = np.tile(np.hypot(x[:, :32], x[:, 32:]), 2)
    for table, unit in (("fp16", 2.0**-11), ("fp32", UNIT)):
        error = np.abs(tables.rope(x, positions, table, "fp32") - exact) / length
        assert 0.3 * unit < error.max() < 4 * unit
