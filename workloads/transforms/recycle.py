"""Attention of most steps to the keys that a step before has found to matter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from kernels_ref.errors import UserError
from workloads.graph import Graph, Node, Op, Tensor
from workloads.ops import Attention, Einsum, Gather, Move, Vector
from workloads.transforms.edit import PhaseError, cache_writes, cached, renewed

KINDS = ("keys", "values")


def recycle(graph: Graph, every: int, keep: int) -> Graph:
    """One step of `every` attends to all keys and copies the `keep` of the largest scores to a
    second, small cache; the steps between attend to that alone. A step is the mean of them. The
    full step's scores are made once more, since attention in one pass leaves none; choosing looks
    at each of them once. New rows are written to both caches; the small one has `keep` positions in
    all, those new ones among them. Attention that sees no more keys stays as it is.

    Source: Recycled Attention, arXiv 2411.05787 (a fixed schedule of full steps, two caches).
    Accuracy: an input.
    Not modeled: its schedule by the similarity of queries.
    """
    if every < 2 or keep < 1:
        raise UserError(f"recycle: every is {every} and keep {keep}; at least 2 steps and 1 key")
    names = {op.name for op in cached(graph) if op.kv_len > keep}
    if graph.phase not in ("decode", "verify"):
        raise PhaseError(f"{graph.name}: recycled keys are for decode steps, not {graph.phase}")
    if any(name.endswith(".recycled") for name in graph.tensors):
        raise UserError(f"{graph.name}: its keys are recycled already")
    writes = {n.op.output: n for n in cache_writes(graph)}
    nodes: list[Node] = []
    tensors: dict[str, Tensor] = {}
    held: dict[str, float] = {}
    for node in graph:
        op = node.op
        if op.name not in names:
            nodes.append(node)
            continue
        assert isinstance(op, Attention)
        often = 1 - 1 / every
        full = _full_step(graph, op, keep, tensors)
        nodes += [replace(node, op=made, count=node.count / every) for made in full]
        small = _small_caches(op)
        held |= dict.fromkeys(small.values(), node.count)
        appended = {copy: writes[name].op for name, copy in small.items() if name in writes}
        kept = [replace(node, op=made) for made in _appended(graph, appended, tensors)]
        held |= {n.op.output: 0.0 for n in kept}  # rows of the small cache, which is counted whole
        recycled = _recycled(op, keep, small)
        nodes += [replace(n, count=node.count * often) for n in (*kept, replace(node, op=recycled))]
    return renewed(graph, nodes, tensors, copies=held)


def _small_caches(op: Attention) -> dict[str, str]:
    """The small cache beside each, of this op alone."""
    names = dict.fromkeys(op.operands[1:])
    return {name: f"{op.name}.{kind}.recycled" for name, kind in zip(names, KINDS, strict=False)}


def _recycled(op: Attention, keep: int, small: dict[str, str]) -> Attention:
    """Attention to what was found."""
    inputs = tuple(small.get(name, name) for name in op.inputs)
    lengths = tuple((count, min(keys, keep)) for count, keys in op.lengths)
    kv_len = max(op.q_len, keep)
    return replace(op, inputs=inputs, kv_len=kv_len, lengths=lengths, window=None)


def _full_step(graph: Graph, op: Attention, keep: int, tensors: dict[str, Tensor]) -> list[Op]:
    """Attention to all keys, its scores for the last query, the choice, and the copies."""

    def tensor(name: str, shape: tuple[int, ...], like: str, kind: str = "activation") -> str:
        tensors[name] = replace(graph.tensors[like], name=name, shape=shape, kind=kind)
        return name

    q, keys, _ = op.operands
    made = tensor(f"{op.name}.full", graph.tensors[op.output].shape, op.output)
    positions = sum(part.batch * part.kv_len for part in op.parts())
    alike = not op.lengths
    heads, length = (op.batch * op.kv_heads, op.kv_len) if alike else (op.kv_heads, positions)
    scores = tensor(f"{op.name}.scores", (heads * op.group, length), op.output)
    ranks = {"h": heads, "m": op.group, "n": length, "k": op.head_dim}
    kept = sum(part.batch * min(part.kv_len, keep) for part in op.parts()) * op.kv_heads
    pick = tensor(f"{op.name}.recycle_pick", (kept, 1), op.output)
    done: list[Op] = [
        replace(op, name=made, output=made),
        Einsum(scores, (q, keys), scores, ranks, "hmk,hnk->hmn"),
        Vector(pick, (scores,), pick, "top_k", heads * op.group, length),
    ]
    for name, copy in _small_caches(op).items():
        width = graph.tensors[name].shape[-1]
        tensor(copy, (kept, width), name, "kv")
        done.append(Gather(copy, (name, pick), copy, kept, width))
    return done


def _appended(graph: Graph, writes: Mapping[str, Op], tensors: dict[str, Tensor]) -> list[Op]:
    """New rows to the small caches too."""
    done: list[Op] = []
    for copy, op in writes.items():
        assert isinstance(op, Move)
        name, cache = f"{copy}.append", graph.tensors[op.output]
        width = cache.shape[-1]
        shape = (graph.tensors[op.inputs[0]].elements // width, width)
        tensors[name] = replace(cache, name=name, shape=shape)
        done.append(replace(op, name=name, output=name))
    return done
