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

import numpy as np

from kernels_ref.compiled import compiled
from mappers.search.bulk.flows import least_overfetch
from mappers.search.bulk.joint import (
    BYTES,
    END,
    FILLED,
    JOULES,
    MINUS_READ,
    MINUS_WRITTEN,
    N_BYTES,
    NO_ROOM,
    READ,
    SECONDS,
    WRITTEN,
    class_of,
    least_copies,
    operations,
    rows_of,
)
from mappers.search.bulk.layout import *


@compiled
def held_widths(I: Any, X: Any, templates: Any, widths: Any) -> None:
    """For each template, level and operand: bytes of an element as the level holds it, or 0."""
    levels = I[LEVELS]
    for t in range(len(templates)):
        for operand in range(3):
            inmost = True
            for i in range(levels - 1, 0, -1):
                widths[t, 3 * i + operand] = 0.0
                if templates[t, 4 * i + operand]:
                    width = X[ENGINE_A + operand] if inmost else X[WIDTH_A + operand]
                    if operand == 2:
                        width = X[PARTIAL] if i >= I[FIRST] else X[WIDTH_O]
                    widths[t, 3 * i + operand] = width
                    inmost = False


@compiled(inner=True, borrowing=True)
def bound_of(
    I: Any, X: Any, T: Any, H: Any, F: Any, K: Any, V: Any, C: Any, at: Any, out: Any
) -> Any:
    """Fills `out` with bounds of latency, energy and bytes held: 1. 0 if nothing is legal; -1 if V
    lacks room."""
    am, an, ak = at[I[AT_M]], at[I[AT_N]], at[I[AT_K]]
    ab = at[I[AT_B]] if I[AT_B] >= 0 else -1
    if _found_elsewhere(I, T, K, at) or not _fits_fan_outs(I, X, F, ab, am, an, ak):
        return 0
    jobs = F[am, JOBS] * F[an, JOBS] * F[ak, JOBS]
    most_jobs = -F[am, MINUS_JOBS] * F[an, MINUS_JOBS] * F[ak, MINUS_JOBS]
    out_steps, k_steps = F[am, OUT_STEPS] * F[an, OUT_STEPS], F[ak, OUT_STEPS]
    if ab >= 0:
        jobs *= F[ab, JOBS]
        most_jobs *= -F[ab, MINUS_JOBS]
        out_steps *= F[ab, OUT_STEPS]
    if I[DYNAMIC]:
        out_steps *= np.ceil(jobs / I[CORES])
    if I[WAVE] and not _holds_a_wave(I, X, F, ab, am, an, most_jobs):
        return 0
    if not _fits_memories(I, X, H, F, K, ab, am, an, ak, jobs, out):
        return 0
    rows = _rows(I, X, T, F, K, V, C, ab, am, an, ak)
    if rows[0] < 0:
        return -1
    beyond = _add_rows(I, X, V, rows, out)
    _add_overfetch(I, X, F, K, at, rows, out)
    _compose(
        I, X, H, F, V, ab, am, an, ak, rows, (jobs, most_jobs, out_steps, k_steps), beyond, out
    )
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
def _fits_fan_outs(I: Any, X: Any, F: Any, ab: Any, am: Any, an: Any, ak: Any) -> Any:
    for i in range(1, I[LEVELS] + 1):
        room = X[LEVEL + N_LEVEL * i + FAN_OUT]
        if room > 1.0:
            used = F[am, SPLIT + i] * F[an, SPLIT + i] * F[ak, SPLIT + i]
            if ab >= 0:
                used *= F[ab, SPLIT + i]
            if used > room:
                return False
    if I[AXIS_LEVEL] > 0:
        a = F[am, AXIS_A] * F[an, AXIS_A] * F[ak, AXIS_A]
        b = F[am, AXIS_B] * F[an, AXIS_B] * F[ak, AXIS_B]
        if ab >= 0:
            a *= F[ab, AXIS_A]
            b *= F[ab, AXIS_B]
        return a <= I[AXIS_0] and b <= I[AXIS_1]
    return True


