"""The graph of an encoder-decoder in one phase.

encode: the encoder alone. prefill: the encoder on `tokens` source tokens, what every decoder layer
keeps of its output, and the decoder on its first token. decode and verify: the decoder, whose
layers also attend to what they kept; the source is as long as the phase says, else as its context.
What a phase does not run is stored nevertheless.
Not modeled: a prompt of the decoder in the prefill, beam search.
"""

from __future__ import annotations

from dataclasses import replace

from kernels_ref.errors import UserError
from workloads.builders.decoder import add_embedding, check_decoder
from workloads.builders.draft import Draft, graph_of
from workloads.builders.encoder import add_encoder, add_score_bias
from workloads.builders.encoder_spec import EncoderDecoderSpec
from workloads.builders.layer import Beside, add_layers
from workloads.builders.self_attention import Encoded
from workloads.graph import Graph
from workloads.phase import Phase, encode, prefill

FIRST = 1  # tokens of the decoder in a prefill: the one it begins with


def build_encoder_decoder(name: str, spec: EncoderDecoderSpec, phase: Phase) -> Graph:
    """Raises UserError for a phase that the model cannot run."""
    source = spec.fixed or phase.source or phase.context
    limit = spec.encoder.max_context
    if spec.encoder.position_rows and limit and source > limit:
        raise UserError(
            f"{name} has {limit} learned positions; a source of {source} is beyond them"
        )
    inputs, draft = Draft(spec.encoder.format), Draft(spec.decoder.format)
    inputs.prefix = "encoder."
    encoded = add_encoder(inputs, spec.encoder, phase.batch, source)
    inputs.prefix = ""
    if phase.kind == "encode":
        _add_decoder(
            draft, name, spec, prefill(phase.batch, FIRST), Encoded(encoded, source), inputs
        )
        inputs.keep_all(draft)
        return graph_of(name, inputs, encode(phase.batch, source), limit)
    if phase.kind == "prefill":
        step = prefill(phase.batch, FIRST)
        _add_decoder(inputs, name, spec, step, Encoded(encoded, source), inputs)
        return graph_of(name, inputs, replace(phase, context=FIRST), spec.decoder.max_context)
    _add_decoder(draft, name, spec, phase, Encoded(None, source), inputs)
    draft.keep_all(inputs)
    return graph_of(name, draft, phase, spec.decoder.max_context)


def _add_decoder(
    draft: Draft,
    name: str,
    spec: EncoderDecoderSpec,
    phase: Phase,
    encoded: Encoded,
    inputs: Draft,
) -> None:
    """Embedding, layers and head; the encoder's token table is the decoder's too."""
    decoder = spec.decoder
    check_decoder(name, decoder, phase)
    if encoded.tensor and draft is not inputs:
        draft.tensors[encoded.tensor] = inputs.tensors[encoded.tensor]
    draft.prefix = "decoder."
    stream = add_embedding(draft, decoder, phase.batch * phase.tokens, shared_table(spec))
    bias = None
    if spec.encoder.score_buckets:
        bias = add_score_bias(draft, spec.encoder.score_buckets, decoder.q_heads)
    for kind in decoder.layers:
        stream = add_layers(draft, decoder, kind, phase, stream, Beside(encoded, bias))
    if decoder.final_norm:
        stream = draft.norm(decoder.names.final_norm, decoder.norm, stream, decoder.norm_tensors)
    if spec.output_scale:
        stream = draft.vector("output_scale", "mul", (stream,))
    draft.prefix = ""
    if decoder.tied:
        table = shared_table(spec) or f"decoder.{decoder.names.embed}.weight"
        draft.multiply("lm_head", stream, table)
    else:
        draft.project("lm_head", stream, decoder.vocab)


def shared_table(spec: EncoderDecoderSpec) -> str | None:
    """The encoder's token table, which the decoder uses too; None where there is none."""
    return f"encoder.{spec.encoder.names.embed}.weight" if spec.encoder.vocab else None
