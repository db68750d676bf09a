"""A transformer, normalized: what differs between families, each as one fact.

Every family's configuration becomes one spec, and a builder turns it into a graph without knowing
the family: `Stack` is what its layers need to know, `DecoderSpec` a stack between a token table and
a language model's head.
"""

from __future__ import annotations

from dataclasses import dataclass

from kernels_ref.formats import Format


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpertsSpec:
    """A mixture of experts in place of an MLP; `shared` is the width of the expert that takes every
    token, 0 for none."""

    count: int
    per_token: int
    intermediate: int
    scores: str  # function of workloads.ops.vector that makes weights of the router's outputs
    scores_of_all: bool = True  # of all experts, or of those that were picked (gpt-oss)
    bias: bool = False
    router_bias: bool = False
    choice_bias: bool = False  # added to scores for the choice only (DeepSeek-V3)
    shared: int = 0
    shared_gate: bool = False  # a weight for the shared expert (Qwen 2)
    router: str = "gate"
    routers: int = 1  # stored, one for each task, of which one is used (M3ViT)
    shared_name: str = "shared_expert"


@dataclass(frozen=True, slots=True)
class LatentSpec:
    """Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434, sec. 2.1): widths per token of
    the compressed query (None: not compressed) and of the compressed keys and values, and per head
    of what is not rotated, what is, and the value."""

    q_rank: int | None
    kv_rank: int
    nope: int
    rope: int
    value: int


@dataclass(frozen=True, slots=True)
class LayerKind:
    """`count` layers alike. `label` names the kind where a model has two, else it is empty."""

    label: str
    count: int
    window: int | None = None  # keys a query sees, itself included; None for all
    experts: ExpertsSpec | None = None


@dataclass(frozen=True, slots=True)
class Names:
    """The family's module names. One name for several projections means that they are merged."""

    embed: str = "embed_tokens"
    positions: str = ""
    attention_norm: str = "input_layernorm"
    qkv: tuple[str, ...] = ("q_proj", "k_proj", "v_proj")
    out: str = "o_proj"
    attention_post_norm: str = ""
    cross_norm: str = ""  # of attention to an encoder's output, and the prefix of its projections
    cross: str = "encoder_attn."
    mlp_norm: str = "post_attention_layernorm"
    up: tuple[str, ...] = ("gate_proj", "up_proj")
    down: str = "down_proj"
    mlp_post_norm: str = ""
    final_norm: str = "norm"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """Sizes, then structure, of a stack of layers. Booleans say that the part exists."""

    hidden: int
    intermediate: int
    q_heads: int
    kv_heads: int
    head_dim: int
    rotary_dim: int  # elements of a head that are rotated; 0 without rotary embedding
    layers: tuple[LayerKind, ...]
    names: Names
    norm: str  # function of workloads.ops.vector: rmsnorm or layernorm
    norm_tensors: tuple[str, ...]  # of ("weight", "bias")
    pre_norm: bool = True  # before attention and MLP; False: after the residual (OPT-350M, BERT)
    post_norms: bool = False  # also on what attention and MLP return (Gemma 2 and 3)
    final_norm: bool = True
    qk_norm: str = ""  # RMS norm of queries and keys: of each "head" (Qwen 3) or of a "row" (OLMoE)
    inner_norms: bool = False  # of what the output and down projections read (BitNet)
    activation: str  # function of workloads.ops.vector
    gated: bool  # activation(gate) * up
    qkv_bias: bool = False
    k_bias: bool = True  # where there are biases; Whisper has none on keys
    out_bias: bool = False
    mlp_bias: bool = False
    causal: bool = True
    softcap: bool = False  # of attention
    score_bias: bool = False  # a table of biases by distance, one for all layers (T5)
    sinks: bool = False  # a learned score per head beside the keys' (gpt-oss)
    latent: LatentSpec | None = None
    format: Format


@dataclass(frozen=True, slots=True, kw_only=True)
class DecoderSpec(Stack):
    """A stack that predicts tokens."""

    vocab: int
    embed_width: int  # of the token table; projected in and out where it is not `hidden`
    position_rows: int = 0  # of the learned position table; 0 without one
    tied: bool  # lm_head is the token table
    embed_norm: str = ""  # its name, after the embedding (BART)
    embed_scale: bool = False  # embeddings times sqrt(hidden)
    final_softcap: bool = False
    stored_as: str = ""  # formats of the checkpoint, where they are not `format` everywhere
    max_context: int | None
