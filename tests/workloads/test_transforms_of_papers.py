"""Transforms of single papers: what each conserves, and closed forms of its source."""

from dataclasses import replace
from itertools import permutations
from math import ceil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accel_models.read_design import read_design
from kernels_ref.errors import UserError
from mappers import map_graph
from sim import simulate
from workloads import build, decode, prefill, read_config
from workloads.graph import GraphError, check
from workloads.ops import Attention, Experts
from workloads.phase import Phase, encode, ragged
from workloads.sharding.sharded import shard
from workloads.transforms.apply import apply
from workloads.transforms.edit import PhaseError
from workloads.transforms.rows import with_tokens

LLAMA = read_config("llama-3-8b")
STEP = build(LLAMA, decode(8, 4096))
PROMPT = build(LLAMA, prefill(2, 1000))
LAYER = 4096 * (4096 + 1024 + 1024 + 4096) + 3 * 4096 * 14336 + 2 * 4096  # parameters
PAIR = 32 * 256  # MACs of a query and a key in one layer
CACHE = 2 * 8 * 128 * 2  # bytes of a position in one layer


def macs(graph, kind=None):
    nodes = (node for node in graph if kind in (None, node.op.kind))
    return sum(node.count * node.op.macs for node in nodes)


# prefix trees


def test_a_tree_of_one_level_is_a_shared_prefix():
    one, tree = apply(STEP, "shared_prefix(700)"), apply(STEP, "prefix_tree(1x700)")
    assert one == tree


@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from([(1, 2), (1, 8), (2, 4), (2, 8), (4, 8)]),
    st.integers(1, 2000),
    st.integers(1, 2000),
)
def test_keys_of_every_level_are_stored_once_for_each_group(groups, first, second):
    root, leaf = groups
    after = apply(STEP, f"prefix_tree({root}x{first}/{leaf}x{second})")
    assert macs(after) == macs(STEP)
    assert after.params == STEP.params
    positions = root * first + leaf * second + 8 * (4096 - first - second)
    assert after.kv_bytes == 32 * CACHE * positions
    ops = [after.node(f"attention.prefix{i}").op for i in (1, 2)]
    assert [(op.batch, op.q_len, op.kv_len) for op in ops] == [
        (root, 8 // root, first), (leaf, 8 // leaf, second),
    ]  # fmt: skip
    merges = [n.op.name for n in after if getattr(n.op, "function", "") == "softmax_merge"]
    assert merges == ["attention.merge1", "attention"]


def test_a_tree_of_sequences_of_different_lengths():
    graph = build(LLAMA, ragged([300, 400, 500, 600]))
    after = check(apply(graph, "prefix_tree(1x100/2x50)"))
    assert macs(after) == macs(graph)
    assert after.kv_bytes == 32 * CACHE * (100 + 2 * 50 + 1800 - 4 * 150)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("prefix_tree(4096)", "write GROUPSxTOKENS/GROUPSxTOKENS"),
        ("prefix_tree(3x10)", "groups divide the batch of 8"),
        ("prefix_tree(4x10/2x10)", "a multiple of those of the level before, 4"),
        ("prefix_tree(1x4000/2x96)", "a prefix has 4095 at most"),
        ("mixture_of_depths(0.125)+shared_prefix(8)", "share prefixes first"),
    ],
)
def test_a_tree_that_cannot_be(text, says):
    with pytest.raises(UserError) as problem:
        apply(STEP, text)
    assert says in str(problem.value)


# recycled attention


@given(st.integers(2, 100), st.integers(1, 4000))
def test_recycled_attention_is_the_mean_of_its_steps(every, keep):
    after = apply(STEP, f"recycle({every},{keep})")
    expected = (4096 + (every - 1) * keep) / every
    assert macs(after, "attention") == pytest.approx(8 * 32 * PAIR * expected)
    scores = after.node("attention.scores")
    assert scores.count == pytest.approx(32 / every)
    assert scores.op.macs == 8 * 32 * 4096 * 128
    assert after.kv_bytes == 8 * 32 * CACHE * (4096 + keep), "two caches"
    assert after.params == STEP.params
    assert macs(after, "einsum") - scores.count * scores.op.macs == pytest.approx(
        macs(STEP, "einsum")
    )


