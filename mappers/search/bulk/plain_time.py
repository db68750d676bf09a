"""Compiled: latency and energy at least of a plain matrix multiplication, from the least of its
bytes and its chains' features (`plain` says by which formulas)."""

from __future__ import annotations

from typing import Any

import numpy as np

from kernels_ref.compiled import compiled
from mappers.search.bulk.cycles import beside_memories, engine_cycles
from mappers.search.bulk.joint import (
    BYTES,
    END,
    FILLED,
    MINUS_READ,
    MINUS_WRITTEN,
    N_BYTES,
    READ,
    WRITTEN,
)
from mappers.search.bulk.layout import *


@compiled(inner=True, borrowing=True)
def compose(
    I: Any, X: Any, H: Any, F: Any, V: Any, at: Any, rows: Any, steps: Any, beyond: Any, out: Any
) -> None:
    """Latency and energy at least; `beyond`: joules besides those of the bytes in `out`."""
    am, an, ak = at[I[AT_M]], at[I[AT_N]], at[I[AT_K]]
    ab = at[I[AT_B]] if I[AT_B] >= 0 else -1
    jobs, most_jobs, out_steps, k_steps = steps
    cores = min(most_jobs / out_steps, float(I[CORES]))
    matrix = engine_cycles(I, X, F, at, False, out_steps) / X[CLOCK]
    vector, joules, fixed = beside_memories(I, X, F, at, cores, out_steps, out)
    joules += beyond
    most = matrix + vector if not I[OVERLAP] or I[ON_VECTOR] else max(matrix, vector)
    most = max(most, out_steps * k_steps * _load_latency(I, X, H, F, ab, am, an, ak))
    busy_most, late = 0.0, 1.0 - 1.0 / out_steps
    for i in range(I[LEVELS]):
        place, level = 5 + 5 * i, LEVEL + N_LEVEL * i
        joules += out[place] * X[level + READ_J]
        joules += (out[place + 1] + out[place + 2]) * X[level + WRITE_J]
        written = out[place + 2] if X[level + FILL_PORT] else out[place + 1] + out[place + 2]
        read_s, write_s = out[place] * X[level + READ_S], written * X[level + WRITE_S]
        busy = read_s + write_s if X[level + SHARED_PORT] else max(read_s, write_s)
        out[place + 4] = _seconds_per_byte(I, X, V, rows, i, out)
        if i >= I[FIRST]:
            busy *= I[CORES] / cores
        busy_most = max(busy_most, busy)
    most = max(most, joules / X[HEADROOM_W])
    ends = _ends(I, X, F, V, ab, am, an, ak, rows, jobs, most_jobs, out)
    latency = max(busy_most, max(most, busy_most * late) + ends[0] + ends[1])
    latency = max(latency, _over_even(I, X, F, V, ab, am, an, ak, rows, out_steps, out))
    out[0] = fixed + latency
    out[1] = joules + X[STATIC_W] * out[0]


@compiled(inner=True, borrowing=True)
def _seconds_per_byte(I: Any, X: Any, V: Any, rows: Any, i: Any, out: Any) -> Any:
    """A level's seconds over its bytes at least. With ports apart, R and W bytes of them, that is
    max(R/r, W/w) / (R + W)."""
    place, level, mine = 5 + 5 * i, LEVEL + N_LEVEL * i, BYTES + N_BYTES * i
    either = X[level + EITHER_S]
    if X[level + SHARED_PORT] or X[level + FILL_PORT]:
        return either
    read, written, most_read, most_written = out[place], out[place + 1] + out[place + 2], 0.0, 0.0
    for j in range(3):
        row = rows[0] if j == 0 else (rows[1] if j == 1 else rows[2])
        most_read -= V[row, mine + MINUS_READ]
        most_written -= V[row, mine + MINUS_WRITTEN]
    most_read, most_written = most_read * out[place + 4], most_written * out[place + 4]
    if i < I[FIRST]:
        most_read += X[EPILOGUE_BYTES]
    if read > 0.0:
        either = max(either, X[level + READ_S] / (1.0 + most_written / read))
    if written > 0.0:
        either = max(either, X[level + WRITE_S] / (1.0 + most_read / written))
    return either


@compiled(inner=True, borrowing=True)
def _load_latency(I: Any, X: Any, H: Any, F: Any, ab: Any, am: Any, an: Any, ak: Any) -> Any:
    """Seconds per step that a core at least takes, by Little's law."""
    first = I[FIRST]
    if first >= I[LEVELS]:
        return 0.0
    buffering = X[LEVEL + N_LEVEL * first + BUFFERING]
    a, w = H[3 * first], H[3 * first + 1]
    if buffering == SINGLE or (a == 0.0 and w == 0.0):
        return 0.0
    if buffering == DOUBLE:
        return X[LOAD_S]
    step = 0.0
    if a > 0.0:
        step += F[am, TILE + first] * X[WIDTH_A]
    if w > 0.0:
        step += F[an, TILE + first] * X[WIDTH_W]
    step *= F[ak, TILE + first]
    if ab >= 0:
        step *= F[ab, TILE + first]
    room = X[LEVEL + N_LEVEL * first + CAPACITY]
    return X[LOAD_S] / max(1.0, np.floor(room / step) - 1.0)


