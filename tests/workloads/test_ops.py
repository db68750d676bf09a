"""Ops state their work exactly: masks against brute force, and every registry entry conforms."""

from dataclasses import FrozenInstanceError, replace
from math import prod

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workloads.graph import VECTOR_CLASSES, GraphError
from workloads.ops import (
    OPS,
    Attention,
    AttentionBackward,
    Collective,
    Einsum,
    Experts,
    Gather,
    Move,
    Update,
    Vector,
    Window,
)
from workloads.ops.experts import balanced
from workloads.ops.vector import FUNCTIONS

ATTENTION = Attention(
    "attention", ("q", "k", "v"), "o", batch=2, q_heads=8, kv_heads=2, q_len=7, kv_len=65,
    head_dim=16, v_head_dim=24,
)  # fmt: skip

EXAMPLES = {
    "einsum": Einsum("proj", ("x", "w", "b"), "y", {"m": 7, "n": 65, "k": 3}, "mk,nk->mn"),
    "experts": Experts("experts.up", ("x", "w"), "y", ((2, 3), (5, 1)), 65, 7),
    "attention": ATTENTION,
    "vector": Vector("norm", ("x", "w"), "y", "rmsnorm", 7, 65),
    "gather": Gather("embed", ("table",), "y", 7, 65),
    "move": Move("append", ("x",), "y", 65),
    "attention_backward": AttentionBackward("a", ("q", "k", "v", "do", "l", "d"), "g", ATTENTION),
    "update": Update("adam", ("g", "m", "v", "w32"), "w", "adam", 65, 3),
    "collective": Collective("reduce", ("x",), "y", "all_reduce", 130, 65, 4),
}


@st.composite
def masks(draw):
    kv_len = draw(st.integers(1, 40))
    q_len = draw(st.integers(1, kv_len))
    window = draw(st.none() | st.integers(1, 45))
    return replace(ATTENTION, q_len=q_len, kv_len=kv_len, window=window, causal=draw(st.booleans()))


@given(masks())
def test_visible_pairs_equal_a_count_of_the_mask(op):
    def sees(query, key):
        position = op.kv_len - op.q_len + query
        near = op.window is None or key > position - op.window
        return key <= position and near

    if op.causal:
        count = sum(sees(q, k) for q in range(op.q_len) for k in range(op.kv_len))
    else:
        count = op.q_len * min(op.kv_len, op.window or op.kv_len)
    assert op.visible_pairs == count
    assert op.visible_pairs == sum(op.visible_keys(q) for q in range(op.q_len))


@given(masks(), st.integers(1, 39))
def test_chunks_of_a_prompt_see_the_pairs_of_the_whole(op, chunk):
    whole = replace(op, q_len=op.kv_len, causal=True)
    ends = [*range(chunk, whole.kv_len, chunk), whole.kv_len]
    starts = [0, *ends[:-1]]
    chunks = [
        replace(whole, q_len=end - start, kv_len=end)
        for start, end in zip(starts, ends, strict=True)
    ]
    assert sum(c.visible_pairs for c in chunks) == whole.visible_pairs


def test_attention_macs_are_scores_and_values():
    assert ATTENTION.macs == 2 * 8 * ATTENTION.visible_pairs * (16 + 24)
    assert ATTENTION.group == 4


def test_a_softcap_adds_work_and_no_macs():
    capped = replace(ATTENTION, softcap=True)
    assert capped.macs == ATTENTION.macs
    assert all(capped.vector_ops[c] >= n for c, n in ATTENTION.vector_ops.items())
    assert capped.vector_ops["exp"] == 2 * ATTENTION.vector_ops["exp"]


def test_every_kind_has_an_example():
    assert set(EXAMPLES) == set(OPS)


@pytest.mark.parametrize("kind", OPS)
def test_op_conforms(kind):
    op = EXAMPLES[kind]
    assert isinstance(op, OPS[kind])
    assert op.kind == kind
    assert isinstance(op.inputs, tuple)
    assert isinstance(op.output, str)
    assert op.macs >= 0
    assert set(op.vector_ops) <= set(VECTOR_CLASSES)
    assert all(n >= 0 for n in op.vector_ops.values())
    with pytest.raises(FrozenInstanceError):
        op.name = "other"


