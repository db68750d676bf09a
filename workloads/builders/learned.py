"""Families with learned positions, layer norms and a plain MLP: GPT-2 and OPT.

Source: configuration and modeling files of Hugging Face transformers (`models/gpt2/`,
`models/opt/`); defaults stated here are those that published files leave out.
Not modeled: GPT-2's cross attention and its other heads.
"""

from __future__ import annotations

from dataclasses import replace

from workloads.builders.fields import MAX_LAYERS, Fields
from workloads.builders.parts import PLAIN, layer_kinds, storage_format
from workloads.builders.spec import DecoderSpec, Names

GPT2_NAMES = Names(
    embed="wte",
    positions="wpe",
    attention_norm="ln_1",
    qkv=("c_attn",),
    out="attn.c_proj",
    mlp_norm="ln_2",
    up=("c_fc",),
    down="mlp.c_proj",
    final_norm="ln_f",
)
OPT_NAMES = Names(
    positions="embed_positions",
    attention_norm="self_attn_layer_norm",
    out="out_proj",
    mlp_norm="final_layer_norm",  # the layer's second norm bears this name
    up=("fc1",),
    down="fc2",
    final_norm="decoder.final_layer_norm",
)


def gpt2(f: Fields) -> DecoderSpec:
    """GPT-2: learned positions, merged q, k, v, biases everywhere, four times wide MLP."""
    f.defaults = {"tie_word_embeddings": True, "activation_function": "gelu_new"}
    hidden, heads = f.integer("n_embd"), f.integer("n_head")
    f.multiple("n_embd", hidden, "n_head", heads)
    positions = f.integer("n_positions")
    return replace(
        _learned(f, hidden, heads, positions),
        names=GPT2_NAMES,
        intermediate=f.integer("n_inner", default=4 * hidden),
        layers=layer_kinds(f, [False] * f.integer("n_layer", maximum=MAX_LAYERS)),
    )


def opt(f: Fields) -> DecoderSpec:
    """OPT: learned positions stored with an offset of 2; OPT-350M narrows its embeddings."""
    f.defaults = {
        "tie_word_embeddings": True,
        "activation_function": "relu",
        "do_layer_norm_before": True,
        "enable_bias": True,
        "layer_norm_elementwise_affine": True,
        "_remove_final_layer_norm": False,
    }
    hidden, heads = f.integer("hidden_size"), f.integer("num_attention_heads")
    f.multiple("hidden_size", hidden, "num_attention_heads", heads)
    positions = f.integer("max_position_embeddings")
    pre_norm, bias = f.flag("do_layer_norm_before"), f.flag("enable_bias")
    affine = f.flag("layer_norm_elementwise_affine")
    return replace(
        _learned(f, hidden, heads, positions),
        names=OPT_NAMES,
        position_rows=positions + 2,
        embed_width=f.integer("word_embed_proj_dim", default=hidden),
        intermediate=f.integer("ffn_dim"),
        layers=layer_kinds(f, [False] * f.integer("num_hidden_layers", maximum=MAX_LAYERS)),
        norm_tensors=("weight", "bias") if affine else (),
        pre_norm=pre_norm,
        final_norm=pre_norm and not f.flag("_remove_final_layer_norm"),
        qkv_bias=bias,
        out_bias=bias,
        mlp_bias=bias,
    )


def _learned(f: Fields, hidden: int, heads: int, positions: int) -> DecoderSpec:
    """What GPT-2 and OPT share; the sizes they name differently are filled in by the caller."""
    return DecoderSpec(
        hidden=hidden,
        intermediate=1,
        vocab=f.integer("vocab_size"),
        embed_width=hidden,
        q_heads=heads,
        kv_heads=heads,
        head_dim=max(1, hidden // heads),
        rotary_dim=0,
        position_rows=positions,
        layers=(),
        names=Names(),
        norm="layernorm",
        norm_tensors=("weight", "bias"),
        activation=f.choice("activation_function", PLAIN),
        gated=False,
        qkv_bias=True,
        out_bias=True,
        mlp_bias=True,
        tied=f.flag("tie_word_embeddings"),
        format=storage_format(f),
        max_context=positions,
    )
