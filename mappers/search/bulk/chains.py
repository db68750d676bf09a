"""Compiled: chains, every choice of tiles and splits for one rank.

A chain is written inner to outer: the engine's tile, its split, then for each memory the smallest
tile that gives its number of tiles, and the smallest split that gives its number of rounds. Two
chains that differ in the engine's tile only, equal in the number of tiles, are ordered: the larger
tile is kept only if the engine needs fewer cycles, or blocks, for the rank (cycles are convex in
the shares, so that nothing else can favor it).
"""

from __future__ import annotations

from typing import Any, NamedTuple

from kernels_ref.compiled import compiled
from mappers.search.bulk.features import blocks_of, copy_row, service_of
from mappers.search.bulk.layout import *

Array = Any


class Choices(NamedTuple):
    """What a rank may choose. `loops[i]`: may there be loops over level i's tiles inside its
    parent's; `menus[i]`: allowed tiles (zeros at the end), of `menu_sizes[i]`;
    `multiples[i]`; `most[i]`: largest split; `axes`: may it lie on the first, the second axis
    of the array at the axis level; `largest[i]`: tile that alone fills a memory; `doubling`:
    only powers of two of steps."""

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
        cycles = (count - 1) * service_of(I, X, rank, tile) + service_of(I, X, rank, last)
        blocks = (count - 1) * blocks_of(I, X, rank, tile) + blocks_of(I, X, rank, last)
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


@compiled
def extend(
    I: Any, X: Any, rank: Any, choices: Any, i: Any, tiles: Any, splits: Any, new_tiles: Any,
    new_splits: Any,
) -> Any:  # fmt: skip
    """Every choice of the split of level i and of the tile outside it, for partial chains that are
    decided from level i's tile inward; the number of them. With no room in `new_tiles`, only
    counts.

    `splits` has two columns more, for the factors of the split at the axis level.
    """
    n, extent = 0, I[RANK + N_RANK * rank + EXTENT]
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
                        copy_row(tiles, j, new_tiles, n)
                        copy_row(splits, j, new_splits, n)
                        _write(I, new_tiles, new_splits, n, i, size, s, a)
                    n += 1
    return n


@compiled(inner=True)
def _write(I: Any, tiles: Any, splits: Any, n: Any, i: Any, size: Any, s: Any, a: Any) -> None:
    """The choice at level i into row n: the tile outside it, its split, a of it on an axis."""
    tiles[n, i - 1], splits[n, i] = size, s
    if I[AXIS_LEVEL] == i:
        splits[n, I[LEVELS] + 1], splits[n, I[LEVELS] + 2] = a, s // a


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
