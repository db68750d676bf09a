"""The parts of a phase as one program: the programs of its ops, that repeat with the layers.

Actors repeat, so that the engine can leap over whole layers: time and memory do not grow with their
number. `cycles` says what repeats how often, `chain` puts one after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from math import ceil

from accel_models.path import Path
from mappers.plan import Placed
from sim.event.lower import program_of
from sim.event.program import Actor, Channel, Program, Rate, Resource, Run, Use

Name = Callable[[str], str]
MANY = 16  # firings from which on an op's steady state is worth looking for
MARK = ": "  # between an op's name and its actors'
SHARED = ("power", "launch")  # by all kinds of cores, beside memories


@dataclass(frozen=True, slots=True)
class Unit:
    """An op, or a stage of it, as it runs once. `exit`: whose last firing ends it."""

    name: str
    op: Placed
    program: Program

    @property
    def entry(self) -> Actor:
        return self.program.actors[0]

    @property
    def exit(self) -> Actor:
        return self.program.actors[-1]


def units_of(placed: Placed) -> Iterator[Unit]:
    """Its stages, one for an op that has none."""
    path = placed.plan.path
    for number, cost in enumerate(placed.cost.stages or (placed.cost,)):
        name = placed.op.name + (f"{MARK}{number + 1}" if number else "")
        yield Unit(name, placed, _on_its_cores(program_of(cost, path), path))


def scaled(program: Program, share: float) -> Program:
    """Every use as small a share."""
    return used(program, lambda use: use.part(ceil(use.amount * share)))


def used(program: Program, change: Callable[[Use], Use]) -> Program:
    """The program with other uses."""
    actors = []
    for actor in program.actors:
        runs = (replace(run, uses=tuple(map(change, run.uses))) for run in actor.cycle)
        actors.append(replace(actor, cycle=tuple(runs)))
    return replace(program, actors=tuple(actors))


def _on_its_cores(program: Program, path: Path) -> Program:
    """Where a design has several kinds of cores, each has its own of what is not shared."""
    if len(path.design.cores) == 1:
        return program
    shared = {level.name for level in path.memories[: path.first_core]} | {*SHARED}
    own = {r.name: f"{r.name}.{path.name}" for r in program.resources if r.name not in shared}
    resources = (replace(r, name=own.get(r.name, r.name)) for r in program.resources)
    changed = used(program, lambda use: replace(use, resource=own.get(use.resource, use.resource)))
    return replace(changed, resources=tuple(resources))


def phased(actor: Actor, *cuts: int) -> Actor:
    """Its cycle in more runs, so that rates may change after so many firings."""
    runs, begin = list[Run](), 0
    for run in actor.cycle:
        ends = {cut - begin for cut in cuts if 0 < cut - begin < run.count} | {run.count}
        runs += (replace(run, count=b - a) for a, b in pairwise(sorted({0} | ends)))
        begin += run.count
    return replace(actor, cycle=tuple(runs))


def during(actor: Actor, first: int, last: int, tokens: int) -> Rate:
    """So many tokens for the firings [first, last) of each cycle, none for the others."""
    found, begin = list[int](), 0
    for run in actor.cycle:
        found.append(tokens if first <= begin and begin + run.count <= last else 0)
        begin += run.count
    return tuple(found)


def full(unit: str, actor: str) -> str:
    """An actor's name in the program of the phase."""
    return unit + MARK + actor


def op_of(actor: str) -> str:
    """The op that an actor of a phase belongs to."""
    return actor.partition(MARK)[0]


def union(programs: Sequence[Program], more: Iterable[Channel] = ()) -> Program:
    """Side by side, on the same resources. What only takes time does so in ticks of one clock, the
    fastest, so that states come back whatever the clocks are."""
    clock = max(r.clock_hz for program in programs for r in program.resources)
    resources: dict[str, Resource] = {}
    actors, channels, pacers = list[Actor](), list[Channel](), list[str]()
    for program in programs:
        own = {r.name: r.clock_hz for r in program.resources}
        for resource in program.resources:
            plain = resource == Resource(resource.name, resource.clock_hz)
            kept = replace(resource, clock_hz=clock) if plain else resource
            resources.setdefault(resource.name, kept)
        now = {name: resources[name].clock_hz for name in own}
        actors += used(program, partial(_at, own, now)).actors
        channels += program.channels
        pacers += program.pacers
    ordered = tuple(resources[name] for name in sorted(resources))
    return Program(tuple(actors), (*channels, *more), ordered, tuple(pacers))


