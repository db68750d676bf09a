"""An op's cost as a program: the same service times as the closed form's, and who waits for whom.

    launch -> load -> [convert] -> compute -> [vector] -> [finish] -> store
               ^____ buffers credits ____|

`load` brings a step's tiles in, level by level, `buffers - 1` of them on the way at a time; their
space is free again when they have been computed with. `compute` holds the matrix engine, power, and
whatever levels are busy with beside loads and stores; after a result's last step it holds the
engine for the engines' hand-over. Results wait in two places for the vector engine, in two for
their store. Cores that do the same are one actor; with `cores` of them apart, memories that they
share do a part for each.

DRAM whose device is known (`dram.losses_of`) is refreshed before the first of so many loads as take
a refresh interval, so that a result has a whole number of them; stores wait for their share each.
The bus turns between loads and stores.

Where a level has a single buffer (`Work.serial`) tiles move from level to level one at a time. A
library's kernels overlap less than perfectly (`Work.norm`): their longest resource is busy
for what that costs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from math import ceil

from accel_models.network import INTO, OUT
from accel_models.path import Path
from mappers.cost import Cost, Work, overlapped, rest_of
from mappers.plan import Placed
from mappers.steps import Steps
from sim.event.dram import Devices, devices_of
from sim.event.program import FINE, Actor, Channel, Program, Resource, Run, Use

NOTHING = 1e-15  # seconds: what is left of a difference of equal times
BESIDE = ("matrix", "vector", "power", "in_flight", "launch")  # resources that are no memories
Runs = tuple[tuple[int, tuple[Use, ...]], ...]


@dataclass(frozen=True)
class Parts:
    """Seconds of one core's steps by resource: loads, what is busy while computing, the vector
    engine, stores."""

    loads: Mapping[str, float]
    beside: Mapping[str, float]
    vector: float
    stores: Mapping[str, float]


def programs_of(placed: Placed) -> Iterator[Program]:
    """Of a whole op: one for each of its parts in sequence."""
    for cost in placed.cost.stages or (placed.cost,):
        yield program_of(cost, placed.plan.path)


def program_of(cost: Cost, path: Path, cores: int = 1) -> Program:
    """The program of one cost, without its stages (`in_sequence`). `cores`: that are not taken
    together, whose shared memories do 1/cores of the work for each."""
    clock = round(path.clock_hz) * FINE
    lowered = _Lowered(cost, path, clock, cores, parts_of(cost.work, path))
    actors, channels = [*lowered.launch()], list[Channel]()
    for core in range(cores):
        mine, joins = lowered.core(f".{core}" if cores > 1 else "")
        actors += mine
        channels += joins
    used = {use.resource for actor in actors for run in actor.cycle for use in run.uses}
    resources = tuple(lowered.resource(name) for name in sorted(used))
    return Program(tuple(actors), tuple(channels), resources)


def parts_of(work: Work, path: Path) -> Parts:
    """How each resource's time divides. What a level does beside loads and stores, it does while
    the engines compute. A library's kernel is longer by what its resources do not overlap: its
    longest one is busy for it, as far as others are still at work beside."""
    busy = {name: _own(work, name) for name in work.busy}
    parts = _divided(work, path, busy)
    rest = rest_of(work)
    longest = max((name for name in rest if name != "power"), key=lambda n: rest[n], default="")
    if not longest or not rest[longest]:
        return parts
    whole = overlapped(rest | {"power": 0.0}, work.norm)
    others = sum(rest.values()) - rest[longest] - _ends(parts, work.steps, longest)
    more = min(whole - rest[longest], max(0.0, others))
    stretch = 1.0 + more / float(work.busy[longest])
    return _divided(work, path, busy | {longest: busy[longest] * stretch})


def _divided(work: Work, path: Path, busy: Mapping[str, float]) -> Parts:
    levels = [*(level.name for level in path.memories), INTO, OUT]
    loads, stores, beside = {}, {}, {}
    for name in busy:
        if name not in levels:
            continue
        loads[name], stores[name] = _moved(work, name, busy[name])
        beside[name] = max(0.0, busy[name] - loads[name] - stores[name])
    others = {name: busy[name] for name in busy if name not in (*levels, "vector", "in_flight")}
    matrix = {"matrix": others.pop("matrix", 0.0)}
    loads = {"in_flight": busy.get("in_flight", 0.0), **loads}
    vector = busy.get("vector", 0.0)
    return Parts(loads, beside | others | matrix, vector, dict(reversed(stores.items())))


def _ends(parts: Parts, steps: Steps, longest: str) -> float:
    """Seconds of the first and the last step in which the longest resource has nothing to do, but
    for stores after the last one."""
    stages = (
        (parts.loads, steps.total),
        (parts.beside, steps.total),
        ({"vector": parts.vector}, steps.outputs if steps.finish else steps.total),
        ({} if steps.once else parts.stores, steps.outputs),
    )
    return sum(
        max(seconds.values(), default=0.0) / times
        for seconds, times in stages
        if not seconds.get(longest)
    )


def _own(work: Work, name: str) -> float:
    """Seconds that the op beside which it runs do not hide."""
    serial = float(work.serial.get(name, 0.0))  # nothing hides it
    return serial + max(0.0, float(work.busy[name]) - serial - float(work.beside.get(name, 0.0)))


def _moved(work: Work, name: str, busy: float) -> tuple[float, float]:
    """Of a level's seconds, those of loads and of stores; no fewer than the last ones'."""
    steps = work.steps
    times = 1 if steps.once else steps.outputs
    stores = min(busy, float(work.tail.get(name, 0.0)) * times)
    if steps.loads is not None:
        stores = max(stores, busy * (1.0 - steps.loads.get(name, float(name == INTO))))
        return busy - stores, stores
    return min(busy - stores, float(work.head.get(name, 0.0)) * steps.total), stores


@dataclass(frozen=True)
class _Lowered:
    """A cost on its way to a program."""

    cost: Cost
    path: Path
    clock: int
    cores: int
    parts: Parts

    @property
    def steps(self) -> Steps:
        return self.cost.work.steps

    @cached_property
    def devices(self) -> Devices:
        """The memories whose kind is known."""
        return devices_of({**self.path.design.memory, **self.path.core.memory})

    def resource(self, name: str) -> Resource:
        """Of this name."""
        times = 1 if self.steps.once else self.steps.outputs
        store_s = self.parts.stores.get(name.partition(".")[0], 0.0) / times
        turn = self.amount(self.devices.turn_s(name, store_s))
        return Resource(name, self.clock, turnaround=turn)

    def amount(self, seconds: float, times: int = 1) -> int:
        """Of a resource, for one of so many shares of the seconds."""
        return ceil(seconds * self.clock / times)

    def uses(self, seconds: Mapping[str, float], times: int, core: str) -> tuple[Use, ...]:
        """One of so many shares, on the core's own resources and on shared ones."""
        shared = {level.name for level in self.path.memories[: self.path.first_core]}
        shared |= set(seconds) - {*self.path.by_name, *BESIDE} | {"power"}
        return tuple(
            use
            for name, s in seconds.items()
            if s > NOTHING
            for use in (
                self._links(name, s, times, core)
                if name in (INTO, OUT) and core
                else (Use(name, self.amount(s, times * self.cores)),)
                if name in shared
                else (Use(name + core, self.amount(s, times)),)
            )
        )

    def _links(self, name: str, seconds: float, times: int, core: str) -> Iterator[Use]:
        """Of cores that are not taken together, each its own links; `seconds`: of the busiest."""
        network, back = self.path.network, name == OUT
        if network is None or network.nodes != self.cores:
            yield Use(name, self.amount(seconds, times * self.cores))
            return
        most = max(network.loads(back).values())
        for link, load in network.loads_of(int(core[1:]), back).items():
            yield Use(f"{name} {link}", self.amount(seconds * load / most, times))

    def launch(self) -> Iterator[Actor]:
        """All launches, one after the other, and the first access."""
        fixed = self.cost.exposed["launch"] + self.cost.exposed["access"]
        uses = (Use("launch", self.amount(fixed)),) if fixed else ()
        yield Actor("launch", (Run(1, uses),))

    def core(self, core: str) -> tuple[list[Actor], list[Channel]]:
        """A core's actors in the order of the data, and their channels."""
        work, steps = self.cost.work, self.steps
        total = steps.total
        vector = self.parts.vector
        before, finish = steps.before * vector, steps.finish * vector
        each = vector * (1.0 - steps.before - steps.finish)
        chain = [*self._loads(core)]
        if before:
            chain.append(self._vector("convert", before, total, core))
        chain.append(self._compute(core))
        if each > NOTHING:
            chain.append(self._vector("vector", each, total, core))
        if finish:
            chain.append(self._vector("finish", finish, steps.outputs, core))
        times = 1 if steps.once else steps.outputs
        stores = self.devices.refreshed(self.uses(self.parts.stores, times, core), "write")
        if steps.once and work.sync_s:
            sync = Use(f"matrix{core}", self.amount(float(work.sync_s)), "sync")
            chain.append(Actor(f"hand_over{core}", (Run(1, (sync,)),)))
        chain += self._moves("store", ((times, stores),), 1, core)
        return chain, list(self._joins(chain, core))

    def _loads(self, core: str) -> Iterator[Actor]:
        """Of all steps; of as many as there are from one refresh to the next, the first waits."""
        total, devices = self.steps.total, self.devices
        whole, each = self.uses(self.parts.loads, total, core), 1
        if devices.losses:
            seconds = {name: s / total for name, s in self.parts.loads.items() if s > NOTHING}
            each = devices.loads_between(seconds, self.steps.parts)
        first = devices.refreshed(whole, "read", each)
        runs = ((1, first), (each - 1, self.loading(core))) if each > 1 else ((total, first),)
        yield from self._moves("load", runs, total // each if each > 1 else 1, core)

    def _moves(self, name: str, runs: Runs, times: int, core: str) -> Iterator[Actor]:
        """Level after level as data stream through; with single buffers somewhere one at a time."""
        levels = dict.fromkeys(use.resource for _, uses in runs for use in uses)
        if not self._single() or len(levels) < 2:
            yield Actor(name + core, tuple(Run(*run) for run in runs), times)
            return
        for level in levels:
            own = ((n, tuple(u for u in uses if u.resource == level)) for n, uses in runs)
            plain = level.removesuffix(core)
            yield Actor(f"{name} {plain}{core}", tuple(Run(*run) for run in own), times)

    def _single(self) -> bool:
        """Has any level but a single buffer?"""
        return any(seconds > NOTHING for seconds in self.cost.work.serial.values())

    def loading(self, core: str) -> tuple[Use, ...]:
        """Of a step's tiles, refresh aside."""
        return self.devices.moved(self.uses(self.parts.loads, self.steps.total, core), "read")

    def _vector(self, name: str, seconds: float, times: int, core: str) -> Actor:
        return Actor(name + core, (Run(times, self.uses({"vector": seconds}, times, core)),))

    def _compute(self, core: str) -> Actor:
        """The steps of a result, the last one with the hand-over."""
        steps, sync = self.steps, float(self.cost.work.sync_s) * (not self.steps.once)
        uses = self.uses(self.parts.beside, steps.total, core)
        last = uses
        if sync:  # nothing else goes on: all that the core uses stands still
            still = self.amount(sync, steps.outputs)
            names = dict.fromkeys(use.resource for use in (*self.loading(core), *uses))
            last = (*uses, *(Use(name, still, "sync") for name in names or ("matrix" + core,)))
        runs = (Run(steps.parts - 1, uses), Run(1, last)) if steps.parts > 1 else (Run(1, last),)
        return Actor(f"compute{core}", runs, steps.outputs)

    def _joins(self, chain: list[Actor], core: str) -> Iterator[Channel]:
        """One after the other; a tile's space is free once it was computed with, a single buffer's
        once the vector engine is done too."""
        steps, buffers = self.steps, 1 if self._single() else self.steps.buffers
        names = [actor.name for actor in chain]
        user = f"vector{core}" if self._single() and f"vector{core}" in names else f"compute{core}"
        yield Channel("launch", names[0], steps.total, 1, kind="launch")
        yield Channel(names[0], names[0], initial=max(1, buffers - 1), kind="space")
        yield Channel(user, names[0], initial=buffers, kind="space")
        if self._single() and not steps.once:  # results lie where the next tiles would
            yield Channel(names[-1], names[0], steps.parts, 1, steps.parts, kind="space")
        computed = False
        for source, target in pairwise(chain):
            computed |= source.name == f"compute{core}"
            gathers = source.firings // target.firings
            room = 2 * gathers if computed else None
            yield Channel(source.name, target.name, consume=gathers, capacity=room)
