"""Graphs over several ranks: nothing lost, nothing done twice, and the exchanges of the papers."""

from math import prod

import pytest

from kernels_ref.errors import UserError
from workloads import decode, prefill, read_config
from workloads.graph import Graph
from workloads.ops import Attention, Collective, Einsum, Experts, Gather, Vector
from workloads.phase import Phase, encode, ragged
from workloads.read_model import read_model
from workloads.sharding.sharded import Sharded, shard
from workloads.transforms.apply import apply

PROMPT, STEP = prefill(8, 256), decode(8, 512)


def whole(name: str, phase=PROMPT) -> Graph:
    return read_model(name).build(phase)


def ranks(name: str, text: str, phase=PROMPT) -> Sharded:
    return shard(apply(whole(name, phase), text))


def rank(name: str, text: str, phase=PROMPT) -> Graph:
    (only,) = ranks(name, text, phase).stages
    return only


def macs(graph: Graph) -> float:
    return sum(node.count * node.op.macs for node in graph)


def exchanges(graph: Graph) -> dict[str, Collective]:
    return {n.op.name: n.op for n in graph if isinstance(n.op, Collective)}


def small(graph: Graph) -> float:
    """Parameters that every rank has: of norms, biases, positions."""
    copies = graph.stored_copies()
    rows = [(t, copies[name]) for name, t in graph.tensors.items() if name in copies]
    return sum(t.elements * n for t, n in rows if t.kind == "weight" and len(t.shape) == 1)


SPLIT = [
    ("llama-3-8b", 8, PROMPT),
    ("llama-3-8b", 8, STEP),
    ("llama-2-13b", 4, STEP),
    ("phi-3-mini", 8, PROMPT),
    ("mixtral-8x7b", 8, PROMPT),
    ("opt-6.7b", 4, STEP),
    ("bert-base", 4, encode(8, 64)),
    ("t5-small", 4, PROMPT),
    ("whisper-tiny", 2, decode(8, 100)),
    ("bitnet-b1.58-2b", 5, PROMPT),
    ("vit-base", 4, encode(8)),
]


@pytest.mark.parametrize(("name", "ways", "phase"), SPLIT)
def test_ranks_of_tensor_parallelism_add_up_to_the_whole(name, ways, phase):
    graph, local = whole(name, phase), rank(name, f"tensor_parallel({ways})", phase)
    # routers, patches; a vocabulary and a width that do not divide
    replicated = {"mixtral-8x7b": 1.001, "vit-base": 1.02, "whisper-tiny": 1.0001}
    replicated["bitnet-b1.58-2b"] = 1.001
    assert 1 <= ways * macs(local) / macs(graph) <= replicated.get(name, 1.0)
    assert ways * local.kv_bytes == graph.kv_bytes
    more = ways * local.params - graph.params
    assert 0 <= more <= (ways - 1) * small(graph) + 0.02 * graph.params


@pytest.mark.parametrize("scatter", ["no", "yes"])
def test_two_exchanges_of_the_stream_a_layer(scatter):
    """An all_reduce after either half (Megatron-LM, fig. 4), or a reduce_scatter there and an
    all_gather before the next (Korthikanti et al., fig. 5): the same bytes."""
    local = rank("llama-3-8b", f"tensor_parallel(8,scatter={scatter})")
    stream = 8 * 256 * 4096 * 2
    layer = [n.op for n in local if isinstance(n.op, Collective) and n.count == 32]
    assert all(op.bytes == stream for op in layer)
    functions = sorted(op.function for op in layer)
    wanted = {"no": ["all_reduce"] * 2, "yes": ["all_gather"] * 2 + ["reduce_scatter"] * 2}
    assert functions == wanted[scatter]


