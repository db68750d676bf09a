"""What a mapping costs, compiled: the formulas of `mappers.matmul` over rows of features.

A mapping is one chain per rank. Called with a chain each (`exact`), the answer is the cost itself,
the same numbers as `mappers.matmul.matmul_cost`. Called with a set of chains each, given by the
least value of every feature over the set, it is a lower bound of the cost of every combination:
each term is nondecreasing in the features, and where a term depends on something else (which loops
have more than one trip, how many cores are at work) the bound takes the most favorable case.
"""

from __future__ import annotations

from typing import Any

from kernels_ref.compiled import compiled
from mappers.search.bulk.bounds import (
    bytes_per_s,
    least_ends,
    least_shares,
    most_at_work,
    most_steps,
)
from mappers.search.bulk.cycles import beside_memories, engine_cycles
from mappers.search.bulk.fitting import (
    fits_fan_outs,
    fits_memories,
    footprint,
    holds_a_wave,
    steps_of,
)
from mappers.search.bulk.flows import traffic_of
from mappers.search.bulk.layout import *


@compiled(inner=True, borrowing=True)
def cost_of(I: Any, X: Any, T: Any, F: Any, K: Any, at: Any, out: Any) -> Any:
    """Fills `out` with latency, energy, bytes held; False if the mapping is not legal.

    `at[rank]` are rows of F and K, and the last of `at` is 1 for a chain each, 0 for sets of them.
    `out` also serves as scratch space, see `scratch_size`.
    """
    exact = at[len(at) - 1] == 1
    if not fits_fan_outs(I, X, F, at):
        return False
    jobs, most_jobs, out_steps, k_steps = steps_of(I, X, F, at)
    if not holds_a_wave(I, X, F, at, most_jobs, exact):
        return False
    if exact and not _stays_as_allowed(I, T, K, at):
        return False
    if not fits_memories(I, X, T, F, K, at, jobs, out):
        return False
    _traffic(I, X, T, F, K, at, exact, out)
    _compose(I, X, T, F, K, at, exact, out, (jobs, most_jobs, out_steps, k_steps))
    return True


@compiled(inner=True, borrowing=True)
def _traffic(I: Any, X: Any, T: Any, F: Any, K: Any, at: Any, exact: Any, out: Any) -> None:
    """Bytes of every level into `out`: read, filled, written by outputs, outputs' both; and what
    enters from the vector engine's side."""
    for i in range(5 + 5 * I[LEVELS] - 2):
        out[3 + i] = 0.0
    for i in range(I[FIRST]):
        out[5 + 5 * i] += X[EPILOGUE_BYTES]
    for operand in range(3):
        traffic_of(I, X, T, F, K, at, operand, exact, out)


def scratch_size(levels: int) -> int:
    """Length of `out`: latency, energy, bytes held, two more, and five a level."""
    return 5 + 5 * levels


@compiled(inner=True, borrowing=True)
def _stays_as_allowed(I: Any, T: Any, K: Any, at: Any) -> Any:
    """Is the innermost loop of every level one that the design lets an operand stay in?"""
    for i in range(1, I[LEVELS] + 1):
        start = ORDER + (MOST_RANKS * i + T[4 * i + 3]) * MOST_RANKS
        for position in range(I[RANKS] - 1, -1, -1):
            r = I[start + position]
            dealt = I[RANK + N_RANK * r + DEALT] and i == I[FIRST]
            if (K[at[r], TRIPS] >> i) & 1 and not dealt:
                if (I[BARRED + i] >> r) & 1:
                    return False
                break
    return True


@compiled(inner=True, borrowing=True)
def _compose(
    I: Any, X: Any, T: Any, F: Any, K: Any, at: Any, exact: Any, out: Any, steps: Any
) -> None:
    """Latency and energy from bytes, cycles and vector work, as `mappers.cost.compose`."""
    jobs, most_jobs, out_steps, k_steps = steps
    cores = float(I[CORES])
    cores = min((jobs if exact else most_jobs) / out_steps, cores)
    matrix = engine_cycles(I, X, F, at, exact, out_steps) / X[CLOCK]
    vector, joules, fixed = beside_memories(I, X, F, at, cores, out_steps, out)
    most = matrix + vector if not I[OVERLAP] or I[ON_VECTOR] else max(matrix, vector)
    most = max(most, out_steps * k_steps * _load_latency(I, X, T, F, K, at))
    for i in range(I[LEVELS]):
        place, row = 5 + 5 * i, LEVEL + N_LEVEL * i
        joules += out[place] * X[row + READ_J]
        joules += (out[place + 1] + out[place + 2]) * X[row + WRITE_J]
    most = max(most, joules / X[HEADROOM_W])
    if exact:
        latency = _overlapped(I, X, F, at, cores, out_steps, k_steps, most, out)
    else:
        least = least_ends(I, X, T, F, K, at)
        latency = _at_least(I, X, F, at, cores, out_steps, k_steps, most, most_jobs, least, out)
    out[0] = fixed + latency
    out[1] = joules + X[STATIC_W] * out[0]


