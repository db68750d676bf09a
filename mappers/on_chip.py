"""How long an op's data keep the network between the cores and their shared memory busy.

Of each operand the innermost shared memory that has it serves the cores: what is read there and is
not what the memory above is written, goes to them, and what is written there and not read above
comes from them. Seconds: accel_models/network.py. First loads and last stores are of the network's
time the share that they are of that memory's.
Not modeled: mappings are searched as if there were no network.
"""

from __future__ import annotations

from collections.abc import Mapping

from accel_models.network import INTO, OUT
from accel_models.path import Path

Times = dict[str, float]
Moved = Mapping[str, Mapping[str, tuple[float, float]]]  # level -> operand -> (read, written)


def network_seconds(traffic: Moved, path: Path) -> dict[str, float]:
    """By resource; nothing where cores reach their memory without a network."""
    network = path.network
    if network is None:
        return {}
    shared = [level.name for level in path.memories[: path.first_core]]
    read = written = 0.0
    for operand in {name for level in shared for name in traffic.get(level, {})}:
        having = [traffic[level][operand] for level in shared if operand in traffic.get(level, {})]
        inner, above = having[-1], having[-2] if len(having) > 1 else (0.0, 0.0)
        read += max(0.0, inner[0] - above[1])
        written += max(0.0, inner[1] - above[0])
    return network.seconds(read, written, path.clock_hz)


def through_network(
    traffic: Moved, times: tuple[Times, Times, Times], path: Path
) -> tuple[Times, Times, Times]:
    """Busy seconds, those of the first loads and those of the last stores, with the network's."""
    busy, head, tail = ({n: s for n, s in part.items() if n not in (INTO, OUT)} for part in times)
    seconds = network_seconds(traffic, path)
    shared = path.memories[path.first_core - 1].name
    whole = busy.get(shared, 0.0) or 1.0
    if INTO in seconds:
        head |= {INTO: seconds[INTO] * head.get(shared, 0.0) / whole}
    if OUT in seconds:
        tail |= {OUT: seconds[OUT] * tail.get(shared, 0.0) / whole}
    return busy | seconds, head, tail