@pytest.mark.parametrize("name", FUNCTIONS)
def test_function_conforms(name):
    function = FUNCTIONS[name]
    assert function.element, "a function works on every element"
    assert {*function.element, *function.row} <= set(VECTOR_CLASSES)
    assert function.reduction or not function.row, "work per row means that the row is reduced"


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize(("rows", "width"), [(1, 1), (1, 65), (7, 1), (7, 65)])
def test_vector_work_is_per_element_and_per_row(name, rows, width):
    op = Vector("v", ("x",), "y", name, rows, width)
    function = FUNCTIONS[name]
    for cls in VECTOR_CLASSES:
        per_element, per_row = function.element.get(cls, 0), function.row.get(cls, 0)
        assert op.vector_ops.get(cls, 0) == rows * (per_element * width + per_row)
    assert op.reduction == function.reduction


@given(st.fixed_dictionaries({r: st.integers(1, 65) for r in "bmnk"}))
def test_einsum_roles_multiply_to_the_macs(ranks):
    op = Einsum("e", ("a", "b"), "c", ranks, "bmk,bnk->bmn")
    assert op.roles() == ranks
    assert op.macs == prod(ranks.values())


def test_a_bias_is_one_add_per_output():
    assert EXAMPLES["einsum"].vector_ops == {"add": 7 * 65}
    assert replace(EXAMPLES["einsum"], inputs=("x", "w")).vector_ops == {}


def test_a_rank_of_one_operand_only_is_refused():
    with pytest.raises(GraphError, match="rank 'j' of 'mkj,nk->mn' is in one operand only"):
        Einsum("e", ("a", "b"), "c", {"m": 1, "n": 1, "k": 1, "j": 2}, "mkj,nk->mn").roles()


@given(st.integers(1, 2000), st.integers(1, 300))
def test_balanced_loads_hold_every_row_and_differ_by_one(rows: int, experts: int):
    loads = balanced(rows, experts)
    assert sum(count * size for count, size in loads) == rows
    assert sum(count for count, _ in loads) == min(rows, experts)
    sizes = [size for _, size in loads]
    assert max(sizes) - min(sizes) <= 1


def test_experts_are_multiplications_of_their_loads():
    op = EXAMPLES["experts"]
    assert (op.rows, op.active) == (11, 7)
    assert op.macs == 11 * 65 * 7 == sum(part.macs for part in op.parts())
    assert [part.roles() for part in op.parts()] == [
        {"b": 2, "m": 3, "n": 65, "k": 7},
        {"b": 5, "m": 1, "n": 65, "k": 7},
    ]


@pytest.mark.parametrize("loads", [(), ((0, 3),), ((3, 0),)])
def test_loads_are_pairs_of_positive_numbers(loads):
    with pytest.raises(GraphError, match="loads"):
        Experts("up", ("x", "w"), "y", loads, 65, 7)


def test_a_score_with_a_bias_is_one_addition_more():
    biased = replace(ATTENTION, bias=True)
    pairs = 2 * 8 * ATTENTION.visible_pairs
    assert biased.vector_ops == {
        **ATTENTION.vector_ops,
        "add": ATTENTION.vector_ops["add"] + pairs,
    }


def test_taps_multiply_the_work_of_an_element():
    pool = Vector("pool", ("x",), "y", "max_pool", 5, 8, taps=9)
    assert pool.vector_ops == {"compare": 5 * 8 * 9}


@pytest.mark.parametrize(
    ("kernel", "stride", "dilation", "taken"),
    [(1, 2, 1, 0.25), (3, 2, 1, 1.0), (2, 4, 1, 0.25), (2, 4, 3, 1.0)],
)
def test_windows_with_gaps_leave_positions_out(kernel, stride, dilation, taken):
    two = (kernel,) * 2, (stride,) * 2, (dilation,) * 2
    assert Window(3, (64, 64), *two).taken() == taken
