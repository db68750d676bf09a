"""A prompt's keys and values predicted from those of a smaller model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from kernels_ref.errors import UserError
from workloads.graph import Graph, Node, Op, Tensor
from workloads.ops import Attention, Einsum, Gather, Move, Vector
from workloads.transforms.edit import PhaseError, blocks, cache_writes, prefixed, renewed
from workloads.transforms.rows import on_rows

AUXILIARY = "auxiliary."


def predict_kv(graph: Graph, model: str) -> Graph:
    """An auxiliary `model` reads the prompt but for its last token; a linear map for each of the
    base model's layers makes its keys, another its values, of those of an auxiliary layer. Then the
    base model takes the last token as a decode step. Which layer is read does not matter here.

    The auxiliary model is without its head, in its own format, and stored beside the base model for
    the prompt only; its cache is not kept.
    Source: KV Prediction, arXiv 2410.08391, and apple/corenet, `kv_prediction.py` (maps with a bias
    over merged heads; the base model processes the last token).
    Accuracy: an input; auxiliary model and maps are trained for it.
    Not modeled: norm and rotation of keys after the map; a prompt in chunks.
    """
    if graph.phase != "prefill" or graph.tokens != graph.context:
        raise PhaseError(f"{graph.name}: keys are predicted for whole prompts, not {graph.phase}")
    if graph.tokens < 2:
        raise UserError("predict_kv: a prompt of 1 token has none before its last")
    layers = _attentions(graph)
    nodes, tensors, copies, source = _auxiliary(graph, model)
    for op, caches, node in layers:
        for number, cache in enumerate(caches):
            read = tensors[source[number]]
            made = _map(graph, op, cache, (read, source[number + 2]), tensors)
            copies[made[-1].output] = 0.0  # rows of the cache, which is counted whole
            nodes += [replace(node, op=done) for done in made]
    step, changed = _last_token(graph, {op.name: caches for op, caches, _ in layers})
    return renewed(graph, [*nodes, *step], {**tensors, **changed}, copies=copies)


def _attentions(graph: Graph) -> list[tuple[Attention, tuple[str, str], Node]]:
    """Every attention op with its caches of keys and values. Raises UserError where there is
    anything else."""
    found, writes = [], cache_writes(graph)
    for node in graph:
        op = node.op
        if not isinstance(op, Attention):
            continue
        mine = [n.op.output for n in writes if (n.layer, n.count) == (node.layer, node.count)]
        if not op.causal or op.q_len != graph.tokens or len(mine) != 2 or op.latent:
            raise UserError(
                f"predict_kv: {graph.name}: {op.name} is not the attention of a decoder with a "
                "cache of keys and one of values"
            )
        found.append((op, (mine[0], mine[1]), node))
    if not found:
        raise UserError(f"predict_kv: {graph.name} has no attention")
    return found


def _auxiliary(
    graph: Graph, model: str
) -> tuple[list[Node], dict[str, Tensor], dict[str, float], tuple]:
    """The auxiliary model's nodes up to its last layer, its tensors, what it stores, and what the
    maps read: names of keys and values, and how wide each is."""
    from workloads.builders import build
    from workloads.config import read_config
    from workloads.phase import prefill

    other = build(read_config(model), prefill(graph.batch, graph.tokens - 1))
    op, caches, _ = _attentions(other)[-1]
    writes = {n.op.output: n.op.inputs[0] for n in cache_writes(other)}
    copies = {
        AUXILIARY + name: 0.0 if other.tensors[name].kind == "kv" else count
        for name, count in other.stored_copies().items()
    }
    end = other.nodes.index(blocks(other)[-1].nodes[-1])
    nodes, tensors = prefixed(other, AUXILIARY)
    read = tuple(AUXILIARY + writes[cache] for cache in caches)
    widths = (op.kv_heads * op.head_dim, op.kv_heads * op.v_head_dim)
    return nodes[: end + 1], tensors, copies, (*read, *widths)


def _map(
    graph: Graph, op: Attention, cache: str, source: tuple[Tensor, int], tensors: dict[str, Tensor]
) -> list[Op]:
    """One linear map, and the predicted rows on their way to the cache."""
    (read, width), kept = source, graph.tensors[cache]
    rows, wide = graph.batch * (graph.tokens - 1), op.kv_heads * kept.shape[-1]
    name = f"{cache}.predicted"
    half = graph.tensors[op.output]
    heads = (rows * op.kv_heads, kept.shape[-1])
    for full, shape, kind in (
        (f"{name}.weight", (wide, width), "weight"),
        (f"{name}.bias", (wide,), "weight"),
        (name, (rows, wide), "activation"),
    ):
        tensors[full] = replace(half, name=full, shape=shape, kind=kind)
    inputs = (read.name, f"{name}.weight", f"{name}.bias")
    ranks = {"m": rows, "n": wide, "k": width}
    done: list[Op] = [Einsum(name, inputs, name, ranks, "mk,nk->mn")]
    last = name
    if kept.format.bits < 16:
        last = f"{name}.quantize_kv"
        tensors[last] = replace(half, name=last, shape=heads, format=kept.format)
        done.append(Vector(last, (name,), last, "quantize", *heads))
    tensors[f"{name}.append"] = replace(kept, name=f"{name}.append", shape=heads)
    run = min(rows // graph.batch, kept.shape[0] // (graph.batch * op.kv_heads)) * kept.shape[-1]
    return [*done, Move(f"{name}.append", (last,), f"{name}.append", run)]


def _last_token(
    graph: Graph, caches: Mapping[str, tuple[str, str]]
) -> tuple[list[Node], dict[str, Tensor]]:
    """The prompt's ops for its last token alone, which sees the cache, and tensors of other sizes.

    What picked the last token's row is left out: there is no other.
    """
    rows, fewer = graph.batch * graph.tokens, graph.batch
    nodes: list[Node] = []
    tensors: dict[str, Tensor] = {}
    names: dict[str, str] = {}
    for node in graph:
        op = node.op
        if names:
            nodes.append(_renamed(node, op, names))
        elif isinstance(op, Gather) and op.rows == fewer and _of_rows(graph, op, rows):
            names[op.output] = op.inputs[0]
        else:
            nodes.append(replace(node, op=_one(graph, op, caches)))
            out = graph.tensors[op.output]
            if out.kind == "activation":
                size = -(-out.shape[0] * fewer // rows)
                tensors[out.name] = replace(out, shape=(size, *out.shape[1:]))
    return nodes, tensors


def _renamed(node: Node, op: Op, names: Mapping[str, str]) -> Node:
    inputs = tuple(names.get(t, t) for t in op.inputs)
    return replace(node, op=replace(op, inputs=inputs))  # type: ignore[type-var]


def _of_rows(graph: Graph, op: Op, rows: int) -> bool:
    """Does it read an activation with a row to a token?"""
    read = graph.tensors[op.inputs[0]]
    return read.kind == "activation" and read.shape[0] == rows


def _one(graph: Graph, op: Op, caches: Mapping[str, tuple[str, str]]) -> Op:
    """The op for one token of each sequence."""
    if isinstance(op, Attention):
        keys, values = caches[op.name]
        seen = min(op.kv_len, op.window or op.kv_len)
        inputs = (op.inputs[0], keys, values, *op.inputs[3:])
        return replace(op, inputs=inputs, q_len=1, kv_len=seen)
    if isinstance(op, Move):
        return replace(op, run_elements=graph.tensors[op.output].shape[-1])
    return on_rows(graph, op, graph.batch * graph.tokens, graph.batch)
