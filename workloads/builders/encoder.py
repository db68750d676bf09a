"""The graph of an encoder: embedding, layers that see everything at once, and a head.

Tokens, an image's patches or a spectrogram's frames are embedded; a text's length is the phase's,
the others' are the model's. Inputs in pixels or frequencies are stored in the model's format.
Not modeled: resizing and other preparation of images and sound, tokenization, padding.
"""

from __future__ import annotations

from kernels_ref.errors import UserError
from workloads.builders.draft import Draft, graph_of
from workloads.builders.encoder_spec import EncoderSpec, TowersSpec
from workloads.builders.images import Conv, Image, convolve
from workloads.builders.layer import Beside, add_layers
from workloads.graph import Graph
from workloads.phase import WHOLE, Phase, encode


def build_encoder(name: str, spec: EncoderSpec, phase: Phase) -> Graph:
    """Raises UserError for a phase other than encode, or too long a text."""
    draft = Draft(spec.format)
    length = check_encode(name, spec, phase)
    add_head(draft, spec, phase.batch, length, add_encoder(draft, spec, phase.batch, length))
    whole = Phase(phase.kind, phase.batch, length, length)
    return graph_of(name, draft, whole, spec.max_context)


def build_towers(name: str, spec: TowersSpec, phase: Phase) -> Graph:
    """As many images as texts, and every image compared with every text."""
    draft, found = Draft(spec.image.format), []
    for prefix, tower in (("vision.", spec.image), ("text.", spec.text)):
        length = check_encode(name, tower, phase)
        draft.prefix = prefix
        stream = add_encoder(draft, tower, phase.batch, length)
        stream = add_head(draft, tower, phase.batch, length, stream)
        found.append(draft.vector("normalize", "l2norm", (stream,)))
        draft.prefix = ""
    images, texts = found
    logits = draft.multiply("logits", texts, images)
    scale = draft.tensor("logit_scale", (1,), "weight")
    draft.vector("logits_scaled", "mul", (logits, scale))
    return graph_of(name, draft, encode(phase.batch, length), spec.text.max_context)


def check_encode(name: str, spec: EncoderSpec, phase: Phase) -> int:
    """The length of a sequence. Raises UserError."""
    if phase.kind not in WHOLE:
        raise UserError(f"{name} is an encoder: its phases are encode and train, not {phase.kind}")
    if spec.patches:
        return spec.patches.tokens
    if spec.frames:
        return spec.frames.positions
    if spec.position_rows and spec.max_context and phase.tokens > spec.max_context:
        raise UserError(
            f"{name} has {spec.max_context} learned positions; {phase.tokens} tokens are more"
        )
    return phase.tokens


def add_encoder(draft: Draft, spec: EncoderSpec, batch: int, length: int) -> str:
    """Embedding, layers and last norm; the rows of all tokens."""
    stream = _embed(draft, spec, batch, length)
    bias = None
    if spec.score_buckets:
        bias = add_score_bias(draft, spec.score_buckets, spec.q_heads)
    for kind in spec.layers:
        stream = add_layers(draft, spec, kind, encode(batch, length), stream, Beside(bias=bias))
    if spec.final_norm and not spec.first_token_norm:
        stream = draft.norm(spec.names.final_norm, spec.norm, stream, spec.norm_tensors)
    return stream


def add_score_bias(draft: Draft, buckets: int, heads: int) -> str:
    """Biases of scores by distance, one row to a bucket (Raffel et al., T5, arXiv 1910.10683, sec.
    2.1)."""
    table = draft.tensor(f"{draft.prefix}relative_attention_bias.weight", (buckets, heads), "table")
    return draft.gather("relative_attention_bias", table, buckets)


def _embed(draft: Draft, spec: EncoderSpec, batch: int, length: int) -> str:
    rows = batch * length
    if spec.patches:
        stream = _patches(draft, spec, batch)
    elif spec.frames:
        stream = _frames(draft, spec, batch)
    else:
        table = _table(draft, spec.names.embed, spec.vocab, spec.hidden)
        stream = draft.gather(spec.names.embed, table, rows)
    if spec.position_rows:
        positions = _table(draft, spec.names.positions, spec.position_rows, spec.hidden)
        position = draft.gather(spec.names.positions, positions, rows)
        stream = draft.vector("position_add", "add", (stream, position))
    if spec.token_types:
        types = _table(draft, spec.types_name, spec.token_types, spec.hidden)
        kind = draft.gather(spec.types_name, types, rows)
        stream = draft.vector("token_type_add", "add", (stream, kind))
    if spec.embed_norm:
        stream = draft.norm(spec.embed_norm, spec.norm, stream, spec.norm_tensors)
    return stream


def _table(draft: Draft, name: str, rows: int, width: int) -> str:
    return draft.tensor(f"{draft.prefix}{name}.weight", (rows, width), "table")


def _patches(draft: Draft, spec: EncoderSpec, batch: int) -> str:
    """Patches through one convolution without overlap, behind the learned tokens."""
    patches = spec.patches
    assert patches
    side, name = patches.image, f"{draft.prefix}pixel_values"
    draft.tensor(name, (batch * side * side, patches.channels), "activation")
    pixels = Image(name, batch, (side, side))
    conv = Conv(spec.hidden, patches.patch, patches.patch, bias=patches.bias)
    stream = convolve(draft, patches.name, pixels, conv).tensor
    if not patches.extra:
        return stream
    shape = (patches.extra, spec.hidden)
    learned = draft.tensor(f"{draft.prefix}learned_tokens", shape, "weight")
    rows = batch * patches.tokens
    return draft.move("with_learned_tokens", (stream, learned), (rows, spec.hidden), spec.hidden)


def _frames(draft: Draft, spec: EncoderSpec, batch: int) -> str:
    frames = spec.frames
    assert frames
    name, length = f"{draft.prefix}input_features", 2 * frames.positions
    draft.tensor(name, (batch * length, frames.channels), "activation")
    sound = Image(name, batch, (length,))
    for conv, stride in (("conv1", 1), ("conv2", 2)):
        sound = convolve(draft, conv, sound, Conv(spec.hidden, 3, stride, 1, bias=True))
        made = draft.vector(f"{conv}.act", "gelu", (sound.tensor,))
        sound = Image(made, batch, sound.size)
    return sound.tensor


def add_head(draft: Draft, spec: EncoderSpec, batch: int, length: int, stream: str) -> str:
    """What the model returns of the rows of all tokens."""
    if spec.masked_lm:
        stream = draft.project("head.dense", stream, spec.hidden, bias=True)
        stream = draft.vector("head.act", "gelu", (stream,))
        stream = draft.norm("head.layer_norm", spec.norm, stream, spec.norm_tensors)
        bias = draft.tensor(f"{draft.prefix}head.decoder.bias", (spec.vocab,), "weight")
        table = f"{draft.prefix}{spec.names.embed}.weight"
        return draft.multiply(f"{draft.prefix}head.decoder", stream, table, (bias,))
    one = spec.first_token_norm or spec.pooler or spec.picked or spec.labels
    if one and length > 1:
        stream = draft.gather("first_token", stream, batch)
    if spec.first_token_norm:
        stream = draft.norm(spec.names.final_norm, spec.norm, stream, spec.norm_tensors)
    if spec.pooler:
        stream = draft.project("pooler.dense", stream, spec.hidden, bias=True)
        stream = draft.vector("pooler.act", "tanh", (stream,))
    if spec.projection:
        stream = draft.project("projection", stream, spec.projection)
    if spec.labels:
        stream = draft.project("classifier", stream, spec.labels, bias=True)
    return stream
