"""MixPE's multipliers: gated copies against products, aligned sums by the adder's width."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from installed import KINDS_OF_VALUES

from kernels_ref import mixed_precision, shift_add
from kernels_ref import shift_add_float as aligned
from kernels_ref.cases import Case
from kernels_ref.elements import decode, every_value
from kernels_ref.formats import ELEMENTS
from kernels_ref.pairs import Pair

W4A8, W4A16 = Pair("int4", "int8", "int32"), Pair("int4", "fp16", "fp32")
FP4 = decode(np.arange(16), ELEMENTS["fp4"])
SIGNIFICANDS = range(1024, 2048)


def test_every_product_of_4_by_8_bits() -> None:
    for w in range(-8, 8):
        for a in range(-128, 128):
            assert shift_add.gated_product(a, w) == a * w


def test_three_adders_of_12_bits() -> None:
    """In the order of the adders, every partial sum fits; -128 * -8 = 2^10 needs all 12."""
    for w in range(-8, 8):
        for a in range(-128, 128):
            copies = [(a << i) * (w >> i & 1) for i in range(4)]
            sums = [copies[0], sum(copies[:2]), sum(copies[:3]), sum(copies[:3]) - copies[3]]
            assert all(-(2**11) <= s < 2**11 for s in sums)
    assert shift_add.gated_product(-128, -8) == 2**10  # beyond 11 bits


@pytest.mark.parametrize("size", [1, 7, 65])
def test_it_is_the_multiplier(size: int) -> None:
    """As `mixed_precision.after`, which multiplies unsigned codes: bit for bit."""
    for values in KINDS_OF_VALUES:
        case = Case((3, size, size), values, 2)
        inputs = mixed_precision.grouped_inputs(case, W4A8)
        expected = mixed_precision.after(**inputs)
        np.testing.assert_array_equal(shift_add.datapath(**shift_add.inputs(case, W4A8)), expected)


@pytest.mark.parametrize("width", [aligned.EXACT_INT4, 20, aligned.WIDEST])
def test_a_wide_adder_is_the_multiplier(width: int) -> None:
    """Of the same two's complement codes: with unsigned ones other sums would be rounded."""
    for values in KINDS_OF_VALUES:
        case = Case((4, 5, 70), values, 2)
        expected = mixed_precision.after(**shift_add.inputs(case, W4A16))
        found = aligned.int4(**aligned.int4_inputs(case, W4A16, width))
        np.testing.assert_array_equal(found, expected)


def test_copies_are_the_weight() -> None:
    for code in range(16):
        two = code - 16 * (code > 7)
        assert sum(sign * 2**shift for sign, shift in aligned.int4_copies(code)) == two
        copies = aligned.fp4_copies(code)
        assert sum(sign * 2.0**shift for sign, shift in copies) == FP4[code]
        assert len(copies) <= 2
        if len(copies) == 2:
            assert abs(copies[0][1] - copies[1][1]) == 1


@pytest.mark.parametrize("width", [1, 5, 10, 11, 12, 13, 14])
def test_every_significand_and_weight(width: int) -> None:
    """The datapath's integers against the definition's numbers: the same product."""
    for gates, copies in (
        (aligned._int4_gates(), aligned.int4_copies),
        (aligned._fp4_gates(), aligned.fp4_copies),
    ):
        for code in range(16):
            opened = copies(code)
            for significand in range(1024, 2048, 17):
                total, place = aligned.aligned_sum(significand, gates[code], width)
                expected = aligned.aligned_product(float(significand), opened, width)
                assert total * 2.0**place == expected


@given(
    sizes=st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 40)),
    values=st.sampled_from(KINDS_OF_VALUES),
    width=st.integers(1, 16),
)
def test_any_width(sizes: tuple[int, int, int], values: str, width: int) -> None:
    case = Case(sizes, values, width)
    inputs = aligned.int4_inputs(case, W4A16, width)
    np.testing.assert_array_equal(aligned.int4(**inputs), aligned.int4_definition(**inputs))
    inputs = aligned.fp4_inputs(case, Pair("fp4", "fp16", "fp32"), width)
    np.testing.assert_array_equal(aligned.fp4(**inputs), aligned.fp4_definition(**inputs))


