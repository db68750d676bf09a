"""Families with rotary positions, RMS norms and a gated MLP: Llama and what varies it.

Source: configuration and modeling files of Hugging Face transformers (`models/<model_type>/`);
defaults stated here are those of the configuration class that published files leave out.
Not modeled: rope scaling (it changes values, not work), dropout, attention scale.
"""

from __future__ import annotations

from dataclasses import replace

from workloads.builders.fields import MAX_LAYERS, Fields
from workloads.builders.parts import GATED, layer_kinds, sliding_layers, storage_format
from workloads.builders.spec import DecoderSpec, LayerKind, Names

PHI3_NAMES = Names(qkv=("qkv_proj",), up=("gate_up_proj",))


def llama(f: Fields) -> DecoderSpec:
    """Llama 1 to 3 (and 3.1, 3.2 text models); biases only where the file asks for them."""
    f.defaults = {"tie_word_embeddings": False, "attention_bias": False, "mlp_bias": False}
    bias = f.flag("attention_bias")
    return replace(rotary(f), qkv_bias=bias, out_bias=bias, mlp_bias=f.flag("mlp_bias"))


def mistral(f: Fields) -> DecoderSpec:
    """Mistral 7B and Nemo; `sliding_window` null means full attention."""
    f.defaults = {"tie_word_embeddings": False}
    return replace(rotary(f), layers=_window_everywhere(f))


def qwen2(f: Fields) -> DecoderSpec:
    """Qwen 2 and 2.5: biased q, k and v; a window only from layer `max_window_layers` on."""
    f.defaults = {"tie_word_embeddings": False, "use_sliding_window": False}
    return replace(rotary(f), qkv_bias=True, layers=_qwen_layers(f))


def qwen3(f: Fields) -> DecoderSpec:
    """Qwen 3 dense: normalized query and key heads of a stated size, no biases by default."""
    f.defaults = {
        "tie_word_embeddings": False,
        "use_sliding_window": False,
        "attention_bias": False,
        "head_dim": 128,
    }
    bias = f.flag("attention_bias")
    layers = _qwen_layers(f)
    return replace(rotary(f), qk_norm="head", qkv_bias=bias, out_bias=bias, layers=layers)


def bitnet(f: Fields) -> DecoderSpec:
    """BitNet b1.58 (arXiv 2402.17764; 2B4T, arXiv 2504.12285, sec. 2): squared ReLU, norms before
    the output and down projections, ternary weights."""
    f.defaults = {"tie_word_embeddings": False, "attention_bias": False, "hidden_act": "relu2"}
    bias = f.flag("attention_bias")
    spec = replace(rotary(f), inner_norms=True, qkv_bias=bias, out_bias=bias)
    return replace(spec, stored_as="ternary")


def phi3(f: Fields) -> DecoderSpec:
    """Phi 3 and 4 mini: merged projections, one window for all layers, perhaps partial rotary."""
    f.defaults = {
        "tie_word_embeddings": False,
        "partial_rotary_factor": 1.0,
        "sliding_window": None,
    }
    spec = rotary(f)
    rotary_dim = int(spec.head_dim * f.fraction("partial_rotary_factor"))
    layers = _window_everywhere(f)
    return replace(spec, names=PHI3_NAMES, rotary_dim=rotary_dim, layers=layers)


def rotary(f: Fields, activation_key: str = "hidden_act") -> DecoderSpec:
    """Llama's shape, which most families vary: RMS norms, rotary positions, gated MLP."""
    hidden, heads = f.integer("hidden_size"), f.integer("num_attention_heads")
    kv_heads = f.integer("num_key_value_heads", default=heads)
    f.multiple("num_attention_heads", heads, "num_key_value_heads", kv_heads)
    if not f.has("head_dim") and "head_dim" not in f.defaults:
        f.multiple("hidden_size", hidden, "num_attention_heads", heads)
    head_dim = f.integer("head_dim", default=max(1, hidden // heads))
    return DecoderSpec(
        hidden=hidden,
        intermediate=f.integer("intermediate_size"),
        vocab=f.integer("vocab_size"),
        embed_width=hidden,
        q_heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        rotary_dim=head_dim,
        layers=layer_kinds(f, [False] * count_of(f)),
        names=Names(),
        norm="rmsnorm",
        norm_tensors=("weight",),
        activation=f.choice(activation_key, GATED),
        gated=True,
        tied=f.flag("tie_word_embeddings"),
        format=storage_format(f),
        max_context=f.nullable_integer("max_position_embeddings", required=False),
    )


def _window_everywhere(f: Fields) -> tuple[LayerKind, ...]:
    """All layers with the window, or none if it is null."""
    return layer_kinds(f, [True] * count_of(f))


def _qwen_layers(f: Fields) -> tuple[LayerKind, ...]:
    """Layers from `max_window_layers` on slide, if `use_sliding_window` is true."""
    count = count_of(f)
    if not f.flag("use_sliding_window"):
        return layer_kinds(f, [False] * count)
    if f.has("layer_types"):
        return layer_kinds(f, sliding_layers(f, [False] * count))
    first = f.integer("max_window_layers")
    return layer_kinds(f, [layer >= first for layer in range(count)])


def count_of(f: Fields) -> int:
    """Layers of the model."""
    return f.integer("num_hidden_layers", maximum=MAX_LAYERS)
