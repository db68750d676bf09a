"""Measured vector functions as kernels of a machine's library, all rows of a file at once.

Which library's kernel a row is follows from its name and method (KERNEL, WALL_CLOCK). Rows that a
host's clock timed (`pytorch_wallclock`) include its call and synchronization, whatever the device
does: HOST_S, by how torch was called. A row computescale_fp8_delta is what a scale of the data's
own adds to quantization.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from accel_models.explain import nearest
from accel_models.kernel_library.vector import KERNELS, VectorKernels
from accel_models.path import Path
from kernels_ref.formats import get_format
from mappers.library.machine import machine_of
from mappers.library.times import Times
from mappers.library.vector import Rows, maximum_times, stream_times
from sim.measured.cases import Case
from sim.measured.gemm import DTYPES
from sim.measured.library import Answer, Predicted, by_group

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
}
# LLMCompass compiles gelu and layernorm on NVIDIA's; softmax it calls as it is
WALL_CLOCK = {"gelu": "compiled", "layernorm": "compiled", "softmax": "torch"}
# seconds of a call by a host's clock: calibrated on LLMCompass's rows, 2026-11-22
HOST_S = {"compiled": 46.4e-6, "torch": 11e-6, "rocm": 19.4e-6}


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
    sizes = [(c.count("d0"), c.count("d1") if c.values["d1"] else 1) for c in cases]
    rows, width = np.array(sizes, dtype=float).T
    read, written = (get_format(DTYPES[d].formats).bits / 8 for d in (source, target or source))
    data = Rows(rows, width, np.full_like(rows, read), np.full_like(rows, written))
    wall = cases[0].values.get("method") == "pytorch_wallclock"
    name, function = _kernel(op, wall, library)
    times = _times(data, (name, function), path, library)
    host = HOST_S.get(name, HOST_S["torch"]) if wall else 0.0
    label = f"{name} {function}"
    return [
        Predicted(float(seconds) + host, bound, label)
        for seconds, bound in zip(times.latency_s, times.bound_by, strict=True)
    ]


def _kernel(op: str, wall: bool, library: VectorKernels) -> tuple[str, str]:
    """(library, function) of the rows' kernel."""
    name, function = KERNEL[op]
    if (library.stack, function) in KERNELS:
        return library.stack, function
    return (WALL_CLOCK.get(op, name) if wall else name), function


def _times(data: Rows, kernel: tuple[str, str], path: Path, library: VectorKernels) -> Times:
    machine = machine_of(path)
    if kernel[1] == "maximum":
        return maximum_times(data, machine, library)
    return stream_times(data, KERNELS[kernel], machine, library)
