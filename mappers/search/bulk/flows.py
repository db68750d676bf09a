"""Compiled: bytes at every level, the formulas of `mappers.traffic` and `mappers.reuse`."""

from __future__ import annotations

from typing import Any

import numpy as np

from kernels_ref.compiled import compiled
from mappers.search.bulk.halos import with_halos
from mappers.search.bulk.layout import *


@compiled(inner=True, borrowing=True)
def traffic_of(
    I: Any, X: Any, T: Any, F: Any, K: Any, at: Any, operand: Any, exact: Any, out: Any
) -> None:
    """Adds an operand's bytes at every level to `out`: read, written, written by outputs, outputs'
    both; and what enters from the vector engine's side."""
    parent = operand - operand  # 0, and no literal: those are compiled apart
    begun = X[OUTPUTS]
    for i in range(1, I[LEVELS]):
        if T[4 * i + operand]:
            begun = _between(I, X, T, F, K, at, operand, parent, i, begun, exact, out)
            parent = i
    _into_engine(I, X, F, at, operand, parent, begun, exact, out)
    entered(I, X, T, F, K, at, operand, parent, exact, out)


@compiled(inner=True, borrowing=True)
def entered(
    I: Any, X: Any, T: Any, F: Any, K: Any, at: Any, operand: Any, parent: Any, exact: Any,
    out: Any,
) -> None:  # fmt: skip
    """Adds the vector engine's work on what enters the cores from level `parent`."""
    per_entering = X[ENTER_A_S + operand] if operand < 2 else 0.0
    if per_entering > 0.0:
        child = max(parent, I[FIRST])
        _, held = _moved(I, X, T, F, K, at, operand, child, child, exact)
        out[3] += held * per_entering
        out[4] += held * X[ENTER_A_OPS + operand]


@compiled(inner=True, borrowing=True)
def _between(
    I: Any, X: Any, T: Any, F: Any, K: Any, at: Any, operand: Any, parent: Any, child: Any,
    begun: Any, exact: Any, out: Any,
) -> Any:  # fmt: skip
    """Bytes from parent to child; outputs go the other way, partial sums both. The parent has begun
    so many sums at zero; how many does the child, at most?"""
    up, down = 5 + 5 * parent, 5 + 5 * child
    seen, held = _moved(I, X, T, F, K, at, operand, child, parent, exact)
    width = X[WIDTH_A + operand]
    extra = least_overfetch(I, X, F, K, at, operand, parent, child)
    if operand < 2:
        out[up] += seen * width * extra
        out[down + 1] += held * width
        return begun
    once, partial = X[OUTPUTS], X[PARTIAL]
    back = max(0.0, seen - begun) * partial
    written = once * width * extra + (seen - once) * partial
    out[up] += back
    out[up + 2] += written
    out[up + 3] += back + written
    drained = held * partial
    if child < I[FIRST]:
        drained = once * width + (held - once) * partial
    out[down] += drained
    out[down + 2] += back
    out[down + 3] += drained + back
    return begun + held - seen if exact or not reduces(I, X, parent, child) else np.inf


@compiled(inner=True, borrowing=True)
def reduces(I: Any, X: Any, parent: Any, child: Any) -> Any:
    """Are sums of a split added up on the way from child to parent?"""
    levels = 0
    for i in range(parent, child):
        if X[LEVEL + N_LEVEL * i + REDUCTION]:
            levels += 1
    return levels > 0


@compiled(inner=True, borrowing=True)
def least_overfetch(
    I: Any, X: Any, F: Any, K: Any, at: Any, operand: Any, parent: Any, child: Any
) -> Any:
    """Bytes moved per byte used, of the tile in the set that suits best: 1 where one of its tiles
    may fill whole granules."""
    rank = I[RUN_A + operand]
    if rank < 0:
        return 1.0
    extent, tiles = I[RANK + N_RANK * rank + EXTENT], F[at[rank], TILES + child]
    if tiles == 1.0:
        return 1.0
    least, most = F[at[rank], TILE + child], np.floor((extent - 1) / (tiles - 1.0))
    if K[at[rank], SIZE] == 1:
        most = least
    width, granularity = X[WIDTH_A + operand], X[LEVEL + N_LEVEL * parent + GRANULARITY]
    granules = np.ceil(least * width / granularity)
    if granules < np.ceil(most * width / granularity):
        return 1.0
    return granules * granularity / (most * width)


@compiled(inner=True, borrowing=True)
def _moved(
    I: Any, X: Any, T: Any, F: Any, K: Any, at: Any, operand: Any, child: Any, parent: Any,
    exact: Any,
) -> Any:  # fmt: skip
    """(as the parent sees it, as the child holds it): elements that cross in all."""
    last = last_trips(I, K, at, operand, child)
    held = X[BASE_A + operand]
    seen = held
    for r in range(I[RANKS]):
        if I[RANK + N_RANK * r + IN_A + operand]:
            continue
        depth = depth_of(I, X, T, F, K, at, operand, r, last)
        if I[RANK + N_RANK * r + DEALT] and child >= I[FIRST]:
            depth = max(depth, I[FIRST])
        node = at[r]
        most_depth = depth if exact else child
        s, h = least_copies(I, F, node, depth, most_depth, child, parent)
        seen *= s
        held *= h
    if I[HALOS] > 0:
        if exact:
            return with_halos(I, X, T, F, K, at, operand, child, parent, seen, held)
        return seen * X[LEAST_A + operand], held * X[LEAST_A + operand]
    return seen, held


