"""Links between chips: what topologies offer to a group of chips, one direction (Dim) at a time.

A link's `bandwidth` is what one chip can send over it, all its ports together; it receives as much
at the same time. A group of chips sees its links as a product of dims, innermost first, as
ASTRA-sim 2.0 (Won et al., ISPASS 2023, section IV) composes networks:

    switch            one dim `switch`: every chip reaches every other at full bandwidth
    full_mesh         one dim `full`: bandwidth / (n - 1) to each of the other n - 1 chips
    point_to_point    two chips, a dim `full`
    ring              one dim `ring`: half the bandwidth to each neighbor
    torus, mesh       a dim `ring` or `line` for each of `shape`, bandwidth shared evenly by them
    tree              a dim `switch` for each of `shape` (branches of a node, lowest first). A node
                      has one uplink of a chip's bandwidth, which the chips below it share; a
                      message that climbs i nodes takes i + 1 times the latency and energy

A group may be a part of a dim's chips: on a switch nothing changes, on a full mesh fewer of a
chip's ports lead into the group; how one lies on a ring or line is mappers/arrangement.py's.

A design's own `links` say what a chip has, not how many chips there are: `port` takes as many as a
collective has participants, a ring for `ring` and `torus`, all joined to all for `mesh`. Where such
a link states no energy it is that of SerDes (accel_models/wires.py), two on the way over a switch.
Not modeled: routing around others' traffic, oversubscribed switches, twisted tori, several ports
of a chip to one switch that can fail or fill up by themselves.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import Annotated, Literal

from pydantic import Field

from accel_models.design import Link
from accel_models.facts import Count, Facts, Fraction, Switch
from accel_models.kernel_library.collective import CollectiveKernels
from accel_models.quantity import BytesPerSecond, JoulesPerBit, Seconds
from accel_models.wires import link_j_per_bit

Topology = Literal["ring", "mesh", "full_mesh", "torus", "switch", "tree", "point_to_point"]
SHAPED = ("mesh", "torus", "tree")  # topologies that need a `shape`
DimKind = Literal["switch", "full", "ring", "line"]


class SystemLink(Facts):
    """How chips of a system are joined."""

    topology: Topology
    joins: Annotated[list[str], Field(min_length=1)] | None = Field(
        default=None, description="machines (all)"
    )
    size: Count | None = Field(
        default=None, description="chips that one instance joins (all of the machines joined)"
    )
    shape: Annotated[list[Count], Field(min_length=1)] | None = Field(
        default=None,
        description="chips (or groups of the link inside) along each direction of a mesh or torus; "
        "branches of a tree's nodes, lowest first",
    )
    bandwidth: BytesPerSecond = Field(
        description="of one chip, each direction, all its ports of this link; per second"
    )
    efficiency: Fraction = Field(description="share of it that long messages reach")
    latency: Seconds = Field(description="of a short message from one chip to the next")
    energy: JoulesPerBit = Field(description="from one chip to the next, switches included")
    reduction: Switch = Field(
        default=False, description="the switch adds what passes, and sends one message to many"
    )
    library: CollectiveKernels | None = Field(
        default=None, description="what libraries reach over it; without, what the link could do"
    )


@dataclass(frozen=True, slots=True)
class Dim:
    """One direction in which `size` chips are joined; bandwidth is what one of them can send."""

    link: str
    kind: DimKind
    size: int
    bytes_per_s: float
    latency_s: float
    j_per_byte: float
    reduction: bool = False
    efficiency: float = 1.0  # that is in bytes_per_s; shares of a library are of the whole
    library: CollectiveKernels | None = None

    def part(self, size: int) -> Dim:
        """What a group of so many of the chips of a switch or full mesh sees."""
        share = (size - 1) / max(1, self.size - 1) if self.kind == "full" else 1.0
        return replace(self, size=size, bytes_per_s=self.bytes_per_s * share)

    @property
    def wire_bytes_per_s(self) -> float:
        """From a chip to one other (on a ring or line: to one neighbor)."""
        if self.kind == "full":
            return self.bytes_per_s / max(1, self.size - 1)
        return self.bytes_per_s if self.kind == "switch" else self.bytes_per_s / 2


def dims(name: str, link: SystemLink, size: int) -> tuple[Dim, ...]:
    """The link's dims over `size` chips (or groups of chips), innermost first."""
    whole = Dim(
        name,
        _KINDS[link.topology],
        size,
        link.bandwidth.amount * link.efficiency,
        link.latency,
        link.energy * 8,
        link.reduction,
        link.efficiency,
        link.library,
    )
    if link.topology not in SHAPED or link.shape is None:
        return (whole,)
    if link.topology == "tree":
        return tuple(
            replace(
                whole,
                size=branches,
                bytes_per_s=whole.bytes_per_s / prod(link.shape[:i]),
                latency_s=whole.latency_s * (i + 1),
                j_per_byte=whole.j_per_byte * (i + 1),
            )
            for i, branches in enumerate(link.shape)
        )
    used = sum(extent > 1 for extent in link.shape)
    each = whole.bytes_per_s / max(1, used)
    return tuple(replace(whole, size=extent, bytes_per_s=each) for extent in link.shape)


def port(name: str, link: Link, clock_hz: float, size: int) -> Dim:
    """What `size` chips see that are joined by this link of their design."""
    kind: DimKind = "full" if link.topology == "mesh" else _KINDS[link.topology]
    rate = link.bandwidth.bytes_per_second(clock_hz)
    serdes = link_j_per_bit("serdes_112g") * (2 if kind == "switch" else 1)
    joules = 8 * (link.energy or serdes)
    return Dim(name, kind, size, rate, link.latency, joules, library=link.library)


_KINDS: dict[str, DimKind] = {
    "switch": "switch",
    "tree": "switch",
    "full_mesh": "full",
    "point_to_point": "full",
    "ring": "ring",
    "torus": "ring",
    "mesh": "line",
}
