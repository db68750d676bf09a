"""FlashAttention on Ascend 910B by events, against measured times and the ladder of mechanisms.

    python benchmarks/flash_ascend.py

The facts are in flash_ascend.yaml. `predicted` takes the four stages as measured (`stages`), or
from the design alone; everything else, the launch and the engines' hand-over among it, is the
design's. Nothing is fitted to the rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from typing import Any

from accel_models.facts import Count, Facts, Fraction
from accel_models.path import Path, memory_path
from accel_models.quantity import Hertz
from accel_models.read_design import read_design
from accel_models.reader import parse_yaml
from sim.event.engine import Engine
from sim.event.policies.flash_pipeline import FlashKnobs, FlashSizes, Stage, flash_program
from sim.event.policies.flash_stages import (
    FlashWork,
    MeasuredStages,
    design_stages,
    flash_machine,
    measured_stages,
    with_bytes,
    with_passes,
)

FORMAT = "fp16"
LADDER_AT = 32768  # queries and keys: the shares are flat in them


class Kernel(Facts):
    """How a kernel cuts the work; `knobs` are FlashKnobs'."""

    tile_queries: Count
    tile_keys: Count
    score_bytes: Count
    knobs: dict[str, Any]


class Rows(Facts):
    """Measured: by queries, one for each of `keys`; or, without `keys`, by queries = keys."""

    kernel: str
    clock: Hertz
    heads: Count
    keys: tuple[int, ...] = ()
    softmax: str = "separate"
    measured: dict[int, Any]


class Rung(Facts):
    """A step of the ladder; `share` of the native kernel's speed."""

    name: str
    share: Fraction
    softmax: str
    knobs: dict[str, Any]


class Stages(Facts):
    """Cycles of a block's stages, with shares of them that are moving and bytes of a score, of its
    tail and of its dispatch."""

    block: MeasuredStages
    moving: dict[str, Fraction]
    score_bytes: Count
    tail: float
    dispatch: float


class Ladder(Facts):
    kernel: str
    rungs: list[Rung]


class Ascend(Facts):
    """All of flash_ascend.yaml."""

    design: str
    cores: str
    width: Count
    stages: Stages
    softmax: dict[str, Any]
    update: dict[str, Any]
    kernels: dict[str, Kernel]
    ladder: Ladder
    rows: dict[str, Rows]


@dataclass(frozen=True, slots=True)
class Case:
    """One measured time, in seconds, or one to be predicted (NaN)."""

    rows: str
    sizes: FlashSizes
    clock_hz: float
    knobs: FlashKnobs
    softmax: str
    score_bytes: int
    measured_s: float = float("nan")


@cache
def ascend() -> Ascend:
    file = resources.files("sim").joinpath("measured", "flash_ascend.yaml")
    return Ascend.model_validate(parse_yaml(file.read_text("utf-8"), "flash_ascend.yaml").data)


def cases() -> Iterator[Case]:
    """All measured rows."""
    for name, rows in ascend().rows.items():
        for queries, times in rows.measured.items():
            if not rows.keys:
                yield _case(name, queries, queries, times * 1e-6)
                continue
            for keys, time in zip(rows.keys, times, strict=True):
                yield _case(name, queries, keys, time * 1e-6)


def _case(name: str, queries: int, keys: int, measured_s: float) -> Case:
    rows = ascend().rows[name]
    kernel = ascend().kernels[rows.kernel]
    sizes = FlashSizes(
        queries, keys, rows.heads, ascend().width, kernel.tile_queries, kernel.tile_keys
    )
    knobs = FlashKnobs(**kernel.knobs)
    return Case(name, sizes, rows.clock, knobs, rows.softmax, kernel.score_bytes, measured_s)


def rungs(queries: int) -> Iterator[tuple[Rung, Case]]:
    """The ladder's kernels at queries = keys."""
    like = _case("tilelang", queries, queries, float("nan"))
    base = ascend().kernels[ascend().ladder.kernel].knobs
    for rung in ascend().ladder.rungs:
        knobs = FlashKnobs(**{**base, **rung.knobs})
        yield rung, replace(like, knobs=knobs, softmax=rung.softmax)


@cache
def predicted(case: Case, measured: bool = True, moved: bool = False) -> float:
    """Seconds by events; `measured`: with the measured stages, else the design's alone; `moved`:
    with the measured stages' moving as the kernel's bytes."""
    facts = ascend()
    path = replace(_path(), clock_hz=case.clock_hz)
    machine = replace(
        flash_machine(path, path.cores), dispatch=facts.stages.dispatch, tail=facts.stages.tail
    )
    stages = _stages(case, path, measured, moved)
    program = flash_program(case.sizes, machine, case.knobs, stages)
    return Engine(program, record=False).run().seconds


@cache
def _path() -> Path:
    return memory_path(read_design(ascend().design), ascend().cores)


def _stages(case: Case, path: Path, measured: bool, moved: bool) -> dict[str, Stage]:
    """The measured stages were those of softmax with its operations apart."""
    facts = ascend()
    softmax = facts.softmax[case.softmax]
    work = FlashWork(FORMAT, case.score_bytes, softmax, facts.update["each"])
    design = design_stages(path, case.sizes, work)
    if not measured:
        return design
    stages = measured_stages(facts.stages.block, case.sizes, design)
    p = with_passes(stages["p"], path, facts.softmax["separate"], softmax)
    stages = {**stages, "p": p}
    if not moved:
        return stages
    wide = design_stages(path, case.sizes, replace(work, score_bytes=facts.stages.score_bytes))
    shares = facts.stages.moving
    return {n: with_bytes(s, shares[n], wide[n], design[n]) for n, s in stages.items()}


def rows_table() -> Iterator[str]:
    """Markdown: every measured row beside what is predicted; `otherwise` with hand-overs that hold
    the matrix engine where the kernel's do not, and the other way round."""
    yield (
        "| rows | queries | keys | measured us | predicted us | ratio | hand-overs otherwise "
        "| design alone |"
    )
    yield "| --- | --: | --: | --: | --: | --: | --: | --: |"
    for case in cases():
        sizes, measured, knobs = case.sizes, case.measured_s, case.knobs
        otherwise = replace(case, knobs=replace(knobs, sync_holds=not knobs.sync_holds))
        yield (
            f"| {case.rows} | {sizes.queries} | {sizes.keys} | {measured * 1e6:.1f} "
            f"| {predicted(case) * 1e6:.1f} | {predicted(case) / measured:.2f} "
            f"| {predicted(otherwise) / measured:.2f} "
            f"| {predicted(case, measured=False) / measured:.2f} |"
        )


def ladder_table(queries: int) -> Iterator[str]:
    """Markdown: shares of the native kernel's measured speed, as measured and as predicted; the
    last column with the stages' moving as the kernel's bytes."""
    native_s = native(queries).measured_s
    yield (
        "| mechanism added | measured | predicted | ratio | step measured | step predicted "
        "| bytes scaled |"
    )
    yield "| --- | --: | --: | --: | --: | --: | --: |"
    before = None
    for rung, case in rungs(queries):
        share = native_s / predicted(case)
        steps = "| | | "
        if before:
            steps = f"| {rung.share / before[0]:.2f} | {share / before[1]:.2f} | "
        steps += f"{native_s / predicted(case, moved=True):.0%} |"
        before = rung.share, share
        yield (f"| {rung.name} | {rung.share:.0%} | {share:.0%} | {share / rung.share:.2f} {steps}")


def native(queries: int) -> Case:
    """The native kernel's row."""
    return next(c for c in cases() if (c.rows, c.sizes.queries) == ("native", queries))
