"""A training step against its forward pass, and closed forms of its sources."""

from math import prod

import pytest

from kernels_ref.errors import UserError
from workloads import build, decode, prefill, read_config
from workloads.builders import phases_of
from workloads.config import shipped_models
from workloads.graph import TENSOR_KINDS, check
from workloads.ops import Attention, AttentionBackward
from workloads.ops.gradients import GRADIENT_FUNCTIONS, GRADIENTS
from workloads.ops.vector import FUNCTIONS
from workloads.phase import train
from workloads.training import trained, training
from workloads.transforms import TRANSFORMS
from workloads.transforms.apply import TransformError, apply
from workloads.transforms.edit import PhaseError
from workloads.transforms.expert_cache import expert_cache
from workloads.transforms.offload import offload
from workloads.transforms.parallel import AXES

LLAMA = build(read_config("llama-3-8b"), train(2, 512))
OPT = read_config("opt-6.7b")
MULTIPLY = ("einsum", "experts")


def macs(graph, *kinds):
    return sum(node.count * node.op.macs for node in graph if node.op.kind in kinds)


def trainable():
    return [name for name in shipped_models() if "train" in phases_of(read_config(name))]


def stored(graph, kind):
    """(tensor, copies) of a kind."""
    copies = graph.stored_copies()
    return [(t, copies[t.name]) for t in graph.tensors.values() if t.kind == kind]


@pytest.mark.parametrize("name", trainable())
def test_a_step_has_three_times_the_multiplications_of_its_forward_pass(name):
    graph = build(read_config(name), train(2, 64))
    step = check(training(graph))
    # the first multiplication of an image has an input that nobody learns
    pixels = [n for n in graph if n.op.kind in MULTIPLY and n.op.inputs[0] == "pixel_values"]
    unlearned = sum(node.count * node.op.macs for node in pixels)
    assert macs(step, *MULTIPLY) == 3 * macs(graph, *MULTIPLY) - unlearned
    for node in step:
        if isinstance(node.op, AttentionBackward):
            d, dv = node.op.forward.head_dim, node.op.forward.v_head_dim
            assert node.op.macs * (d + dv) == node.op.forward.macs * (3 * d + 2 * dv)
    assert step.params == graph.params
    assert step.weight_bytes == graph.weight_bytes
    assert {t.kind for t in step.tensors.values()} <= set(TENSOR_KINDS)


def test_a_dense_model_takes_six_operations_per_parameter_and_token():
    """Kaplan et al., arXiv 2001.08361, sec. 2.1: C = 6 N D, embeddings and attention aside."""
    table = 128256 * 4096
    norms = (2 * 32 + 1) * 4096
    matrices = LLAMA.params - table - norms
    assert 2 * macs(training(LLAMA), *MULTIPLY) == 6 * matrices * 2 * 512


def test_gradients_are_as_large_as_weights_and_a_parameter_takes_sixteen_bytes():
    """ZeRO, arXiv 1910.02054, sec. 3.1: 2 + 2 + 12 bytes of a parameter with Adam."""
    step = training(LLAMA)
    optimizer = [t for t, _ in stored(step, "state") if t.name.startswith("adam.")]
    copies = step.stored_copies()
    moments = sum(copies[t.name] * t.bytes for t in optimizer)
    assert moments == 12 * LLAMA.params
    assert step.state_bytes - moments == LLAMA.weight_bytes
    assert step.weight_bytes + step.state_bytes == 16 * LLAMA.params
    assert training(LLAMA, gradients="fp32").state_bytes == 16 * LLAMA.params
    assert training(LLAMA, optimizer="momentum").state_bytes == 10 * LLAMA.params
    assert training(LLAMA, optimizer="sgd").state_bytes == 6 * LLAMA.params
    whole = build(read_config("bert-base"), train(1, 64))
    assert training(whole).state_bytes == 12 * whole.params, "fp32 needs no master copy"


def test_every_parameter_is_updated_once():
    step = training(LLAMA, accumulate=3)
    updates = [node for node in step if node.op.kind == "update"]
    assert sum(node.count * node.op.elements for node in updates) == LLAMA.params


