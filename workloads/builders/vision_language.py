"""Models that read images and write text: LLaVA and Qwen2-VL.

A vision tower's rows are projected into the language model's width and stand among the tokens of
the prompt. encode runs the tower and the projection. prefill runs all: a prompt has one image,
whose tokens it counts. decode and verify run the language model. What a phase does not run is
stored.
Source: configuration and modeling files of Hugging Face transformers (`models/llava/`,
`models/qwen2_vl/`); defaults stated here are those of the configuration class that published files
leave out. LLaVA's tower stops at the layer whose output it uses; an image of Qwen2-VL is IMAGE
pixels wide and high, since its files do not state a size.
Not modeled: several images, video, crops of large images.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from kernels_ref.errors import UserError
from workloads.builders.decoder import add_embedding, add_lm_head, check_decoder
from workloads.builders.draft import Draft, graph_of
from workloads.builders.encoder import add_encoder
from workloads.builders.encoder_spec import EncoderSpec, Patches
from workloads.builders.encoders import clip_vision
from workloads.builders.fields import MAX_LAYERS, Fields, nested
from workloads.builders.layer import add_layers
from workloads.builders.parts import PLAIN, Layer, grouped, storage_format
from workloads.builders.rotary import llama, qwen2
from workloads.builders.spec import DecoderSpec, Names
from workloads.graph import Graph
from workloads.phase import Phase

IMAGE = 448
QWEN_NAMES = Names(
    attention_norm="norm1",
    qkv=("attn.qkv",),
    out="attn.proj",
    mlp_norm="norm2",
    up=("mlp.fc1",),
    down="mlp.fc2",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class VisionLanguageSpec:
    """A tower, of which `used` layers are run, a projection through `inner` columns, and a language
    model. `merged` patches make a token; the first rows of an image may be left out."""

    vision: EncoderSpec
    used: int
    merged: int
    first: int  # rows that are left out
    merge_norm: bool  # of a patch before it is merged
    inner: int
    activation: str
    language: DecoderSpec

    @property
    def image_tokens(self) -> int:
        assert self.vision.patches
        return (self.vision.patches.tokens - self.first) // self.merged


def llava(f: Fields) -> VisionLanguageSpec:
    """LLaVA 1.5: CLIP's tower up to the last layer but one, without its class token."""
    f.defaults = {"projector_hidden_act": "gelu", "vision_feature_layer": -2}
    text = nested(f, "text_config")
    language = llama(text)
    vision = clip_vision(nested(f, "vision_config"), 0)
    layer = f.data.get("vision_feature_layer", -2)
    count = vision.layers[0].count
    if type(layer) is not int or not -count <= layer < 0:
        f.complain("vision_feature_layer", f"is {layer}; write an integer from -{count} to -1")
        layer = -2
    return VisionLanguageSpec(
        vision=vision,
        used=count + 1 + layer,
        merged=1,
        first=1,
        merge_norm=False,
        inner=language.hidden,
        activation=f.choice("projector_hidden_act", PLAIN),
        language=language,
    )


def qwen2_vl(f: Fields) -> VisionLanguageSpec:
    """Qwen2-VL: four patches of two frames each make a token (arXiv 2409.12191, sec. 2.1)."""
    language = qwen2(f)
    v = nested(f, "vision_config")
    v.defaults = {"depth": 32, "embed_dim": 1280, "mlp_ratio": 4, "num_heads": 16,
                  "in_channels": 3, "patch_size": 14, "spatial_merge_size": 2,
                  "temporal_patch_size": 2, "hidden_act": "quick_gelu"}  # fmt: skip
    vision, merged = _qwen_tower(v), v.integer("spatial_merge_size") ** 2
    return VisionLanguageSpec(
        vision=vision,
        used=vision.layers[0].count,
        merged=merged,
        first=0,
        merge_norm=True,
        inner=vision.hidden * merged,
        activation="gelu",
        language=language,
    )


