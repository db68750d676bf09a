"""LUT Tensor Core: reinterpreted weights, half tables, and the three kinds of entries."""

from __future__ import annotations

from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from installed import KINDS_OF_VALUES

from kernels_ref import lut
from kernels_ref.cases import Case
from kernels_ref.lut_tables import (
    ALL_POSITIVE,
    GROUP,
    SIGN,
    fold,
    half_tables,
    index_planes,
    quantize_tables,
    reinterpret_zeros,
    row_sums,
)
from kernels_ref.pairs import pair_of
from kernels_ref.rounding import layout

BITS = (1, 2, 3, 4)
ENTRY_UNIT = 2.0**-11  # half a unit in the last place of FP16
FP32_UNIT = 2.0**-24
WORTH = np.array([1, 10, 100, 1000])  # activations whose sixteen signed sums all differ


@st.composite
def small_cases(draw: st.DrawFn) -> Case:
    size = st.sampled_from([1, 2, 3, 4, 5, 7, 8, 31, 65])
    kind = draw(st.sampled_from(KINDS_OF_VALUES))
    sizes = (draw(st.sampled_from([1, 2, 3])), draw(size), draw(size))
    return Case(sizes, kind, draw(st.integers(0, 2**16)))


def signed_sum(index: int) -> int:
    """Of WORTH: activation j counts +1 where bit j of the index is set, -1 where not."""
    return sum(int(a) * (1 if index >> j & 1 else -1) for j, a in enumerate(WORTH))


