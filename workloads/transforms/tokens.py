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
    stream, out = _stream(graph, inside), inside[-1].op.output
    rows = graph.tensors[stream].shape[0]
    fewer = graph.batch * ceil(rows // graph.batch * kept)
    mark = LATER * (1 + f"{inside[0].layer}.".count(LATER))
    tensors, select = _chosen(graph, mark, (out, rows, fewer))
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
        label = f"{LATER}{node.layer}".rstrip(".")
        later.append(replace(node, op=moved, count=count, layer=label))
    behind = _behind(graph, place[1], (out, names[out]), (rows, fewer), tensors)
    told = {n.op.output: graph.copies[n.op.output] for n in inside if n.op.output in graph.copies}
    copies = {name: count * earlier for name, count in told.items()}
    copies |= {f"{LATER}{name}": count * (1 - earlier) for name, count in told.items()}
    nodes = [*graph.nodes[: place[0]], *before, *select, *later, *behind]
    return renewed(graph, nodes, tensors, copies=copies)


def _behind(
    graph: Graph,
    start: int,
    names: tuple[str, str],
    rows: tuple[int, int],
    tensors: dict[str, Tensor],
) -> list[Node]:
    """What follows the layers: rows are picked of those that are left, or all of them go on, as an
    encoder's. Raises UserError for an op that does neither."""
    fewer, done = {names[0]: names[1]}, []
    for node in graph.nodes[start:]:
        op = node.op
        read = [t for t in op.inputs if t in fewer]
        out = graph.tensors[op.output]
        if read and not isinstance(op, Gather):
            if graph.phase != "encode" or out.kind != "activation" or out.shape[0] != rows[0]:
                raise UserError(f"prune_tokens: {op.name} reads every token of the last layer")
            op = on_rows(graph, op, *rows)
            tensors[out.name] = _sized(out, out.name, *rows)
            fewer[op.output] = op.output
        inputs = tuple(fewer.get(t, t) for t in op.inputs)
        done.append(replace(node, op=replace(op, inputs=inputs)))  # type: ignore[type-var]
    return done


def _stream(graph: Graph, inside: tuple[Node, ...]) -> str:
    """What the layers read of what is made before them: one row to a token, of all or of those that
    are left."""
    made = {node.op.output for node in inside}
    read = dict.fromkeys(t for node in inside for t in node.op.inputs if t not in made)
    found = [t for t in read if graph.tensors[t].kind == "activation"]
    whole = [t for t in found if graph.tensors[t].shape[0] == graph.batch * graph.tokens]
    if not (whole or (found and found[0] in inside[0].op.inputs)):
        raise UserError(f"{graph.name}: its layers read no row of every token")
    return (whole or found)[0]


def _chosen(
    graph: Graph, mark: str, sizes: tuple[str, int, int]
) -> tuple[dict[str, Tensor], list[Node]]:
    """Scores looked through, rows copied; `sizes`: of what, how many rows, and how many stay."""
    out, rows, fewer = sizes
    like = graph.tensors[out]
    picks = replace(like, name=f"{mark}pick", shape=(graph.batch, fewer // graph.batch))
    copied = replace(like, name=f"{mark}select", shape=(fewer, *like.shape[1:]))
    pick = Vector(picks.name, (out,), picks.name, "top_k", graph.batch, rows // graph.batch)
    select = Gather(copied.name, (out, picks.name), copied.name, fewer, like.shape[-1])
    return {t.name: t for t in (picks, copied)}, [Node(pick, 1), Node(select, 1)]


def _sized(tensor: Tensor, name: str, rows: int, fewer: int) -> Tensor:
    """The tensor with as many fewer rows; a windowed cache may be full nevertheless."""
    made = ceil(tensor.shape[0] * fewer / rows)
    return replace(tensor, name=name, shape=(made, *tensor.shape[1:]))
