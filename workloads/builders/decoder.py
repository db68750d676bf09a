"""The graph of a decoder-only transformer in one phase, from its normalized description.

embed -> (projection, positions, scale) -> layers of each kind, chained -> norm -> lm_head.
Ops bear the names of Hugging Face's modules where there is one. A model with two kinds of layers
has their ops prefixed `local.` and `global.`; one kind follows the other, though the model
interleaves them (the same work, and the residual stream between them has one shape).
In a prefill the final norm and lm_head run on the last token of each sequence only (`last_token`),
as serving engines do; in a decode or verify step, and in training, on every token of it.
A tied lm_head reads the token table, which is then streamed; an untied table is only gathered from.
Not modeled: sampling, padding of sequences of unequal length.
"""

from __future__ import annotations

from kernels_ref.errors import UserError
from workloads.builders.draft import Draft, graph_of
from workloads.builders.layer import add_layers
from workloads.builders.spec import DecoderSpec
from workloads.graph import Graph
from workloads.phase import TRAIN, Phase
from workloads.transforms.quantize import quantize

PHASES = ("prefill", "decode", "verify", TRAIN)


def build_decoder(name: str, spec: DecoderSpec, phase: Phase) -> Graph:
    """Raises UserError for a phase that the model cannot run."""
    check_decoder(name, spec, phase)
    draft = Draft(spec.format)
    stream = add_embedding(draft, spec, phase.batch * phase.tokens)
    for kind in spec.layers:
        stream = add_layers(draft, spec, kind, phase, stream)
    add_lm_head(draft, spec, phase, stream)
    graph = graph_of(name, draft, phase, spec.max_context)
    return quantize(graph, spec.stored_as) if spec.stored_as else graph


def check_decoder(name: str, spec: DecoderSpec, phase: Phase) -> None:
    """Raises UserError for a phase that a decoder cannot run."""
    if phase.kind not in PHASES:
        raise UserError(
            f"{name} is a decoder: its phases are {', '.join(PHASES)}, not {phase.kind}"
        )
    if phase.tokens > phase.context:
        raise UserError(
            f"{phase.kind}: {phase.tokens} new tokens do not fit in a context of {phase.context}; "
            "the context counts them too"
        )
    if spec.position_rows and spec.max_context and phase.context > spec.max_context:
        raise UserError(
            f"{name} has {spec.max_context} learned positions; a context of {phase.context} "
            "is beyond them"
        )


def add_embedding(draft: Draft, spec: DecoderSpec, rows: int, table: str | None = None) -> str:
    """Token rows, made `hidden` wide, plus position rows, times the embedding scale."""
    names = spec.names
    if table is None or table not in draft.tensors:
        shape = (spec.vocab, spec.embed_width)
        table = draft.tensor(table or f"{draft.prefix}{names.embed}.weight", shape, "table")
    stream = draft.gather(names.embed, table, rows)
    if spec.embed_width != spec.hidden:
        stream = draft.project("project_in", stream, spec.hidden)
    if spec.position_rows:
        shape = (spec.position_rows, spec.hidden)
        positions = draft.tensor(f"{draft.prefix}{names.positions}.weight", shape, "table")
        position = draft.gather(names.positions, positions, rows)
        stream = draft.vector("position_add", "add", (stream, position))
    if spec.embed_norm:
        stream = draft.norm(spec.embed_norm, spec.norm, stream, spec.norm_tensors)
    return draft.vector("embed_scale", "mul", (stream,)) if spec.embed_scale else stream


def add_lm_head(draft: Draft, spec: DecoderSpec, phase: Phase, stream: str) -> None:
    """Scores of every token of the vocabulary, for the last token of a prompt only."""
    if phase.kind == "prefill" and phase.tokens > 1:
        stream = draft.gather("last_token", stream, phase.batch)
    if spec.final_norm:
        stream = draft.norm(spec.names.final_norm, spec.norm, stream, spec.norm_tensors)
    if spec.embed_width != spec.hidden:
        stream = draft.project("project_out", stream, spec.embed_width)
    if spec.tied:
        logits = draft.multiply("lm_head", stream, f"{spec.names.embed}.weight")
    else:
        logits = draft.project("lm_head", stream, spec.vocab)
    if spec.final_softcap:
        draft.vector("final_softcap", "softcap", (logits,))
