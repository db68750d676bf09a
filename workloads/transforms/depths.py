"""Layers that only some tokens take: mixture of depths, and of recursions.

A router scores every token's row, those that take the layers are gathered, run, and put back into
the stream beside the others. In a prompt as many rows as the capacity says take them. In a step of
r rows each takes them with the share s as its probability: then the layers run at all with
1 - (1 - s)^r, which is their count, on r s / (1 - (1 - s)^r) rows, rounded to whole ones. Keys and
values are made, kept and attended to of the tokens that take the layers.
Not modeled: that a router's choice in a prompt knows tokens which come later (the papers train a
predictor for steps); shares that differ between sequences.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import ceil

from kernels_ref.errors import UserError
from workloads.graph import Graph, Node, Op, Tensor
from workloads.ops import Attention, Einsum, Gather, Move, Vector
from workloads.transforms.edit import PhaseError, cache_makers, cache_writes, renewed, share
from workloads.transforms.rows import ROUTER, on_rows
from workloads.transforms.split import Part, in_parts, layers_of, only_kind, whole_kinds

PHASES = ("prefill", "encode", "decode", "verify")


@dataclass(frozen=True)
class _Taken:
    """Of `rows` rows `fewer` take the layers, with a chance of `any_` that some do."""

    share: float
    rows: int
    fewer: int
    any_: float


def mixture_of_depths(graph: Graph, capacity: float = 0.125, every: int = 2) -> Graph:
    """One of `every` layers is taken by a share `capacity` of the tokens, which a router of its own
    picks; the others pass it by.

    Source: mixture of depths, arXiv 2404.02258, sec. 3 (capacity of 12.5 %, every other block;
    routed around, a token has no keys and values there).
    Accuracy: an input; the model is trained for it.
    """
    share(capacity, "mixture_of_depths: capacity", 1e-6)
    if every < 1:
        raise UserError(f"mixture_of_depths: every is {every}; at least 1")
    if any(node.op.name.endswith(ROUTER) for node in graph):
        raise UserError(f"{graph.name}: tokens are routed past its layers already")
    found = False
    for kind in whole_kinds(graph):
        layers = layers_of(graph, kind)
        count = round(layers[0].count)
        routed = count // every
        if not routed:
            continue
        found = True
        _check(graph, layers, "mixture_of_depths")
        parts = [Part("", count - routed, "")] if routed < count else []
        graph = in_parts(graph, layers, [*parts, Part("routed.", routed, "routed.")])
        label = f"routed.{kind}".rstrip(".")
        graph = _routed(graph, label, capacity, routed)
    if not found:
        raise UserError(f"{graph.name} has no {every} layers that are alike")
    return graph


def recursion(
    graph: Graph, depths: int, shares: str = "", cache: str = "own", edges: int = 1
) -> Graph:
    """All layers but `edges` at either end become `depths` recursions of the same ones, stored
    once. `shares` of the tokens take them, as `1/0.7/0.3`; by default they fall evenly, 1 first.
    `cache`: own (each recursion keeps keys and values of the tokens that take it) or shared (all
    use those of the first, so that later ones make none).

    Source: mixture of recursions, arXiv 2507.10524, sec. 2 (middle-cycle sharing of parameters,
    expert-choice routing, recursion-wise caching and recursive sharing of keys and values).
    Accuracy: an input; the model is trained for it.
    """
    if depths < 2 or edges < 0:
        raise UserError(f"recursion: {depths} depths and {edges} edges; at least 2 and 0")
    if cache not in ("own", "shared"):
        raise UserError(f"recursion: cache is '{cache}'; write own or shared")
    taken = _shares(shares, depths)
    layers = layers_of(graph, only_kind(graph))
    _check(graph, layers, "recursion")
    each, rest = divmod(round(layers[0].count) - 2 * edges, depths)
    if rest or each < 1:
        raise UserError(
            f"recursion: {layers[0].count - 2 * edges:g} layers between {edges} at either end are "
            f"not {depths} times as many; choose other depths or edges"
        )
    names = [f"recursion{number + 1}." for number in range(depths)]
    parts = [Part(name, each, "recursive.") for name in names]
    ends = [Part(name, edges, name) for name in ("first.", "last.")] if edges else []
    graph = in_parts(graph, layers, [*ends[:1], *parts, *ends[1:]])
    kind = layers[0].layer
    for name, size in list(zip(names, taken, strict=True))[1:]:
        if cache == "shared":
            graph = _shared_cache(graph, names[0], name)
        graph = _routed(graph, f"{name}{kind}".rstrip("."), size, 1)
    return graph


def _shares(text: str, depths: int) -> list[float]:
    """Of every recursion, the first of which all tokens take. Raises UserError."""
    try:
        found = [float(piece) for piece in text.split("/")] if text else []
    except ValueError:
        raise UserError(f"recursion: shares are '{text}'; write numbers as 1/0.7/0.3") from None
    found = found or [(depths - i) / depths for i in range(depths)]
    falling = all(0 < later <= before for before, later in pairwise(found))
    if len(found) != depths or found[0] != 1 or not falling:
        raise UserError(
            f"recursion: shares are '{text}'; write {depths} that fall from 1, as 1/0.5"
        )
    return found


def _check(graph: Graph, layers: Sequence[Node], name: str) -> None:
    """Raises where tokens cannot pass these layers by on their own."""
    if graph.phase not in PHASES:
        raise PhaseError(f"{graph.name}: {name} is for {', '.join(PHASES)}, not {graph.phase}")
    ops = [node.op for node in layers if isinstance(node.op, Attention)]
    if not ops:
        raise UserError(f"{graph.name} has no attention in these layers, but states of all tokens")
    for op in ops:
        if op.q_len != graph.tokens or not (op.causal or graph.phase == "encode"):
            raise UserError(f"{name}: {op.name} attends to others than its own tokens")


def _taken(graph: Graph, size: float) -> _Taken:
    rows = graph.batch * graph.tokens
    if graph.phase in ("prefill", "encode"):
        return _Taken(size, rows, graph.batch * ceil(graph.tokens * size), 1.0)
    any_ = 1.0 - (1.0 - size) ** rows
    return _Taken(size, rows, max(1, round(rows * size / any_)), any_)


def _routed(graph: Graph, label: str, size: float, routers: int) -> Graph:
    """The layers of this label on fewer rows, `routers` times chosen, and put back."""
    inside = [node for node in graph if node.layer == label]
    start, last, taken = graph.nodes.index(inside[0]), inside[-1].op, _taken(graph, size)
    stream = inside[0].op.inputs[0]
    tensors: dict[str, Tensor] = {}
    head = _chosen(graph, f"{label}.", stream, taken, tensors)
    names = {stream: head[-1].output, last.output: f"{last.output}.taken"}
    whole = [Node(op, routers, label, True) for op in head[:-1]]
    made = {node.op.output for node in inside}
    nodes = [*whole, Node(head[-1], routers * taken.any_, label, True)]
    for node in inside:
        op = _fewer(graph, node.op, taken, made)
        inputs = tuple(names.get(t, t) for t in op.inputs)
        output = names.get(op.output, op.output)
        op = replace(op, inputs=inputs, output=output)  # type: ignore[type-var]
        nodes.append(replace(node, op=op, count=node.count * taken.any_))
        tensors[output] = _sized(graph.tensors[node.op.output], output, taken)
    back = _back(f"{label}.", last.output, head[-2].output, tensors)
    nodes += [Node(op, routers * taken.any_, label, True) for op in back]
    tensors[last.output] = graph.tensors[last.output]
    behind = graph.nodes[start + len(inside) :]
    stored = graph.stored_copies()
    kept = {n: stored[n] for n in made if graph.tensors[n].kind == "kv"}
    return renewed(graph, [*graph.nodes[:start], *nodes, *behind], tensors, copies=kept)


def _chosen(
    graph: Graph, prefix: str, stream: str, taken: _Taken, tensors: dict[str, Tensor]
) -> list[Op]:
    """A score of every row, the choice, and the rows."""
    like, rows = graph.tensors[stream], taken.rows
    width = like.shape[-1]

    def tensor(name: str, shape: tuple[int, ...], kind: str = "activation") -> str:
        tensors[prefix + name] = Tensor(prefix + name, shape, like.format, kind)
        return prefix + name

    weight = tensor(f"{ROUTER}.weight", (1, width), "weight")
    logits, scores = (tensor(name, (rows, 1)) for name in (ROUTER, "depth_scores"))
    pick = tensor("depth_pick", (taken.fewer, 1))
    copied = tensor("depth_select", (taken.fewer, width))
    ranks = {"m": rows, "n": 1, "k": width}
    prompt = graph.phase in ("prefill", "encode")
    choice = ("top_k", graph.batch, graph.tokens) if prompt else ("compare", rows, 1)
    return [
        Einsum(logits, (stream, weight), logits, ranks, "mk,nk->mn"),
        Vector(scores, (logits,), scores, "sigmoid", rows, 1),
        Vector(pick, (scores,), pick, *choice),
        Gather(copied, (stream, pick), copied, taken.fewer, width),
    ]


def _back(prefix: str, out: str, scores: str, tensors: dict[str, Tensor]) -> list[Op]:
    """What the layers made, times the router's weight, over the rows that it was made of."""
    made = tensors[f"{out}.taken"]
    weighted = replace(made, name=f"{prefix}depth_weighted")
    tensors[weighted.name] = weighted
    rows, width = made.shape
    work = Vector(weighted.name, (made.name, scores), weighted.name, "mul", rows, width)
    return [work, Move(f"{prefix}depth_return", (weighted.name,), out, width)]


