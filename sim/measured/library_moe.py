"""Measured layers of experts on a machine whose kernel library is known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from accel_models.path import Path
from kernels_ref.errors import UserError
from kernels_ref.format_names import parse_formats
from mappers.library.experts import Layers, expert_times
from mappers.library.machine import machine_of
from sim.measured.cases import Case, RowError
from sim.measured.gemm import dtype_of
from sim.measured.library import Answer, Predicted, by_group
from sim.measured.moe import gated, inner, loads_of

LATENCY = "min_latency"  # kernels for few rows, of TensorRT-LLM


def moe_predictions(cases: Sequence[Case], path: Path) -> list[Answer]:
    """Every case, or why the cores cannot do it."""

    def key(case: Case) -> tuple[str, bool]:
        return case.values["dtype"], LATENCY in case.values.get("kernel", "")

    return by_group(cases, key, lambda alike: _alike(alike, path))


def _alike(cases: Sequence[Case], path: Path) -> Sequence[Answer]:
    """Cases of one dtype and kind of kernel."""
    try:
        dtype = dtype_of(cases[0])
        weight, activation = parse_formats(dtype.formats, dtype.base)
        pair = path.datapath(weight, activation)
        loads = tuple(loads_of(case) for case in cases)
    except RowError:
        raise
    except UserError as problem:
        return [str(problem).partition("\n")[0]] * len(cases)
    library = path.core.kernels and path.core.kernels.experts
    assert library
    name = cases[0].values["dtype"]
    own = [f"{name}_{LATENCY}"] if LATENCY in cases[0].values.get("kernel", "") else []
    tokens, hidden = (
        np.array([float(case.count(c)) for case in cases]) for c in ("num_tokens", "hidden")
    )
    layers = Layers(
        tokens,
        hidden,
        np.array([float(inner(case)) for case in cases]),
        np.array([2.0 if gated(case) else 1.0 for case in cases]),
        loads,
        float(weight.bits_per_element) / 8,
        float(activation.bits_per_element) / 8,
        path.peak_macs_per_s(pair),
    )
    times = expert_times(layers, machine_of(path), library.of(*own, name, dtype.formats))
    return [
        Predicted(float(s), bound, f"{len(load)} experts, {load.sum():.0f} rows")
        for s, bound, load in zip(times.latency_s, times.bound_by, loads, strict=True)
    ]
