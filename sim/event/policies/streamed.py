"""The program of layers that fetch (`offloaded`), as policies have it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

from sim.event.policies.offloaded import CHIP, PICOSECONDS, PIECES, Layer, Offloaded, Seconds
from sim.event.program import Actor, Channel, Program, Resource, Run, Use


@dataclass(frozen=True, slots=True)
class Places:
    """Layers that have room at once, of which the first `there` were loaded before; steps one
    after the other; and whether late loads are pipelined with what needs them."""

    count: int = 2
    there: int = 0
    passes: int = 1
    pipelined: bool = False


def streamed(found: Offloaded, places: Places) -> Program:
    """All passes over all layers."""
    ahead = [load for load in _ahead(found, places) if _busy(load)]
    late = [load for load in _late(found, places.passes) if _busy(load)]
    layer, passes = (Run(found.count),), places.passes
    actors = [*ahead, *late, Actor("ready", layer, passes), Actor("done", layer, passes)]
    actors.append(Actor("compute", tuple(_compute(found, places.pipelined)), passes))
    if places.pipelined:
        actors += [Actor("before", tuple(_before(found)), passes), Actor("known", layer, passes)]
    channels = [
        Channel("compute", "done", consume=PIECES),
        Channel("done", "ready", initial=1, kind="space"),
        *(channel for load in ahead for channel in _in_places(load.name, places)),
        *(_pipelined(late) if places.pipelined else _in_turn(late)),
    ]
    names = {use.resource for actor in actors for run in actor.cycle for use in run.uses}
    resources = tuple(Resource(name, PICOSECONDS) for name in sorted(names))
    return Program(tuple(actors), tuple(channels), resources)


def _in_places(load: str, places: Places) -> Iterator[Channel]:
    """Loads ahead, as far as there is room."""
    room = PIECES * (places.count - places.there)
    yield Channel("done", load, PIECES, initial=room, kind="space")
    yield Channel(load, "ready", consume=PIECES, initial=places.there * PIECES)


def _in_turn(late: list[Actor]) -> Iterator[Channel]:
    """Layer, late loads, layer."""
    yield Channel("ready", "compute", produce=PIECES)
    for load in late:
        yield Channel("done", load.name, PIECES, initial=PIECES, kind="space")
        yield Channel(load.name, "ready", consume=PIECES)


def _pipelined(late: list[Actor]) -> Iterator[Channel]:
    """Late loads begin within their layer; pieces of compute follow theirs."""
    yield Channel("ready", "before", produce=PIECES)
    yield Channel("before", "known", consume=PIECES)
    yield Channel("known", "compute", produce=PIECES)
    for load in late:
        yield Channel("known", load.name, produce=PIECES)
        yield Channel(load.name, "compute")


def _busy(actor: Actor) -> bool:
    return any(run.uses for run in actor.cycle)


def _compute(found: Offloaded, pipelined: bool) -> Iterator[Run]:
    """Layers in pieces, or what of them comes once late loads are needed."""
    for layer in found.layers:
        part = layer.after if pipelined else layer.before + layer.after
        yield Run(layer.count * PIECES, _uses({CHIP: part.seconds}, part.shared))


def _before(found: Offloaded) -> Iterator[Run]:
    """What of the layers comes before."""
    for layer in found.layers:
        part = layer.before
        yield Run(layer.count * PIECES, _uses({CHIP: part.seconds}, part.shared))


def _ahead(found: Offloaded, places: Places) -> Iterator[Actor]:
    """All loads from a memory that are known a layer ahead; those of the layers that are there
    come last, for the step after."""
    for memory in found.memories:
        runs, first = list[Run](), list[Run]()
        left = places.there
        for layer in found.layers * places.passes:
            uses, there = _loads(layer, layer.ahead, memory), min(left, layer.count)
            left -= there
            first.append(Run(there * PIECES, uses))
            runs.append(Run((layer.count - there) * PIECES, uses))
        yield Actor(f"load {memory}", tuple(_merged([*runs, *first])))


def _merged(runs: list[Run]) -> Iterator[Run]:
    """Without empty ones, and alike ones in one."""
    for uses, alike in groupby(runs, key=lambda run: run.uses):
        if count := sum(run.count for run in alike):
            yield Run(count, uses)


def _late(found: Offloaded, passes: int) -> Iterator[Actor]:
    """All loads from a memory that are not; they go first."""
    for memory in found.memories:
        runs = (Run(x.count * PIECES, _loads(x, x.late, memory)) for x in found.layers)
        yield Actor(f"late {memory}", tuple(runs), passes, priority=-1)


def _loads(layer: Layer, part: Seconds, memory: str) -> tuple[Use, ...]:
    """A piece of these, and as much of what loads share as they are of all the layer's."""
    seconds = part.get(memory, 0.0)
    whole = sum(layer.ahead.values()) + sum(layer.late.values())
    if not seconds:
        return ()
    return _uses({memory: seconds}, {name: s * seconds / whole for name, s in layer.shared.items()})


def _uses(first: Seconds, others: Seconds) -> tuple[Use, ...]:
    """One piece: of these, in this order."""
    times = {**first, **others}.items()
    pieces = ((name, round(seconds * PICOSECONDS / PIECES)) for name, seconds in times)
    return tuple(Use(name, amount) for name, amount in pieces if amount)