def test_rows_between_matrices_are_dealt_out():
    local = rank("llama-3-8b", "tensor_parallel(8,scatter=yes)")
    assert local.node("post_attention_layernorm").op.rows == 8 * 256 // 8
    assert local.node("gate_proj").op.ranks == {"m": 2048, "n": 14336 // 8, "k": 4096}


def test_heads_of_keys_fewer_than_ranks_are_on_several():
    graph, local = whole("llama-3-8b", STEP), rank("llama-3-8b", "tensor_parallel(16)", STEP)
    attention = local.node("attention").op
    assert (attention.q_heads, attention.kv_heads) == (2, 1)
    assert 16 * local.kv_bytes == 2 * graph.kv_bytes
    assert local.node("k_proj").op.ranks["n"] == 128


def test_latent_rows_are_on_every_rank():
    local = rank("deepseek-v2-lite", "tensor_parallel(8)", STEP)
    assert local.kv_bytes == whole("deepseek-v2-lite", STEP).kv_bytes
    attention = next(n.op for n in local if isinstance(n.op, Attention))
    assert (attention.q_heads, attention.kv_heads) == (2, 1)


OPT = read_config("opt-6.7b").data
E, F = OPT["hidden_size"], OPT["ffn_dim"]


def volume(graph: Graph, rows: int, names: tuple[str, ...]) -> float:
    """Elements of a row that the ranks of a layer's MLP exchange; all_reduce is two of others."""
    ops = [op for name, op in exchanges(graph).items() if name.startswith(names)]
    assert ops
    return sum(op.elements * (2 if op.function == "all_reduce" else 1) for op in ops) / rows


@pytest.mark.parametrize(("x", "yz"), [(1, 16), (2, 8), (4, 4)])
def test_volumes_of_weight_stationary_layouts(x, yz):
    """2 E in one dimension, 2 (E / X + F / YZ) in two (Pope et al., arXiv 2211.05102, sec. 3.2.1
    and 3.2.2)."""
    local = rank("opt-6.7b", f"tensor_parallel({yz})+stream_parallel({x})")
    wanted = 2 * E / x + (2 * F / yz if x > 1 else 0)
    assert volume(local, 8 * 256, ("fc1", "fc2", "act")) == wanted
    assert 16 * macs(local) == pytest.approx(macs(whole("opt-6.7b")), rel=1e-3)


@pytest.mark.parametrize(("gathered", "tensor"), [(8, 1), (4, 2), (2, 4)])
def test_volumes_of_weight_gathered_layouts(gathered, tensor):
    """2 E F N / chips of weights and 2 B L E / N of the stream (Pope et al., sec. 3.2.3)."""
    local = rank("opt-6.7b", f"weight_gathered({gathered})+tensor_parallel({tensor})")
    names = ("fc1.weight", "fc2.weight")
    weights = [op for name, op in exchanges(local).items() if name.startswith(names)]
    assert sum(op.elements for op in weights) == 2 * E * F // tensor
    if tensor > 1:
        assert volume(local, 8 * 256, ("fc2.all",)) == 2 * E / gathered
    assert gathered * tensor * macs(local) == pytest.approx(macs(whole("opt-6.7b")))


def test_attention_by_sequences_moves_queries_and_outputs():
    """One head of keys on every chip otherwise (Pope et al., sec. 3.3)."""
    local = rank("gemma-3-1b", "tensor_parallel(4,attention=batch)", STEP)
    graph = whole("gemma-3-1b", STEP)
    op = next(n.op for n in local if isinstance(n.op, Attention))
    assert (op.batch, op.q_heads, op.kv_heads) == (2, 4, 1)
    assert 4 * local.kv_bytes == graph.kv_bytes
    functions = [op.function for op in exchanges(local).values()]
    assert functions.count("all_to_all") == 2 * 2  # queries, outputs; of two kinds of layers


def test_experts_are_dealt_out_and_rows_sent_to_them():
    graph, local = whole("mixtral-8x7b"), rank("mixtral-8x7b", "expert_parallel(4)")
    assert local.batch == 2
    experts = [n.op for n in local if isinstance(n.op, Experts)]
    assert [op.active for op in experts] == [2, 2]
    assert 4 * macs(local) == pytest.approx(macs(graph))
    sent = [op for op in exchanges(local).values() if op.function == "all_to_all"]
    assert [op.elements for op in sent] == [2 * 256 * 2 * 4096] * 2  # tokens, experts of each
    outside = graph.params - 32 * 8 * 3 * 4096 * 14336
    assert local.params == outside + 32 * 2 * 3 * 4096 * 14336


def test_the_fullest_rank_is_waited_for():
    graph = apply(whole("mixtral-8x7b"), "routing(skew=1.2)+expert_parallel(4)")
    (local,) = shard(graph).stages
    before = next(n.op for n in graph if isinstance(n.op, Experts))
    after = next(n.op for n in local if isinstance(n.op, Experts))
    rows = sorted((r for n, r in before.loads for _ in range(n)), reverse=True)
    assert after.rows == rows[0] + rows[4] > before.rows / 4


def test_experts_split_along_their_width_are_never_waited_for():
    graph, local = whole("mixtral-8x7b"), rank("mixtral-8x7b", "expert_parallel(4,split=inner)")
    assert 4 * macs(local) == pytest.approx(macs(graph))
    functions = sorted(op.function for op in exchanges(local).values())
    assert functions == ["all_gather", "all_gather", "reduce_scatter"]
    assert local.weight_bytes == rank("mixtral-8x7b", "expert_parallel(4)").weight_bytes


@pytest.mark.parametrize("by", ["keys", "heads"])
def test_tokens_of_a_prompt_are_dealt_out(by):
    graph, local = whole("llama-3-8b"), rank("llama-3-8b", f"sequence_parallel(4,by={by})")
    heads = [op for op in exchanges(local).values() if op.function == "all_to_all"]
    keys = [op for op in exchanges(local).values() if op.function == "all_gather"]
    assert (len(heads), len(keys)) == {"keys": (0, 2), "heads": (4, 0)}[by]
    once = graph.node("lm_head").op.macs  # of the last token, on every rank
    assert 4 * (macs(local) - once) == pytest.approx(macs(graph) - once, rel=1e-9)
    assert 4 * local.kv_bytes == graph.kv_bytes
    assert local.params == graph.params


def test_positions_of_a_cache_are_dealt_out():
    graph, local = whole("llama-3-8b", STEP), rank("llama-3-8b", "sequence_parallel(4)", STEP)
    assert 4 * local.kv_bytes == graph.kv_bytes
    assert 4 * local.node("attention").op.macs == graph.node("attention").op.macs
    parts = local.node("attention.parts").op
    assert parts.elements == 4 * 8 * (4096 + 2 * 32)


@pytest.mark.parametrize("name", ["llama-3-8b", "gemma-2-2b", "mixtral-8x7b", "deepseek-v2-lite"])
@pytest.mark.parametrize("stages", [2, 3, 5])
def test_stages_have_every_layer_once(name, stages):
    graph, found = whole(name, STEP), ranks(name, f"pipeline_parallel({stages})", STEP)
    assert len(found.stages) == stages
    assert sum(macs(stage) for stage in found.stages) == pytest.approx(macs(graph))
    tied = graph.tensors["embed_tokens.weight"].elements
    once = not any(n.op.name == "lm_head" and "embed" in n.op.inputs[1] for n in graph)
    stored = sum(stage.params for stage in found.stages)
    assert stored == pytest.approx(graph.params + (0 if once else tied))
    assert sum(stage.kv_bytes for stage in found.stages) == graph.kv_bytes
    sent = [stage.nodes[-1].op.bytes for stage in found.stages]
    width = read_config(name).data["hidden_size"]
    assert sent == [8 * width * 2] * (stages - 1) + [8 * 4]


def test_stages_are_as_even_as_layers_allow():
    found = ranks("llama-3-8b", "pipeline_parallel(4)", PROMPT)
    per_layer = macs(whole("llama-3-8b")) / 32
    assert max(macs(stage) for stage in found.stages) < 8.05 * per_layer


def test_sequences_of_other_lengths_are_dealt_one_by_one():
    graph = read_model("llama-3-8b").build(ragged((100, 200, 300, 400)))
    (local,) = shard(apply(graph, "data_parallel(2)")).stages
    assert local.node("attention").op.lengths == ((1, 200), (1, 400))
    assert local.tensors["k_cache"].shape[0] == 600 * 8


@pytest.mark.parametrize("other", ["quantize(w4a16-g128,kv=int8)", "evict(128)", "window(64)"])
def test_order_does_not_matter(other):
    split = "tensor_parallel(4)+pipeline_parallel(2)"
    one = ranks("llama-3-8b", f"{split}+{other}", STEP)
    two = ranks("llama-3-8b", f"{other}+{split}", STEP)
    assert one.stages == two.stages


SWEEP = ["tensor_parallel(2)", "tensor_parallel(2,scatter=yes)", "stream_parallel(2)",
         "tensor_parallel(2)+stream_parallel(2)", "data_parallel(4)", "weight_gathered(4)",
         "sequence_parallel(4)", "expert_parallel(4)", "expert_parallel(4,split=inner)",
         "shared_prefix(64)+data_parallel(4)", "quantize(fp8)+expert_parallel(4,split=inner)",
         "evict(64)+tensor_parallel(2)", "offload+tensor_parallel(2)"]  # fmt: skip
MODELS = ["llama-3-8b", "gpt2", "gemma-2-2b", "qwen2.5-1.5b", "deepseek-v2-lite", "mixtral-8x7b",
          "bert-base", "t5-small", "bart-large", "vit-base"]  # fmt: skip


REFUSALS = ("has no experts", "no attention reads a cache", "has a window of 4096",
            "has no key-value cache", "no rule for patch_embeddings")  # fmt: skip


def sizes(op) -> dict[str, int]:
    """Elements of what an op reads and makes, as its own sizes say."""
    if isinstance(op, Einsum) and not op.window:
        names = (*op.inputs[:2], op.output)
        letters = op.operand_ranks()
        return {t: prod(op.ranks[r] for r in x) for t, x in zip(names, letters, strict=True)}
    if isinstance(op, Attention) and not op.lengths:
        rows = op.batch * op.q_len * op.q_heads
        return {op.operands[0]: rows * op.head_dim, op.output: rows * op.v_head_dim,
                op.operands[1]: op.batch * op.kv_len * op.kv_heads * op.head_dim}  # fmt: skip
    if isinstance(op, Experts):
        return {op.inputs[0]: op.rows * op.k, op.output: op.rows * op.n}
    if isinstance(op, (Vector, Gather)):
        return {op.output: op.rows * op.width}
    return {}


@pytest.mark.parametrize("text", SWEEP)
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("phase", [prefill(8, 256), decode(8, 512), encode(8, 64)])
def test_tensors_of_a_rank_are_as_large_as_its_ops_say(name, text, phase):
    """As they are in the whole graph, merged operands and windowed caches aside."""
    model = read_model(name)
    if phase.kind not in model.phases:
        return
    refusal = None
    try:
        graph = apply(model.build(phase), text)
        (local,) = shard(graph).stages
    except UserError as problem:
        refusal = str(problem)
    if refusal is not None:
        assert any(reason in refusal for reason in REFUSALS), refusal
        return
    before = {node.op.name: node.op for node in graph}
    for node in local:
        op, old = node.op, before.get(node.op.name)
        if old is None or isinstance(op, Collective) or len(sizes(op)) != len(sizes(old)):
            continue
        for (t, has), (u, had) in zip(sizes(op).items(), sizes(old).items(), strict=True):
            whole = graph.tensors[u].elements / had
            if whole == 1:  # else a merged one, of which the op takes a part
                more = local.tensors[t].elements / has
                tensor = local.tensors[t]
                read_whole = t != op.output and tensor.kind == "activation"
                read_whole &= tensor.elements == graph.tensors[u].elements
                assert more == pytest.approx(1, rel=0.02) or read_whole, (op.name, t)


def test_a_prefix_is_attended_to_by_a_ranks_own_queries():
    local = rank("llama-3-8b", "shared_prefix(128)+data_parallel(4)", STEP)
    assert local.node("attention.prefix").op.q_len == 2
    assert local.tensors["k_cache.prefix"].shape[0] == 128 * 8


def test_a_chunk_of_a_prompt_is_split_by_tokens():
    local = rank("llama-3-8b", "sequence_parallel(4)", Phase("prefill", 1, 512, 1024))
    assert local.node("q_proj").op.ranks["m"] == 128
    assert local.node("attention").op.kv_len == 1024
    with pytest.raises(UserError, match="by=keys"):
        rank("llama-3-8b", "sequence_parallel(4,by=heads)", Phase("prefill", 1, 512, 1024))


def test_latent_keys_are_made_where_they_are_read():
    graph, local = whole("deepseek-v2"), rank("deepseek-v2", "tensor_parallel(8)")
    assert local.node("sparse.kv_b_proj.k").op.ranks["n"] == 128 // 8 * 128
    replicated = 8 * macs(local) - macs(graph)  # compressed queries and rows, routers
    a = [n for n in graph if n.op.name.endswith(("q_a_proj", "kv_a_proj_with_mqa", ".gate"))]
    assert replicated == 7 * sum(node.count * node.op.macs for node in a)


@pytest.mark.parametrize("prompt", [2, 16])
def test_what_a_later_stage_reads_is_sent_to_it(prompt):
    found = ranks("bart-large", "pipeline_parallel(4)", prefill(8, prompt))
    output = "encoder.final_layer_norm"
    made = next(i for i, s in enumerate(found.stages) if output in {n.op.output for n in s})
    for i, stage in enumerate(found.stages):
        sent = {n.op.inputs[0] for n in stage if isinstance(n.op, Collective)}
        read = any(output in n.op.inputs for s in found.stages[i + 1 :] for n in s)
        assert (output in sent) == (i >= made and read)


def test_a_table_that_is_multiplied_too_is_split_for_both():
    text = "speculate(4,0.8,draft=llama-3.2-1b)+tensor_parallel(4)"
    local = rank("llama-3-8b", text, STEP)
    assert local.tensors["draft.embed_tokens.weight"].shape == (32064, 2048)
    assert local.node("draft.lm_head").op.ranks["n"] == 32064


def test_all_axes_together():
    text = "pipeline_parallel(2)+tensor_parallel(2)+expert_parallel(4)"
    found = ranks("mixtral-8x7b", text)
    assert found.axes == {"tensor": 2, "expert": 4}
    assert found.chips == 16
    total = sum(prod(found.axes.values()) * macs(stage) for stage in found.stages)
    assert total == pytest.approx(macs(whole("mixtral-8x7b")), rel=0.01)


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("llama-3-8b", "tensor_parallel(3)", "32 heads of queries and 8 of keys"),
        ("llama-3-8b", "tensor_parallel(0)", "at least 1"),
        ("llama-3-8b", "tensor_parallel(2)+tensor_parallel(2)", "already"),
        ("llama-3-8b", "tensor_parallel(2,scatter=rows)", "yes or no"),
        ("llama-3-8b", "expert_parallel(2)", "has no experts"),
        ("mixtral-8x7b", "expert_parallel(16)", "fewer than 16 ranks"),
        ("llama-3-8b", "pipeline_parallel(64)", "fewer than 64 stages"),
        ("mamba-130m", "sequence_parallel(2)", "no attention"),
        ("gemma-3-1b", "sequence_parallel(4,by=heads)", "by=keys"),
    ],
)
def test_what_cannot_be_split_is_said(name, text, says):
    with pytest.raises(UserError, match=says):
        ranks(name, text)
