"""Experts that live in a backing memory, a share of them held in the chip's own.

Expert i of E gets a row of a step of T tokens, each routed to k, with probability a_i:

    p_i = 1 - exp(-t w_i),  w_i = 1 / i^skew,  t such that sum p_i = k       a_i = 1 - (1 - p_i)^T

p_i being what successive sampling without replacement tends to (Rosen, Annals of Math. Statistics
43(2), 1972). Of C = held * E experts in the cache, hit = sum a_i h_i / sum a_i, with

    static   h_i = 1 for the C most popular (a fraction of the next), else 0
    lru      h_i = 1 - (1 - a_i)^s,  s such that sum h_i = C   (Che, Tung, Wang, IEEE JSAC 20(7),
             2002, sec. III, in steps; why it is accurate: Fricker, Robert, Roberts, ITC 24, 2012)

All experts of a step are looked up before any is loaded.
Not modeled: tokens of one text that keep to the same experts (state a measured `hit`), popularity
that differs between layers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import exp, fsum

from accel_models.explain import nearest
from kernels_ref.errors import UserError
from workloads.away import Away
from workloads.graph import Graph, Op, Tensor
from workloads.ops import Experts, Gather
from workloads.transforms.edit import renewed, share

POLICIES = ("lru", "static")


def expert_cache(
    graph: Graph,
    held: float,
    skew: float = 0.0,
    policy: str = "lru",
    hit: float | None = None,
    predictor: float = 0.0,
) -> Graph:
    """All experts live in a backing memory, the design's first, or those that `offload` names live
    where it puts them; a share `held` of each layer's also in the chip's. `hit`: of the experts
    that a step needs, the share found there; derived from `skew` (routing's) and `policy` (lru,
    static) where it is not given. Missed ones are fetched when they are needed, or, a `predictor`
    being right in a share of them, one layer ahead, its wrong guesses too.

    Source: Eliseev & Mazur, arXiv 2312.17238, sec. 3.1 (LRU), 3.2 (speculative loading);
    ExpertFlow, arXiv 2410.17954; HybriMoE, arXiv 2504.05897; the module has the formulas'.
    Accuracy: exact; hit rate and predictor are inputs where given.
    """
    portion = share(held, "expert_cache: held")
    right = share(predictor, "expert_cache: predictor")
    if hit is not None:
        share(hit, "expert_cache: hit")
    if skew < 0:
        raise UserError("expert_cache: skew is a number of at least 0")
    if policy not in POLICIES:
        raise UserError(f"expert_cache: no policy '{policy}'; {nearest(policy, list(POLICIES))}")
    ops = [node.op for node in graph if isinstance(node.op, Experts)]
    experts = [op for op in ops if graph.tensors[op.inputs[1]].kind == "weight"]
    if not experts:
        raise UserError(f"{graph.name} has no experts")
    missed: dict[str, dict[str, float]] = {}  # of each tensor, by op
    makers = {node.op.output: node.op for node in graph}
    for op in experts:
        rates = _rates(graph, op, skew, makers)
        found = hit_rate(rates, portion * len(rates), policy) if hit is None else hit
        for name in op.inputs[1:]:
            missed.setdefault(name, {})[op.name] = 1.0 - found
    known = Away(early=right, held=portion, cached=True)
    changed = {name: _cached(graph.tensors[name], ops, known) for name, ops in missed.items()}
    return renewed(graph, tensors=changed)


def _cached(tensor: Tensor, missed: dict[str, float], known: Away) -> Tensor:
    """The tensor where `offload` has put it, of which ops of these names miss these shares."""
    usual = list(missed.values())[-1]
    others = tuple((op, share) for op, share in missed.items() if share != usual)
    place = tensor.away or Away()
    away = replace(known, memory=place.memory, share=place.share, missed=usual, by_op=others)
    return replace(tensor, away=away)


def _rates(graph: Graph, op: Experts, skew: float, makers: Mapping[str, Op]) -> list[float]:
    """Of the op's experts in a step of its tokens: a draft has fewer than what verifies it."""
    count, tokens = graph.tensors[op.inputs[1]].shape[0], graph.batch * graph.tokens
    source = makers.get(op.inputs[0])
    while source is not None and not isinstance(source, Gather):
        source = makers.get(source.inputs[0])
    if source is not None and source.rows == op.rows:  # each token's row to its experts
        tokens = graph.tensors[source.inputs[0]].shape[0]
    return wanted(count, min(max(1, op.rows // tokens), count), tokens, skew)


def wanted(experts: int, picked: int, tokens: int, skew: float) -> list[float]:
    """Probability that each expert, most popular first, gets a row in a step."""
    if picked == experts:
        return [1.0] * experts
    weights = [(i + 1) ** -skew for i in range(experts)]

    def chosen(time: float) -> list[float]:
        return [1 - exp(-time * w) for w in weights]

    time = _root(lambda t: fsum(chosen(t)) - picked)
    return [1 - (1 - p) ** tokens for p in chosen(time)]


def hit_rate(rates: Sequence[float], room: float, policy: str) -> float:
    """The share of wanted experts that a cache of `room` of them holds; `rates`: most first."""
    if room >= len(rates):
        return 1.0
    if policy == "static":
        held = [min(1.0, max(0.0, room - i)) for i in range(len(rates))]
    else:

        def kept(time: float) -> list[float]:
            return [1 - (1 - a) ** time for a in rates]

        # experts that every step wants are always there, whatever their number
        always = min(fsum(a >= 1.0 for a in rates), room)
        if always >= room:
            held = [room / len(rates)] * len(rates)
        else:
            held = kept(_root(lambda t: fsum(kept(t)) - room)) if room else [0.0] * len(rates)
    return fsum(a * h for a, h in zip(rates, held, strict=True)) / fsum(rates)


def _root(rising: Callable[[float], float]) -> float:
    """Where this rising function is 0, by halving, from 0 on."""
    low, high = 0.0, 1.0
    while rising(high) < 0 and high < 2.0**60:
        high *= 2
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if rising(middle) < 0 else (low, middle)
    return high
