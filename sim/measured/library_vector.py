"""Measured vector functions as kernels of a machine's library, all rows of a file at once.

Which library's kernel a row is follows from its name and method (KERNEL, WALL_CLOCK), where the
machine has that library's, else its first that has the function. Rows that a host's clock timed
(`pytorch_wallclock`) include that library's `host_call`. A row computescale_fp8_delta is what a
scale of the data's own adds to quantization.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from accel_models.explain import nearest
from accel_models.path import Path
from kernels_ref.formats import get_format
from mappers.library.machine import machine_of
from mappers.library.vector import Rows, maximum_times, stream_times
from sim.measured.cases import Case
from sim.measured.gemm import DTYPES
from sim.measured.library import Answer, Predicted, by_group
from sim.measured.methods import host_s, method_of

MAXIMUM = "computescale_fp8_delta"
KERNEL: dict[str, tuple[str, str]] = {
    "add": ("torch", "add"),
    "add3": ("torch", "add3"),
    "gelu": ("torch", "gelu"),
    "gelu_torch": ("torch", "gelu"),
    "layernorm": ("torch", "layernorm"),
    "layernorm_torch": ("torch", "layernorm"),
    "softmax": ("torch", "softmax"),
    "rmsnorm": ("vllm", "rmsnorm"),
    "rope": ("vllm", "rope"),
    "silu_mul": ("vllm", "silu_mul"),
    "quant_fp8_static": ("trtllm", "requantize"),
    MAXIMUM: ("trtllm", "maximum"),
    "vectorized_rmsnorm": ("vectorized", "rmsnorm"),
    "vectorized_add_rmsnorm": ("vectorized", "add_rmsnorm"),
    "vectorized_silu_mul": ("vectorized", "silu_mul"),
}
# LLMCompass compiles gelu and layernorm on NVIDIA's; softmax it calls as it is
WALL_CLOCK = {"gelu": "compiled", "layernorm": "compiled", "softmax": "torch"}


def vector_predictions(cases: Sequence[Case], path: Path) -> list[Answer]:
    """Every case, or why the library says nothing of it."""

    def key(case: Case) -> tuple[str, str, str]:
        return case.values["op"], case.values["dtype"], case.values.get("method", "")

    return by_group(cases, key, lambda alike: _alike(alike, path))


def _alike(cases: Sequence[Case], path: Path) -> Sequence[Answer]:
    """Cases of one op, dtype and method."""
    op, (source, _, target) = cases[0].values["op"], cases[0].values["dtype"].partition("->")
    library = path.core.kernels and path.core.kernels.vector
    assert library
    unknown = [dtype for dtype in (source, target or source) if dtype not in DTYPES]
    if op not in KERNEL or unknown:
        why = f"dtype: '{unknown[0]}'; {nearest(unknown[0], list(DTYPES))}" if unknown else ""
        return [why or f"op: no function '{op}'; {nearest(op, list(KERNEL))}"] * len(cases)
    if op == MAXIMUM and (library.maximum is None or library.in_flight is None):
        return [f"{path.design.name}: its vector kernels have no `maximum`"] * len(cases)
    name, function = KERNEL[op]
    name = WALL_CLOCK.get(op, name) if method_of(cases[0]).hosts_clock else name
    found = library.find(function, name)
    if found is None and op != MAXIMUM:
        return [f"{path.design.name}: its vector kernels have no `{function}`"] * len(cases)
    data, machine = _rows(cases, source, target or source), machine_of(path)
    if found is None:
        times = maximum_times(data, machine, library)
    else:
        times, name = stream_times(data, found[1], machine, library), found[0]
    host = host_s(cases[0], path, name)
    return [
        Predicted(float(seconds) + host, bound, f"{name} {function}")
        for seconds, bound in zip(times.latency_s, times.bound_by, strict=True)
    ]


def _rows(cases: Sequence[Case], source: str, target: str) -> Rows:
    """Their sizes, with elements of these dtypes in and out."""
    sizes = [(c.count("d0"), c.count("d1") if c.values["d1"] else 1) for c in cases]
    rows, width = np.array(sizes, dtype=float).T
    read, written = (get_format(DTYPES[d].formats).bits / 8 for d in (source, target))
    return Rows(rows, width, np.full_like(rows, read), np.full_like(rows, written))