def test_attention_that_sees_little_is_not_recycled():
    gemma = build(read_config("gemma-3-1b"), decode(1, 8000))  # windows of 512
    after = apply(gemma, "recycle(10,600)")
    names = [n.op.name for n in after if n.op.name.endswith(".full")]
    assert names == ["global.attention.full"]
    with pytest.raises(PhaseError, match="for decode steps, not prefill"):
        apply(build(LLAMA, Phase("prefill", 1, 64, 900)), "recycle(10,600)")


# predicted keys and values


@pytest.mark.parametrize(("base", "aux"), [
    ("llama-3-8b", "llama-3.2-1b"), ("qwen2.5-7b", "qwen2.5-1.5b"), ("gemma-3-1b", "gemma-3-1b"),
    ("phi-3-mini", "phi-3-mini"), ("mixtral-8x7b", "mistral-7b"), ("gpt2", "opt-125m"),
])  # fmt: skip
@pytest.mark.parametrize(("batch", "prompt"), [(1, 300), (3, 1000)])
def test_a_predicted_prompt_ends_in_the_base_models_decode_step(base, aux, batch, prompt):
    whole = build(read_config(base), prefill(batch, prompt))
    step = build(read_config(base), decode(batch, prompt))
    after = apply(whole, f"predict_kv({aux})")
    for node in step:
        assert after.node(node.op.name) == node
    assert {t: after.tensors[t] for t in step.tensors} == step.tensors
    assert after.kv_bytes == whole.kv_bytes


def test_what_predicting_costs():
    after = apply(PROMPT, "predict_kv(llama-3.2-1b)")
    small = build(read_config("llama-3.2-1b"), prefill(2, 999))
    maps = [n for n in after if n.op.name.endswith(".predicted")]
    assert [(n.count, n.op.macs) for n in maps] == [(32, 2 * 999 * 512 * 1024)] * 2
    assert after.params == PROMPT.params + small.params + 32 * 2 * (512 + 1) * 1024
    head = small.node("lm_head").op.macs
    step = build(LLAMA, decode(2, 1000))
    assert macs(after) == macs(small) - head + sum(n.count * n.op.macs for n in maps) + macs(step)


@pytest.mark.parametrize("text", ["quantize(kv=int8)+predict_kv(llama-3.2-1b)",
                                  "predict_kv(llama-3.2-1b)+quantize(kv=int8)"])  # fmt: skip
def test_predicted_rows_are_written_in_the_caches_format(text):
    after = apply(PROMPT, text)
    assert after.kv_bytes == apply(PROMPT, "quantize(kv=int8)").kv_bytes
    rows = after.tensors["k_cache.predicted.append"]
    assert (rows.format.name, rows.elements) == ("int8", 2 * 999 * 1024)


def test_prediction_is_for_whole_prompts_of_decoders():
    for phase in (decode(1, 100), Phase("prefill", 1, 10, 100)):
        with pytest.raises(PhaseError, match="keys are predicted for whole prompts"):
            apply(build(LLAMA, phase), "predict_kv(llama-3.2-1b)")
    with pytest.raises(UserError, match="is not the attention of a decoder"):
        apply(build(read_config("deepseek-v2-lite"), prefill(1, 50)), "predict_kv(llama-3.2-1b)")
    with pytest.raises(UserError, match="unknown model 'llama-4-1b'"):
        apply(PROMPT, "predict_kv(llama-4-1b)")


# layers that some tokens take


def test_every_other_layer_of_a_prompt_is_taken_by_an_eighth():
    after = apply(PROMPT, "mixture_of_depths(0.125)")
    assert after.params == PROMPT.params + 16 * 4096, "a router for each"
    assert after.weight_bytes == PROMPT.weight_bytes + 16 * 4096 * 2
    assert after.kv_bytes == 2 * 16 * CACHE * (1000 + 125)
    pairs = 1000 * 1001 // 2 + 125 * 126 // 2
    assert macs(after, "attention") == 2 * 16 * pairs * PAIR
    full, fewer = after.node("q_proj"), after.node("routed.q_proj")
    assert (full.count, full.op.ranks["m"]) == (16, 2000)
    assert (fewer.count, fewer.op.ranks["m"]) == (16, 250)
    assert after.node("last_token").op.inputs == ("routed.mlp_residual",)
    assert after.tensors["routed.mlp_residual"].shape == (2000, 4096)


