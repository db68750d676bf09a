"""Fewer tokens from some layer on."""

from __future__ import annotations

from dataclasses import replace
from math import ceil

from kernels_ref.errors import UserError
from workloads.graph import Graph, Node, Tensor
from workloads.ops import Gather, Vector
from workloads.transforms.edit import Block, PhaseError, blocks, of_parameters, renewed, share
from workloads.transforms.rows import on_rows

LATER = "pruned."


def prune_tokens(graph: Graph, kept: float, after: float) -> Graph:
    """From layer `after` on a share `kept` of the tokens goes on, those with the largest scores: a
    look at a score of every token, and a copy of the rows that stay. Caches of the later layers
    hold as many; a request's decode steps see whole ones nevertheless.

    Source: FastV, arXiv 2403.06764, sec. 4 (visual tokens by attention, after layer 2); LazyLLM,
    arXiv 2407.14057; MrT5, arXiv 2410.20771 (tokens deleted after an early layer).
    Accuracy: an input.
    """
    groups, staying = _last_stack(graph), share(kept, "prune_tokens: kept", 1e-6)
    layers = sum(block.count for block in groups)
    if not 0 < after < layers:
        raise UserError(f"prune_tokens: after is {after:g}; {graph.name} has {layers:g} layers")
    if graph.tokens == 1 or graph.phase not in ("prefill", "encode"):
        raise PhaseError(f"{graph.name}: tokens are pruned from prompts, not in {graph.phase}")
    first, last = graph.nodes.index(groups[0].nodes[0]), graph.nodes.index(groups[-1].nodes[-1])
    return _split(graph, groups, (first, last + 1), (after / layers, staying))


def _last_stack(graph: Graph) -> list[Block]:
    """The last layers that are next to each other: those of the language model, where an image's
    come before."""
    found: list[Block] = []
    for block in reversed(blocks(graph)):
        end = graph.nodes.index(block.nodes[-1]) + 1
        if found and graph.nodes[end] is not found[0].nodes[0]:
            break
        found.insert(0, block)
    return found


def _split(
    graph: Graph, groups: list[Block], place: tuple[int, int], shares: tuple[float, float]
) -> Graph:
    """The layers before, the choice, the layers after on fewer rows, and what reads them."""
    earlier, kept = shares
    inside = graph.nodes[place[0] : place[1]]
    rows, out = graph.batch * graph.tokens, inside[-1].op.output
    fewer = graph.batch * ceil(graph.tokens * kept)
    stream = _stream(graph, inside, rows)
    tensors, select = _chosen(graph, out, rows, fewer)
    names = {stream: select[-1].op.output}
    before = [replace(node, count=node.count * earlier) for node in inside]
    later = []
    for node in inside:
        op = on_rows(graph, node.op, rows, fewer)
        made = f"{LATER}{op.output}"
        size = rows if of_parameters(graph, op) else fewer
        tensors[made] = _sized(graph.tensors[op.output], made, rows, size)
        inputs = tuple(names.get(t, t) for t in op.inputs)
        names[op.output] = made
        moved = replace(op, name=f"{LATER}{op.name}", inputs=inputs, output=made)  # type: ignore[type-var]
        count = node.count * (1 - earlier)
        later.append(Node(moved, count, f"{LATER}{node.layer}"))
    behind = []
    for node in graph.nodes[place[1] :]:
        if out in node.op.inputs and not isinstance(node.op, Gather):
            raise UserError(f"prune_tokens: {node.op.name} reads every token of the last layer")
        inputs = tuple(names.get(t, t) if t == out else t for t in node.op.inputs)
        behind.append(replace(node, op=replace(node.op, inputs=inputs)))  # type: ignore[type-var]
    return renewed(graph, [*graph.nodes[: place[0]], *before, *select, *later, *behind], tensors)


def _stream(graph: Graph, inside: tuple[Node, ...], rows: int) -> str:
    """What the layers read of what is made before them: one row to a token."""
    made = {node.op.output for node in inside}
    for node in inside:
        for name in node.op.inputs:
            tensor = graph.tensors[name]
            if name not in made and tensor.kind == "activation" and tensor.shape[0] == rows:
                return name
    raise UserError(f"{graph.name}: its layers read no row of every token")


def _chosen(graph: Graph, out: str, rows: int, fewer: int) -> tuple[dict[str, Tensor], list[Node]]:
    """Scores looked through, rows copied."""
    like = graph.tensors[out]
    picks = replace(like, name=f"{LATER}pick", shape=(graph.batch, fewer // graph.batch))
    copied = replace(like, name=f"{LATER}select", shape=(fewer, *like.shape[1:]))
    pick = Vector(picks.name, (out,), picks.name, "top_k", graph.batch, rows // graph.batch)
    select = Gather(copied.name, (out, picks.name), copied.name, fewer, like.shape[-1])
    return {t.name: t for t in (picks, copied)}, [Node(pick, 1), Node(select, 1)]


def _sized(tensor: Tensor, name: str, rows: int, fewer: int) -> Tensor:
    """The tensor with as many fewer rows; a windowed cache may be full nevertheless."""
    made = ceil(tensor.shape[0] * fewer / rows)
    return replace(tensor, name=name, shape=(made, *tensor.shape[1:]))
