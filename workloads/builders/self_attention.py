"""Attention of a layer, to itself or to an encoder's output, with its projections and cache.

Cache: keys and values each [batch * kv_heads * positions, head_dim]. A decode step appends its rows
and reads the cache, in a windowed layer min(window, context) positions of it. A prefill of whole
prompts attends over the fresh keys and values and writes the cache beside, of which a windowed
layer keeps min(window, context). A chunk of a prompt reads the cache, like a decode step of several
tokens; its windowed layers hold window - 1 + tokens positions meanwhile. An encoder has no cache,
nor has training.

Where a family merges q, k and v, the parts are views of one tensor, read whole: attention, the
cache's writes and the rotation (one op, `rope`, over q and k in it) all name that tensor.

Keys and values of an encoder's output are made once, in the prefill, and kept.
Not modeled: the table of rotary sines and cosines (tokens * rotary_dim, shared by all layers),
paging.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from workloads.builders.draft import Draft
from workloads.builders.spec import LayerKind, Stack
from workloads.ops import Attention, Move
from workloads.phase import WHOLE, Phase, encode


@dataclass(frozen=True, slots=True)
class Encoded:
    """What a decoder attends to: the encoder's output, None where its keys and values are kept
    already; positions of each sequence."""

    tensor: str | None
    length: int


def self_attention(
    draft: Draft, spec: Stack, kind: LayerKind, phase: Phase, source: str, bias: str | None = None
) -> str:
    """Projections, cache, attention, output projection; `bias` is a table of biases of scores."""
    q, k, v = _queries_keys_values(draft, spec, source)
    lengths = lengths_of(phase, kind.window)
    keys, values, heads = k, v, (spec.kv_heads, spec.head_dim)
    if phase.kind not in WHOLE:
        caches = tuple(
            append(draft, phase, heads, kind.window, (letter, rows))
            for letter, rows in (("k", k), ("v", v))
        )
        keys, values = (k, v) if fresh(phase) else caches
    operands = [q, keys, values]
    if spec.sinks:
        operands.append(draft.tensor(f"{draft.prefix}sinks", (spec.q_heads,), "weight"))
    operands += [bias] if bias else []
    op = _attention(draft, spec, phase, "attention", tuple(operands))
    op = replace(op, kv_len=lengths[-1][1], causal=spec.causal, window=kind.window)
    op = replace(op, lengths=lengths if len(lengths) > 1 else ())
    op = replace(op, softcap=spec.softcap, bias=bias is not None)
    return _out(draft, spec, "", op)


def cross_attention(draft: Draft, spec: Stack, encoded: Encoded, phase: Phase, source: str) -> str:
    """Queries of this stack, keys and values of the encoder's output."""
    names, width = spec.names, spec.kv_heads * spec.head_dim
    q_name, k_name, v_name = (names.cross + name for name in names.qkv)
    q = draft.project(q_name, source, spec.q_heads * spec.head_dim, spec.qkv_bias)
    biases = (spec.qkv_bias and spec.k_bias, spec.qkv_bias)
    found = []
    for name, letter, bias in zip((k_name, v_name), "kv", biases, strict=True):
        if encoded.tensor:
            rows = draft.project(name, encoded.tensor, width, bias)
            kept, heads = encode(phase.batch, encoded.length), (spec.kv_heads, spec.head_dim)
            append(draft, kept, heads, None, (f"{names.cross}{letter}", rows))
            found.append(rows)
        else:
            shape = (phase.batch * spec.kv_heads * encoded.length, spec.head_dim)
            cache = f"{draft.prefix}{names.cross}{letter}_cache"
            found.append(draft.tensor(cache, shape, "kv"))
            draft.keep(name, width, spec.hidden, bias)
    name = f"{names.cross}attention"
    op = _attention(draft, spec, phase, name, (q, *found))
    op = replace(op, kv_len=encoded.length, causal=False)
    return _out(draft, spec, names.cross, op)


