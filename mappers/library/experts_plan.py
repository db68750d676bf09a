"""Multiplications of experts planned as the machine's library does them.

A library's numbers (mappers/library/experts.py) are of a layer: two grouped multiplications, rows
dealt to them, an activation and a weighted sum between and after. In a graph the latter are ops of
their own, which stream at the rates of streaming kernels and have their launches. So a
multiplication has half of what the layer's `setup` leaves beside KERNELS such launches, and, where
nothing hides it, what dealing its rows takes beyond streaming them:

    launch = max(floor, (setup - KERNELS floor) / MULTIPLICATIONS)
    rows   = R (k input bytes + n output bytes) / D (1 / rows - 1 / (dram of streaming kernels))

Not by the library: experts fetched by token, gradients of weights.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from accel_models.kernel_library.experts import ExpertKernels
from accel_models.kernel_library.matmul import CALLED
from accel_models.path import Path
from mappers.cost import Work
from mappers.library.experts import OVERLAP, Grouped, grouped_times, tiled
from mappers.library.machine import machine_of
from mappers.library.matmul_plan import format_names
from mappers.library.moved import as_moved
from mappers.library.times import Times
from mappers.problem import Contraction
from workloads.ops import Experts

Facts = tuple[tuple[str, ...], ...]
MULTIPLICATIONS, KERNELS = 2, 3  # of a layer; others: dealing, activation, weighted sum


def kernels_of(op: Experts, problem: Contraction, path: Path) -> ExpertKernels | None:
    """The library's kernels for the op; None where it has none."""
    known = path.core.kernels if path.runs_on == "matrix" and path.first_core >= 2 else None
    if not known or not known.experts or op.by_token or op.of_weights:
        return None
    names = [called for name in format_names(problem) for called in (name, CALLED.get(name, name))]
    return known.experts.of(*names)


def by_library(op: Experts, problem: Contraction, work: Work, path: Path) -> Work:
    """The mappings' work (of all loads) with the library's time and bytes, where it has kernels;
    `problem` is that of any load."""
    kernels = kernels_of(op, problem, path)
    if kernels is None:
        return work
    machine = machine_of(path)
    loads = np.concatenate([np.full(count, float(rows)) for count, rows in op.loads])
    each = problem.activation_bytes, problem.weight_bytes, problem.output_bytes
    grouped = Grouped(
        np.array([float(op.active)]),
        np.array([float(op.rows)]),
        np.array([tiled(loads).sum()]),
        np.array([float(op.n)]),
        np.array([float(op.k)]),
        each,
        path.peak_macs_per_s(problem.datapath),
    )
    times = grouped_times(grouped, machine, kernels)
    moved = float(times.moved["dram"][0])
    once = {
        "activation": op.rows * op.k * each[0],
        "weight": op.active * op.n * op.k * each[1],
        "output": op.rows * op.n * each[2],
    }
    timed = _timed(work, times, once["activation"] + once["output"], kernels, path)
    return as_moved(timed, {"dram": moved}, once, path)


def _timed(work: Work, times: Times, dealt: float, kernels: ExpertKernels, path: Path) -> Work:
    """With the library's time, and that of dealing so many bytes."""
    outer = path.levels[0].name
    excess = max(0.0, 1 / kernels.rows - 1 / _streamed(path))
    dealing = dealt / machine_of(path).dram_bytes_per_s * excess
    read, matrix = (float(times.parts[name][0]) for name in ("memory", "matrix"))
    return replace(
        work,
        busy=dict.fromkeys(work.busy, 0.0) | {outer: read + dealing, "matrix": matrix},
        head={},
        tail={outer: dealing},
        serial={},
        sync_s=0.0,
        launches=1,
        launch_s=_launch(kernels, path),
        norm=OVERLAP,
    )


def _streamed(path: Path) -> float:
    """Share of the outermost memory's peak that streaming kernels reach."""
    known = path.core.kernels and path.core.kernels.vector
    return known.dram if known else path.design.memory[path.levels[0].name].efficiency


def _launch(kernels: ExpertKernels, path: Path) -> float:
    known = path.core.kernels and path.core.kernels.vector
    floor = known.floor if known else path.control.launch
    return max(floor, (kernels.setup - KERNELS * floor) / MULTIPLICATIONS)


def library_facts(path: Path, matrix: Facts) -> dict[str, Facts]:
    """Key paths of the library's numbers, by resource; `matrix`: of the engine's own."""
    block = ("cores", path.name, "kernels", "experts")
    outer = path.levels[0].name
    return {
        "launch": ((*block, "setup"),),
        "matrix": (*matrix, (*block, "issue")),
        outer: ((*block, "dram"), (*block, "rows")),
    }
