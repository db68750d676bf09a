"""Measured matrix multiplications on a machine whose kernel library is known.

Activations that a row quantizes first are read in 16 bits and written in fewer by a kernel of its
own, one of the library's vector functions.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from accel_models.kernel_library.matmul import MatmulKernel
from accel_models.path import Path
from kernels_ref.errors import UserError
from kernels_ref.format_names import parse_formats
from kernels_ref.formats import get_format
from mappers.library.machine import Machine, machine_of
from mappers.library.matmul import Gemms, candidates, matmul_times
from mappers.library.times import Values
from mappers.library.vector import Rows, stream_times
from sim.measured.cases import MEGA, Case
from sim.measured.gemm import COPIES, dtype_of, quantizes
from sim.measured.library import Answer, Predicted, by_group
from sim.measured.methods import PROFILER, framework_of, host_s, method_of


def gemm_predictions(cases: Sequence[Case], path: Path) -> list[Answer]:
    """Every case, or why the cores cannot do it."""

    def key(case: Case) -> tuple[str, ...]:
        named = (case.values.get(column, "") for column in ("dtype", "method", "act_quant"))
        return *named, framework_of(case)

    return by_group(cases, key, lambda alike: _alike(alike, path))


def _alike(cases: Sequence[Case], path: Path) -> Sequence[Answer]:
    """Cases of one dtype, method and framework."""
    method, machine = method_of(cases[0]), machine_of(path)
    try:
        dtype = dtype_of(cases[0])
        weight, activation = parse_formats(dtype.formats, dtype.base)
        pair = path.datapath(weight, activation)
    except UserError as problem:
        return [str(problem).partition("\n")[0]] * len(cases)
    library = path.core.kernels and path.core.kernels.matmul
    assert library
    name, framework = cases[0].values["dtype"], framework_of(cases[0])
    kernel = library.of(f"{name} {framework}", name, dtype.formats, pair.key)
    m, n, k = (np.array([float(case.count(name)) for case in cases]) for name in "MNK")
    batch = np.array([float(case.values.get(COPIES, "1")) for case in cases])
    a_bytes, b_bytes = (float(f.bits_per_element) / 8 for f in (activation, weight))
    out_bytes = get_format(dtype.base).bits / 8
    passed = _passed(cases, batch * (a_bytes * m * k + b_bytes * n * k + out_bytes * m * n))
    gemms = Gemms(
        batch,
        m,
        n,
        k,
        a_bytes,
        b_bytes,
        out_bytes,
        path.peak_macs_per_s(pair),
        np.full_like(m, np.inf) if method.cold else passed,
        fresh=quantizes(cases[0], dtype),
        wide_bytes=pair.activation.bits / 8,
        runs=method.runs,
    )
    times = matmul_times(gemms, machine, kernel)
    profiled = library.profiler if cases[0].values.get("method") == PROFILER else None
    seconds = times.latency_s + host_s(cases[0], path) + (profiled or 0.0)
    if gemms.fresh:
        seconds = seconds + _quantizing(gemms, out_bytes, path)
    tiles = _tiles(kernel, machine)
    found = zip(seconds, times.bound_by, times.choice, strict=True)
    return [Predicted(float(s), bound, tiles[i]) for s, bound, i in found]


def _passed(cases: Sequence[Case], own: Values) -> Values:
    """Bytes between two uses of the inputs: what the file says that a loop touches, else `own`."""
    said = [case.number("ws_mb") * MEGA if case.values.get("ws_mb") else None for case in cases]
    return np.array([o if s is None else s for s, o in zip(said, own, strict=True)])


def _quantizing(gemms: Gemms, wide: float, path: Path) -> Values:
    """Seconds of reading activations in `wide` bytes and writing them in fewer; without vector
    kernels the multiplication's launch has all of it."""
    library = path.core.kernels and path.core.kernels.vector
    found = library.find("requantize", "trtllm") if library else None
    if not library or not found:
        return np.zeros_like(gemms.m)
    narrow, wides = np.full_like(gemms.m, gemms.a_bytes), np.full_like(gemms.m, wide)
    rows = Rows(gemms.m, gemms.k, wides, narrow)
    return stream_times(rows, found[1], machine_of(path), library).latency_s


def _tiles(kernel: MatmulKernel, machine: Machine) -> list[str]:
    """What each choice is called."""
    menu = candidates(kernel, machine)
    named = [
        f"{tm:.0f}x{tn:.0f}" + (f" split-k {s:.0f}" if s > 1 else "")
        for tm, tn, s in zip(menu.tm[0], menu.tn[0], menu.s[0], strict=True)
    ]
    return [*named, "no tiles"]
