"""A run by events for people: its trace as a file, and the cards of its page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from sim.event.bars import Stretch, in_a_row
from sim.event.trace import limits_of, write_trace
from sim.report.gantt import batches_section, stall_section, timeline_section
from sim.report.tenants import tenants_card
from sim.run import Run


def stretches(run: Run) -> list[Stretch]:
    """Its ops one after the other; none of a run that was not by events."""
    sections = run.event.sections if run.event else ()
    found = in_a_row((part.op, part.timeline, part.count, part.program) for part in sections)
    return [replace(each, process=part.stage) for each, part in zip(found, sections, strict=True)]


def batches(run: Run) -> list[Stretch]:
    """Through the stages of a system, several of them; none of other runs."""
    part = run.event.pipeline if run.event else None
    if part is None:
        return []
    return [Stretch(part.op, part.timeline, 0.0, 1, part.program, "pipeline")]


def write_run_trace(run: Run, path: Path) -> None:
    """For ui.perfetto.dev. Bandwidths are those that transfers reach, all instances together; of
    a system, whose figures are those of a stage's chips, one chip's."""
    chips = len(run.stages[0].chips) if run.stages else 1
    whole: Mapping[str, float] = run.facts.get("bandwidth_bytes_per_s", {})
    bands = {name: bandwidth / chips for name, bandwidth in whole.items()}
    title = f"{run.workload} {run.phase} on {run.design}"
    write_trace([*stretches(run), *batches(run)], path, title, limits_of(bands), board(run))


def board(run: Run) -> list[tuple[float, float, float]]:
    """(second, watts, share of the clock) from where on each holds, and the end."""
    spans = run.event.power if run.event else ()
    points = [(span.start_s, span.watts, span.clock) for span in spans]
    ends = [(span.start_s + span.seconds, 0.0, span.clock) for span in spans[-1:]]
    return points + ends


def timeline_cards(run: Run) -> str:
    """What runs when, and what each resource waits for; nothing for a run not by events."""
    if run.event is None:
        return ""
    cards = [timeline_section(stretches(run)), stall_section(run.event.stalls)]
    if through := batches(run):
        cards.insert(1, batches_section(through))
    return "\n".join([tenants_card(run.event), *cards] if run.event.tenants else cards)