@pytest.mark.parametrize("pattern", ["2:4", "block=16x16,density=0.25", "unstructured,density=0.1"])
def test_an_update_writes_sparse_matrices_as_they_are_stored(pattern):
    sparse = apply(LLAMA, f"sparse({pattern})")
    step, dense = training(sparse), training(LLAMA)
    updates = [node for node in step if node.op.kind == "update"]
    written = sum(node.count * step.tensors[node.op.output].bytes for node in updates)
    assert written == step.weight_bytes == sparse.weight_bytes < LLAMA.weight_bytes
    assert sum(node.count * node.op.elements for node in updates) == LLAMA.params
    assert step.state_bytes == dense.state_bytes, "gradients, moments, master copies are dense"
    assert len([n for n in dense if n.op.kind == "update"]) == 2, "of layers, and of the rest"


def test_a_tied_table_has_one_gradient_of_two_parts():
    graph = build(read_config("llama-3.2-1b"), train(1, 64))
    step = training(graph)
    parts = step.node("embed_tokens.weight.gradient.sum1").op
    assert {step.tensors[t].elements for t in parts.inputs} == {128256 * 2048}
    assert step.state_bytes == 14 * graph.params


def test_activations_are_those_of_the_published_closed_form():
    """Korthikanti et al., arXiv 2205.05198, eq. 1: a layer keeps s b h (34 + 5 a s / h) bytes. Of
    these dropout, which we do not have, takes s b h (1 + 1) for masks of two branches and
    a s s b (1 + 2) for the mask and result of attention's; of eq. 4, sec. 5, attention's scores
    are not kept: s b h (34)."""
    s, b, h, a, layers, vocab = 256, 2, 4096, 32, 32, 50272
    graph = build(OPT, train(b, s))
    token = s * b
    # behind the layers: what enters the last norm and lm_head, the logits, each row's loss
    head = 2 * token * h * 2 + token * vocab * 2 + 4 * token
    kept = training(graph, recompute="none").saved_bytes - head
    assert kept == layers * (token * h * (34 - 2) + (5 - 3) * a * s * token)
    kept = training(graph).saved_bytes - head
    sums = 4 * a * token  # FlashAttention's log-sum-exps, fp32
    assert kept == layers * (token * h * (34 - 2) + sums)


def test_full_recomputation_repeats_a_kind_that_has_one_layer():
    graph = build(read_config("deepseek-v2-lite"), train(1, 64))
    step = check(training(graph, recompute="full"))
    again = {node.layer for node in step if node.op.name.startswith("again.")}
    assert again == {"dense", "sparse"}


def test_full_recomputation_keeps_what_enters_a_layer_and_one_layer():
    """arXiv 2205.05198, sec. 5: 2 s b h a layer."""
    s, b, h, a, layers, vocab = 256, 2, 4096, 32, 32, 50272
    graph = build(OPT, train(b, s))
    token = s * b
    head = 2 * token * h * 2 + token * vocab * 2 + 4 * token
    step = check(training(graph, recompute="full"))
    layer = token * h * (34 - 2) + 4 * a * token - 2 * token * h  # what enters it is kept as such
    assert step.saved_bytes == head + layers * 2 * token * h + layer
    of_layers = sum(n.count * n.op.macs for n in graph if n.op.kind in MULTIPLY and n.count > 1)
    assert macs(step, *MULTIPLY) == 3 * macs(graph, *MULTIPLY) + of_layers
    assert macs(step, "attention") == 2 * macs(graph, "attention")


def test_scores_that_are_kept_are_multiplied_twice_backward():
    graph = build(OPT, train(1, 128))
    step = training(graph, recompute="none")
    square = 32 * 32 * 128 * 128 * 2 * 128  # layers, heads, pairs, two products
    assert macs(step, *MULTIPLY) == 3 * (macs(graph, *MULTIPLY) + square)
    assert not [n for n in step if isinstance(n.op, (Attention, AttentionBackward))]
    with pytest.raises(UserError, match="recompute=none keeps the scores of plain attention only"):
        training(build(read_config("phi-3-mini"), train(1, 64)), recompute="none")


@pytest.mark.parametrize("name", trainable())
def test_gradients_of_an_op_s_own_parameters_are_named_after_them_once(name):
    step = training(build(read_config(name), train(1, 64)))
    for node in step:
        before, _, op = node.op.name.partition(".gradient.of_")
        assert not (op and before.startswith(f"{op}.")), node.op.name


