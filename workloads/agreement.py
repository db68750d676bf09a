"""Whether two graphs of one model say the same: a traced one and a built one.

Compared exactly: phase, MACs of every kind of op, parameters, bytes of weights and of the cache;
op by op how often it runs, its function and MACs, and the elements of parameters and activations
that it reads and writes; and which op feeds which.

Ops are paired by name (one name may be the end of the other), the rest by kind and sizes in order.
Where a program of transformers honestly does something else than an engine, a rule says what is
taken as the same; there are no tolerances:

parts        An op needs of a tensor no more than its sizes say: a merged projection's parts are
             views that name the whole tensor, and what is changed in place names the whole tensor.
             A matrix may be stated in two halves, `x.k` and `x.v`.
last rows    Rows that are picked after a norm or projection of rows are picked before it.
positions    Learned positions are gathered for every sequence, not once for all of them; whole
             tables that are added are gathered too.
score bias   A table of biases by distance is gathered once, not for every pair of positions.
layout       Copies of queries, keys and values into the order of heads are left out.
sums         Embeddings of tokens, positions and types are added in any order.
states       The copy of a recurrent state stands for reading and for writing it.
routing      What a router does besides its projection and choice (weights scaled to a sum of one,
             groups of experts) is small and only in the trace; its order is left open.
latent       Compressed keys and values are appended as one row or as its two parts.

A decode step of latent attention does not agree: transformers expands the compressed rows to keys
and values of every head, the builders multiply in their space; the differences say so.
"""

from __future__ import annotations

from collections import defaultdict
from math import prod

from workloads.agreement_rules import (
    bias_once,
    positions_per_sequence,
    routes,
    rows_first,
    without_layout_copies,
)
from workloads.graph import Graph, Node, Op
from workloads.ops import Attention, Einsum, Vector
from workloads.pairing import Pair, pairs

MATRIX = ("einsum", "attention", "experts")
STORED = ("weight", "table")
SUMS = ("position_add", "token_type_add")
STATES = ("conv_state", "ssm_state")


def disagreements(traced: Graph, built: Graph) -> list[str]:
    """A sentence for each difference; none if the graphs agree."""
    traced = without_layout_copies(rows_first(traced, built))
    traced = positions_per_sequence(bias_once(traced))
    found = _totals(traced, built)
    paired, alone = pairs(traced, built)
    for pair in paired:
        found += _op_differences(traced, built, pair)
    for graph, node in alone:
        side = "traced" if graph is traced else "built"
        if not (graph is traced and routes(traced, node.op)):
            found.append(f"{node.op.name}: only in the {side} graph ({described(node)})")
    return found + _wiring(traced, built, paired)


def described(node: Node) -> str:
    """Kind and sizes of an op, in a few words."""
    op = node.op
    what = op.function if isinstance(op, Vector) else op.kind
    rows, width = getattr(op, "rows", None), getattr(op, "width", None)
    size = f" {rows} x {width}" if rows and width else f" {op.macs} MACs" if op.macs else ""
    return f"{what}{size}, {node.count} times"


def _totals(traced: Graph, built: Graph) -> list[str]:
    """Differences of whole graphs."""
    found = []
    for name in ("phase", "batch", "tokens", "context", "params", "weight_bytes", "kv_bytes"):
        ours, theirs = getattr(traced, name), getattr(built, name)
        if ours != theirs:
            found.append(f"{name}: {ours} traced, {theirs} built")
    macs: list[dict[str, float]] = [defaultdict(float), defaultdict(float)]
    for graph, count in zip((traced, built), macs, strict=True):
        for node in graph:
            count[node.op.kind] += node.op.macs * node.count
    for kind in MATRIX:
        if macs[0][kind] != macs[1][kind]:
            found.append(f"MACs of {kind}: {macs[0][kind]} traced, {macs[1][kind]} built")
    return found


def _op_differences(traced: Graph, built: Graph, pair: Pair) -> list[str]:
    """Differences of one op, or of one and the two halves that it is stated in."""
    found = []
    for what in ("count", "macs", "function", "sizes", "parameters", "reads", "writes"):
        ours, theirs = _fact(traced, pair.traced, what), _fact(built, pair.built, what)
        if ours != theirs:
            found.append(f"{pair.name}: {what} {ours} traced, {theirs} built")
    return found


