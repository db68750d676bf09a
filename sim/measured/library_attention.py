"""Measured attention on a machine whose kernel library is known: the append to the cache and
attention itself, run again and again on the same cache.

prefill: `seq_len` queries see `seq_len` keys, causally; decode: one query sees `seq_len` keys.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from accel_models.explain import nearest
from accel_models.path import Path
from kernels_ref.errors import UserError
from kernels_ref.formats import get_format
from mappers.library.attention import attention_times
from mappers.library.attention_blocks import AttentionCases
from mappers.library.attention_library import attention_library
from sim.measured.attention import PHASES
from sim.measured.cases import Case
from sim.measured.gemm import dtype_of
from sim.measured.library import Answer, Predicted, by_group
from sim.measured.methods import host_s, method_of


def attention_predictions(cases: Sequence[Case], path: Path) -> list[Answer]:
    """Every case, or why the cores cannot do it. Raises UserError for an unknown phase."""

    def key(case: Case) -> tuple[str, ...]:
        return tuple(case.values.get(name, "") for name in ("q_dtype", "kv_dtype", "method"))

    return by_group(cases, key, lambda alike: _alike(alike, path))


def _alike(cases: Sequence[Case], path: Path) -> list[Answer]:
    """Cases of one pair of formats and method."""
    try:
        query, cache = (dtype_of(cases[0], name).formats for name in ("q_dtype", "kv_dtype"))
        library = attention_library(path, query, cache)
    except UserError as problem:
        return [str(problem).partition("\n")[0]] * len(cases)
    if library is None:
        return [f"no attention kernel for {query} queries and a {cache} cache"] * len(cases)
    times = attention_times(attention_cases(cases), library)
    seconds = times.latency_s + host_s(cases[0], path)
    found = zip(seconds, times.bound_by, times.choice, strict=True)
    return [Predicted(float(s), bound, _tile(splits)) for s, bound, splits in found]


def _tile(splits: float) -> str:
    return f"keys in {splits:.0f} parts" if splits > 1 else "keys in one part"


def attention_cases(cases: Sequence[Case]) -> AttentionCases:
    """The shapes of rows. Raises UserError for an unknown phase, RowError for a wrong number."""
    phases = [case.values["phase"] for case in cases]
    for phase in phases:
        if phase not in PHASES:
            raise UserError(f"phase: '{phase}'; {nearest(phase, list(PHASES))}")
    decode = np.array([phase == "decode" for phase in phases])
    keys = _counts(cases, "seq_len")
    return AttentionCases(
        decode=decode,
        batch=_counts(cases, "batch"),
        heads=_counts(cases, "q_heads"),
        groups=_counts(cases, "kv_heads"),
        head_dim=_counts(cases, "head_dim"),
        queries=np.where(decode, 1.0, keys),
        keys=keys,
        query_bytes=_bytes(cases, "q_dtype"),
        cache_bytes=_bytes(cases, "kv_dtype"),
        repeated=np.array([not method_of(case).cold for case in cases]),
    )


def _counts(cases: Sequence[Case], column: str) -> np.ndarray:
    return np.array([float(case.count(column)) for case in cases])


def _bytes(cases: Sequence[Case], column: str) -> np.ndarray:
    found = [get_format(dtype_of(case, column).formats).bits_per_element for case in cases]
    return np.array([float(bits) / 8 for bits in found])
