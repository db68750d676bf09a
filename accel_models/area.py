"""Die area: as given, or the sum of the parts that state one.

Memories by instance, PEs by the MACs a cycle that an engine does, cores by what `area:` adds.
Not modeled: parts that state no area, wiring, I/O; area from a PE's gates.
"""

from __future__ import annotations

from accel_models.design import Core, Design, PathKey


def area_parts(design: Design) -> dict[PathKey, float]:
    """mm2 by the key path of the number it comes from."""
    if design.area:
        return {("area", "die"): design.area.die}
    parts: dict[PathKey, float] = {
        ("memory", name, "area"): level.area * level.instances
        for name, level in design.memory.items()
        if level.area
    }
    for name, core in design.cores.items():
        for path, each in _core_parts(core).items():
            parts["cores", name, *path] = each * core.count
    return parts


def _core_parts(core: Core) -> dict[PathKey, float]:
    """mm2 in one core."""
    engine = core.engine
    parts: dict[PathKey, float] = {
        ("memory", key, "area"): level.area * (engine.count if level.per == "engine" else 1)
        for key, level in core.memory.items()
        if level.area
    }
    if core.area:
        parts["area",] = core.area
    if engine.pe.area:
        parts["matrix", "pe", "area"] = engine.pe.area * engine.peak(1, 1) * engine.count
    return parts


def area_mm2(design: Design) -> float | None:
    """The whole, or None where nothing states an area."""
    return sum(area_parts(design).values()) or None
