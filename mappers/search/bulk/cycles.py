"""Compiled: what the engines take, cycles of the busiest and work of the vector engine, by the
formulas of `mappers.matmul`."""

from __future__ import annotations

from typing import Any

import numpy as np

from kernels_ref.compiled import compiled
from mappers.search.bulk.layout import *


@compiled(inner=True, borrowing=True)
def engine_cycles(I: Any, X: Any, F: Any, at: Any, exact: Any, out_steps: Any) -> Any:
    """Cycles of the busiest engine."""
    batches, m, n, k = 1.0, 1.0, 1.0, 1.0
    steps, instances = 1.0, X[FAN_OUTS]
    alone, over = I[RANKS] > 0, 1.0
    for r in range(I[RANKS]):
        node, role = at[r], I[RANK + N_RANK * r + ROLE]
        over *= F[node, INSTANCE_CYCLES]
        if role == BATCH:
            batches *= F[node, ELEMENTS]
            continue
        alone = alone and I[RANK + N_RANK * r + ALONE] == 1
        work = F[node, CYCLES]
        if role == ROLE_M:
            m *= work
            steps *= F[node, SERVICE_STEPS]
        elif role == ROLE_N:
            n *= work
            steps *= F[node, SERVICE_STEPS]
        else:
            k *= work
    waves = out_steps if I[DYNAMIC] else 1.0
    if exact:
        if alone and X[PIPELINE] == 0.0:
            return (m * n * k * batches + _fill(I, X, F, at)) * waves
        return (_combinations(I, X, F, at, alone) * batches + _fill(I, X, F, at)) * waves
    floor = X[PIPELINE] * steps * k if alone else 0.0
    fill = _fill(I, X, F, at)
    return max((max(m * n * k, floor) * batches + fill) * waves, over / instances)


@compiled(inner=True, borrowing=True)
def _fill(I: Any, X: Any, F: Any, at: Any) -> Any:
    """Cycles after the last tile's last issue."""
    streamed, size = I[STREAMED], 1.0
    for r in range(I[RANKS]):
        if I[RANK + N_RANK * r + ROLE] == streamed:
            size *= F[at[r], EDGE]
    s = STEPS + 4 * (streamed - ROLE_M)
    raw = X[s + 1] * np.ceil(size / X[s])
    return max(0.0, X[FILL] + raw - max(raw + X[s + 2], X[s + 3]))


@compiled(inner=True, borrowing=True)
def _combinations(I: Any, X: Any, F: Any, at: Any, alone: Any) -> Any:
    """Full and last tiles of every rank, each combination counted."""
    levels = I[LEVELS]
    total = 0.0
    for code in range(1 << I[RANKS]):
        count = 1.0
        m, n, k = 1.0, 1.0, 1.0
        for r in range(I[RANKS]):
            node, role, edge = at[r], I[RANK + N_RANK * r + ROLE], (code >> r) & 1
            if role == BATCH:
                count *= edge
                continue
            if not edge:
                count *= F[node, FULL_COUNT]
            if alone:
                size = F[node, EDGE_CYCLES] if edge else F[node, FULL_CYCLES]
            else:
                size = F[node, EDGE] if edge else F[node, TILE + levels]
            if role == ROLE_M:
                m *= size
            elif role == ROLE_N:
                n *= size
            else:
                k *= size
        if count > 0.0:
            if not alone:
                sizes = (m, n, k)
                for role in range(3):
                    s = STEPS + 4 * role
                    work = max(X[s + 1] * np.ceil(sizes[role] / X[s]) + X[s + 2], X[s + 3])
                    m, n, k = (
                        work if role == 0 else m, work if role == 1 else n, work if role == 2 else k
                    )  # fmt: skip
            total += count * k * max(m * n, X[PIPELINE])
    return total


@compiled(inner=True, borrowing=True)
def beside_memories(I: Any, X: Any, F: Any, at: Any, cores: Any, out_steps: Any, out: Any) -> Any:
    """Seconds of the vector engine, joules of both engines, and seconds that nothing overlaps, with
    the vector work on what enters as `out` has it."""
    sums = _split_sums(I, X, F, at) * X[OUTPUTS]
    vector = (X[EPILOGUE_S] + sums * X[ADD_S] + X[CONVERSION_S] + out[3]) / cores
    joules = (X[EPILOGUE_OPS] + sums + X[CONVERSION_OPS] + out[4]) * X[VECTOR_J]
    fixed = X[FIXED_S]
    if I[HAS_WORK] or sums > 0:
        fixed += X[SYNC] * out_steps
    if sums > 0:
        fixed += X[SUMS_ACCESS]
    return vector, X[MATRIX_J] + joules, fixed


@compiled(inner=True, borrowing=True)
def _split_sums(I: Any, X: Any, F: Any, at: Any) -> Any:
    """Additions per output that bring the sums of a split over k together."""
    added = 0.0
    for i in range(1, I[FIRST] + 1):
        if not X[LEVEL + N_LEVEL * (i - 1) + REDUCTION]:
            split = 1.0
            for r in range(I[RANKS]):
                if I[RANK + N_RANK * r + ROLE] == ROLE_K:
                    split *= F[at[r], SPLIT + i]
            added += split - 1.0
    return added
