"""Compiled: what the first loads and the last stores take at least, over a set of chains."""

from __future__ import annotations

from typing import Any

import numpy as np

from kernels_ref.compiled import compiled
from mappers.search.bulk.flows import depth_of, last_trips
from mappers.search.bulk.layout import *


@compiled(inner=True, borrowing=True)
def most_steps(I: Any, F: Any, at: Any, most_jobs: Any) -> Any:
    """Output steps and k steps at most."""
    out_steps, k_steps = 1.0, 1.0
    for r in range(I[RANKS]):
        if I[RANK + N_RANK * r + ROLE] == ROLE_K:
            k_steps *= -F[at[r], MINUS_STEPS]
        else:
            out_steps *= -F[at[r], MINUS_STEPS]
    if I[DYNAMIC]:
        out_steps *= np.ceil(most_jobs / I[CORES])
    return out_steps, k_steps


@compiled(inner=True, borrowing=True)
def least_shares(X: Any, i: Any, out: Any) -> Any:
    """Bytes at least of a level's time that are loads of inputs, and stores of outputs."""
    place = 5 + 5 * i
    both, outputs = out[place] + out[place + 1] + out[place + 2], out[place + 3]
    if X[LEVEL + N_LEVEL * i + FILL_PORT]:  # its fills take no time
        return out[place] - (outputs - out[place + 2]), 0.0
    return both - outputs, outputs


@compiled(inner=True, borrowing=True)
def bytes_per_s(I: Any, X: Any, i: Any) -> Any:
    """Of one instance, reads and writes at best together."""
    row = LEVEL + N_LEVEL * i
    if X[row + SHARED_PORT]:
        return X[row + READ_BPS]
    return X[row + READ_BPS] + X[row + WRITE_BPS]


@compiled(inner=True, borrowing=True)
def most_at_work(I: Any, X: Any, i: Any, cores: Any) -> Any:
    """Instances of a level at most, with so many cores at work."""
    instances = X[LEVEL + N_LEVEL * i + INSTANCES]
    return instances / I[CORES] * cores if i >= I[FIRST] else instances


@compiled(inner=True, borrowing=True)
def least_ends(I: Any, X: Any, T: Any, F: Any, K: Any, at: Any) -> Any:
    """Seconds at least of the first loads from and last stores to the outermost memory."""
    cores = I[CORES] if I[DYNAMIC] else 0.0
    speed = bytes_per_s(I, X, I[RANKS] - I[RANKS])
    per_job, whole = 0.0, 0.0
    for operand in range(2):
        a, b = _per_step(I, X, T, F, K, at, operand)
        per_job += a * X[WIDTH_A + operand]
        whole += b * X[WIDTH_A + operand]
    split = 1.0
    outputs = 1.0
    for r in range(I[RANKS]):
        node = at[r]
        if I[RANK + N_RANK * r + ROLE] == ROLE_K:
            split *= -F[node, MINUS_JOBS]
        else:
            outputs *= F[node, PER_STEP]
    width = X[WIDTH_O]
    if I[DYNAMIC]:
        loads = 0.0
        if per_job > 0.0:
            loads = 1.0 / (split / (cores * per_job) + 1.0 / whole)
        stores = width / (split / (outputs * cores) + 1.0 / X[OUTPUTS])
    else:
        loads, stores = per_job, outputs * width
    speed *= X[LEVEL + INSTANCES]
    return loads / speed, stores / speed


@compiled(inner=True, borrowing=True)
def _per_step(I: Any, X: Any, T: Any, F: Any, K: Any, at: Any, operand: Any) -> Any:
    """Elements brought in from outermost at least, per step and core-dealt job; and per k step."""
    levels = I[LEVELS]
    child = 0
    for i in range(levels - 1, 0, -1):
        if T[4 * i + operand]:
            child = i
    for h in range(I[HALOS]):
        if I[HALO + 5 * h + 0] == operand:
            return 0.0, 0.0
    if child == 0:
        return 0.0, 0.0
    last = last_trips(I, K, at, operand, child)
    per_job, whole = 1.0, 1.0
    for r in range(I[RANKS]):
        node = at[r]
        dealt = I[RANK + N_RANK * r + DEALT]
        if I[RANK + N_RANK * r + IN_A + operand]:
            per_job *= F[node, PER_STEP]
            whole *= I[RANK + N_RANK * r + EXTENT] if dealt else F[node, PER_STEP]
        elif depth_of(I, X, T, F, K, at, operand, r, last) >= 1 or (dealt and child >= I[FIRST]):
            per_job *= F[node, OUTER_PER_STEP]
            whole *= F[node, TILES + 1] if dealt else F[node, OUTER_PER_STEP]
        else:
            per_job *= F[node, SHARE]
            whole *= 1.0 if dealt else F[node, SHARE]
    return per_job, whole
