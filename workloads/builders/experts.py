"""A layer of experts: router, the rows of each expert, their MLPs, and the weighted sum.

Tokens choose experts uniformly and independently of each other, so that of E experts, k for each of
T tokens, E (1 - (1 - k / E)^T) get a row (Gale et al., MegaBlocks, arXiv 2211.15841, motivate
dropless routing; the expectation is elementary); loads differ by a row at most. `routing` is the
transform that says otherwise.
Gate and up are one matrix per expert, as serving engines and newer checkpoints store them.
Not modeled: auxiliary losses; groups of experts that limit the choice (a few compares).
"""

from __future__ import annotations

from workloads.builders.draft import Draft
from workloads.builders.mlp import add_mlp
from workloads.builders.spec import ExpertsSpec, Stack
from workloads.ops import Experts, Gather, Vector
from workloads.ops.experts import balanced


def active_experts(experts: int, per_token: int, tokens: int) -> int:
    """Experts that get a row, expected and rounded."""
    expected = experts * (1 - (1 - per_token / experts) ** tokens)
    return max(per_token, min(experts, tokens * per_token, round(expected)))


def add_experts(draft: Draft, spec: Stack, experts: ExpertsSpec, source: str) -> str:
    """The experts' sum, with the shared one's."""
    tokens, rows = draft.tensors[source].shape[0], experts.per_token
    weights = _route(draft, experts, source)
    name = draft.prefix + "experts.dispatch"
    output = draft.tensor(name, (tokens * rows, spec.hidden), "activation")
    dealt = draft.add(Gather(name, (source, weights), output, tokens * rows, spec.hidden))
    inner = experts.intermediate * (1 + spec.gated)
    up = _multiply(draft, experts, "experts.gate_up_proj", dealt, inner)
    made = draft.vector("experts.act_mul", spec.activation, (up,), experts.intermediate)
    down = _multiply(draft, experts, "experts.down_proj", made, spec.hidden)
    name = draft.prefix + "experts.combine"
    output = draft.tensor(name, (tokens, spec.hidden), "activation")
    combine = Vector(name, (down, weights), output, "weighted_sum", tokens, spec.hidden, rows)
    mixed = draft.add(combine)
    if not experts.shared:
        return mixed
    return draft.vector("experts.add", "add", (mixed, _shared(draft, spec, experts, source)))


def _route(draft: Draft, experts: ExpertsSpec, source: str) -> str:
    """Weights of the experts that each token picks."""
    logits = draft.project(experts.router, source, experts.count, experts.router_bias)
    for task in range(1, experts.routers):
        width = draft.tensors[source].shape[1]
        draft.keep(f"{experts.router}{task}", experts.count, width, experts.router_bias)
    tokens, count, picked = draft.tensors[source].shape[0], experts.count, experts.per_token
    if experts.scores_of_all:
        logits = draft.vector("router_scores", experts.scores, (logits,))
    if experts.choice_bias:
        bias = draft.tensor(f"{draft.prefix}choice_bias.weight", (count,), "weight")
        logits = draft.vector("choice_bias", "add", (logits, bias))
    name = draft.prefix + "top_k"
    output = draft.tensor(name, (tokens, picked), "activation")
    weights = draft.add(Vector(name, (logits,), output, "top_k", tokens, count, picked))
    return (
        weights
        if experts.scores_of_all
        else draft.vector("router_scores", experts.scores, (weights,))
    )


def _multiply(draft: Draft, experts: ExpertsSpec, name: str, source: str, width: int) -> str:
    """Every row times the matrix of its expert."""
    name, (rows, k) = draft.prefix + name, draft.tensors[source].shape
    weight = draft.tensor(f"{name}.weight", (experts.count, width, k), "weight")
    bias = (draft.tensor(f"{name}.bias", (experts.count, width), "weight"),) if experts.bias else ()
    active = active_experts(experts.count, experts.per_token, rows // experts.per_token)
    output = draft.tensor(name, (rows, width), "activation")
    return draft.add(
        Experts(name, (source, weight, *bias), output, balanced(rows, active), width, k)
    )


def _shared(draft: Draft, spec: Stack, experts: ExpertsSpec, source: str) -> str:
    """What the shared expert adds for every token, perhaps weighted."""
    prefix = f"{experts.shared_name}."
    added = add_mlp(draft, spec, source, prefix, experts.shared)
    if not experts.shared_gate:
        return added
    logit = draft.project(f"{experts.shared_name}_gate", source, 1)
    weight = draft.vector(f"{experts.shared_name}_gate_scores", "sigmoid", (logit,))
    return draft.vector(f"{experts.shared_name}_scaled", "mul", (added, weight))
