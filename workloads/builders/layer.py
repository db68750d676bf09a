"""One decoder layer: attention and MLP with their norms, residual adds and cache.

The layer stands in the graph once, with the number of its kind as count. Its first op reads the
embedding's output (or the previous kind's); layer i > 0 really reads the layer before, whose output
has the same shape.

Cache: keys and values each [batch * kv_heads * positions, head_dim]. A decode step appends its rows
and reads the cache, in a windowed layer min(window, context) positions of it. A prefill of whole
prompts attends over the fresh keys and values and writes the cache beside, of which a windowed
layer keeps min(window, context). A chunk of a prompt reads the cache, like a decode step of several
tokens; its windowed layers hold window - 1 + tokens positions meanwhile.

Where a family merges q, k and v, the parts are views of one tensor, read whole: attention, the
cache's writes and the rotation (one op, `rope`, over q and k in it) all name that tensor.
Not modeled: the table of rotary sines and cosines (tokens * rotary_dim, shared by all layers),
dropout, paging.
"""

from __future__ import annotations

from workloads.builders.draft import Draft
from workloads.builders.spec import DecoderSpec, LayerKind
from workloads.ops import Attention, Move
from workloads.phase import Phase


def add_layers(draft: Draft, spec: DecoderSpec, kind: LayerKind, phase: Phase, stream: str) -> str:
    """Write the layers of one kind; `stream` is the residual in, the result the residual out."""
    draft.prefix = f"{kind.label}." if kind.label else ""
    draft.count = kind.count
    names = spec.names
    norms = (names.attention_norm, names.attention_post_norm)
    source = _norm(draft, spec, norms[0], stream) if spec.pre_norm else stream
    branch = _attention(draft, spec, kind, phase, source)
    stream = _join(draft, spec, "attn_residual", norms, (stream, branch))
    norms = (names.mlp_norm, names.mlp_post_norm)
    source = _norm(draft, spec, norms[0], stream) if spec.pre_norm else stream
    branch = _mlp(draft, spec, source)
    stream = _join(draft, spec, "mlp_residual", norms, (stream, branch))
    draft.prefix, draft.count = "", 1
    return stream


def _norm(draft: Draft, spec: DecoderSpec, name: str, source: str) -> str:
    return draft.norm(name, spec.norm, source, spec.norm_tensors)


def _join(
    draft: Draft, spec: DecoderSpec, name: str, norms: tuple[str, str], parts: tuple[str, str]
) -> str:
    """Add a branch to the stream, with the norms that follow the branch or the sum."""
    stream, branch = parts
    if spec.post_norms:
        branch = _norm(draft, spec, norms[1], branch)
    stream = draft.vector(name, "add", (stream, branch))
    return stream if spec.pre_norm else _norm(draft, spec, norms[0], stream)


def _attention(draft: Draft, spec: DecoderSpec, kind: LayerKind, phase: Phase, source: str) -> str:
    q, k, v = _queries_keys_values(draft, spec, source)
    seen, kept = _positions(phase, kind.window)
    caches = tuple(
        _append(draft, spec, phase, kept, (f"{letter}_append", rows, f"{letter}_cache"))
        for letter, rows in (("k", k), ("v", v))
    )
    keys, values = (k, v) if _fresh(phase) else caches
    name = f"{draft.prefix}attention"
    width = spec.q_heads * spec.head_dim
    output = draft.tensor(name, (phase.batch * phase.tokens, width), "activation")
    op = Attention(
        name=name,
        inputs=(q, keys, values),
        output=output,
        batch=phase.batch,
        q_heads=spec.q_heads,
        kv_heads=spec.kv_heads,
        q_len=phase.tokens,
        kv_len=seen,
        head_dim=spec.head_dim,
        v_head_dim=spec.head_dim,
        window=kind.window,
        softcap=spec.attention_softcap,
    )
    return draft.project(spec.names.out, draft.add(op), spec.hidden, spec.out_bias)


def _queries_keys_values(draft: Draft, spec: DecoderSpec, source: str) -> tuple[str, str, str]:
    """Names of the three tensors, normalized and rotated; one name thrice where they are merged."""
    q_width, kv_width = spec.q_heads * spec.head_dim, spec.kv_heads * spec.head_dim
    if len(spec.names.qkv) == 1:
        width = q_width + 2 * kv_width
        merged = draft.project(spec.names.qkv[0], source, width, spec.qkv_bias)
        if spec.rotary_dim:
            merged = draft.rope("rope", merged, (spec.q_heads + spec.kv_heads) * spec.rotary_dim)
        return merged, merged, merged
    widths = (q_width, kv_width, kv_width)
    q, k, v = (
        draft.project(name, source, width, spec.qkv_bias)
        for name, width in zip(spec.names.qkv, widths, strict=True)
    )
    if spec.qk_norm:
        q = draft.head_norm("q_norm", q, spec.head_dim)
        k = draft.head_norm("k_norm", k, spec.head_dim)
    if spec.rotary_dim:
        q = draft.rope("rope_q", q, spec.q_heads * spec.rotary_dim)
        k = draft.rope("rope_k", k, spec.kv_heads * spec.rotary_dim)
    return q, k, v


def _fresh(phase: Phase) -> bool:
    """True where the cache was empty before, so that attention needs nothing from it."""
    return phase.kind == "prefill" and phase.tokens == phase.context


def _positions(phase: Phase, window: int | None) -> tuple[int, int]:
    """(keys that attention sees at most, positions that the cache holds) of one sequence."""
    if _fresh(phase):
        return phase.context, min(window or phase.context, phase.context)
    seen = phase.context if window is None else min(phase.context, window - 1 + phase.tokens)
    return seen, seen


def _append(
    draft: Draft, spec: DecoderSpec, phase: Phase, kept: int, names: tuple[str, str, str]
) -> str:
    """Write the new rows to a cache: one contiguous run per sequence and head."""
    name, rows, cache = names
    shape = (phase.batch * spec.kv_heads * kept, spec.head_dim)
    output = draft.tensor(draft.prefix + cache, shape, "kv")
    run = min(phase.tokens, kept) * spec.head_dim
    return draft.add(Move(draft.prefix + name, (rows,), output, run))


def _mlp(draft: Draft, spec: DecoderSpec, source: str) -> str:
    """Up, activation, down; a merged gate and up is one projection of twice the width."""
    names = spec.names
    width = spec.intermediate * (1 + spec.gated) // len(names.up)
    up = tuple(draft.project(name, source, width, spec.mlp_bias) for name in names.up)
    op_name = "act_mul" if spec.gated else "act"
    inner = draft.vector(op_name, spec.activation, up, spec.intermediate)
    return draft.project(names.down, inner, spec.hidden, spec.mlp_bias)
