"""Decoders with mixtures of experts: Mixtral, Qwen 2 and 3 MoE, OLMoE, gpt-oss, DeepSeek V2 and V3.

Source: configuration and modeling files of Hugging Face transformers (`models/<model_type>/`);
defaults stated here are those of the configuration class that published files leave out.
Not modeled: DeepSeek's multi-token prediction module (a file's `num_nextn_predict_layers`; it is
not run without speculation); groups of experts that limit the choice.
"""

from __future__ import annotations

from dataclasses import replace

from workloads.builders.fields import Fields
from workloads.builders.parts import GATED, Layer, grouped, sliding_layers, storage_format
from workloads.builders.rotary import count_of, rotary
from workloads.builders.spec import DecoderSpec, ExpertsSpec, LatentSpec, LayerKind, Names

SHARED = "shared_experts"


def mixtral(f: Fields) -> DecoderSpec:
    """Mixtral: every MLP is a mixture."""
    f.defaults = {"tie_word_embeddings": False, "sliding_window": None}
    spec = rotary(f)
    experts = _experts(f, "num_local_experts", spec.intermediate)
    window = f.nullable_integer("sliding_window")
    return replace(spec, layers=grouped([Layer(window, experts)] * count_of(f)))


def qwen2_moe(f: Fields) -> DecoderSpec:
    """Qwen 1.5 and 2 MoE: biased q, k and v; a shared expert with a weight of its own."""
    f.defaults = {"tie_word_embeddings": False, "decoder_sparse_step": 1, "mlp_only_layers": []}
    shared = f.integer("shared_expert_intermediate_size")
    experts = _experts(f, "num_experts", f.integer("moe_intermediate_size"))
    experts = replace(experts, shared=shared, shared_gate=True)
    return replace(rotary(f), qkv_bias=True, layers=_some(f, experts))


def qwen3_moe(f: Fields) -> DecoderSpec:
    """Qwen 3 MoE: normalized query and key heads, no shared expert."""
    f.defaults = {
        "tie_word_embeddings": False,
        "decoder_sparse_step": 1,
        "mlp_only_layers": [],
        "attention_bias": False,
    }
    experts = _experts(f, "num_experts", f.integer("moe_intermediate_size"))
    bias = f.flag("attention_bias")
    layers = _some(f, experts)
    return replace(rotary(f), qk_norm="head", qkv_bias=bias, out_bias=bias, layers=layers)


def olmoe(f: Fields) -> DecoderSpec:
    """OLMoE: whole rows of queries and keys are normalized."""
    f.defaults = {"tie_word_embeddings": False, "attention_bias": False}
    spec = rotary(f)
    experts = _experts(f, "num_experts", spec.intermediate)
    bias = f.flag("attention_bias")
    layers = grouped([Layer(None, experts)] * count_of(f))
    return replace(spec, qk_norm="row", qkv_bias=bias, out_bias=bias, layers=layers)


def gpt_oss(f: Fields) -> DecoderSpec:
    """gpt-oss: biases, sinks, windows in every other layer; scores of the picked experts only."""
    f.defaults = {
        "tie_word_embeddings": False,
        "attention_bias": True,
        "sliding_window": 128,
        "head_dim": 64,
    }
    spec = rotary(f)
    experts = replace(
        _experts(f, "num_local_experts", spec.intermediate),
        scores_of_all=False,
        bias=True,
        router_bias=True,
        router="router",
    )
    bias, window = f.flag("attention_bias"), f.nullable_integer("sliding_window")
    slides = sliding_layers(f, [i % 2 == 0 for i in range(count_of(f))])
    layers = grouped([Layer(window if slide else None, experts) for slide in slides])
    return replace(
        spec,
        activation="clamped_silu_mul",
        sinks=True,
        qkv_bias=bias,
        out_bias=bias,
        layers=layers,
    )


def deepseek_v2(f: Fields) -> DecoderSpec:
    """DeepSeek V2: latent attention, shared experts, the first layers dense."""
    return _deepseek(f, "softmax")


def deepseek_v3(f: Fields) -> DecoderSpec:
    """DeepSeek V3 and R1: as V2, experts scored one by one."""
    return _deepseek(f, "sigmoid")


def _deepseek(f: Fields, scores: str) -> DecoderSpec:
    f.defaults = {"tie_word_embeddings": False, "attention_bias": False, "moe_layer_freq": 1,
                  "hidden_act": "silu"}  # fmt: skip
    latent = LatentSpec(
        f.nullable_integer("q_lora_rank"),
        f.integer("kv_lora_rank"),
        f.integer("qk_nope_head_dim"),
        f.integer("qk_rope_head_dim"),
        f.integer("v_head_dim"),
    )
    hidden, heads = f.integer("hidden_size"), f.integer("num_attention_heads")
    return DecoderSpec(
        hidden=hidden,
        intermediate=f.integer("intermediate_size"),
        vocab=f.integer("vocab_size"),
        embed_width=hidden,
        q_heads=heads,
        kv_heads=heads,
        head_dim=latent.nope + latent.rope,
        rotary_dim=latent.rope,
        layers=_deepseek_layers(f, scores),
        names=Names(),
        norm="rmsnorm",
        norm_tensors=("weight",),
        activation=f.choice("hidden_act", GATED),
        gated=True,
        qkv_bias=(bias := f.flag("attention_bias")),
        out_bias=bias,
        latent=latent,
        tied=f.flag("tie_word_embeddings"),
        format=storage_format(f),
        max_context=f.nullable_integer("max_position_embeddings", required=False),
    )


def _deepseek_layers(f: Fields, scores: str) -> tuple[LayerKind, ...]:
    """Dense ones first; the shared experts are one as wide as all of them."""
    inner, shared = f.integer("moe_intermediate_size"), f.natural("n_shared_experts")
    experts = replace(
        _experts(f, "n_routed_experts", inner, scores),
        shared=shared * inner,
        shared_name=SHARED,
        choice_bias=scores == "sigmoid",
    )
    dense, every = f.natural("first_k_dense_replace"), f.integer("moe_layer_freq")
    return grouped(
        [
            Layer(None, experts if i >= dense and i % every == 0 else None)
            for i in range(count_of(f))
        ]
    )


def _experts(f: Fields, key: str, intermediate: int, scores: str = "softmax") -> ExpertsSpec:
    count, per_token = f.integer(key), f.integer("num_experts_per_tok")
    if per_token > count:
        f.complain("num_experts_per_tok", f"is {per_token}, more than the {count} of '{key}'")
    return ExpertsSpec(
        count=count, per_token=min(per_token, count), intermediate=intermediate, scores=scores
    )


def _some(f: Fields, experts: ExpertsSpec) -> tuple[LayerKind, ...]:
    """Every `decoder_sparse_step`-th layer is a mixture, those of `mlp_only_layers` are not."""
    every, dense = f.integer("decoder_sparse_step"), f.indices("mlp_only_layers")
    return grouped(
        [
            Layer(None, experts if i not in dense and (i + 1) % every == 0 else None)
            for i in range(count_of(f))
        ]
    )
