"""Gemma 1, 2 and 3: scaled embeddings, tied head, tanh-GELU; windows, softcaps, norms on top.

Source: configuration and modeling files of Hugging Face transformers (`models/gemma*/`); defaults
stated here are those of the configuration class that published files leave out.
Not modeled: the vision tower of multimodal Gemma 3 (its language model alone is built); rope
scaling.
"""

from __future__ import annotations

from dataclasses import replace

from workloads.builders.fields import MAX_LAYERS, Fields
from workloads.builders.parts import layer_kinds, sliding_layers
from workloads.builders.rotary import rotary
from workloads.builders.spec import DecoderSpec, Names

GEMMA2_NAMES = Names(
    attention_post_norm="post_attention_layernorm",
    mlp_norm="pre_feedforward_layernorm",
    mlp_post_norm="post_feedforward_layernorm",
)

_GEMMA_DEFAULTS = {
    "tie_word_embeddings": True,
    "attention_bias": False,
    "head_dim": 256,
    "hidden_activation": "gelu_pytorch_tanh",
}


def gemma(f: Fields) -> DecoderSpec:
    """Gemma 1: scaled embeddings, tied head, tanh-GELU whatever the legacy `hidden_act` says."""
    f.defaults = _GEMMA_DEFAULTS
    bias = f.flag("attention_bias")
    spec = rotary(f, activation_key="hidden_activation")
    return replace(spec, embed_scale=True, qkv_bias=bias, out_bias=bias)


def gemma2(f: Fields) -> DecoderSpec:
    """Gemma 2: windows in every other layer beginning with the first, four norms, softcaps."""
    f.defaults = _GEMMA_DEFAULTS | {
        "sliding_window": 4096,
        "attn_logit_softcapping": 50.0,
        "final_logit_softcapping": 30.0,
    }
    return _gemma2_or_3(f, pattern=2, qk_norm="")


def gemma3_text(f: Fields) -> DecoderSpec:
    """Gemma 3's language model: five windowed layers, then a global one; normalized q and k."""
    f.defaults = _GEMMA_DEFAULTS | {
        "vocab_size": 262208,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "max_position_embeddings": 131072,
        "sliding_window": 4096,
        "sliding_window_pattern": 6,
    }
    return _gemma2_or_3(f, pattern=f.integer("sliding_window_pattern"), qk_norm="head")


def _gemma2_or_3(f: Fields, pattern: int, qk_norm: str) -> DecoderSpec:
    """Every `pattern`-th layer is global unless `layer_types` says otherwise."""
    count = f.integer("num_hidden_layers", maximum=MAX_LAYERS)
    bias = f.flag("attention_bias")
    return replace(
        rotary(f, activation_key="hidden_activation"),
        names=GEMMA2_NAMES,
        post_norms=True,
        qk_norm=qk_norm,
        qkv_bias=bias,
        out_bias=bias,
        embed_scale=True,
        softcap=f.given("attn_logit_softcapping"),
        final_softcap=f.given("final_logit_softcapping"),
        layers=layer_kinds(f, sliding_layers(f, [(i + 1) % pattern != 0 for i in range(count)])),
    )
