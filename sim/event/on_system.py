"""A schedule of several chips by events: what `sim.on_system` is by the closed form.

Ranks of a stage do the same, so that one is run: its ops as on one chip (`lower`), its collectives
round by round (`collective`), and those that the mapper put beside a multiplication in tiles with
it (`overlapped`). Stages run one after the other; `interval_s` is that of batches which follow one
another through them (`pipeline`). Every chip has a power limit of its own (`power`). Energy: the
closed form's, static power for as long as it takes.
Not modeled: static power of a stage that waits for another; messages of several stages or groups on
one port, beyond what the layout says.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import reduce

from mappers.partition import StagePlan, SystemSchedule
from mappers.plan import Placed
from sim import analytic, on_system
from sim.event.collective import collective_program
from sim.event.exchanges import exchanges, phases_in, sends_on
from sim.event.lower import programs_of
from sim.event.overlapped import overlapped_program
from sim.event.pipeline import Stage, pipeline
from sim.event.policies import Chosen
from sim.event.power import after, over_time, with_bucket
from sim.event.program import Program
from sim.event.run import Memo, Progress, op_by_events, run_of
from sim.event.stretched import by_policies, stretched
from sim.run import OpRun, PowerSpan, Run, Section, StageRun
from workloads.graph import Graph


def run(
    graph: Graph,
    found: SystemSchedule,
    progress: Progress | None = None,
    memo: Memo | None = None,
    policies: Sequence[Chosen] = (),
) -> Run:
    """The phase that the whole graph describes. Interrupted, with a `memo` and with `policies`, of
    which each takes a stage at a time, as `sim.event.run` does."""
    closed = on_system.run(graph, found)
    chips = [_Chip(plan, [analytic.op_run(p) for p in plan.schedule], []) for plan in found.stages]
    whole, done = sum(len(chip.ops) for chip in chips), 0
    warnings, memo = closed.warnings, {} if memo is None else memo
    try:
        for chip in chips:
            power = chip.plan.schedule.design.power
            for i, placed in enumerate(chip.plan.schedule):
                programs = (with_bucket(each, power) for each in chip_programs(placed, chip.plan))
                chip.ops[i], parts = op_by_events(chip.ops[i], placed, programs, memo)
                chip.sections += parts
                done += 1
                if progress:
                    progress(done, whole)
            chip.ops, chip.sections, chip.power = over_time(chip.ops, chip.sections, power)
            chip.together(policies)
    except KeyboardInterrupt:
        warnings += (f"interrupted: {done} of {whole} ops by events, the rest by closed form",)
    return _run(closed, warnings, chips, policies)


@dataclass
class _Chip:
    """A chip of a stage: its ops, by events as far as that is known, and their timelines."""

    plan: StagePlan
    ops: list[OpRun]
    sections: list[Section]
    power: tuple[PowerSpan, ...] = ()

    def together(self, policies: Sequence[Chosen]) -> None:
        """Ops that policies run together."""
        plan = self.plan
        static = plan.schedule.design.power.static
        named = by_policies(
            plan.schedule, self.ops, policies, lambda timed: replace(plan, schedule=timed)
        )
        for each in named:
            self.ops, self.sections = stretched(self.ops, self.sections, each, static)

    @property
    def sent_s(self) -> float:
        """Seconds of what it sends to the next stage."""
        pairs = zip(self.plan.schedule, self.ops, strict=True)
        return sum(op.count * op.latency_s for placed, op in pairs if sends_on(placed))

    @property
    def latency_s(self) -> float:
        return sum(op.count * op.latency_s for op in self.ops)


def _run(
    closed: Run, warnings: tuple[str, ...], chips: list[_Chip], policies: Sequence[Chosen]
) -> Run:
    """The closed form's with what ran by events instead."""
    ranks = [len(chip.plan.chips) for chip in chips]
    merged = on_system.merged(
        on_system.of_ranks(op, n) for n, chip in zip(ranks, chips, strict=True) for op in chip.ops
    )
    interval, through = pipeline(list(_working(chips))) if len(chips) > 1 else (None, None)
    spans: tuple[PowerSpan, ...] = reduce(after, (chip.power for chip in chips), ())
    found = run_of(closed, merged, list(_sections(chips)), warnings, policies, spans)
    assert found.event is not None
    return replace(
        found,
        stages=tuple(map(_stage, closed.stages, chips)),
        interval_s=interval,
        event=replace(found.event, pipeline=through),
    )


def _stage(stage: StageRun, chip: _Chip) -> StageRun:
    joules = sum(op.count * op.energy_j for op in chip.ops) * len(stage.chips)
    return replace(stage, latency_s=chip.latency_s, energy_j=joules)


def _sections(chips: list[_Chip]) -> Iterator[Section]:
    """Of all stages, which are named where there are several."""
    for number, chip in enumerate(chips):
        stage = f"stage {number}" if len(chips) > 1 else ""
        yield from (replace(section, stage=stage) for section in chip.sections)


def _working(chips: list[_Chip]) -> Iterator[Stage]:
    """Seconds of each stage's ops, and of what it sends on."""
    for number, chip in enumerate(chips):
        route = chip.plan.route
        link = f"{route[0][0].link} {number}" if route else ""
        yield Stage(f"stage {number}", chip.latency_s - chip.sent_s, link, chip.sent_s)


def chip_programs(placed: Placed, plan: StagePlan) -> Iterator[Program]:
    """What a chip of the stage runs for an op, one after the other."""
    if placed.plan.tiles:
        yield overlapped_program(placed, lambda moving: phases_in(plan, moving))
    elif exchanges(placed):
        yield collective_program(placed.cost, phases_in(plan, placed), placed.plan.path)
    else:
        yield from programs_of(placed)
