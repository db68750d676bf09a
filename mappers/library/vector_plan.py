"""Streaming ops planned as kernels of the machine's library.

A plan's streams are cold: what lies in the outermost memory is read there, and what the mapper
leaves in the shared one is read from that, so that time, traffic and energy speak of the same
bytes. With those, and the instructions of every function, the time is that of
mappers/library/vector.py. Fused functions issue each the instructions of its own kernel, one after
the other, in one launch.
A function that the library has no kernel for takes its operations (workloads/ops/vector.py) at the
vector engine's rates; so do optimizers' updates. Gathers and copies move their bytes and issue
nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from accel_models.kernel_library.vector import VectorKernels
from accel_models.path import Path
from mappers.cost import Work, overlapped
from mappers.library.machine import machine_of
from mappers.library.vector import OVERLAP, Rows, issue_s


@dataclass(frozen=True, slots=True)
class Call:
    """A function over rows, and its operations by class."""

    function: str
    rows: int
    width: int
    ops: Mapping[str, float]


def library_of(path: Path) -> VectorKernels | None:
    """The library of streaming kernels, of cores that share a memory on chip."""
    known = path.core.kernels
    return known.vector if known and path.first_core >= 2 else None


def functions_s(calls: Iterable[Call], path: Path, cores: float) -> float:
    """Seconds that the cores issue instructions for, `cores` of them at work where the library has
    no kernel."""
    library, total = library_of(path), 0.0
    for call in calls:
        found = library.find(call.function) if library else None
        if library and found:
            sizes = np.array([float(call.rows)]), np.array([float(call.width)])
            data = Rows(*sizes, np.zeros(1), np.zeros(1))
            total += float(issue_s(data, found[1], machine_of(path), library)[0])
        elif call.ops:
            total += path.vector_seconds(dict(call.ops), cores)
    return total


def as_library(work: Work, calls: Iterable[Call], path: Path, cores: float) -> Work:
    """The work as a kernel of the library does it; itself where the cores have none."""
    library = library_of(path)
    if not library:
        return work
    machine = machine_of(path)
    outer, shared = path.levels[0].name, path.levels[path.first_core - 1].name
    moved = sum(read + written for read, written in work.traffic.get(outer, {}).values())
    # what passes the shared memory is read there and written; what stays, either
    stays = sum(abs(read - written) for read, written in work.traffic.get(shared, {}).values())
    parts = {
        outer: moved / (library.dram * machine.dram_bytes_per_s),
        shared: stays / (library.l2 * machine.l2_bytes_per_s),
        "vector": functions_s(calls, path, cores),
    }
    body = overlapped({"memory": parts[outer] + parts[shared], "vector": parts["vector"]}, OVERLAP)
    apart = overlapped(parts, OVERLAP)
    scale = body / apart if apart else 1.0
    busy = dict.fromkeys(work.busy, 0.0) | {name: s * scale for name, s in parts.items()}
    return replace(work, busy=busy, serial={}, launch_s=library.floor, norm=OVERLAP)


def library_facts(functions: Iterable[str], path: Path) -> dict[str, tuple[tuple[str, ...], ...]]:
    """Key paths of the library's numbers, by resource."""
    library = library_of(path)
    if not library:
        return {}
    block: tuple[str, ...] = ("cores", path.name, "kernels", "vector")
    found = ((function, library.find(function)) for function in dict.fromkeys(functions))
    slots: tuple[tuple[str, ...], ...] = tuple(
        (*block, "libraries", kernel[0], "functions", function, "slots")
        for function, kernel in found
        if kernel
    )
    outer, shared = path.levels[0].name, path.levels[path.first_core - 1].name
    found_at = {"launch": ((*block, "floor"),), outer: ((*block, "dram"),)}
    return found_at | {shared: ((*block, "l2"),), "vector": slots and (*slots, (*block, "lanes"))}
