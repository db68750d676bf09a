"""The numbers of a machine that closed forms of its library's kernels need.

Bandwidths are peaks: what of them is reached is the library's (accel_models/kernel_library).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from accel_models.excursion import SHORTEST_S, WINDOW_S
from accel_models.path import Level, Path
from mappers.library.times import Values


@dataclass(frozen=True, slots=True)
class Machine:
    """A kind of cores and the memories on their way, outermost and innermost shared one."""

    cores: int
    clock_hz: float
    dram_bytes_per_s: float
    l2_bytes: float
    l2_bytes_per_s: float
    core_bytes: float  # of a core's own memory
    vector: Mapping[str, float]  # operations per cycle and core, by class
    power_w: float  # dynamic power that the board allows for good: limit less static
    static_w: float
    excursion: float = 0.0  # share of the limit more for a tenth of the time (accel_models/design)

    def allowed_w(self, lasting_s: Values) -> Values:
        """Mean dynamic power that the board allows in runs that last so long without a pause:

            limit (1 + excursion log10(window / lasting)) - static

        and the limit for good. The form, a line in the logarithm of time down to the limit at a
        second, is that of the PCI Express card specification's power excursions (CEM 5.0)."""
        decades = -np.log10(np.clip(lasting_s / WINDOW_S, SHORTEST_S / WINDOW_S, 1.0))
        return self.power_w + (self.power_w + self.static_w) * self.excursion * decades


def machine_of(path: Path) -> Machine:
    """The machine along this path. Raises ValueError for cores that share no memory on chip."""
    if path.first_core < 2:
        raise ValueError(f"{path.name} share no memory on chip")
    outer, shared = path.levels[0], path.levels[path.first_core - 1]
    rates = path.vector.ops_per_cycle.__dict__
    power = path.design.power
    return Machine(
        path.cores,
        path.clock_hz,
        _peak(path, outer) * outer.instances,
        shared.capacity * shared.instances,
        _peak(path, shared) * shared.instances,
        path.levels[path.first_core].capacity,
        {name: rate * path.vector.count for name, rate in rates.items() if name != "source"},
        power.limit - power.static,
        power.static,
        power.excursion,
    )


def _peak(path: Path, level: Level) -> float:
    memory = path.design.memory[level.name]
    return level.read_bytes_per_s / memory.efficiency
