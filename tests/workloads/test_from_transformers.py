"""Traced models against the builders, against torch's own count of parameters, and by hand."""

import socket
import sys
from dataclasses import replace

import pytest

from kernels_ref.errors import UserError
from workloads import build, decode, prefill, read_config
from workloads.agreement import disagreements
from workloads.builders import phases_of
from workloads.config import ModelConfig
from workloads.from_transformers import from_transformers, trace
from workloads.graph import Graph
from workloads.ops.experts import balanced
from workloads.phase import Phase, encode, ragged, verify
from workloads.published import traced_classes

REASON = "traces need torch and transformers: pip install 'tileloom[hf]'"
torch = pytest.importorskip("torch", reason=REASON)
transformers = pytest.importorskip("transformers", reason=REASON)

TRACED = traced_classes()
PHASES = {name: phases_of(read_config(name)) for name in TRACED}
DECODERS = [name for name, phases in PHASES.items() if "encode" not in phases]
ENCODERS = [name for name, phases in PHASES.items() if "decode" not in phases]
ENCODER_DECODERS = [name for name in TRACED if name not in (*DECODERS, *ENCODERS)]
GEMMA = {
    "model_type": "gemma",
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "vocab_size": 100,
    "max_position_embeddings": 4096,
    "torch_dtype": "bfloat16",
}
LLAMA = GEMMA | {"model_type": "llama", "num_key_value_heads": 2, "hidden_act": "silu"}
MIXTRAL = LLAMA | {
    "model_type": "mixtral",
    "num_local_experts": 8,
    "num_experts_per_tok": 2,
    "sliding_window": None,
}


def traced(name: str, phase: Phase) -> Graph:
    return from_transformers(f"hf:{TRACED[name]}:{name}", phase)


def made(class_name: str, data: dict[str, object], phase: Phase) -> Graph:
    return trace(class_name, ModelConfig("tiny", data, "tiny.json", {"model_type": 2}), phase)


def macs(graph: Graph) -> float:
    return sum(node.op.macs * node.count for node in graph)


def lengths(name: str) -> tuple[int, int]:
    """A prompt and a context beyond the window of any model that has one, within its positions."""
    data = read_config(name).data
    most = data.get("n_positions", data.get("max_position_embeddings", 9000))
    return min(4500, most), min(5000, most)


@pytest.mark.parametrize("name", DECODERS)
def test_a_decoder_is_traced_as_it_is_built(name):
    prompt, context = lengths(name)
    for phase in (prefill(2, prompt), decode(3, context)):
        assert disagreements(traced(name, phase), build(read_config(name), phase)) == []


@pytest.mark.parametrize("name", ["gemma-3-1b", "phi-3-mini"])
def test_chunks_and_verified_tokens_are_traced_as_they_are_built(name):
    for phase in (Phase("prefill", 2, 100, 3000), verify(2, 4, 3000)):
        assert disagreements(traced(name, phase), build(read_config(name), phase)) == []


@pytest.mark.parametrize("name", ENCODERS)
def test_an_encoder_is_traced_as_it_is_built(name):
    phase = encode(2, 70)
    assert disagreements(traced(name, phase), build(read_config(name), phase)) == []


@pytest.mark.parametrize("name", ENCODER_DECODERS)
def test_an_encoder_decoder_is_traced_as_it_is_built(name):
    for phase in (encode(2, 70), prefill(2, 70), decode(2, 50)):
        assert disagreements(traced(name, phase), build(read_config(name), phase)) == []


@pytest.mark.parametrize(
    "name", ["deepseek-v2-lite", pytest.param("deepseek-v3", marks=pytest.mark.slow)]
)
def test_latent_attention_agrees_in_a_prefill_and_says_how_a_step_differs(name):
    spec, config = f"hf:DeepseekV{name[10]}ForCausalLM:{name}", read_config(name)
    phase = prefill(2, 64)
    assert disagreements(from_transformers(spec, phase), build(config, phase)) == []
    found = disagreements(from_transformers(spec, decode(2, 64)), build(config, decode(2, 64)))
    assert any(d.startswith("MACs of attention") for d in found)
    assert any(d.startswith("dense.kv_b_proj: only in the traced graph") for d in found)


