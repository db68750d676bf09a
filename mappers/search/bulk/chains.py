"""Chains, compiled: every choice of tiles and splits for one rank, its features, and sets of them.

A chain is written inner to outer: the engine's tile, its split, then for each memory the smallest
tile that gives its number of tiles, and the smallest split that gives its number of rounds. Two
chains that differ in the engine's tile only, equal in the number of tiles, are ordered: the larger
tile is kept only if the engine needs fewer cycles, or blocks, for the rank (cycles are convex in the
shares, so that nothing else can favor it).
A tree over the chains, sorted so that neighbors are alike, holds the least features of every node.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from kernels_ref.compiled import compiled
from mappers.search.bulk.layout import *  # noqa: F403 - a hundred column names

Array = Any


class Choices(NamedTuple):
    """What a rank may choose. `loops[i]`: may there be loops over level i's tiles inside its parent's;
    `menus[i]`: allowed tiles (zeros at the end), of `menu_sizes[i]`; `multiples[i]`; `most[i]`:
    largest split; `axes`: may it lie on the first, the second axis of the array at the axis level;
    `largest[i]`: tile that alone fills a memory; `doubling`: only powers of two of steps."""

    loops: Array
    menus: Array
    menu_sizes: Array
    multiples: Array
    most: Array
    axes: Array
    largest: Array
    doubling: Any


@compiled
def engine_tiles(I: Any, X: Any, rank: Any, granule: Any, out: Any, every: Any) -> Any:
    """Sizes of the engine's tile worth trying, ascending per number of tiles; how many there are.

    `granule`: elements of a whole granule of memory, for a rank that something is contiguous along.
    """
    extent, n = I[RANK + N_RANK * rank + EXTENT], 0
    if every or not I[RANK + N_RANK * rank + ALONE] or I[RANK + N_RANK * rank + ROLE] == BATCH:
        for tile in range(1, extent + 1):
            out[n] = tile
            n += 1
        return n
    tiles, least, fewest, whole = 0, 0.0, 0.0, False
    for tile in range(1, extent + 1):
        count = -(-extent // tile)
        last = extent - (count - 1) * tile
        cycles = (count - 1) * _service(I, X, rank, tile) + _service(I, X, rank, last)
        blocks = (count - 1) * _blocks_of(I, X, rank, tile) + _blocks_of(I, X, rank, last)
        whole = whole and count == tiles
        better = count != tiles or cycles < least or blocks < fewest
        if better or (not whole and tile % granule == 0):
            whole = whole or tile % granule == 0
            least = cycles if count != tiles else min(cycles, least)
            fewest = blocks if count != tiles else min(blocks, fewest)
            tiles = count
            out[n] = tile
            n += 1
    return n


@compiled(inner=True)
def _service(I: Any, X: Any, rank: Any, size: Any) -> Any:
    """The engine's function of this rank's role."""
    role = I[RANK + N_RANK * rank + ROLE]
    if role == BATCH:
        return float(size)
    s = STEPS + 4 * (role - ROLE_M)
    return max(X[s + 1] * np.ceil(size / X[s]) + X[s + 2], X[s + 3])


@compiled
def extend(
    I: Any, X: Any, rank: Any, choices: Any, i: Any, tiles: Any, splits: Any, new_tiles: Any, new_splits: Any
) -> Any:
    """Every choice of the split of level i and of the tile outside it, for partial chains that are
    decided from level i's tile inward; the number of them. With no room in `new_tiles`, only counts.

    `splits` has two columns more, for the factors of the split at the axis level.
    """
    n, extent, levels = 0, I[RANK + N_RANK * rank + EXTENT], I[LEVELS]
    for j in range(len(tiles)):
        tile = tiles[j, i]
        count = -(-extent // tile)
        rounds_before = 0
        for s in range(1, min(choices.most[i], count) + 1):
            rounds = -(-count // s)
            if rounds == rounds_before or (I[PERFECT] and count % s != 0):
                continue
            rounds_before = rounds
            on_axes = I[AXIS_LEVEL] == i
            for a in range(1, s + 1 if on_axes else 2):
                b = s // a
                if on_axes and not _on_axes(I, choices, a, b, s):
                    continue
                before, q = 0 * s, s // s
                while q > 0:
                    size, q, take, before = _next_size(
                        I, choices, i, tile * s, rounds, q, before, extent
                    )
                    if not take:
                        continue
                    if n < len(new_tiles):
                        new_tiles[n] = tiles[j]
                        new_splits[n] = splits[j]
                        new_tiles[n, i - 1] = size
                        new_splits[n, i] = s
                        if on_axes:
                            new_splits[n, levels + 1], new_splits[n, levels + 2] = a, b
                    n += 1
    return n


@compiled(inner=True)
def _on_axes(I: Any, choices: Any, a: Any, b: Any, s: Any) -> Any:
    """May a split of s lie a along the first axis and b along the second?"""
    listed = (a == 1 or choices.axes[0]) and (b == 1 or choices.axes[1])
    return a * b == s and listed and a <= I[AXIS_0] and b <= I[AXIS_1]


@compiled(inner=True)
def _next_size(
    I: Any, choices: Any, i: Any, spread: Any, rounds: Any, q: Any, before: Any, extent: Any
) -> Any:
    """(tile outside level i for q steps, the next q or 0, is it to be taken, tiles it gives)."""
    if i == 1:
        return extent, 0, True, 0
    size = min(extent, spread * q)
    if not choices.loops[i]:
        return size, 0, _allowed(choices, i - 1, size, extent), 0
    outside = -(-rounds // q)
    fine = I[PERFECT] == 0 or (rounds % q == 0 and extent % size == 0)
    take = fine and outside != before and _allowed(choices, i - 1, size, extent)
    if take:
        before = outside
    if q >= rounds or (outside == 1 and before == 1):
        return size, 0, take, before
    if choices.doubling:
        return size, min(2 * q, rounds), take, before
    if before == outside and I[PERFECT] == 0:
        return size, -(-rounds // (outside - 1)), take, before
    return size, q + 1, take, before


@compiled(inner=True)
def _allowed(choices: Any, i: Any, tile: Any, extent: Any) -> Any:
    """Do the design's rules and the memory's capacity let level i have this tile?"""
    if tile > choices.largest[i]:
        return False
    if tile % choices.multiples[i] != 0 and tile != extent:
        return False
    if choices.menu_sizes[i] == 0:
        return True
    most = 0
    for j in range(choices.menu_sizes[i]):
        if choices.menus[i, j] == tile:
            return True
        most = max(most, choices.menus[i, j])
    return tile == extent and extent < most


@compiled
def fill_features(I: Any, X: Any, rank: Any, tiles: Any, splits: Any, most_cycles: Any, F: Any, K: Any) -> Any:
    """The features of every chain, those that take too many cycles left out; how many remain.

    Chains that remain move to the front of `tiles` and `splits`.
    """
    levels = I[LEVELS]
    n = levels - levels
    for j in range(len(tiles)):
        features_of(I, X, rank, tiles[j], splits[j], F, K, n)
        if F[n, INSTANCE_CYCLES] <= most_cycles:
            tiles[n] = tiles[j]
            splits[n] = splits[j]
            n += 1
    return n


@compiled(inner=True)
def features_of(I: Any, X: Any, rank: Any, tile: Any, split: Any, F: Any, K: Any, n: Any) -> None:
    """Fills row n of `chains` for this rank's tiles and splits, both from level 0."""
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
    _work_of(I, X, rank, tile, split, F, n)
    F[n, AXIS_A], F[n, AXIS_B] = split[levels + 1], split[levels + 2]
    F[n, JOBS] = F[n, TILES + I[FIRST]]
    if I[RANK + N_RANK * rank + ROLE] == ROLE_K:
        F[n, JOBS] = 1.0
        for i in range(1, I[FIRST] + 1):
            F[n, JOBS] *= split[i]
    F[n, MINUS_JOBS] = -F[n, JOBS]
    steps = F[n, JOBS] if dealt else F[n, OUT_STEPS]
    F[n, SHARE] = 1.0 / steps
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
        trips = -(-(-(-tile[i - 1] // tile[i])) // split[i])
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
    extent, role, dealt = I[RANK + N_RANK * rank + EXTENT], I[RANK + N_RANK * rank + ROLE], I[RANK + N_RANK * rank + DEALT]
    start, size = (I[FIRST] + 1, tile[I[FIRST]]) if dealt else (1, extent)
    full, edge = _busy(tile, split, size, start, levels)
    F[n, OUT_STEPS] = 1.0
    if not dealt:
        F[n, OUT_STEPS] = _busy(tile, split, extent, start, I[FIRST])[0] + 1
    F[n, MINUS_STEPS] = -F[n, OUT_STEPS]
    whole, last = _service(I, X, rank, tile[levels]), _service(I, X, rank, edge)
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
    jobs = F[n, TILES + I[FIRST]] if dealt else 1.0
    F[n, INSTANCE_CYCLES] = F[n, CYCLES] * instances * jobs
    count = F[n, TILES + levels]
    edge = extent - (count - 1) * tile[levels]
    F[n, BLOCKS] = (count - 1) * _blocks_of(I, X, rank, tile[levels])
    F[n, BLOCKS] += _blocks_of(I, X, rank, edge)


@compiled(inner=True)
def _blocks_of(I: Any, X: Any, rank: Any, size: Any) -> Any:
    """Times that what crosses this rank enters the engine for so many of its elements."""
    role, block = I[RANK + N_RANK * rank + ROLE], X[BLOCK_W]
    if role == ROLE_N:
        block = X[BLOCK_A]
    elif role == ROLE_K:
        block = X[BLOCK_O]
    return np.ceil(size / block) if block > 0 and role != BATCH else 1.0


@compiled
def sort_key(I: Any, X: Any, F: Any, K: Any, n: Any) -> Any:
    """One number by which neighbors are alike: splits, then tiles of the cores, of the engine, and of
    the levels from outside in."""
    key = np.empty(n, np.int64)
    levels, first = I[LEVELS], I[FIRST]
    for j in range(n):
        code, room = np.int64(1), 62
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


@compiled
def plant(F: Any, K: Any, order: Any, start: Any, nodes: Any, links: Any) -> Any:
    """A balanced binary tree over the chains in this order, into rows of `nodes` and `links` from
    `start`, where its root is; the next free row."""
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
            middle = (a + b) // 2
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
