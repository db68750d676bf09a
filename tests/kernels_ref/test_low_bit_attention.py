"""SALE: what the codes estimate, which blocks they choose, and what attention loses by it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from installed import KINDS_OF_VALUES

from kernels_ref import low_bit_attention as sale
from kernels_ref import masks
from kernels_ref.attention import Plan, attention, probabilities, shared
from kernels_ref.cases import Case
from kernels_ref.flash_attention import flash_attention, flash_bound
from kernels_ref.kernel import Inputs
from kernels_ref.low_bit_attention import Estimate
from kernels_ref.pairs import Pair, pair_of
from kernels_ref.verify import verify

PAIRS = {bits: Pair(f"int{bits}", f"int{bits}", "int32") for bits in (4, 8)}


def made(queries: int, keys: int, width: int, seed: int = 0) -> Inputs:
    """FP16 numbers as float32, one key-value head for two query heads."""
    rng = np.random.default_rng(seed)
    shapes = {"queries": (2, queries, width), "keys": (1, keys, width), "values": (1, keys, width)}
    halves = {name: rng.standard_normal(shape).astype(np.float16) for name, shape in shapes.items()}
    return {name: array.astype(np.float32) for name, array in halves.items()}


def with_a_sink(tokens: int, seed: int, offset: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Heavy-tailed queries and keys (t of 3 degrees of freedom) of width 64, all queries leaning
    towards the first key by a score of 12, as attention sinks do; `offset` in some key channels."""
    rng = np.random.default_rng(seed)
    lean = np.where(np.arange(64) < 16, 1.0, 0.0)
    queries = 0.6 * rng.standard_t(3, (2, tokens, 64)) + lean
    keys = 0.6 * rng.standard_t(3, (2, tokens, 64)) + offset * (np.arange(64) % 16 == 15)
    keys[:, 0] += 12 * 8 / 16 * lean
    return queries.astype(np.float16).astype(np.float32), keys.astype(np.float16).astype(np.float32)


def estimate_error(queries: np.ndarray, keys: np.ndarray, element: str) -> np.ndarray:
    """E [heads, queries, keys]: by how much an estimate may miss its score.

    A code is off by half a scale at most, so q'k' - (its estimate) = q'(k' - k^) + (q' - q^) k^ and
    |k^| <= |k'| + scale_k / 2 give E = (scale_k sum|q'| + scale_q (sum|k'| + d scale_k / 2)) / 2 /
    sqrt(d).
    """
    width = queries.shape[2]
    smooth_queries, smooth_keys = sale.centered(queries)[0], sale.centered(keys)[0]
    query_scales = sale.encode(smooth_queries, element)[1][:, :, None]
    key_scales = sale.encode(smooth_keys, element)[1][:, None, :]
    query_sums = np.abs(smooth_queries).sum(axis=2)[:, :, None]
    key_sums = np.abs(smooth_keys).sum(axis=2)[:, None, :] + width * key_scales / 2
    return (key_scales * query_sums + query_scales * key_sums) / (2 * np.sqrt(width))


def dense_bound(
    queries: np.ndarray,
    keys: np.ndarray,
    values: np.ndarray,
    visible: np.ndarray,
    plan: Plan,
    estimate: Estimate,
) -> np.ndarray:
    """|low_bit_attention - every_block|, whichever blocks were dropped.

    The dropped pairs have together a probability of at most D = sum of min(P, threshold exp(E))
    over pairs that are not reserved. Without them, the mean over the rest moves by at most 2 D max
    |values|, and its own rounding error is that of `flash_bound` with probabilities larger by
    1 / (1 - D). Both results are weighted means: never more than 2.1 max |values|.
    """
    wide = shared(keys, len(queries))
    exact = probabilities(queries, wide, visible)
    with np.errstate(over="ignore"):
        ceiling = estimate.threshold * np.exp(estimate_error(queries, wide, estimate.element))
    may_go = np.minimum(exact, 1.000001 * ceiling) * ~sale.reserved(visible.shape, estimate)
    dropped = np.minimum(may_go.sum(axis=2, keepdims=True), 0.999)
    widest = np.abs(shared(values, len(queries))).max(axis=1, keepdims=True)
    rounding = flash_bound(queries, keys, values, visible, plan) / (1 - dropped)
    return np.minimum(rounding + 2 * dropped * widest, 2.1 * widest) + 2.0**-139


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("values", KINDS_OF_VALUES)
def test_the_choice_is_its_definition(bits: int, values: str) -> None:
    for sizes in ((1, 1, 1), (7, 65, 3), (65, 7, 1), (30, 30, 65)):
        for seed in range(3):
            inputs = sale.matters_inputs(Case(sizes, values, seed), PAIRS[bits])
            expected = sale.matters_definition(**inputs)
            np.testing.assert_array_equal(sale.matters(**inputs), expected)


def test_choices_are_of_both_kinds() -> None:
    """Otherwise the comparison above would show little."""
    shares = [
        sale.matters_definition(**sale.matters_inputs(Case((40, 40, 8), "random", seed), PAIRS[4]))
        for seed in range(6)
    ]
    assert all(0.02 < share.mean() < 0.98 for share in shares[1:3])


