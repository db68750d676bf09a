"""Models whose layers keep a state instead of a cache: Mamba and RWKV.

Source: Gu and Dao, Mamba, arXiv 2312.00752; Peng et al., RWKV, arXiv 2305.13048; configuration and
modeling files of Hugging Face transformers (`models/mamba/`, `models/rwkv/`); defaults stated here
are those of the configuration class that published files leave out.

The state is a tensor of kind kv: of Mamba [batch * inner, state_size] and the last taps of its
convolution, of RWKV three numbers per channel and the last row of either half of a layer. A step
reads and writes it (`..._state`, one copy); what is computed with it stays on chip. A prompt is one
scan over its tokens. In a prefill the head runs on the last token only.
Not modeled: a scan in chunks as matrix multiplications (Mamba-2); time not spread over cores.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from kernels_ref.errors import UserError
from kernels_ref.formats import Format
from workloads.builders.draft import Draft, graph_of
from workloads.builders.fields import MAX_LAYERS, Fields
from workloads.builders.images import Conv, Image, convolve
from workloads.builders.parts import storage_format
from workloads.graph import Graph
from workloads.ops import Move, Vector
from workloads.phase import Phase

PHASES = ("prefill", "decode", "verify")
MAMBA_ACT = {"silu": "silu"}


@dataclass(frozen=True, slots=True, kw_only=True)
class MambaSpec:
    """Sizes of a Mamba; `rank` of its step sizes."""

    hidden: int
    inner: int
    state: int
    taps: int
    rank: int
    layers: int
    vocab: int
    bias: bool
    conv_bias: bool
    tied: bool
    format: Format


@dataclass(frozen=True, slots=True, kw_only=True)
class RwkvSpec:
    """Sizes of an RWKV 4."""

    hidden: int
    attention: int
    inner: int
    layers: int
    vocab: int
    tied: bool
    format: Format
    max_context: int | None


def mamba(f: Fields) -> MambaSpec:
    """Mamba 1."""
    f.defaults = {"state_size": 16, "expand": 2, "conv_kernel": 4, "use_bias": False,
                  "use_conv_bias": True, "hidden_act": "silu", "time_step_rank": "auto",
                  "tie_word_embeddings": True}  # fmt: skip
    hidden = f.integer("hidden_size")
    f.choice("hidden_act", MAMBA_ACT)
    by_width = f.data.get("time_step_rank", "auto") == "auto"
    return MambaSpec(
        hidden=hidden,
        inner=hidden * f.integer("expand"),
        state=f.integer("state_size"),
        taps=f.integer("conv_kernel"),
        rank=ceil(hidden / 16) if by_width else f.integer("time_step_rank"),
        layers=f.integer("num_hidden_layers", maximum=MAX_LAYERS),
        vocab=f.integer("vocab_size"),
        bias=f.flag("use_bias"),
        conv_bias=f.flag("use_conv_bias"),
        tied=f.flag("tie_word_embeddings"),
        format=storage_format(f),
    )


def rwkv(f: Fields) -> RwkvSpec:
    """RWKV 4."""
    f.defaults = {"tie_word_embeddings": False}
    hidden = f.integer("hidden_size")
    return RwkvSpec(
        hidden=hidden,
        attention=f.integer("attention_hidden_size", default=hidden),
        inner=f.integer("intermediate_size", default=4 * hidden),
        layers=f.integer("num_hidden_layers", maximum=MAX_LAYERS),
        vocab=f.integer("vocab_size"),
        tied=f.flag("tie_word_embeddings"),
        format=storage_format(f),
        max_context=f.nullable_integer("context_length", required=False),
    )


def build_mamba(name: str, spec: MambaSpec, phase: Phase) -> Graph:
    """Raises UserError for a phase that it cannot run."""
    _check(name, phase)
    draft = Draft(spec.format)
    rows = phase.batch * phase.tokens
    table = draft.tensor("embeddings.weight", (spec.vocab, spec.hidden), "table")
    stream = draft.gather("embeddings", table, rows)
    draft.count, draft.layered = spec.layers, True
    source = draft.norm("norm", "rmsnorm", stream, ("weight",))
    mixed = _mamba_mixer(draft, spec, phase, source)
    stream = draft.vector("residual", "add", (stream, mixed))
    draft.count, draft.layered = 1, False
    _head(draft, phase, stream, ("norm_f", "rmsnorm", ("weight",)), table if spec.tied else None)
    return graph_of(name, draft, phase, None)


def _mamba_mixer(draft: Draft, spec: MambaSpec, phase: Phase, source: str) -> str:
    """Projection in, convolution, scan, gate, projection out (Mamba, fig. 3)."""
    rows, inner = phase.batch * phase.tokens, spec.inner
    _state(draft, "conv_state", (phase.batch * inner, spec.taps))
    _state(draft, "ssm_state", (phase.batch * inner, spec.state))
    x = draft.project("in_proj.x", source, inner, spec.bias)
    gate = draft.project("in_proj.z", source, inner, spec.bias)
    sound = Image(x, phase.batch, (phase.tokens,))
    conv = Conv(
        inner, spec.taps, padding=spec.taps - 1, groups=inner, bias=spec.conv_bias, cut=phase.tokens
    )
    taken = convolve(draft, "conv1d", sound, conv)
    x = draft.vector("conv1d.act", "silu", (taken.tensor,))
    chosen = draft.project("x_proj", x, spec.rank + 2 * spec.state)
    step = draft.project("dt_proj", chosen, inner, bias=True, k=spec.rank)
    step = draft.vector("dt_proj.act", "softplus", (step,))
    decay = draft.tensor("A_log", (inner, spec.state), "weight")
    skip = draft.tensor("D", (inner,), "weight")
    output = draft.tensor("scan", (rows, inner), "activation")
    inputs = (x, step, chosen, decay, skip)
    scanned = Vector("scan", inputs, output, "selective_scan", rows, inner, spec.state)
    made = draft.vector("gate", "silu_mul", (draft.add(scanned), gate))
    return draft.project("out_proj", made, spec.hidden, spec.bias)


def build_rwkv(name: str, spec: RwkvSpec, phase: Phase) -> Graph:
    """Raises UserError for a phase that it cannot run."""
    _check(name, phase)
    draft, norms = Draft(spec.format), ("weight", "bias")
    rows = phase.batch * phase.tokens
    table = draft.tensor("embeddings.weight", (spec.vocab, spec.hidden), "table")
    stream = draft.gather("embeddings", table, rows)
    stream = draft.norm("pre_ln", "layernorm", stream, norms)
    draft.count, draft.layered = spec.layers, True
    for half, body in (("attention", _time_mix), ("feed_forward", _channel_mix)):
        source = draft.norm(f"{half}.norm", "layernorm", stream, norms)
        _state(draft, f"{half}.row_state", (phase.batch, spec.hidden))
        branch = body(draft, spec, phase, source)
        stream = draft.vector(f"{half}.residual", "add", (stream, branch))
    draft.count, draft.layered = 1, False
    _head(draft, phase, stream, ("ln_out", "layernorm", norms), table if spec.tied else None)
    return graph_of(name, draft, phase, spec.max_context)


def _time_mix(draft: Draft, spec: RwkvSpec, phase: Phase, source: str) -> str:
    """Keys, values and receptances of rows mixed with the row before; the scan (RWKV, sec. 3.2)."""
    rows, width = phase.batch * phase.tokens, spec.attention
    _state(draft, "attention.state", (phase.batch * width, 3))
    key, value, receptance = (
        draft.project(f"attention.{part}", _shifted(draft, "attention", part, source), width)
        for part in ("key", "value", "receptance")
    )
    opened = draft.vector("attention.receptance.act", "sigmoid", (receptance,))
    stored = [draft.tensor(f"attention.{p}", (width,), "weight") for p in ("decay", "first")]
    output = draft.tensor("attention.wkv", (rows, width), "activation")
    mixed = draft.add(Vector("attention.wkv", (key, value, *stored), output, "wkv", rows, width))
    made = draft.vector("attention.gate", "mul", (opened, mixed))
    return draft.project("attention.output", made, spec.hidden)


def _channel_mix(draft: Draft, spec: RwkvSpec, phase: Phase, source: str) -> str:
    """A squared ReLU between two projections, let through by a receptance."""
    key = draft.project(
        "feed_forward.key", _shifted(draft, "feed_forward", "key", source), spec.inner
    )
    made = draft.vector("feed_forward.act", "squared_relu", (key,))
    value = draft.project("feed_forward.value", made, spec.hidden)
    mixed = _shifted(draft, "feed_forward", "receptance", source)
    receptance = draft.project("feed_forward.receptance", mixed, spec.hidden)
    opened = draft.vector("feed_forward.receptance.act", "sigmoid", (receptance,))
    return draft.vector("feed_forward.gate", "mul", (opened, value))


def _shifted(draft: Draft, half: str, part: str, source: str) -> str:
    """Every row mixed with the one before it, by a share per channel."""
    share = draft.tensor(f"{half}.time_mix_{part}", (draft.tensors[source].shape[1],), "weight")
    return draft.vector(f"{half}.{part}.shift", "lerp", (source, share))


def _state(draft: Draft, name: str, shape: tuple[int, int]) -> None:
    """What is read from one step to the next, and written."""
    state = draft.tensor(f"{name}.kept", shape, "kv")
    draft.add(Move(name, (state,), draft.tensor(name, shape, "activation"), shape[1]))


def _head(
    draft: Draft,
    phase: Phase,
    stream: str,
    norm: tuple[str, str, tuple[str, ...]],
    table: str | None,
) -> None:
    """The last norm, and scores of every token of the vocabulary."""
    if phase.kind == "prefill" and phase.tokens > 1:
        stream = draft.gather("last_token", stream, phase.batch)
    stream = draft.norm(norm[0], norm[1], stream, norm[2])
    if table:
        draft.multiply("lm_head", stream, table)
    else:
        vocab = draft.tensors["embeddings.weight"].shape[0]
        draft.project("lm_head", stream, vocab)


def _check(name: str, phase: Phase) -> None:
    if phase.kind not in PHASES:
        raise UserError(
            f"{name} predicts tokens: its phases are {', '.join(PHASES)}, not {phase.kind}"
        )
