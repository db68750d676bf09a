"""On-chip networks as resources and routes: bus, crossbar, ring, mesh.

A message of x bytes holds every link on its way for x / link bytes a cycle, streaming through
(wormhole, cut-through), and arrives hops * hop_cycles later:

    cycles = x / link + hops * hop_cycles        (Dally and Towles, "Principles and Practices of
                                                  Interconnection Networks", 2004, eq. 3.11)

Links serve those that want them in turn (round robin, `servers`). Routes are the shortest on a ring
(ties go up), first along x and then along y on a mesh. A multicast takes each link of the union of
its routes once; on a bus one message reaches all.
Not modeled: virtual channels and flow control between routers (a blocked message holds no link
that it has not reached), adaptive routes, head flits.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

from accel_models import network as on_chip
from accel_models.network import NetworkKind
from sim.event.program import Resource, Use


@dataclass(frozen=True, slots=True)
class Network:
    """`width` x `height` nodes, numbered row by row; height 1 but for a mesh. Bytes a cycle of one
    link in one direction, cycles a hop."""

    kind: NetworkKind
    width: int
    height: int
    link_bytes: Fraction
    hop_cycles: int
    clock_hz: int
    name: str = "noc"

    @property
    def nodes(self) -> int:
        return self.width * self.height


@dataclass(frozen=True, slots=True)
class Route:
    """What a message uses, in order, and the cycles after that until it is there."""

    uses: tuple[Use, ...]
    hops: int
    cycles: int


def links(network: Network) -> tuple[Resource, ...]:
    """All links as resources."""
    names = sorted(
        {
            name
            for source in range(network.nodes)
            for target in range(network.nodes)
            for name in links_between(network, source, target)
        }
    )
    return tuple(Resource(name, network.clock_hz, network.link_bytes) for name in names)


def links_between(network: Network, source: int, target: int) -> tuple[str, ...]:
    """Names of the links from one node to another, in order; none to itself."""
    if not (0 <= source < network.nodes and 0 <= target < network.nodes):
        raise ValueError(f"{network.name}: no route {source} to {target} in {network.nodes} nodes")
    if source == target:
        return ()
    if network.kind == "bus":
        return (f"{network.name} bus",)
    if network.kind == "crossbar":
        return f"{network.name} {source}>", f"{network.name} >{target}"
    ends = source, target
    ways = on_chip.links_between(network.kind, network.width, *ends, nodes=network.nodes)
    return tuple(f"{network.name} {way}" for way in ways)


def hops(network: Network, source: int, target: int) -> int:
    """Routers between; a crossbar is one hop though it has two ports."""
    count = len(links_between(network, source, target))
    return min(count, 1) if network.kind == "crossbar" else count


def route(network: Network, source: int, target: int, amount: int) -> Route:
    """Of a message of so many bytes."""
    return multicast(network, source, (target,), amount)


def multicast(network: Network, source: int, targets: Iterable[int], amount: int) -> Route:
    """Of one message to all targets: each link once, until the furthest has it."""
    reached = tuple(targets)
    names = dict.fromkeys(name for t in reached for name in links_between(network, source, t))
    far = max((hops(network, source, target) for target in reached), default=0)
    return Route(tuple(Use(name, amount) for name in names), far, far * network.hop_cycles)


def bisection_bytes(network: Network) -> Fraction:
    """Bytes a cycle that can cross from one half to the other, one way."""
    longest = max(network.width, network.height)
    count = {
        "bus": 1,
        "crossbar": network.nodes // 2,
        "ring": min(2, network.nodes - 1),
        "mesh": network.nodes // longest,
    }
    return count[network.kind] * network.link_bytes
