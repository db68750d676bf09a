"""Sparsity patterns: what they keep, how it is stored and multiplied, what it costs in bits."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from installed import KINDS_OF_VALUES

from kernels_ref import sparse
from kernels_ref.cases import Case
from kernels_ref.formats import get_format
from kernels_ref.kernel import Kernel
from kernels_ref.pairs import Pair
from kernels_ref.sparsity import (
    BlockSparse,
    NOfM,
    Pattern,
    SparsityError,
    Unstructured,
    rows_of,
)

INT8 = Pair("int8", "int8", "int32")
FP16 = Pair("fp16", "fp16", "fp32")
HALF = Fraction(1, 2)
PATTERNS: list[Pattern] = [
    NOfM(2, 4),
    NOfM(1, 1),
    NOfM(3, 7),
    BlockSparse((4, 8), HALF),
    BlockSparse((1, 1), Fraction(1, 3)),
    Unstructured(HALF),
    Unstructured(Fraction(1, 10), column_bits=10),
    Unstructured(Fraction(0), column_bits=10),
]
SIZES = [(1, 1), (1, 65), (7, 7), (65, 7), (16, 64)]


def drawn(rows: int, k: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-128, 128, (rows, k)).astype(np.int8)


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("size", SIZES)
def test_expanding_gives_what_was_kept(pattern: Pattern, size: tuple[int, int]) -> None:
    weights = drawn(*size)
    expanded = pattern.expand(pattern.compress(weights))
    np.testing.assert_array_equal(expanded, np.where(pattern.mask(weights), weights, 0))
    assert expanded.dtype == weights.dtype


@pytest.mark.parametrize("pattern", PATTERNS)
def test_zeros_and_equal_weights(pattern: Pattern) -> None:
    for weights in (np.zeros((5, 13), np.int8), np.full((5, 13), -128, np.int8)):
        expanded = pattern.expand(pattern.compress(weights))
        np.testing.assert_array_equal(expanded, np.where(pattern.mask(weights), weights, 0))


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 20), st.integers(0, 99))
def test_n_of_m_keeps_the_largest(n: int, m: int, k: int, seed: int) -> None:
    """In every group, n (or all, in a short one), none smaller than one that was dropped."""
    n = min(n, m)
    weights = drawn(3, k, seed)
    kept = NOfM(n, m).mask(weights)
    sizes = np.abs(weights.astype(int))
    for row in range(3):
        for start in range(0, k, m):
            group, chosen = sizes[row, start : start + m], kept[row, start : start + m]
            assert chosen.sum() == min(n, len(group))
            if not chosen.all():
                assert group[chosen].min() >= group[~chosen].max()


def test_ties_keep_the_earlier() -> None:
    ones = np.ones((1, 6), np.int8)
    np.testing.assert_array_equal(NOfM(2, 4).mask(ones), [[1, 1, 0, 0, 1, 1]])
    np.testing.assert_array_equal(Unstructured(HALF).mask(ones), [[1, 1, 1, 0, 0, 0]])
    np.testing.assert_array_equal(
        BlockSparse((1, 2), Fraction(1, 3)).mask(ones), [[1, 1] + 4 * [0]]
    )


def test_places_in_a_group_rise() -> None:
    """2:4 as stored: two values and their places; a short group fills up with zeros."""
    compressed = NOfM(2, 4).compress(np.array([[1, -9, 3, 8, 0, 5, 0, 0, 7]], np.int8))
    np.testing.assert_array_equal(compressed.values, [[-9, 8, 0, 5, 7, 0]])
    np.testing.assert_array_equal(compressed.places, [[1, 3, 0, 1, 0, 0]])


@pytest.mark.parametrize(
    ("pattern", "bits", "expected"),
    [
        (NOfM(2, 4), 8, Fraction(2 * 8 + 2 * 2, 4)),
        (NOfM(2, 4), 4, Fraction(3)),
        (NOfM(1, 4), 16, Fraction(18, 4)),
        (NOfM(4, 8), 8, Fraction(4 * (8 + 3), 8)),
        (NOfM(2, 5), 8, Fraction(2 * (8 + 3), 5)),  # places up to 4: three bits
        (NOfM(1, 1), 8, Fraction(8)),
        (BlockSparse((16, 16), HALF), 8, 4 + Fraction(1, 256)),
        (Unstructured(Fraction(1, 10)), 8, Fraction(8, 10) + 1),
        (Unstructured(Fraction(1, 10), column_bits=16), 8, Fraction(24, 10)),
    ],
)
def test_bits_per_element(pattern: Pattern, bits: int, expected: Fraction) -> None:
    assert pattern.bits_per_element(bits) == expected


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("size", SIZES)
def test_storage_is_what_is_stored(pattern: Pattern, size: tuple[int, int]) -> None:
    """Counted from the arrays: values, and places as the pattern encodes them."""
    compressed = pattern.compress(drawn(*size))
    if isinstance(pattern, NOfM):
        metadata = compressed.places.size * int(np.ceil(np.log2(pattern.m)))
    elif isinstance(pattern, Unstructured) and pattern.column_bits:
        columns, pointers = rows_of(compressed)
        metadata = columns.size * pattern.column_bits + pointers.size * pattern.pointer_bits
    else:
        metadata = compressed.places.size  # a bit each
    assert pattern.storage_bits(size, 8) == compressed.values.size * 8 + metadata


@pytest.mark.parametrize("pattern", [NOfM(2, 4), NOfM(3, 8), BlockSparse((4, 8), HALF)])
def test_whole_groups_cost_their_rate(pattern: Pattern) -> None:
    size = 64, 128
    bits = pattern.bits_per_element(4) * size[0] * size[1]
    assert pattern.storage_bits(size, 4) == bits


def test_where_bitmap_and_columns_cost_the_same() -> None:
    """density x column bits = 1: with 10 bits a column, at a tenth."""
    tenth = Fraction(1, 10)
    bitmap, columns = Unstructured(tenth), Unstructured(tenth, column_bits=10)
    assert bitmap.bits_per_element(8) == columns.bits_per_element(8)


def test_two_of_four_of_int8_is_5_bits() -> None:
    """0.625 of INT8's 8, not one half: the metadata."""
    ratio = NOfM(2, 4).bits_per_element(8) / get_format("int8").bits
    assert ratio == Fraction(5, 8)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: NOfM(5, 4), "5:4 sparsity needs 1 <= n <= m <= 256"),
        (lambda: NOfM(0, 4), "0:4 sparsity needs"),
        (lambda: NOfM(1, 300), "1:300 sparsity needs"),
        (lambda: Unstructured(Fraction(3, 2)), "from 0 to 1, not 3/2"),
        (lambda: BlockSparse((0, 4), HALF), "at least one element"),
        (
            lambda: Unstructured(HALF, 3).compress(np.ones((2, 9))),
            "9 columns need more than 3 bits",
        ),
    ],
)
def test_patterns_that_cannot_be(make: object, message: str) -> None:
    assert callable(make)
    with pytest.raises(SparsityError, match=message):
        make()


