"""Compiled: trees over chains, in which every node holds the least features of the chains below it.

Neighbors in a tree are alike, so that a node's least features are close to those of each chain.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kernels_ref.compiled import compiled
from mappers.search.bulk.layout import *


@compiled
def sort_key(I: Any, X: Any, F: Any, K: Any, n: Any) -> Any:
    """One number by which neighbors are alike: splits, then tiles of the cores, of the engine, and
    of the levels from outside in."""
    key: Any = np.empty(n, np.int64)
    levels, first = I[LEVELS], I[FIRST]
    for j in range(n):
        code: Any = np.int64(1)
        room = 62
        for i in range(1, levels + 1):
            if X[LEVEL + N_LEVEL * i + FAN_OUT] > 1 and room > 48:
                code = (code << 7) | min(np.int64(F[j, SPLIT + i]), 127)
                room -= 7
        for step in range(levels):
            i = first if step == 0 else (levels if step == 1 else step - 1)
            bits = min(14, room)
            if bits > 0 and (step < 2 or (i != first and i != levels)):
                code = (code << bits) | min(np.int64(F[j, TILES + i]), (1 << bits) - 1)
                room -= bits
        key[j] = code
    return key


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
def plant(F: Any, K: Any, order: Any, keys: Any, start: Any, nodes: Any, links: Any) -> Any:
    """A binary tree over the chains in the order of their keys, into rows of `nodes` and `links`
    from `start`, where its root is; the next free row. A set is halved where the highest bit that
    differs in it does, so that a half is of one kind."""
    n = len(order)
    low, high = np.empty(2 * n, np.int64), np.empty(2 * n, np.int64)
    low[0], high[0] = 0, n
    count, at = 1, 0
    while at < count:
        a, b = low[at], high[at]
        links[start + at, LEAF], links[start + at, SIZE] = -1, b - a
        if b - a == 1:
            links[start + at, LEAF] = order[a]
        else:
            middle = _middle(keys, order, a, b)
            links[start + at, LEFT], links[start + at, RIGHT] = start + count, start + count + 1
            low[count], high[count] = a, middle
            low[count + 1], high[count + 1] = middle, b
            count += 2
        at += 1
    for at in range(start + count - 1, start - 1, -1):
        chain = links[at, LEAF]
        if chain >= 0:
            for j in range(F.shape[1]):
                nodes[at, j] = F[chain, j]
            links[at, TRIPS], links[at, CHANGES] = K[chain, TRIPS], K[chain, CHANGES]
            continue
        a, b = links[at, LEFT], links[at, RIGHT]
        links[at, TRIPS] = links[a, TRIPS] & links[b, TRIPS]
        links[at, CHANGES] = links[a, CHANGES] & links[b, CHANGES]
        for j in range(F.shape[1]):
            nodes[at, j] = min(nodes[a, j], nodes[b, j])
    return start + count
