"""Times of streaming kernels: norms, activations, additions, quantization.

For R rows of W elements, B bytes read and written in all, s instructions per element, t threads on
a row; C cores of L lanes and T resident threads at f Hz; memory of D, shared memory of S bytes/s:

    miss     = clip((B / capacity - 0.74) / 0.24, 0, 1)      what no longer lies in shared memory
    memory   = B miss / (dram D) + B (1 - miss) / (l2 S)
    issue    = R W s / (L C f)                               rows do not matter, else the longer of
               ceil(R / C) W s / (L f)                       rows of the fullest core, all its lanes
               ceil(R / (C T/t)) W s 5.3 / (t f)             waves of rows, each thread on its own
    latency  = launches (floor + (memory^p + issue^p)^(1/p)),  p = 2.6

5.3 cycles: a thread's next instruction that waits for its last one's result. p says how much
memory and issue overlap (infinity: all). A maximum over all elements (a scale of the data's own)
is Little's law: C T q bytes are on their way, each for 0.26 us from shared memory and 0.5 us from
the outermost:

    maximum  = base + (memory^p + (B / (C T q) (0.26 + 0.24 miss) us)^p)^(1/p) - found

`found`: the quantization after it finds in shared memory what it would have read from the outermost
one else, where the input fits and input and output together do not.

Global constants (p, 5.3, 0.74, 0.24, the ratio of latencies) are calibrated over all devices in
tests/data/silicon/vector_ops.csv, 2026-11-22; the rest is accel_models/kernel_library/vector.py's.
Not modeled: rows that do not fill their last warp, tails of waves, dies that share an L2.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from accel_models.kernel_library.vector import StreamKernel, VectorKernels
from mappers.library.machine import Machine
from mappers.library.times import Times, Values

OVERLAP = 2.6
DEPENDENT_CYCLES = 5.3
WARM, COLD = 0.74, 0.98  # of the shared memory's capacity: all of it hits, nothing does
SHARED_S, OUTER_S = 0.26e-6, 0.5e-6


@dataclass(frozen=True)
class Rows:
    """So many rows of so many elements, and the bytes of an element in and out; (cases,) each."""

    rows: Values
    width: Values
    read_bytes: Values  # per element, of one input
    written_bytes: Values


def stream_times(
    data: Rows, kernel: StreamKernel, machine: Machine, library: VectorKernels
) -> Times:
    """Seconds of a kernel over these rows."""
    elements = data.rows * data.width
    held = elements * (data.read_bytes * kernel.inputs + data.written_bytes)
    again = elements * data.read_bytes * kernel.inputs * _lost(data, kernel, machine, library)
    memory = _memory_s(held + again, _miss(held, machine), machine, library)
    issue = issue_s(data, kernel, machine, library)
    return _times(kernel.launches, library.floor, memory, issue, held + again)


def maximum_times(data: Rows, machine: Machine, library: VectorKernels) -> Times:
    """Seconds that finding a scale adds to quantization. Raises ValueError for a library that does
    not say what that takes."""
    if library.maximum is None or library.in_flight is None:
        raise ValueError("the library says nothing of `maximum` and `in_flight`")
    elements = data.rows * data.width
    size, held = elements * data.read_bytes, elements * (data.read_bytes + data.written_bytes)
    miss = _miss(held, machine)
    wait = SHARED_S + (OUTER_S - SHARED_S) * miss
    flight = machine.cores * library.threads * library.in_flight
    found = _memory_s(size, miss, machine, library)
    found -= _memory_s(size, np.minimum(miss, _miss(size, machine)), machine, library)
    times = _times(
        1, library.maximum, _memory_s(size, miss, machine, library), size / flight * wait, size
    )
    return replace(times, latency_s=times.latency_s - found)


def _times(launches: int, floor: float, memory: Values, issue: Values, moved: Values) -> Times:
    busy = (memory**OVERLAP + issue**OVERLAP) ** (1 / OVERLAP)
    parts = {"launch": launches * floor + 0 * busy, "memory": memory, "vector": issue}
    return Times(launches * (floor + busy), parts, {"memory": moved}, np.zeros(len(busy), int))


def _miss(held: Values, machine: Machine) -> Values:
    """Share of the bytes that the shared memory does not have, where the same come again."""
    return np.clip((held / machine.l2_bytes - WARM) / (COLD - WARM), 0.0, 1.0)


def _memory_s(moved: Values, miss: Values, machine: Machine, library: VectorKernels) -> Values:
    outer = moved * miss / (library.dram * machine.dram_bytes_per_s)
    return outer + moved * (1 - miss) / (library.l2 * machine.l2_bytes_per_s)


def _lost(
    data: Rows, kernel: StreamKernel, machine: Machine, library: VectorKernels
) -> np.ndarray | bool:
    """Rows that a core cannot keep until they are read a second time."""
    if not kernel.rereads:
        return False
    return data.width * data.read_bytes * (library.threads // kernel.threads) > machine.core_bytes


def issue_s(data: Rows, kernel: StreamKernel, machine: Machine, library: VectorKernels) -> Values:
    """Seconds that the cores issue the kernel's instructions for."""
    row = data.width * kernel.slots / machine.clock_hz
    if not kernel.threads:
        return data.rows * row / (library.lanes * machine.cores)
    threads = np.clip(data.width, 32, kernel.threads)
    resident = machine.cores * (library.threads // threads)
    fullest = np.ceil(data.rows / machine.cores) * row / library.lanes
    alone = np.ceil(data.rows / resident) * row * DEPENDENT_CYCLES / threads
    return np.maximum(fullest, alone)
