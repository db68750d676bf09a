"""Three places to dequantize: what they agree on, and by how much they differ and why."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from installed import KINDS_OF_VALUES

from kernels_ref.cases import Case
from kernels_ref.elements import round_to
from kernels_ref.kernel import Inputs
from kernels_ref.mixed_precision import (
    AFTER,
    BEFORE,
    EPILOGUE,
    after,
    before,
    before_inputs,
    epilogue,
    exact,
    grouped_inputs,
    weights,
)
from kernels_ref.pairs import Pair

W4A8, W4A16 = Pair("int4", "int8", "int32"), Pair("int4", "fp16", "fp32")


def sqnr(truth: np.ndarray, found: np.ndarray) -> float:
    noise = np.sum((found.astype(np.float64) - truth) ** 2)
    return float(10 * np.log10(np.sum(truth**2) / noise))


def same(left: np.ndarray, right: np.ndarray) -> None:
    np.testing.assert_array_equal(left, right)
    assert left.dtype == right.dtype == np.float32


def one_scale(inputs: Inputs, scale: float) -> Inputs:
    return {**inputs, "scales": np.full_like(inputs["scales"], scale)}


@pytest.mark.parametrize("size", [1, 7, 65])
@pytest.mark.parametrize("pair", [W4A8, W4A16, Pair("int8", "bf16", "fp32")])
def test_datapaths_are_their_definitions(size: int, pair: Pair) -> None:
    for kernel in (BEFORE, AFTER, EPILOGUE):
        for values in KINDS_OF_VALUES:
            inputs = kernel.inputs(Case((size, 3, size), values, 4), pair)
            same(kernel.datapath(**inputs), kernel.definition(**inputs))


def test_by_hand() -> None:
    """0.5 (3 (9 - 4) - 1 (2 - 4)) = 8.5, and in a second group 2 * 7 (1 - 0) more."""
    a = np.array([[3.0, -1.0, 7.0]])
    given = {
        "codes": np.array([[9, 2, 1]], np.uint8),
        "scales": np.array([[0.5, 2.0]]),
        "zeros": np.array([[4, 0]], np.uint8),
        "group": 2,
    }
    for activations in (a, a.astype(np.int8)):
        assert before(activations, **given, element="fp16") == 22.5
        assert after(activations, **given) == 22.5
        assert exact(activations, **given) == 22.5


@given(
    size=st.tuples(st.integers(1, 5), st.integers(1, 5), st.integers(1, 300)),
    log=st.integers(-9, 9),
)
def test_powers_of_two_as_scales_round_nothing(size: tuple[int, int, int], log: int) -> None:
    """INT8 by 4 bits: sums below 2^24 of a power of two. All three are exact then."""
    inputs = one_scale(before_inputs(Case(size, "random", log + 9), W4A8), 2.0**log)
    truth = exact(**inputs).astype(np.float32)
    same(before(**inputs), truth)
    del inputs["element"]
    same(after(**inputs), truth)
    whole = {**inputs, "group": size[2]}
    del inputs["group"]
    channel = {k: v[:, 0] if k in ("scales", "zeros") else v for k, v in inputs.items()}
    same(epilogue(**channel), after(**whole))


@pytest.mark.parametrize("pair", [W4A8, W4A16, Pair("int8", "bf16", "fp32")])
def test_one_group_is_the_epilogue(pair: Pair) -> None:
    inputs = EPILOGUE.inputs(Case((5, 6, 129), "weights", 1), pair)
    grouped = {k: v[:, None] if k in ("scales", "zeros") else v for k, v in inputs.items()}
    same(epilogue(**inputs), after(**grouped, group=129))


def test_what_int8_activations_lose_and_where() -> None:
    """After: each group is exact until its scale, so a product and a sum round, 2^-24 each.
    Before: each weight is off by up to 2^-11 of itself, and the FP32 sums by 2^-24 a step.
    """
    case = Case((16, 16, 512), "weights", 5)
    inputs = before_inputs(case, W4A8)
    a, group = inputs["activations"], inputs["group"]
    truth = exact(**inputs)
    first = before(**inputs)
    del inputs["element"]
    second = after(**inputs)
    w = weights(inputs["codes"], inputs["scales"], inputs["zeros"], group)
    parts = [
        np.abs(a[:, k : k + group].astype(np.float64) @ w[:, k : k + group].T)
        for k in range(0, 512, group)
    ]
    steps = len(parts) + 1
    assert np.all(np.abs(second - truth) <= sum(parts) * steps * 2.0**-24 * 1.0001)
    size = np.abs(a.astype(np.float64)) @ np.abs(w).T
    assert np.all(np.abs(first - truth) <= size * (2.0**-11 + 513 * 2.0**-24))
    # Rounding errors of weights in [2^e, 2^(e+1)) are uniform up to 2^-11 of 2^e: at worst 71 dB.
    assert sqnr(truth, first) > 20 * np.log10(2.0**11 * np.sqrt(3))
    assert np.mean((first - truth) ** 2) > 2.0**20 * np.mean((second - truth) ** 2)


def test_a_single_group_of_integers_is_rounded_once() -> None:
    inputs = one_scale(grouped_inputs(Case((16, 16, 128), "random", 5), W4A8), 1 / 3)
    inputs["scales"] = inputs["scales"].astype(np.float16).astype(np.float64)[:, :1]
    inputs["zeros"], inputs["group"] = inputs["zeros"][:, :1], 128
    truth = exact(**inputs)
    assert np.all(np.abs(after(**inputs) - truth) <= np.abs(truth) * 2.0**-24)


def test_bfloat_weights_lose_eight_times_more() -> None:
    """8 significant bits against 11: 18 dB, give or take what 4-bit codes round exactly."""
    inputs = before_inputs(Case((16, 16, 257), "weights", 2), W4A8)
    truth = exact(**inputs)
    lost = sqnr(truth, before(**inputs)) - sqnr(truth, before(**{**inputs, "element": "bf16"}))
    assert 20 * np.log10(8) - 4 < lost < 20 * np.log10(8) + 4


def test_a_float_zero_point_cancels() -> None:
    """All weights but one are zero. Before: the one product. After: a difference of two sums, each
    of 128 roundings by at most 2^-24 of 15 sum |a|, then z sum a and the difference once.
    """
    a = round_to(np.random.default_rng(0).standard_normal((50, 128)), "fp16")
    codes = np.full((1, 128), 15, np.uint8)
    codes[0, 40] = 14
    given = {"codes": codes, "scales": np.ones((1, 1)), "zeros": np.full((1, 1), 15, np.uint8)}
    np.testing.assert_array_equal(before(a, **given, group=128, element="fp16")[:, 0], -a[:, 40])
    off = np.abs(after(a, **given, group=128)[:, 0] + a[:, 40])
    assert off.max() > 0
    assert np.all(off <= (2 * 128 + 2) * 2.0**-24 * 15 * np.abs(a).sum(1) * 1.001)


def test_weights_beyond_fp16_are_infinite_only_before() -> None:
    given = {
        "codes": np.array([[2]], np.uint8),
        "scales": np.array([[65504.0]]),
        "zeros": np.array([[0]], np.uint8),
        "group": 1,
    }
    one = np.array([[1.0]])
    assert before(one, **given, element="fp16") == np.inf
    assert before(one, **given, element="bf16") == 131072.0  # 2 * 65504 to 8 bits
    assert after(one, **given) == 131008.0


def test_sums_of_bfloats_may_overflow_only_after() -> None:
    """Weights of zero: 2^127 * 3 is beyond FP32 on both sides of the subtraction."""
    given = {
        "codes": np.full((1, 2), 3, np.uint8),
        "scales": np.ones((1, 1)),
        "zeros": np.full((1, 1), 3, np.uint8),
        "group": 2,
    }
    huge = np.full((1, 2), 2.0**127)
    assert before(huge, **given, element="bf16") == 0
    assert np.isnan(after(huge, **given))


@pytest.mark.parametrize("sign", [-128, 127])
def test_extreme_integers_do_not_wrap(sign: int) -> None:
    """The documented 65 thousand: the largest sum of a q that 32 bits hold."""
    k = 65_000
    assert k * 128 * 255 < 2**31 < (k + 1000) * 128 * 255
    a = np.full((1, k), sign, np.int8)
    codes = np.full((1, k), 255, np.uint8)
    found = epilogue(a, codes, np.ones(1), np.zeros(1, np.uint8))
    assert found == np.float32(sign * 255 * k)


def test_subnormal_scales() -> None:
    """2^-24 is the smallest FP16 number: integer multiples of it are exact."""
    inputs = one_scale(before_inputs(Case((3, 4, 40), "random", 1), W4A8), 2.0**-24)
    same(before(**inputs), exact(**inputs).astype(np.float32))


@given(shift=st.integers(0, 100), seed=st.integers(0, 9))
def test_codes_and_zeros_shift_together(shift: int, seed: int) -> None:
    inputs = before_inputs(Case((3, 4, 37), "random", seed), Pair("int4", "int8", "fp32"))
    moved = {name: inputs[name] + np.uint8(shift) for name in ("codes", "zeros")}
    same(before(**inputs), before(**{**inputs, **moved}))
    del inputs["element"]
    same(after(**inputs), after(**{**inputs, **moved}))


@given(seed=st.integers(0, 30))
def test_rows_and_columns_are_independent(seed: int) -> None:
    inputs = grouped_inputs(Case((5, 6, 70), "heavy_tailed", seed), W4A16)
    whole = after(**inputs)
    some = {name: inputs[name][2:4] for name in ("codes", "scales", "zeros")}
    part = {**inputs, **some, "activations": inputs["activations"][::2]}
    same(after(**part), whole[::2, 2:4])
    same(before(**part, element="fp16"), before(**inputs, element="fp16")[::2, 2:4])