@compiled(inner=True, borrowing=True)
def _overlapped(
    I: Any, X: Any, F: Any, at: Any, cores: Any, out_steps: Any, k_steps: Any, most: Any, out: Any
) -> Any:
    """Prologue, the longest of what overlaps, what does not, epilogue; `most`: of the engines."""
    prologue, epilogue, serial = 0.0, 0.0, 0.0
    for i in range(I[LEVELS]):
        place = 5 + 5 * i
        busy = _busy(I, X, F, at, i, cores, at[len(at) - 1] == 1, out)
        total = max(out[place] + out[place + 1] + out[place + 2], 1e-30)
        stores = out[place + 3] / total
        head = busy * (1.0 - stores) / (out_steps * k_steps)
        tail = busy * stores / out_steps
        prologue, epilogue = max(prologue, head), max(epilogue, tail)
        if X[LEVEL + N_LEVEL * i + BUFFERING] == SINGLE:
            serial += busy - head - tail
        else:
            most = max(most, busy - head - tail)
    return prologue + most + serial + epilogue


@compiled(inner=True, borrowing=True)
def _at_least(
    I: Any, X: Any, F: Any, at: Any, cores: Any, out_steps: Any, k_steps: Any, most: Any,
    most_jobs: Any, least: Any, out: Any,
) -> Any:  # fmt: skip
    """No more than `_overlapped` of any mapping in the sets. Where a level's loads and stores take
    turns, what is left of them after the first and the last is bounded too."""
    prologue, epilogue = least
    worst, between = 0.0, 0.0
    most_out, most_k = most_steps(I, F, at, most_jobs)
    for i in range(I[LEVELS]):
        row = LEVEL + N_LEVEL * i
        worst = max(worst, _busy(I, X, F, at, i, cores, at[len(at) - 1] == 1, out))
        loads, stores = least_shares(X, i, out)
        scale = 1.0 / (bytes_per_s(I, X, i) * most_at_work(I, X, i, cores))
        prologue = max(prologue, loads * scale / (most_out * most_k))
        epilogue = max(epilogue, stores * scale / most_out)
        if X[row + SHARED_PORT] and not X[row + FILL_PORT] and X[row + BUFFERING] != SINGLE:
            after = loads * (1.0 - 1.0 / (out_steps * k_steps))
            after += stores * (1.0 - 1.0 / out_steps)
            between = max(between, after * scale)
    return max(max(most, between) + prologue + epilogue, worst)


@compiled(inner=True, borrowing=True)
def _busy(I: Any, X: Any, F: Any, at: Any, i: Any, cores: Any, exact: Any, out: Any) -> Any:
    """Seconds of a level."""
    place = 5 + 5 * i
    instances = X[LEVEL + N_LEVEL * i + INSTANCES]
    inner = i >= I[FIRST]
    if exact:
        used = 1.0
        for level in range(I[FIRST] + 1 if inner else 1, i + 1):
            for r in range(I[RANKS]):
                used *= F[at[r], SPLIT + level]
        room = instances // I[CORES] if inner else instances
        at_work = min(used, room) * (cores if inner else 1.0)
    else:
        at_work = most_at_work(I, X, i, cores)
    written = (
        out[place + 2] if X[LEVEL + N_LEVEL * i + FILL_PORT] else out[place + 1] + out[place + 2]
    )
    read_s = out[place] / (X[LEVEL + N_LEVEL * i + READ_BPS] * at_work)
    write_s = written / (X[LEVEL + N_LEVEL * i + WRITE_BPS] * at_work)
    return read_s + write_s if X[LEVEL + N_LEVEL * i + SHARED_PORT] else max(read_s, write_s)


@compiled(inner=True, borrowing=True)
def _load_latency(I: Any, X: Any, T: Any, F: Any, K: Any, at: Any) -> Any:
    """Seconds per step that a core at least takes, by Little's law."""
    first = I[FIRST]
    if first >= I[LEVELS] or X[LEVEL + N_LEVEL * first + BUFFERING] == SINGLE:
        return 0.0
    if not (T[4 * first + 0] or T[4 * first + 1]):
        return 0.0
    if X[LEVEL + N_LEVEL * first + BUFFERING] == DOUBLE:
        return X[LOAD_S]
    step = 0.0
    for operand in range(2):
        if T[4 * first + operand]:
            step += footprint(I, X, F, at, operand, first) * X[WIDTH_A + operand]
    return X[LOAD_S] / max(1.0, X[LEVEL + N_LEVEL * first + CAPACITY] // step - 1.0)
