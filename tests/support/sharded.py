"""Graphs split by hand over chips, as transforms will split them."""

from __future__ import annotations

from kernels_ref.formats import FORMATS
from workloads.graph import Graph, Node, Tensor, check
from workloads.ops import Attention, Collective, Einsum, Vector

BF16 = FORMATS["bf16"]
LLAMA_8B = {"hidden": 4096, "heads": 32, "kv_heads": 8, "inner": 14336}


def layer(tokens: int, ways: int, layers: int = 1, hand_on: bool = False, **sizes: int) -> Graph:
    """One chip's share of `layers` Llama layers split over `ways` (Shoeybi et al., Megatron-LM,
    2019, section 3): heads and the MLP's width by chip, an all_reduce after o_proj and down_proj.
    With `hand_on`, the result goes to the next stage."""
    of = LLAMA_8B | sizes
    hidden, inner, dim = of["hidden"], of["inner"] // ways, of["hidden"] // of["heads"]
    q, kv = of["heads"] // ways * dim, max(1, of["kv_heads"] // ways) * dim
    tensors: dict[str, Tensor] = {}
    nodes: list[Node] = []

    def tensor(name: str, *shape: int, kind: str = "activation") -> str:
        tensors[name] = Tensor(name, shape, BF16, kind)
        return name

    def project(name: str, source: str, k: int, n: int) -> str:
        weight, out = tensor(f"{name}.weight", n, k, kind="weight"), tensor(name, tokens, n)
        ranks = {"m": tokens, "n": n, "k": k}
        nodes.append(Node(Einsum(name, (source, weight), out, ranks, "mk,nk->mn"), layers))
        return out

    def vector(name: str, function: str, inputs: tuple[str, ...], width: int) -> str:
        out = tensor(name, tokens, width)
        nodes.append(Node(Vector(name, inputs, out, function, tokens, width), layers))
        return out

    def reduced(source: str) -> str:
        out = tensor(f"{source}.all_reduce", tokens, hidden)
        size = tensors[source]
        op = Collective(out, (source,), out, "all_reduce", size.bytes, size.elements, ways)
        nodes.append(Node(op, layers))
        return out

    stream = tensor("x", tokens, hidden)
    norm = vector("norm", "rmsnorm", (stream,), hidden)
    parts = [project(f"{p}_proj", norm, hidden, w) for p, w in (("q", q), ("k", kv), ("v", kv))]
    heads = (of["heads"] // ways, max(1, of["kv_heads"] // ways))
    out = tensor("attention", tokens, q)
    op = Attention("attention", tuple(parts), out, 1, *heads, tokens, tokens, dim, dim)
    nodes.append(Node(op, layers))
    branch = reduced(project("o_proj", out, q, hidden))
    stream = vector("attn_residual", "add", (stream, branch), hidden)
    norm = vector("mlp_norm", "rmsnorm", (stream,), hidden)
    gate, up = (project(f"{p}_proj", norm, hidden, inner) for p in ("gate", "up"))
    act = vector("act", "silu_mul", (gate, up), inner)
    branch = reduced(project("down_proj", act, inner, hidden))
    stream = vector("mlp_residual", "add", (stream, branch), hidden)
    if hand_on:
        there = tensor("handed_on", tokens, hidden)
        size = tensors[stream]
        op = Collective("hand_on", (stream,), there, "send", size.bytes, size.elements, 2, "stage")
        nodes.append(Node(op, 1))
    return check(Graph("layer", "prefill", 1, tokens, tuple(nodes), tensors, tokens))
