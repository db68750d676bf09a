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
from kernels_ref.errors import UserError
from kernels_ref.formats import get_format
from mappers.library.machine import Machine
from mappers.library.times import Values
from mappers.library.vector import Rows, maximum_times, stream_times
from sim.measured.cases import Case
from sim.measured.gemm import DTYPES

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
}
# LLMCompass compiles gelu and layernorm on NVIDIA's; softmax it calls as it is
WALL_CLOCK = {"gelu": "compiled", "layernorm": "compiled", "softmax": "torch"}
# seconds of a call by a host's clock: calibrated on LLMCompass's rows, 2026-11-22
HOST_S = {"compiled": 46.4e-6, "torch": 11e-6, "rocm": 19.4e-6}
ROCM_LANES = 64  # a core that issues for so many threads a cycle is one of AMD's


def vector_seconds(cases: Sequence[Case], machine: Machine, library: VectorKernels) -> Values:
    """Seconds of each row, NaN where the library says nothing. Raises UserError for a name of an
    op or dtype that is unknown."""
    found = np.full(len(cases), np.nan)
    groups: dict[tuple[str, str], list[int]] = {}
    for i, case in enumerate(cases):
        groups.setdefault(_kernel(case, library), []).append(i)
    for (name, function), at in groups.items():
        rows = _rows([cases[i] for i in at])
        if function == MAXIMUM:
            if library.maximum is not None and library.in_flight is not None:
                found[at] = maximum_times(rows, machine, library).latency_s
            continue
        found[at] = stream_times(rows, KERNELS[name, function], machine, library).latency_s
    wall = [_wall_clock(case) for case in cases]
    host = [HOST_S[_kernel(c, library)[0]] if w else 0.0 for c, w in zip(cases, wall, strict=True)]
    return found + np.array(host)


def _wall_clock(case: Case) -> bool:
    return case.values.get("method") == "pytorch_wallclock"


def _kernel(case: Case, library: VectorKernels) -> tuple[str, str]:
    """(library, function) of the row's kernel."""
    op = case.values["op"]
    if op == MAXIMUM:
        return "trtllm", MAXIMUM
    if op not in KERNEL:
        raise UserError(f"op: no kernel '{op}'; {nearest(op, [*KERNEL, MAXIMUM])}")
    name, function = KERNEL[op]
    if library.lanes == ROCM_LANES and ("rocm", function) in KERNELS:
        return "rocm", function
    return (
        (WALL_CLOCK[op], function) if _wall_clock(case) and op in WALL_CLOCK else (name, function)
    )


def _rows(cases: Sequence[Case]) -> Rows:
    sizes = np.array([(c.number("d0"), c.number("d1") if c.values["d1"] else 1.0) for c in cases])
    width = [_bytes(case) for case in cases]
    return Rows(sizes[:, 0], sizes[:, 1], *np.array(width, float).T)


def _bytes(case: Case) -> tuple[float, float]:
    """Bytes of an element read and written."""
    source, _, target = case.values["dtype"].partition("->")
    for dtype in (source, target or source):
        if dtype not in DTYPES:
            raise UserError(f"dtype: '{dtype}'; {nearest(dtype, list(DTYPES))}")
    formats = (get_format(DTYPES[dtype].formats) for dtype in (source, target or source))
    read, written = (number.bits / 8 for number in formats)
    return read, written
