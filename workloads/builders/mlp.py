"""The MLP of a layer."""

from __future__ import annotations

from workloads.builders.draft import Draft
from workloads.builders.spec import Stack


def add_mlp(
    draft: Draft, spec: Stack, source: str, prefix: str = "", intermediate: int | None = None
) -> str:
    """Up, activation, down; a merged gate and up is one projection of twice the width."""
    names, inner = spec.names, intermediate or spec.intermediate
    width = inner * (1 + spec.gated) // len(names.up)
    up = tuple(draft.project(prefix + name, source, width, spec.mlp_bias) for name in names.up)
    op_name = "act_mul" if spec.gated else "act"
    made = draft.vector(prefix + op_name, spec.activation, up, inner)
    if spec.inner_norms:
        made = draft.norm(f"{prefix}ffn_sub_norm", spec.norm, made, spec.norm_tensors)
    return draft.project(prefix + names.down, made, spec.hidden, spec.mlp_bias)
