"""Batches that follow one another through the stages of a pipeline, by events.

    stage 0 | batch 0 | batch 1 | batch 2 | ...
    link 0            | 0 |     | 1 |     | 2 | ...
    stage 1               | batch 0 | batch 1 | ...

A stage works on a batch at a time; it goes on with the next one while its link carries the last
one's output, and waits when PLACES outputs have not been fetched. There is always another batch.
After the first batch one leaves every

    interval = max over stages and links of their seconds        (a tandem queue; Baccelli et al.,
                                                                  1992, max-plus)

which is at most the closed form's, where a stage sends before it goes on. A batch's own latency is
the sum of all: nothing waits on the way of the first one.
Not modeled: batches that differ; a last stage whose output decides what the first does next, where
there are fewer batches than stages; memory that a message takes from the next batch's ops.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from sim.event.engine import Engine
from sim.event.program import Actor, Channel, Program, Resource, Run, Use
from sim.run import Section

CLOCK = 10**12  # picoseconds
PLACES = 2  # outputs of a stage that wait for the next one


@dataclass(frozen=True, slots=True)
class Stage:
    """Seconds of work on a batch, and of handing it on over a link."""

    name: str
    work_s: float
    link: str
    send_s: float


def pipeline(stages: Sequence[Stage]) -> tuple[float, Section]:
    """(seconds from one batch to the next, when all are busy; the batches that ran)."""
    batches = 2 * len(stages) + 2  # the first fill it, the others are regular
    program = pipeline_program(stages, batches)
    timeline = Engine(program, fold=False).run()
    last = program.actors[-1].name
    ends = [job.end for job in timeline.jobs if job.actor == last]
    return (ends[-1] - ends[-2]) / timeline.tick_hz, Section("batches", 1, timeline, program)


def pipeline_program(stages: Sequence[Stage], batches: int) -> Program:
    """Stages and links take turns; stages that send nothing have no link."""
    actors = []
    for stage in stages:
        for does, on, seconds in (
            ("compute", stage.name, stage.work_s),
            ("send", stage.link, stage.send_s),
        ):
            if seconds:
                use = Use(on, round(seconds * CLOCK))
                actors.append(Actor(f"{does}.{stage.name}", (Run(batches, (use,)),)))
    names = [use.resource for actor in actors for run in actor.cycle for use in run.uses]
    return Program(
        tuple(actors),
        tuple(Channel(one.name, other.name, capacity=PLACES) for one, other in pairwise(actors)),
        tuple(Resource(name, CLOCK) for name in names),
    )
