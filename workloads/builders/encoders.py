"""Encoder families: BERT, RoBERTa, ViT, DeiT, CLIP.

Source: configuration and modeling files of Hugging Face transformers (`models/<model_type>/`);
defaults stated here are those of the configuration class that published files leave out. What
stands on the encoder follows from `architectures`: `...ForMaskedLM`, `...ForImageClassification`,
else the plain model, with its pooler where the family has one.
Not modeled: cross attention and causal masks in BERT, interpolated positions, attention dropout.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from workloads.builders.encoder_spec import EncoderSpec, Patches, TowersSpec
from workloads.builders.fields import MAX_LAYERS, Fields, nested
from workloads.builders.parts import PLAIN, Layer, grouped, storage_format
from workloads.builders.spec import ExpertsSpec, Names

BERT_NAMES = Names(
    embed="word_embeddings",
    positions="position_embeddings",
    attention_norm="attention.output.LayerNorm",
    qkv=("query", "key", "value"),
    out="attention.output.dense",
    mlp_norm="output.LayerNorm",
    up=("intermediate.dense",),
    down="output.dense",
)
VIT_NAMES = Names(
    positions="position_embeddings",
    attention_norm="layernorm_before",
    qkv=("query", "key", "value"),
    out="attention.output.dense",
    mlp_norm="layernorm_after",
    up=("intermediate.dense",),
    down="output.dense",
    final_norm="layernorm",
)
CLIP_NAMES = Names(
    embed="token_embedding",
    positions="position_embedding",
    attention_norm="layer_norm1",
    out="out_proj",
    mlp_norm="layer_norm2",
    up=("fc1",),
    down="fc2",
    final_norm="final_layer_norm",
)


def bert(f: Fields) -> EncoderSpec:
    """BERT: everything is normalized after it is added."""
    f.defaults = {"hidden_act": "gelu"}
    return _bert(f, f.integer("max_position_embeddings"))


def roberta(f: Fields) -> EncoderSpec:
    """RoBERTa: BERT's layers; its positions begin behind the padding's."""
    f.defaults = {"hidden_act": "gelu"}
    return _bert(f, f.integer("max_position_embeddings") - 2)


def _bert(f: Fields, positions: int) -> EncoderSpec:
    masked_lm = head_of(f) == "ForMaskedLM"
    return replace(
        stack(f, BERT_NAMES, "hidden_size"),
        vocab=f.integer("vocab_size"),
        position_rows=f.integer("max_position_embeddings"),
        token_types=f.integer("type_vocab_size"),
        embed_norm="LayerNorm",
        pre_norm=False,
        final_norm=False,
        pooler=not masked_lm,
        masked_lm=masked_lm,
        max_context=positions,
    )


def vit(f: Fields) -> EncoderSpec:
    """ViT: an image's patches behind a class token."""
    return _vit(f, 1)


def deit(f: Fields) -> EncoderSpec:
    """DeiT: a distillation token too; its classifier reads the class token alone."""
    return _vit(f, 2)


def m3vit(f: Fields) -> EncoderSpec:
    """M3ViT (Liang et al., arXiv 2210.14793, sec. 3): a ViT with a mixture in every other layer,
    and a router for each task, of which the one of the task at hand is used."""
    spec = replace(_vit(f, 1), pooler=False, labels=0)
    count, per_token = f.integer("num_experts"), f.integer("num_experts_per_tok")
    if per_token > count:
        f.complain("num_experts_per_tok", f"is {per_token}, more than the {count} of 'num_experts'")
    experts = ExpertsSpec(
        count=count,
        per_token=min(per_token, count),
        intermediate=f.integer("moe_intermediate_size"),
        scores="softmax",
        bias=True,
        routers=f.integer("num_tasks"),
    )
    layers = [Layer(None, experts if i % 2 else None) for i in range(spec.layers[0].count)]
    return replace(spec, layers=grouped(layers))


