"""From a model configuration to the graph of a phase: `build(read_config("llama-3-8b"), phase)`.

A new family is a function from its fields to a spec and a line in BUILDERS; a model of another
shape is a spec of its own and a line in SHAPES.
Not modeled: `quantization_config`; formats are a transform here, so the key is refused.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any, NamedTuple

from workloads.builders.convnets import (
    ConvNetSpec,
    build_convnet,
    lenet,
    mobilenet_v1,
    mobilenet_v2,
    resnet,
)
from workloads.builders.decoder import build_decoder
from workloads.builders.encoder import build_encoder, build_towers
from workloads.builders.encoder_decoder import build_encoder_decoder
from workloads.builders.encoder_spec import EncoderDecoderSpec, EncoderSpec, TowersSpec
from workloads.builders.encoders import bert, clip, deit, m3vit, roberta, vit
from workloads.builders.fields import Fields
from workloads.builders.gemma import gemma, gemma2, gemma3_text
from workloads.builders.hybrids import (
    ConvAttentionSpec,
    DetectorSpec,
    build_conv_attention,
    build_detector,
    conv_attention,
    deformable_detector,
)
from workloads.builders.learned import gpt2, opt
from workloads.builders.mixtures import (
    deepseek_v2,
    deepseek_v3,
    gpt_oss,
    mixtral,
    olmoe,
    qwen2_moe,
    qwen3_moe,
)
from workloads.builders.recurrent import (
    MambaSpec,
    RwkvSpec,
    build_mamba,
    build_rwkv,
    mamba,
    rwkv,
)
from workloads.builders.rotary import bitnet, llama, mistral, phi3, qwen2, qwen3
from workloads.builders.sequences import bart, t5, whisper
from workloads.builders.spec import DecoderSpec
from workloads.builders.vision_language import (
    VisionLanguageSpec,
    build_vision_language,
    llava,
    qwen2_vl,
)
from workloads.config import ConfigError, ModelConfig
from workloads.graph import Graph
from workloads.phase import TRAIN, WHOLE, Phase

# model_type -> what its configuration means.
BUILDERS: dict[str, Callable[[Fields], Any]] = {
    "llama": llama,
    "mistral": mistral,
    "qwen2": qwen2,
    "qwen3": qwen3,
    "phi3": phi3,
    "gemma": gemma,
    "gemma2": gemma2,
    "gemma3_text": gemma3_text,
    "gpt2": gpt2,
    "opt": opt,
    "mixtral": mixtral,
    "qwen2_moe": qwen2_moe,
    "qwen3_moe": qwen3_moe,
    "olmoe": olmoe,
    "gpt_oss": gpt_oss,
    "deepseek_v2": deepseek_v2,
    "deepseek_v3": deepseek_v3,
    "bert": bert,
    "roberta": roberta,
    "vit": vit,
    "deit": deit,
    "clip": clip,
    "t5": t5,
    "bart": bart,
    "whisper": whisper,
    "mamba": mamba,
    "rwkv": rwkv,
    "bitnet": bitnet,
    "llava": llava,
    "qwen2_vl": qwen2_vl,
    "resnet": resnet,
    "mobilenet_v1": mobilenet_v1,
    "mobilenet_v2": mobilenet_v2,
    "lenet": lenet,
    "m3vit": m3vit,
    "conv_attention": conv_attention,
    "deformable_detector": deformable_detector,
}


class Shape(NamedTuple):
    """How a description becomes a graph, and in which phases."""

    build: Callable[[str, Any, Phase], Graph]
    phases: tuple[str, ...]


TOKENS = ("prefill", "decode", "verify")
IMAGES = ("encode",)

# what a configuration means -> how that becomes a graph
SHAPES: dict[type, Shape] = {
    DecoderSpec: Shape(build_decoder, (*TOKENS, TRAIN)),
    EncoderSpec: Shape(build_encoder, WHOLE),
    EncoderDecoderSpec: Shape(build_encoder_decoder, ("encode", *TOKENS)),
    TowersSpec: Shape(build_towers, IMAGES),
    MambaSpec: Shape(build_mamba, TOKENS),
    RwkvSpec: Shape(build_rwkv, TOKENS),
    VisionLanguageSpec: Shape(build_vision_language, ("encode", *TOKENS)),
    ConvNetSpec: Shape(build_convnet, IMAGES),
    ConvAttentionSpec: Shape(build_conv_attention, IMAGES),
    DetectorSpec: Shape(build_detector, IMAGES),
}

# model_type of a multimodal model -> that of its language model, nested under `text_config`.
NESTED: dict[str, str] = {"gemma3": "gemma3_text"}


def build(config: ModelConfig, phase: Phase) -> Graph:
    """The checked graph of a model in a phase.

    Raises ConfigError with every problem of the file, one per line, and UserError for a phase that
    the model cannot run.
    """
    spec = describe(config)
    return SHAPES[type(spec)].build(config.name, spec, phase)


def phases_of(config: ModelConfig) -> tuple[str, ...]:
    """The phases that the model has. Raises ConfigError as `build` does."""
    return SHAPES[type(describe(config))].phases


def describe(config: ModelConfig) -> Any:
    """The normalized description of a configuration. Raises ConfigError as `build` does."""
    fields = _fields(config, _model_type(config))
    if config.data.get("quantization_config") is not None:
        fields.problems.append(
            f"{config.place('quantization_config')}: 'quantization_config' is not read, because "
            "quantizing is a transform; delete the key and pass --formats"
        )
    spec = BUILDERS[fields.family](fields)
    fields.finish()
    return spec


def _model_type(config: ModelConfig) -> str:
    known = [*BUILDERS, *NESTED]
    given = config.data.get("model_type")
    if isinstance(given, str) and given in known:
        return given
    place = config.place("model_type")
    if not isinstance(given, str):
        what = "is not a string" if "model_type" in config.data else "is missing"
        raise ConfigError(f"{place}: 'model_type' {what}; known: {', '.join(known)}")
    close = difflib.get_close_matches(given, known, n=1, cutoff=0.5)
    hint = f"; did you mean '{close[0]}'?" if close else ""
    raise ConfigError(
        f"{place}: no builder for model_type '{given}'{hint} (known: {', '.join(known)})"
    )


def _fields(config: ModelConfig, model_type: str) -> Fields:
    if model_type not in NESTED:
        return Fields(config, model_type, config.data, "")
    data = config.data.get("text_config")
    if not isinstance(data, dict):
        raise ConfigError(
            f"{config.place('text_config')}: '{model_type}' needs an object 'text_config', "
            "its language model"
        )
    return Fields(config, NESTED[model_type], data, "text_config.")