@given(st.integers(1, 40), st.floats(0.05, 1.0))
def test_layers_of_a_step_run_if_some_token_takes_them(batch, capacity):
    graph = build(LLAMA, decode(batch, 512))
    after = apply(graph, f"mixture_of_depths({capacity})")
    node = after.node("routed.q_proj")
    some = 1 - (1 - capacity) ** batch
    assert node.count == pytest.approx(16 * some)
    assert abs(node.op.ranks["m"] - batch * capacity / some) <= 0.5
    assert after.kv_bytes == 16 * CACHE * (batch * 512 + 2 * ceil(batch * 8 * 512 * capacity) / 16)
    assert after.weight_bytes == graph.weight_bytes + 16 * 4096 * 2


def test_recursions_are_stored_once():
    """Llama 3 8B as 1 + 3 x 10 + 1 layers: 12 of 32 remain; keys (1 + 2/3 + 1/3) * 10 + 2."""
    for graph in (PROMPT, STEP):
        after = apply(graph, "recursion(3)")
        assert after.params == graph.params - 20 * LAYER + 2 * 4096
        assert after.kv_bytes == pytest.approx(graph.kv_bytes * 22 / 32, rel=0.001)
        for name in ("q_proj", "down_proj"):
            read = {after.node(f"recursion{i}.{name}").op.inputs[1] for i in (1, 2, 3)}
            assert read == {f"recursive.{name}.weight"}


def test_recursions_that_share_keys_make_them_once():
    after = apply(PROMPT, "recursion(3,cache=shared)")
    assert after.kv_bytes == PROMPT.kv_bytes * 12 // 32
    made = [n.op.name for n in after if n.op.name.endswith("k_proj")]
    assert made == ["first.k_proj", "recursion1.k_proj", "last.k_proj"]
    op = after.node("recursion3.attention").op
    assert (op.q_len, op.kv_len, op.operands[1]) == (334, 1000, "recursion1.rope_k")
    assert op.macs == pytest.approx(2 * 334 * 1001 / 2 * PAIR, rel=1e-6), "queries lie anywhere"


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("llama-3-8b", "recursion(4)", "30 layers between 1 at either end are not 4 times as many"),
        ("llama-3-8b", "recursion(3,shares=1/0.5)", "write 3 that fall from 1"),
        ("llama-3-8b", "recursion(3,shares=a/b/c)", "write numbers as 1/0.7/0.3"),
        ("llama-3-8b", "recursion(3,cache=none)", "write own or shared"),
        ("gemma-2-2b", "recursion(3)", "has layers of several kinds"),
        ("mamba-130m", "mixture_of_depths(0.5)", "states of all tokens"),
        ("t5-small", "mixture_of_depths(0.5)", "attends to others than its own tokens"),
        ("llama-3-8b", "mixture_of_depths(0.5)+speculate(2,0.5)", "speculate first"),
        ("llama-3-8b", "recursion(2)+mixture_of_depths(0.5)", "routed past its layers already"),
        ("llama-3-8b", "recycle(9,8)+recycle(9,8)", "its keys are recycled already"),
    ],
)
def test_depths_that_cannot_be(name, text, says):
    with pytest.raises(UserError) as problem:
        apply(build(read_config(name), decode(1, 50)), text)
    assert says in str(problem.value)


# outliers and tables


def test_outliers_add_a_narrow_multiplication():
    before = apply(PROMPT, "quantize(w8a8)")
    after = apply(before, "outliers(0.001)")
    ranks = [(4096, 6144), (4096, 4096), (4096, 28672), (14336, 4096)]  # depth, outputs of all
    assert macs(after) - macs(before) == 32 * sum(2000 * n * ceil(k / 1000) for k, n in ranks)
    assert after.params == before.params
    assert after.weight_bytes == before.weight_bytes
    found = [n.op.name for n in after if n.op.name.endswith(".outlier_columns")]
    assert len(found) == 4, "once for all readers"
    op = after.node("down_proj.outliers").op
    assert {after.tensors[t].format.name for t in op.inputs} == {"bf16"}
    assert op.ranks["k"] == 15
    with pytest.raises(
        UserError, match=r"multiplies no INT8 with INT8; quantize\(w8a8\) goes before"
    ):
        apply(PROMPT, "outliers(0.001)")


