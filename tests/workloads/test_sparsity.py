"""Sparse weights: what is stored, what changes in a graph, and what must not."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from math import ceil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels_ref.errors import UserError
from kernels_ref.formats import FORMATS
from kernels_ref.sparsity import BlockSparse, NOfM, Pattern, Unstructured
from workloads import build, decode, prefill, read_config
from workloads.graph import Graph, Tensor
from workloads.phase import encode
from workloads.transforms.apply import apply

LLAMA = read_config("llama-3-8b")
STEP, PROMPT = build(LLAMA, decode(4, 1024)), build(LLAMA, prefill(1, 500))
MATRICES = 32 * (4096 * (4096 + 1024 + 1024 + 4096) + 3 * 4096 * 14336)  # of Llama 3 8B's layers


@st.composite
def patterns(draw: st.DrawFn) -> Pattern:
    density = Fraction(draw(st.integers(1, 8)), 8)
    sides = st.integers(1, 9)
    m = draw(st.integers(1, 8))
    return draw(
        st.sampled_from(
            [
                NOfM(draw(st.integers(1, m)), m),
                BlockSparse((draw(sides), draw(sides)), density),
                Unstructured(density),
                Unstructured(density, column_bits=16),
            ]
        )
    )


def bits_of(pattern: Pattern, weights: np.ndarray, bits: int) -> int:
    """What compressing these weights really leaves: values and places, one by one."""
    stored = pattern.compress(weights)
    values = stored.values.size * bits
    if isinstance(pattern, NOfM):
        return values + stored.places.size * (pattern.m - 1).bit_length()
    if isinstance(pattern, Unstructured) and pattern.column_bits:
        kept = stored.values.size
        return values + kept * pattern.column_bits + (stored.places.size - kept) * 32
    return values + stored.places.size


@given(patterns(), st.integers(1, 3), st.integers(1, 20), st.integers(1, 40), st.integers(0, 99))
def test_bytes_are_those_of_the_compressed_matrices(pattern, count, rows, k, seed):
    """With fp16, which has no scales; every matrix is pruned by itself."""
    tensor = Tensor("w", (count, rows, k), FORMATS["fp16"], "weight", sparsity=pattern)
    rng = np.random.default_rng(seed)
    matrices = [rng.permutation(rows * k).reshape(rows, k) + 1 for _ in range(count)]
    bits = sum(bits_of(pattern, matrix, 16) for matrix in matrices)
    assert tensor.bytes == ceil(bits / 8)
    assert tensor.kept == sum(int(pattern.mask(matrix).sum()) for matrix in matrices) or isinstance(
        pattern,
        BlockSparse,  # which of its blocks are partial depends on the weights
    )
    assert tensor.elements == count * rows * k


def test_partial_blocks_count_whole_in_storage_and_never_above_the_matrix_in_what_is_kept():
    pattern = BlockSparse((4, 4), Fraction(1))
    tensor = Tensor("w", (5, 6), FORMATS["fp16"], "weight", sparsity=pattern)
    assert tensor.bytes == ceil((4 * 16 * 16 + 4) / 8)
    assert tensor.kept == 30


@pytest.mark.parametrize("name", ["int4", "nvfp4", "int8", "ternary", "codebook4", "mxfp4"])
def test_scales_and_tables_stay_those_of_the_dense_weights(name):
    dense = Tensor("w", (8, 256), FORMATS[name], "weight")
    sparse = replace(dense, sparsity=NOfM(2, 4))
    saved = 8 * 256 * dense.format.bits - 8 * 128 * (dense.format.bits + 2)
    assert 8 * (dense.bytes - sparse.bytes) == pytest.approx(saved, abs=7)
    assert dense.bytes == sparse.dense_bytes


def test_digits_that_are_packed_tighter_take_whole_bits():
    tensor = Tensor("w", (1, 100), FORMATS["ternary5"], "weight", sparsity=NOfM(2, 4))
    assert tensor.bytes == ceil((50 * (2 + 2) + 16) / 8)


@pytest.mark.parametrize(
    ("text", "bits"),
    [
        ("sparse(2:4)", Fraction(2 * (16 + 2), 4)),
        ("sparse(1:4)", Fraction(16 + 2, 4)),
        ("sparse(block=16x16,density=0.25)", Fraction(16, 4) + Fraction(1, 256)),
        ("sparse(unstructured,density=0.25)", Fraction(16, 4) + 1),
    ],
)
@pytest.mark.parametrize("graph", [STEP, PROMPT])
def test_layers_matrices_shrink_and_nothing_else_changes(graph: Graph, text: str, bits: Fraction):
    after = apply(graph, text)
    assert after.weight_bytes == graph.weight_bytes - MATRICES * (16 - bits) / 8
    assert (after.params, after.kv_bytes, after.nodes) == (
        graph.params,
        graph.kv_bytes,
        graph.nodes,
    )
    changed = {n for n, t in after.tensors.items() if t != graph.tensors[n]}
    assert len(changed) == 7
    for name in changed:
        before = graph.tensors[name]
        assert replace(after.tensors[name], sparsity=None) == before
        assert before.kind == "weight"
    density = Fraction(text[7]) / 4 if text[8] == ":" else Fraction(1, 4)
    assert after.kept_params == graph.params - MATRICES * (1 - density)


def test_compressed_rows_have_pointers():
    after = apply(STEP, "sparse(unstructured,density=0.25,index=csr,only=q_proj)")
    saved = STEP.weight_bytes - after.weight_bytes
    assert saved == 32 * (4096 * 4096 * (16 - (16 + 16) / 4) + -4097 * 32) / 8


def test_quantizing_and_pruning_are_the_same_in_either_order():
    a = apply(STEP, "quantize(w4a8-g128,kv=int8)+sparse(2:4)")
    b = apply(STEP, "sparse(2:4)+quantize(w4a8-g128,kv=int8)")
    assert a == b
    scale = Fraction(16 + 4, 128)
    quantized = apply(STEP, "quantize(w4a8-g128,kv=int8)")
    saved = MATRICES * (4 - Fraction(2 * (4 + 2), 4)) / 8
    assert quantized.weight_bytes - a.weight_bytes == saved
    assert a.tensors["q_proj.weight"].bytes == 4096 * 4096 * (3 + scale) / 8


def test_every_expert_is_pruned_by_itself_and_those_without_rows_are_stored_too():
    graph = build(read_config("mixtral-8x7b"), decode(1, 64))
    after = apply(graph, "sparse(2:4)")
    experts = [t for t in after.tensors.values() if len(t.shape) == 3 and t.sparsity]
    assert experts
    assert all(t.bytes == t.elements * 9 / 8 for t in experts)
    assert {n.op.name: n.op.macs for n in after} == {n.op.name: n.op.macs for n in graph}


def test_only_some_ops_and_parts_that_do_not_run():
    after = apply(STEP, "sparse(2:4,only=*_proj)+quantize(w8a16)")
    assert after.tensors["down_proj.weight"].sparsity == NOfM(2, 4)
    one = apply(STEP, "sparse(2:4,only=gate_proj)+sparse(block=8x8,density=0.5,only=up_proj)")
    assert one.tensors["up_proj.weight"].sparsity == BlockSparse((8, 8), Fraction(1, 2))
    assert one.tensors["q_proj.weight"].sparsity is None
    spoken = build(read_config("whisper-tiny"), decode(1, 20))
    pruned = apply(spoken, "sparse(2:4)")
    idle = [t for n, t in pruned.tensors.items() if n in spoken.copies and len(t.shape) == 2]
    assert any(t.sparsity for t in idle), "the encoder is stored while the decoder runs"


def test_a_convolutions_rows_are_its_channels_and_taps():
    after = apply(build(read_config("resnet-50"), encode(1, 1)), "sparse(2:4)")
    tensor = after.tensors["stage0.0.conv2.weight"]
    assert tensor.shape == (64, 9 * 64)
    assert tensor.sparsity == NOfM(2, 4)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sparse()", "which pattern? n:m as in 2:4, unstructured, or block=16x16"),
        ("sparse(5:4)", "5:4 sparsity needs 1 <= n <= m <= 256"),
        ("sparse(2-4)", "no pattern '2-4'; write n:m as in 2:4, unstructured, or block=16x16"),
        ("sparse(2:4,density=0.5)", "2:4 takes neither block nor density"),
        ("sparse(unstructured,block=4x4,density=0.5)", "which pattern?"),
        ("sparse(unstructured)", "density is the share that is kept, above 0 and at most 1, not 0"),
        ("sparse(unstructured,density=1.5)", "at most 1, not 1.5"),
        ("sparse(block=16,density=0.5)", "'16' is no block; write rows x reduction, block=16x16"),
        ("sparse(block=0x4,density=0.5)", "a block has at least one element"),
        ("sparse(unstructured,density=0.5,index=csx)", "no index 'csx'; did you mean 'csr'?"),
        ("sparse(2:4,index=csr)", "index=csr is of unstructured weights"),
        ("sparse(2:4,only=nothing)", "no matrix of a layer named 'nothing'"),
        ("sparse(2:4)+sparse(1:4)", "q_proj.weight is sparse already (2:4)"),
    ],
)
def test_what_is_no_pattern_is_refused(text: str, message: str):
    with pytest.raises(UserError) as problem:
        apply(STEP, text)
    assert message in str(problem.value)


@pytest.mark.parametrize("other", ["tensor_parallel(2)", "skip_layers(0.5)", "speculate(4,0.8)"])
def test_other_transforms_keep_the_pattern(other: str):
    """Before or after: what is stored is the same."""
    a, b = apply(STEP, f"sparse(2:4)+{other}"), apply(STEP, f"{other}+sparse(2:4)")
    assert a.weight_bytes == b.weight_bytes == apply(STEP, "sparse(2:4)").weight_bytes
    assert a.kept_params == b.kept_params


def test_neurons_that_are_read_are_pruned_as_all_are():
    after = apply(STEP, "sparse_neurons(0.1)+sparse(2:4)")
    read = [t for name, t in after.tensors.items() if name.endswith(".active")]
    assert read
    assert all(t.sparsity == NOfM(2, 4) for t in read)
