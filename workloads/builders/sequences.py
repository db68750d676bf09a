"""Encoder-decoder families: T5, BART, Whisper.

Source: configuration and modeling files of Hugging Face transformers (`models/<model_type>/`);
defaults stated here are those of the configuration class that published files leave out.
Not modeled: BART's classifiers, T5's biases computed anew at every step (a table look-up).
"""

from __future__ import annotations

from dataclasses import fields, replace

from workloads.builders.encoder_spec import EncoderDecoderSpec, EncoderSpec, Frames
from workloads.builders.fields import MAX_LAYERS, Fields
from workloads.builders.parts import PLAIN, Layer, grouped, storage_format
from workloads.builders.spec import DecoderSpec, LayerKind, Names, Stack

T5_NAMES = Names(
    embed="shared",
    attention_norm="SelfAttention.layer_norm",
    qkv=("q", "k", "v"),
    out="o",
    cross="EncDecAttention.",
    cross_norm="EncDecAttention.layer_norm",
    mlp_norm="DenseReluDense.layer_norm",
    up=("wi",),
    down="wo",
    final_norm="final_layer_norm",
)
BART_NAMES = Names(
    embed="shared",
    positions="embed_positions",
    attention_norm="self_attn_layer_norm",
    out="out_proj",
    cross_norm="encoder_attn_layer_norm",
    mlp_norm="final_layer_norm",
    up=("fc1",),
    down="fc2",
    final_norm="layer_norm",
)
T5_FORWARD = {  # of `feed_forward_proj`: gated?, function
    "relu": (False, "relu"),
    "gated-gelu": (True, "gelu_mul"),
    "gated-silu": (True, "silu_mul"),
}


def t5(f: Fields) -> EncoderDecoderSpec:
    """T5 and Flan-T5: RMS norms, no biases but those of scores, heads of a stated size."""
    f.defaults = {"feed_forward_proj": "relu", "relative_attention_num_buckets": 32,
                  "tie_word_embeddings": True}  # fmt: skip
    layers = f.integer("num_layers", maximum=MAX_LAYERS)
    gated, activation = f.choice("feed_forward_proj", T5_FORWARD)
    heads, hidden = f.integer("num_heads"), f.integer("d_model")
    names = replace(T5_NAMES, up=("wi_0", "wi_1")) if gated else T5_NAMES
    vocab, tied = f.integer("vocab_size"), f.flag("tie_word_embeddings")
    encoder = EncoderSpec(
        hidden=hidden,
        intermediate=f.integer("d_ff"),
        q_heads=heads,
        kv_heads=heads,
        head_dim=f.integer("d_kv"),
        rotary_dim=0,
        layers=grouped([Layer()] * layers),
        names=names,
        norm="rmsnorm",
        norm_tensors=("weight",),
        activation=activation,
        gated=gated,
        causal=False,
        format=storage_format(f),
        vocab=vocab,
        score_buckets=f.integer("relative_attention_num_buckets"),
    )
    count = f.integer("num_decoder_layers", default=layers, maximum=MAX_LAYERS)
    decoder = decoder_of(encoder, grouped([Layer()] * count), vocab, tied, None)
    return EncoderDecoderSpec(encoder=encoder, decoder=decoder, output_scale=tied)


def bart(f: Fields) -> EncoderDecoderSpec:
    """BART: learned positions stored with an offset of 2, norms after everything that is added."""
    f.defaults = {"activation_function": "gelu", "scale_embedding": False}
    vocab, positions = f.integer("vocab_size"), f.integer("max_position_embeddings")
    encoder = _side(f, "encoder", BART_NAMES)
    encoder = replace(
        encoder,
        vocab=vocab,
        position_rows=positions + 2,
        embed_norm="layernorm_embedding",
        max_context=positions,
        pre_norm=False,
        final_norm=False,
    )
    like = _side(f, "decoder", BART_NAMES)
    decoder = replace(
        decoder_of(like, like.layers, vocab, True, positions),
        position_rows=positions + 2,
        embed_norm="layernorm_embedding",
        pre_norm=False,
        final_norm=False,
    )
    return EncoderDecoderSpec(encoder=encoder, decoder=decoder)


def whisper(f: Fields) -> EncoderDecoderSpec:
    """Whisper: 30 seconds of sound, always; keys have no biases."""
    f.defaults = {"activation_function": "gelu"}
    names = replace(BART_NAMES, embed="embed_tokens")
    length, limit = f.integer("max_source_positions"), f.integer("max_target_positions")
    encoder = replace(
        _side(f, "encoder", names),
        k_bias=False,
        frames=Frames(f.integer("num_mel_bins"), length),
        position_rows=length,
        max_context=length,
    )
    like = _side(f, "decoder", names)
    vocab = f.integer("vocab_size")
    decoder = replace(
        decoder_of(like, like.layers, vocab, True, limit), k_bias=False, position_rows=limit
    )
    return EncoderDecoderSpec(encoder=encoder, decoder=decoder, fixed=length)


def _side(f: Fields, side: str, names: Names) -> EncoderSpec:
    """The stack of one side: layer norms, biases, a plain MLP."""
    hidden, heads = f.integer("d_model"), f.integer(f"{side}_attention_heads")
    f.multiple("d_model", hidden, f"{side}_attention_heads", heads)
    return EncoderSpec(
        hidden=hidden,
        intermediate=f.integer(f"{side}_ffn_dim"),
        q_heads=heads,
        kv_heads=heads,
        head_dim=max(1, hidden // heads),
        rotary_dim=0,
        layers=grouped([Layer()] * f.integer(f"{side}_layers", maximum=MAX_LAYERS)),
        names=names,
        norm="layernorm",
        norm_tensors=("weight", "bias"),
        activation=f.choice("activation_function", PLAIN),
        gated=False,
        qkv_bias=True,
        out_bias=True,
        mlp_bias=True,
        causal=False,
        format=storage_format(f),
    )


def decoder_of(
    like: Stack, layers: tuple[LayerKind, ...], vocab: int, tied: bool, limit: int | None
) -> DecoderSpec:
    """A causal stack like this one that predicts tokens."""
    shared = {field.name: getattr(like, field.name) for field in fields(Stack)}
    shared |= {"causal": True, "layers": layers}
    return DecoderSpec(**shared, vocab=vocab, embed_width=like.hidden, tied=tied, max_context=limit)
