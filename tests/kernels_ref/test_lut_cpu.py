"""T-MAC: INT8 tables, a scale per block, INT16 sums; and the exact matrix-vector product."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from installed import KINDS_OF_VALUES

from kernels_ref import lut_cpu
from kernels_ref.cases import Case
from kernels_ref.lut import float_inputs, integer_inputs
from kernels_ref.lut_cpu import BLOCK, block_tables
from kernels_ref.lut_tables import half_tables
from kernels_ref.pairs import pair_of


def test_tables_by_hand() -> None:
    """Every entry of a block and a partial one, in fractions: sum / scale, half to even."""
    numbers = np.random.default_rng(0).integers(-50, 50, BLOCK + 6) / 8
    tables, scales = block_tables(half_tables(numbers[np.newaxis]))
    fours = [[*numbers[at : at + 4], 0.0, 0.0][:4] for at in range(0, len(numbers), 4)]
    for block, at in enumerate((0, BLOCK // 4)):
        groups = fours[at : at + BLOCK // 4]
        assert scales[0, block] == np.float32(max(sum(map(abs, four)) for four in groups) / 127)
        scale = Fraction(float(scales[0, block]))
        for group, four in enumerate(groups, at):
            for index in range(16):
                total = sum(Fraction(a) * (1 if index >> j & 1 else -1) for j, a in enumerate(four))
                assert tables[0, group, index] == round(total / scale)


def test_blocks_do_not_see_each_other() -> None:
    numbers = np.random.default_rng(1).standard_normal((1, 2 * BLOCK))
    tables, scales = block_tables(half_tables(numbers))
    numbers[0, 3] = 1e4
    after, scales_after = block_tables(half_tables(numbers))
    half = BLOCK // 4
    np.testing.assert_array_equal(after[:, half:], tables[:, half:])
    assert scales_after[0, 1] == scales[0, 1]
    assert scales_after[0, 0] > 100 * scales[0, 0]


def test_a_block_of_zeros() -> None:
    numbers = np.zeros((1, 2 * BLOCK))
    numbers[0, BLOCK:] = 1
    weights = np.full((1, 2 * BLOCK), 3, np.uint8)
    found = lut_cpu.lut_cpu(numbers, weights, np.array([0]), 2, "fp32")
    np.testing.assert_allclose(found, 3 * BLOCK, rtol=2.0**-20)


@pytest.mark.parametrize("bits", [1, 2, 3, 4])
@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_the_largest_sums_fit_int16(bits: int, sign: float) -> None:
    """Entries of 127 in all sixteen groups, every bit set: 2,032 (2^bits - 1), at most 30,480."""
    assert np.iinfo(np.int16).max >= BLOCK // 4 * 127 * 15
    k = 2 * BLOCK
    weights = np.full((33, k), 2**bits - 1, np.uint8)
    found = lut_cpu.lut_cpu(np.full((1, k), sign), weights, np.zeros(33, np.int64), bits, "fp32")
    np.testing.assert_allclose(found, sign * (2**bits - 1) * k, rtol=2.0**-20)


@st.composite
def small_cases(draw: st.DrawFn) -> Case:
    size = st.sampled_from([1, 3, 4, 7, 63, 64, 65, 130])
    kind = draw(st.sampled_from(KINDS_OF_VALUES))
    sizes = (draw(st.sampled_from([1, 2])), draw(st.sampled_from([1, 7, 32, 33])), draw(size))
    return Case(sizes, kind, draw(st.integers(0, 2**16)))


@given(small_cases(), st.sampled_from([1, 2, 3, 4]))
def test_entries_cost_half_a_step_each(case: Case, bits: int) -> None:
    """Half of (scale / 2) (2^bits - 1) per group, and FP32: fewer than groups + 3 roundings, of
    sums of at most 2^(bits + 1) times the activations' magnitudes."""
    inputs = float_inputs(case, pair_of(f"uint{bits}*fp16->fp32"))
    halves = half_tables(inputs["activations"])
    _, scales = block_tables(halves)
    groups = halves.shape[1]
    spread = np.repeat(scales.astype(np.float64), BLOCK // 4, axis=1)[:, :groups]
    steps = spread.sum(axis=1, keepdims=True) * (2**bits - 1) / 4
    size = np.abs(inputs["activations"]).sum(axis=1, keepdims=True) * 2 ** (bits + 1)
    rounding = ((1 + 2.0**-24) ** (groups + 3) - 1) * size
    found = lut_cpu.lut_cpu(**inputs)
    error = np.abs(found - lut_cpu.exact(**inputs))
    assert (error <= steps * (1 + 2.0**-20) + rounding).all()
    np.testing.assert_array_equal(found, lut_cpu.definition(**inputs))


def test_packed_weights_grow_with_their_bits() -> None:
    codes = np.zeros((5, 65), np.uint8)
    codes[4, 64] = 2
    for bits in (2, 4):
        packed = lut_cpu.pack(codes, bits)
        assert packed.shape == (
            bits,
            12,
            5,
        )  # nine bytes hold 65 bits, the next multiple of four 12
        assert packed[1, 8, 4] == packed.sum() == 1


@pytest.mark.parametrize("columns", [1, 511, 512, 513, 1025])
def test_columns_are_shared_among_threads(columns: int) -> None:
    case = Case((1, columns, 65), seed=columns)
    inputs = integer_inputs(case, pair_of("uint2*int8->int32"))
    found = lut_cpu.gemv(inputs["activations"][0], lut_cpu.pack(inputs["weights"], 2))
    expected = inputs["weights"].astype(int) @ inputs["activations"][0].astype(int)
    np.testing.assert_array_equal(found, expected)


@given(small_cases(), st.sampled_from([1, 2, 3, 4]))
def test_the_exact_form_is_exact(case: Case, bits: int) -> None:
    inputs = integer_inputs(case, pair_of(f"uint{bits}*int8->int32"))
    shifted = inputs["weights"].astype(int) - inputs["zeros"][:, np.newaxis]
    expected = inputs["activations"].astype(int) @ shifted.T
    np.testing.assert_array_equal(lut_cpu.lut_gemv(**inputs), expected)


@pytest.mark.parametrize("k", [1, 7, 65, 4096])
def test_largest_exact_sums(k: int) -> None:
    """Tables of 8 * -128 fit INT16."""
    packed = lut_cpu.pack(np.full((3, k), 15, np.uint8), 4)
    assert set(lut_cpu.gemv(np.full(k, -128, np.int8), packed)) == {-128 * 15 * k}
