"""The mappings that the search considers for a matrix multiplication on a path.

Tiles are chosen at the levels that hold all of an instance's data (`own` levels); levels that
follow from them are derived: a level of the same instances that keeps other operands has the same
tile; a level inside each engine has the engine's share; a core's registers hold the block that
reads least. Menus per rank: the engine's block times powers of
two, or the whole extent; further out, the inner tile times how it is spread times powers of two, or
the whole. Splits over cores: every count of a menu along m, the rest along n, with batch and k
splits. Loop orders: which rank is innermost (the other two orders of a level are reached when one
of its loops has a single trip).
Not in the space: tiles that are no power-of-two multiples, keeping fewer operands than a level may.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np

from accel_models.path import ENGINE, Level, Path
from mappers.mapping import RANKS, LevelMapping, Mapping
from mappers.problem import Contraction
from mappers.rows import Rows, concatenate, distinct

ORDERS: tuple[tuple[str, ...], ...] = (
    ("b", "m", "n", "k"),
    ("b", "m", "k", "n"),
    ("b", "n", "k", "m"),
)
MOST_ROWS = 30_000  # mappings costed at once, per stage


def own_levels(path: Path) -> list[int]:
    """Indices of the levels below the outermost whose tiles are chosen, innermost first."""
    chosen: list[int] = []
    for i in range(1, len(path.memories)):
        level, above = path.levels[i], path.levels[i - 1]
        per_engine = i > path.first_core and level.instances > path.cores
        registers = i > path.first_core and level.kind == "regfile"
        beside = chosen and level.instances == above.instances and _disjoint(level, above)
        if not per_engine and not beside and not registers:
            chosen.append(i)
    return chosen[::-1]


def _disjoint(level: Level, above: Level) -> bool:
    return not set(level.keeps) & set(above.keeps)


def menu(granule: int, extent: int, step: int = 2) -> list[int]:
    """granule times powers of `step` below the extent, and the extent itself."""
    sizes, size = [], granule
    while size < extent:
        sizes.append(size)
        size *= step
    return [*sizes, extent]


def inner_rows(problem: Contraction, path: Path) -> Rows:
    """Every choice at the innermost own level: tile, engine grid, split over instances, order."""
    index = own_levels(path)[0]
    gm, gn, gk = path.engine.geometry(problem.datapath.pair.macs_per_cycle)
    ext = problem.extents
    orders = (0,) if _keeps_sums_inside(path, index) else range(len(ORDERS))
    arranged = not _dealt(path, index)
    spread = len(_split_choices(problem, path, index, arranged))
    for step in (2, 4, 8, 16):  # coarser menus where a problem would have too many rows
        menus = (menu(g, ext[r], step) for g, r in ((gm, "m"), (gn, "n"), (gk, "k")))
        found = [
            (m, n, k, em, en, order)
            for m, n, k in product(*menus)
            if _may_fit(problem, path, index, m, n, k)
            for em, en in _grids(path, m, n, gm, gn)
            for order in orders
        ]
        if len(found) * spread <= MOST_ROWS:
            break
    table = np.array(found or [(ext["m"], ext["n"], ext["k"], 1, 1, 0)], dtype=np.int64)
    ones = np.ones(len(table), dtype=np.int64)
    tile = {"b": ones, "m": table[:, 0], "n": table[:, 1], "k": table[:, 2]}
    rows = Rows(
        {index: tile},
        {index: dict.fromkeys(RANKS, ones)},
        {index: table[:, 5]},
        (table[:, 3], table[:, 4]),
    )
    return with_splits(rows, problem, path, index, arranged)


def _dealt(path: Path, index: int) -> bool:
    """True where tiles are dealt to cores: how they are arranged then only matters further out."""
    return path.control.dispatch == "dynamic" and index == path.first_core


def _may_fit(problem: Contraction, path: Path, index: int, m: int, n: int, k: int) -> bool:
    """A quick test on single-buffered sizes, before arrays are made."""
    level = path.levels[index]
    size = {
        "activation": m * k * problem.activation_bytes,
        "weight": k * n * problem.weight_bytes,
        "output": m * n * problem.output_bytes,
    }
    return sum(size[o] for o in level.keeps) <= level.capacity


def _grids(path: Path, m: int, n: int, gm: int, gn: int) -> list[tuple[int, int]]:
    """Ways to lay the core's engines along m and n, as many at work as have a block each."""
    engines = path.engine.count
    options = [
        (em, en)
        for em in range(1, engines + 1)
        for en in range(1, engines // em + 1)
        if _divides(m, em, gm) and _divides(n, en, gn)
    ]
    most = max(em * en for em, en in options)
    return [(em, en) for em, en in options if em * en == most]


def with_splits(rows: Rows, problem: Contraction, path: Path, index: int, arranged: bool = True) -> Rows:
    """Each row with every way to spread it over this level's instances.

    Not `arranged`: only the k splits differ, and the tiles lie in one row along n.
    """
    fan_out = path.levels[index].instances // path.levels[index - 1].instances
    if fan_out == 1:
        return rows
    counts = {r: -(-problem.extents[r] // rows.tile[index][r]) for r in RANKS}
    parts: list[Rows] = []
    for b, k, m in _split_choices(problem, path, index, arranged):
        n = np.minimum(counts["n"], fan_out // (b * k * m))
        keep = (m <= counts["m"]) & ((k == 1) | (2 * k <= counts["k"]))
        if not keep.any():
            continue
        kept = rows.take(np.flatnonzero(keep))
        ones = np.ones(len(kept), dtype=np.int64)
        split = {"b": ones * b, "m": ones * m, "n": n[keep], "k": ones * k}
        parts.append(Rows(kept.tile, kept.split | {index: split}, kept.order, kept.grid))
    return concatenate(parts)


def _divides(size: int, parts: int, block: int) -> bool:
    """Can a tile be shared by so many engines, each with a block of its own at least?"""
    share = -(-size // parts)
    return parts == 1 or (share >= block and (parts - 1) * share < size)


def _split_choices(
    problem: Contraction, path: Path, index: int, arranged: bool
) -> list[tuple[int, int, int]]:
    """(batch, k, m) counts of instances; n takes what is left."""
    fan_out = path.levels[index].instances // path.levels[index - 1].instances
    along_m = _counts(fan_out) if arranged else [1]
    batches = _batch_splits(problem.extents["b"], fan_out) if arranged else [1]
    choices = product(batches, (1, 2, 4, 8, 16), along_m)
    return [(b, k, m) for b, k, m in choices if b * k * m <= fan_out]


def _batch_splits(batch: int, fan_out: int) -> list[int]:
    """One, the most there can be, and powers of four between."""
    most = min(batch, fan_out)
    return sorted({4**i for i in range(most.bit_length()) if 4**i <= most} | {most})


def _counts(fan_out: int) -> list[int]:
    """Split counts worth trying: divisors of the fan-out, and powers of two up to it."""
    divisors = {d for d in range(1, fan_out + 1) if fan_out % d == 0}
    return sorted(divisors | {1 << i for i in range(fan_out.bit_length()) if 1 << i <= fan_out})


def arranged(rows: Rows, problem: Contraction, path: Path, index: int) -> Rows:
    """Each row of dealt tiles with every arrangement of a wave of them over batch, m and n."""
    split, tile, ext = rows.split[index], rows.tile[index], problem.extents
    counts = {r: -(-ext[r] // tile[r]) for r in RANKS}
    fan_out = path.levels[index].instances // path.levels[index - 1].instances
    cores = fan_out // split["k"]
    parts: list[Rows] = []
    for b, m in product(_batch_splits(ext["b"], fan_out), _counts(fan_out)):
        keep = (b * m <= cores) & (m <= counts["m"])
        if keep.any():
            kept = rows.take(np.flatnonzero(keep))
            n = np.minimum(counts["n"], cores // (b * m))[keep]
            ones = np.ones(len(kept), dtype=np.int64)
            here = {"b": ones * b, "m": ones * m, "n": n, "k": kept.split[index]["k"]}
            parts.append(Rows(kept.tile, kept.split | {index: here}, kept.order, kept.grid))
    return concatenate(parts)


def outer_rows(rows: Rows, problem: Contraction, path: Path, index: int, inner: int) -> Rows:
    """Each row with every tile, order and split at own level `index`, next outside `inner`."""
    last = index == own_levels(path)[-1]
    times = (1, 2, 4, 8, 16, 64, 0) if last else (1, 2, 4, 16, 0)  # 0: the whole extent
    each = 2 * len(times) ** 2 * len(ORDERS) * len(_split_choices(problem, path, index, True))
    rows = rows.take(np.arange(min(len(rows), max(1, MOST_ROWS // each))))
    if _dealt(path, inner):
        rows = arranged(rows, problem, path, inner)
    ext, tile, split = problem.extents, rows.tile[inner], rows.split[inner]
    spread = {r: np.minimum(tile[r] * split[r], ext[r]) for r in RANKS}
    whole = {r: np.full(len(rows), ext[r], dtype=np.int64) for r in RANKS}
    parts: list[Rows] = []
    for tm, tn, all_k, order in product(times, times, (False, True), range(len(ORDERS))):
        if not all_k and (tm != 1 or tn != 1) and _keeps_sums_inside(path, index):
            continue
        here = {
            "b": spread["b"],
            "m": np.minimum(spread["m"] * tm, ext["m"]) if tm else whole["m"],
            "n": np.minimum(spread["n"] * tn, ext["n"]) if tn else whole["n"],
            "k": whole["k"] if all_k else spread["k"],
        }
        codes = np.full(len(rows), order, dtype=np.int64)
        ones = np.ones(len(rows), dtype=np.int64)
        parts.append(
            Rows(
                rows.tile | {index: here},
                rows.split | {index: dict.fromkeys(RANKS, ones)},
                rows.order | {index: codes},
                rows.grid,
            )
        )
    return with_splits(distinct(concatenate(parts), problem, index), problem, path, index)


def _keeps_sums_inside(path: Path, index: int) -> bool:
    """True if levels further in hold the sums, so that stepping outputs under k would spill
    them."""
    return any("output" in level.keeps for level in path.memories[index + 1 :])


def mappings(rows: Rows, problem: Contraction, path: Path) -> Iterator[tuple[np.ndarray, Mapping]]:
    """(positions, Mapping of arrays) for each combination of loop orders among the rows."""
    own = sorted(rows.tile)
    codes = np.zeros(len(rows), dtype=np.int64)
    for i in own:
        codes = codes * len(ORDERS) + rows.order[i]
    for code in np.unique(codes):
        at = np.flatnonzero(codes == code)
        some = rows.take(at)
        orders = {i: ORDERS[int(some.order[i][0])] for i in own}
        yield at, _mapping(some, orders, problem, path)


def _register_block(problem: Contraction, path: Path) -> dict[str, int]:
    """The m x n block of sums, with a k step of operands, that reads least per MAC and fits.

    A k step reads m + n elements for m * n MACs.
    """
    gm, gn, gk = path.engine.geometry(problem.datapath.pair.macs_per_cycle)
    capacity = min(
        (v.capacity for v in path.memories[path.first_core + 1 :] if v.kind == "regfile"), default=0
    )
    best = (gm, gn)
    for m, n in product(menu(gm, problem.extents["m"]), menu(gn, problem.extents["n"])):
        sums = m * n * problem.partial_bytes
        operands = 2 * gk * (m * problem.activation_bytes + n * problem.weight_bytes)
        reads_less = m * n * (best[0] + best[1]) > best[0] * best[1] * (m + n)
        if sums + operands <= capacity and reads_less:
            best = (m, n)
    return {"m": best[0], "n": best[1], "k": gk}


def _mapping(
    rows: Rows, orders: dict[int, tuple[str, ...]], problem: Contraction, path: Path
) -> Mapping:
    """Own levels as chosen, undecided ones holding everything, the others derived."""
    ones = dict.fromkeys(RANKS, 1)
    decided = own_levels(path)
    deep = path.engine.geometry(problem.datapath.pair.macs_per_cycle)[2]
    block = _register_block(problem, path)
    levels = [LevelMapping(path.levels[0].name, problem.extents, ones, RANKS, path.levels[0].keeps)]
    last: dict[str, Any] = {}
    split_done = False
    for i, level in enumerate(path.levels[1:], start=1):
        tile: dict[str, Any] = last or dict(problem.extents)
        split: dict[str, Any] = ones
        order: tuple[str, ...] = RANKS
        if i in rows.tile:
            tile, split, order = rows.tile[i], rows.split[i], orders[i]
        elif i > decided[0] and level.instances > path.cores and not split_done:
            em, en = rows.grid
            tile = {
                "b": last["b"],
                "m": -(-last["m"] // em),
                "n": -(-last["n"] // en),
                "k": last["k"],
            }
            split, split_done = {"b": 1, "m": em, "n": en, "k": 1}, True
            if level.name != ENGINE:
                tile["k"] = np.minimum(deep, last["k"])
        elif i > decided[0] and level.kind == "regfile" and level.name != ENGINE:
            tile = {"b": last["b"]} | {r: np.minimum(last[r], block[r]) for r in "mnk"}
        levels.append(LevelMapping(level.name, tile, split, order, level.keeps))
        last = tile if i in rows.tile or i > decided[0] else last
    return Mapping(tuple(levels))