def test_gemma_is_traced_as_it_is_built():
    config = ModelConfig("tiny", GEMMA, "tiny.json")
    for phase in (prefill(2, 30), decode(2, 30)):
        assert disagreements(trace("GemmaForCausalLM", config, phase), build(config, phase)) == []


def test_bart_differs_by_the_bias_of_its_logits_that_the_program_adds():
    config, phase = read_config("bart-large"), decode(2, 64)
    graph = trace("BartForConditionalGeneration", config, phase)
    found = disagreements(graph, build(config, phase))
    assert sorted(d.split(":")[0] for d in found) == ["add", "params", "weight_bytes"]
    assert graph.params - build(config, phase).params == config.data["vocab_size"]


def dropped(graph: Graph, name: str) -> Graph:
    gone = graph.node(name).op
    nodes = []
    for node in graph:
        inputs = tuple(gone.inputs[0] if n == gone.output else n for n in node.op.inputs)
        if node.op is not gone:
            nodes.append(replace(node, op=replace(node.op, inputs=inputs)))
    return replace(graph, nodes=tuple(nodes))


def changed(graph: Graph, name: str, **facts: object) -> Graph:
    nodes = tuple(
        replace(node, op=replace(node.op, **facts)) if node.op.name == name else node
        for node in graph
    )
    return replace(graph, nodes=nodes)


def counted(graph: Graph, name: str, count: int) -> Graph:
    nodes = tuple(replace(n, count=count) if n.op.name == name else n for n in graph)
    return replace(graph, nodes=nodes)


def resized(graph: Graph, name: str, shape: tuple[int, ...]) -> Graph:
    tensor = replace(graph.tensors[name], shape=shape)
    return replace(graph, tensors={**graph.tensors, name: tensor})


SPOILED = {
    "an op is missing": lambda g: dropped(g, "rope_q"),
    "a residual is missing": lambda g: dropped(g, "mlp_residual"),
    "a layer less": lambda g: counted(g, "down_proj", 2),
    "a narrower weight": lambda g: resized(g, "up_proj.weight", (95, 64)),
    "a wider activation": lambda g: resized(g, "up_proj", (60, 97)),
    "a smaller cache": lambda g: resized(g, "k_cache", (119, 16)),
    "a window": lambda g: changed(g, "attention", window=4),
    "not causal": lambda g: changed(g, "attention", causal=False),
    "a head less": lambda g: changed(g, "attention", q_heads=3),
    "another activation": lambda g: changed(g, "act_mul", function="gelu_mul"),
    "another source": lambda g: changed(g, "v_proj", inputs=("embed_tokens", "v_proj.weight")),
    "up from attention": lambda g: changed(g, "up_proj", inputs=("o_proj", "up_proj.weight")),
    "of half the width": lambda g: changed(g, "rope_k", width=16),
    "rows of other lengths": lambda g: changed(g, "norm", rows=4, width=32),
    "another batch": lambda g: replace(g, batch=1),
}


@pytest.mark.parametrize("how", SPOILED)
def test_every_difference_is_found(how):
    config = ModelConfig("tiny", LLAMA, "tiny.json")
    graph = trace("LlamaForCausalLM", config, prefill(2, 30))
    whole = build(config, prefill(2, 30))
    assert disagreements(graph, whole) == []
    assert disagreements(graph, SPOILED[how](whole))


