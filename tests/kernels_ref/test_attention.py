"""The definition of attention, FlashAttention-2 within its bound, and how tight the bound is."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from installed import KINDS_OF_VALUES

from kernels_ref import attention as plain
from kernels_ref import flash_attention as flash
from kernels_ref import masks
from kernels_ref.attention import Plan, attention
from kernels_ref.cases import Case
from kernels_ref.kernel import Inputs
from kernels_ref.pairs import Pair

FP16 = Pair("fp16", "fp16", "fp32")


def random_inputs(heads: int, queries: int, keys: int, width: int, seed: int = 0) -> Inputs:
    """FP16 numbers as float32; two key-value heads if there are two heads or more."""
    rng = np.random.default_rng(seed)
    shapes = (heads, queries, width), *[(min(heads, 2), keys, width)] * 2
    halves = [rng.standard_normal(shape).astype(np.float16) for shape in shapes]
    arrays = dict(zip(("queries", "keys", "values"), halves, strict=True))
    return {name: array.astype(np.float32) for name, array in arrays.items()}


def by_loops(
    queries: np.ndarray, keys: np.ndarray, values: np.ndarray, visible: np.ndarray
) -> np.ndarray:
    """Key by key in Python floats."""
    out = np.zeros(queries.shape)
    group = len(queries) // len(keys)
    for h, i in np.ndindex(queries.shape[:2]):
        q, weights = queries[h, i], {}
        for j in np.flatnonzero(visible[i]):
            score = sum(float(a) * float(b) for a, b in zip(q, keys[h // group, j], strict=True))
            weights[j] = math.exp(score / math.sqrt(len(q)))
        for j, weight in weights.items():
            share = weight / math.fsum(weights.values())
            out[h, i] += share * values[h // group, j].astype(np.float64)
    return out


@pytest.mark.parametrize("sizes", [(1, 1, 1), (7, 3, 5), (3, 7, 1)])
@pytest.mark.parametrize("mask", [masks.everything, masks.causal])
def test_the_definition_by_loops(
    sizes: tuple[int, int, int], mask: Callable[[int, int], np.ndarray]
) -> None:
    inputs = random_inputs(4, *sizes)
    visible = mask(*sizes[:2])
    found = attention(**inputs, visible=visible)
    np.testing.assert_allclose(found, by_loops(**inputs, visible=visible), rtol=1e-12, atol=1e-15)


def test_groups_share_a_head() -> None:
    inputs = random_inputs(6, 5, 7, 4)
    wide = {name: np.repeat(inputs[name], 3, axis=0) for name in ("keys", "values")}
    visible = masks.causal(5, 7)
    expected = attention(**{**inputs, **wide}, visible=visible)
    np.testing.assert_array_equal(attention(**inputs, visible=visible), expected)
    with pytest.raises(ValueError, match="5 query heads do not divide over 2 key-value heads"):
        attention(inputs["queries"][:5], inputs["keys"], inputs["values"], visible)


def test_future_keys_change_nothing() -> None:
    inputs = random_inputs(2, 9, 9, 4)
    later = {name: array.copy() for name, array in inputs.items()}
    later["keys"][:, 6:], later["values"][:, 6:] = 5.0, -3.0
    for run in (attention, flash.flash_attention):
        one = run(**inputs, visible=masks.causal(9, 9), plan=Plan(4, 4))
        two = run(**later, visible=masks.causal(9, 9), plan=Plan(4, 4))
        np.testing.assert_array_equal(one[:, :6], two[:, :6])
        assert (one[:, 6:] != two[:, 6:]).any()


def test_nothing_visible_is_zero() -> None:
    """Five queries of two keys: the first three come before every key."""
    inputs = random_inputs(2, 5, 2, 4)
    visible = masks.causal(5, 2)
    for run in (attention, flash.flash_attention):
        out = run(**inputs, visible=visible, plan=Plan(2, 1))
        assert (out[:, :3] == 0).all()
        assert (out[:, 3:] != 0).any()


def test_one_visible_key_is_its_value() -> None:
    inputs = random_inputs(2, 6, 6, 3)
    out = flash.flash_attention(**inputs, visible=np.eye(6, dtype=bool), plan=Plan(4, 4))
    np.testing.assert_array_equal(out, inputs["values"])


def test_equal_scores_are_the_mean() -> None:
    """All keys alike: every weight is 1 in FP16 too, so only sums and a division round."""
    inputs = random_inputs(2, 3, 64, 8)
    inputs["keys"][:] = inputs["keys"][:, :1]
    mean = inputs["values"].astype(np.float64).mean(axis=1, keepdims=True)
    scale = np.abs(inputs["values"]).mean(axis=1, keepdims=True)
    out = flash.flash_attention(**inputs, visible=masks.everything(3, 64), plan=Plan(2, 20))
    assert (np.abs(out - mean) <= 66 * 2.0**-24 * scale).all()


@pytest.mark.parametrize("values", KINDS_OF_VALUES)
@pytest.mark.parametrize("size", [1, 7, 65])
def test_flash_is_within_its_bound(values: str, size: int) -> None:
    """With keys and values in FP16, and in a cache of FP8."""
    for pair in (FP16, Pair("fp8", "fp16", "fp32")):
        for sizes in ((size, 65, 7), (7, size, 65), (65, 7, size)):
            inputs = plain.attention_inputs(Case(sizes, values, size), pair)
            found, expected = flash.flash_attention(**inputs), attention(**inputs)
            assert (np.abs(found - expected) <= flash.flash_bound(**inputs)).all()


@given(st.integers(1, 20), st.integers(1, 20), st.integers(1, 20), st.integers(0, 99))
def test_any_tiles(query_tile: int, key_tile: int, keys: int, seed: int) -> None:
    inputs = random_inputs(2, 13, keys, 5, seed)
    visible = np.random.default_rng(seed).random((13, keys)) < 0.5
    plan = Plan(query_tile, key_tile)
    error = np.abs(
        flash.flash_attention(**inputs, visible=visible, plan=plan)
        - attention(**inputs, visible=visible)
    )
    assert (error <= flash.flash_bound(**inputs, visible=visible, plan=plan)).all()


def test_query_tiles_change_no_bit() -> None:
    inputs = random_inputs(2, 13, 30, 5)
    visible = masks.causal(13, 30)
    runs = [
        flash.flash_attention(**inputs, visible=visible, plan=Plan(tile, 7)) for tile in (1, 5, 13)
    ]
    np.testing.assert_array_equal(runs[0], runs[1])
    np.testing.assert_array_equal(runs[0], runs[2])


def test_a_masked_tile_changes_no_bit() -> None:
    """Skipping it is what computing it would have done."""
    inputs = random_inputs(1, 4, 6, 5)
    queries, keys, values = (array[0] for array in inputs.values())
    state = flash.attend(queries, keys, values, masks.everything(4, 6), Plan())
    before = [array.copy() for array in state]
    rounding = (flash.score_scale(5), 10, -14, 65504.0)
    turned = np.ascontiguousarray(keys.T)
    flash.attend_tile(queries, turned, values, np.zeros((4, 6), bool), state, rounding)
    for array, old in zip(state, before, strict=True):
        np.testing.assert_array_equal(array, old)


@pytest.mark.parametrize("width", [1, 65])
def test_the_largest_fp16_numbers(width: int) -> None:
    """Scores of 65504^2 sqrt(d), beyond what a fused subtraction would survive: all weights are 1
    for equal keys, and one key wins where the signs differ."""
    top = np.float32(65504)
    queries = np.full((1, 2, width), top)
    keys = np.full((1, 3, width), top)
    values = np.array([top, top, -top], np.float32)[None, :, None] * np.ones(width, np.float32)
    visible = masks.everything(2, 3)
    out = flash.flash_attention(queries, keys, values, visible, Plan())
    np.testing.assert_allclose(out, top / 3, rtol=1e-6)
    keys[0, :2] *= -1
    out = flash.flash_attention(queries, keys, values, visible, Plan())
    np.testing.assert_array_equal(out, np.broadcast_to(-top, out.shape))


def test_scores_may_lie_far_below() -> None:
    """Weights of 2^-40 vanish in FP16 but not in the total; the bound allows for them."""
    queries = np.ones((1, 1, 1), np.float32)
    keys = np.array([0.0] + 30 * [-40.0 * math.log(2)], np.float16).astype(np.float32)[
        None, :, None
    ]
    values = np.array([0.0] + 30 * [65504.0], np.float32)[None, :, None]
    arrays = queries, keys, values, masks.everything(1, 31)
    expected = float(attention(*arrays)[0, 0, 0])
    assert expected == pytest.approx(30 * 65504 * 2.0**-40, rel=0.02)
    assert flash.flash_attention(*arrays, Plan())[0, 0, 0] == 0.0
    assert flash.flash_bound(*arrays, Plan())[0, 0, 0] >= expected
    wide = Plan(probabilities="fp32")
    assert flash.flash_attention(*arrays, wide)[0, 0, 0] == pytest.approx(expected, rel=1e-5)


def test_rounding_of_probabilities_is_there() -> None:
    """With FP16 probabilities the error is beyond what FP32 ones may have, and 2^-11 of the mean
    at most (the other terms are 2^-24 times some hundreds)."""
    inputs = random_inputs(2, 20, 100, 16)
    visible = masks.everything(20, 100)
    wide, narrow = Plan(probabilities="fp32"), Plan(probabilities="fp16")
    expected = attention(**inputs, visible=visible)
    exact = flash.flash_attention(**inputs, visible=visible, plan=wide)
    rounded = flash.flash_attention(**inputs, visible=visible, plan=narrow)
    tight = flash.flash_bound(**inputs, visible=visible, plan=wide)
    assert (np.abs(exact - expected) <= tight).all()
    assert (np.abs(rounded - expected) > tight).any()
    shares = attention(**{**inputs, "values": np.abs(inputs["values"])}, visible=visible)
    assert (np.abs(rounded - expected) <= 1.2 * 2.0**-11 * shares).all()
    assert (
        flash.flash_bound(**inputs, visible=visible, plan=narrow) <= 1.2 * 2.0**-11 * shares
    ).all()


def test_the_bound_sees_a_wrong_result() -> None:
    """A key left out, a scale without the root, or a value off by one step in FP16."""
    inputs = random_inputs(2, 9, 33, 16)
    visible = masks.everything(9, 33)
    bound = flash.flash_bound(**inputs, visible=visible, plan=Plan())
    right = attention(**inputs, visible=visible)
    less = visible.copy()
    less[:, -1] = False
    values = inputs["values"].copy()
    values[:, 5] *= 1 + 2.0**-4
    wrong = [
        attention(**inputs, visible=less),
        attention(**{**inputs, "queries": 4 * inputs["queries"]}, visible=visible),
        attention(**{**inputs, "values": values}, visible=visible),
    ]
    for result in wrong:
        assert (np.abs(result - right) > bound).any()


@pytest.mark.parametrize("window", [None, 1, 5, 100])
@pytest.mark.parametrize("sizes", [(1, 1, 1), (7, 65, 3), (65, 7, 3), (33, 33, 8)])
def test_the_tiling_mask_changes_no_bit(window: int | None, sizes: tuple[int, int, int]) -> None:
    inputs = random_inputs(2, *sizes)
    whole = masks.causal(*sizes[:2]) if window is None else masks.sliding_window(*sizes[:2], window)
    for plan in (Plan(8, 8), Plan(4, 16), Plan(16, 3)):
        expected = flash.flash_attention(**inputs, visible=whole, plan=plan)
        found = flash.tiling_mask_attention(**inputs, window=window, plan=plan)
        np.testing.assert_array_equal(found, expected)


def test_inputs_cover_masks_and_groups() -> None:
    """Among the first seeds: rows that see nothing, grouped heads, several tiles and one."""
    made = [plain.attention_inputs(Case((9, 9, 4), "random", seed), FP16) for seed in range(40)]
    assert any(not inputs["visible"].any(axis=1).all() for inputs in made)
    assert any(inputs["visible"].all() for inputs in made)
    assert any(len(inputs["queries"]) > len(inputs["keys"]) > 1 for inputs in made)
    tiles = {inputs["plan"].key_tile for inputs in made}
    assert 9 in tiles
    assert min(tiles) < 4


def test_bfloat16_probabilities() -> None:
    """Eight bits of significand: 2^-8 of the mean."""
    inputs = random_inputs(2, 20, 100, 16)
    visible = masks.everything(20, 100)
    plan = replace(Plan(), probabilities="bf16")
    error = np.abs(
        flash.flash_attention(**inputs, visible=visible, plan=plan)
        - attention(**inputs, visible=visible)
    )
    bound = flash.flash_bound(**inputs, visible=visible, plan=plan)
    assert (error <= bound).all()
    assert error.max() > flash.flash_bound(**inputs, visible=visible, plan=Plan()).min()