def _at(own: Mapping[str, int], clocks: Mapping[str, int], use: Use) -> Use:
    """Counted in cycles of another clock."""
    before, now = own[use.resource], clocks[use.resource]
    return use if before == now else use.part(-(-use.amount * now // before))


def paced(unit: Unit) -> Unit:
    """It can run again: the launch is told once, and so is the end."""
    entry, exit_ = unit.entry.name, unit.exit.name
    actors = {actor.name: actor for actor in unit.program.actors}
    started = {c.target for c in unit.program.channels if c.source == entry}
    channels, gates = [], dict[str, str]()
    for name in started:
        if actors[name].repeat > 1:
            gate, through = gated(actors[name], unit.program.channels)
            gates[name] = gate.name
            actors = {entry: unit.entry, gate.name: gate} | actors
            channels.append(through)
        else:
            actors[name] = phased(actors[name], 1)
    actors[exit_] = phased(actors[exit_], actors[exit_].length - 1)
    for channel in unit.program.channels:
        if channel.source == entry:
            channel = replace(channel, target=gates.get(channel.target, channel.target))
            target = actors[channel.target]
            channel = replace(channel, produce=1, consume=during(target, 0, 1, 1))
        channels.append(channel)
    joins = tuple(new for channel in channels for new in _per_result(channel, actors))
    return replace(
        unit, program=replace(unit.program, actors=tuple(actors.values()), channels=joins)
    )


def gated(actor: Actor, channels: Iterable[Channel], *cuts: int) -> tuple[Actor, Channel]:
    """What fires before each of its firings and takes no time, for rates that change while the
    actor's own cycle goes round and round; never further ahead than its firings on the way."""
    gate = phased(Actor(f"{actor.name} gate", (Run(actor.firings),)), 1, *cuts)
    under_way = max(c.initial for c in channels if c.source == c.target == actor.name)
    room = max(under_way, *cuts, 0) + 1
    return gate, Channel(gate.name, actor.name, capacity=room, kind="launch")


def _per_result(channel: Channel, actors: dict[str, Actor]) -> Iterator[Channel]:
    """Steps that are gathered to results: a token for the last step instead of one for each, and
    the first one takes the result's place. Else no step would be in a state of the one before."""
    steps, source = channel.consume, actors[channel.source]
    if channel.capacity is None or channel.produce != 1 or steps != source.length or steps == 1:
        yield channel
        return
    source = actors[channel.source] = phased(source, 1, source.length - 1)
    told, taken = (during(source, n, n + 1, 1) for n in (source.length - 1, 0))
    yield replace(channel, produce=told, consume=1, capacity=None)
    places = channel.capacity // source.length
    yield Channel(channel.target, channel.source, 1, taken, places, kind="space")


def repeated(unit: Unit, count: int, first: bool) -> Program:
    """Once a layer, under its name. The unit's busiest actor is a pacer, and a layer's first."""
    actors = (replace(a, name=full(unit.name, a.name)) for a in unit.program.actors)
    channels = (
        replace(c, source=full(unit.name, c.source), target=full(unit.name, c.target))
        for c in unit.program.channels
    )
    busiest = max(unit.program.actors, key=lambda actor: actor.firings)
    pacers = [full(unit.name, busiest.name)] if busiest.firings >= MANY else []
    if first and count > 2:
        pacers.append(full(unit.name, unit.entry.name))
    named = replace(unit.program, actors=tuple(actors), channels=tuple(channels))
    return again(replace(named, pacers=tuple(pacers)), count)


def again(program: Program, count: int) -> Program:
    """So often."""
    actors = (replace(actor, repeat=actor.repeat * count) for actor in program.actors)
    return replace(program, actors=tuple(actors))
