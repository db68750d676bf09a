"""Compiled: does a mapping, or any in a set of chains, fit the instances and the memories?

The answer for a set is no only if it is no for every mapping in it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kernels_ref.compiled import compiled
from mappers.search.bulk.layout import *


@compiled(inner=True, borrowing=True)
def fits_fan_outs(I: Any, X: Any, F: Any, at: Any) -> Any:
    """Are there as many instances as the splits take, along the axes of an array too?"""
    levels = I[LEVELS]
    for i in range(1, levels + 1):
        used = 1.0
        for r in range(I[RANKS]):
            used *= F[at[r], SPLIT + i]
        if used > X[LEVEL + N_LEVEL * i + FAN_OUT]:
            return False
    if I[AXIS_LEVEL] > 0:
        a, b = 1.0, 1.0
        for r in range(I[RANKS]):
            a *= F[at[r], AXIS_A]
            b *= F[at[r], AXIS_B]
        if a > I[AXIS_0] or b > I[AXIS_1]:
            return False
    return True


@compiled(inner=True, borrowing=True)
def steps_of(I: Any, X: Any, F: Any, at: Any) -> Any:
    """Jobs (least, most), output steps of the busiest core, k steps of one output tile."""
    jobs, most, out_steps, k_steps = 1.0, 1.0, 1.0, 1.0
    for r in range(I[RANKS]):
        node = at[r]
        jobs *= F[node, JOBS]
        most *= -F[node, MINUS_JOBS]
        if I[RANK + N_RANK * r + ROLE] == ROLE_K:
            k_steps *= F[node, OUT_STEPS]
        else:
            out_steps *= F[node, OUT_STEPS]
    if I[DYNAMIC]:
        out_steps *= np.ceil(jobs / I[CORES])
    return jobs, most, out_steps, k_steps


@compiled(inner=True, borrowing=True)
def holds_a_wave(I: Any, X: Any, F: Any, at: Any, most_jobs: Any, exact: Any) -> Any:
    """Are a shared level's steps no more than waves of jobs?"""
    first = I[FIRST]
    if not I[WAVE]:
        return True
    steps = 1.0
    for r in range(I[RANKS]):
        if I[RANK + N_RANK * r + ROLE] != ROLE_K:
            node = at[r]
            tiles = F[node, TILES + first - 1]
            steps *= np.ceil(tiles / F[node, SPLIT + first - 1]) if exact else 1.0
            if not exact:
                steps *= max(1.0, tiles / X[LEVEL + N_LEVEL * (first - 1) + FAN_OUT])
    return steps <= max(1.0, np.floor(most_jobs / I[CORES]))


@compiled(inner=True, borrowing=True)
def fits_memories(I: Any, X: Any, T: Any, F: Any, K: Any, at: Any, jobs: Any, out: Any) -> Any:
    """Tiles against capacities; adds up the bytes held."""
    levels = I[LEVELS]
    one_wave = I[DYNAMIC] and jobs <= I[CORES]
    out[2] = 0.0
    for i in range(1, levels):
        total = 0.0
        for operand in range(3):
            if T[4 * i + operand]:
                width = held_width(I, X, T, i, operand)
                if operand < 2 and X[LEVEL + N_LEVEL * i + BUFFERING] != SINGLE:
                    for r in range(I[RANKS]):
                        dealt = I[RANK + N_RANK * r + DEALT] and one_wave and i >= I[FIRST]
                        if (
                            I[RANK + N_RANK * r + IN_A + operand]
                            and not dealt
                            and (K[at[r], CHANGES] >> i) & 1
                        ):
                            width *= 2
                            break
                total += footprint(I, X, F, at, operand, i) * width
        if total > X[LEVEL + N_LEVEL * i + CAPACITY]:
            return False
        out[2] += total * X[LEVEL + N_LEVEL * i + INSTANCES]
    return True


@compiled(inner=True, borrowing=True)
def held_width(I: Any, X: Any, T: Any, i: Any, operand: Any) -> Any:
    """Bytes of an element of the operand as level i holds it."""
    if operand == 2:
        return X[PARTIAL] if i >= I[FIRST] else X[WIDTH_O]
    for inner in range(i + 1, I[LEVELS]):
        if T[4 * inner + operand]:
            return X[WIDTH_A + operand]
    return X[ENGINE_A + operand]


@compiled(inner=True, borrowing=True)
def footprint(I: Any, X: Any, F: Any, at: Any, operand: Any, i: Any) -> Any:
    """Elements of the operand in a tile of level i."""
    size = 1.0
    halo_ranks = 0
    for h in range(I[HALOS]):
        if I[HALO + 5 * h + 0] == operand:
            p, r = I[HALO + 5 * h + 1], I[HALO + 5 * h + 3]
            halo_ranks |= (1 << p) | (1 << r)
            tp, tr = F[at[p], TILE + i], F[at[r], TILE + i]
            size *= min(
                tp * tr, 1 + I[HALO + 5 * h + 2] * (tp - 1) + I[HALO + 5 * h + 4] * (tr - 1)
            )
    for r in range(I[RANKS]):
        if I[RANK + N_RANK * r + IN_A + operand] and not (halo_ranks >> r) & 1:
            size *= F[at[r], TILE + i]
    return size