@given(st.integers(0, 99), st.sampled_from(["int4", "int8"]), st.integers(1, 20))
def test_codes_are_off_by_half_a_scale(seed: int, element: str, width: int) -> None:
    vectors = np.random.default_rng(seed).standard_t(3, (3, 5, width))
    vectors[0, 0] = 0
    codes, scales = sale.encode(vectors, element)
    top = 7 if element == "int4" else 127
    assert (np.abs(codes).max(axis=2)[1:] == top).all()
    assert (codes[0, 0] == 0).all()
    error = np.abs(vectors - codes * scales[..., None])
    assert (error <= scales[..., None] * (0.5 + 1e-12)).all()


@given(st.integers(0, 99), st.sampled_from(["int4", "int8"]), st.sampled_from([1, 7, 33]))
def test_estimates_are_within_their_error(seed: int, element: str, width: int) -> None:
    """scale_q scale_k code_q . code_k + mean(q) . k' / sqrt(d) against q . k' / sqrt(d)."""
    inputs = made(6, 9, width, seed)
    queries, keys = inputs["queries"], np.repeat(inputs["keys"], 2, axis=0)
    coded, key_coded = sale.code_both(queries, keys, masks.everything(6, 9), Estimate(element))
    products = coded.codes.astype(np.int64) @ key_coded.codes.astype(np.int64).swapaxes(1, 2)
    scales = coded.scales[:, :, None] * key_coded.scales[:, None, :]
    estimates = scales * products + key_coded.third[:, None, :]
    smooth = keys - keys.astype(np.float64).mean(axis=1, keepdims=True)
    scores = queries.astype(np.float64) @ smooth.swapaxes(1, 2) / np.sqrt(width)
    error = np.abs(estimates - scores)
    allowed = estimate_error(queries, keys, element)
    assert (error <= allowed * (1 + 1e-9) + 1e-9).all()


def test_smoothing_takes_a_common_offset_away() -> None:
    """An outlier channel that all keys share: codes and choice stay as without it."""
    plain = with_a_sink(64, 0)
    offset = plain[1] + 64 * (np.arange(64) == 40).astype(np.float32)
    visible, estimate = masks.causal(64, 64), Estimate("int4", 0.05, (8, 8), 8)
    expected = sale.chosen_pairs(*plain, visible, estimate)
    found = sale.chosen_pairs(plain[0], offset, visible, estimate)
    assert (expected != found).mean() < 0.01
    assert not expected[:, visible].all()


def test_threshold_zero_keeps_everything() -> None:
    inputs = made(33, 40, 8)
    visible = masks.causal(33, 40)
    estimate = Estimate("int4", 0.0, (8, 8), 4)
    np.testing.assert_array_equal(
        sale.low_bit_attention(**inputs, visible=visible, plan=Plan(), estimate=estimate),
        flash_attention(**inputs, visible=visible, plan=Plan()),
    )


def test_a_huge_threshold_keeps_what_is_reserved() -> None:
    """Blocks of 4 by 4: the first block of keys and those within 4 keys of the diagonal."""
    inputs = made(20, 20, 8)
    visible = masks.causal(20, 20)
    pairs = sale.chosen_pairs(
        inputs["queries"], inputs["keys"], visible, Estimate("int8", 1e9, (4, 4), 4)
    )
    blocks = np.array([[j == 0 or i - 1 <= j <= i for j in range(5)] for i in range(5)])
    expected = visible & np.kron(blocks, np.ones((4, 4))).astype(bool)
    np.testing.assert_array_equal(pairs, np.broadcast_to(expected, pairs.shape))


def test_without_a_reference_everything_is_kept() -> None:
    """Queries that see neither the sink nor their neighborhood have no threshold."""
    inputs = made(6, 30, 8)
    visible = np.zeros((6, 30), bool)
    visible[:, 8:16] = True
    pairs = sale.chosen_pairs(
        inputs["queries"], inputs["keys"], visible, Estimate("int8", 1e9, (3, 4), 2)
    )
    np.testing.assert_array_equal(pairs, np.broadcast_to(visible, pairs.shape))


def test_nothing_visible_is_zero() -> None:
    inputs = made(5, 2, 4)
    visible = masks.causal(5, 2)
    out = sale.low_bit_attention(**inputs, visible=visible, plan=Plan(), estimate=Estimate())
    assert (out[:, :3] == 0).all()


@pytest.mark.parametrize("element", ["int4", "int8"])
def test_dropped_pairs_are_unimportant(element: str) -> None:
    """None has a probability above threshold exp(E), nor do they miss more than that together."""
    queries, keys = with_a_sink(128, 1)
    visible, estimate = masks.causal(128, 128), Estimate(element, 0.004, (8, 8), 16)
    dropped = visible & ~sale.chosen_pairs(queries, keys, visible, estimate)
    assert 0.1 < dropped.sum() / (2 * visible.sum()) < 0.9
    exact = probabilities(queries, keys, visible)
    ceiling = 0.004 * np.exp(estimate_error(queries, keys, element))
    assert (exact <= ceiling * (1 + 1e-6))[dropped].all()


