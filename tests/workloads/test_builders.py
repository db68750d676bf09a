"""Graphs of known models against closed forms, and every shipped model's graph is sound."""

from math import prod

import pytest

from kernels_ref.errors import UserError
from workloads import build, decode, prefill, read_config
from workloads.builders import BUILDERS, NESTED, describe, phases_of
from workloads.config import ModelConfig, shipped_models
from workloads.graph import TENSOR_KINDS, check
from workloads.ops import OPS
from workloads.phase import Phase, encode, train, verify


def graph_of(name, phase):
    return build(read_config(name), phase)


PHASES = {name: phases_of(read_config(name)) for name in shipped_models()}
DECODERS = [name for name, phases in PHASES.items() if "encode" not in phases]
PROMPT = 700  # has room for an image


def runnable():
    """Every shipped model in every phase that it has."""
    for name, phases in PHASES.items():
        made = {
            "encode": [encode(1, 16), encode(3, 16)],
            "prefill": [prefill(1, PROMPT), prefill(2, PROMPT), Phase("prefill", 2, 16, PROMPT)],
            "decode": [decode(2, 16), decode(1, 1)],
            "verify": [verify(2, 4, 16)],
            "train": [train(2, 16)],
        }
        yield from ((name, phase) for kind in phases for phase in made[kind])


def macs(graph):
    return sum(node.op.macs * node.count for node in graph)


def stored_bytes(graph, kind):
    counts = {}
    for node in graph:
        for name in (*node.op.inputs, node.op.output):
            counts[name] = node.count
    return sum(t.bytes * counts[n] for n, t in graph.tensors.items() if t.kind == kind)


@pytest.fixture
def tiny():
    """Llama's shape, small enough to count by hand; tests change keys of it."""
    return {
        "model_type": "llama",
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": 100,
        "hidden_act": "silu",
        "torch_dtype": "bfloat16",
    }


def made(data, phase):
    return build(ModelConfig("tiny", data, "tiny.json"), phase)


def test_llama_2_7b_q_proj_of_a_2048_token_prompt():
    graph = graph_of("llama-2-7b", prefill(1, 2048))
    node = graph.node("q_proj")
    assert node.count == 32
    assert 2 * node.op.macs == 2 * 2048 * 4096**2  # 68.7 GOP
    moved = sum(graph.bytes_of(node.op).values())
    assert moved == 2 * (4096 * 4096 + 2 * 2048 * 4096)  # 67.1 MB in fp16
    assert graph.tensors["q_proj.weight"].format.name == "fp16"


def test_llama_3_8b_decode_streams_15_01_gb_of_weights():
    graph = graph_of("llama-3-8b", decode(1, 2048))
    table = graph.tensors["embed_tokens.weight"]
    assert table.kind == "table"
    assert [op.name for op in graph.consumers()["embed_tokens.weight"]] == ["embed_tokens"]
    streamed = stored_bytes(graph, "weight")
    assert streamed == 2 * (8_030_261_248 - 128_256 * 4096) == 15_009_849_344


def test_llama_3_8b_macs_per_decoded_token():
    graph = graph_of("llama-3-8b", decode(1, 1000))
    matrices = 8_030_261_248 - 128_256 * 4096 - (2 * 32 + 1) * 4096  # all but table and norms
    attention = 32 * 32 * 1000 * (128 + 128)
    assert macs(graph) == matrices + attention


@pytest.mark.parametrize("name", DECODERS)
def test_a_prefill_does_the_projections_once_per_token(name):
    one, many = graph_of(name, prefill(1, 8)), graph_of(name, prefill(3, 8))
    assert macs(many) == 3 * macs(one)
    head = one.node("lm_head").op
    assert head.ranks["m"] == 1, "only the last token of a prompt is sampled from"
    assert many.node("lm_head").op.ranks["m"] == 3


@pytest.mark.parametrize(
    ("name", "layers", "kv_heads", "head_dim"),
    [("llama-2-7b", 32, 32, 128), ("llama-3-70b", 80, 8, 128), ("qwen2.5-1.5b", 28, 2, 128),
     ("gpt2", 12, 12, 64), ("opt-350m", 24, 16, 64), ("phi-3-mini", 32, 32, 96)],
)  # fmt: skip
def test_cache_bytes_per_token(name, layers, kv_heads, head_dim):
    for phase in (decode(3, 700), prefill(3, 700)):
        graph = graph_of(name, phase)
        assert graph.kv_bytes == 3 * 700 * 2 * layers * kv_heads * head_dim * 2


