"""Weights of the next op on their way while an op still computes.

    op k        .. computes with its last tiles, each of which frees a place .. stores
    op k+1         fetches a tile of weights into every place that is free
    launch                                             after op k's last store; (launches) before

A step's loads are divided: `fetch` brings what is weights, which no op before makes, `load` the
rest, in proportion to the bytes of a level's traffic. An op holds b places of 1/b of the core's
memory; as each of op k's last tiles is done with, so much is free for the next op's first ones (in
whole tiles). A fetch waits for places only, and whatever else asks for a resource goes first.

`weights` hides fetches behind the ops before, `launches` the next op's launch too, once an op has
begun (programmatic dependent launch, CUDA C++ Programming Guide; a command queue). Keys and values,
and experts, which a router chooses, are no weights that are known before. Single-buffered levels
let nothing else on its way: their ops fetch nothing ahead.
Not modeled: prefetching from one kind of layer to the next beyond the last results' stores; more
than one op ahead.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import ceil

from mappers.plan import Placed
from sim.event.graph import Unit, during, gated, phased
from sim.event.program import Actor, Channel, Program, Run
from workloads.graph import Graph, Tensor

RESULTS = ("output", "scores")  # operands that no load brings
CHOSEN = ("attention", "experts")  # kinds of ops whose second operand is no weight known before
STORED = ("weight", "table")
USERS = ("compute", "vector")  # actors that free a step's places
LATER = 1  # priority of fetches


@dataclass(frozen=True, slots=True)
class Ahead:
    """A unit whose places pass to the next one: `taker` fills them first, `places` at once."""

    unit: Unit
    taker: Actor
    free: Actor
    places: int


def weights_of(placed: Placed, graph: Graph) -> dict[str, float]:
    """By level, the share of an op's loads that is weights."""
    found = {}
    for level, operands in placed.cost.work.traffic.items():
        outer = level == placed.plan.path.levels[0].name
        bytes_of = {
            o: read + (0.0 if outer else written) for o, (read, written) in operands.items()
        }
        loaded = sum(size for name, size in bytes_of.items() if name not in RESULTS)
        known = sum(s for name, s in bytes_of.items() if _is_weight(name, placed, graph.tensors))
        if known:
            found[level] = known / loaded
    outermost = found.get(placed.plan.path.levels[0].name)
    return found if outermost is None else {**found, "in_flight": outermost}


def _is_weight(operand: str, placed: Placed, tensors: Mapping[str, Tensor]) -> bool:
    """Is it stored, and known which part of it is needed?"""
    op = placed.op
    if operand in tensors:
        return tensors[operand].kind in STORED
    if operand != "weight" or op.kind in CHOSEN:
        return False
    return any(tensors[name].kind in STORED for name in op.inputs if name in tensors)


def ahead(unit: Unit, graph: Graph) -> Ahead:
    """The unit with its weights apart, and with places that it frees one by one."""
    program = unit.program
    (credit,) = (c for c in program.channels if c.source in USERS and c.initial)
    load = next(actor for actor in program.actors if actor.name == credit.target)
    rest, fetch = _divided(load, weights_of(unit.op, graph) if load.name == "load" else {})
    times, places = load.firings, min(credit.initial, load.firings)
    free = phased(Actor("free", (Run(times),)), times - places)
    channels = [c for c in program.channels if fetch or c is not credit]
    changed = {load.name: rest}
    if fetch:
        own = (c for c in program.channels if load.name in (c.source, c.target) and c is not credit)
        channels += [_twin(c, load.name) for c in own if c.source != unit.entry.name]
        changed[fetch.name] = fetch
    filling = fetch or rest
    if filling.repeat > 1:
        taker, through = gated(filling, channels, places)
        enters = {filling.name: taker.name}
        channels = [through, *(_entering(c, unit.entry.name, enters) for c in channels)]
    else:
        taker = phased(filling, 1, places)
    changed[taker.name] = taker
    channels.append(Channel(credit.source, free.name, kind="space"))
    if times > places:
        given, taken = during(free, 0, times - places, 1), during(taker, places, times, 1)
        channels.append(Channel(free.name, taker.name, given, taken, kind="space"))
    first, *others = (changed.pop(actor.name, actor) for actor in program.actors)
    actors = (first, *changed.values(), free, *others)
    whole = replace(unit, program=Program(actors, tuple(channels), program.resources))
    return Ahead(whole, taker, free, places)


def _entering(channel: Channel, entry: str, names: Mapping[str, str]) -> Channel:
    """A launch goes to the gate of who is launched."""
    if channel.source != entry:
        return channel
    return replace(channel, target=names.get(channel.target, channel.target))


def _divided(load: Actor, shares: Mapping[str, float]) -> tuple[Actor, Actor | None]:
    """Loads of what the ops before make, and fetches of weights."""
    fetched, kept = list[Run](), list[Run]()
    for run in load.cycle:
        parts = [ceil(use.amount * shares.get(use.resource, 0.0)) for use in run.uses]
        known = list(zip(run.uses, parts, strict=True))
        ours = (use.part(part) for use, part in known)
        rest = (use.part(use.amount - part) for use, part in known)
        fetched.append(replace(run, uses=tuple(use for use in ours if use.amount)))
        kept.append(replace(run, uses=tuple(use for use in rest if use.amount)))
    if not any(run.uses for run in fetched):
        return load, None
    fetch = replace(load, name="fetch", cycle=tuple(fetched), priority=LATER)
    return replace(load, cycle=tuple(kept)), fetch


def _twin(channel: Channel, load: str) -> Channel:
    """The same for fetches."""
    source, target = ("fetch" if n == load else n for n in (channel.source, channel.target))
    return replace(channel, source=source, target=target)
