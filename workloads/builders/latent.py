"""Multi-head latent attention: keys and values as one compressed row per token (DeepSeek-V2, arXiv
2405.04434, sec. 2.1).

A fresh prefill makes keys and values of every head from the compressed rows. A decode step does
not: the matrices that would make them are multiplied into the query and the output instead (sec.
2.1.2, "absorbed"), so that all heads share one key of kv_rank + rope elements, whose first kv_rank
are the value too. The cache holds these rows only.
Not modeled: the choice between the two in a chunk of a prompt (it is absorbed).
"""

from __future__ import annotations

from workloads.builders.draft import Draft
from workloads.builders.self_attention import append, fresh
from workloads.builders.spec import LatentSpec, Stack
from workloads.ops import Attention, Einsum
from workloads.phase import TRAIN, Phase


def latent_attention(
    draft: Draft, spec: Stack, latent: LatentSpec, phase: Phase, source: str
) -> str:
    """Projections, cache, attention, output projection."""
    heads, each = spec.q_heads, latent.nope + latent.rope
    q = source
    if latent.q_rank:
        q = draft.project("q_a_proj", q, latent.q_rank, spec.qkv_bias)
        q = draft.norm("q_a_layernorm", "rmsnorm", q, ("weight",))
    q = draft.project("q_b_proj" if latent.q_rank else "q_proj", q, heads * each)
    q = draft.rope("rope_q", q, heads * latent.rope)
    width = latent.kv_rank + latent.rope
    rows = draft.project("kv_a_proj_with_mqa", source, width, spec.qkv_bias)
    rows = draft.part_norm("kv_a_layernorm", rows, latent.kv_rank)
    rows = draft.rope("rope_k", rows, latent.rope)
    cache = (
        rows if phase.kind == TRAIN else append(draft, phase, (1, width), None, ("latent", rows))
    )
    if fresh(phase):
        mixed = _of_each_head(draft, spec, latent, phase, (q, rows))
    else:
        mixed = _absorbed(draft, spec, latent, phase, (q, cache))
    return draft.project(spec.names.out, mixed, spec.hidden, spec.out_bias)


def _of_each_head(
    draft: Draft, spec: Stack, latent: LatentSpec, phase: Phase, operands: tuple[str, str]
) -> str:
    """Keys and values made of the compressed rows; every key ends with the shared rotated part."""
    q, rows = operands
    tokens, heads = draft.tensors[rows].shape[0], spec.q_heads
    made = []
    for letter, width in (("k", latent.nope), ("v", latent.value)):
        name = f"{draft.prefix}kv_b_proj.{letter}"
        shape = (heads * width, latent.kv_rank)
        weight = draft.tensor(f"{draft.prefix}kv_b_proj.{letter}.weight", shape, "weight")
        output = draft.tensor(name, (tokens, shape[0]), "activation")
        ranks = {"m": tokens, "n": shape[0], "k": latent.kv_rank}
        made.append(draft.add(Einsum(name, (rows, weight), output, ranks, "mk,nk->mn")))
    each = latent.nope + latent.rope
    keys = draft.move("keys", (made[0], rows), (tokens, heads * each), latent.nope)
    op = _attention(draft, spec, phase, (q, keys, made[1]), (heads, each, latent.value), False)
    return draft.add(op)


def _absorbed(
    draft: Draft, spec: Stack, latent: LatentSpec, phase: Phase, operands: tuple[str, str]
) -> str:
    """Queries in the space of the compressed rows, and outputs out of it, head by head."""
    q, cache = operands
    heads, rank = spec.q_heads, latent.kv_rank
    q = _per_head(draft, "q_absorb", q, "k", (heads, rank, latent.nope))
    shape = (heads, rank + latent.rope, rank)
    mixed = draft.add(_attention(draft, spec, phase, (q, cache, cache), shape, True))
    return _per_head(draft, "v_absorb", mixed, "v", (heads, latent.value, rank))


def _per_head(
    draft: Draft, name: str, source: str, letter: str, sizes: tuple[int, int, int]
) -> str:
    """Every head's row times a matrix of its own, [n, k] to a head."""
    heads, n, k = sizes
    tokens = draft.tensors[source].shape[0]
    # stored as kv_b_proj has it: [heads * nope, kv_rank] for keys, [heads * value, kv_rank]
    stored = (heads * k, n) if letter == "k" else (heads * n, k)
    weight = draft.tensor(f"{draft.prefix}kv_b_proj.{letter}.weight", stored, "weight")
    name = draft.prefix + name
    output = draft.tensor(name, (tokens, heads * n), "activation")
    ranks = {"h": heads, "m": tokens, "n": n, "k": k}
    spec = "hmk,hkn->hmn" if letter == "k" else "hmk,hnk->hmn"
    return draft.add(Einsum(name, (source, weight), output, ranks, spec))


def _attention(
    draft: Draft,
    spec: Stack,
    phase: Phase,
    operands: tuple[str, str, str],
    heads: tuple[int, int, int],
    latent: bool,
) -> Attention:
    """`heads`: of queries, and elements of a key and of a value."""
    name, lengths = f"{draft.prefix}attention", phase.lengths()
    count, key, value = heads
    output = draft.tensor(name, (phase.batch * phase.tokens, count * value), "activation")
    return Attention(
        name=name,
        inputs=operands,
        output=output,
        batch=phase.batch,
        q_heads=count,
        kv_heads=1 if latent else count,
        q_len=phase.tokens,
        kv_len=phase.context,
        head_dim=key,
        v_head_dim=value,
        lengths=lengths if len(lengths) > 1 else (),
        latent=latent,
    )