@pytest.mark.parametrize("name", ["encode", "reserved", "centered", "matters"])
def test_a_wrong_choice_is_seen(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Codes of half the size; keys at a distance equal to the window; no mean taken away; blocks
    that matter left out. `verify` compares with a definition that calls none of these."""
    right = getattr(sale, name)
    broken = {
        "encode": lambda vectors, element: (
            right(vectors, element)[0] // 2,
            right(vectors, element)[1],
        ),
        "reserved": lambda shape, e: right(shape, replace(e, window=e.window + 1)),
        "centered": lambda vectors: (right(vectors)[0], 0 * right(vectors)[1]),
        "matters": lambda *arguments: 0 * right(*arguments),
    }
    monkeypatch.setattr(sale, name, broken[name])
    assert verify("attention_low_bit", pair_of("int4*int4->fp32"), 40).difference is not None


@given(st.integers(1, 30), st.integers(1, 30), st.integers(1, 9), st.integers(0, 99), st.booleans())
def test_the_choice_is_that_of_the_plain_definition(
    count: int, length: int, width: int, seed: int, wide: bool
) -> None:
    inputs = sale.low_bit_inputs(Case((count, length, width), "random", seed), PAIRS[4 + 4 * wide])
    arguments = [inputs[name] for name in ("queries", "keys", "visible", "estimate")]
    np.testing.assert_array_equal(sale.chosen_pairs(*arguments), sale.chosen_definition(*arguments))


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("values", KINDS_OF_VALUES)
def test_within_the_bounds(bits: int, values: str) -> None:
    for sizes in ((1, 1, 1), (7, 65, 3), (65, 65, 9)):
        for seed in range(3):
            inputs = sale.low_bit_inputs(Case(sizes, values, seed), PAIRS[bits])
            found = sale.low_bit_attention(**inputs)
            error = np.abs(found - sale.every_block(**inputs))
            assert (error <= dense_bound(**inputs)).all()
            error = np.abs(found - sale.low_bit_definition(**inputs))
            assert (error <= sale.low_bit_bound(**inputs)).all()


def blocks_of(pairs: np.ndarray, side: int) -> np.ndarray:
    """Whether a block has a pair: [heads, query blocks, key blocks]."""
    heads, tokens, _ = pairs.shape
    split = pairs.reshape(heads, tokens // side, side, tokens // side, side)
    return split.any(axis=(2, 4))


def recall(element: str, seed: int) -> tuple[float, float]:
    """(share of the important blocks that are kept, share of all blocks that are kept), reserved
    blocks aside; important: a pair's exact relative attention score exceeds the threshold."""
    queries, keys = with_a_sink(256, seed)
    visible, estimate = masks.causal(256, 256), Estimate(element, 0.004, (8, 8), 16)
    scores = queries.astype(np.float64) @ keys.astype(np.float64).swapaxes(1, 2) / 8
    always = visible & sale.reserved((256, 256), estimate)
    total = (np.exp(scores) * always).sum(axis=2, keepdims=True)
    important = blocks_of(visible & (np.exp(scores) / total > 0.004), 8)
    kept = blocks_of(sale.chosen_pairs(queries, keys, visible, estimate), 8)
    free = blocks_of(visible[None], 8) & ~blocks_of(always[None], 8)
    return (kept & important & free).sum() / (important & free).sum(), kept[:, free[0]].mean()


@pytest.mark.parametrize(("element", "least"), [("int4", 0.93), ("int8", 0.99)])
def test_recall_of_important_blocks(element: str, least: float) -> None:
    """Measured on heavy-tailed inputs with a sink: about 0.95 with 4 bits, 0.997 with 8, where two
    blocks of five are important."""
    for seed in range(3):
        found, kept = recall(element, seed)
        assert found >= least
        assert 0.2 < kept < 0.6


def test_more_bits_find_more() -> None:
    found = [np.mean([recall(f"int{bits}", seed)[0] for seed in range(2)]) for bits in (2, 4, 8)]
    assert found == sorted(found)
    assert found[0] < 0.9


def test_output_of_the_sparse_attention() -> None:
    """What is dropped weighs a hundredth: so does the change of the output."""
    queries, keys = with_a_sink(128, 2)
    values = np.random.default_rng(0).standard_normal(keys.shape).astype(np.float32)
    visible, estimate = masks.causal(128, 128), Estimate("int4", 0.004, (8, 8), 16)
    dropped = visible & ~sale.chosen_pairs(queries, keys, visible, estimate)
    weight = (probabilities(queries, keys, visible) * dropped).sum(axis=2, keepdims=True)
    plan = Plan(probabilities="fp32")
    out = sale.low_bit_attention(queries, keys, values, visible, plan, estimate)
    error = np.abs(out - attention(queries, keys, values, visible))
    assert (error <= 2.01 * weight * np.abs(values).max() + 1e-4).all()
    assert 0.0 < weight.mean() < 0.02