def test_passes_before_an_update_repeat_all_but_the_update():
    once, thrice = training(LLAMA), training(LLAMA, accumulate=3)
    assert macs(thrice, *MULTIPLY) == 3 * macs(once, *MULTIPLY)
    assert thrice.produced == 3 * 512
    assert thrice.state_bytes == once.state_bytes
    assert thrice.saved_bytes == once.saved_bytes
    counts = [sum(n.count for n in g if n.op.kind == "update") for g in (once, thrice)]
    assert counts[0] == counts[1]
    adds = [n for n in thrice if any(t.endswith(".gradient.before") for t in n.op.inputs)]
    written = sum(n.count / 3 * thrice.tensors[n.op.output].elements for n in adds)
    assert written == LLAMA.params, "every gradient is added to the one before"


def test_products_of_fp8_take_gradients_with_more_range():
    """FP8 formats, arXiv 2209.05433, sec. 3: E4M3 forward, E5M2 for gradients."""
    step = training(apply(LLAMA, "quantize(fp8)"))
    for name in ("q_proj.gradient", "q_proj.weight_gradient"):
        gradient, other = (step.tensors[t] for t in step.node(name).op.inputs)
        assert gradient.format.element == "fp8_e5m2"
        assert other.format.element == "fp8"
        assert step.tensors[name].format.name == "bf16"
    conversions = [n for n in step if n.op.name.endswith(".gradient.quantize")]
    assert sum(n.count for n in conversions) == 7 * 32, "once for both products"
    assert macs(step, *MULTIPLY) == 3 * macs(LLAMA, *MULTIPLY)
    own = training(apply(LLAMA, "quantize(fp8)"), backward="fp8")
    assert own.tensors[own.node("q_proj.gradient").op.inputs[0]].format.element == "fp8"


@pytest.mark.parametrize("formats", ["w8a8", "mxfp8", "w4a8-g128"])
def test_gradients_are_no_sums_over_scales_that_differ(formats):
    """C = (s_m A)(t_n B)^T: dA = dC (t_n B) sums over n, dB = dC^T (s_m A) over m. Both take dC in
    16 bits; dB takes A before it was rounded."""
    step = training(apply(LLAMA, f"quantize({formats})"))
    weight = step.tensors["q_proj.weight"].format
    assert [step.tensors[t].format.name for t in step.node("q_proj.gradient").op.inputs] == [
        "bf16",
        weight.name,
    ]
    for node in step:
        if node.op.name.endswith(".weight_gradient"):
            assert {step.tensors[t].format.name for t in node.op.inputs} == {"bf16"}
    assert step.node("q_proj.weight_gradient").op.inputs[1] == "input_layernorm"
    assert not [n for n in step if n.op.name.endswith(".gradient.quantize")]
    assert macs(step, *MULTIPLY) == 3 * macs(LLAMA, *MULTIPLY)


@pytest.mark.parametrize(("formats", "scaled"), [("w8a8", "int8"), ("fp8", "int8")])
def test_gradients_of_few_bits_with_such_scales_are_refused(formats, scaled):
    backward = "fp8" if formats == "w8a8" else "int8"
    with pytest.raises(UserError, match=rf"what scales of {scaled}\S* differ along; .*{backward}"):
        training(apply(LLAMA, f"quantize({formats})"), backward=backward)


def test_parts_of_a_gradient_follow_the_op_that_makes_the_whole():
    step = training(LLAMA)
    dag = step.dag()
    assert dag.has_edge("attention.gradient", "rope_q.gradient")
    assert dag.has_edge("attention.gradient", "v_proj.gradient")
    whole = step.tensors["attention.gradient"].elements
    assert whole == sum(step.tensors[f"attention.gradient.{part}"].elements for part in "qkv")


def test_nothing_is_cached_and_every_token_is_scored():
    assert LLAMA.kv_bytes == 0
    assert LLAMA.node("lm_head").op.ranks["m"] == 2 * 512
    assert not [n for n in LLAMA if n.op.kind == "move"]
    other = build(read_config("llama-3-8b"), prefill(2, 512))
    assert macs(LLAMA, "attention") == macs(other, "attention")


@pytest.mark.parametrize("text", ["window(64)", "block_sparse(0.5)", "skip_layers(0.5)",
                                  "early_exit(16,0.5)", "quantize(fp8)"])  # fmt: skip