def test_outliers_compose():
    texts = ("quantize(w8a8)+outliers(0.001)+speculate(3,0.5)",
             "speculate(3,0.5,draft=ngram)+quantize(w8a8)+outliers(0.001)")  # fmt: skip
    one, two = (apply(STEP, text) for text in texts)
    verified = with_tokens(apply(STEP, "quantize(w8a8)+outliers(0.001)"), 4)
    assert {n.op.name: n.op for n in verified} == {n.op.name: n.op for n in two}
    assert one.node("q_proj.outlier_weights").op.rows == 4096, "does not grow with the tokens"
    pruned = apply(PROMPT, "quantize(w8a8)+outliers(0.001)+prune_tokens(0.5,after=2)")
    assert pruned.node("pruned.q_proj.outlier_weights").op.rows == 4096
    assert pruned.params == PROMPT.params


@pytest.mark.slow
def test_outliers_slow_small_layers_down_and_speed_large_ones_up():
    """LLM.int8(), arXiv 2208.07339, on its speed: below FP16 for small models, above for large."""
    ratio = {}
    for model in ("opt-125m", "opt-6.7b"):
        runs = [simulate("a100_sxm", model, "prefill", prompt=2048, apply=text)
                for text in (None, "quantize(w8a8)+outliers(0.001)")]  # fmt: skip
        ratio[model] = runs[1].latency_s / runs[0].latency_s
    assert ratio["opt-125m"] > 1 > ratio["opt-6.7b"]


def test_tables_are_gathered_and_multiplied_as_they_are_stored():
    after = apply(STEP, "quantize_tables(int8)")
    table = 128256 * 4096
    assert STEP.weight_bytes - after.weight_bytes == table - 128256 * 2, "a scale to a row"
    assert after.tensors["lm_head.weight"].format.name == "bf16"
    assert after.tensors["embed_tokens"].format.name == "bf16"
    codes = after.node("embed_tokens.codes").op
    assert after.tensors[codes.output].format.name == "int8"
    both = apply(STEP, "quantize_tables(w4a16,head=yes)")
    assert both.tensors["lm_head.weight"].format.bits == 4
    tied = apply(build(read_config("llama-3.2-1b"), decode(1, 9)), "quantize_tables(int8)")
    assert tied.tensors[tied.node("lm_head").op.inputs[1]].format.name == "int8"
    assert macs(after) == macs(STEP)


@pytest.mark.parametrize("text", ["quantize_tables(int8)+quantize(w4a16,kv=fp8)",
                                  "quantize(w4a16,kv=fp8)+quantize_tables(int8)"])  # fmt: skip
def test_tables_and_layers_have_formats_of_their_own(text):
    after = apply(STEP, text)
    assert after.tensors["embed_tokens.weight"].format.name == "int8"
    assert after.tensors["q_proj.weight"].format.bits == 4


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "quantize_tables(int8,only=tokens)",
            "has no table named 'tokens'; there are embed_tokens",
        ),
        ("quantize_tables(bf16)", "no fewer bits than a table"),
        ("quantize_tables(int8)+quantize_tables(int8)", "its tables are quantized already"),
        ("quantize_tables(int8,head=maybe)", "write yes or no"),
    ],
)
def test_a_table_that_cannot_be(text, says):
    with pytest.raises(UserError) as problem:
        apply(STEP, text)
    assert says in str(problem.value)


# experts token by token


@pytest.mark.parametrize(
    ("name", "phase"), [("m3vit-small", encode(1)), ("mixtral-8x7b", prefill(1, 100))]
)
def test_token_by_token_reads_a_matrix_for_every_row(name, phase):
    graph = build(read_config(name), phase)
    after = apply(graph, "token_major")
    assert macs(after) == macs(graph)
    assert after.params == graph.params
    for node in after:
        if isinstance(node.op, Experts):
            read = sum(part.ranks["e"] for part in node.op.parts())
            assert read == node.op.rows
            before = graph.node(node.op.name).op
            assert sum(part.ranks["e"] for part in before.parts()) == before.active < read


def test_token_by_token_moves_as_many_bytes_more():
    """A prompt of 100 tokens: 200 rows of Mixtral's 8 experts, each read once or 25 times."""
    whole = build(read_config("mixtral-8x7b"), prefill(1, 100))
    moved = []
    for graph in (whole, apply(whole, "token_major")):
        node = graph.node("experts.down_proj")
        tensors = {name: graph.tensors[name] for name in (*node.op.inputs, node.op.output)}
        alone = replace(graph, nodes=(node,), tensors=tensors)
        (placed,) = map_graph(alone, read_design("a100_sxm"))
        moved.append(placed.cost.work.traffic["hbm"]["weight"][0])
    assert moved[0] == pytest.approx(8 * 4096 * 14336 * 2)
    assert moved[1] == pytest.approx(25 * moved[0])


