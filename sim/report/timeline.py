"""A run by events for people: its trace as a file, and the cards of its page."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from sim.event.bars import Stretch, in_a_row
from sim.event.trace import limits_of, write_trace
from sim.report.gantt import stall_section, timeline_section
from sim.run import Run


def stretches(run: Run) -> list[Stretch]:
    """Its ops one after the other; none of a run that was not by events."""
    sections = run.event.sections if run.event else ()
    parts = ((part.op, part.timeline, part.count, part.program) for part in sections)
    return list(in_a_row(parts))


def write_run_trace(run: Run, path: Path) -> None:
    """For ui.perfetto.dev. Bandwidths are those that transfers reach, all instances together."""
    bands: Mapping[str, float] = run.facts.get("bandwidth_bytes_per_s", {})
    title = f"{run.workload} {run.phase} on {run.design}"
    write_trace(stretches(run), path, title, limits_of(bands))


def timeline_cards(run: Run) -> str:
    """What runs when, and what each resource waits for; nothing for a run not by events."""
    if run.event is None:
        return ""
    return timeline_section(stretches(run)) + "\n" + stall_section(run.event.stalls)