def _attention(
    draft: Draft, spec: Stack, phase: Phase, name: str, operands: tuple[str, ...]
) -> Attention:
    """Every new token to as many keys."""
    name = draft.prefix + name
    shape = (phase.batch * phase.tokens, spec.q_heads * spec.head_dim)
    return Attention(
        name=name,
        inputs=operands,
        output=draft.tensor(name, shape, "activation"),
        batch=phase.batch,
        q_heads=spec.q_heads,
        kv_heads=spec.kv_heads,
        q_len=phase.tokens,
        kv_len=phase.tokens,
        head_dim=spec.head_dim,
        v_head_dim=spec.head_dim,
    )


def _out(draft: Draft, spec: Stack, prefix: str, op: Attention) -> str:
    rows = draft.add(op)
    if spec.inner_norms:
        rows = draft.norm(f"{prefix}attn_sub_norm", spec.norm, rows, spec.norm_tensors)
    return draft.project(prefix + spec.names.out, rows, spec.hidden, spec.out_bias)


def _queries_keys_values(draft: Draft, spec: Stack, source: str) -> tuple[str, str, str]:
    """Names of the three tensors, normalized and rotated; one name thrice where they are merged."""
    q_width, kv_width = spec.q_heads * spec.head_dim, spec.kv_heads * spec.head_dim
    if len(spec.names.qkv) == 1:
        width = q_width + 2 * kv_width
        merged = draft.project(spec.names.qkv[0], source, width, spec.qkv_bias)
        if spec.rotary_dim:
            merged = draft.rope("rope", merged, (spec.q_heads + spec.kv_heads) * spec.rotary_dim)
        return merged, merged, merged
    biases = (spec.qkv_bias, spec.qkv_bias and spec.k_bias, spec.qkv_bias)
    q, k, v = (
        draft.project(name, source, width, bias)
        for name, width, bias in zip(
            spec.names.qkv, (q_width, kv_width, kv_width), biases, strict=True
        )
    )
    if spec.qk_norm == "head":
        q = draft.head_norm("q_norm", q, spec.head_dim)
        k = draft.head_norm("k_norm", k, spec.head_dim)
    elif spec.qk_norm == "row":
        q = draft.norm("q_norm", "rmsnorm", q, ("weight",))
        k = draft.norm("k_norm", "rmsnorm", k, ("weight",))
    if spec.rotary_dim:
        q = draft.rope("rope_q", q, spec.q_heads * spec.rotary_dim)
        k = draft.rope("rope_k", k, spec.kv_heads * spec.rotary_dim)
    return q, k, v


def fresh(phase: Phase) -> bool:
    """True where the cache was empty before, so that attention needs nothing from it."""
    return phase.kind in ("prefill", *WHOLE) and phase.tokens == phase.context


def lengths_of(phase: Phase, window: int | None) -> tuple[tuple[int, int], ...]:
    """(sequences, keys that attention sees of each at most), the shortest first."""
    return ((phase.batch, phase.context),) if fresh(phase) else phase.lengths(window)


def append(
    draft: Draft, phase: Phase, heads: tuple[int, int], window: int | None, names: tuple[str, str]
) -> str:
    """Write the new rows to a cache: one contiguous run per sequence and head.

    `heads`: how many, and elements of each; `names`: of the cache's letter, and of the rows.
    """
    letter, rows = names
    count, elements = heads
    lengths = lengths_of(phase, window)
    if fresh(phase) and window:
        lengths = ((phase.batch, min(window, phase.context)),)
    held = sum(sequences * keys for sequences, keys in lengths)
    output = draft.tensor(f"{draft.prefix}{letter}_cache", (held * count, elements), "kv")
    run = min(phase.tokens, lengths[-1][1]) * elements
    return draft.add(Move(f"{draft.prefix}{letter}_append", (rows,), output, run))
