"""One pass of a served model over its layers, as rows of the other kinds of measurements.

An iteration has `decodes` requests that get a token each, with `context` keys on average, and
`tokens` of prompts. The largest share of a chip is priced, kernels one after the other:

    embedding (nothing) - layers - norm - head (one row a request)
    layer: norm, QKV, (norms of heads), rotation, attention of either kind, output projection,
           all_reduce, norm, MLP or experts, all_reduce, two sums

Tokens of a prompt that comes in parts take their share of the whole prompt's attention. A layer
with a window has the work of causal prompts of twice the window, which is the window's mean.
Where attention has copies, rows are gathered before the experts and scattered after them.
Not modeled: the sampler, overlap of collectives, fusion of norms with what is before them, skewed
routing (tokens pick at random), latent attention, shared experts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from kernels_ref.formats import get_format
from sim.measured.cases import Case
from sim.measured.gemm import DTYPES
from sim.measured.routing import RANDOM
from sim.measured.served import Served
from workloads.builders.spec import LayerKind

METHOD = "server"
WIDE = "bf16"
WIDE_BYTES = 2


@dataclass(frozen=True, slots=True)
class Iteration:
    """Of a copy of the model."""

    decodes: int
    context: int
    tokens: int


@dataclass(frozen=True, slots=True)
class Kernel:
    """A row of the kind `kind`, run `times` in an iteration, or a share of one."""

    kind: str
    times: float
    case: Case


def kernels_of(served: Served, iteration: Iteration) -> Iterator[Kernel]:
    """Everything that a chip runs."""
    spec = served.spec
    rows = _share(iteration.decodes + iteration.tokens, served.copies)
    for kind in spec.layers:
        yield from _attention_part(served, iteration, kind, rows)
        yield from _mlp_part(served, iteration, kind, rows)
    prompts = math.ceil(iteration.tokens / served.prompt)
    ends = _share(iteration.decodes + prompts, served.copies)
    yield _vector(served, 1, "vectorized_add_rmsnorm", ends, spec.hidden)
    yield _multiply(served, 1, WIDE, ends, _share(spec.vocab, served.heads_ways), spec.hidden)


def _attention_part(
    served: Served, iteration: Iteration, kind: LayerKind, rows: int
) -> Iterator[Kernel]:
    spec, n = served.spec, kind.count
    heads, groups = _share(spec.q_heads, served.heads_ways), _groups(served)
    width = heads * spec.head_dim
    yield _vector(served, n, "vectorized_add_rmsnorm", rows, spec.hidden)
    yield _multiply(served, n, served.dense, rows, width + 2 * groups * spec.head_dim, spec.hidden)
    if spec.qk_norm:
        yield _vector(served, n, "vectorized_rmsnorm", rows * heads, spec.head_dim)
        yield _vector(served, n, "vectorized_rmsnorm", rows * groups, spec.head_dim)
    yield _vector(served, n, "rope", rows, (heads + groups) * spec.head_dim)
    yield from _attentions(served, iteration, kind)
    yield _multiply(served, n, served.dense, rows, spec.hidden, width)
    yield from _collective(served, n, "all_reduce", rows, served.heads_ways)


def _attentions(served: Served, iteration: Iteration, kind: LayerKind) -> Iterator[Kernel]:
    """Of requests that get a token, and of prompts."""
    seen, length = iteration.context, round(served.prompt)
    if iteration.decodes:
        keys = min(seen, kind.window or seen)
        batch = _share(iteration.decodes, served.copies)
        yield _attention(served, kind.count, "decode", batch, keys)
    if iteration.tokens:
        keys = min(length, 2 * (kind.window or length))
        prompts = iteration.tokens / served.copies / keys
        batch = max(1, round(prompts))
        yield _attention(served, kind.count * prompts / batch, "prefill", batch, keys)


def _mlp_part(served: Served, iteration: Iteration, kind: LayerKind, rows: int) -> Iterator[Kernel]:
    spec, n = served.spec, kind.count
    yield _vector(served, n, "vectorized_add_rmsnorm", rows, spec.hidden)
    if kind.experts:
        every = iteration.decodes + iteration.tokens
        yield _multiply(served, n, WIDE, rows, kind.experts.count, spec.hidden)
        if served.copies > 1:
            yield from _collective(served, n, "all_gather", every, served.chips)
        yield _experts(served, kind, every)
        back = "reduce_scatter" if served.copies > 1 else "all_reduce"
        yield from _collective(served, n, back, every, served.chips)
    else:
        inner = _share(spec.intermediate, served.heads_ways)
        gates = 2 if spec.gated else 1
        yield _multiply(served, n, served.dense, rows, gates * inner, spec.hidden)
        yield _vector(served, n, "vectorized_silu_mul", rows, inner)
        yield _multiply(served, n, served.dense, rows, spec.hidden, inner)
        yield from _collective(served, n, "all_reduce", rows, served.heads_ways)


def _share(size: int, ways: int) -> int:
    """Of the fullest chip."""
    return -(-size // ways)


def _groups(served: Served) -> int:
    return _share(served.spec.kv_heads, served.heads_ways)


def _kernel(served: Served, kind: str, times: float, **values: object) -> Kernel:
    own = {
        "device": served.device,
        "method": METHOD,
        "lib": served.backend,
        "dtype": WIDE,
    }
    texts = {name: str(value) for name, value in values.items()}
    return Kernel(kind, times, Case("", 0, own | texts))


def _multiply(served: Served, times: float, dtype: str, m: int, n: int, k: int) -> Kernel:
    return _kernel(served, "gemm", times, dtype=dtype, M=m, N=n, K=k)


def _vector(served: Served, times: float, op: str, rows: int, width: int) -> Kernel:
    return _kernel(served, "vector", times, op=op, d0=rows, d1=width)


def _attention(served: Served, times: float, phase: str, batch: int, keys: int) -> Kernel:
    heads = _share(served.spec.q_heads, served.heads_ways)
    shape = {"q_heads": heads, "kv_heads": _groups(served), "head_dim": served.spec.head_dim}
    formats = {"q_dtype": WIDE, "kv_dtype": served.cache}
    return _kernel(
        served, "attention", times, phase=phase, batch=batch, seq_len=keys, **shape, **formats
    )


def _experts(served: Served, kind: LayerKind, tokens: int) -> Kernel:
    experts = kind.experts
    assert experts
    ways = {"moe_tp": served.moe_tp, "moe_ep": served.moe_ep, "distribution": RANDOM}
    sizes = {"topk": experts.per_token, "num_experts": experts.count}
    shape = {"num_tokens": tokens, "hidden": served.spec.hidden, "inter": experts.intermediate}
    return _kernel(served, "moe", kind.count, dtype=served.experts, **shape, **sizes, **ways)


def _collective(served: Served, times: float, op: str, rows: int, chips: int) -> Iterator[Kernel]:
    """Nothing on one chip."""
    if chips > 1:
        size = rows * served.spec.hidden * WIDE_BYTES
        yield _kernel(served, "comm", times, op=op, n_gpus=chips, bytes=size)


def weight_bytes(served: Served) -> float:
    """Of a chip: what the kernels of an iteration multiply with, and its part of the token
    table."""
    found = served.spec.vocab * served.spec.hidden * WIDE_BYTES / served.heads_ways
    for kernel in kernels_of(served, Iteration(1, 1, 0)):
        case = kernel.case
        bits = float(get_format(DTYPES[case.values["dtype"]].formats).bits_per_element)
        if kernel.kind == "gemm":
            found += kernel.times * case.count("N") * case.count("K") * bits / 8
        elif kernel.kind == "moe":
            width = case.count("inter") * case.count("hidden") / served.moe_tp
            matrices = (3 if served.spec.gated else 2) * case.count("num_experts") / served.moe_ep
            found += kernel.times * matrices * width * bits / 8
    return found


def cache_bytes(served: Served) -> float:
    """Of a token of a request, on a chip that keeps it."""
    bits = float(get_format(DTYPES[served.cache].formats).bits_per_element)
    layers = sum(kind.count for kind in served.spec.layers)
    return 2 * layers * _groups(served) * served.spec.head_dim * bits / 8
