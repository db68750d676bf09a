"""Split, streamed, unified and shared attention against the whole."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from installed import KINDS_OF_VALUES

from kernels_ref import masks
from kernels_ref import split_attention as split
from kernels_ref.attention import Plan, attention, attention_inputs, shared
from kernels_ref.cases import Case
from kernels_ref.flash_attention import State, attend, flash_attention, result
from kernels_ref.kernel import Inputs, Kernel
from kernels_ref.pairs import Pair

FP16 = Pair("fp16", "fp16", "fp32")
KERNELS = (split.SPLIT, split.STREAM, split.UNIFIED, split.PREFIX)


def made(
    queries: int, keys: int, width: int, heads: int = 4, seed: int = 0, scale: float = 1.0
) -> Inputs:
    """FP16 numbers as float32, two key-value heads, everything visible."""
    rng = np.random.default_rng(seed)
    shapes = {"queries": (heads, queries, width), "keys": (2, keys, width)}
    shapes["values"] = shapes["keys"]
    arrays = {name: rng.standard_normal(shape) * scale for name, shape in shapes.items()}
    halves = {name: array.astype(np.float16).astype(np.float32) for name, array in arrays.items()}
    return {**halves, "visible": masks.everything(queries, keys)}


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("values", KINDS_OF_VALUES)
def test_within_the_bound(kernel: Kernel, values: str) -> None:
    for sizes in ((1, 1, 1), (7, 65, 3), (65, 7, 9), (1, 513, 8)):
        for seed in range(3):
            inputs = kernel.inputs(Case(sizes, values, seed), FP16)
            error = np.abs(kernel.datapath(**inputs) - kernel.definition(**inputs))
            assert kernel.bound is not None
            assert (error <= kernel.bound(**inputs)).all()


@pytest.mark.parametrize("run", [split.split_keys, split.stream_keys])
def test_one_part_is_flash_attention(run: object) -> None:
    """Bit for bit: combining a part with nothing multiplies by 1."""
    inputs = made(5, 40, 8)
    plan = Plan(query_tile=5, key_tile=16, parts=1)
    assert callable(run)
    np.testing.assert_array_equal(run(**inputs, plan=plan), flash_attention(**inputs, plan=plan))


@pytest.mark.parametrize("run", [split.split_keys, split.stream_keys])
@pytest.mark.parametrize("parts", [1, 2, 3, 7, 40, 100])
def test_any_number_of_parts(run: object, parts: int) -> None:
    inputs = made(3, 40, 8)
    plan = Plan(key_tile=4, parts=parts)
    assert callable(run)
    error = np.abs(run(**inputs, plan=plan) - attention(**inputs))
    assert (error <= split.split_bound(**inputs, plan=plan)).all()


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 130))
def test_lean_shares(heads: int, tiles: int, workers: int) -> None:
    """Every tile once, in order; equal shares; no more pieces than heads and cuts between them."""
    shares = split.lean_shares(heads, tiles, workers)
    spans = [span for share in shares for span in share]
    walked = [(head, tile) for head, first, last in spans for tile in range(first, last)]
    assert walked == [(head, tile) for head in range(heads) for tile in range(tiles)]
    loads = [sum(last - first for _, first, last in share) for share in shares]
    assert len(loads) == workers
    assert max(loads) - min(loads) <= 1
    assert len(spans) <= heads + min(workers, heads * tiles) - 1


def test_a_head_may_span_three_workers() -> None:
    """Two heads of five tiles over six workers: shares of 1 or 2 tiles."""
    assert split.lean_shares(2, 5, 6) == [
        [(0, 0, 1)],
        [(0, 1, 3)],
        [(0, 3, 5)],
        [(1, 0, 1)],
        [(1, 1, 3)],
        [(1, 3, 5)],
    ]
    assert split.lean_shares(3, 2, 2) == [[(0, 0, 2), (1, 0, 1)], [(1, 1, 2), (2, 0, 2)]]


def states(inputs: Inputs, cuts: list[int]) -> list[State]:
    """Partial results of head 0 over the keys between cuts."""
    ranges = [slice(*pair) for pair in pairwise(cuts)]
    queries, keys, values = inputs["queries"][0], inputs["keys"][0], inputs["values"][0]
    return [
        attend(queries, keys[own], values[own], inputs["visible"][:, own], Plan()) for own in ranges
    ]


def test_merging_in_any_order() -> None:
    one, two, three = states(made(4, 30, 8), [0, 3, 20, 30])
    forth = result(split.merge(split.merge(one, two), three))
    np.testing.assert_array_equal(forth, result(split.merge(split.merge(two, one), three)))
    back = result(split.merge(one, split.merge(three, two)))
    np.testing.assert_allclose(back, forth, rtol=1e-5, atol=1e-6)


def test_merging_with_nothing() -> None:
    inputs = made(4, 30, 8)
    (some,) = states(inputs, [0, 30])
    nothing = split.empty_state(4, 8)
    for merged in (split.merge(some, nothing), split.merge(nothing, some)):
        for array, old in zip(merged, some, strict=True):
            np.testing.assert_array_equal(array, old)
    assert (result(split.merge(nothing, nothing)) == 0).all()
    assert np.isneginf(split.log_sum_exp(nothing)).all()


@pytest.mark.parametrize("kernel", KERNELS[:3])
def test_nothing_visible_is_zero(kernel: Kernel) -> None:
    inputs = {**made(5, 2, 4), "visible": masks.causal(5, 2)}
    out = kernel.datapath(**inputs, plan=Plan(key_tile=1, parts=2))
    assert (out[:, :3] == 0).all()
    assert (out[:, 3:] != 0).any()


def test_parts_that_see_nothing() -> None:
    """The first half of the keys is masked: its log-sum-exp is -infinity and it has no weight."""
    inputs = made(3, 40, 8)
    inputs["visible"][:, :20] = False
    late = {name: inputs[name][:, 20:] for name in ("keys", "values")}
    plan = Plan(key_tile=8, parts=2)
    expected = flash_attention(
        inputs["queries"], **late, visible=masks.everything(3, 20), plan=replace(plan, query_tile=3)
    )
    np.testing.assert_array_equal(split.split_keys(**inputs, plan=plan), expected)


def test_log_sum_exp() -> None:
    """In base 2, of scores times log2(e)."""
    inputs = made(4, 30, 8)
    (state,) = states(inputs, [0, 30])
    scores = inputs["queries"][0].astype(np.float64) @ inputs["keys"][0].T / np.sqrt(8)
    expected = np.log2(np.exp(scores).sum(axis=1))
    np.testing.assert_allclose(split.log_sum_exp(state), expected, rtol=1e-5, atol=1e-5)


def test_the_safe_range() -> None:
    """FP16: from its smallest normal number to 2^15. BF16: half of FP32's exponents."""
    assert split.safe_range("fp16") == (-14.0, 15.0)
    assert split.safe_range("bf16") == (-63.0, 63.0)


