"""Compiled: what a cost needs to know of a chain, from its tiles and splits.

The counts are those of `mappers.reuse`, along one rank.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kernels_ref.compiled import compiled
from mappers.search.bulk.layout import *


@compiled
def fill_features(
    I: Any, X: Any, rank: Any, tiles: Any, splits: Any, most_cycles: Any, F: Any, K: Any
) -> Any:
    """The features of every chain, those that take too many cycles left out; how many remain.

    Chains that remain move to the front of `tiles` and `splits`.
    """
    levels = I[LEVELS]
    n = levels - levels
    for j in range(len(tiles)):
        _work_of(I, X, rank, tiles[j], splits[j], F, n)
        if F[n, INSTANCE_CYCLES] <= most_cycles:
            _features_of(I, X, rank, tiles[j], splits[j], F, K, n)
            copy_row(tiles, j, tiles, n)
            copy_row(splits, j, splits, n)
            n += 1
    return n


@compiled(inner=True)
def copy_row(rows: Any, j: Any, into: Any, n: Any) -> None:
    """Element by element: assigning rows takes numba seconds more to compile."""
    for i in range(rows.shape[1]):
        into[n, i] = rows[j, i]


@compiled(inner=True)
def _features_of(I: Any, X: Any, rank: Any, tile: Any, split: Any, F: Any, K: Any, n: Any) -> None:
    """Fills row n, where `_work_of` has been, for this rank's tiles and splits from level 0."""
    levels = I[LEVELS]
    extent, dealt = I[RANK + N_RANK * rank + EXTENT], I[RANK + N_RANK * rank + DEALT]
    trips, changes, at_once = 0, 0, 1
    for i in range(1, levels + 1):
        ratio = -(-tile[i - 1] // tile[i])
        copies = min(split[i], ratio)
        F[n, TILE + i] = tile[i]
        F[n, TILES + i] = -(-extent // tile[i])
        F[n, SPLIT + i] = split[i]
        F[n, GROUPS + i] = -(-copies // _share(I, X, rank, i, ratio, copies))
        if -(-ratio // split[i]) > 1:
            trips |= 1 << i
        at_once *= split[i]
        if extent > tile[i] * at_once:
            changes |= 1 << i
    K[n, TRIPS] = trips
    K[n, CHANGES] = changes
    if I[MERGING]:
        _merged_steps(I, X, rank, tile, split, F, n)
    F[n, AXIS_A], F[n, AXIS_B] = split[levels + 1], split[levels + 2]
    F[n, JOBS] = F[n, TILES + I[FIRST]]
    if I[RANK + N_RANK * rank + ROLE] == ROLE_K:
        F[n, JOBS] = 1.0
        for i in range(1, I[FIRST] + 1):
            F[n, JOBS] *= split[i]
    F[n, MINUS_JOBS] = -F[n, JOBS]
    steps = F[n, JOBS] if dealt else F[n, OUT_STEPS]
    F[n, SHARE] = 1.0 / steps
    F[n, HEAD_SHARE], F[n, TAIL_SHARE] = 1.0 / steps, 1.0 / steps
    if I[RANK + N_RANK * rank + ROLE] == ROLE_K:
        F[n, TAIL_SHARE] = 1.0 / F[n, JOBS] if I[DYNAMIC] else 1.0
        F[n, HEAD_SHARE] = F[n, TAIL_SHARE] / F[n, OUT_STEPS]
    F[n, PER_STEP] = extent / steps
    F[n, OUTER_PER_STEP] = F[n, TILES + 1] / steps


@compiled(inner=True)
def _share(I: Any, X: Any, rank: Any, i: Any, ratio: Any, copies: Any) -> Any:
    """Of level i's tiles along the rank, how many one access of the parent serves."""
    if I[RANK + N_RANK * rank + ROLE] == ROLE_K:
        return copies if X[LEVEL + N_LEVEL * (i - 1) + REDUCTION] else 1
    multicast = int(X[LEVEL + N_LEVEL * (i - 1) + MULTICAST])
    if multicast <= 1:
        return 1
    dealt = I[RANK + N_RANK * rank + DEALT] and i == I[FIRST]
    return min(multicast, ratio if dealt else copies)


@compiled(inner=True)
def _merged_steps(I: Any, X: Any, rank: Any, tile: Any, split: Any, F: Any, n: Any) -> None:
    """Steps through every level as every level outside of it sees them."""
    levels, extent = I[LEVELS], I[RANK + N_RANK * rank + EXTENT]
    for parent in range(levels):
        full, edge = 0, extent
        for i in range(1, levels + 1):
            ratio = -(-tile[i - 1] // tile[i])
            share = 1
            if i > parent:
                share = _share(I, X, rank, i, ratio, min(split[i], ratio))
            in_edge = -(-edge // tile[i])
            full = full * -(-ratio // share) + -(-in_edge // share) - 1
            edge -= (in_edge - 1) * tile[i]
            F[n, MERGED + MOST_LEVELS * parent + i] = full + 1


@compiled(inner=True)
def _busy(tile: Any, split: Any, extent: Any, start: Any, last: Any) -> Any:
    """(full steps, size of the last step's tile) of the busiest instance."""
    full, edge = 0, extent
    for i in range(start, last + 1):
        ratio = -(-tile[i - 1] // tile[i])
        trips = -(-ratio // split[i])
        in_edge = -(-edge // tile[i])
        edge_steps = -(-in_edge // split[i])
        alone = in_edge - (edge_steps - 1) * split[i] == 1
        full = full * trips + edge_steps - 1
        edge = edge - (in_edge - 1) * tile[i] if alone else tile[i]
    return full, edge


@compiled(inner=True)
def _work_of(I: Any, X: Any, rank: Any, tile: Any, split: Any, F: Any, n: Any) -> None:
    """Steps and engine cycles of the rank."""
    levels = I[LEVELS]
    extent, role, dealt = (
        I[RANK + N_RANK * rank + EXTENT],
        I[RANK + N_RANK * rank + ROLE],
        I[RANK + N_RANK * rank + DEALT],
    )
    start, size = (I[FIRST] + 1, tile[I[FIRST]]) if dealt else (1, extent)
    full, edge = _busy(tile, split, size, start, levels)
    F[n, OUT_STEPS] = 1.0
    if not dealt:
        F[n, OUT_STEPS] = _busy(tile, split, extent, start, I[FIRST])[0] + 1
    F[n, MINUS_STEPS] = -F[n, OUT_STEPS]
    whole, last = service_of(I, X, rank, tile[levels]), service_of(I, X, rank, edge)
    F[n, FULL_COUNT], F[n, EDGE] = full, edge
    F[n, FULL_CYCLES], F[n, EDGE_CYCLES] = whole, last
    F[n, SERVICE_STEPS] = full + 1
    F[n, ELEMENTS] = full * tile[levels] + edge
    F[n, CYCLES] = full * whole + last
    if not I[RANK + N_RANK * rank + ALONE] and role != BATCH:
        s = STEPS + 4 * (role - ROLE_M)
        leads = True
        for r in range(rank):
            leads = leads and I[RANK + N_RANK * r + ROLE] != role
        F[n, CYCLES] = F[n, ELEMENTS] * (X[s + 1] / X[s] if leads else 1.0)
    if role == BATCH:
        F[n, CYCLES] = F[n, ELEMENTS]
    instances = 1.0
    for i in range(start, levels + 1):
        instances *= split[i]
    jobs = -(-extent // tile[I[FIRST]]) if dealt else 1
    F[n, INSTANCE_CYCLES] = F[n, CYCLES] * instances * jobs
    count = -(-extent // tile[levels])
    edge = extent - (count - 1) * tile[levels]
    F[n, BLOCKS] = (count - 1) * blocks_of(I, X, rank, tile[levels])
    F[n, BLOCKS] += blocks_of(I, X, rank, edge)


@compiled(inner=True)
def blocks_of(I: Any, X: Any, rank: Any, size: Any) -> Any:
    """Times that what crosses this rank enters the engine for so many of its elements."""
    role, block = I[RANK + N_RANK * rank + ROLE], X[BLOCK_W]
    if role == ROLE_N:
        block = X[BLOCK_A]
    elif role == ROLE_K:
        block = X[BLOCK_O]
    return np.ceil(size / block) if block > 0 and role != BATCH else 1.0


@compiled(inner=True)
def service_of(I: Any, X: Any, rank: Any, size: Any) -> Any:
    """The engine's function of this rank's role."""
    role = I[RANK + N_RANK * rank + ROLE]
    if role == BATCH:
        return float(size)
    s = STEPS + 4 * (role - ROLE_M)
    return max(X[s + 1] * np.ceil(size / X[s]) + X[s + 2], X[s + 3])
