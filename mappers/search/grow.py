"""The chains of every rank, and their trees, made by the compiled parts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from mappers.search.space import RankSpace

MORE = 12  # chains made from one by another level, at a guess


class TooManyChainsError(Exception):
    """More chains than the budget has bounds: not worth to be made."""


@dataclass(frozen=True)
class Grown:
    """A rank's chains: tiles and splits by level, features and bits, the order of its tree by these
    keys; `total` with those that were left out as too slow."""

    tiles: np.ndarray
    splits: np.ndarray
    F: np.ndarray
    K: np.ndarray
    order: np.ndarray
    keys: np.ndarray
    total: int


def grow(
    I: np.ndarray,
    X: np.ndarray,
    r: int,
    space: RankSpace,
    coarse: bool,
    limits: tuple[float, float],
) -> Grown | None:
    """The chains of rank r; None if there are none. `coarse`: only powers of two.

    `limits`: chains at most (TooManyChainsError is raised above), and engine cycles at most.
    """
    from mappers.search.bulk import chains as bulk
    from mappers.search.bulk import layout as at
    from mappers.search.bulk.features import fill_features
    from mappers.search.bulk.trees import sort_key
    from mappers.search.encode import encode_choices

    extent = int(I[at.RANK + at.N_RANK * r + at.EXTENT])
    sizes = np.empty(extent, dtype=np.int64)
    free = all(not menu for menu in space.menus) and set(space.multiples) == {1}
    every = not free or bool(I[at.PERFECT])
    engine = sizes[: bulk.engine_tiles(I, X, r, space.granule, sizes, every)]
    if coarse and free:
        engine = _coarse(_block(I, X, r), extent)
    if np.isfinite(limits[1]):
        engine = engine[_least_cycles(I, X, r)[engine - 1] <= limits[1]]
    extended = _extended(I, X, r, encode_choices(space, coarse), engine, limits[0])
    if extended is None:
        raise TooManyChainsError
    tile, split = extended
    width = at.N_MERGED if I[at.MERGING] else at.N_FEATURES
    F, K = np.empty((len(tile) + 1, width)), np.empty((len(tile) + 1, at.N_BITS), np.int64)
    n = fill_features(I, X, r, tile, split, limits[1], F, K)
    if n == 0:
        return None
    keys = np.empty(n, dtype=np.int64)
    sort_key(I, X, F, K, r, keys)
    order = np.argsort(keys)
    return Grown(tile[:n], split[:n], F[:n], K[:n], order, keys, len(tile))


def most_cycles(I: np.ndarray, X: np.ndarray, r: int, latency: float) -> float:
    """Of a chain of rank r: with more, the engine alone takes longer than `latency` seconds."""
    from mappers.search.bulk import layout as at

    room = (latency - X[at.FIXED_S]) * X[at.CLOCK] * X[at.FAN_OUTS]
    led: set[int] = set()
    for other in range(int(I[at.RANKS])):
        row = I[at.RANK + at.N_RANK * other :]
        role, ideal = int(row[at.ROLE]), float(row[at.EXTENT])
        if role != at.BATCH and role not in led:
            s = at.STEPS + 4 * (role - 1)
            ideal *= X[s + 1] / X[s]
            led.add(role)
        if other != r:
            room /= ideal
    return float(room * (1 + 1e-9))


def _least_cycles(I: np.ndarray, X: np.ndarray, r: int) -> np.ndarray:
    """Of all chains of rank r by the engine's tile, from 1: every piece is at most as large, and
    takes at least the cycles of the best size up to there."""
    from mappers.search.bulk import layout as at

    row = I[at.RANK + at.N_RANK * r :]
    sizes = np.arange(1, int(row[at.EXTENT]) + 1)
    if row[at.ROLE] == at.BATCH or not row[at.ALONE]:
        return np.zeros(len(sizes))
    block, per, add, floor = X[at.STEPS + 4 * (int(row[at.ROLE]) - 1) :][:4]
    service = np.maximum(per * np.ceil(sizes / block) + add, floor)
    least: np.ndarray = row[at.EXTENT] * np.minimum.accumulate(service / sizes)
    return least * (1 - 1e-12)


def _block(I: np.ndarray, X: np.ndarray, r: int) -> int:
    """Elements of the rank in one of the engine's blocks."""
    from mappers.search.bulk import layout as at

    role = int(I[at.RANK + at.N_RANK * r + at.ROLE])
    return 1 if role == at.BATCH else max(1, int(X[at.STEPS + 4 * (role - 1)]))


def _extended(
    I: np.ndarray, X: np.ndarray, r: int, choices: Any, engine: np.ndarray, most: float
) -> tuple[np.ndarray, np.ndarray] | None:
    """All chains of a rank from these engine tiles: tiles and splits by level; None if more than
    `most`."""
    from mappers.search.bulk import layout as at
    from mappers.search.bulk.chains import extend

    levels = int(I[at.LEVELS])
    extent = I[at.RANK + at.N_RANK * r + at.EXTENT]
    if I[at.PERFECT]:
        engine = engine[extent % engine == 0]
    engine = engine[_allowed(choices, levels, engine, extent)]
    tiles = np.zeros((len(engine), levels + 1), dtype=np.int64)
    tiles[:, levels] = engine
    splits = np.ones((len(engine), levels + 3), dtype=np.int64)
    for i in range(levels, 0, -1):
        n, room = MORE * len(tiles) + 64, 0
        while n > room:  # one pass where the guess is large enough
            room = n
            more = np.empty((n, levels + 1), np.int64), np.empty((n, levels + 3), np.int64)
            n = extend(I, X, r, choices, i, tiles, splits, *more)
        if n > most:
            return None
        tiles, splits = more[0][:n], more[1][:n]
    return tiles, splits


def _allowed(choices: Any, i: int, tiles: np.ndarray, extent: int) -> np.ndarray:
    """Which of these tiles the design's rules let level i have."""
    fine = (tiles % choices.multiples[i] == 0) | (tiles == extent)
    menu = choices.menus[i, : choices.menu_sizes[i]]
    if len(menu):
        fine &= np.isin(tiles, menu) | ((tiles == extent) & (extent < menu.max()))
    return fine


def _coarse(block: int, extent: int) -> np.ndarray:
    """Powers of two times the block, and the whole."""
    sizes, size = [], block
    while size < extent:
        sizes.append(size)
        size *= 2
    return np.array([*sizes, extent], dtype=np.int64)


def trees_of(grown: list[Grown]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All ranks' trees in one F and K, and their roots."""
    from mappers.search.bulk.trees import plant

    rows = sum(2 * len(chains.tiles) for chains in grown)
    F = np.empty((rows, grown[0].F.shape[1]))
    K = np.empty((rows, grown[0].K.shape[1]), dtype=np.int64)
    roots, start = [], 0
    for chains in grown:
        roots.append(start)
        span = np.empty((2 * len(chains.tiles), 2), dtype=np.int64)
        start = plant(chains.F, chains.K, chains.order, chains.keys, start, F, K, span)
    return F, K, np.array([*roots, 0], dtype=np.int64)
