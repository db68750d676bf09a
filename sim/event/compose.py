"""Programs made of programs: renamed apart, on the same resources, one beginning when another ends.

A program that is joined to others begins with its first actor, which fires once (a launch), and
ends with its last one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields, replace

from sim.event.program import Channel, Program, Resource

MOST = [field.name for field in fields(Resource) if field.name not in ("name", "clock_hz", "rate")]


def suffixed(program: Program, suffix: str) -> Program:
    """Its actors renamed, its resources not: whoever names them shares them."""
    return replace(
        program,
        actors=tuple(replace(actor, name=actor.name + suffix) for actor in program.actors),
        channels=tuple(
            replace(channel, source=channel.source + suffix, target=channel.target + suffix)
            for channel in program.channels
        ),
    )


def after(first: Program, then: Program) -> Channel:
    """The second begins when the first is over."""
    last = first.actors[-1]
    return Channel(last.name, then.actors[0].name, consume=last.firings, kind="launch")


def together(programs: Sequence[Program], channels: Iterable[Channel] = ()) -> Program:
    """All of them, joined by these channels. A resource that several have is one; what it loses
    (turnaround, refresh) is the most that any of them says. Raises ValueError for clocks or rates
    that differ."""
    resources: dict[str, Resource] = {}
    for each in (each for program in programs for each in program.resources):
        known = resources.setdefault(each.name, each)
        if (known.clock_hz, known.rate) != (each.clock_hz, each.rate):
            raise ValueError(f"'{each.name}' is not the same in all programs")
        most = {name: max(getattr(known, name), getattr(each, name)) for name in MOST}
        resources[each.name] = replace(known, **most)
    return Program(
        tuple(actor for program in programs for actor in program.actors),
        (*(channel for program in programs for channel in program.channels), *channels),
        tuple(resources[name] for name in sorted(resources)),
    )
