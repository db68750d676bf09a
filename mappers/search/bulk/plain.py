"""Compiled: lower bounds for plain matrix multiplications, ranks b, m, n and k.

The same bound as `costing.cost_of` gives for sets of chains, tighter and faster: what an operand
takes is a row of `joint`, and no loop goes over ranks. With u and v the share of the first step's
loads and the last step's stores, at least

    latency >= fixed + max over levels of busy
    latency >= fixed + max over i of head_i + busy_l - head_l - tail_l + max over j of tail_j
               for even levels l, whose heads and tails are sums over operands
    latency >= fixed + prologue + epilogue + max(engines, power, busy (1 - v))
"""

from __future__ import annotations

from typing import Any

from kernels_ref.compiled import compiled
from mappers.search.bulk.fitting import fits_fan_outs, held_width, holds_a_wave, steps_of
from mappers.search.bulk.flows import least_copies, least_overfetch
from mappers.search.bulk.joint import (
    BYTES,
    FILLED,
    JOULES,
    N_BYTES,
    NO_ROOM,
    READ,
    SECONDS,
    WRITTEN,
    class_of,
    operations,
    rows_of,
)
from mappers.search.bulk.layout import *
from mappers.search.bulk.plain_time import compose


@compiled
def held_widths(I: Any, X: Any, templates: Any, widths: Any) -> None:
    """For each template, level and operand: bytes of an element as the level holds it; 0 stays."""
    levels = I[LEVELS]
    for t in range(len(templates)):
        for i in range(1, levels):
            for operand in range(3):
                if templates[t, 4 * i + operand]:
                    width = held_width(I, X, templates[t], i, operand)
                    widths[t, 3 * i + operand] = width


@compiled(inner=True, borrowing=True)
def bound_of(
    I: Any, X: Any, T: Any, H: Any, F: Any, K: Any, V: Any, C: Any, at: Any, out: Any
) -> Any:
    """Fills `out` with bounds of latency, energy and bytes held: 1. 0 if nothing is legal; -1 if V
    lacks room."""
    am, an, ak = at[I[AT_M]], at[I[AT_N]], at[I[AT_K]]
    ab = at[I[AT_B]] if I[AT_B] >= 0 else -1
    if _found_elsewhere(I, T, K, at) or not fits_fan_outs(I, X, F, at):
        return 0
    steps = steps_of(I, X, F, at)
    if not holds_a_wave(I, X, F, at, steps[1], False):
        return 0
    if not _fits_memories(I, X, H, F, K, ab, am, an, ak, steps[0], out):
        return 0
    rows = _rows(I, X, T, F, K, V, C, at)
    if rows[0] < 0:
        return -1
    beyond = _add_rows(I, X, V, rows, out)
    _add_overfetch(I, X, F, K, at, rows, out)
    compose(I, X, H, F, V, at, rows, steps, beyond, out)
    return 1


@compiled(inner=True, borrowing=True)
def _found_elsewhere(I: Any, T: Any, K: Any, at: Any) -> Any:
    """Is the innermost loop of a level none, by having one trip? Then this is the same nest as one
    with another loop innermost: of those without any, the one with the first rank innermost is
    kept."""
    for i in range(1, I[LEVELS]):
        inmost, mine = I[INMOST + i], T[4 * i + 3]
        if inmost & (inmost - 1) == 0 or (K[at[mine], ANY_TRIPS] >> i) & 1:
            continue
        if inmost & ((1 << mine) - 1):
            return True
        for r in range(mine + 1, I[RANKS]):
            if (inmost >> r) & 1 and (K[at[r], TRIPS] >> i) & 1:
                return True
    return False


@compiled(inner=True, borrowing=True)
def _fits_memories(
    I: Any, X: Any, H: Any, F: Any, K: Any, ab: Any, am: Any, an: Any, ak: Any, jobs: Any, out: Any
) -> Any:
    """Tiles against capacities; adds up the bytes held."""
    held = 0.0
    one_wave = I[DYNAMIC] and jobs <= I[CORES]
    shared = K[ab, CHANGES] if ab >= 0 else 0
    a_changes, w_changes = shared | K[am, CHANGES], shared | K[an, CHANGES]
    dealt_alone = K[ak, CHANGES]  # what changes though every core has one job
    a_changes, w_changes = a_changes | dealt_alone, w_changes | dealt_alone
    for i in range(1, I[LEVELS]):
        level = LEVEL + N_LEVEL * i
        m, n, k = F[am, TILE + i], F[an, TILE + i], F[ak, TILE + i]
        if ab >= 0:
            m *= F[ab, TILE + i]
        a, w = m * k * H[3 * i], k * n * H[3 * i + 1]
        if ab >= 0:
            w *= F[ab, TILE + i]
        if X[level + BUFFERING] != SINGLE:
            alone = one_wave and i >= I[FIRST]
            a *= 1 + (((dealt_alone if alone else a_changes) >> i) & 1)
            w *= 1 + (((dealt_alone if alone else w_changes) >> i) & 1)
        total = a + w + m * n * H[3 * i + 2]
        if total > X[level + CAPACITY]:
            return False
        held += total * X[level + INSTANCES]
    out[2] = held
    return True