@compiled(inner=True, borrowing=True)
def last_trips(I: Any, K: Any, at: Any, operand: Any, child: Any) -> Any:
    """The deepest level down to `child` where a loop over one of the operand's ranks has more than
    one trip, or 0."""
    trips = 0
    for r in range(I[RANKS]):
        if I[RANK + N_RANK * r + IN_A + operand]:
            trips |= K[at[r], TRIPS]
    last = child
    while last > 0 and not (trips >> last) & 1:
        last -= 1
    return last


@compiled(inner=True, borrowing=True)
def least_copies(
    I: Any, F: Any, node: Any, depth: Any, most_depth: Any, child: Any, parent: Any
) -> Any:
    """Seen and held by reuse of this depth, or a deeper one: at ragged edges that may count
    less."""
    seen, held = copies_of(F, node, depth, child, parent, I[MERGING])
    for d in range(depth + 1, most_depth + 1):
        s, h = copies_of(F, node, d, child, parent, I[MERGING])
        seen, held = min(seen, s), min(held, h)
    return seen, held


@compiled(inner=True, borrowing=True)
def depth_of(
    I: Any, X: Any, T: Any, F: Any, K: Any, at: Any, operand: Any, rank: Any, last: Any
) -> Any:
    """Deepest level whose loop over `rank` brings the operand in again; `last`: the deepest level
    where a loop over one of its own ranks has more than one trip."""
    if last == 0:
        return 0
    inside = I[INSIDE + (MOST_RANKS * last + T[4 * last + 3]) * MOST_RANKS + rank]
    for q in range(I[RANKS]):
        own = I[RANK + N_RANK * q + IN_A + operand] and (inside >> q) & 1
        if own and (K[at[q], TRIPS] >> last) & 1:
            return last
    return last - 1


@compiled(inner=True, borrowing=True)
def copies_of(F: Any, node: Any, depth: Any, child: Any, parent: Any, merging: Any) -> Any:
    """Steps through `depth`, times the copies of splits further in; seen and held."""
    held = F[node, TILES + depth] if depth > 0 else 1.0
    seen = held
    if merging and depth > parent:
        seen = F[node, MERGED + MOST_LEVELS * parent + depth]
    for i in range(depth + 1, child + 1):
        held *= F[node, SPLIT + i]
        seen *= F[node, GROUPS + i] if i > parent else F[node, SPLIT + i]
    return seen, held


@compiled(inner=True, borrowing=True)
def _into_engine(
    I: Any, X: Any, F: Any, at: Any, operand: Any, source: Any, begun: Any, exact: Any, out: Any
) -> None:
    """What the engine reads and writes at the innermost level that keeps the operand."""
    place = 5 + 5 * source
    crossed_by = ROLE_K if operand == 2 else ROLE_N - operand
    blocks = _blocks(I, F, at, crossed_by, X[BLOCK_A + operand], exact)
    if operand < 2:
        words = X[MACS] / X[LENGTH_M + crossed_by - ROLE_M] * blocks
        out[place] += words * X[WORD_A + operand]
    else:
        written, partial = X[OUTPUTS] * blocks, X[PARTIAL]
        if X[SUM_SHARE] != 1.0:
            written = max(begun if exact else X[OUTPUTS], written * X[SUM_SHARE])
        read = max(0.0, written - begun)
        out[place] += read * partial
        out[place + 2] += written * partial
        out[place + 3] += (read + written) * partial


@compiled(inner=True, borrowing=True)
def _blocks(I: Any, F: Any, at: Any, role: Any, block: Any, exact: Any) -> Any:
    """Engine blocks along the role's ranks, in all tiles together."""
    tiles, whole, levels = 1.0, 1.0, I[LEVELS]
    for r in range(I[RANKS]):
        if I[RANK + N_RANK * r + ROLE] == role:
            if I[RANK + N_RANK * r + ALONE]:
                return F[at[r], BLOCKS]
            tiles *= F[at[r], TILES + levels]
            whole *= I[RANK + N_RANK * r + EXTENT]
    if block == 0.0:
        return tiles
    if not exact:
        return max(tiles, whole / block)
    total = 0.0
    for code in range(1 << I[RANKS]):
        count, size = 1.0, 1.0
        for r in range(I[RANKS]):
            edge, node = (code >> r) & 1, at[r]
            if I[RANK + N_RANK * r + ROLE] != role:
                count *= edge
                continue
            tile, full = F[node, TILE + levels], F[node, TILES + levels] - 1
            count *= 1.0 if edge else full
            size *= I[RANK + N_RANK * r + EXTENT] - full * tile if edge else tile
        if count > 0.0:
            total += count * np.ceil(size / block)
    return total
