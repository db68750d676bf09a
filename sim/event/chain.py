"""A whole phase as one program.

    launch op 1 .. store op 1 -> launch op 2 .. store op n        once per layer
        ^____________________________________________|

An op's launch waits for the last store of the op before, a layer's first for the layer before's
last; a cycle (`graph`) begins after all of the one before. So nothing overlaps that does not in a
run op by op, and it takes as long, but for which of several uses of one tick goes first. What may
begin earlier is `prefetch`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from mappers.plan import Schedule
from sim.event.cycles import Cycle, called, cycles_of
from sim.event.graph import Unit, again, during, full, paced, repeated, union
from sim.event.prefetch import Ahead, ahead
from sim.event.program import Actor, Channel, Program
from workloads.graph import Graph

ROOM = 2  # layers whose fetched tensors have a place


def phase_of(schedule: Schedule, prefetch: str | None = None, runs: int = 1) -> Program:
    """The program of all that the schedule places. `prefetch`: of PREFETCHES, or None. `runs`: one
    after the other."""
    found = cycles_of(schedule)
    cycles = [called(cycle, f"run {n}" if n else "") for n in range(runs) for cycle in found]
    layers = [_layer(cycle, schedule.graph, prefetch) for cycle in cycles]
    channels = [c for one, after in pairwise(layers) for c in _in_turn(one, after)]
    return union([layer.program() for layer in layers], channels)


@dataclass(frozen=True)
class _Layer:
    """A cycle's units, with their weights ahead where they are prefetched."""

    cycle: Cycle
    parts: Sequence[Unit | Ahead]
    prefetch: str | None

    @property
    def first(self) -> Unit:
        return _unit(self.parts[0])

    @property
    def last(self) -> Unit:
        return _unit(self.parts[-1])

    def program(self) -> Program:
        """The units one after the other, round and round, and what is fetched beside."""
        channels = list[Channel]()
        for number, one in enumerate(self.parts):
            back = number + 1 == len(self.parts)
            after = self.parts[0 if back else number + 1]
            channels += _ends(_unit(one), _unit(after), back, self.prefetch)
            if isinstance(one, Ahead) and isinstance(after, Ahead):
                channels.append(_places(one, after, back))
        count = self.cycle.count
        programs = [repeated(_unit(one), count, one is self.parts[0]) for one in self.parts]
        fetches = [again(fetch, count) for fetch in self.cycle.beside]
        for fetch in fetches:
            channels += self._fetched(fetch.actors[0])
        return union([*programs, *fetches], channels)

    def _fetched(self, fetch: Actor) -> Iterator[Channel]:
        """A layer waits for its tensors, which wait for room."""
        each = fetch.length
        told, taken = during(fetch, each - 1, each, 1), during(fetch, 0, 1, 1)
        head, tail = self.parts[0], self.last.exit
        yield Channel(fetch.name, full(self.first.name, self.first.entry.name), told)
        if isinstance(head, Ahead) and head.taker.name != self.first.entry.name:
            taker, begins = full(self.first.name, head.taker.name), during(head.taker, 0, 1, 1)
            yield Channel(fetch.name, taker, told, begins)
        ended = during(tail, tail.length - 1, tail.length, 1)
        name = full(self.last.name, tail.name)
        yield Channel(name, fetch.name, ended, taken, ROOM, kind="space")


def _layer(cycle: Cycle, graph: Graph, prefetch: str | None) -> _Layer:
    """What a layer fetches late nothing of it can be ahead of."""
    if prefetch is None or any(len(unit.program.actors) == 1 for unit in cycle.units):
        return _Layer(cycle, [paced(unit) for unit in cycle.units], None)
    found = (ahead(unit, graph) for unit in cycle.units)
    parts = [Ahead(paced(one.unit), one.taker, one.free, one.places) for one in found]
    return _Layer(cycle, parts, prefetch)


def _unit(one: Unit | Ahead) -> Unit:
    return one.unit if isinstance(one, Ahead) else one


def _ends(unit: Unit, after: Unit, back: bool, prefetch: str | None) -> Iterator[Channel]:
    """What the next op's launch waits for; or what it and the loads of its inputs do."""
    end, entry, initial = unit.exit, full(after.name, after.entry.name), int(back)
    ended = during(end, end.length - 1, end.length, 1)
    if prefetch != "launches":
        yield Channel(full(unit.name, end.name), entry, ended, 1, initial, kind="launch")
        return
    begins, loads = _first(unit), _first(after)
    begun, taken = during(begins, 0, 1, 1), during(loads, 0, 1, 1)
    target = full(after.name, loads.name)
    yield Channel(full(unit.name, begins.name), entry, begun, 1, initial, kind="launch")
    yield Channel(full(unit.name, end.name), target, ended, taken, initial)


def _first(unit: Unit) -> Actor:
    """Whose first firing begins an op that is launched."""
    started = {c.target for c in unit.program.channels if c.source == unit.entry.name}
    return next(actor for actor in unit.program.actors if actor.name in started)


def _places(one: Ahead, after: Ahead, back: bool) -> Channel:
    """Each of the last tiles that were computed with frees a place for the next op's first."""
    times = one.free.firings
    return Channel(
        full(one.unit.name, one.free.name),
        full(after.unit.name, after.taker.name),
        during(one.free, times - one.places, times, after.places),
        during(after.taker, 0, after.places, one.places),
        one.places * after.places if back else 0,
        kind="space",
    )


def _in_turn(layer: _Layer, after: _Layer) -> Iterator[Channel]:
    """A cycle begins after the one before; its fetches once all places are free."""
    last, first = layer.last, after.first
    source, target = full(last.name, last.exit.name), full(first.name, first.entry.name)
    yield Channel(source, target, kind="launch", after=True)
    one, other = layer.parts[-1], after.parts[0]
    if isinstance(other, Ahead):
        freed = one.free if isinstance(one, Ahead) else last.exit
        free, taker = full(last.name, freed.name), full(first.name, other.taker.name)
        yield Channel(free, taker, kind="space", after=True)
    for fetch in layer.cycle.beside:
        for later in after.cycle.beside:
            yield Channel(fetch.actors[0].name, later.actors[0].name, kind="space", after=True)
