"""Every transform against what it must conserve, and closed forms of its source."""

from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels_ref.errors import UserError
from workloads import build, decode, prefill, read_config
from workloads.graph import check
from workloads.ops import Attention, Experts
from workloads.phase import encode, ragged
from workloads.sharding.sharded import shard
from workloads.transforms import TRANSFORMS
from workloads.transforms.apply import apply
from workloads.transforms.edit import PhaseError
from workloads.transforms.routing import routing
from workloads.transforms.rows import with_tokens
from workloads.transforms.speculate import expected_tokens

LLAMA = read_config("llama-3-8b")
STEP = build(LLAMA, decode(8, 4096))
PROMPT = build(LLAMA, prefill(2, 1000))
ATTENTION = 32 * 32 * 256  # MACs of a pair of Llama 3 8B: layers, heads, two times head_dim
CACHE = 32 * 2 * 8 * 128 * 2  # bytes of a position


def macs(graph, kind=None):
    nodes = (node for node in graph if kind in (None, node.op.kind))
    return sum(node.count * node.op.macs for node in nodes)


@pytest.mark.parametrize("name", TRANSFORMS)
def test_a_transform_states_its_source_and_what_it_assumes(name):
    text = TRANSFORMS[name].__doc__ or ""
    assert "Source: " in text
    assert "Accuracy: " in text


EXAMPLES = [
    "quantize(w4a16)", "window(1024,sinks=4)", "block_sparse(0.25)", "evict(512)",
    "compress_kv(4)", "prefix_kv(0.8,0.2)", "share_kv(2)", "shared_prefix(100)",
    "prune_tokens(0.5,after=2)", "skip_layers(0.5)", "early_exit(16,0.5)",
    "routing(skew=1.0)", "speculate(4,0.8)", "sparse_neurons(0.1)", "tensor_parallel(2)",
    "stream_parallel(2)", "weight_gathered(2)", "data_parallel(2)", "expert_parallel(2)",
    "sequence_parallel(2)", "pipeline_parallel(2)", "quantize_tables(int8)",
    "quantize(w8a8)+outliers(0.001)", "prefix_tree(1x100)", "mixture_of_depths(0.125)",
    "recursion(2)", "recycle(10,64)", "predict_kv(llama-3.2-1b)", "token_major",
    "offload(share=0.5)", "load_neurons(5)", "expert_cache(0.25)",
    "sparse(2:4)",
    "training(recompute=full)",
]  # fmt: skip


REFUSALS = (
    "made of the phase train",
    "has no experts", "no neurons to load", "not in decode", "not prefill", "different lengths",
    "no attention reads a",
    "has a window", "has no attention", "writes no cache", "no MLP of two", "layers",
    "no rule for decoder.attention", "has layers of several kinds",
    "attends to others", "states of all tokens", "is not the attention of a decoder",
    "groups divide the batch", "keys are predicted for whole prompts", "for decode steps",
    "is not a matrix times rows",
)  # fmt: skip


def test_every_transform_has_an_example():
    assert {text.rpartition("+")[2].partition("(")[0] for text in EXAMPLES} == set(TRANSFORMS)


@pytest.mark.parametrize("text", EXAMPLES)
@pytest.mark.parametrize("name", ["llama-3-8b", "gemma-2-2b", "deepseek-v2-lite", "t5-small",
                                  "gpt-oss-20b", "mamba-130m", "phi-3-mini"])  # fmt: skip
@pytest.mark.parametrize("phase", [decode(2, 300), prefill(1, 300), ragged([200, 300])])
def test_a_transform_makes_a_sound_graph_or_says_why_not(name, text, phase):
    graph = build(read_config(name), phase)
    refusal = None
    try:
        after = check(apply(graph, text))
        shards = shard(after).stages
    except UserError as problem:
        refusal = str(problem)
    if refusal is not None:
        assert any(reason in refusal for reason in REFUSALS), refusal
        assert name != "llama-3-8b" or any(
            reason in refusal for reason in (*REFUSALS[:7], *REFUSALS[-4:-1])
        )
        return
    assert sum(macs(part) for part in shards) <= macs(after)
    if not text.startswith(("share_kv", "mixture", "recursion", "predict_kv")):
        assert after.params == graph.params
    grows = ("speculate", "block_sparse", "recycle")  # a draft's cache, what is kept beside
    assert after.kv_bytes <= graph.kv_bytes or text.startswith(grows)


