"""How tokens fall on experts: skewed instead of uniform, limited by a capacity; in which order."""

from __future__ import annotations

from dataclasses import replace
from math import ceil

from kernels_ref.errors import UserError
from workloads.graph import Graph
from workloads.ops import Experts
from workloads.ops.experts import balanced
from workloads.transforms.edit import changed, of_inference, renewed

BINS = 4  # of experts with similar loads, each planned as one
FULL = ("keep", "drop", "reroute")

Loads = tuple[tuple[int, int], ...]


def routing(
    graph: Graph, skew: float = 0.0, capacity: float = 0.0, full: str = "keep", seed: int = 0
) -> Graph:
    """Experts are chosen with probabilities 1 / rank^skew, without replacement, in one sample of
    this seed. With a `capacity` factor c an expert takes c * rows / experts at most; what is above
    is kept (c is only storage), dropped, or rerouted to those with room.

    Source: Switch Transformer, arXiv 2101.03961, sec. 2.2 (capacity, drops); Zipf-like loads as
    measured in arXiv 2303.06182, fig. 4 (skewed experts in inference).
    Accuracy: an input where rows are dropped or rerouted.
    """
    if skew < 0 or capacity < 0:
        raise UserError("routing: skew and capacity are numbers of at least 0")
    if full not in FULL:
        raise UserError(f"routing: full is '{full}'; write {', '.join(FULL)}")
    experts = [node.op for node in graph if isinstance(node.op, Experts)]
    if not experts:
        raise UserError(f"{graph.name} has no experts")
    tokens = graph.batch * graph.tokens
    known: dict[tuple[int, int], Loads] = {}

    def loads(op: Experts) -> Loads:
        count = graph.tensors[op.inputs[1]].shape[0]
        if (count, op.rows) not in known:
            picked = max(1, op.rows // tokens)
            rows = _sample(count, op.rows // picked, picked, skew, seed)
            known[count, op.rows] = _binned(_limited(rows, capacity, full))
        return known[count, op.rows]

    nodes = changed(
        graph, lambda op: replace(op, loads=loads(op)) if isinstance(op, Experts) else op
    )
    return renewed(graph, nodes)


def token_major(graph: Graph) -> Graph:
    """Experts' matrices are fetched token by token: each row reads that of its expert anew, where
    the graph otherwise goes expert by expert and reads each active one once. What expert-by-expert
    order saves, rows / active experts of the bytes, is between the two. On chip it needs two
    experts' matrices (one at work, the next on its way); so does token by token, which must hold
    all of a layer's experts instead if it is to read none of them twice.

    Source: the order that M3ViT, arXiv 2210.14793 (computation reordering), and Edge-MoE, arXiv
    2305.18691 (expert by expert), improve on.
    Accuracy: exact.
    Not modeled: neighboring tokens of the same expert, whose matrix would still be there.
    Raises UserError in phase train, of which there is no such order of gradients.
    """
    of_inference(graph, "token_major")
    if not any(isinstance(node.op, Experts) for node in graph):
        raise UserError(f"{graph.name} has no experts")
    nodes = changed(graph, lambda op: replace(op, by_token=True) if isinstance(op, Experts) else op)
    return renewed(graph, nodes)


def _sample(experts: int, tokens: int, picked: int, skew: float, seed: int) -> list[int]:
    """Rows of every expert, most first: each token takes those whose log probability and Gumbel
    noise are largest, which is sampling without replacement (Kool et al., arXiv 1903.06059)."""
    import numpy as np

    generator = np.random.default_rng(seed)
    odds = -skew * np.log(np.arange(1, experts + 1))
    noisy = odds + generator.gumbel(size=(tokens, experts))
    chosen = np.argpartition(-noisy, picked - 1, axis=1)[:, :picked]
    rows = np.bincount(chosen.ravel(), minlength=experts)
    return sorted((int(n) for n in rows), reverse=True)


def _limited(rows: list[int], capacity: float, full: str) -> list[int]:
    """No expert above its capacity, if rows may not stay."""
    if not capacity or full == "keep":
        return rows
    most = ceil(capacity * sum(rows) / len(rows))
    over = sum(max(0, n - most) for n in rows)
    kept = [min(n, most) for n in rows]
    if full == "drop":
        return kept
    for i in reversed(range(len(kept))):
        room = min(over, most - kept[i])
        kept[i], over = kept[i] + room, over - room
    return kept


def _binned(rows: list[int]) -> Loads:
    """Experts with similar loads as equal ones; no row is lost."""
    used = sorted((n for n in rows if n), reverse=True)
    if not used:
        raise UserError("routing: no expert has a row")
    found: dict[int, int] = {}
    at = 0
    for bin_ in range(BINS):
        size = len(used) * (bin_ + 1) // BINS - at
        part = used[at : at + size]
        at += size
        for count, each in balanced(sum(part), len(part)) if part else ():
            found[each] = found.get(each, 0) + count
    return tuple((count, each) for each, count in sorted(found.items(), reverse=True))