# what other papers are by arguments


def test_the_last_queries_say_which_blocks_matter():
    """MInference's vertical and slash lines: the last 64 queries of each head with all keys."""
    after = apply(PROMPT, "block_sparse(0.1,estimate=last)")
    assert after.node("attention.estimate.scores").op.macs == 2 * 32 * 64 * 1000 * 128
    assert [n.op.name for n in after if ".estimate." in n.op.name] == [
        "attention.estimate.scores", "attention.estimate.pick",
    ]  # fmt: skip
    assert macs(after, "attention") == pytest.approx(macs(PROMPT, "attention") / 10)


def test_tokens_are_pruned_in_steps_as_lazyllm_does():
    after = apply(PROMPT, "prune_tokens(0.7,after=10)+prune_tokens(0.5,after=11)")
    found = [(n.count, n.op.ranks["m"]) for n in after if n.op.name.endswith("q_proj")]
    assert found == [(10, 2000), (11, 1400), (11, 700)]


def test_an_encoders_tokens_are_deleted_as_mrt5_does():
    graph = build(read_config("t5-small"), encode(1, 200))
    after = apply(graph, "prune_tokens(0.5,after=3)")
    ops = [n.op for n in after if isinstance(n.op, Attention)]
    assert [(op.q_len, op.kv_len) for op in ops] == [(200, 200), (100, 100)]
    assert after.params == graph.params


def test_whatever_follows_whatever_is_sound_or_says_why_not():
    """Every pair on a prompt and on a step. A GraphError is a graph that contradicts itself."""
    texts = ["quantize(w8a8)", "quantize(kv=fp8)", "quantize(w4a16,layers=2-29)", "outliers(0.01)",
             "quantize_tables(int8)", "prefix_tree(1x100/2x50)", "evict(64)", "share_kv(2)",
             "mixture_of_depths(0.5)", "recursion(3)", "recursion(2,cache=shared)", "recycle(9,70)",
             "predict_kv(llama-3.2-1b)", "prune_tokens(0.5,after=2)", "skip_layers(0.5)",
             "early_exit(2,0.5)", "speculate(2,0.5)", "sparse_neurons(0.1)", "window(90)",
             "block_sparse(0.2)"]  # fmt: skip
    sound = 0
    for phase in (decode(4, 400), prefill(2, 300)):
        graph = build(LLAMA, phase)
        for one, two in permutations(texts, 2):
            try:
                after = check(apply(graph, f"{one}+{two}"))
            except GraphError as problem:
                raise AssertionError(f"{one}+{two}: {problem}") from problem
            except UserError:
                continue
            sound += 1
            assert min(min(tensor.shape) for tensor in after.tensors.values()) >= 1
            assert after.params > 0
            assert macs(after) > 0
    assert sound > 300


@pytest.mark.parametrize("text", [
    "quantize(w4a16,layers=2-29)", "quantize_tables(int8)", "prefix_tree(1x100/2x50)",
    "mixture_of_depths(0.125)", "recursion(3)", "recycle(10,64)",
])  # fmt: skip
def test_ranks_have_their_part(text):
    whole = apply(build(LLAMA, decode(4, 400)), text)
    (rank,) = shard(apply(whole, "tensor_parallel(2)")).stages
    assert macs(rank) == pytest.approx(macs(whole) / 2, rel=1e-3)
    assert rank.kv_bytes == pytest.approx(whole.kv_bytes / 2, rel=1e-3)
    assert rank.weight_bytes == pytest.approx(whole.weight_bytes / 2, rel=1e-3)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("quantize(w8a8)+outliers(0.001)+tensor_parallel(2)", "no rule for a matrix among ranks"),
        ("predict_kv(llama-3.2-1b)+pipeline_parallel(2)", "which is not sent on"),
    ],
)
def test_ranks_without_a_rule(text, says):
    with pytest.raises(UserError) as problem:
        shard(apply(PROMPT, text))
    assert says in str(problem.value)
