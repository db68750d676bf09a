"""Streaming ops with the launch, the memory share and the overlap of the machine's library."""

from __future__ import annotations

from dataclasses import replace

from accel_models.path import Path
from mappers.cost import Work
from mappers.library.vector import OVERLAP


def as_library(work: Work, path: Path) -> Work:
    """The work as a kernel of the library does it; itself where the cores have none."""
    library = path.core.kernels and path.core.kernels.vector
    if not library:
        return work
    outer = path.levels[0]
    reached = path.design.memory[outer.name].efficiency / library.dram
    busy = work.busy | {outer.name: work.busy.get(outer.name, 0.0) * reached}
    return replace(work, busy=busy, launch_s=library.floor, norm=OVERLAP)
