"""Layers that fetch from backing memories, as a program: loads of layers to come beside compute.

    load (backing -> outermost memory) -> ready -> compute -> done
     ^_______ places for so many layers _____________________|

A layer has the seconds of its ops, with what these keep the outermost memory and the power supply
busy for, and its fetches' (mappers/fetching.py), what is known a layer ahead and what is late. Both
are cut into PIECES equal ones, so that they share the outermost memory as they do on average over
the layer. A layer is computed once all of it is there, and its place is free when it is done. With
seconds C of compute and L of loads, n layers and two places or more take

    L + (n - 1) max(L, C) + C           and with one place n (L + C)

if the outermost memory is the bound of neither. What is late is fetched when the layer before is
done; or `pipelined`, when those ops are done that come before the first to need it, and pieces of
the others follow pieces of the load. With B seconds before, R after and L late a layer takes

    B + L/p + (p - 1) max(L, R)/p + R/p           p = PIECES

and late loads go before what waits on the same link. Of each kind of layers those that fetch
nothing come first, then those that fetch least. A fraction of a layer that fetches is spread over
whole ones.
Not modeled: which of a layer's ops needs what is there ahead; layers of several kinds that
alternate.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil

from mappers.fetching import groups_of
from mappers.plan import Placed, Schedule
from mappers.residence import Layers, layers
from sim.event.policies import PolicyError

PIECES = 16
PICOSECONDS = 10**12  # ticks a second
SHARED = "power"  # beside the outermost memory, what loads and compute share
CHIP = "cores"

Seconds = Mapping[str, float]


@dataclass(frozen=True)
class Compute:
    """Seconds of ops, and of the resources that they share with loads."""

    seconds: float = 0.0
    shared: Seconds = field(default_factory=dict)

    def __add__(self, other: Compute) -> Compute:
        names = {*self.shared, *other.shared}
        both = {name: self.shared.get(name, 0.0) + other.shared.get(name, 0.0) for name in names}
        return Compute(self.seconds + other.seconds, both)

    def times(self, share: float) -> Compute:
        """A share of it."""
        return Compute(self.seconds * share, {name: s * share for name, s in self.shared.items()})


@dataclass(frozen=True)
class Layer:
    """`count` of them, one after the other: ops before what is late is needed, and from there on;
    seconds of each backing memory ahead and late, and of what is shared with those."""

    count: int
    before: Compute
    after: Compute
    ahead: Seconds = field(default_factory=dict)
    late: Seconds = field(default_factory=dict)
    shared: Seconds = field(default_factory=dict)


@dataclass(frozen=True)
class Offloaded:
    """The layers of a schedule in order, and the names of their ops and fetches."""

    layers: tuple[Layer, ...]
    ops: tuple[str, ...]

    @property
    def memories(self) -> tuple[str, ...]:
        """Backing ones."""
        return tuple(dict.fromkeys(name for layer in self.layers for name in layer.ahead))

    @property
    def count(self) -> int:
        return sum(layer.count for layer in self.layers)


def at_least(least: int, policy: str, **counts: int) -> None:
    """Raises PolicyError for an argument below."""
    for name, count in counts.items():
        if count < least:
            raise PolicyError(f"{policy}: {name} is {count}; at least {least} is needed")


def offloaded(schedule: Schedule, policy: str) -> Offloaded:
    """Of the schedule. Raises PolicyError if no layer fetches anything."""
    fetches = iter([placed for placed in schedule if placed.op.kind == "fetch"])
    found, names = list[Layer](), list[str]()
    for kind in layers(schedule.graph):
        mine = [next(fetches) for _ in kind.nested()]
        if not kind.nodes[0].layered:
            continue
        own = groups_of(kind, schedule.placed)
        found += _layers(round(kind.count), _parts(kind, own), mine, policy)
        names += [placed.op.name for placed in (*own, *mine)]
    if not found:
        raise PolicyError(
            f"{policy}: no layer of {schedule.graph.name} fetches anything; keep weights or caches "
            "in a backing memory: --apply 'offload(...)'"
        )
    return Offloaded(tuple(found), tuple(names))


def _parts(kind: Layers, own: Sequence[Placed]) -> tuple[Compute, Compute]:
    """A layer's ops before the first that needs what is late, and the others."""
    late = {asked.tensor.name for asked in kind.asked if asked.away.late(1.0)}
    needs = [any(late & {*op.inputs} for op in (p.op, *p.fused)) for p in own]
    first = needs.index(True) if True in needs else 0
    return _compute(own[:first], kind.count), _compute(own[first:], kind.count)


def _compute(ops: Sequence[Placed], layers: float) -> Compute:
    """Of these in one layer."""
    shared: dict[str, float] = {}
    for placed in ops:
        for name in (placed.plan.path.levels[0].name, SHARED):
            shared[name] = shared.get(name, 0.0) + placed.count * _busy(placed, name) / layers
    return Compute(sum(p.count * float(p.cost.latency_s) for p in ops) / layers, shared)


def _layers(
    count: int, parts: tuple[Compute, Compute], fetches: Sequence[Placed], policy: str
) -> Iterator[Layer]:
    """Those that fetch nothing, then the others."""
    whole = [ceil(fetch.count - 1e-9) for fetch in fetches]
    resident = count - sum(whole)
    if resident < 0:
        raise PolicyError(f"{policy}: shares of layers are no whole layers; offload whole ones")
    if resident:
        yield Layer(resident, *parts)
    for fetch, number in zip(fetches, whole, strict=True):
        part, late = fetch.count / number, fetch.cost.work.serial
        shared = (fetch.plan.path.levels[0].name, SHARED)
        memories = [name for name in fetch.cost.work.busy if name not in shared]
        yield Layer(
            number,
            *parts,
            {name: part * (_busy(fetch, name) - late.get(name, 0.0)) for name in memories},
            {name: part * late.get(name, 0.0) for name in memories},
            {name: part * _busy(fetch, name) for name in shared},
        )


def _busy(placed: Placed, name: str) -> float:
    return float(placed.cost.work.busy.get(name, 0.0))
