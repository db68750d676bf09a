"""Measured attention: a causal prompt on itself, or a step that sees `seq_len` keys; keys and
values are written to the cache by a kernel of their own, which the rows include."""

from __future__ import annotations

from accel_models.explain import nearest
from kernels_ref.errors import UserError
from kernels_ref.formats import get_format
from sim.measured.cases import Case
from sim.measured.gemm import dtype_of, single
from workloads.graph import Graph, Tensor
from workloads.ops import Attention, Move

PHASES = ("prefill", "decode")


def attention_graphs(case: Case) -> list[Graph]:
    """The cache's new rows, and the attention. Raises UserError for an unknown phase."""
    phase = case.values["phase"]
    if phase not in PHASES:
        raise UserError(f"phase: '{phase}'; {nearest(phase, list(PHASES))}")
    batch, length = case.count("batch"), case.count("seq_len")
    heads, kv, dim = (case.count(c) for c in ("q_heads", "kv_heads", "head_dim"))
    queries = length if phase == "prefill" else 1
    wide = get_format(dtype_of(case, "q_dtype").base)
    q_format = get_format(dtype_of(case, "q_dtype").formats)
    kept = get_format(dtype_of(case, "kv_dtype").formats)
    rows = batch * queries
    fresh = Tensor("fresh", (rows, 2 * kv * dim), wide, "activation")
    cache = Tensor("cache", (2 * batch * length * kv, dim), kept, "kv")
    append = Move("append", ("fresh",), "cache", queries * dim)
    parts = [single(append, [fresh, cache], rows)]
    shape, kind = (batch * length * kv, dim), "activation" if phase == "prefill" else "kv"
    of_keys = q_format if phase == "prefill" else kept
    operands = [Tensor("q", (rows, heads * dim), q_format, "activation")]
    operands += [Tensor(name, shape, of_keys, kind) for name in ("k", "v")]
    made = Tensor("attention", (rows, heads * dim), wide, "activation")
    op = Attention(
        "attention", ("q", "k", "v"), "attention", batch, heads, kv, queries, length, dim, dim
    )
    return [*parts, single(op, [*operands, made], rows)]