@compiled(inner=True, borrowing=True)
def _holds_a_wave(I: Any, X: Any, F: Any, ab: Any, am: Any, an: Any, most_jobs: Any) -> Any:
    i = I[FIRST] - 1
    room = X[LEVEL + N_LEVEL * i + FAN_OUT]
    steps = max(1.0, F[am, TILES + i] / room) * max(1.0, F[an, TILES + i] / room)
    if ab >= 0:
        steps *= max(1.0, F[ab, TILES + i] / room)
    return steps <= max(1.0, np.floor(most_jobs / I[CORES]))


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
def _rows(
    I: Any, X: Any, T: Any, F: Any, K: Any, V: Any, C: Any, ab: Any, am: Any, an: Any, ak: Any
) -> Any:
    """The rows of A, W and O, and their classes; negative where V lacks room."""
    m, n, k = 1 << I[AT_M], 1 << I[AT_N], 1 << I[AT_K]
    trips = 0
    for i in range(1, I[LEVELS]):
        here = m * ((K[am, TRIPS] >> i) & 1) | n * ((K[an, TRIPS] >> i) & 1)
        here |= k * ((K[ak, TRIPS] >> i) & 1)
        if ab >= 0:
            here |= ((K[ab, TRIPS] >> i) & 1) << I[AT_B]
        trips |= here << (8 * i)
    class_a = class_of(I, T, 0, I[AT_N], trips)
    class_w = class_of(I, T, 1, I[AT_M], trips)
    class_o = class_of(I, T, 2, I[AT_K], trips)
    a = rows_of(I, X, F, K, V, C, 0, class_a)
    w = rows_of(I, X, F, K, V, C, 1, class_w)
    o = rows_of(I, X, F, K, V, C, 2, class_o)
    if min(a, w, o) == NO_ROOM:
        return -1, 0, 0, 0, 0, 0
    return a + an, w + am, o + ak, class_a, class_w, class_o


@compiled(inner=True, borrowing=True)
def _add_rows(I: Any, X: Any, V: Any, rows: Any, out: Any) -> Any:
    """Seconds and operations of the vector engine, and bytes read, filled, written and of outputs
    by level; joules beyond theirs."""
    a, w, o = rows[0], rows[1], rows[2]
    out[3] = V[a, SECONDS] + V[w, SECONDS]
    out[4] = operations(X, 0, V[a, SECONDS]) + operations(X, 1, V[w, SECONDS])
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
        parent, node = 0, at[I[LACKS_A + operand]]
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
                    seen, _ = least_copies(I, F, node, depth, child, parent)
                    out[up] += extra * seen * X[BASE_A + operand]
                else:
                    out[up + 2] += extra * X[OUTPUTS]
                    out[up + 3] += extra * X[OUTPUTS]
            parent = child


@compiled(inner=True, borrowing=True)
def _compose(
    I: Any, X: Any, H: Any, F: Any, V: Any, ab: Any, am: Any, an: Any, ak: Any, rows: Any,
    steps: Any, beyond: Any, out: Any,
) -> None:  # fmt: skip
    """Latency and energy at least."""
    jobs, most_jobs, out_steps, k_steps = steps
    cores = min(most_jobs / out_steps, float(I[CORES]))
    sums = _split_sums(I, X, F, ak) * X[OUTPUTS]
    vector = (X[EPILOGUE_S] + sums * X[ADD_S] + X[CONVERSION_S] + out[3]) / cores
    joules = X[MATRIX_J] + beyond
    joules += (X[EPILOGUE_OPS] + sums + X[CONVERSION_OPS] + out[4]) * X[VECTOR_J]
    fixed = X[FIXED_S]
    if I[HAS_WORK] or sums > 0:
        fixed += X[SYNC] * out_steps
    if sums > 0:
        fixed += X[SUMS_ACCESS]
    matrix = _engine_cycles(I, X, F, ab, am, an, ak, out_steps) / X[CLOCK]
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
def _split_sums(I: Any, X: Any, F: Any, ak: Any) -> Any:
    """Additions per output that bring the sums of a split over k together."""
    added = 0.0
    for i in range(1, I[FIRST] + 1):
        if not X[LEVEL + N_LEVEL * (i - 1) + REDUCTION]:
            added += F[ak, SPLIT + i] - 1.0
    return added


@compiled(inner=True, borrowing=True)
def _engine_cycles(
    I: Any, X: Any, F: Any, ab: Any, am: Any, an: Any, ak: Any, out_steps: Any
) -> Any:
    """Cycles of the busiest engine at least."""
    k = F[ak, CYCLES]
    product = F[am, CYCLES] * F[an, CYCLES] * k
    pipeline = X[PIPELINE] * F[am, SERVICE_STEPS] * F[an, SERVICE_STEPS] * k
    over = F[am, INSTANCE_CYCLES] * F[an, INSTANCE_CYCLES] * F[ak, INSTANCE_CYCLES]
    cycles = max(product, pipeline)
    if ab >= 0:
        cycles *= F[ab, ELEMENTS]
        over *= F[ab, INSTANCE_CYCLES]
    streamed = I[STREAMED]
    node = am if streamed == ROLE_M else (an if streamed == ROLE_N else ak)
    s = STEPS + 4 * (streamed - ROLE_M)
    raw = X[s + 1] * np.ceil(F[node, EDGE] / X[s])
    cycles += max(0.0, X[FILL] + raw - max(raw + X[s + 2], X[s + 3]))
    return max(cycles * (out_steps if I[DYNAMIC] else 1.0), over / X[FAN_OUTS])


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
