"""Attention and its caches over the ranks of an axis: heads dealt out, or sequences; and ops that
every rank does whole."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from math import ceil
from typing import TYPE_CHECKING, Any

from workloads.graph import Op
from workloads.ops import Attention, Move
from workloads.sharding.rows import dealt

if TYPE_CHECKING:
    from workloads.sharding.columns import Held, Sharder


def whole_op(sharder: Sharder, op: Any) -> None:
    """Every rank does all of it."""
    inputs = tuple(whole_input(sharder, name) for name in op.inputs)
    sharder.add(replace(op, inputs=inputs))
    sharder.keep(op.output)


def whole_input(sharder: Sharder, name: str) -> str:
    """The name of the whole tensor: a parameter's own, or what an exchange makes."""
    tensor = sharder.graph.tensors[name]
    if tensor.kind in ("weight", "table"):
        return sharder.stored(name)
    return sharder.take(name, "whole").name


def attention(sharder: Sharder, op: Attention) -> None:
    """The heads of a rank, or the sequences; all of it where the queries are whole."""
    q, k, v = op.operands
    queries = sharder.take(q, "cols", "whole")
    if queries.kind == "whole":
        whole_op(sharder, op)
        return
    if sharder.split.option("attention") == "batch":
        _of_sequences(sharder, op)
        return
    keys = max(1, op.kv_heads // sharder.ways)
    share = Fraction(keys, op.kv_heads)
    names = [queries.name]
    for name in (k, v):
        here = _cache(sharder, name, share) or sharder.take(name, "cols", "whole")
        if here.kind == "cols" and here.share < share:  # parts of heads
            here = sharder.take(name, "whole")
        names.append(here.name)
    names += [_for_heads(sharder, name, op) for name in op.inputs[3:]]
    heads = op.q_heads // sharder.ways
    sharder.add(replace(op, inputs=tuple(names), q_heads=heads, kv_heads=keys))
    sharder.keep(op.output, "cols", Fraction(1, sharder.ways))


def _cache(sharder: Sharder, name: str, share: Fraction) -> Held | None:
    """A cache that is only read here; of one that is written the writes say how it is held."""
    if sharder.graph.tensors[name].kind != "kv":
        return None
    if name in sharder.held:
        return sharder.held[name]
    return sharder.keep(name, "cols" if share < 1 else "whole", share)


def _of_sequences(sharder: Sharder, op: Attention) -> None:
    """All heads of the sequences of a rank (Pope et al., arXiv 2211.05102, sec. 3.3)."""
    names = []
    for name in op.operands:
        cached = sharder.graph.tensors[name].kind == "kv"
        part = Fraction(1, sharder.ways)
        here = _cache(sharder, name, part) if cached else sharder.dealt(name)
        assert here is not None
        names.append(here.name)
    names += [whole_input(sharder, name) for name in op.inputs[3:]]
    local = dealt(op, sharder.ways, ceil(op.batch / sharder.ways))
    sharder.add(replace(local, inputs=tuple(names)))
    sharder.keep(op.output, "rows", Fraction(local.batch, op.batch))
    sharder.held[op.output] = sharder.dealt(op.output)


def _for_heads(sharder: Sharder, name: str, op: Attention) -> str:
    """Sinks or biases of the rank's heads; what an op makes is read whole."""
    tensor = sharder.graph.tensors[name]
    if tensor.kind == "weight" and op.q_heads in tensor.shape:
        return sharder.stored(name, tensor.shape.index(op.q_heads), Fraction(1, sharder.ways))
    return whole_input(sharder, name)


def move(sharder: Sharder, op: Move) -> None:
    """The rank's part of what is copied; into a cache the rows of its heads or sequences."""
    held = [sharder.settle(name) for name in op.inputs]
    kept = sharder.graph.tensors[op.output].kind == "kv"
    if any(here.kind == "rows" for here in held) or (
        kept and _parts_of_heads(sharder, op, held[0])
    ):
        cols = () if kept else ("cols",)
        held = [sharder.take(name, "whole", *cols) for name in op.inputs]
    apart = next((here for here in held if here.kind == "cols"), held[0])
    by_sequence = sharder.split.option("attention") == "batch"
    if by_sequence and kept:
        held = [sharder.dealt(name) for name in op.inputs]
        apart = replace(apart, kind="cols", share=Fraction(1, sharder.ways))
    elif kept and apart.kind == "whole" and (share := _heads_kept(sharder, op)) < 1:
        apart = replace(apart, kind="cols", share=share)
    sharder.add(replace(op, inputs=tuple(here.name for here in held)))
    sharder.keep(op.output, apart.kind, apart.share)


def _heads_kept(sharder: Sharder, op: Move) -> Fraction:
    """Of a cache the share of heads that a rank reads; all of one that no attention reads."""
    for reader in sharder.graph.consumers().get(op.output, []) + _attending(sharder, op.inputs[0]):
        if isinstance(reader, Attention):
            return Fraction(max(1, reader.kv_heads // sharder.ways), reader.kv_heads)
    return Fraction(1)


def _attending(sharder: Sharder, rows: str) -> list[Op]:
    """What reads the rows beside the cache, in a prompt."""
    return [op for op in sharder.graph.consumers().get(rows, []) if isinstance(op, Attention)]


def _parts_of_heads(sharder: Sharder, op: Move, held: Held) -> bool:
    """Does the rank hold less of the rows than a head's?"""
    return held.kind == "cols" and held.share < _heads_kept(sharder, op)
