"""Inputs of a phase for a model on the meta device, and what cannot be run.

Token ids and masks are known before the model runs; pixels and spectrograms are activations.
As in the builders, the prefill of an encoder-decoder is its encoder on `tokens` source tokens and
its decoder on one; its decode steps are given what was kept of the source.
"""

from __future__ import annotations

import inspect
from dataclasses import replace
from math import prod
from typing import Any

import torch
from transformers.cache_utils import EncoderDecoderCache
from transformers.modeling_outputs import BaseModelOutput

from kernels_ref.errors import UserError
from workloads.phase import Phase
from workloads.traced.cache import CrossCache, NotedCache
from workloads.traced.events import Value
from workloads.traced.recorder import Recorder

STEPS = ("prefill", "decode", "verify")
FIRST = 1  # tokens of a decoder behind an encoder, in a prefill


def call(model: Any, phase: Phase, recorder: Recorder) -> Phase:
    """Run the model once in the phase; the phase, with the context that the graph states.

    Raises UserError for a phase that the model cannot run.
    """
    names = inspect.signature(model.forward).parameters
    if phase.contexts:
        raise UserError("hf: sequences of one length are traced; the phase has several")
    if phase.tokens > phase.context:
        raise UserError(
            f"{phase.kind}: {phase.tokens} new tokens do not fit in a context of {phase.context}"
        )
    if getattr(model.config, "is_encoder_decoder", False):
        _encoder_decoder(model, phase, recorder)
        return replace(phase, context=FIRST) if phase.kind == "prefill" else phase
    if _decodes(model, names):
        if phase.kind not in STEPS:
            raise UserError(f"{_name(model)} is a decoder: its phases are {', '.join(STEPS)}")
        model(**_ids(phase.batch, phase.tokens), **_steps(model, names, phase, recorder))
    elif "state" in names:
        raise UserError(f"{_name(model)} computes its state token by token; it cannot be traced")
    elif phase.kind != "encode":
        raise UserError(f"{_name(model)} is an encoder: its phase is encode, not {phase.kind}")
    else:
        model(**_encoder_inputs(model, names, phase.batch, phase.tokens, recorder))
    return phase


def _name(model: Any) -> str:
    return type(model).__name__


def _decodes(model: Any, names: Any) -> bool:
    decodes = getattr(model.config, "is_decoder", True) or model.can_generate()
    caches = "past_key_values" in names and decodes
    return bool(caches) or "cache_params" in names


def _ids(batch: int, tokens: int, name: str = "input_ids") -> dict[str, torch.Tensor]:
    return {name: torch.zeros(batch, tokens, dtype=torch.long, device="meta")}


def _steps(model: Any, names: Any, phase: Phase, recorder: Recorder) -> dict[str, Any]:
    """The cache, and that a prefill wants the last token's logits only."""
    name = "past_key_values" if "past_key_values" in names else "cache_params"
    given = {name: NotedCache(recorder, phase, model.config), "use_cache": True}
    if "logits_to_keep" in names and phase.kind == "prefill":
        given["logits_to_keep"] = 1
    return given


def _encoder_inputs(
    model: Any, names: Any, batch: int, tokens: int, recorder: Recorder
) -> dict[str, torch.Tensor]:
    """Token ids, pixels and spectrograms, whichever the model takes."""
    given: dict[str, torch.Tensor] = {}
    config, dtype = model.config, model.dtype
    if "pixel_values" in names:
        vision = getattr(config, "vision_config", config)
        side = getattr(vision, "image_size", None)
        if side is None:
            raise UserError(f"{_name(model)}: its configuration states no 'image_size'")
        high, wide = side if isinstance(side, (list, tuple)) else (side, side)
        given["pixel_values"] = _data((batch, vision.num_channels, high, wide), dtype)
    if "input_features" in names:
        length = 2 * config.max_source_positions
        given["input_features"] = _data((batch, config.num_mel_bins, length), dtype)
    for name, tensor in given.items():
        channels = tensor.shape[1]
        recorder.bind(tensor, Value((prod(tensor.shape) // channels, channels), name=name))
    if "input_ids" in names:
        given |= _ids(batch, tokens)
    if not given:
        raise UserError(f"{_name(model)} takes {', '.join(names)}; no input of it is known")
    return given


def _data(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    return torch.empty(shape, dtype=dtype, device="meta")


def _encoder_decoder(model: Any, phase: Phase, recorder: Recorder) -> None:
    """The encoder alone; the encoder and the decoder's first token; or a step of the decoder."""
    encoder = model.get_encoder()
    names = inspect.signature(encoder.forward).parameters
    given: dict[str, Any] = {}
    if phase.kind in ("encode", "prefill"):
        tokens = phase.source or phase.tokens
        given = _encoder_inputs(encoder, names, phase.batch, tokens, recorder)
    if phase.kind == "encode":
        encoder(**given)
        return
    source = phase.source or phase.context
    if phase.kind == "prefill":
        step = Phase("prefill", phase.batch, FIRST, FIRST)
    else:
        step = phase
        if "input_features" in names:
            source = model.config.max_source_positions
        rows = _data((phase.batch, source, model.config.hidden_size), model.dtype)
        given = {"encoder_outputs": BaseModelOutput(last_hidden_state=rows)}
    cross = CrossCache(recorder, phase, model.config, source)
    cache = EncoderDecoderCache(NotedCache(recorder, step, model.config), cross)
    if phase.kind != "prefill":
        cache.is_updated = dict.fromkeys(range(len(cross.layers)), True)
    given |= _ids(phase.batch, step.tokens, "decoder_input_ids")
    model(**given, past_key_values=cache, use_cache=True)