def test_transforms_of_the_forward_pass_come_first(text):
    step = trained(apply(LLAMA, text))
    assert step.state_bytes
    assert macs(step, "attention_backward") == 2.5 * macs(step, "attention")
    assert apply(LLAMA, f"{text}+training(recompute=full)").saved_bytes < step.saved_bytes


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("training(recompute=fulll)", "unknown 'fulll'; did you mean 'full'"),
        ("training(optimizer=adamw)", "unknown 'adamw'; did you mean 'adam'"),
        ("training(accumulate=0)", "accumulate is 0; at least 1"),
        ("offload()+training()", "keeps all in the chip's own memory"),
        ("training()+training()", "is a training step already"),
        ("training(backward=fp8_e5m2)", r"fewer than 16 bits, and llama-3-8b has none; quantize"),
    ],
)
def test_what_a_step_cannot_be_is_refused(text, message):
    with pytest.raises(UserError, match=message):
        apply(LLAMA, text)


@pytest.mark.parametrize(
    ("model", "text"),
    [("llama-3-8b", "sparse_neurons(0.001,rank=32)"), ("mixtral-8x7b", "token_major()")],
)
def test_what_gradients_do_not_follow_is_of_inference(model, text):
    config = read_config(model)
    with pytest.raises(UserError, match=f"{text.partition('(')[0]} is of inference; {model}"):
        apply(build(config, train(1, 64)), text)
    assert apply(build(config, prefill(1, 64)), text)


def test_what_is_trained_is_not_moved_away_later():
    with pytest.raises(UserError, match="keeps all in the chip's own memory"):
        trained(offload(training(LLAMA)))


def test_only_experts_matrices_are_cached():
    """Their gradients are made by ops of the same kind, of activations."""
    graph = build(read_config("mixtral-8x7b"), train(1, 64))
    cached = [expert_cache(g, 0.5).tensors.values() for g in (graph, training(graph))]
    forward, step = ({t.name: t.away for t in tensors if t.away} for tensors in cached)
    assert forward == step
    assert all(graph.tensors[name].kind == "weight" for name in forward)


AFTER = {
    "quantize": "w8a8", "outliers": "", "sparse": "2:4", "window": "64", "block_sparse": "0.5",
    "skip_layers": "0.5", "early_exit": "16,0.5", "sparse_neurons": "0.1,rank=32", "offload": "",
}  # fmt: skip


@pytest.mark.parametrize("name", AFTER)
def test_what_changes_the_forward_pass_does_not_follow_its_gradients(name):
    with pytest.raises(TransformError, match=rf"{name}: .*training\(\) goes last"):
        apply(LLAMA, f"training()+{name}({AFTER[name]})")


@pytest.mark.parametrize("axis", AXES)
def test_a_step_is_shared_out_after_it_is_made(axis):
    step = apply(LLAMA, f"training()+{axis.__name__}(2)")
    assert step.nodes == training(LLAMA).nodes
    assert [split.ways for split in step.splits] == [2]


def test_every_axis_is_a_transform_and_no_other_transform_splits():
    splits = {f for f in TRANSFORMS.values() if f.__module__ == AXES[0].__module__}
    assert splits == set(AXES)


@pytest.mark.parametrize("phase", [prefill(1, 16), decode(1, 16)])
def test_other_phases_are_not_trained(phase):
    graph = build(read_config("llama-3-8b"), phase)
    with pytest.raises(PhaseError, match="is made of the phase train, not of"):
        training(graph)
    assert trained(graph) is graph


def test_a_function_without_gradients_is_refused():
    graph = build(read_config("llama-3-8b"), train(1, 16))
    op = graph.node("act_mul").op
    nodes = tuple(
        type(n)(type(op)(op.name, op.inputs, op.output, "compare", op.rows, op.width), n.count)
        if n.op is op
        else n
        for n in graph
    )
    other = type(graph)(**{**graph.__dict__, "nodes": nodes})
    with pytest.raises(UserError, match=r"no rule for the gradients of act_mul.*'compare'"):
        training(other)


@pytest.mark.parametrize("name", GRADIENTS)
def test_every_function_of_a_gradient_is_known_and_no_cheaper_than_a_product(name):
    for of in GRADIENTS[name]:
        if of.function:
            assert of.function in FUNCTIONS
            assert sum(FUNCTIONS[of.function].element.values()) >= 1
    assert prod(len(f.element) for f in GRADIENT_FUNCTIONS.values()) > 0