def _sized(tensor: Tensor, name: str, taken: _Taken) -> Tensor:
    part = taken.share if tensor.kind == "kv" else taken.fewer / taken.rows
    return replace(tensor, name=name, shape=(ceil(tensor.shape[0] * part), *tensor.shape[1:]))


def _fewer(graph: Graph, op: Op, taken: _Taken, made: set[str]) -> Op:
    """The op on the rows that take the layers; `made` is what these make."""
    step = graph.phase not in ("prefill", "encode")
    if isinstance(op, Attention):
        own = op.operands[1] in made
        return _step_attention(op, taken, own) if step else _prompt_attention(op, taken, own)
    return op if step and isinstance(op, Move) else on_rows(graph, op, taken.rows, taken.fewer)


def _prompt_attention(op: Attention, taken: _Taken, own: bool) -> Attention:
    """Of the tokens that take the layers to each other; or to all, which are those before each:
    their queries lie anywhere in the prompt, while the op's are the last ones."""
    q_len = taken.fewer // op.batch
    if own:
        return replace(op, q_len=q_len, kv_len=max(q_len, ceil(op.kv_len * taken.share)))
    seen, last = op.kv_len - (op.q_len - 1) / 2, op.kv_len - (q_len - 1) / 2
    density = op.density * (seen / last if op.causal else 1.0)
    return replace(op, q_len=q_len, density=density)