def test_a_window_hides_keys():
    after = apply(STEP, "window(1024,sinks=4)")
    assert after.kv_bytes == 8 * 1028 * CACHE
    assert macs(after, "attention") == 8 * 1028 * ATTENTION
    assert macs(after, "einsum") == macs(STEP, "einsum")
    after = apply(PROMPT, "window(100)")
    assert macs(after, "attention") == 2 * (100 * 101 // 2 + 900 * 100) * ATTENTION


def test_a_share_of_blocks_costs_its_estimate():
    after = apply(PROMPT, "block_sparse(0.25,block=50)")
    assert macs(after, "attention") == pytest.approx(macs(PROMPT, "attention") / 4, rel=1e-6)
    scores = [n for n in after if n.op.name.endswith("estimate.scores")]
    assert [n.op.macs for n in scores] == [2 * 32 * 20 * 20 * 128]
    whole = apply(PROMPT, "block_sparse(0.25,estimate=int4)").node("attention.estimate.scores").op
    assert whole.macs == 2 * 32 * 1000 * 1000 * 128
    step = apply(STEP, "block_sparse(0.25,block=64)")
    assert step.kv_bytes - STEP.kv_bytes == 32 * 8 * 8 * (4096 // 64) * 128 * 2, "means of keys"
    known = apply(PROMPT, "block_sparse(0.25,estimate=none)")
    assert len(known.nodes) == len(PROMPT.nodes)


@pytest.mark.parametrize(
    ("text", "kept"),
    [("evict(512)", 512), ("compress_kv(3)", ceil(4096 / 3)), ("prefix_kv(0.75,0.25)", 2048)],
)
def test_a_smaller_cache_is_read_less_and_projections_stay(text, kept):
    after = apply(STEP, text)
    assert after.kv_bytes == 8 * kept * CACHE
    assert macs(after, "attention") == 8 * kept * ATTENTION
    assert macs(after, "einsum") == macs(STEP, "einsum")
    fresh = apply(PROMPT, text)
    assert macs(fresh) == macs(PROMPT), "a prompt attends to all of itself"


def test_a_windowed_prompt_keeps_the_smaller_of_window_and_budget():
    graph = build(read_config("gemma-3-1b"), prefill(1, 2000))  # windows of 512
    after = apply(graph, "evict(600)")
    assert after.kv_bytes == (22 * 512 + 4 * 600) * 2 * 1 * 256 * 2


def test_latent_rows_are_scored_before_they_are_evicted():
    graph = build(read_config("deepseek-v2-lite"), decode(1, 2000))
    names = [n.op.name for n in apply(graph, "evict(512)") if n.op.name.endswith("score")]
    assert names == ["dense.latent_append.score", "sparse.latent_append.score"]


def test_layers_that_share_a_cache_have_half_of_it():
    after = apply(STEP, "share_kv(2)")
    assert 2 * after.kv_bytes == STEP.kv_bytes
    assert STEP.params - after.params == 16 * 2 * 1024 * 4096
    assert macs(after, "attention") == macs(STEP, "attention")


@given(st.integers(1, 4000))
def test_a_shared_prefix_moves_once_and_computes_the_same(tokens):
    after = apply(STEP, f"shared_prefix({tokens})")
    assert macs(after) == macs(STEP)
    assert after.kv_bytes == STEP.kv_bytes - 7 * tokens * CACHE
    prefix = after.node("attention.prefix").op
    assert (prefix.batch, prefix.q_len, prefix.kv_len) == (1, 8, tokens)
    assert after.tensors["k_cache.prefix"].elements == tokens * 8 * 128


def test_sparse_neurons_are_those_of_all_tokens_together():
    after = apply(STEP, "sparse_neurons(0.1)")
    active = ceil(14336 * (1 - 0.9**8))
    assert after.params == STEP.params
    assert after.weight_bytes == STEP.weight_bytes
    assert after.node("gate_proj").op.macs == STEP.node("gate_proj").op.macs
    assert after.node("up_proj").op.macs == 8 * 4096 * active
    assert after.node("down_proj").op.macs == 8 * 4096 * active
    assert after.tensors["down_proj.weight.active"].shape == (4096, active)
    one = apply(build(LLAMA, decode(1, 100)), "sparse_neurons(0.1,rank=64)")
    assert one.node("gate_proj").op.ranks["n"] == ceil(1433.6)
    assert one.params == STEP.params + 32 * 64 * (4096 + 14336)


def test_correction_runs_one_step_of_several_whole():
    after = apply(STEP, "sparse_neurons(0.1,correct=4)")
    assert after.node("up_proj").count == 24
    assert after.node("up_proj.whole").count == 8
    assert after.params == STEP.params
    whole = macs(STEP) - macs(apply(STEP, "sparse_neurons(0.1)"))
    assert macs(STEP) - macs(after) == pytest.approx(0.75 * whole)


def test_pruned_tokens_are_those_of_later_layers_only():
    after = apply(PROMPT, "prune_tokens(0.25,after=8)")
    assert after.params == PROMPT.params
    assert after.weight_bytes == PROMPT.weight_bytes
    assert after.kv_bytes == 2 * (8 * 1000 + 24 * 250) * CACHE // 32
    early, late = after.node("q_proj"), after.node("pruned.q_proj")
    assert (early.count, late.count) == (8, 24)
    assert (early.op.ranks["m"], late.op.ranks["m"]) == (2000, 500)
    pairs = 8 * (1000 * 1001 // 2) + 24 * (250 * 251 // 2)
    assert macs(after, "attention") == 2 * pairs * ATTENTION // 32
    assert after.node("last_token").op.inputs[0] == "pruned.mlp_residual"


def test_an_images_tokens_are_pruned_in_the_language_model():
    graph = build(read_config("llava-1.5-7b"), prefill(1, 1000))
    after = check(apply(graph, "prune_tokens(0.5,after=2)"))
    assert after.node("vision.q_proj").count == graph.node("vision.q_proj").count
    assert (after.node("q_proj").count, after.node("pruned.q_proj").count) == (2, 30)
    assert after.node("pruned.q_proj").op.ranks["m"] == 500
    assert after.params == graph.params


def test_pruned_tokens_of_a_model_with_two_kinds_of_layers():
    graph = build(read_config("gemma-2-2b"), prefill(1, 400))
    after = check(apply(graph, "prune_tokens(0.5,after=2)"))
    assert after.node("local.q_proj").count == after.node("global.q_proj").count == 1
    assert after.node("pruned.global.q_proj").count == 12
    assert after.params == graph.params


@pytest.mark.parametrize(
    ("first", "head", "count"),
    [("speculate(4,0.7)", "draft.lm_head", 4), ("early_exit(16,0.5)", "lm_head", 2)],
)
def test_what_is_skipped_is_of_the_layers(first, head, count):
    after = apply(STEP, f"{first}+skip_layers(0.25)")
    assert after.node(head).count == count


def test_a_single_layer_is_one_of_the_layers_too():
    graph = build(read_config("deepseek-v2-lite"), decode(1, 64))
    after = apply(graph, "skip_layers(0.25)")
    counts = {node.layer: node.count for node in after}
    assert counts == {"": 1, "dense": 0.75, "sparse": 0.75 * 26}


def test_skipped_layers_leave_their_parameters():
    after = apply(STEP, "skip_layers(0.25)")
    assert after.node("q_proj").count == 24
    assert after.params == STEP.params
    assert after.weight_bytes == STEP.weight_bytes
    assert 4 * after.kv_bytes == 3 * STEP.kv_bytes


def test_an_early_exit_looks_twice_and_still_fills_the_cache():
    after = apply(STEP, "early_exit(8,0.5)")
    assert after.node("o_proj").count == 8 + 24 * 0.5
    assert after.node("k_append").count == after.node("k_proj").count == 32
    assert after.node("lm_head").count == 2
    assert after.params == STEP.params
    none = apply(STEP, "early_exit(8,0.5,propagate=no)")
    assert none.node("k_append").count == 20


@given(st.integers(1, 12), st.floats(0, 1))
def test_expected_tokens_are_a_geometric_sum(proposed, accept):
    assert expected_tokens(proposed, accept) == pytest.approx(
        sum(accept**i for i in range(proposed + 1))
    )


def test_a_step_of_more_tokens_is_the_verification_of_the_builder():
    from workloads.phase import verify

    for name in ("llama-3-8b", "gemma-2-2b", "mixtral-8x7b", "deepseek-v2-lite", "gpt2"):
        config = read_config(name)
        grown = with_tokens(build(config, decode(3, 500)), 4)
        built = build(config, verify(3, 4, 503))
        assert {n.op.name: n.op.macs for n in grown} == {n.op.name: n.op.macs for n in built}
        assert {t.name: t.bytes for t in grown.tensors.values()} == {
            t.name: t.bytes for t in built.tensors.values()
        }


def test_speculation_adds_a_draft_for_every_proposal():
    after = apply(STEP, "speculate(4,0.8,draft=llama-3.2-1b)")
    small = build(read_config("llama-3.2-1b"), decode(8, 4096))
    assert after.params == STEP.params + small.params
    assert macs(after) == 4 * macs(small) + macs(with_tokens(STEP, 5))
    assert after.produced == pytest.approx((1 - 0.8**5) / 0.2)
    alone = apply(STEP, "speculate(4,0.8,skip=0.5)")
    assert alone.params == STEP.params
    assert apply(STEP, "speculate(4,0.8,draft=ngram)").params == STEP.params
    heads = apply(STEP, "speculate(4,0.8,draft=medusa)")
    assert heads.params - STEP.params == 4 * (4096 * 4096 + 4096 * 128256)


MIXTURE = build(read_config("mixtral-8x7b"), decode(64, 100))


def rows(graph):
    return sum(n.op.rows for n in graph if isinstance(n.op, Experts))


@given(st.floats(0, 3), st.integers(0, 5), st.floats(1, 3))
def test_no_row_is_lost_unless_it_is_dropped(skew, seed, capacity):
    for full in ("keep", "reroute"):
        assert rows(routing(MIXTURE, skew, capacity, full, seed)) == rows(MIXTURE)
    dropped = routing(MIXTURE, skew, capacity, "drop", seed)
    assert rows(dropped) <= rows(MIXTURE)
    most = ceil(capacity * 64 * 2 / 8)
    for node in dropped:
        if isinstance(node.op, Experts):
            assert max(each for _, each in node.op.loads) <= most


def test_skewed_experts_are_fewer_and_fuller():
    even, odd = routing(MIXTURE), routing(MIXTURE, 2.0)
    name = "experts.down_proj"
    assert max(odd.node(name).op.loads[0]) > 2 * max(even.node(name).op.loads[0])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("windw(3)", "unknown transform 'windw'; did you mean 'window'?"),
        ("window(0)", "0 keys and 0 sinks"),
        ("evict(512,score=maybe)", "write yes or no"),
        ("evict()", "missing a required argument: 'budget'"),
        ("shared_prefix(4096)", "a prefix has 4095 at most"),
        ("skip_layers(1)", "all layers would be skipped"),
        ("skip_layers(1.5)", "write a number from 0 to 1"),
        ("early_exit(40,0.5)", "after is 40; llama-3-8b has 32 layers"),
        ("routing(1.0)", "llama-3-8b has no experts"),
        ("speculate(0,0.5)", "k is 0"),
        ("speculate(3,0.5,draft=llama-3-9b)", "unknown model 'llama-3-9b'"),
        ("block_sparse(0.5,estimate=magic)", "write means, last, int4 or none"),
        ("quantize(w4a16)+quantize(w8a8)", "is quantized already"),
    ],
)
def test_what_is_wrong_is_said(text, says):
    with pytest.raises(UserError) as problem:
        apply(STEP, text)
    assert says in str(problem.value)


def test_pruning_is_for_prompts():
    with pytest.raises(PhaseError, match="tokens are pruned from prompts, not in decode"):
        apply(STEP, "prune_tokens(0.5,after=2)")


@pytest.mark.parametrize("text", ["shared_prefix(8)", "speculate(2,0.5)"])
def test_a_transform_of_another_phase_says_so(text):
    with pytest.raises(PhaseError):
        apply(PROMPT, text)
    with pytest.raises(PhaseError):
        apply(build(read_config("vit-base"), encode(1)), text)


def test_transforms_compose_in_any_legal_order():
    texts = ["evict(1024)", "shared_prefix(512)", "speculate(3,0.5)", "quantize(w4a16,kv=fp8)"]
    done = apply(STEP, "+".join(texts))
    assert done.produced == 1.875
    assert {t.format.name for t in done.tensors.values() if t.kind == "kv"} == {"fp8"}
    heads = [n.op for n in done if isinstance(n.op, Attention) and "prefix" in n.op.name]
    assert {op.kv_len for op in heads} == {512}
