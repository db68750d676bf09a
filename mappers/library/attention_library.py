"""A machine's attention kernel for a pair of formats, with every number that its times rest on."""

from __future__ import annotations

from dataclasses import dataclass

from accel_models.kernel_library.attention import AttentionKernel, AttentionKernels
from accel_models.kernel_library.matmul import MatmulKernel
from accel_models.path import Path
from kernels_ref.formats import get_format
from mappers.library.machine import Machine, machine_of


@dataclass(frozen=True)
class AttentionLibrary:
    """`macs_per_cycle` are of a core, in the format in which the kernel multiplies; `dram` and `l2`
    shares of the peaks that are reached; `warm` of the L2's capacity."""

    kernels: AttentionKernels
    kernel: AttentionKernel
    machine: Machine
    macs_per_cycle: float
    dram: float
    l2: float
    warm: float

    @property
    def dram_bytes_per_s(self) -> float:
        return self.machine.dram_bytes_per_s * self.dram

    @property
    def l2_bytes_per_s(self) -> float:
        return self.machine.l2_bytes_per_s * self.l2


def attention_library(path: Path, query: str, cache: str) -> AttentionLibrary | None:
    """The kernel for queries and a cache in these formats; None where the cores' library has none.
    Raises DesignError for a kernel that multiplies in a format which the cores do not."""
    kernels = path.core.kernels and path.core.kernels.attention
    kernel = kernels.kernel(query, cache) if kernels else None
    if not kernels or kernel is None:
        return None
    machine = machine_of(path)
    multiplied = get_format(kernel.multiplies)
    peak = path.peak_macs_per_s(path.datapath(multiplied, multiplied))
    matmul = path.core.kernels.matmul if path.core.kernels else None
    return AttentionLibrary(
        kernels,
        kernel,
        machine,
        peak / (machine.cores * machine.clock_hz),
        _share(kernels.dram, matmul, "dram"),
        _share(kernels.l2, matmul, "l2"),
        _share(kernels.warm, matmul, "warm"),
    )


def _share(own: float | None, matmul: MatmulKernel | None, name: str) -> float:
    """Of these kernels, else as matrix products reach it, else all."""
    return own if own is not None else getattr(matmul, name) if matmul else 1.0
