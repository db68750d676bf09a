"""On-chip networks between cores and the memory that they share: routes, and the busiest link.

Cores are nodes 0 .. width * height - 1, row by row; the memory's data come in even shares from its
`ports`. Routes are the shortest on a ring (ties go up), first along x and then along y on a mesh;
every core has its own port of a crossbar, as has the memory, and all share a bus. With every core
reading x bytes the most loaded link carries x * load, so it is busy for

    seconds = bytes / cores * load / link       each way; on a bus both ways together

and data come `hop` later for every router that the farthest core's pass (Dally and Towles,
"Principles and Practices of Interconnection Networks", 2004, sec. 3.3, eq. 3.11).
A byte that one read brings to several cores (`multicast`) passes a link once; it is counted as of
one core, since the busiest link is next to a port, where the ways have not parted.
Not modeled: adaptive routes, virtual channels, head flits, energy of links.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field, model_validator

from accel_models.facts import Count, Facts
from accel_models.quantity import BytesPerSecond, Seconds

NetworkKind = Literal["bus", "crossbar", "ring", "mesh"]


class Network(Facts):
    """Of a chip's innermost memory: what its cores reach it over."""

    kind: NetworkKind
    width: Count = Field(description="nodes in a row: cores")
    height: Count = Field(default=1, description="of a mesh, its rows")
    link: BytesPerSecond = Field(description="of one link, each direction; of a bus, both together")
    hop: Seconds = Field(description="of one router, beyond the memory's own latency")
    ports: Annotated[tuple[Annotated[int, Field(ge=0, strict=True)], ...], Field(min_length=1)] = (
        Field(description="where the memory is: nodes of a ring or mesh, else any numbers")
    )

    @model_validator(mode="after")
    def _nodes(self) -> Network:
        if self.height > 1 and self.kind != "mesh":
            raise ValueError(f"height: only of a mesh, not of a {self.kind}; write width alone")
        outside = [port for port in self.ports if port >= self.nodes]
        if outside and self.kind in ("ring", "mesh"):
            raise ValueError(f"ports: no node {outside[0]}; there are 0 to {self.nodes - 1}")
        return self

    @property
    def nodes(self) -> int:
        """Cores."""
        return self.width * self.height

    def way(self, port: int, core: int, out: bool = False) -> tuple[str, ...]:
        """Links from a port to a core, or back."""
        if self.kind == "bus":
            return ("bus",)
        if self.kind == "crossbar":
            return (f"{core}>", f">port {port}") if out else (f"port {port}>", f">{core}")
        ends = (core, port) if out else (port, core)
        return links_between(self.kind, self.width, *ends, nodes=self.nodes)

    def loads(self, out: bool = False) -> dict[str, float]:
        """Bytes on each link if every core reads (writes) one."""
        found: Counter[str] = Counter()
        for core in range(self.nodes):
            found.update(self.loads_of(core, out))
        return dict(found)

    def loads_of(self, core: int, out: bool = False) -> dict[str, float]:
        """Those of one core."""
        found: dict[str, float] = {}
        for port in self.ports:
            for name in self.way(port, core, out):
                found[name] = found.get(name, 0.0) + 1 / len(self.ports)
        return found

    def latency_s(self) -> float:
        """To the farthest core from its farthest port."""
        if self.kind in ("bus", "crossbar"):
            return float(self.hop)
        ways = (len(self.way(port, core)) for port in self.ports for core in range(self.nodes))
        return float(max(ways) * self.hop)

    def seconds(self, read: float, written: float, clock_hz: float) -> dict[str, float]:
        """Of the busiest link, when the cores read and write so many bytes in all; by direction."""
        per_core = 1 / self.nodes / self.link.bytes_per_second(clock_hz)
        into, out = (
            amount * per_core * max(self.loads(back).values(), default=0.0)
            for amount, back in ((read, False), (written, True))
        )
        return {INTO: into + out} if self.kind == "bus" else {INTO: into, OUT: out}


INTO, OUT = "network", "network_out"  # resources


def links_between(
    kind: Literal["ring", "mesh"], width: int, source: int, target: int, nodes: int
) -> tuple[str, ...]:
    """Links from one node to another, in order; none to itself."""
    stops = _around(nodes, source, target) if kind == "ring" else _across(width, source, target)
    return tuple(f"{here}>{there}" for here, there in pairwise(stops))


def _around(nodes: int, source: int, target: int) -> Iterator[int]:
    """Nodes of the shorter way round."""
    up = (target - source) % nodes
    step, count = (1, up) if 2 * up <= nodes else (-1, nodes - up)
    return ((source + step * i) % nodes for i in range(count + 1))


def _across(width: int, source: int, target: int) -> list[int]:
    """Nodes along x, then along y."""
    (y, x), (row, column) = divmod(source, width), divmod(target, width)
    step = 1 if column >= x else -1
    stops = [y * width + i for i in range(x, column + step, step)]
    step = 1 if row >= y else -1
    return stops + [i * width + column for i in range(y, row + step, step)][1:]
