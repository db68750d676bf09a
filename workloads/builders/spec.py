"""A decoder-only transformer, normalized: what differs between families, each as one fact.

Every family's configuration becomes one `DecoderSpec`; `workloads.builders.decoder` turns it into
a graph without knowing the family.
Not modeled: mixtures of experts, latent attention, cross attention, encoders.
"""

from __future__ import annotations

from dataclasses import dataclass

from kernels_ref.formats import Format


@dataclass(frozen=True, slots=True)
class LayerKind:
    """`count` layers alike. `label` names the kind where a model has two, else it is empty."""

    label: str
    count: int
    window: int | None  # keys a query sees, itself included; None for all


@dataclass(frozen=True, slots=True)
class Names:
    """The family's module names. One name for several projections means that they are merged."""

    embed: str = "embed_tokens"
    positions: str = ""
    attention_norm: str = "input_layernorm"
    qkv: tuple[str, ...] = ("q_proj", "k_proj", "v_proj")
    out: str = "o_proj"
    attention_post_norm: str = ""
    mlp_norm: str = "post_attention_layernorm"
    up: tuple[str, ...] = ("gate_proj", "up_proj")
    down: str = "down_proj"
    mlp_post_norm: str = ""
    final_norm: str = "norm"


@dataclass(frozen=True, slots=True, kw_only=True)
class DecoderSpec:
    """Sizes, then structure. Booleans say that the part exists."""

    hidden: int
    intermediate: int
    vocab: int
    embed_width: int  # of the token table; projected in and out where it is not `hidden`
    q_heads: int
    kv_heads: int
    head_dim: int
    rotary_dim: int  # elements of a head that are rotated; 0 without rotary embedding
    position_rows: int  # of the learned position table; 0 without one
    layers: tuple[LayerKind, ...]
    names: Names
    norm: str  # function of workloads.ops.vector: rmsnorm or layernorm
    norm_tensors: tuple[str, ...]  # of ("weight", "bias")
    pre_norm: bool = True  # before attention and MLP; False: after the residual (OPT-350M)
    post_norms: bool = False  # also on what attention and MLP return (Gemma 2 and 3)
    final_norm: bool = True
    qk_norm: bool = False  # RMS norm of each query and key head (Qwen 3, Gemma 3)
    activation: str  # function of workloads.ops.vector
    gated: bool  # activation(gate) * up
    qkv_bias: bool = False
    out_bias: bool = False
    mlp_bias: bool = False
    tied: bool  # lm_head is the token table
    embed_scale: bool = False  # embeddings times sqrt(hidden)
    attention_softcap: bool = False
    final_softcap: bool = False
    format: Format
    max_context: int | None