def _step_attention(op: Attention, taken: _Taken, own: bool) -> Attention:
    """Of as many sequences as there are rows, or of all of them."""
    batch = min(op.batch, taken.fewer)
    q_len, part = ceil(taken.fewer / batch), taken.share if own else 1.0

    def kept(keys: float) -> int:
        return max(q_len, ceil(keys * part))

    if batch == op.batch:
        lengths = tuple((count, kept(keys)) for count, keys in op.lengths)
        return replace(op, q_len=q_len, kv_len=kept(op.kv_len), lengths=lengths)
    mean = sum(p.batch * p.kv_len for p in op.parts()) / op.batch
    return replace(op, batch=batch, q_len=q_len, kv_len=kept(mean), lengths=())


def _shared_cache(graph: Graph, first: str, later: str) -> Graph:
    """The later recursion's attention reads the first one's keys and values. Where a family merges
    q, k and v in one matrix, all of it is still computed."""
    writes = [n for n in cache_writes(graph) if n.op.name.startswith(later)]
    dropped = cache_makers(graph, writes, most_readers=2)
    nodes = []
    for node in graph:
        op = node.op
        if op.name in dropped:
            continue
        if isinstance(op, Attention) and op.name.startswith(later):
            q, *others = op.inputs
            op = replace(op, inputs=(q, *(first + t.removeprefix(later) for t in others[:2])))
            op = replace(op, inputs=(*op.inputs, *others[2:]))
        nodes.append(replace(node, op=op))
    return renewed(graph, nodes)
