"""Encoders, and models made of several stacks, normalized."""

from __future__ import annotations

from dataclasses import dataclass

from workloads.builders.spec import DecoderSpec, Stack


@dataclass(frozen=True, slots=True)
class Patches:
    """An image cut into squares, each a token; before them `extra` learned ones (class,
    distillation)."""

    channels: int
    image: int  # pixels of a side
    patch: int
    extra: int
    bias: bool
    name: str = "patch_embeddings"

    @property
    def tokens(self) -> int:
        return (self.image // self.patch) ** 2 + self.extra


@dataclass(frozen=True, slots=True)
class Frames:
    """A spectrogram through two convolutions along time, of which the second halves it (Whisper,
    Radford et al., arXiv 2212.04356, sec. 2.2)."""

    channels: int
    positions: int  # after them


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderSpec(Stack):
    """A stack over tokens, an image or sound. Widths of 0 say that the part does not exist."""

    vocab: int = 0
    position_rows: int = 0
    token_types: int = 0
    types_name: str = "token_type_embeddings"
    embed_norm: str = ""  # its name, after the embedding
    patches: Patches | None = None
    frames: Frames | None = None
    score_buckets: int = 0  # of the table of biases of scores (T5)
    first_token_norm: bool = False  # the last norm sees the first token only (CLIP)
    pooler: bool = False  # a projection and tanh of the first token
    picked: bool = False  # the last token that counts is picked (CLIP's text)
    projection: int = 0  # of what is left
    labels: int = 0  # a classifier's, on the first token
    masked_lm: bool = False  # a projection, a norm and the token table on every token
    max_context: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderDecoderSpec:
    """An encoder, and a decoder that attends to its output. `fixed`: the encoder's length, where
    the model has only one."""

    encoder: EncoderSpec
    decoder: DecoderSpec
    fixed: int | None = None
    output_scale: bool = False  # rows times a number before the head (T5)


@dataclass(frozen=True, slots=True, kw_only=True)
class TowersSpec:
    """Two encoders whose outputs are compared (CLIP)."""

    image: EncoderSpec
    text: EncoderSpec
