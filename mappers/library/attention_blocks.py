"""Which thread blocks a library's attention kernel makes of arrays of cases, and how many steps.

A block holds `rows` queries (or query heads of a group, packed) and walks along the keys in steps
of `keys`. With g query heads to a cache head, of which p = g are packed into rows or p = 1:

    tiles  = ceil(queries p / rows)            blocks = batch heads/p tiles splits
    steps  = ceil(keys_seen / keys / splits)   (decode: the longest split)

A causal prompt's tile i sees past + (i + 1) rows/p queries; the mean over tiles T of its steps,
with a = rows / (p keys), counting that steps are whole:

    mean = past/keys + a (T + 1)/2 + max(0, 1 - a)/2     within [1, ceil(length / keys)]

Splits: FlashAttention's num_splits_heuristic (hopper/heuristics.h, csrc/flash_attn/flash_api.cpp),
one where blocks fill 80 % of the room, else the fewest whose share of full waves is within 85 % of
the best; or as many as have room at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from accel_models.kernel_library.attention import AttentionKernel, AttentionTile, KeySplits
from mappers.library.machine import Machine
from mappers.library.times import Values

FULL_ENOUGH, GOOD_ENOUGH = 0.8, 0.85  # of num_splits_heuristic
WHOLE = 1e-9  # what rounding may add


@dataclass(frozen=True)
class AttentionCases:
    """Attention of many shapes; floats of shape (cases,). `keys` counts those that the last query
    sees; formats by bytes of an element. `repeated`: the same inputs again and again, as benchmarks
    run it, so that small ones are found in the L2."""

    decode: Values  # bool
    batch: Values
    heads: Values
    groups: Values  # heads of the cache
    head_dim: Values
    queries: Values
    keys: Values
    query_bytes: Values
    cache_bytes: Values
    repeated: Values  # bool
    wide_bytes: float = 2.0  # of what comes in to be cached, and goes out

    @property
    def per_group(self) -> Values:
        """Query heads to a cache head."""
        return self.heads / self.groups

    def of(self, chosen: Values) -> AttentionCases:
        """Those where `chosen`, a mask or indices."""
        arrays = {n: v[chosen] for n, v in self.__dict__.items() if isinstance(v, np.ndarray)}
        return AttentionCases(**arrays, wide_bytes=self.wide_bytes)


@dataclass(frozen=True)
class Blocks:
    """Of each case: tile, how many blocks, their mean and most steps, and how many fit a core."""

    rows: Values
    keys: Values
    slowdown: Values
    packed: Values  # bool
    tiles: Values  # of a head's queries
    splits: Values
    count: Values
    steps: Values
    most_steps: Values
    resident: Values


def blocks_of(cases: AttentionCases, kernel: AttentionKernel, machine: Machine) -> Blocks:
    """The blocks of every case."""
    packed = (cases.per_group > 1) & (cases.decode | kernel.packs_prefill)
    together = np.where(packed, cases.per_group, 1.0)
    tile = _tiles(cases, kernel, cases.queries * together)
    rows, keys, slowdown = tile["rows"], tile["keys"], tile["slowdown"]
    tiles = ceil(cases.queries * together / rows)
    count = cases.batch * cases.heads / together * tiles
    whole = ceil(cases.keys / keys)
    splits = _splits(cases, kernel.splits, count, whole, machine.cores)
    mean = _causal_steps(cases, rows / together, keys, tiles, whole)
    return Blocks(
        rows,
        keys,
        slowdown,
        packed,
        tiles,
        splits,
        count * splits,
        np.where(cases.decode, ceil(whole / splits), mean),
        np.where(cases.decode, ceil(whole / splits), whole),
        _resident(cases, kernel, rows, keys, machine),
    )


def ceil(values: Values) -> Values:
    """Rounded up, but for what rounding added."""
    return np.ceil(values - WHOLE)


def _tiles(cases: AttentionCases, kernel: AttentionKernel, needed: Values) -> dict[str, Values]:
    """Rows, keys, and slowdown of each case's tile."""
    chosen = [
        _values(menu, _smallest(menu, cases.head_dim, needed))
        for menu in (kernel.prefill, kernel.decode)
    ]
    return {key: np.where(cases.decode, chosen[1][key], chosen[0][key]) for key in chosen[0]}


def _smallest(menu: list[AttentionTile], head_dim: Values, needed: Values) -> Values:
    """Index of the tile for the smallest heads that are no smaller (the largest, where all are),
    of these the one with the fewest rows that hold what is needed (the most, where none does)."""
    heads = np.array(sorted({tile.head for tile in menu}))
    head = heads[np.minimum(np.searchsorted(heads, head_dim), len(heads) - 1)]
    index = np.zeros(head.shape, dtype=int)
    for i, tile in sorted(enumerate(menu), key=lambda each: -each[1].rows):
        largest = tile.rows == max(t.rows for t in menu if t.head == tile.head)
        index = np.where((head == tile.head) & (largest | (needed <= tile.rows)), i, index)
    return index


def _values(menu: list[AttentionTile], index: Values) -> dict[str, Values]:
    keys = ("rows", "keys", "slowdown")
    return {key: np.array([float(getattr(tile, key)) for tile in menu])[index] for key in keys}


def _causal_steps(
    cases: AttentionCases, queries: Values, keys: Values, tiles: Values, whole: Values
) -> Values:
    """Mean over a head's tiles of `queries` queries each."""
    growth = queries / keys
    past = (cases.keys - cases.queries) / keys
    mean = past + growth * (tiles + 1) / 2 + np.maximum(0.0, 1 - growth) / 2
    return np.clip(mean, 1.0, whole)


def _splits(
    cases: AttentionCases, rule: KeySplits, blocks: Values, steps: Values, cores: int
) -> Values:
    room = float(cores * rule.blocks_per_core)
    if rule.rule == "efficiency":
        splits = _fewest_efficient(blocks, room, steps, rule.most)
    else:
        most = np.minimum(ceil(steps / rule.least_steps), rule.most)
        splits = np.clip(np.floor(room / blocks), 1.0, most)
    may = cases.decode & ((rule.of == "all") | (cases.per_group > 1))
    return np.where(may, splits, 1.0)


def _fewest_efficient(blocks: Values, room: float, steps: Values, most: int) -> Values:
    """num_splits_heuristic; candidates on the second axis, of which those that shorten the longest
    split count."""
    tried = np.arange(1.0, most + 1)[None, :]
    whole = steps[:, None]
    shorter = ceil(whole / tried) != ceil(whole / np.maximum(tried - 1, 1))
    eligible = (tried <= whole) & ((tried == 1) | shorter)
    waves = blocks[:, None] * tried / room
    share = np.where(eligible, waves / np.ceil(waves), 0.0)
    good = eligible & (share >= GOOD_ENOUGH * share.max(axis=1, keepdims=True))
    return np.where(blocks >= FULL_ENOUGH * room, 1.0, np.argmax(good, axis=1) + 1.0)


def _resident(
    cases: AttentionCases, kernel: AttentionKernel, rows: Values, keys: Values, machine: Machine
) -> Values:
    """Blocks that share a core: queries and one step of keys and values in its memory."""
    narrow = kernel.multiplies == "fp8" and kernel.transposes_values is None
    element = 1.0 if narrow else cases.wide_bytes
    bytes_each = (rows + 2 * keys) * cases.head_dim * element
    return np.clip(np.floor(machine.core_bytes / bytes_each), 1.0, kernel.resident)
