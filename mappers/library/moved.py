"""Traffic and energy of a kernel of a library: the bytes that its time is reckoned with.

The closed forms (`Times.moved`) know what passes the outermost memory, and the one that cores
share; the mapper's tiling, whose loops are others, gives the rest. At the outermost memory every
input moves once at least and every result once; what is read again is divided among the inputs as
the tiling divides it. The shared memory is written what comes from the outermost one, and read what
all thread blocks fetch. The cores' own memories are as in the tiling.
"""

from __future__ import annotations

from collections.abc import Mapping as Map
from dataclasses import replace

from accel_models.path import Path
from mappers.cost import Traffic, Work, memory_joules

INPUTS = ("activation", "weight")
Operands = dict[str, tuple[float, float]]


def as_moved(work: Work, moved: Map[str, float], once: Map[str, float], path: Path) -> Work:
    """The work with these bytes. `moved` through "dram", and fetched of inputs from "l2" (without
    it: as the tiling has it) besides `sums`, parts of results written there and read. `once`: bytes
    of every operand that pass the outermost memory at least; one without any stays on chip, as the
    tiling has it."""
    outer, shared = path.levels[0].name, path.levels[path.first_core - 1].name
    traffic = {name: dict(operands) for name, operands in work.traffic.items()}
    far, near = traffic[outer], traffic[shared]
    sizes = {operand: once[operand] for operand in INPUTS if operand in once}
    before = {o: (far.get(o, (0.0, 0.0))[0], near.get(o, (0.0, 0.0))[0]) for o in sizes}
    again = max(0.0, moved["dram"] - sum(once.values()))
    extra = _divided(again, {o: read - sizes[o] for o, (read, _) in before.items()}, sizes)
    fetched = _divided(moved.get("l2", 0.0), {o: read for o, (_, read) in before.items()}, sizes)
    for operand, size in sizes.items():
        far[operand] = size + extra[operand], 0.0
        if "l2" in moved:
            near[operand] = fetched[operand], far[operand][0]
    if "output" in once:
        far["output"] = 0.0, once["output"]
        if "l2" in moved:
            stored = once["output"] + moved.get("sums", 0.0) / 2
            near["output"] = stored, stored
    return replace(work, traffic=traffic, joules=work.joules | memory_joules(traffic, path))


def _divided(total: float, by: Map[str, float], otherwise: Map[str, float]) -> dict[str, float]:
    """`total` in these proportions; where none is positive, in the others."""
    shares: Map[str, float] = {operand: max(0.0, part) for operand, part in by.items()}
    if not sum(shares.values()):
        shares = otherwise
    whole = sum(shares.values()) or 1.0
    return {operand: total * share / whole for operand, share in shares.items()}


def rescaled(
    flow: Map[str, tuple[float, float]], operand: str, old: Traffic, new: Traffic
) -> Operands:
    """A part of the tiling's traffic of an operand, level by level, as the same part of the
    library's."""
    found = {}
    for level, part in flow.items():
        was, now = (t.get(level, {}).get(operand, (0.0, 0.0)) for t in (old, new))
        read, written = (p * n / w if w else 0.0 for p, n, w in zip(part, now, was, strict=True))
        found[level] = read, written
    return found
