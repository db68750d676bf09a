"""A step on more tokens of every sequence than it was built for."""

from __future__ import annotations

from dataclasses import replace
from math import ceil

from kernels_ref.errors import UserError
from workloads.builders.experts import active_experts
from workloads.graph import Graph, Node, Op, Tensor
from workloads.ops import Attention, Collective, Einsum, Experts, Gather, Move, Vector
from workloads.ops.experts import balanced
from workloads.transforms.edit import PhaseError, of_parameters, renewed, score_biases

ROUTER = "depth_router"  # how the ops are named that decide who takes a layer


def with_tokens(graph: Graph, tokens: int) -> Graph:
    """The decode step as one of `tokens` tokens per sequence, which see as many keys more.

    Raises UserError for a graph that is no decode step.
    """
    if graph.phase != "decode" or graph.tokens != 1:
        raise PhaseError(
            f"{graph.name}: only a decode step can take more tokens, not {graph.phase}"
        )
    if tokens == 1:
        return graph
    if any(node.op.name.endswith(ROUTER) for node in graph):
        raise UserError(
            f"{graph.name}: how often layers are taken depends on the tokens of a step; "
            "speculate first"
        )
    fixed = score_biases(graph) | {t for node in graph for t in _fixed(graph, node.op)}
    tensors: dict[str, Tensor] = {}
    for name, tensor in graph.tensors.items():
        if tensor.kind == "activation" and name not in fixed:
            tensors[name] = replace(tensor, shape=(tensor.shape[0] * tokens, *tensor.shape[1:]))
    for node in graph:
        op = node.op
        if isinstance(op, Attention) and op.causal:
            for name in set(op.operands[1:]):
                tensor = graph.tensors[name]
                seen = sum(part.batch * part.kv_len for part in op.parts())
                rows = tensor.shape[0] * (seen + op.batch * (tokens - 1)) // seen
                tensors[name] = replace(tensor, shape=(rows, *tensor.shape[1:]))
    nodes = [replace(node, op=_wider(graph, node, tokens, fixed)) for node in graph]
    context = graph.context + tokens - 1
    return renewed(graph, nodes, tensors, phase="verify", tokens=tokens, context=context)


def _fixed(graph: Graph, op: Op) -> tuple[str, ...]:
    """Outputs that do not grow with the tokens: states, copies of cached rows, what is made of
    parameters."""
    if isinstance(op, (Move, Gather)) and graph.tensors[op.inputs[0]].kind == "kv":
        return (op.output,)
    return (op.output,) if of_parameters(graph, op) else ()


def _wider(graph: Graph, node: Node, times: int, fixed: set[str]) -> Op:
    op = node.op
    if op.output in fixed:
        return op
    if isinstance(op, Einsum):
        if graph.tensors[op.inputs[1]].kind == "activation":
            raise UserError(f"{op.name} multiplies activations, whose sizes in tokens are unknown")
        return replace(op, ranks={**op.ranks, "m": op.ranks["m"] * times})
    if isinstance(op, Experts):
        count, rows = graph.tensors[op.inputs[1]].shape[0], op.rows
        each = rows // graph.batch
        active = active_experts(count, each, graph.batch * times)
        return replace(op, loads=balanced(rows * times, active))
    if isinstance(op, (Vector, Gather)):
        return replace(op, rows=op.rows * times)
    if isinstance(op, Move):
        return replace(op, run_elements=op.run_elements * times)
    if isinstance(op, Attention):
        longer = times - 1 if op.causal else 0
        lengths = tuple((n, keys + longer) for n, keys in op.lengths)
        return replace(op, q_len=op.q_len * times, kv_len=op.kv_len + longer, lengths=lengths)
    if isinstance(op, Collective):
        return replace(op, bytes=op.bytes * times, elements=op.elements * times)
    raise UserError(f"{op.name}: no rule for more tokens of an op of kind '{op.kind}'")


def on_rows(graph: Graph, op: Op, rows: int, fewer: int) -> Op:
    """The op of `rows` tokens on `fewer` of them. Raises UserError for one without a rule."""

    def part(size: int) -> int:
        return ceil(size * fewer / rows)

    if of_parameters(graph, op):
        return op
    if isinstance(op, Einsum):
        return replace(op, ranks={**op.ranks, "m": part(op.ranks["m"])})
    if isinstance(op, Experts):
        each, count = op.rows // rows, graph.tensors[op.inputs[1]].shape[0]
        return replace(op, loads=balanced(each * fewer, active_experts(count, each, fewer)))
    if isinstance(op, (Vector, Gather)):
        return replace(op, rows=part(op.rows))
    if isinstance(op, Move):
        return replace(op, run_elements=max(1, part(op.run_elements)))
    if isinstance(op, Attention) and op.q_len * graph.batch == rows:
        keys = part(op.kv_len) if op.causal or op.kv_len == op.q_len else op.kv_len
        return replace(op, q_len=part(op.q_len), kv_len=keys)
    raise UserError(f"no rule for {op.name} on fewer tokens, an op of kind '{op.kind}'")