@compiled(inner=True, borrowing=True)
def _ends(
    I: Any, X: Any, F: Any, V: Any, ab: Any, am: Any, an: Any, ak: Any, rows: Any, jobs: Any,
    most_jobs: Any, out: Any,
) -> Any:  # fmt: skip
    """Seconds at least of the first loads, and of the last stores."""
    a, w, o = _least_shares(I, F, ab, am, an, ak)
    slack = 1.0
    if I[DYNAMIC]:  # shared levels see ceil(jobs / cores) steps, not jobs / cores
        steps = np.ceil(jobs / I[CORES])
        known = steps == np.ceil(most_jobs / I[CORES])
        slack = jobs / I[CORES] / (steps if known else 1.0 + jobs / I[CORES])
    prologue, epilogue = 0.0, 0.0
    for i in range(I[LEVELS]):
        place = BYTES + N_BYTES * i + END
        share = out[5 + 5 * i + 4] * (slack if i < I[FIRST] else 1.0)
        prologue = max(prologue, share * (V[rows[0], place] * a + V[rows[1], place] * w))
        epilogue = max(epilogue, share * V[rows[2], place] * o)
    return prologue, epilogue


@compiled(inner=True, borrowing=True)
def _least_shares(I: Any, F: Any, ab: Any, am: Any, an: Any, ak: Any) -> Any:
    """The least product of the other ranks' shares of the first step for A and W, of the last for
    O."""
    m, n, k = F[am, HEAD_SHARE], F[an, HEAD_SHARE], F[ak, HEAD_SHARE]
    scale = float(I[CORES]) if I[DYNAMIC] else 1.0
    if ab >= 0:
        scale *= F[ab, HEAD_SHARE]
    return m * k * scale, n * k * scale, m * n * scale


@compiled(inner=True, borrowing=True)
def _most_shares(I: Any, F: Any, ab: Any, am: Any, an: Any, ak: Any) -> Any:
    """The largest product of these shares."""
    first, k = JOBS if I[DYNAMIC] else OUT_STEPS, 1.0 / F[ak, OUT_STEPS]
    scale = 1.0
    if I[DYNAMIC]:
        scale = float(I[CORES])
        k /= F[ak, JOBS]
    if ab >= 0:
        scale /= F[ab, first]
    m, n = 1.0 / F[am, first], 1.0 / F[an, first]
    return m * k * scale, n * k * scale, m * n * scale


@compiled(inner=True, borrowing=True)
def _over_even(
    I: Any, X: Any, F: Any, V: Any, ab: Any, am: Any, an: Any, ak: Any, rows: Any,
    out_steps: Any, out: Any,
) -> Any:  # fmt: skip
    """Seconds at least where an even level is the busiest: its own, with other levels' ends."""
    least, most = _least_shares(I, F, ab, am, an, ak), _most_shares(I, F, ab, am, an, ak)
    longest, late = 0.0, 1.0 / out_steps
    start = I[FIRST] if I[DYNAMIC] else 0
    for e in range(I[EVENS]):
        level = I[EVEN + e]
        place, row = 5 + 5 * level, LEVEL + N_LEVEL * level
        total = out[place] + out[place + 2]
        if not X[row + FILL_PORT]:
            total += out[place + 1]
        besides, mine = total, BYTES + N_BYTES * level  # operands of the epilogue, gaps of granules
        for operand in range(3):
            row_of = rows[0] if operand == 0 else (rows[1] if operand == 1 else rows[2])
            besides -= V[row_of, mine + READ] + V[row_of, mine + WRITTEN]
            if not X[row + FILL_PORT]:
                besides -= V[row_of, mine + FILLED]
        prologue, epilogue = 0.0, 0.0  # its own ends, at least
        for i in range(start, I[LEVELS]):
            column = BYTES + (N_BYTES + e) * I[LEVELS] + i
            a, w, o = V[rows[0], column], V[rows[1], column], V[rows[2], column]
            head = a * (most[0] if a < 0.0 else least[0]) + w * (most[1] if w < 0.0 else least[1])
            tail, end = o * (most[2] if o < 0.0 else least[2]), BYTES + N_BYTES * i + END
            more = out[5 + 5 * i + 4] - X[LEVEL + N_LEVEL * i + EITHER_S]
            head += more * (V[rows[0], end] * least[0] + V[rows[1], end] * least[1])
            prologue = max(prologue, head)
            epilogue = max(epilogue, tail + more * V[rows[2], end] * least[2])
        alone = (total - max(0.0, besides) * late) * X[row + EITHER_S]
        longest = max(longest, alone + prologue + epilogue)
    return longest
