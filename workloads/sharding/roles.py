"""What every matrix of a graph is to its neighbors, and so along which side it can be split.

    column  its outputs are needed apart: heads of attention, or what a `row` one multiplies next
    row     its inputs come apart, and its outputs are sums over them (Megatron-LM, arXiv
            1909.08053, sec. 3)
    whole   what reads it needs all of it: routers, DeepSeek's compressed queries, convolutions

That follows from the graph: from a matrix's output forward, through ops that keep columns apart,
to what is reached next.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from kernels_ref.errors import UserError
from workloads.graph import Graph, Op
from workloads.ops import Attention, Collective, Einsum, Experts, Gather, Move, Vector

# Row by row, but a sum over the columns is enough to know.
NORMS = {"rmsnorm": 1, "layernorm": 2, "l2norm": 1}  # sums of each row


@dataclass(frozen=True, slots=True)
class Role:
    """`share` of a column matrix's outputs that one of the ranks has."""

    kind: str
    share: Fraction = Fraction(1)


@dataclass(slots=True)
class _Reached:
    """What is behind a matrix: `needed` whole, added to a stream that it was made of."""

    heads: list[tuple[Attention, int, bool]]  # as which operand, by another one for each head
    matrices: list[str]
    needed: bool = False
    residual: bool = False


def roles(graph: Graph, ways: int) -> dict[str, Role]:
    """Of every matrix, by op. Raises UserError where heads cannot be dealt out so."""
    reached = {n.op.name: _behind(graph, n.op) for n in graph if is_matrix(graph, n.op)}
    found: dict[str, Role] = {}
    apart: set[str] = set()
    for node in graph:
        op = node.op
        if op.name in reached:
            if op.inputs[0] in apart:
                found[op.name] = Role("row")
            else:
                found[op.name] = _column(graph, op, reached, ways)
                apart |= {op.output} if found[op.name].kind == "column" else set()
        elif isinstance(op, (Attention, Vector, Move, Gather, Einsum, Collective)):
            first = op.inputs[:1] if isinstance(op, (Attention, Gather, Einsum)) else op.inputs
            apart |= {op.output} if set(first) & apart else set()
    return found


def is_matrix(graph: Graph, op: Op) -> bool:
    """A multiplication by stored parameters, no convolution."""
    if isinstance(op, Experts):
        return True
    if not isinstance(op, Einsum) or op.window or graph.tensors[op.inputs[1]].kind == "activation":
        return False
    roles = op.roles()
    return roles["b"] == 1 and len(op.ranks) == 3


def by_column(graph: Graph, op: Op) -> bool:
    """Is it one multiplication for every head or channel, by parameters of its own?"""
    if not isinstance(op, Einsum) or graph.tensors[op.inputs[1]].kind == "activation":
        return False
    a, b, c = op.operand_ranks()
    return len(set(a) & set(b) & set(c)) == 1


def _column(graph: Graph, op: Op, reached: Mapping[str, _Reached], ways: int) -> Role:
    here = reached[op.name]
    for attention, place, by_head in here.heads:
        share = _heads(graph, op, attention, place, ways)
        share = Fraction(1, ways) if by_head and place == 0 else share
        if share is not None:
            return Role("column" if share < 1 else "whole", share)
    if here.heads or here.needed or here.residual:
        return Role("whole")
    if any(reached[name].heads for name in here.matrices):
        return Role("whole")
    return Role("column", Fraction(1, ways))


def _heads(graph: Graph, op: Op, attention: Attention, place: int, ways: int) -> Fraction | None:
    """The share of the op's outputs that the heads of a rank are; None if it makes no whole heads.
    Keys and values of fewer heads than ranks are made by several."""
    q, kv = attention.q_heads, attention.kv_heads
    if q % ways or (kv % ways and ways % kv):
        raise UserError(
            f"{graph.name}: {attention.name} has {q} heads of queries and {kv} of keys, which "
            f"cannot be dealt to {ways} ranks; a divisor of both, or a multiple of the latter, can"
        )
    few, width = max(1, kv // ways), graph.tensors[op.output].shape[-1]
    key, value = attention.head_dim, attention.v_head_dim
    merged = q * key + kv * (key + value)
    if width == merged and kv:
        return Fraction(q // ways * key + few * (key + value), merged)
    if place == 0:
        return Fraction(1, ways) if width == q * key else None
    return Fraction(few, kv) if width in (kv * key, kv * value) else None


def _behind(graph: Graph, start: Op) -> _Reached:
    """Everything up to the next multiplications."""
    readers, above = graph.consumers(), _above(graph, start)
    found = _Reached([], [])
    seen, left = set[str](), [(start.output, False)]
    while left:
        tensor, by_head = left.pop()
        for op in readers.get(tensor, []):
            if isinstance(op, Attention):
                found.heads.append((op, op.inputs.index(tensor), by_head))
                continue
            if op.name in seen:
                continue
            seen.add(op.name)
            if is_matrix(graph, op):
                found.matrices.append(op.name)
            elif by_column(graph, op) and tensor == op.inputs[0]:
                left.append((op.output, True))
            elif _keeps_columns(op, tensor):
                others = {t for t in op.inputs if t != tensor}
                if others & above and isinstance(op, Vector):
                    found.residual = True
                else:
                    left.append((op.output, by_head))
            else:
                found.needed = True
    return found


def _keeps_columns(op: Op, tensor: str) -> bool:
    if isinstance(op, Vector):
        return not op.reduction or op.function in NORMS or op.function == "quantize"
    return isinstance(op, (Move, Collective)) or (isinstance(op, Gather) and tensor == op.inputs[0])


def _above(graph: Graph, op: Op) -> set[str]:
    """Activations that the op's output is made of."""
    makers = {node.op.output: node.op for node in graph}
    found, left = set[str](), [op]
    while left:
        for tensor in left.pop().inputs:
            if tensor not in found:
                found.add(tensor)
                left += [makers[tensor]] if tensor in makers else []
    return {t for t in found if graph.tensors[t].kind == "activation"}