@pytest.mark.parametrize("kernel", [sparse.N_OF_M, sparse.BLOCKS, sparse.ROWS])
@pytest.mark.parametrize("values", KINDS_OF_VALUES)
def test_sparse_is_dense_on_expanded_weights(kernel: Kernel, values: str) -> None:
    for sizes in ((1, 1, 1), (7, 65, 3), (3, 7, 65), (2, 5, 513)):
        for seed in range(4):
            inputs = kernel.inputs(Case(sizes, values, seed), INT8)
            np.testing.assert_array_equal(
                kernel.datapath(**inputs), kernel.definition(**inputs), strict=True
            )


def test_full_density_is_the_dense_product() -> None:
    """Nothing dropped: each form multiplies like the weights themselves."""
    activations, weights = drawn(5, 70, 1), drawn(9, 70, 2)
    expected = activations.astype(int) @ weights.astype(int).T
    one = Fraction(1)
    for pattern, run in (
        (NOfM(4, 4), sparse.n_of_m),
        (BlockSparse((4, 16), one), sparse.blocks),
        (Unstructured(one, 16), sparse.compressed_rows),
    ):
        found = run(activations, pattern.compress(weights), pattern)  # type: ignore[arg-type]
        np.testing.assert_array_equal(found, expected)


def test_n_of_m_by_hand() -> None:
    """Two products per group of four: -9 a1 + 8 a3 + 5 a5, a short group with 7 a8."""
    pattern = NOfM(2, 4)
    weights = pattern.compress(np.array([[1, -9, 3, 8, 0, 5, 0, 0, 7]], np.int8))
    activations = np.arange(1, 10, dtype=np.int8)[None]
    found = sparse.n_of_m(activations, weights, pattern)
    assert found.tolist() == [[-9 * 2 + 8 * 4 + 5 * 6 + 7 * 9]]