def worst(copies: list[tuple[int, int]], width: int) -> tuple[float, float]:
    """(absolute, relative) error of a weight's worst product with a significand of 11 bits."""
    weight = sum(sign * 2.0**shift for sign, shift in copies)
    off = [
        (abs(aligned.aligned_product(float(m), copies, width) - m * weight), abs(m * weight))
        for m in SIGNIFICANDS
    ]
    return max(error for error, _ in off), max(error / size for error, size in off)


def all_worst(copies: aligned.Copies, width: int) -> float:
    return max(worst(copies(code), width)[1] for code in range(16) if copies(code))


@pytest.mark.parametrize("missing", [0, 1, 2, 3])
def test_minus_one_loses_most(missing: int) -> None:
    """-8 + 4 + 2 + 1 with the last bits of a all ones: what each copy has below the adder, against
    a product of a itself. At 11 bits that is 17 / 1031, twenty times FP16's own 2^-11.
    """
    ones = 2**missing - 1
    loss = sum((ones << i) % 2**missing for i in range(3))
    absolute, relative = worst(aligned.int4_copies(15), aligned.EXACT_INT4 - missing)
    assert absolute == loss
    assert relative == loss / (1024 + ones)
    assert all_worst(aligned.int4_copies, aligned.EXACT_INT4 - missing) == relative
    if missing == 3:
        assert relative > 20 * 2.0**-11


def test_fp4_loses_one_bit_of_one_copy_at_11_bits() -> None:
    """a 2^e + a 2^(e-1) with a odd: half a unit of 3/2 (1025)."""
    assert all_worst(aligned.fp4_copies, aligned.EXACT_FP4) == 0
    assert all_worst(aligned.fp4_copies, aligned.EXACT_FP4 - 1) == 0.5 / (1.5 * 1025)


@pytest.mark.parametrize("copies", [aligned.int4_copies, aligned.fp4_copies])
def test_a_wider_adder_is_never_worse(copies: aligned.Copies) -> None:
    errors = [all_worst(copies, width) for width in (8, 10, 11, 12)]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 3 * errors[1] > 3 * errors[2]


def test_positive_weights_come_out_small_and_negative_ones_too_large() -> None:
    """Only positive copies are cut before the sign plane is subtracted."""
    for code in range(16):
        weight = code - 16 * (code > 7)
        for m in range(1024, 2048, 5):
            assert aligned.aligned_product(float(m), aligned.int4_copies(code), 11) <= m * weight


@pytest.mark.parametrize("width", [8, 11, 14])
def test_subnormal_activations_keep_their_places(width: int) -> None:
    """2^-24 n has its bits where the smallest normal numbers have them."""
    place = 2.0 ** (11 - width)  # of the adder's last bit, in 2^-24, for a weight of 1
    for n in (1, 2, 3, 511, 1023, 1024, 1025):
        cut = n // max(1, int(place)) * max(1, int(place))
        assert aligned.aligned_product(n * 2.0**-24, [(1, 0)], width) == cut * 2.0**-24


def test_zeros_and_signs() -> None:
    for copies in (aligned.int4_copies, aligned.fp4_copies):
        for code in range(16):
            assert aligned.aligned_product(0.0, copies(code), 11) == 0
            right = aligned.aligned_product(3.25, copies(code), 11)
            assert aligned.aligned_product(-3.25, copies(code), 11) == -right


def test_fp4_weights_at_the_exact_width() -> None:
    """Against numpy: float32 running sums of exact products."""
    a = every_value(ELEMENTS["fp16"])[::997][:, np.newaxis]
    codes = np.arange(16, dtype=np.uint8)[:, np.newaxis]
    given = {"scales": np.full((16, 1), 0.75), "group": 1, "width": aligned.EXACT_FP4}
    found = aligned.fp4(a, codes, **given)
    expected = (a * FP4).astype(np.float32) * np.float32(0.75)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("width", [0, -1, aligned.WIDEST + 1])
def test_impossible_adders(width: int) -> None:
    inputs = aligned.int4_inputs(Case((1, 1, 1)), W4A16, width)
    for function in (aligned.int4, aligned.int4_definition):
        with pytest.raises(ValueError, match=f"not {width}"):
            function(**inputs)
