"""One layer: attention, perhaps attention to an encoder's output, and an MLP or experts, each with
its norms and residual add.

The layer stands in the graph once, with the number of its kind as count. Its first op reads the
embedding's output (or the previous kind's); layer i > 0 really reads the layer before, whose output
has the same shape.
Not modeled: dropout; attention and MLP in parallel.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from workloads.builders.draft import Draft
from workloads.builders.experts import add_experts
from workloads.builders.latent import latent_attention
from workloads.builders.mlp import add_mlp
from workloads.builders.self_attention import Encoded, cross_attention, self_attention
from workloads.builders.spec import LayerKind, Stack
from workloads.phase import Phase


@dataclass(frozen=True, slots=True)
class Beside:
    """What all layers read besides the stream: an encoder's output, a table of biases of scores."""

    encoded: Encoded | None = None
    bias: str | None = None


ALONE = Beside()


def add_layers(
    draft: Draft,
    spec: Stack,
    kind: LayerKind,
    phase: Phase,
    stream: str,
    beside: Beside = ALONE,
) -> str:
    """Write the layers of one kind; `stream` is the residual in, the result the residual out."""
    outer = draft.prefix
    draft.prefix = outer + (f"{kind.label}." if kind.label else "")
    draft.count, draft.layered = kind.count, True
    names = spec.names

    def attend(source: str) -> str:
        if spec.latent:
            return latent_attention(draft, spec, spec.latent, phase, source)
        return self_attention(draft, spec, kind, phase, source, beside.bias)

    norms = (names.attention_norm, names.attention_post_norm)
    stream = _branch(draft, spec, "attn_residual", norms, stream, attend)
    if encoded := beside.encoded:

        def attend_to_it(source: str) -> str:
            return cross_attention(draft, spec, encoded, phase, source)

        norms = (names.cross_norm, "")
        stream = _branch(draft, spec, "cross_residual", norms, stream, attend_to_it)

    def transform(source: str) -> str:
        if kind.experts:
            return add_experts(draft, spec, kind.experts, source)
        return add_mlp(draft, spec, source)

    norms = (names.mlp_norm, names.mlp_post_norm)
    stream = _branch(draft, spec, "mlp_residual", norms, stream, transform)
    draft.prefix, draft.count, draft.layered = outer, 1, False
    return stream


def _branch(
    draft: Draft,
    spec: Stack,
    name: str,
    norms: tuple[str, str],
    stream: str,
    body: Callable[[str], str],
) -> str:
    """Add a branch to the stream, with the norm before or after it, or after the sum."""
    branch = body(_norm(draft, spec, norms[0], stream) if spec.pre_norm else stream)
    if spec.post_norms:
        branch = _norm(draft, spec, norms[1], branch)
    stream = draft.vector(name, "add", (stream, branch))
    return stream if spec.pre_norm else _norm(draft, spec, norms[0], stream)


def _norm(draft: Draft, spec: Stack, name: str, source: str) -> str:
    return draft.norm(name, spec.norm, source, spec.norm_tensors)