def test_gemma_2_alternates_local_and_global_layers():
    graph = graph_of("gemma-2-2b", decode(1, 8192))
    local, whole = graph.node("local.attention"), graph.node("global.attention")
    assert (local.count, whole.count) == (13, 13)
    assert (local.op.window, local.op.kv_len) == (4096, 4096)
    assert (whole.op.window, whole.op.kv_len) == (None, 8192)
    assert local.op.softcap
    assert whole.op.softcap
    assert graph.kv_bytes == 13 * (4096 + 8192) * 2 * 4 * 256 * 2
    norms = [n for n in graph if n.op.name.startswith("local.") and "layernorm" in n.op.name]
    assert len(norms) == 4
    assert graph.nodes[-1].op.name == "final_softcap"


def test_gemma_3_has_five_local_layers_for_a_global_one():
    graph = graph_of("gemma-3-1b", prefill(1, 2000))
    local, whole = graph.node("local.attention"), graph.node("global.attention")
    assert (local.count, whole.count) == (22, 4)  # 26 layers, every sixth global
    assert (local.op.window, local.op.kv_len) == (512, 2000)
    assert not local.op.softcap
    assert graph.node("local.q_norm").op.rows == 2000 * 4
    assert graph.kv_bytes == (22 * 512 + 4 * 2000) * 2 * 1 * 256 * 2


def test_mistral_keeps_one_window_of_the_cache():
    assert graph_of("mistral-7b", decode(2, 8192)).node("attention").op.kv_len == 4096
    graph = graph_of("mistral-7b", prefill(2, 8192))
    op = graph.node("attention").op
    assert (op.kv_len, op.window) == (8192, 4096)
    pairs = 4096 * 4097 // 2 + 4096 * 4096
    assert op.macs == 2 * 32 * pairs * 256
    assert graph.tensors["k_cache"].shape == (2 * 8 * 4096, 128)


def test_a_chunk_of_a_prompt_reads_the_cache_with_its_window():
    graph = graph_of("mistral-7b", Phase("prefill", 1, 512, 8192))
    op = graph.node("attention").op
    assert op.inputs[1:] == ("k_cache", "v_cache")
    assert op.kv_len == 4096 - 1 + 512
    assert op.visible_pairs == 512 * 4096


def test_prefill_attends_over_fresh_rows_and_decode_over_the_cache():
    fresh = graph_of("llama-3-8b", prefill(1, 64))
    assert fresh.node("attention").op.inputs == ("rope_q", "rope_k", "v_proj")
    assert "k_cache" not in fresh.consumers()
    assert fresh.node("k_append").op.run_elements == 64 * 128
    step = graph_of("llama-3-8b", decode(4, 64))
    assert step.node("attention").op.inputs == ("rope_q", "k_cache", "v_cache")
    assert step.node("k_append").op.run_elements == 128


def test_a_verify_step_scores_all_its_tokens():
    graph = graph_of("llama-3-8b", Phase("verify", 2, 5, 1000))
    assert graph.node("lm_head").op.ranks["m"] == 10
    assert graph.node("attention").op.visible_pairs == 5 * 998


def test_tied_heads_read_the_table_and_untied_ones_their_own():
    assert graph_of("llama-3.2-1b", decode(1, 1)).node("lm_head").op.inputs[1] == (
        "embed_tokens.weight"
    )
    assert graph_of("llama-3-8b", decode(1, 1)).node("lm_head").op.inputs[1] == "lm_head.weight"


def test_merged_projections_stay_merged():
    phi = graph_of("phi-3-mini", prefill(1, 16))
    assert phi.tensors["qkv_proj.weight"].shape == (3 * 3072, 3072)
    assert phi.node("act_mul").op.inputs == ("gate_up_proj",)
    assert phi.node("act_mul").op.width == 8192
    assert phi.node("rope").op.width == 2 * 3072, "v is in the tensor and is not rotated"
    gpt2 = graph_of("gpt2", prefill(1, 16))
    assert gpt2.node("attention").op.inputs == ("c_attn", "c_attn", "c_attn")
    assert gpt2.tensors["c_attn.bias"].shape == (3 * 768,)


def test_partial_rotary_rotates_part_of_every_head(tiny):
    tiny |= {"model_type": "phi3", "partial_rotary_factor": 0.75}
    assert made(tiny, decode(1, 8)).node("rope").op.width == (4 + 2) * 12  # heads of 16


def test_opt_350m_projects_its_embeddings_and_normalizes_after_the_residual():
    graph = graph_of("opt-350m", prefill(1, 16))
    names = [node.op.name for node in graph]
    assert names[:5] == [
        "embed_tokens", "project_in", "embed_positions", "position_add", "q_proj",
    ]  # fmt: skip
    assert names.index("self_attn_layer_norm") == names.index("attn_residual") + 1
    assert names[-3:] == ["last_token", "project_out", "lm_head"]
    assert graph.tensors["embed_positions.weight"].shape == (2050, 1024)


def test_qwen_biases_q_k_v_and_nothing_else():
    graph = graph_of("qwen2.5-7b", decode(1, 1))
    assert {n for n in graph.tensors if n.endswith(".bias")} == {
        "q_proj.bias", "k_proj.bias", "v_proj.bias",
    }  # fmt: skip


