"""What repeats in a phase: its layers, and what they fetch from backing memories.

Neighbors that run equally often are a cycle: a layer, run after run. A count that is not whole is
an expectation: its fraction runs once more, with as small a share of all the work. Where a model
has several kinds of layers that do not run equally often, all of one kind come before the next.

What a layer fetches from a backing memory (mappers/fetching.py) runs beside the layers before it,
as long as there is room for two layers' tensors: the one that computes and the next one's. It comes
in PIECES, each read from the backing memory and written to the outermost one as it arrives, where
the ops' loads contend with it. What is fetched late comes before the layer's first op, ahead of
other layers' pieces. Of layers some of which fetch, those that fetch nothing come first.
Not modeled: fetches that the phase before has begun (the first layer's are not hidden); which op
of a layer needs what.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise
from math import ceil, floor

from mappers.plan import Placed
from sim.event.graph import MARK, Unit, full, phased, scaled, units_of
from sim.event.program import FINE, Actor, Program, Resource, Run, Use

PIECES = 256  # of what a layer fetches, so that loads get in between
FETCH = "fetch"  # kind of ops
LATER = 1  # priority: what is needed now goes first


@dataclass(frozen=True, slots=True)
class Cycle:
    """Units that run one after the other, all of them `count` times; `beside` them a layer's
    fetches from each backing memory."""

    units: tuple[Unit, ...]
    count: int
    beside: tuple[Program, ...] = ()


def cycles_of(placed: Iterable[Placed]) -> tuple[Cycle, ...]:
    """In their order. Fetches are with the first cycle that reads what they bring."""
    groups = [tuple(g) for _, g in groupby(_ops(placed), key=lambda one: one.count)]
    fetched: list[list[Placed]] = [[] for _ in groups]
    for fetch in placed:
        if fetch.op.kind == FETCH:
            fetched[_reader(fetch, groups)].append(fetch)
    found = list[Cycle]()
    for group, own in zip(groups, fetched, strict=True):
        for count, fetches in _divided(group[0].count, own):
            found += _cycles(group, count, fetches, len(found))
    return tuple(found)


def called(cycle: Cycle, mark: str) -> Cycle:
    """The same cycle, told apart by the mark behind its names."""
    if not mark:
        return cycle
    units = tuple(replace(unit, name=f"{unit.name}{MARK}{mark}") for unit in cycle.units)
    fetches = ((fetch, fetch.actors[0]) for fetch in cycle.beside)
    beside = (
        replace(fetch, actors=(replace(one, name=f"{one.name}{MARK}{mark}"),))
        for fetch, one in fetches
    )
    return replace(cycle, units=units, beside=tuple(beside))


def _ops(placed: Iterable[Placed]) -> Iterator[Placed]:
    return (one for one in placed if one.op.kind != FETCH)


def _reader(fetch: Placed, groups: Sequence[Sequence[Placed]]) -> int:
    """Which group has an op of these tensors."""
    tensors = set(fetch.op.inputs)
    for number, group in enumerate(groups):
        for placed in group:
            if any(tensors & {*op.inputs, op.output} for op in (placed.op, *placed.fused)):
                return number
    raise AssertionError(f"{fetch.op.name}: nobody reads {', '.join(sorted(tensors))}")


def _divided(count: float, fetches: Sequence[Placed]) -> Iterator[tuple[float, tuple[Placed, ...]]]:
    """So many layers that fetch the same; of every kind those first that fetch nothing."""
    kinds = dict[str, list[Placed]]()
    for fetch in fetches:
        kinds.setdefault(fetch.op.name.rstrip("0123456789"), []).append(fetch)
    ends, begins = {0.0, count}, list[tuple[float, float, Placed]]()
    for own in kinds.values():
        at = max(0.0, count - sum(fetch.count for fetch in own))
        for fetch in own:
            begins.append((at, at + fetch.count, fetch))
            ends |= {at, min(count, at + fetch.count)}
            at += fetch.count
    for first, last in pairwise(sorted(ends)):
        yield last - first, tuple(f for begin, end, f in begins if begin < last and first < end)


def _cycles(
    group: Sequence[Placed], count: float, fetches: Sequence[Placed], number: int
) -> Iterator[Cycle]:
    """The whole runs, and the fraction that is left. `number`: of cycles before, for names."""
    whole = floor(count)
    for times, share in ((whole, 1.0), (1, count - whole)):
        if times and share:
            mark = f"{MARK}{number}" if fetches or share < 1 else ""
            late = [_late(fetch) for fetch in fetches if fetch.cost.work.serial]
            units = [u for u in late if u.program.resources]
            units += [unit for one in group for unit in units_of(one)]
            named = (replace(u, name=u.name + mark) for u in units)
            scale = (replace(u, program=scaled(u.program, share)) for u in named)
            beside = (scaled(p, share) for f in fetches for p in _ahead(f, f.op.name + mark))
            yield Cycle(tuple(scale), times, tuple(beside))
            number += 1


def _ahead(fetch: Placed, name: str) -> Iterator[Program]:
    """A program of one actor for each backing memory."""
    work = fetch.cost.work
    for memory in work.serial:
        early = float(work.busy[memory]) - float(work.serial[memory])
        if early > 0:
            uses, resources = _uses(fetch, memory, early, PIECES)
            actor = Actor(full(name, memory), (Run(PIECES, uses),), priority=LATER)
            yield Program((phased(actor, 1, PIECES - 1),), (), resources)


def _late(fetch: Placed) -> Unit:
    """All that is fetched when it is needed, as one op, one backing memory beside the other."""
    serial = {name: float(s) for name, s in fetch.cost.work.serial.items() if s}
    uses, resources = list[Use](), dict[str, Resource]()
    for memory, seconds in serial.items():
        own, known = _uses(fetch, memory, seconds, 1)
        uses += own
        resources |= {resource.name: resource for resource in known}
    actor = Actor(FETCH, (Run(1, tuple(uses)),))
    return Unit(fetch.op.name, fetch, Program((actor,), (), tuple(resources.values())))


def _uses(
    fetch: Placed, memory: str, seconds: float, times: int
) -> tuple[tuple[Use, ...], tuple[Resource, ...]]:
    """A share of the seconds of the backing memory, and of what the chip is busy with meanwhile."""
    work, clock = fetch.cost.work, round(fetch.plan.path.clock_hz) * FINE
    whole = sum(float(work.busy[name]) for name in work.serial)
    others = {n: float(s) * seconds / whole for n, s in work.busy.items() if n not in work.serial}
    busy = {memory: seconds} | others
    uses = (Use(name, ceil(s * clock / times)) for name, s in busy.items() if s > 0)
    return tuple(uses), tuple(Resource(name, clock) for name, s in busy.items() if s > 0)