BASES = {
    "LlamaModel": (LLAMA, prefill(2, 16)),
    "MixtralModel": (MIXTRAL, decode(2, 16)),
    "GPTNeoXForCausalLM": ({"num_hidden_layers": 2, "hidden_size": 64, "num_attention_heads": 4},
                           prefill(1, 16)),
    "CohereForCausalLM": ({"num_hidden_layers": 2, "hidden_size": 64, "num_attention_heads": 4},
                          prefill(1, 16)),
    "BertModel": ({"num_hidden_layers": 2}, encode(1, 16)),
    "RobertaModel": ({"num_hidden_layers": 2}, encode(1, 16)),
    "ViTModel": ({"num_hidden_layers": 2}, encode(1)),
    "Dinov2Model": ({"num_hidden_layers": 2}, encode(1)),
    "CLIPTextModel": ({"num_hidden_layers": 2}, encode(1, 16)),
    "CLIPVisionModel": ({"num_hidden_layers": 2}, encode(1)),
    "SiglipModel": ({}, encode(1, 16)),
    "T5Model": ({"num_layers": 2}, prefill(1, 16)),
    "T5EncoderModel": ({"num_layers": 2}, encode(1, 16)),
    "WhisperModel": ({}, prefill(1, 1)),
    "BartModel": ({"encoder_layers": 2, "decoder_layers": 2}, decode(1, 16)),
}  # fmt: skip


@pytest.mark.parametrize("class_name", BASES)
def test_parameters_are_those_that_torch_counts(class_name):
    data, phase = BASES[class_name]
    kind = getattr(transformers, class_name)
    data = {"model_type": kind.config_class.model_type, **data}
    with torch.device("meta"):
        model = kind(kind.config_class.from_dict(data))
    graph = made(class_name, data, phase)
    assert graph.params == sum(p.numel() for p in model.parameters())
    assert macs(graph) > 0


def test_layers_are_folded_whatever_their_number():
    few, many = (
        made("LlamaForCausalLM", LLAMA | {"num_hidden_layers": n}, prefill(1, 8)) for n in (2, 6)
    )
    assert [n.op.name for n in few] == [n.op.name for n in many]
    assert (few.node("q_proj").count, many.node("q_proj").count) == (2, 6)
    head = many.node("lm_head").op.macs
    assert (macs(many) - head) == 3 * (macs(few) - head)