def test_qwen_window_begins_at_max_window_layers(tiny):
    tiny |= {"model_type": "qwen2", "sliding_window": 16, "max_window_layers": 3}
    assert made(tiny, decode(1, 64)).node("attention").count == 4
    graph = made(tiny | {"use_sliding_window": True}, decode(1, 64))
    assert (graph.node("global.attention").count, graph.node("local.attention").count) == (3, 1)


def test_layer_types_override_the_pattern(tiny):
    types = ["full_attention", "full_attention", "full_attention", "sliding_attention"]
    tiny |= {"model_type": "gemma3_text", "sliding_window": 16, "layer_types": types}
    graph = made(tiny, decode(1, 64))
    assert (graph.node("global.attention").count, graph.node("local.attention").count) == (3, 1)


def test_a_nested_configuration_inherits_the_dtype(tiny):
    text = {k: v for k, v in tiny.items() if k != "torch_dtype"}
    graph = made({"model_type": "gemma3", "text_config": text, "dtype": "bfloat16"}, decode(1, 8))
    assert {t.format.name for t in graph.tensors.values()} == {"bf16"}


@pytest.mark.parametrize(("dtype", "name"), [("float32", "fp32"), ("bfloat16", "bf16")])
def test_dtype_of_the_checkpoint(tiny, dtype, name):
    del tiny["torch_dtype"]
    assert describe(ModelConfig("t", tiny, "t")).format.name == "fp16"
    assert describe(ModelConfig("t", tiny | {"dtype": dtype}, "t")).format.name == name


@pytest.mark.parametrize(("name", "phase"), list(runnable()))
def test_graph_conforms(name, phase):
    graph = check(graph_of(name, phase))
    named = {t for n in graph for t in (*n.op.inputs, n.op.output)}
    assert set(graph.tensors) == named | set(graph.copies)
    assert {t.kind for t in graph.tensors.values()} <= set(TENSOR_KINDS)
    assert {n.op.kind for n in graph} <= set(OPS)
    made = {n.op.output for n in graph}
    given = {t for n in graph for t in n.op.inputs if t not in made}
    images = ("pixel_values", "input_features")  # the others are stored
    fed = {t for t in given if graph.tensors[t].kind == "activation"}
    assert all(t.rpartition(".")[2] in images for t in fed)
    assert len(fed) <= 1


@pytest.mark.parametrize("name", DECODERS)
def test_the_longest_context_is_the_configurations(name):
    data = read_config(name).data
    keys = "max_position_embeddings", "n_positions", "context_length"
    stated = [data[key] for key in keys if key in data]
    assert graph_of(name, decode(1, 16)).max_context == (stated[0] if stated else None)


PARTS = ("q_absorb", "kv_b_proj.k", "kv_b_proj.v", "dt_proj")  # read some columns of their input


@pytest.mark.parametrize(("name", "phase"), list(runnable()))
def test_shapes_agree_along_every_multiplication(name, phase):
    graph = graph_of(name, phase)
    for node in graph:
        op, inputs = node.op, [graph.tensors[t] for t in node.op.inputs[:2]]
        if op.kind == "experts":
            assert inputs[0].shape == (op.rows, op.k)
            assert inputs[1].shape[1:] == (op.n, op.k)
            assert graph.tensors[op.output].shape == (op.rows, op.n)
        if op.kind != "einsum":
            continue
        batch, m, n, k = op.roles().values()
        assert inputs[1].elements == batch * n * k
        assert graph.tensors[op.output].shape == (m, batch * n)
        if op.window:
            assert inputs[0].shape[1] == op.window.channels
            assert inputs[0].shape[0] % prod(op.window.size) == 0
            assert batch * k == op.window.channels * prod(op.window.kernel)
        elif op.name.endswith(PARTS):
            assert inputs[0].shape[1] > batch * k
        else:
            assert inputs[0].shape == (m, batch * k)


def test_every_builder_has_a_shipped_model_or_a_variant():
    shipped = {read_config(name).data["model_type"] for name in shipped_models()}
    assert set(BUILDERS) - shipped == {"gemma"}  # in test_params.VARIANTS
    assert set(NESTED.values()) <= set(BUILDERS)


def test_a_phase_that_the_model_cannot_run():
    with pytest.raises(UserError, match="gpt2 has 1024 learned positions; a context of 1025"):
        graph_of("gpt2", decode(1, 1025))
    with pytest.raises(
        UserError, match="its phases are prefill, decode, verify, train, not encode"
    ):
        graph_of("gpt2", Phase("encode", 1, 8, 8))
    with pytest.raises(UserError, match="16 new tokens do not fit in a context of 8"):
        graph_of("gpt2", Phase("verify", 1, 16, 8))