def test_only_rows_out_of_range_fall_back() -> None:
    """Scores are products of single numbers: query 1 meets 12 = 17.3 in base 2, beyond 15."""
    queries = np.array([[[1.0], [2.0], [-1.0]]], np.float32)
    keys = np.array([[[6.0], [1.0], [-4.0]]], np.float32)
    values = np.array([[[1.0], [2.0], [3.0]]], np.float32)
    visible = masks.everything(3, 3)
    out, fell_back = split.unified_maximum(queries, keys, values, visible, Plan())
    np.testing.assert_array_equal(fell_back, [[False, True, False]])
    whole = flash_attention(queries, keys, values, visible, Plan())
    np.testing.assert_array_equal(out[0, 1], whole[0, 1])
    visible[1, 0] = False  # the score that was too large
    out, fell_back = split.unified_maximum(queries, keys, values, visible, Plan())
    assert not fell_back.any()
    expected = attention(queries, keys, values, visible)
    np.testing.assert_allclose(out, expected, rtol=2.0**-10)


@pytest.mark.parametrize("phi", [-40.0, 40.0])
def test_a_phi_far_off_falls_back_everywhere(phi: float) -> None:
    """Nothing is lost but time: the result is FlashAttention's, bit for bit."""
    inputs = made(5, 20, 8)
    plan = Plan(unified_maximum=phi)
    out, fell_back = split.unified_maximum(**inputs, plan=plan)
    assert fell_back.all()
    np.testing.assert_array_equal(out, flash_attention(**inputs, plan=plan))


