"""Which uses handed data to which: the arrows of a trace, from load to compute to store.

The uses of one firing follow one another as data stream through. Between actors a program's data
channels tell: the firing i that takes c tokens a time takes its last one from the firing
ceil(((i + 1) c - initial) / p) - 1 of an actor that gives p (where rates differ by phase, the first
firing up to which so many were given). Without the program only those arrows are known for which
somebody waited (`Job.after` of a wait for data). Arrows never cross a leap.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from sim.event.program import Actor, Channel, Program, Rate, given
from sim.event.record import Job, Timeline

Firing = tuple[str, int]


def chains(timeline: Timeline, program: Program | None = None) -> list[list[Job]]:
    """Each from the first use to the last; where a use has several readers, or a reader several
    sources, the others begin chains of their own. Uses that take no time are left out."""
    found: list[list[Job]] = []
    tails: dict[int, list[Job]] = {}
    fed: set[int] = set()
    for source, target in _links(timeline, program):
        chain = tails.pop(id(source), None) if id(target) not in fed else None
        if chain is None:
            chain = [source]
            found.append(chain)
        chain.append(target)
        if id(target) not in fed:
            tails[id(target)] = chain
        fed.add(id(target))
    return found


def _links(timeline: Timeline, program: Program | None) -> Iterator[tuple[Job, Job]]:
    """(from, to) in the order of the begin of the second."""
    leaps = _leaps_before(timeline)
    last = _last_uses(timeline)
    sources = Sources(program) if program else None
    seen: set[Firing] = set()
    for job in timeline.jobs:
        firing = job.actor, job.index
        before = [job.after] if job.after and _hands_on(job, job.after, program) else []
        if sources and firing not in seen:
            before += [last[f] for f in sources.of(firing) if f in last]
        seen.add(firing)
        for source in before:
            same = leaps[id(source)] == leaps[id(job)] if id(source) in leaps else False
            if same and source.end > source.begin and job.end > job.begin:
                yield source, job


def _hands_on(job: Job, after: Job, program: Program | None) -> bool:
    """Is what ended before it the firing's use before, or (not knowing the program) its data?"""
    if after.actor == job.actor:
        return after.index == job.index and after.resource != job.resource
    return program is None and job.cause == "data"


def _leaps_before(timeline: Timeline) -> dict[int, int]:
    """Of every job, by its id."""
    count, found = 0, {}
    for job in timeline.jobs:
        while count < len(timeline.folds) and timeline.folds[count].at < job.begin:
            count += 1
        found[id(job)] = count
    return found


def _last_uses(timeline: Timeline) -> dict[Firing, Job]:
    """The last to end of every firing."""
    last: dict[Firing, Job] = {}
    for job in timeline.jobs:
        firing = job.actor, job.index
        if firing not in last or job.end >= last[firing].end:
            last[firing] = job
    return last


def _sources(program: Program) -> dict[str, list[Channel]]:
    """By actor: what brings it data."""
    found: dict[str, list[Channel]] = {}
    for channel in program.channels:
        if channel.kind == "data" and channel.source != channel.target and not channel.after:
            found.setdefault(channel.target, []).append(channel)
    return found


@dataclass(frozen=True)
class Sources:
    """Who brings a program's actors their data."""

    program: Program

    @cached_property
    def actors(self) -> dict[str, Actor]:
        return {actor.name: actor for actor in self.program.actors}

    @cached_property
    def channels(self) -> dict[str, list[Channel]]:
        """By target."""
        return _sources(self.program)

    def of(self, firing: Firing) -> Iterator[Firing]:
        """The firings that brought the last token of each of its inputs."""
        name, index = firing
        for channel in self.channels.get(name, ()):
            source, target = self.actors[channel.source], self.actors[name]
            before, needed = (given(target, channel.consume, index + n) for n in (0, 1))
            needed -= channel.initial
            if needed + channel.initial > before and needed > 0:
                yield source.name, _giver(source, channel.produce, needed)


def _giver(source: Actor, rate: Rate, tokens: int) -> int:
    """The firing that brings the sum to so many."""
    if isinstance(rate, int):
        return -(tokens // -rate) - 1
    firings = range(1, source.firings + 1)
    return bisect_left(firings, tokens, key=lambda n: given(source, rate, n))
