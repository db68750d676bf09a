"""Measured layers of transformers: the kernels of each named part, one after the other.

A part is a row of its own (`Wo_proj`), or rows are sums: `SUM(a+b+...)` names its parts,
`TOTAL_LAYER(sum)` is all of a GPT's layer. Parts are rows of the other kinds: multiplications,
vector functions, collectives. Widths are the models' (SHAPES), divided by `tp` where a chip has a
part of the heads or of the inner width.
Names of parts: Vidur (MLSys 2024) profiles, LLMCompass (ISCA 2024) figure 5; each of the latter's
ops was timed by itself by a clock on the host.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from accel_models.explain import nearest
from kernels_ref.errors import UserError
from kernels_ref.formats import get_format
from sim.measured.cases import Case, RowError
from sim.measured.comm import comm_graphs
from sim.measured.gemm import COPIES, dtype_of, gemm_graphs, single
from sim.measured.vector import vector_graphs
from workloads.graph import Graph, Tensor
from workloads.ops import Einsum

COLUMNS = ("model", "n_gpus", "tp", "batch", "q_len", "kv_len", "dtype", "op")


@dataclass(frozen=True, slots=True)
class Shape:
    """Of a model's layer; `norm` and `act` are names of vector functions."""

    hidden: int
    heads: int
    kv_heads: int
    inner: int
    gated: bool = True
    norm: str = "rmsnorm"
    act: str = "silu_mul"
    add: str = "add"

    @property
    def head_dim(self) -> int:
        return self.hidden // self.heads


# the models' published configurations
SHAPES: dict[str, Shape] = {
    "GPT-3-175B layer": Shape(12288, 96, 96, 49152, False, "layernorm", "gelu"),
    "Qwen/Qwen-72B": Shape(8192, 64, 64, 24576),
    "codellama/CodeLlama-34b-Instruct-hf": Shape(8192, 64, 8, 22016),
    "internlm/internlm-20b": Shape(5120, 40, 40, 13824),
    "meta-llama/Llama-2-70b-hf": Shape(8192, 64, 8, 28672),
    "meta-llama/Llama-2-7b-hf": Shape(4096, 32, 32, 11008),
    "meta-llama/Meta-Llama-3-70B": Shape(8192, 64, 8, 28672),
    "meta-llama/Meta-Llama-3-8B": Shape(4096, 32, 8, 14336),
    # attention and MLP beside each other: three are added
    "microsoft/phi-2": Shape(2560, 32, 32, 10240, False, "layernorm_torch", "gelu_torch", "add3"),
}


@dataclass(frozen=True, slots=True)
class Part:
    """A row of another kind: `kind` as in sim.measured.kinds, or `batched`, multiplications of
    which there are B."""

    kind: str
    case: Case


def parts_of(case: Case) -> list[Part]:
    """Every kernel of the row. Raises UserError for a model or part that is unknown."""
    model, op = case.values["model"], case.values["op"]
    if model not in SHAPES:
        raise UserError(f"model: no layer '{model}'; {nearest(model, list(SHAPES))}")
    names = op.removeprefix("SUM(").rstrip(")").split("+") if op.startswith("SUM(") else [op]
    if op == "TOTAL_LAYER(sum)":
        names = [*_GPT, "LayerNorm_FFN", "AllReduce_FFN"]
    return [part for name in names for part in _part(case, SHAPES[model], name)]


def _part(case: Case, shape: Shape, name: str) -> list[Part]:
    parts = _GPT | _SERVED
    base = name.replace("_FFN", "_MHA")
    if base not in parts:
        raise UserError(f"op: no part '{name}' of a layer; {nearest(name, list(parts))}")
    return parts[base](case, shape)


def _split(case: Case, size: int) -> int:
    """Of a chip."""
    ways = case.count("tp")
    if size % ways:
        raise RowError(f"{case.file}:{case.line}: tp: {size} is not divided by {ways}")
    return size // ways


def _tokens(case: Case) -> int:
    return case.count("q_len") * (case.count("batch") if case.values.get("batch") else 1)


def _row(case: Case, kind: str, **values: object) -> Part:
    """A case of another kind at the same place of the file."""
    vidur = case.values.get("source", "").startswith("vidur")
    own = {
        "device": case.device,
        "dtype": case.values["dtype"],
        "latency_us": case.values["latency_us"],
        "method": case.values.get("method")
        or ("kineto_kernel_sum" if vidur else "pytorch_wallclock"),
    }
    texts = {name: str(value) for name, value in values.items()}
    return Part(kind, Case(case.file, case.line, own | texts))