@pytest.mark.parametrize("parts", [1, 3, 20])
def test_a_phi_that_fits_never_falls_back(parts: int) -> None:
    """Scores of normal vectors lie within +-6, 2^+-9."""
    inputs = made(5, 20, 8)
    plan = Plan(parts=parts, unified_maximum=0.5)
    out, fell_back = split.unified_maximum(**inputs, plan=plan)
    assert not fell_back.any()
    assert (np.abs(out - attention(**inputs)) <= split.unified_bound(**inputs, plan=plan)).all()


def test_inputs_of_both_kinds() -> None:
    """Among the first cases, some fall back and some do not."""
    fell = []
    for seed, values in enumerate(("random", "all_max", "heavy_tailed", "random")):
        inputs = split.unified_maximum_inputs(Case((5, 20, 64), values, seed), FP16)
        fell.append(split.unified_maximum(**inputs)[1].mean())
    assert min(fell) == 0
    assert max(fell) > 0.9


@pytest.mark.parametrize("prefix", [0, 1, 7, 20])
def test_a_shared_prefix(prefix: int) -> None:
    """Three sequences of 20 keys, causal; none or all of them shared."""
    whole, visible = made(4, 20, 8, heads=2), masks.causal(4, 20)
    rng = np.random.default_rng(1)
    queries = rng.standard_normal((3, 2, 4, 8)).astype(np.float32)
    suffixes = rng.standard_normal((2, 3, 2, 20 - prefix, 8)).astype(np.float32)
    keys = whole["keys"][:, :prefix], suffixes[0]
    values = whole["values"][:, :prefix], suffixes[1]
    plan = Plan(key_tile=4, probabilities="fp32")
    out = split.shared_prefix(queries, keys, values, visible, plan)
    for i in range(3):
        own = [np.concatenate([both[0], both[1][i]], axis=1) for both in (keys, values)]
        expected = attention(queries[i], own[0], own[1], visible)
        np.testing.assert_allclose(out[i], expected, rtol=1e-4, atol=1e-5)


def test_the_prefix_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """One pass over the prefix per head, whatever the number of sequences, with all their queries;
    one over each suffix."""
    passes: list[tuple[int, int]] = []

    def counted(queries: np.ndarray, keys: np.ndarray, *rest: object) -> State:
        passes.append((len(queries), len(keys)))
        return attend(queries, keys, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(split, "attend", counted)
    rng = np.random.default_rng(0)
    queries = rng.standard_normal((5, 2, 3, 8)).astype(np.float32)
    prefix, suffix = np.ones((1, 11, 8), np.float32), np.ones((5, 1, 4, 8), np.float32)
    both = prefix, suffix
    split.shared_prefix(queries, both, both, masks.causal(3, 15), Plan())
    assert sorted(passes) == [(3, 4)] * 10 + [(15, 11)] * 2


def test_grouped_heads_in_every_form() -> None:
    inputs = attention_inputs(Case((5, 30, 8), "random", 3), FP16)
    heads = len(inputs["queries"])
    wide = {name: shared(inputs[name], heads) for name in ("keys", "values")}
    for kernel in KERNELS[:3]:
        np.testing.assert_array_equal(
            kernel.datapath(**inputs), kernel.datapath(**{**inputs, **wide})
        )