def float_bound(
    activations: np.ndarray, weights: np.ndarray, zeros: np.ndarray, bits: int, sums: str
) -> np.ndarray:
    """How far the float form may be from `exact`, [rows, columns]; infinity where it may overflow.

    With A = sum |a| of a row, u = 2^-11 of the entries, v of the sums (2^-24 or 2^-11), w = 2^-24
    and n = bits * groups additions: entries and their sum are off by at most
    ((1 + u) (1 + v)^n - 1) (2^bits - 1) A; the zero-point's product by
    |z'| ((1 + w)^(groups + 1) - 1) A; the last subtraction and the rounding of the result add
    factors of 1 + w and 1 + v, and FP16 sums half of 2^-24 where the result is subnormal. Sums of
    FP16 numbers have no underflow: they are multiples of 2^-24.
    """
    size = np.abs(activations).sum(axis=1, keepdims=True)
    groups = -(-activations.shape[1] // GROUP)
    unit = ENTRY_UNIT if sums == "fp16" else FP32_UNIT
    summed = (1 + ENTRY_UNIT) * (1 + unit) ** (bits * groups)
    in_sums = (summed - 1) * (2**bits - 1) * size
    odd = np.abs(reinterpret_zeros(zeros, bits))
    in_zeros = odd * ((1 + FP32_UNIT) ** (groups + 1) - 1) * size
    last = (1 + FP32_UNIT) * (1 + unit)
    doubled = 2 * np.abs(lut.exact(activations, weights, zeros))
    bound = (last * (in_sums + in_zeros) + (last - 1) * doubled) / 2
    largest = layout("fp16")[2]
    if sums == "fp16":
        at_most = summed * 2**bits * size + doubled / 2 + bound
        return np.where(at_most <= largest, bound + 2.0**-25, np.inf)
    entries = np.abs(half_tables(np.abs(activations))[:, :, ALL_POSITIVE]).max(axis=1)
    return np.where(entries[:, np.newaxis] <= largest, bound, np.inf)


@pytest.mark.parametrize("bits", BITS)
def test_reinterpreted_weights_are_the_same_numbers(bits: int) -> None:
    scale = Fraction(3, 7)
    for code, zero in product(range(2**bits), repeat=2):
        worth = sum(2**i * (1 if code >> i & 1 else -1) for i in range(bits))
        assert worth == 2 * code - (2**bits - 1)
        moved = int(reinterpret_zeros(np.array([zero]), bits)[0])
        assert moved % 2 == 1
        assert scale / 2 * (worth - moved) == scale * (code - zero)


def test_eight_entries_and_a_sign_are_sixteen_entries() -> None:
    table = half_tables(WORTH[np.newaxis])[0, 0]
    folded = fold(np.arange(16, dtype=np.uint8))
    assert sorted(folded) == list(range(16))
    for index, word in enumerate(folded):
        entry = table[word & ALL_POSITIVE]
        assert (-entry if word & SIGN else entry) == signed_sum(index)
    assert table.min() > -signed_sum(15)
    assert table[ALL_POSITIVE] == signed_sum(15)


def test_an_index_holds_the_same_bit_of_four_weights() -> None:
    codes = np.array([[0, 1, 2, 3, 3]], np.uint8)
    np.testing.assert_array_equal(
        index_planes(codes, 2)[:, :, 0],
        [[0b1010, 0b1100], [0b0001, 0b0001]],
    )


def test_sums_of_activations_come_with_the_tables() -> None:
    numbers = np.array([[3, -4, 5, -6, 7]])
    assert row_sums(half_tables(numbers)) == [5]
    total = row_sums(half_tables(numbers / 2.0))
    assert (total.dtype, list(total)) == (np.float32, [2.5])


@pytest.mark.parametrize("bits", BITS)
def test_every_code_and_zero_point(bits: int) -> None:
    """One activation at a time, so that nothing averages out."""
    activations = np.array([[-128], [-1], [0], [1], [127]], np.int8)
    pairs = np.array(list(product(range(2**bits), repeat=2)))
    found = lut.integer(activations, pairs[:, :1].astype(np.uint8), pairs[:, 1], bits)
    expected = [[int(a) * int(q - z) for q, z in pairs] for a in activations[:, 0]]
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("k", [1, 7, 65, 513])
def test_largest_sums(k: int) -> None:
    activations = np.full((1, k), -128, np.int8)
    weights = np.full((2, k), 15, np.uint8)
    found = lut.integer(activations, weights, np.array([0, 15]), 4)
    np.testing.assert_array_equal(found, [[-128 * 15 * k, 0]])


@given(small_cases(), st.sampled_from(BITS))
def test_integers_are_exact(case: Case, bits: int) -> None:
    inputs = lut.integer_inputs(case, pair_of(f"uint{bits}*int8->int32"))
    np.testing.assert_array_equal(lut.integer(**inputs), lut.integer_definition(**inputs))


def test_the_tile_does_not_matter_to_integers() -> None:
    inputs = lut.integer_inputs(Case((7, 65, 33)), pair_of("uint3*int8->int32"))
    expected = lut.integer(**inputs)
    for tile in ((1, 1), (3, 5), (8, 16), (100, 100)):
        np.testing.assert_array_equal(lut.integer(**inputs, tile=tile), expected)


@pytest.mark.parametrize(
    ("four", "entry"),
    [([2048, 1, 0, 0], 2048), ([2048, 0.75, 0.75, 0], 2050)],  # 2049 to even; 2049.5 in one step
)
def test_entries_are_rounded_to_fp16_once(four: list[float], entry: float) -> None:
    """Weights of 1 are half the sum of the entry (every bit +1) and of the activations (z' = -1),
    which is not rounded."""
    ones = np.ones((1, 4), np.uint8)
    found = lut.float_tables(np.array([four]), ones, np.array([0]), 1, "fp32")
    assert found == (entry + sum(four)) / 2


def test_fp16_sums_stop_where_half_a_unit_is_too_small() -> None:
    """Every group adds 4; from 8192, where units are 8, a sum stays (to even). Half of 8192 and of
    the activations' true sum is left."""
    groups = 2100
    activations, weights = np.ones((1, 4 * groups)), np.ones((1, 4 * groups), np.uint8)
    found = lut.float_tables(activations, weights, np.array([0]), 1, "fp16")
    assert found == (8192 + 4 * groups) / 2
    wide = lut.float_tables(activations, weights, np.array([0]), 1, "fp32")
    assert wide == 4 * groups


def test_fp16_entries_overflow_as_fp16_does() -> None:
    large = np.full((1, 8), 65504.0)
    weights = np.array([[1] * 8, [1] * 4 + [0] * 4], np.uint8)
    found = lut.float_tables(large, weights, np.array([0, 0]), 1, "fp32")
    assert found[0, 0] == np.inf
    assert np.isnan(found[0, 1])
    quantized = lut.int8_tables(large, weights, np.array([0, 0]), 1, "fp32")
    np.testing.assert_allclose(quantized, [[8 * 65504, 4 * 65504]], rtol=1e-6)


@given(small_cases(), st.sampled_from(BITS), st.sampled_from(["fp32", "fp16"]))
def test_floats_stay_within_their_bound(case: Case, bits: int, sums: str) -> None:
    for activation in ("fp16", "fp8"):
        inputs = lut.float_inputs(case, pair_of(f"uint{bits}*{activation}->{sums}"))
        found, bound = lut.float_tables(**inputs), float_bound(**inputs)
        finite = np.isfinite(bound)
        exact = lut.exact(**inputs)
        assert (np.abs(found - exact)[finite] <= bound[finite]).all()
        assert np.isfinite(found[finite]).all()


def test_the_bound_is_not_far_from_what_happens() -> None:
    """One addition, nothing to average: within a factor of 4 of the error of 2049."""
    arguments = (np.array([[2048.0, 1, 0, 0]]), np.ones((1, 4), np.uint8), np.array([0]), 1, "fp32")
    assert 0.5 <= float_bound(*arguments)[0, 0] <= 4 * 0.5


def test_a_table_of_int8_has_a_scale_of_its_own() -> None:
    numbers = np.array([[64.0, 32, 16, 15, 0, 0, 0, 0, 1e-3, 0, 0, 0]])
    tables, scales = quantize_tables(half_tables(numbers))
    np.testing.assert_array_equal(scales[0, :2], [1, 0])
    np.testing.assert_array_equal(tables[0, 0], half_tables(numbers)[0, 0])
    assert not tables[0, 1].any()
    assert set(tables[0, 2]) == {127}


@given(small_cases(), st.sampled_from(BITS))
def test_int8_entries_cost_half_a_step_each(case: Case, bits: int) -> None:
    """Half of (scale / 2) (2^bits - 1) per group, and FP32: groups + 3 roundings, of sums of at
    most 2^(bits + 1) times the activations' magnitudes."""
    inputs = lut.float_inputs(case, pair_of(f"uint{bits}*fp16->fp32"))
    _, scales = quantize_tables(half_tables(inputs["activations"]))
    steps = scales.sum(axis=1, dtype=np.float64, keepdims=True) * (2**bits - 1) / 4
    size = np.abs(inputs["activations"]).sum(axis=1, keepdims=True) * 2 ** (bits + 1)
    rounding = ((1 + 2.0**-24) ** (scales.shape[1] + 3) - 1) * size
    error = np.abs(lut.int8_tables(**inputs) - lut.exact(**inputs))
    assert (error <= steps * (1 + 2.0**-20) + rounding).all()