def _fact(graph: Graph, nodes: tuple[Node, ...], what: str) -> object:
    """One fact of a pair's side; of halves the sum."""
    if what == "count":
        return {node.count for node in nodes}
    if what == "function":
        return {getattr(node.op, "function", node.op.kind) for node in nodes}
    if what == "sizes":  # of a vector op
        return {
            (node.op.rows, node.op.width, node.op.taps)
            for node in nodes
            if isinstance(node.op, Vector)
        }
    if what == "macs":
        return sum(node.op.macs for node in nodes)
    if what == "writes":
        return sum(written(graph, node.op) for node in nodes)
    if what == "reads":
        if nodes[0].op.kind == "move":  # a copy reads what it writes
            return sum(written(graph, node.op) for node in nodes)
        tensors = {n for node in nodes for n in _activations(graph, node.op)}
        return min(
            sum(graph.tensors[name].elements for name in tensors),
            sum(needed(graph, node.op) for node in nodes[:1]),
        )
    return sum(
        graph.tensors[name].elements
        for node in nodes
        for name in node.op.inputs
        if graph.tensors[name].kind in STORED
    )


def _activations(graph: Graph, op: Op) -> list[str]:
    return [n for n in dict.fromkeys(op.inputs) if graph.tensors[n].kind not in STORED]


def needed(graph: Graph, op: Op) -> int:
    """Elements of activations that an op's sizes say it reads (rule: parts)."""
    if isinstance(op, Attention):
        keys = op.batch * op.kv_heads * op.kv_len * (op.head_dim + op.v_head_dim)
        return keys + op.batch * op.q_heads * op.q_len * op.head_dim
    if isinstance(op, Einsum) and op.window is None:
        a, b, _ = op.operand_ranks()
        sizes = [prod(op.ranks[r] for r in ranks) for ranks in (a, b)]
        kinds = [graph.tensors[name].kind for name in op.inputs[:2]]
        return sum(n for n, kind in zip(sizes, kinds, strict=True) if kind not in STORED)
    if isinstance(op, Einsum) and op.window is not None:
        return graph.batch * prod(op.window.size) * op.window.channels
    if isinstance(op, Vector) and op.function in ("rope", "rmsnorm"):
        return op.rows * op.width
    if isinstance(op, Vector) and op.function.endswith("_mul"):
        return 2 * op.rows * op.width
    return sum(graph.tensors[name].elements for name in _activations(graph, op))


def written(graph: Graph, op: Op) -> int:
    """Elements that an op writes (rule: parts)."""
    elements = graph.tensors[op.output].elements
    if isinstance(op, Vector) and op.function in ("rope", "rmsnorm"):
        return min(elements, op.rows * op.width)
    return elements


def _wiring(traced: Graph, built: Graph, paired: list[Pair]) -> list[str]:
    """Differences in what feeds what, ops left out that a rule names."""
    wired = [p for p in paired if not _free(traced, built, p)]
    ours = feeds(traced, {node.op.name: p.name for p in wired for node in p.traced})
    theirs = feeds(built, {node.op.name: p.name for p in wired for node in p.built})
    found = [f"{b} reads what {a} made, in the traced graph only" for a, b in sorted(ours - theirs)]
    return found + [
        f"{b} reads what {a} made, in the built graph only" for a, b in sorted(theirs - ours)
    ]


def _free(traced: Graph, built: Graph, pair: Pair) -> bool:
    """True for an op whose place in the order a rule leaves open."""
    if pair.name.endswith(SUMS) or pair.name.endswith(STATES):
        return True
    sides = ((traced, pair.traced), (built, pair.built))
    in_place = any(_of_a_part(graph, node.op) for graph, nodes in sides for node in nodes)
    return in_place or any(routes(traced, node.op) for node in pair.traced)


def _of_a_part(graph: Graph, op: Op) -> bool:
    """True for a rotation or norm of a part of its tensor."""
    on_part = isinstance(op, Vector) and op.function in ("rope", "rmsnorm")
    return on_part and written(graph, op) < graph.tensors[op.output].elements


def feeds(graph: Graph, names: dict[str, str]) -> set[tuple[str, str]]:
    """(maker, reader) among the ops that have a name there, through whatever others."""
    sources: dict[str, set[str]] = {}
    edges = set()
    for node in graph:
        op = node.op
        before: set[str] = set().union(*(sources.get(name, set()) for name in op.inputs))
        if op.name in names:
            name = names[op.name]
            edges |= {(maker, name) for maker in before if maker != name}
            before = {name}
        sources[op.output] = before
    return edges
