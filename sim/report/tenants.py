"""Several graphs on one chip, for people: who slows whom down, and what is gained."""

from __future__ import annotations

from html import escape

from sim.report.page import section, table
from sim.report.quantities import percent, si
from sim.run import EventRun


def title(event: EventRun) -> str:
    """What came of running them together."""
    more = f"{percent(abs(event.gained))} {'more' if event.gained >= 0 else 'less'}"
    return f"together on the chip: {more} work per second than one after the other"


def tenants_lines(event: EventRun) -> list[str]:
    """A line for each, after a title."""
    lines = [title(event)]
    for one in event.tenants:
        runs = f"{one.runs} runs, " if one.runs > 1 else ""
        priority = f", priority {one.priority}" if one.priority else ""
        lines.append(
            f"  {one.name}: {runs}{si(one.together_s, 's')}, alone {si(one.alone_s, 's')}: "
            f"{one.slowdown:.3g} times as long{priority}"
        )
    return lines


def tenants_card(event: EventRun) -> str:
    """A row for each."""
    head = ["tenant", "runs", "priority", "alone", "together", "slowdown"]
    rows = [
        [
            escape(one.name), str(one.runs), str(one.priority), si(one.alone_s, "s"),
            si(one.together_s, "s"), f"{one.slowdown:.3g}",
        ]
        for one in event.tenants
    ]  # fmt: skip
    caption = f"{title(event).capitalize()}. Times are of all of a tenant's runs."
    return section("Tenants", caption, table(head, rows, tuple(range(1, len(head)))))
