"""What stands in for attention, masks, caches and experts while a model is traced.

transformers lets a program register its own attention, mask and experts functions and pass its own
cache; ours note an op instead of computing. A mask is not read off a tensor (which has no values)
but asked for: the function that says which keys a query sees is evaluated for some rows and must be
causal, causal with a window, or everything.
Routing depends on data: a layer of experts is noted with the loads of uniform routing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from transformers.integrations.moe import ALL_EXPERTS_FUNCTIONS
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from workloads.ops.experts import balanced
from workloads.traced.events import Event, TraceError, Value
from workloads.traced.products import emit_attention
from workloads.traced.recorder import Recorder

NAME = "tileloom"
TABLES = ("position_bias", "s_aux")  # what attention may read beside queries, keys and values
Masks = dict[int, tuple[bool, int | None]]  # address of a mask -> causal, window
PROBES = 16  # rows of a mask that are looked at, beside the first two and the last


@contextmanager
def installed(recorder: Recorder) -> Iterator[None]:
    """Models may choose our attention, masks and experts meanwhile."""
    masks: Masks = {}
    tables: list[tuple[Any, Any]] = [
        (ALL_ATTENTION_FUNCTIONS, _attention(recorder, masks)),
        (ALL_MASK_ATTENTION_FUNCTIONS, _mask(recorder, masks)),
        (ALL_EXPERTS_FUNCTIONS, _experts(recorder)),
    ]
    for interface, function in tables:
        type(interface).register(NAME, function)
    try:
        yield
    finally:
        for interface, _ in tables:
            type(interface)._global_mapping.pop(NAME)


def _attention(r: Recorder, masks: Masks) -> Callable[..., Any]:
    """The attention interface: q [batch, heads, tokens, d] -> [batch, tokens, heads, d]."""

    def attend(
        module: torch.nn.Module,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, None]:
        unknown = [n for n, v in kwargs.items() if _is_value(r, v) and n not in TABLES]
        if unknown:
            raise TraceError(f"{r.module}: attention with {', '.join(unknown)}; not modeled")
        causal = kwargs.get("is_causal")
        causal = getattr(module, "is_causal", False) if causal is None else causal
        window = kwargs.get("sliding_window")
        facts = _visible(r, masks, attention_mask, bool(causal), (query, key, window))
        bias = [*r.read(kwargs.get("position_bias")), *r.read(attention_mask)]
        facts |= {"softcap": kwargs.get("softcap") is not None, "bias": bool(bias)}
        facts["tables"] = [*bias, *r.read(kwargs.get("s_aux"))]
        batch, heads, tokens = query.shape[:3]
        output = query.new_empty(batch, tokens, heads, value.shape[-1])
        emit_attention(r, (query, key, value), output, facts)
        return output, None

    return attend


def _is_value(r: Recorder, given: Any) -> bool:
    return isinstance(given, torch.Tensor) and bool(r.values(given))


def _visible(
    r: Recorder, masks: Masks, mask: torch.Tensor | None, causal: bool, given: tuple[Any, Any, Any]
) -> dict[str, Any]:
    """Which keys a query sees, as fields of the op. Raises TraceError where that is not known."""
    query, key, width = given
    if mask is None:
        return {"causal": causal and query.shape[2] > 1}
    if id(mask) in masks:
        causal, window = masks[id(mask)]
        if causal and window is None and width and width >= key.shape[2]:
            window = width  # of a window that hides nothing of so few keys
        return {"causal": causal, "window": window}
    if r.values(mask) and not causal:  # made of parameters: biases of scores
        return {"causal": False}
    raise TraceError(
        f"{r.module}: attention with a mask {tuple(mask.shape)} that the model makes itself; "
        "what it hides cannot be told without its values"
    )


def _mask(r: Recorder, masks: Masks) -> Callable[..., Any]:
    """The mask interface: a tensor without values that stands for what the mask leaves visible."""

    def make(
        batch_size: int,
        q_length: int,
        kv_length: int,
        q_offset: int = 0,
        kv_offset: int = 0,
        mask_function: Callable[..., Any] | None = None,
        **kwargs: Any,
    ) -> torch.Tensor:
        with r.pause():
            mask = torch.empty(batch_size, 1, q_length, kv_length, dtype=torch.bool, device="meta")
            seen = described(mask_function, (q_length, kv_length), (q_offset, kv_offset))
        masks[id(mask)] = seen
        r.keep(mask)
        return mask

    return make


def described(
    visible: Any, lengths: tuple[int, int], offsets: tuple[int, int]
) -> tuple[bool, int | None]:
    """(causal, window) of a mask function. Raises TraceError for anything else."""
    queries, keys = lengths
    rows = sorted(
        {0, min(1, queries - 1), queries - 1} | set(range(0, queries, -(-queries // PROBES)))
    )
    q = torch.tensor(rows)[:, None] + offsets[0]
    k = torch.arange(keys)[None, :] + offsets[1]
    zero = torch.zeros((), dtype=torch.long)
    seen = visible(zero, zero, q, k).expand(len(rows), keys)
    past = k <= q
    if bool((seen == past).all()):
        return True, None
    if bool(seen.all()):
        return False, None
    window = int(seen.sum(1).max())
    if bool((seen == (past & (k > q - window))).all()):
        return True, window
    raise TraceError(
        f"a mask of {queries} queries and {keys} keys is neither causal, nor causal with a window, "
        "nor open; there is no op for it"
    )


def _experts(r: Recorder) -> Callable[..., Any]:
    """The experts interface: hidden [tokens, k], indices and weights [tokens, picked]."""

    def mix(
        module: Any, hidden: torch.Tensor, indices: torch.Tensor, weights: torch.Tensor
    ) -> torch.Tensor:
        tokens, picked = indices.shape
        rows, width = tokens * picked, hidden.shape[-1]
        dealt = hidden.new_empty(rows, width)
        facts = {"rows": rows, "width": width}
        value, inputs = Value((rows, width)), r.read(hidden, weights)
        r.emit(Event("gather", "", r.module, inputs, value, "dispatch", facts), dealt)
        up = _grouped(r, module, "gate_up_proj" if module.has_gate else "up_proj", dealt, picked)
        inner = module._apply_gate(up) if module.has_gate else module.act_fn(up)
        down = _grouped(r, module, "down_proj", inner, picked)
        if getattr(module, "has_post_expert_norm", False):
            down = module.post_expert_norm(down)
        mixed = torch.empty_like(hidden)
        facts = {"rows": tokens, "width": width, "taps": picked}
        value, inputs = Value((tokens, width)), r.read(down, weights)
        event = Event("vector", "weighted_sum", r.module, inputs, value, "combine", facts)
        r.emit(event, mixed)
        return mixed

    return mix


def _grouped(
    r: Recorder, module: Any, name: str, source: torch.Tensor, picked: int
) -> torch.Tensor:
    """Every row times the matrix of its expert, [experts, n, k] however they are stored."""
    weight = getattr(module, name)
    bias = getattr(module, f"{name}_bias", None) if module.has_bias else None
    experts, n, k = weight.shape
    if module.is_transposed:
        n, k = k, n
    inputs = r.read(source, weight, bias)
    inputs[1].shape = (experts, n, k)
    rows = source.shape[0]
    loads = balanced(rows, active_experts(experts, picked, rows // picked))
    output = source.new_empty(rows, n)
    facts = {"loads": loads, "n": n, "k": k}
    r.emit(Event("experts", "", r.module, inputs, Value((rows, n)), name, facts), output)
    return output


def active_experts(experts: int, per_token: int, tokens: int) -> int:
    """Experts that get a row of `tokens` tokens, expected under uniform routing and rounded:
    E (1 - (1 - k / E)^T), at least k, at most min(E, T k)."""
    expected = round(experts * (1 - (1 - per_token / experts) ** tokens))
    return max(per_token, min(expected, experts, tokens * per_token))
