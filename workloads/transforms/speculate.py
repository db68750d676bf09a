"""Speculative decoding: a draft proposes tokens, the model verifies them in one step."""

from __future__ import annotations

from dataclasses import replace

from kernels_ref.errors import UserError
from workloads.graph import Graph, Node, Tensor
from workloads.ops import Einsum, Vector
from workloads.transforms.edit import prefixed, renewed, share
from workloads.transforms.layers import skip_layers
from workloads.transforms.rows import with_tokens

DRAFTS = "self (with skip=), medusa, ngram, or a model's name or path"


def expected_tokens(proposed: int, accept: float) -> float:
    """Of one step, the model's own among them, if each proposal is accepted independently with
    probability a: (1 - a^(k+1)) / (1 - a) (Leviathan et al., arXiv 2211.17192, eq. 1)."""
    if accept == 1.0:
        return proposed + 1.0
    return float((1.0 - accept ** (proposed + 1)) / (1.0 - accept))


def speculate(graph: Graph, k: int, accept: float, draft: str = "self", skip: float = 0.5) -> Graph:
    """A decode step becomes a draft of `k` tokens and their verification; it yields the expected
    number of tokens. `draft`: self skips a share `skip` of the layers; medusa has k heads on the
    model's last row; ngram copies from the text and costs nothing; else a model of its own.

    Source: arXiv 2211.17192 (draft models); Draft & Verify, arXiv 2309.08168 (self); Medusa, arXiv
    2401.10774, sec. 3.1 (heads); prompt lookup, arXiv 2304.04487 (copies).
    Accuracy: exact; how often proposals are accepted is an input.
    """
    if k < 1:
        raise UserError(f"speculate: k is {k}; at least 1")
    chance = share(accept, "speculate: accept")
    verified = with_tokens(graph, k + 1)
    drafted, tensors, copies = _draft(graph, k, draft, skip)
    nodes = [*drafted, *verified.nodes]
    yields = expected_tokens(k, chance)
    return renewed(verified, nodes, tensors, copies=copies, produced=yields)


def _draft(
    graph: Graph, k: int, draft: str, skip: float
) -> tuple[list[Node], dict[str, Tensor], dict[str, float]]:
    """The draft's nodes and tensors under names of their own, and copies of what is stored."""
    if draft == "ngram":
        return [], {}, {}
    if draft == "medusa":
        return _heads(graph, k)
    if draft == "self":
        nodes, tensors = prefixed(skip_layers(graph, skip), "draft.", k, _parameters(graph))
        beside = {name: 0.0 for name, tensor in tensors.items() if tensor.kind == "kv"}
        return nodes, tensors, {**graph.stored_copies(), **beside}
    from workloads.builders import build
    from workloads.config import read_config
    from workloads.phase import decode

    other = build(read_config(draft), decode(graph.batch, graph.context))
    own = {f"draft.{name}": count for name, count in other.stored_copies().items()}
    return *prefixed(other, "draft.", k), own


def _parameters(graph: Graph) -> set[str]:
    """What a self-draft shares with the model, but not what it makes of it. Its caches are the
    model's too: verification writes over what the draft has appended."""
    made = {node.op.output for node in graph}
    stored = (name for name, t in graph.tensors.items() if t.kind in ("weight", "table"))
    return set(stored) - made


def _heads(graph: Graph, k: int) -> tuple[list[Node], dict[str, Tensor], dict[str, float]]:
    """Medusa's heads: a residual block, and scores of the vocabulary, on the last row."""
    head = graph.node("lm_head").op
    assert isinstance(head, Einsum)
    rows, vocab = graph.tensors[head.inputs[0]], head.ranks["n"]
    width, like = rows.shape[1], graph.tensors[head.inputs[1]]
    tensors: dict[str, Tensor] = {}
    ops: list[Einsum | Vector] = []

    def tensor(name: str, shape: tuple[int, ...], kind: str) -> str:
        pattern = like if kind == "weight" else rows
        tensors[name] = replace(pattern, name=name, shape=shape, kind=kind)
        return name

    source = tensor("medusa.row", rows.shape, "activation")
    count, size = rows.shape
    steps = (("medusa.block", width, source), ("medusa.head", vocab, "medusa.add"))
    for name, wide, read in steps:
        weight = tensor(f"{name}.weight", (wide, width), "weight")
        made = tensor(name, (count, wide), "activation")
        ranks = {"m": count, "n": wide, "k": width}
        ops.append(Einsum(name, (read, weight), made, ranks, "mk,nk->mn"))
        if name == "medusa.block":
            act = tensor("medusa.act", rows.shape, "activation")
            ops.append(Vector(act, (made,), act, "silu", count, size))
            added = tensor("medusa.add", rows.shape, "activation")
            ops.append(Vector(added, (act, source), added, "add", count, size))
    return [Node(op, k, layered=False) for op in ops], tensors, {}
