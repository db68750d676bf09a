"""Compiled: tiles of dimensions that are sums of two ranks, the formulas of `mappers.reuse`."""

from __future__ import annotations

from typing import Any

import numpy as np

from kernels_ref.compiled import compiled
from mappers.search.bulk.layout import *


@compiled(inner=True, borrowing=True)
def with_halos(
    I: Any, X: Any, T: Any, F: Any, K: Any, at: Any, operand: Any, child: Any, parent: Any,
    seen: Any, held: Any,
) -> Any:  # fmt: skip
    """Times the coordinates of dimensions that are sums of two ranks."""
    slides = _sliding(I, X, T, F, K, at, operand, child)
    for h in range(I[HALOS]):
        if I[HALO + 5 * h + 0] == operand:
            held *= _pairs_of_tiles(I, X, F, at, h, child, child, slides)
            seen *= _pairs_of_tiles(I, X, F, at, h, child, parent, slides)
    return seen, held


@compiled(inner=True, borrowing=True)
def _sliding(I: Any, X: Any, T: Any, F: Any, K: Any, at: Any, operand: Any, child: Any) -> Any:
    """The rank along which the operand's window slides into `child`, or -1."""
    start = ORDER + (MOST_RANKS * child + T[4 * child + 3]) * MOST_RANKS
    for position in range(I[RANKS] - 1, -1, -1):
        r = I[start + position]
        if (K[at[r], TRIPS] >> child) & 1:
            whole = F[at[r], SPLIT + child] == 1.0
            if I[RANK + N_RANK * r + DEALT] and child == I[FIRST]:
                whole = False
            for h in range(I[HALOS]):
                mine = I[HALO + 5 * h + 0] == operand and (
                    I[HALO + 5 * h + 1] == r or I[HALO + 5 * h + 3] == r
                )
                if mine and whole:
                    return r
            return -1
    return -1


@compiled(inner=True, borrowing=True)
def _pairs_of_tiles(
    I: Any, X: Any, F: Any, at: Any, h: Any, child: Any, parent: Any, slides: Any
) -> Any:
    p, stride, r, dilation = (
        I[HALO + 5 * h + 1],
        I[HALO + 5 * h + 2],
        I[HALO + 5 * h + 3],
        I[HALO + 5 * h + 4],
    )
    if slides in (p, r):
        wide_p, wide_r = F[at[p], TILE + child], F[at[r], TILE + child]
        if 1 + stride * (wide_p - 1) + dilation * (wide_r - 1) > wide_p * wide_r:
            slides = -1
        else:  # instances beside each other need the same at different times
            parent = child
    count_p, tile_p, edge_p = _tiles(I, X, F, at, p, child, parent, slides)
    count_r, tile_r, edge_r = _tiles(I, X, F, at, r, child, parent, slides)
    return (
        count_p * count_r * _span(tile_p, stride, tile_r, dilation)
        + count_p * _span(tile_p, stride, edge_r, dilation)
        + count_r * _span(edge_p, stride, tile_r, dilation)
        + _span(edge_p, stride, edge_r, dilation)
    )


@compiled(inner=True, borrowing=True)
def _tiles(I: Any, X: Any, F: Any, at: Any, rank: Any, child: Any, parent: Any, slides: Any) -> Any:
    """(full tiles, their size, size of the last)."""
    extent = float(I[RANK + N_RANK * rank + EXTENT])
    node = at[rank]
    tile = F[node, TILE + child]
    if rank == slides:
        tile = F[node, TILE + child - 1] if child > 1 else extent
    for i in range(parent + 1, child + 1):
        copies = F[node, SPLIT + i]
        if X[LEVEL + N_LEVEL * (i - 1) + MULTICAST] >= copies:
            tile = min(extent, tile * copies)
    count = np.ceil(extent / tile)
    return count - 1, tile, extent - (count - 1) * tile


@compiled(inner=True, borrowing=True)
def _span(tile_p: Any, stride: Any, tile_r: Any, dilation: Any) -> Any:
    return min(tile_p * tile_r, 1 + stride * (tile_p - 1) + dilation * (tile_r - 1))