def test_macs_of_a_small_mixture_of_experts():
    graph, tokens = made("MixtralForCausalLM", MIXTRAL, prefill(1, 5)), 5
    attention = 4 * (16 + 16) * (tokens * (tokens + 1) // 2)
    projections = tokens * 64 * (64 + 32 + 32 + 64)
    experts = 2 * tokens * 3 * 64 * 96
    assert macs(graph) == 3 * (attention + projections + tokens * 64 * 8 + experts) + 64 * 100


@pytest.mark.parametrize(("tokens", "active"), [(1, 2), (2, 4), (5, 6), (100, 8)])
def test_experts_that_get_a_row(tokens, active):
    """8 (1 - (1 - 2/8)^T), rounded: 2, 3.5, 6.1, 8."""
    op = made("MixtralForCausalLM", MIXTRAL, prefill(1, tokens)).node("experts.down_proj").op
    assert op.loads == balanced(2 * tokens, active)


def test_a_partial_rotation_is_counted_by_what_it_rotates():
    data = LLAMA | {"model_type": "phi3", "partial_rotary_factor": 0.5, "pad_token_id": 0}
    rope = made("Phi3ForCausalLM", data, prefill(1, 8)).node("rope").op
    assert (rope.rows, rope.width) == (8, (4 + 2) * 8)


def test_a_window_is_read_off_the_mask():
    data = LLAMA | {"model_type": "mistral", "sliding_window": 7}
    op = made("MistralForCausalLM", data, prefill(1, 20)).node("attention").op
    assert (op.causal, op.window) == (True, 7)
    assert op.visible_pairs == sum(min(i + 1, 7) for i in range(20))


def test_a_mask_without_an_op_is_refused():
    from workloads.traced.interfaces import described

    def even_keys(batch, head, query, key):
        return (key % 2 == 0) & (key <= query)

    with pytest.raises(UserError, match="neither causal, nor causal with a window, nor open"):
        described(even_keys, (8, 8), (0, 0))


def recorded(module, *shape):
    from workloads.traced.elementwise import finish
    from workloads.traced.events import Value
    from workloads.traced.fuse import fuse
    from workloads.traced.recorder import Recorder, watching

    recorder, x = Recorder(1), torch.empty(*shape, device="meta")
    recorder.bind(x, Value((x.numel() // shape[-1], shape[-1]), name="x"))
    with watching(recorder, module):
        module(x)
    return [finish(event) for event in fuse(recorder.events)]


class Wrapped(torch.nn.Module):
    """A module around a function."""

    def __init__(self, function):
        super().__init__()
        self.inner = torch.nn.Identity()
        self.function = function

    def forward(self, x):
        return self.function(self.inner(x))


def test_an_operation_without_a_rule_is_named():
    with pytest.raises(
        UserError, match=r"no rule for the operation aten::erfinv of shapes \[4, 8\]"
    ):
        recorded(Wrapped(lambda x: x.erfinv()), 4, 8)


def test_writes_in_place_are_seen_and_views_are_free():
    def program(x):
        y = x.view(2, 2, 8).transpose(0, 1)
        y[0] += 1
        return y.reshape(4, 8)

    events = recorded(Wrapped(program), 4, 8)
    assert [(e.kind, e.function) for e in events] == [("vector", "add"), ("move", "")]
    assert (events[0].facts["rows"], events[0].facts["width"]) == (2, 8)
    assert events[1].inputs == [events[0].output]
    assert events[1].output.elements == 32


def test_a_copy_of_what_is_permuted_is_a_move():
    (event,) = recorded(Wrapped(lambda x: x.t().contiguous()), 4, 8)
    assert event.kind == "move"
    assert event.output.elements == 32


def test_a_mean_is_work_on_what_is_read():
    (event,) = recorded(Wrapped(lambda x: x.mean(-1)), 4, 8)
    assert (event.function, event.facts) == ("reduce_mean", {"rows": 4, "width": 1, "taps": 8})


WRONG = [
    ("hf:LlamaForCausalLM", "write hf:CLASS:CONFIG"),
    ("hf:LlamaForCausalML:llama-3-8b", "did you mean 'LlamaForCausalLM'"),
    ("hf:LlamaForCausalLM:llama-3-9b", "did you mean 'llama-3-8b'"),
    ("hf:BertModel:llama-3-8b", "wants a configuration of model_type 'bert', not 'llama'"),
    ("hf:RwkvForCausalLM:rwkv-4-169m", "computes its state token by token"),
]


@pytest.mark.parametrize(("spec", "message"), WRONG)
def test_mistakes_are_explained(spec, message):
    with pytest.raises(UserError, match=message):
        from_transformers(spec, prefill(1, 8))


def test_phases_that_a_model_does_not_have():
    with pytest.raises(UserError, match="is a decoder: its phases are prefill, decode, verify"):
        traced("gpt2", encode(1, 8))
    with pytest.raises(UserError, match="is an encoder: its phase is encode, not decode"):
        traced("bert-base", decode(1, 8))
    with pytest.raises(UserError, match="do not fit in a context of 8"):
        traced("gpt2", verify(1, 9, 8))
    with pytest.raises(UserError, match="sequences of one length"):
        traced("gpt2", ragged([8, 9]))


def test_a_class_whose_control_flow_needs_values_is_refused():
    data = {"model_type": "deberta-v2", "relative_attention": True, "num_hidden_layers": 1}
    with pytest.raises(UserError, match="DebertaV2Model: the model cannot be traced"):
        made("DebertaV2Model", data, encode(1, 8))


def test_a_quantized_file_is_refused():
    data = LLAMA | {"quantization_config": {"bits": 4}}
    with pytest.raises(UserError, match="delete the key and pass --formats"):
        made("LlamaForCausalLM", data, prefill(1, 8))


def test_nothing_is_downloaded(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert traced("gpt2", prefill(1, 8)).params == 124_439_808


def test_without_the_extra_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UserError, match=r"pip install 'tileloom\[hf\]'"):
        traced("gpt2", prefill(1, 8))


def test_the_interfaces_are_given_back():
    from transformers.integrations.moe import ALL_EXPERTS_FUNCTIONS
    from transformers.models.llama import modeling_llama

    before = modeling_llama.apply_rotary_pos_emb
    made("LlamaForCausalLM", LLAMA, prefill(1, 8))
    assert modeling_llama.apply_rotary_pos_emb is before
    assert "tileloom" not in ALL_EXPERTS_FUNCTIONS
    assert torch.get_default_dtype() is torch.float32