def _vit(f: Fields, extra: int) -> EncoderSpec:
    f.defaults = {"hidden_act": "gelu", "qkv_bias": True, "image_size": 224, "patch_size": 16,
                  "num_channels": 3}  # fmt: skip
    patches = patches_of(f, extra, True, "patch_embeddings.projection")
    classifies = head_of(f) == "ForImageClassification"
    return replace(
        stack(f, VIT_NAMES, "hidden_size"),
        qkv_bias=f.flag("qkv_bias"),
        patches=patches,
        position_rows=patches.tokens,
        pooler=not classifies,
        labels=labels_of(f) if classifies else 0,
    )


def clip(f: Fields) -> TowersSpec:
    """CLIP: an image's and a text's rows, projected to one width."""
    f.defaults = {"projection_dim": 512}
    width = f.integer("projection_dim")
    text = nested(f, "text_config")
    text.defaults = {"hidden_act": "quick_gelu", "vocab_size": 49408, "hidden_size": 512,
                     "intermediate_size": 2048, "num_hidden_layers": 12, "num_attention_heads": 8,
                     "max_position_embeddings": 77}  # fmt: skip
    positions = text.integer("max_position_embeddings")
    words = replace(
        stack(text, CLIP_NAMES, "hidden_size"),
        causal=True,
        vocab=text.integer("vocab_size"),
        position_rows=positions,
        picked=True,
        projection=width,
        max_context=positions,
    )
    return TowersSpec(image=clip_vision(nested(f, "vision_config"), width), text=words)


def clip_vision(f: Fields, projection: int) -> EncoderSpec:
    """CLIP's image tower."""
    f.defaults = {"hidden_act": "quick_gelu", "hidden_size": 768, "intermediate_size": 3072,
                  "num_hidden_layers": 12, "num_attention_heads": 12, "image_size": 224,
                  "patch_size": 32, "num_channels": 3}  # fmt: skip
    patches = patches_of(f, 1, False, "patch_embedding")
    names = replace(CLIP_NAMES, final_norm="post_layernorm")
    return replace(
        stack(f, names, "hidden_size"),
        patches=patches,
        position_rows=patches.tokens,
        embed_norm="pre_layrnorm",
        first_token_norm=True,
        projection=projection,
    )


def patches_of(f: Fields, extra: int, bias: bool, name: str) -> Patches:
    """Square images in square patches."""
    image, patch = f.integer("image_size"), f.integer("patch_size")
    if image < patch:
        f.complain("patch_size", f"is {patch}, more than the image's {image} pixels")
        image = patch
    return Patches(f.integer("num_channels"), image, patch, extra, bias, name)


def stack(f: Fields, names: Names, hidden_key: str, **more: Any) -> EncoderSpec:
    """Layer norms, biases everywhere, a plain MLP, everything sees everything."""
    hidden, heads = f.integer(hidden_key), f.integer("num_attention_heads")
    f.multiple(hidden_key, hidden, "num_attention_heads", heads)
    facts: dict[str, Any] = {
        "hidden": hidden,
        "intermediate": f.integer("intermediate_size"),
        "q_heads": heads,
        "kv_heads": heads,
        "head_dim": max(1, hidden // heads),
        "rotary_dim": 0,
        "layers": grouped([Layer()] * f.integer("num_hidden_layers", maximum=MAX_LAYERS)),
        "names": names,
        "norm": "layernorm",
        "norm_tensors": ("weight", "bias"),
        "activation": f.choice("hidden_act", PLAIN),
        "gated": False,
        "qkv_bias": True,
        "out_bias": True,
        "mlp_bias": True,
        "causal": False,
        "format": storage_format(f),
    }
    return EncoderSpec(**facts | more)


def head_of(f: Fields) -> str:
    """What follows the family in the class's name: ForMaskedLM, Model ..."""
    named = f.config.data.get("architectures")
    if not isinstance(named, list) or not named or not isinstance(named[0], str):
        return "Model"
    return "For" + named[0].partition("For")[2] if "For" in named[0] else "Model"


def labels_of(f: Fields) -> int:
    """Classes of a classifier: `num_labels`, or one for each entry of `id2label`."""
    labels = f.data.get("id2label")
    if isinstance(labels, dict) and labels:
        return len(labels)
    return f.integer("num_labels")
