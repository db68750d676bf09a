"""What a run would save were a resource never busy: it is run again without."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from sim.event.engine import Engine
from sim.event.program import Actor, Program
from sim.event.record import Timeline

SHOWN = 0.05  # share of the critical path from which on it is asked what a lack would save


def saved_without(
    program: Program, timeline: Timeline, on_path: Mapping[str, float]
) -> Iterator[tuple[str, float]]:
    """(resource, seconds less) for each that the path waits for."""
    known = {"sync", *(resource.name for resource in program.resources)}
    for name, seconds in on_path.items():
        if name in known and seconds > SHOWN * timeline.seconds:
            less = Engine(without(program, name), record=False).run()
            yield name, timeline.seconds - less.seconds


def without(program: Program, name: str) -> Program:
    """The program as if the resource, or uses of this kind, took no time."""

    def cut(actor: Actor) -> Actor:
        kept = (tuple(u for u in r.uses if name not in (u.resource, u.kind)) for r in actor.cycle)
        runs = (replace(r, uses=uses) for r, uses in zip(actor.cycle, kept, strict=True))
        return replace(actor, cycle=tuple(runs))

    return replace(program, actors=tuple(map(cut, program.actors)))
