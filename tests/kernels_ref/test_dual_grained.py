"""Dual-grained weights: expansion never leaves INT8, and what two levels of scales cost."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from installed import KINDS_OF_VALUES

from kernels_ref import adaptive_groups, dual_grained_matmul, mixed_precision
from kernels_ref.cases import Case
from kernels_ref.dual_grained import GROUP, PROTECTIVE, TOP, expand, quantize, to_groups
from kernels_ref.dual_grained_matmul import A8W4, expanded, integer_sums
from kernels_ref.formats import get_format
from kernels_ref.pairs import Pair

PAIR = Pair("uint4", "int8", "int32")
REALS = st.floats(-60000, 60000, width=16)


def read(weights: np.ndarray) -> np.ndarray:
    codes, scales, zeros, channel = quantize(weights)
    return expand(codes, scales, zeros) * channel[:, np.newaxis]


def error(truth: np.ndarray, found: np.ndarray) -> float:
    return float(np.sum((found - truth) ** 2))


def every_group() -> np.ndarray:
    """Groups of 128 with every least and greatest number and every number in between: [n, 128]."""
    rows = []
    for low in range(-PROTECTIVE, 1):
        for high in range(PROTECTIVE + 1):
            inner = np.resize(np.arange(low, high + 1), 2 * (GROUP - 2)).reshape(2, -1)
            rows.append(np.column_stack([np.full(2, low), inner, np.full(2, high)]))
    return np.vstack(rows)


def test_no_group_expands_beyond_int8() -> None:
    """The protective range: 119 and half of the largest scale make 127."""
    levels = every_group()
    assert (levels.min(), levels.max()) == (-PROTECTIVE, PROTECTIVE)
    codes, scales, zeros = to_groups(levels)
    assert scales.max() == -(-2 * PROTECTIVE // TOP) == 16
    assert PROTECTIVE + 16 // 2 == 127
    wide = (codes.astype(int) - zeros) * scales
    assert np.abs(wide).max() <= 127
    assert codes.max() <= TOP
    assert zeros.max() <= TOP
    assert int(codes.max()) * int(scales.max()) <= 255
    np.testing.assert_array_equal(expand(codes, scales, zeros), wide)


def test_one_more_would_not_be_safe() -> None:
    """Of -120 to 120: 240 / 15 = 16, and round(120 / 16) = round(7.5) = 8 expands to 128."""
    scale = 2 * (PROTECTIVE + 1) / TOP
    assert np.rint((PROTECTIVE + 1) / scale) * scale == 128
    with pytest.raises(ValueError, match="119"):
        to_groups(np.array([[120]]))
    with pytest.raises(ValueError, match="beyond INT8"):
        expand(np.array([[8]]), np.array([[16]]), np.array([[0]]))
    assert expand(np.array([[0]]), np.array([[16]]), np.array([[8]])) == -128


def test_multiplying_before_subtracting() -> None:
    """In bytes, modulo 256: right for every difference that fits INT8."""
    fits = 0
    for q in range(16):
        for z in range(16):
            for t in range(1, 17):
                if -128 <= (q - z) * t <= 127:
                    assert expanded(q, t, z * t & 255) == (q - z) * t
                    fits += 1
    assert fits > 3000
    assert expanded(8, 16, 0) == -128  # it wraps


@given(arrays.arrays(np.float64, st.tuples(st.integers(1, 4), st.integers(1, 300)), elements=REALS))
def test_any_weights(weights: np.ndarray) -> None:
    """Codes are in their ranges, and reading back is off by less than a step of both levels.

    First level: half of s, more where FP16 rounded s down (2^-11 of 119 steps) or s is subnormal.
    Second: the coarse scale is off by half of it, by half more where zero and top both round up.
    """
    codes, scales, zeros, channel = quantize(weights)
    levels = expand(codes, scales, zeros).astype(float)
    first = np.clip(np.rint(weights / channel[:, np.newaxis]), -PROTECTIVE, PROTECTIVE)
    assert codes.max() <= TOP
    assert zeros.max() <= TOP
    assert scales.min() >= 1
    groups = scales.shape[1]
    padded = np.pad(first, ((0, 0), (0, groups * GROUP - first.shape[1])))
    spans = padded.reshape(len(first), groups, GROUP)
    coarse = np.maximum(1, -(-(spans.max(-1, initial=0) - spans.min(-1, initial=0)) // TOP))
    squares = np.add.reduceat((levels - first) ** 2, np.arange(0, first.shape[1], GROUP), axis=1)
    counts = np.diff(np.append(np.arange(0, first.shape[1], GROUP), first.shape[1]))
    assert np.all(squares <= counts * coarse**2)
    largest = np.abs(weights).max(axis=1)
    assert np.all(np.abs(first * channel[:, np.newaxis]).max(axis=1) <= largest + channel)


def test_by_hand() -> None:
    """119 steps of 1/8, so first-level weights are 8 w. Group one: -30 to 105, 135 / 15 = 9,
    zero round(30 / 9) = 3; group two: 119 alone, 8 is the better of 7 and 8."""
    weights = np.zeros((1, 129))
    weights[0, :3] = [-30 / 8, 105 / 8, 4 / 8]
    weights[0, 128] = 119 / 8
    codes, scales, zeros, channel = quantize(weights)
    assert channel == 1 / 8
    assert (scales.tolist(), zeros.tolist()) == ([[9, 8]], [[3, 0]])
    assert codes[0, [0, 1, 2, 128]].tolist() == [0, 15, 3, 15]
    assert expand(codes, scales, zeros)[0, [0, 1, 2, 128]].tolist() == [-27, 108, 0, 120]


@pytest.mark.parametrize("value", [1.0, -1.0, 0.37])
def test_equal_weights(value: float) -> None:
    """All at 119: the nearer of 7 * 15 (105, clipped) and 8 * 15 = 120."""
    expected = 120 * value / 119
    np.testing.assert_allclose(read(np.full((2, 7), value)), np.full((2, 7), expected), rtol=2e-3)


def test_edges_of_the_scale() -> None:
    """Zeros; weights below half the smallest scale; beyond the largest; infinities and NaN."""
    tiny = 2.0**-24
    rows = np.array([[0, 0], [tiny / 4, -tiny / 4], [1e9, -1e9], [np.inf, 1], [1, np.nan], [1, 1]])
    found = read(rows)
    assert np.all(found[:2] == 0)
    np.testing.assert_allclose(found[2], [119 * 65504, -119 * 65504], rtol=0.08)
    assert np.all(np.isnan(found[3:5]))
    assert np.all(np.isfinite(found[5]))


@pytest.mark.parametrize("k", [1, 7, 65, 128, 129, 513])
def test_shapes_and_the_format(k: int) -> None:
    codes, scales, zeros, channel = quantize(np.random.default_rng(k).standard_normal((3, k)))
    groups = -(-k // GROUP)
    assert (codes.shape, scales.shape, zeros.shape, channel.shape) == (
        (3, k),
        (3, groups),
        (3, groups),
        (3,),
    )
    assert codes.dtype == scales.dtype == zeros.dtype == np.uint8
    fmt = get_format("dgq4")
    assert (fmt.bits, fmt.group, fmt.scale_bits, fmt.zero_bits) == (4, GROUP, 8, 4)
    np.testing.assert_array_equal(channel, channel.astype(np.float16))


def test_groups_do_not_see_each_other() -> None:
    levels = np.random.default_rng(2).integers(-119, 120, (4, 300))
    codes, scales, zeros = to_groups(levels)
    one = to_groups(levels[:, 128:256])
    np.testing.assert_array_equal(codes[:, 128:256], one[0])
    np.testing.assert_array_equal(scales[:, 1:2], one[1])
    np.testing.assert_array_equal(zeros[:, 1:2], one[2])


def test_two_levels_cost_less_than_1_db() -> None:
    """Against FP16 scales per group of 128, whose steps are not whole numbers of 1 / 119 of the
    channel's maximum. Against one scale per channel they gain where groups differ.
    """
    rng = np.random.default_rng(0)
    weights = rng.standard_normal((32, 1024)) * np.repeat(rng.uniform(0.3, 3, (32, 8)), GROUP, 1)

    def grouped(group: int) -> float:
        stored = adaptive_groups.quantize(weights, group)
        return error(weights, mixed_precision.weights(*stored))

    found = error(weights, read(weights))
    assert found < 10**0.1 * grouped(GROUP)
    assert found < 0.6 * grouped(1024)


def test_importing_the_quantizer_needs_no_numba() -> None:
    script = "import sys, kernels_ref.dual_grained; assert 'numba' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.parametrize("size", [1, 7, 65, 130])
def test_the_kernel(size: int) -> None:
    for values in KINDS_OF_VALUES:
        inputs = A8W4.inputs(Case((5, 3, size), values, 6), PAIR)
        found, expected = A8W4.datapath(**inputs), A8W4.definition(**inputs)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, expected)


def test_the_kernels_definition_expands_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """It calls neither `expand` nor anything of the datapath."""
    inputs = A8W4.inputs(Case((2, 3, 130), "random", 6), PAIR)
    expected = A8W4.definition(**inputs)
    monkeypatch.setattr(dual_grained_matmul.dual_grained, "expand", None)
    np.testing.assert_array_equal(A8W4.definition(**inputs), expected)
    with pytest.raises(ValueError, match="beyond INT8"):
        A8W4.definition(**{**inputs, "scales": inputs["scales"] * 0 + 99})


def test_integer_sums_are_exact_at_the_extremes() -> None:
    """INT8 -128 by the largest expansion, 127 * 513 products: within the documented k."""
    assert 132_000 * 128 * 127 < 2**31 < 133_000 * 128 * 127
    codes = np.full((1, 513), 15, np.uint8)
    groups = np.full((1, 5), 8, np.uint8), np.zeros((1, 5), np.uint8)
    found = integer_sums(np.full((1, 513), -128, np.int8), codes, *groups)
    assert found == -128 * 120 * 513


def test_the_epilogue_rounds_three_times() -> None:
    inputs = A8W4.inputs(Case((16, 16, 513), "weights", 0), PAIR)
    truth = dual_grained_matmul.exact(**inputs)
    off = np.abs(A8W4.datapath(**inputs) - truth)
    assert np.all(off <= np.abs(truth) * 3 * 2.0**-24 * 1.0001)
