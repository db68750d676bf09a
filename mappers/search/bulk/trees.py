"""Compiled: trees over chains, in which every node holds the least features of the chains below it.

Neighbors in a tree are alike, so that a node's least features are close to those of each chain.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kernels_ref.compiled import compiled
from mappers.search.bulk.layout import *


@compiled
def sort_key(I: Any, X: Any, F: Any, K: Any, rank: Any, keys: Any) -> None:
    """A number for each chain, by which neighbors are alike. First what bounds depend on most: on
    cores that have tiles of their own, which loops have trips, tiles of the cores, splits; on cores
    that are dealt theirs the other way round. Then tiles of the engine, and of levels from
    outside."""
    levels, first = I[LEVELS], I[FIRST]
    for j in range(len(keys)):
        code, room = np.int64(1), np.int64(62)
        if I[DYNAMIC]:
            code, room = _with_splits(X, F, j, levels, code, room)
            code, room = _with_tiles(F, j, first, code, room)
            code, room = _with_trips(I, K, j, rank, code, room)
        else:
            code, room = _with_trips(I, K, j, rank, code, room)
            code, room = _with_tiles(F, j, first, code, room)
            code, room = _with_splits(X, F, j, levels, code, room)
        code, room = _with_tiles(F, j, levels, code, room)
        for i in range(1, levels):
            if i != first:
                code, room = _with_tiles(F, j, i, code, room)
        keys[j] = code


@compiled(inner=True)
def _with_splits(X: Any, F: Any, j: Any, levels: Any, code: Any, room: Any) -> Any:
    for i in range(1, levels + 1):
        if X[LEVEL + N_LEVEL * i + FAN_OUT] > 1 and room > 40:
            code, room = (code << 7) | min(np.int64(F[j, SPLIT + i]), 127), room - 7
    return code, room


@compiled(inner=True)
def _with_tiles(F: Any, j: Any, i: Any, code: Any, room: Any) -> Any:
    bits = min(14, room)
    return (code << bits) | min(np.int64(F[j, TILES + i]), (1 << bits) - 1), room - bits


@compiled(inner=True)
def _with_trips(I: Any, K: Any, j: Any, rank: Any, code: Any, room: Any) -> Any:
    for i in range(1, I[LEVELS]):
        if not (I[RANK + N_RANK * rank + DEALT] and i == I[FIRST]):
            code, room = (code << 1) | ((K[j, TRIPS] >> i) & 1), room - 1
    return code, room


@compiled(inner=True)
def _middle(keys: Any, order: Any, a: Any, b: Any) -> Any:
    """Where to halve the chains from a to b."""
    bits = keys[order[a]] ^ keys[order[b - 1]]
    if bits == 0:
        return (a + b) // 2
    while bits & (bits - 1):
        bits &= bits - 1
    low, high = a, b - 1
    while high - low > 1:
        middle = (low + high) // 2
        if keys[order[middle]] & bits:
            high = middle
        else:
            low = middle
    return high


@compiled
def plant(
    F: Any, K: Any, order: Any, keys: Any, start: Any, nodes: Any, links: Any, span: Any
) -> Any:
    """A binary tree over the chains in the order of their keys, into rows of `nodes` and `links`
    from `start`, where its root is; the next free row. A set is halved where the highest bit that
    differs in it does, so that a half is of one kind."""
    n = len(order)
    span[0, 0], span[0, 1] = 0, n
    count, at = 1, 0
    while at < count:
        a, b = span[at, 0], span[at, 1]
        links[start + at, LEAF], links[start + at, SIZE] = -1, b - a
        if b - a == 1:
            links[start + at, LEAF] = order[a]
        else:
            middle = _middle(keys, order, a, b)
            links[start + at, LEFT], links[start + at, RIGHT] = start + count, start + count + 1
            span[count, 0], span[count, 1] = a, middle
            span[count + 1, 0], span[count + 1, 1] = middle, b
            count += 2
        at += 1
    for at in range(start + count - 1, start - 1, -1):
        chain = links[at, LEAF]
        if chain >= 0:
            for j in range(F.shape[1]):
                nodes[at, j] = F[chain, j]
            links[at, TRIPS], links[at, CHANGES] = K[chain, TRIPS], K[chain, CHANGES]
            links[at, ANY_TRIPS] = K[chain, TRIPS]
            continue
        a, b = links[at, LEFT], links[at, RIGHT]
        links[at, TRIPS] = links[a, TRIPS] & links[b, TRIPS]
        links[at, ANY_TRIPS] = links[a, ANY_TRIPS] | links[b, ANY_TRIPS]
        links[at, CHANGES] = links[a, CHANGES] & links[b, CHANGES]
        for j in range(F.shape[1]):
            nodes[at, j] = min(nodes[a, j], nodes[b, j])
    return start + count