def _qwen_tower(v: Fields) -> EncoderSpec:
    """Rotated positions, merged projections."""
    hidden, heads = v.integer("embed_dim"), v.integer("num_heads")
    v.multiple("embed_dim", hidden, "num_heads", heads)
    patch, each = v.integer("patch_size"), max(1, hidden // heads)
    channels = v.integer("in_channels") * v.integer("temporal_patch_size")
    return EncoderSpec(
        hidden=hidden,
        intermediate=hidden * v.integer("mlp_ratio"),
        q_heads=heads,
        kv_heads=heads,
        head_dim=each,
        rotary_dim=each,
        layers=grouped([Layer()] * v.integer("depth", maximum=MAX_LAYERS)),
        names=QWEN_NAMES,
        norm="layernorm",
        norm_tensors=("weight", "bias"),
        final_norm=False,
        activation=v.choice("hidden_act", PLAIN),
        gated=False,
        qkv_bias=True,
        out_bias=True,
        mlp_bias=True,
        causal=False,
        format=storage_format(v),
        patches=Patches(channels, IMAGE // patch * patch, patch, 0, False, "patch_embed.proj"),
    )


def build_vision_language(name: str, spec: VisionLanguageSpec, phase: Phase) -> Graph:
    """Raises UserError for a phase that the model cannot run, or a prompt with no room for its
    image."""
    language = spec.language
    draft, image = Draft(language.format), _image(spec, phase.batch)
    if phase.kind == "encode":
        _language(draft, name, spec, Phase("prefill", phase.batch, 1, 1), None)
        image.keep_all(draft)
        phase = replace(phase, tokens=spec.image_tokens, context=spec.image_tokens)
        return graph_of(name, image, phase, language.max_context)
    if phase.kind == "prefill" and phase.tokens == phase.context:
        if phase.tokens <= spec.image_tokens:
            raise UserError(
                f"{name}: a prompt of {phase.tokens} tokens has no room for text beside the "
                f"{spec.image_tokens} of its image"
            )
        _language(image, name, spec, phase, image.nodes[-1].op.output)
        return graph_of(name, image, phase, language.max_context)
    _language(draft, name, spec, phase, None)
    draft.keep_all(image)
    return graph_of(name, draft, phase, language.max_context)


def _image(spec: VisionLanguageSpec, batch: int) -> Draft:
    """The tower and the projection; further layers of the tower are stored."""
    patches, vision = spec.vision.patches, spec.vision
    assert patches
    draft, whole = Draft(vision.format), Draft(vision.format)
    whole.prefix = draft.prefix = "vision."
    used = replace(
        vision, layers=(replace(vision.layers[0], count=spec.used),), first_token_norm=True
    )
    stream = add_encoder(draft, used, batch, patches.tokens)
    add_encoder(whole, replace(vision, first_token_norm=False), batch, patches.tokens)
    draft.prefix = "projector."
    rows = batch * spec.image_tokens
    if spec.merge_norm:
        stream = draft.norm("ln_q", vision.norm, stream, vision.norm_tensors)
    if spec.first:
        stream = draft.gather("patches", stream, rows)
    stream = draft.grouped_rows("merge", stream, spec.merged)
    inner = draft.project("linear_1", stream, spec.inner, bias=True)
    made = draft.vector("act", spec.activation, (inner,))
    draft.project("linear_2", made, spec.language.hidden, bias=True)
    draft.prefix = ""
    draft.keep_all(whole)
    return draft


def _language(
    draft: Draft, name: str, spec: VisionLanguageSpec, phase: Phase, image: str | None
) -> None:
    """The language model, with an image's rows among those of its tokens."""
    language = spec.language
    check_decoder(name, language, phase)
    rows = phase.batch * phase.tokens
    texts = rows - phase.batch * spec.image_tokens if image else rows
    stream = add_embedding(draft, language, texts)
    if image:
        stream = draft.move("prompt", (stream, image), (rows, language.hidden), language.hidden)
    for kind in language.layers:
        stream = add_layers(draft, language, kind, phase, stream)
    add_lm_head(draft, language, phase, stream)
