"""Measured matrix multiplications on a machine whose kernel library is known.

Activations that a row quantizes first (mappers/library/matmul.py has no part in it) are read in 16
bits and written in fewer by a kernel of its own, whose launch the library counts to the
multiplication's.
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
from mappers.library.matmul import FITS, Gemms, candidates, matmul_times
from mappers.library.times import Values
from sim.measured.cases import MEGA, Case
from sim.measured.gemm import dtype_of
from sim.measured.library import Answer, Predicted, by_group
from sim.measured.methods import method_of


def gemm_predictions(cases: Sequence[Case], path: Path) -> list[Answer]:
    """Every case, or why the cores cannot do it."""

    def key(case: Case) -> tuple[str, str]:
        return case.values["dtype"], case.values.get("method", "")

    return by_group(cases, key, lambda alike: _alike(alike, path))


def _alike(cases: Sequence[Case], path: Path) -> Sequence[Answer]:
    """Cases of one dtype and method."""
    method, machine = method_of(cases[0]), machine_of(path)
    try:
        dtype = dtype_of(cases[0])
        weight, activation = parse_formats(dtype.formats, dtype.base)
        pair = path.datapath(weight, activation)
    except UserError as problem:
        return [str(problem).partition("\n")[0]] * len(cases)
    library = path.core.kernels and path.core.kernels.matmul
    assert library
    kernel = library.of(cases[0].values["dtype"], dtype.formats, pair.key)
    m, n, k = (np.array([float(case.count(name)) for case in cases]) for name in "MNK")
    a_bytes, b_bytes = (float(f.bits_per_element) / 8 for f in (activation, weight))
    out_bytes = get_format(dtype.base).bits / 8
    passed = _passed(cases, a_bytes * m * k + b_bytes * n * k + out_bytes * m * n)
    gemms = Gemms(
        np.ones_like(m),
        m,
        n,
        k,
        a_bytes,
        b_bytes,
        out_bytes,
        path.peak_macs_per_s(pair),
        np.full_like(m, np.inf) if method.cold else passed,
        fresh=dtype.quantized != "as",
        throttled=method.sustained,
    )
    times = matmul_times(gemms, machine, kernel)
    seconds = times.latency_s + method.added_s
    if gemms.fresh:
        seconds = seconds + _quantizing(gemms, out_bytes, machine, kernel)
    tiles = _tiles(kernel, machine)
    found = zip(seconds, times.bound_by, times.choice, strict=True)
    return [Predicted(float(s), bound, tiles[i]) for s, bound, i in found]


def _passed(cases: Sequence[Case], own: Values) -> Values:
    """Bytes between two uses of the inputs: what the file says that a loop touches, else `own`."""
    said = [case.number("ws_mb") * MEGA if case.values.get("ws_mb") else None for case in cases]
    return np.array([o if s is None else s for s, o in zip(said, own, strict=True)])


def _quantizing(gemms: Gemms, wide: float, machine: Machine, kernel: MatmulKernel) -> Values:
    """The activations read in `wide` bytes and written; what fits stays in L2."""
    elements = gemms.m * gemms.k
    warm = gemms.passed <= kernel.warm * machine.l2_bytes
    read = np.where(warm, 0.0, elements * wide)
    written = np.where(elements * gemms.a_bytes < FITS * machine.l2_bytes, 0.0, elements)
    return (read + written * gemms.a_bytes) / (machine.dram_bytes_per_s * kernel.dram)


def _tiles(kernel: MatmulKernel, machine: Machine) -> list[str]:
    """What each choice is called."""
    menu = candidates(kernel, machine)
    named = [
        f"{tm:.0f}x{tn:.0f}" + (f" split-k {s:.0f}" if s > 1 else "")
        for tm, tn, s in zip(menu.tm[0], menu.tn[0], menu.s[0], strict=True)
    ]
    return [*named, "no tiles"]