def _multiply(case: Case, n: int, k: int) -> list[Part]:
    return [_row(case, "gemm", M=_tokens(case), N=n, K=k)]


def _scores(case: Case, shape: Shape, n: int, k: int) -> list[Part]:
    """Multiplications of all heads."""
    heads = case.count("batch") * _split(case, shape.heads)
    return [_row(case, "batched", **{COPIES: heads}, M=case.count("q_len"), N=n, K=k)]


def _vector(case: Case, op: str, rows: int, width: int) -> list[Part]:
    return [_row(case, "vector", op=op, d0=rows, d1=width)]


def _qkv_width(case: Case, shape: Shape) -> int:
    kv = max(1, shape.kv_heads // case.count("tp"))
    return (_split(case, shape.heads) + 2 * kv) * shape.head_dim


def _rope_width(case: Case, shape: Shape) -> int:
    kv = max(1, shape.kv_heads // case.count("tp"))
    return (_split(case, shape.heads) + kv) * shape.head_dim


Rule = Callable[[Case, Shape], list[Part]]
_SERVED: dict[str, Rule] = {
    "attn_pre_proj": lambda c, s: _multiply(c, _qkv_width(c, s), s.hidden),
    "attn_rope": lambda c, s: _vector(c, "rope", _tokens(c), _rope_width(c, s)),
    "attn_post_proj": lambda c, s: _multiply(c, s.hidden, _split(c, s.hidden)),
    "mlp_up_proj": lambda c, s: _multiply(c, (1 + s.gated) * _split(c, s.inner), s.hidden),
    "mlp_act": lambda c, s: _vector(c, s.act, _tokens(c), _split(c, s.inner)),
    "mlp_down_proj": lambda c, s: _multiply(c, s.hidden, _split(c, s.inner)),
    "input_layernorm": lambda c, s: _vector(c, s.norm, _tokens(c), s.hidden),
    "post_attention_layernorm": lambda c, s: _vector(c, s.norm, _tokens(c), s.hidden),
    "add": lambda c, s: _vector(c, s.add, _tokens(c), s.hidden),
}
_GPT: dict[str, Rule] = {
    "Q_K_V": lambda c, s: 3 * _multiply(c, _split(c, s.hidden), s.hidden),
    "Q_mul_K": lambda c, s: _scores(c, s, c.count("kv_len"), s.head_dim),
    "Softmax": lambda c, s: _vector(
        c,
        "softmax",
        c.count("batch") * _split(c, s.heads) * c.count("q_len"),
        c.count("kv_len"),
    ),
    "A_mul_V": lambda c, s: _scores(c, s, s.head_dim, c.count("kv_len")),
    "Wo_proj": lambda c, s: _multiply(c, s.hidden, _split(c, s.hidden)),
    "LayerNorm_MHA": lambda c, s: _vector(c, s.norm, _tokens(c), s.hidden),
    "W1_proj": lambda c, s: _multiply(c, _split(c, s.inner), s.hidden),
    "GeLU": lambda c, s: _vector(c, s.act, _tokens(c) * _split(c, s.inner), 1),
    "W2_proj": lambda c, s: _multiply(c, s.hidden, _split(c, s.inner)),
    "AllReduce_MHA": lambda c, s: [
        _row(
            c,
            "comm",
            op="all_reduce",
            n_gpus=c.count("n_gpus"),
            bytes=_tokens(c) * s.hidden * get_format(dtype_of(c).base).bits // 8,
        )
    ],
}


def layer_graphs(case: Case) -> list[Graph]:
    """The kernels, one after the other."""
    makers = {
        "gemm": gemm_graphs,
        "vector": vector_graphs,
        "comm": comm_graphs,
        "batched": _batched_graphs,
    }
    return [graph for part in parts_of(case) for graph in makers[part.kind](part.case)]


def _batched_graphs(case: Case) -> list[Graph]:
    b, m, n, k = (case.count(name) for name in (COPIES, *"MNK"))
    number = get_format(dtype_of(case).formats)
    shapes = {"a": (b, m, k), "b": (b, n, k), "scores": (b, m, n)}
    tensors = [Tensor(name, shape, number, "activation") for name, shape in shapes.items()]
    ranks = {"b": b, "m": m, "n": n, "k": k}
    op = Einsum("scores", ("a", "b"), "scores", ranks, "bmk,bnk->bmn")
    return [single(op, tensors, b * m)]