def dense_feed_forward(x: np.ndarray, up: np.ndarray, down: np.ndarray) -> np.ndarray:
    return np.maximum(x.astype(np.float64) @ up.astype(np.float64).T, 0) @ down.astype(np.float64)


@pytest.mark.parametrize("values", KINDS_OF_VALUES)
def test_feed_forward_is_within_its_bound(values: str) -> None:
    for pair in (FP16, Pair("fp8", "fp16", "fp32")):
        for sizes in ((1, 1, 1), (7, 65, 3), (3, 7, 65)):
            inputs = sparse.feed_forward_inputs(Case(sizes, values, 1), pair)
            error = sparse.skipping_feed_forward(**inputs) - sparse.masked_feed_forward(**inputs)
            bound = sparse.feed_forward_bound(**inputs)
            assert np.isfinite(bound).all()
            assert (np.abs(error) <= bound).all()


def test_a_perfect_predictor_changes_no_bit() -> None:
    """Inactive neurons add nothing: as with all predicted active, and the dense layer's result."""
    inputs = sparse.feed_forward_inputs(Case((6, 80, 24), "weights", 0), FP16)
    x, up, down = inputs["x"], inputs["up"], inputs["down"]
    active = sparse.active_neurons(x, up)
    assert 0.3 < active.mean() < 0.7
    found = sparse.skipping_feed_forward(x, up, down, active)
    everything = np.ones_like(active)
    np.testing.assert_array_equal(found, sparse.skipping_feed_forward(x, up, down, everything))
    bound = sparse.feed_forward_bound(x, up, down, everything)
    assert (np.abs(found - dense_feed_forward(x, up, down)) <= bound).all()


def test_a_missed_neuron_is_missing() -> None:
    inputs = sparse.feed_forward_inputs(Case((2, 30, 12), "weights", 0), FP16)
    x, up, down = inputs["x"], inputs["up"], inputs["down"]
    active = sparse.active_neurons(x, up)
    missed = int(np.flatnonzero(active[0])[0])
    active[0, missed] = False
    lost = dense_feed_forward(x[:1], up[missed : missed + 1], down[missed : missed + 1])
    error = dense_feed_forward(x, up, down) - sparse.skipping_feed_forward(x, up, down, active)
    np.testing.assert_allclose(error[0], lost[0], rtol=1e-3, atol=1e-3 * np.abs(lost).max())


def test_only_active_rows_are_read() -> None:
    """Rows of inactive neurons may hold anything, even NaN."""
    inputs = sparse.feed_forward_inputs(Case((1, 40, 8), "weights", 0), FP16)
    active = sparse.active_neurons(inputs["x"], inputs["up"])
    expected = sparse.skipping_feed_forward(**{**inputs, "active": active})
    for name in ("up", "down"):
        inputs[name] = np.where(active[0][:, None], inputs[name], np.float32(np.nan))
    found = sparse.skipping_feed_forward(**{**inputs, "active": active})
    np.testing.assert_array_equal(found, expected)


def test_the_largest_fp16_numbers_do_not_overflow() -> None:
    """65504^3 times 513 twice is 7e19."""
    inputs = sparse.feed_forward_inputs(Case((1, 513, 513), "all_max", 0), FP16)
    inputs["active"][:] = True
    found = sparse.skipping_feed_forward(**inputs)
    np.testing.assert_allclose(found, 65504.0**3 * 513**2, rtol=1026 * 2.0**-24)
