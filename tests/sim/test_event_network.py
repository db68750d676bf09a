"""Networks by hand: hops, contention, multicast, bisection."""

from __future__ import annotations

from fractions import Fraction

import pytest

from sim.event.engine import Engine
from sim.event.network import (
    Network,
    Route,
    bisection_bytes,
    hops,
    links,
    links_between,
    multicast,
    route,
)
from sim.event.program import Actor, Program, Run


def network(kind: str, width: int, height: int = 1) -> Network:
    return Network(kind, width, height, Fraction(8), 3, 10**9)  # type: ignore[arg-type]


MESH = network("mesh", 4, 4)


def cycles(on: Network, *routes: Route) -> int:
    """All at once."""
    actors = tuple(
        Actor(f"send{i}", (Run(1, way.uses, way.cycles),)) for i, way in enumerate(routes)
    )
    program = Program(actors, (), links(on))
    timeline = Engine(program, fold=False).run()
    assert Engine(program).run().ticks == timeline.ticks
    return timeline.ticks


@pytest.mark.parametrize(
    ("on", "source", "target", "count"),
    [
        (network("bus", 8), 0, 7, 1),
        (network("crossbar", 8), 0, 7, 1),
        (network("ring", 8), 0, 3, 3),
        (network("ring", 8), 0, 5, 3),
        (network("ring", 8), 6, 1, 3),
        (MESH, 0, 15, 6),
        (MESH, 13, 2, 4),
        (MESH, 5, 5, 0),
    ],
)
def test_hops(on: Network, source: int, target: int, count: int) -> None:
    assert hops(on, source, target) == count
    assert cycles(on, route(on, source, target, 64)) == (8 + 3 * count if count else 0)


def test_x_first_then_y() -> None:
    names = [name.split()[1] for name in links_between(MESH, 1, 11)]
    assert names == ["1>2", "2>3", "3>7", "7>11"]


def test_two_messages_over_one_link_take_turns() -> None:
    """0 to 2 and 1 to 2 share 1>2 and ask for it at once: 0-8 (there 2 hops later, at 14), 8-16
    (there a hop later, at 19). Over links of their own both are there after 8 and a hop."""
    assert cycles(MESH, route(MESH, 0, 2, 64), route(MESH, 1, 2, 64)) == 8 + 8 + 3
    assert cycles(MESH, route(MESH, 0, 1, 64), route(MESH, 2, 3, 64)) == 8 + 3


def test_a_crossbar_only_waits_for_ports() -> None:
    on = network("crossbar", 4)
    swaps = [route(on, i, (i + 1) % 4, 64) for i in range(4)]
    assert cycles(on, *swaps) == 8 + 3
    assert cycles(on, *(route(on, i, 3, 64) for i in range(3))) == 3 * 8 + 3
    bus = network("bus", 4)
    assert cycles(bus, *(route(bus, i, (i + 1) % 4, 64) for i in range(4))) == 4 * 8 + 3


def test_multicast_takes_each_link_once() -> None:
    """From 0 to the first row and the column below 3: 6 links instead of 1 + 2 + 3 + 4 + 5 + 6."""
    targets = (1, 2, 3, 7, 11, 15)
    tree = multicast(MESH, 0, targets, 64)
    assert len(tree.uses) == len({use.resource for use in tree.uses}) == 6
    assert tree.hops == 6
    assert cycles(MESH, tree) == 8 + 6 * 3
    apart = [route(MESH, 0, target, 64) for target in targets]
    assert sum(len(way.uses) for way in apart) == 21
    assert cycles(MESH, *apart) >= 6 * 8 + 3  # all over 0>1


@pytest.mark.parametrize(
    ("on", "links_across"),
    [(network("bus", 8), 1), (network("crossbar", 8), 4), (network("ring", 8), 2), (MESH, 4)],
)
def test_the_bisection_bounds_what_crosses(on: Network, links_across: int) -> None:
    """Every node of one half sends to the other half's: no faster than the links between."""
    assert bisection_bytes(on) == links_across * 8
    half = on.width // 2
    pairs = [(n, n + half) for n in range(on.nodes) if n % on.width < half]
    routes = [route(on, source, target, 640) for source, target in pairs]
    assert cycles(on, *routes) >= len(pairs) * 640 / bisection_bytes(on)


def test_no_such_node() -> None:
    with pytest.raises(ValueError, match="no route 0 to 16 in 16 nodes"):
        route(MESH, 0, 16, 1)