@compiled(inner=True, borrowing=True)
def _rows(I: Any, X: Any, T: Any, F: Any, K: Any, V: Any, C: Any, at: Any) -> Any:
    """The rows of A, W and O, and their classes; negative where V lacks room."""
    trips = at[0] - at[0]  # 0, and no literal: those are compiled apart
    for i in range(1, I[LEVELS]):
        for r in range(I[RANKS]):
            trips |= ((K[at[r], TRIPS] >> i) & 1) << (8 * i + r)
    a, w, o = trips, trips, trips
    class_a, class_w, class_o = trips, trips, trips
    for operand in range(3):
        key = class_of(I, T, operand, I[LACKS_A + operand], trips)
        rows = rows_of(I, X, F, K, V, C, operand, key)
        if rows == NO_ROOM:
            return -1, 0, 0, 0, 0, 0
        row = rows + at[I[LACKS_A + operand]]
        if operand == 0:
            a, class_a = row, key
        elif operand == 1:
            w, class_w = row, key
        else:
            o, class_o = row, key
    return a, w, o, class_a, class_w, class_o


@compiled(inner=True, borrowing=True)
def _add_rows(I: Any, X: Any, V: Any, rows: Any, out: Any) -> Any:
    """Seconds and operations of the vector engine, and bytes read, filled, written and of outputs
    by level; joules beyond theirs."""
    a, w, o = rows[0], rows[1], rows[2]
    out[3] = V[a, SECONDS] + V[w, SECONDS]
    out[4] = 0.0
    for operand in range(2):
        out[4] += operations(X, operand, V[w if operand else a, SECONDS])
    for i in range(I[LEVELS]):
        mine, place = BYTES + N_BYTES * i, 5 + 5 * i
        out[place] = V[a, mine + READ] + V[w, mine + READ] + V[o, mine + READ]
        out[place + 1] = V[a, mine + FILLED] + V[w, mine + FILLED]
        out[place + 2] = V[o, mine + WRITTEN]
        out[place + 3] = V[o, mine + READ] + V[o, mine + WRITTEN]
        out[place + 4] = 1.0
        if i < I[FIRST]:
            out[place] += X[EPILOGUE_BYTES]
    return V[a, JOULES] + V[w, JOULES] + V[o, JOULES]


@compiled(inner=True, borrowing=True)
def _add_overfetch(I: Any, X: Any, F: Any, K: Any, at: Any, rows: Any, out: Any) -> None:
    """What granules bring in besides, of runs along another rank than the row's; and how many times
    the bytes of a level they are at most."""
    for operand in range(3):
        if I[RUN_A + operand] < 0:
            continue
        key = rows[3] if operand == 0 else (rows[4] if operand == 1 else rows[5])
        parent, node = operand - operand, at[I[LACKS_A + operand]]
        for child in range(1, I[LEVELS]):
            depth = ((key >> (4 * child)) & 15) - 1
            if depth < 0:
                continue
            extra = least_overfetch(I, X, F, K, at, operand, parent, child) - 1.0
            up, along = 5 + 5 * parent, at[I[RUN_A + operand]]
            most = extra
            if K[along, SIZE] > 1:
                most = X[LEVEL + N_LEVEL * parent + GRANULARITY] / X[WIDTH_A + operand]
                most /= F[along, TILE + child]
            out[up + 4] = max(out[up + 4], 1.0 + most)
            if extra > 0.0:
                extra *= X[WIDTH_A + operand]
                if operand < 2:
                    seen, _ = least_copies(I, F, node, depth, child, child, parent)
                    out[up] += extra * seen * X[BASE_A + operand]
                else:
                    out[up + 2] += extra * X[OUTPUTS]
                    out[up + 3] += extra * X[OUTPUTS]
            parent = child
