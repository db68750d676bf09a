"""Tasks that wait for tasks, on resources that serve one at a time: a program each of whose actors
fires once.

    begins = the latest of what it waits for, each with its latency; then in the order of asking

For schedules over a few machines, where a task is a machine's whole op, layer or transfer and not
its tiles (sim/event/lower.py): services are those that the machines' own programs take. A task in
`pieces` asks for its resources in as many equal parts, so that two that share one (a host's memory,
by its cores and by its link) take turns instead of one standing in the other's way.
Not modeled: tasks that depend on when others end, beyond waiting for them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from sim.event.program import Actor, Channel, Program, Resource, Run, Use

NANOSECONDS = 10**9  # ticks a second


@dataclass(frozen=True, slots=True)
class Task:
    """`seconds` of each resource, which are at work at the same time, the first one being asked
    first; `after` that, tasks wait for `latency_s` more."""

    name: str
    seconds: Mapping[str, float]
    after: Sequence[str] = ()
    latency_s: float = 0.0
    pieces: int = 1
    kind: str = field(default="")


def tasks_program(tasks: Sequence[Task]) -> Program:
    """All of them. Raises ValueError (`program.check`) for names that are twice, KeyError for tasks
    waited for that are not there."""
    known = {task.name: task for task in tasks}
    used = dict.fromkeys(name for task in tasks for name in task.seconds)
    return Program(
        tuple(actor for task in tasks for actor in _actors(task)),
        tuple(channel for task in tasks for channel in _waits(task, known)),
        tuple(Resource(name, NANOSECONDS) for name in used),
    )


def _actors(task: Task) -> Iterator[Actor]:
    """The task, and what turns the tokens that it waits for into one for each piece."""
    uses = tuple(
        Use(name, round(seconds * NANOSECONDS / task.pieces), task.kind)
        for name, seconds in task.seconds.items()
    )
    run = Run(task.pieces, uses, round(task.latency_s * NANOSECONDS))
    if task.pieces > 1 and task.after:
        yield Actor(_gate(task), (Run(1),))
    yield Actor(task.name, (run,))


def _waits(task: Task, known: Mapping[str, Task]) -> Iterator[Channel]:
    first = _gate(task) if task.pieces > 1 else task.name
    for name in dict.fromkeys(task.after):
        yield Channel(name, first, 1, known[name].pieces)
    if task.pieces > 1 and task.after:
        yield Channel(first, task.name, task.pieces, 1)


def _gate(task: Task) -> str:
    return f"{task.name} may begin"
