"""A run by events as figures: a Gantt chart per resource, and what each resource waits for.

Plotly JSON as in figures.py. A chart has at most MOST bars, so that a page stays small: where there
are more, neighbors on a lane that lie within a time are drawn as one, the shortest time that does;
the caption says so. Folded stretches are hatched.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape
from itertools import cycle

from sim.event.bars import Bar, Stretch, bars
from sim.event.graph import MARK
from sim.event.record import LOSSES
from sim.report.figures import GREY, LEVEL_COLORS, TIMES, Figure, text
from sim.report.page import chip, figure, section, table
from sim.report.quantities import percent, si

MOST = 4000  # bars of a chart
FINEST = 1 << 20  # of the chart's width: where merging begins
PALEST = 0.2  # opacity of a bar that is hardly busy
DOES = {
    "load": "#0072B2", "fetch": "#56B4E9", "convert": "#AA4499", "compute": "#D55E00",
    "vector": "#CC79A7",
    "finish": "#882255", "store": "#009E73", "launch": "#7F7F7F", "sync": "#E69F00",
    "refresh": "#999933",
    "repeated": "#8A8F98", "not recorded": "#C8CCD2",
}  # fmt: skip
STALLS = {
    "busy": "#0072B2", "data": "#E69F00", "space": "#F0E442", "sync": "#D55E00",
    "launch": "#7F7F7F", "refresh": "#999933", "turnaround": "#882255", "contention": "#CC79A7",
    "other": "#56B4E9", "idle": "#C8CCD2",
}  # fmt: skip
Stalls = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True, slots=True)
class Drawn:
    """A bar of the chart, in seconds: `uses` of a resource that do the same."""

    row: str
    does: str
    begin: float
    end: float
    busy: float
    uses: int
    label: str

    def with_next(self, other: Drawn) -> Drawn:
        """Both as one, which does what takes longer."""
        does = self.does if self.busy >= other.busy else other.does
        busy, uses = self.busy + other.busy, self.uses + other.uses
        return replace(self, does=does, end=other.end, busy=busy, uses=uses)


def does_of(bar: Bar) -> str:
    """What a bar stands for: the actor's part of the work, whichever core's or level's it is."""
    if bar.job is None:
        return "repeated" if bar.fold else "not recorded"
    if bar.job.kind in LOSSES:
        return bar.job.kind
    return bar.job.actor.rpartition(MARK)[2].partition(".")[0].partition(" ")[0]


def drawn(stretches: Iterable[Stretch]) -> dict[str, list[Drawn]]:
    """By row: resources, and their lanes."""
    rows: dict[str, list[Drawn]] = {}
    for stretch in stretches:
        second = 1 / stretch.timeline.tick_hz
        for bar in bars(stretch.timeline):
            row = f"{bar.resource} #{bar.lane + 1}" if bar.lane else bar.resource
            begin, end = (stretch.start_s + tick * second for tick in (bar.begin, bar.end))
            name = f"{stretch.label}: {bar.name}"
            uses = 1 if bar.job else 0
            rows.setdefault(row, []).append(
                Drawn(row, does_of(bar), begin, end, bar.busy * second, uses, name)
            )
    return rows


def merged(rows: dict[str, list[Drawn]], most: int = MOST) -> tuple[list[Drawn], float]:
    """At most so many of them (if there are fewer rows), and within what time neighbors are one."""
    span, near = max((bar.end for row in rows.values() for bar in row), default=0.0), 0.0
    found = [bar for row in rows.values() for bar in row]
    while len(found) > max(most, len(rows)):
        near = 2 * near or span / FINEST
        found = [bar for row in rows.values() for bar in _joined(row, near)]
    return found, near


def _joined(row: list[Drawn], near: float) -> list[Drawn]:
    """Neighbors that lie within so much time as one."""
    found: list[Drawn] = []
    for bar in row:
        if found and bar.end - found[-1].begin <= near:
            found[-1] = found[-1].with_next(bar)
        else:
            found.append(bar)
    return found


def gantt(stretches: Sequence[Stretch], most: int = MOST) -> Figure:
    """Time to the right, a row per resource below the ops; drag to zoom, double click to reset."""
    rows = drawn(stretches)
    shown, _ = merged(rows, most)
    data = [_ops(stretches)]
    used = dict.fromkeys(bar.does for bar in shown)
    for does, color in _colors(used).items():
        data.append(_trace(does, color, [bar for bar in shown if bar.does == does]))
    end = max((s.start_s + s.timeline.seconds for s in stretches), default=0.0)
    yaxis = {
        "categoryorder": "array", "categoryarray": ["ops", *rows], "autorange": "reversed",
        "automargin": True, "showgrid": False, "fixedrange": True,
    }  # fmt: skip
    xaxis = {"ticksuffix": "s", "tickformat": "~s", "range": [0, end], "nticks": 6}
    layout = {"barmode": "overlay", "bargap": 0.18, "xaxis": xaxis, "yaxis": yaxis}
    layout |= {"dragmode": "zoom", "height": 116 + 28 * (len(rows) + 1)}
    layout |= {"uniformtext": {"minsize": 11, "mode": "hide"}}  # names that do not fit
    return {"data": data, "layout": layout | {"margin": {"l": 8, "r": 12, "t": 58, "b": 30}}}


def _colors(used: Iterable[str]) -> dict[str, str]:
    """In the order of DOES; what it does not know takes the levels' colors."""
    names = set(used)
    others = sorted(names - DOES.keys())
    known = {does: color for does, color in DOES.items() if does in names}
    return known | dict(zip(others, cycle(LEVEL_COLORS), strict=False))


def _ops(stretches: Sequence[Stretch]) -> Figure:
    """The row of ops: their names, as far as there is room."""
    names = [f"{s.label} {TIMES}{s.count:g}" if s.count != 1 else s.label for s in stretches]
    return {
        "type": "bar",
        "orientation": "h",
        "name": "op",
        "showlegend": False,
        "y": ["ops"] * len(names),
        "base": [_short(s.start_s) for s in stretches],
        "x": [_short(s.timeline.seconds) for s in stretches],
        "text": [text(name) for name in names],
        "textposition": "inside",
        "insidetextanchor": "middle",
        "textangle": 0,
        "constraintext": "inside",
        "hovertext": [
            f"{text(n)}<br>{si(s.timeline.seconds, 's')} each"
            for n, s in zip(names, stretches, strict=True)
        ],
        "hovertemplate": "%{hovertext}<extra></extra>",
        "cliponaxis": True,
        "marker": {"color": "rgba(138,143,152,0.28)", "line": {"color": GREY, "width": 1}},
    }


def _trace(does: str, color: str, shown: list[Drawn]) -> Figure:
    """All bars of a color."""
    shades = [round(max(PALEST, _share(bar)), 2) for bar in shown]
    marker: Figure = {"color": color, "opacity": shades, "line": {"width": 0}}
    if does == "repeated":
        marker["pattern"] = {"shape": "/", "size": 7, "solidity": 0.35}
    return {
        "type": "bar",
        "orientation": "h",
        "name": text(does),
        "y": [bar.row for bar in shown],
        "base": [_short(bar.begin) for bar in shown],
        "x": [_short(bar.end - bar.begin) for bar in shown],
        "text": [_hover(bar) for bar in shown],
        "textposition": "none",
        "hovertemplate": "%{y}<br>%{text}<extra></extra>",
        "marker": marker,
    }


def _short(seconds: float) -> float:
    """Digits enough to zoom in on a billionth of the chart."""
    return float(f"{seconds:.10g}")


def _share(bar: Drawn) -> float:
    """Of its time that the resource is at work."""
    return min(1.0, bar.busy / (bar.end - bar.begin)) if bar.end > bar.begin else 1.0


def _hover(bar: Drawn) -> str:
    share = _share(bar)
    uses = f" and more, {bar.uses} uses" if bar.uses > 1 else ""
    busy = f", {percent(share)} busy" if share < 0.9995 else ""
    return f"{text(bar.label)}{uses}<br>{si(bar.end - bar.begin, 's')}{busy}"


def stalls_of(stretches: Iterable[Stretch]) -> dict[str, dict[str, float]]:
    """Seconds of every resource by what it did or waited for, all copies of all stretches; where
    an op does not use it, it is idle."""
    found: dict[str, dict[str, float]] = {}
    whole = 0.0
    for stretch in stretches:
        whole += stretch.count * stretch.timeline.seconds
        for name, parts in stretch.timeline.stalls().items():
            total = found.setdefault(name, {})
            for part, seconds in parts.items():
                total[part] = total.get(part, 0.0) + stretch.count * seconds
    for parts in found.values():
        parts["idle"] = parts.get("idle", 0.0) + max(0.0, whole - sum(parts.values()))
    return found


def shares_of(stalls: Stalls) -> dict[str, dict[str, float]]:
    """Of each resource's time, in the order of STALLS; causes without a name are `other`."""
    found = {}
    for name, parts in stalls.items():
        whole = sum(parts.values()) or 1.0
        other = sum(s for part, s in parts.items() if part not in STALLS)
        named = {"other": other} | {k: parts.get(k, 0.0) for k in STALLS if k != "other"}
        found[name] = {part: max(0.0, named[part]) / whole for part in STALLS}
    return found


def stall_figure(stalls: Stalls) -> Figure:
    """A bar per resource: shares of the whole time."""
    shares = shares_of(stalls)
    data = []
    for part, color in STALLS.items():
        values = [of[part] for of in shares.values()]
        if max(values, default=0.0) < 5e-5:
            continue
        trace: Figure = {"type": "bar", "orientation": "h", "name": part, "x": values}
        trace |= {"y": [text(name) for name in shares], "marker": {"color": color}}
        trace |= {"hovertemplate": f"%{{y}}<br>{part}: %{{x:.1%}}<extra></extra>"}
        data.append(trace)
    xaxis = {"tickformat": ".0%", "range": [0, 1], "dtick": 0.25}
    yaxis = {"autorange": "reversed", "automargin": True, "showgrid": False}
    margin = {"l": 8, "r": 26, "t": 58, "b": 30}
    layout = {"barmode": "stack", "xaxis": xaxis, "yaxis": yaxis, "margin": margin}
    return {"data": data, "layout": layout | {"height": 116 + 25 * len(shares)}}


def timeline_section(stretches: Sequence[Stretch], most: int = MOST) -> str:
    """The Gantt chart as a card of a page."""
    rows = drawn(stretches)
    bars_of_all = sum(len(row) for row in rows.values())
    shown, near = merged(rows, most)
    caption = "Every resource's work over time. Drag over a stretch to zoom in, double click to go "
    caption += "back. An op is drawn once, however many copies of it run"
    if any(stretch.timeline.folds for stretch in stretches):
        caption += "; hatched stretches repeat a period and are not told use by use"
    if any(not stretch.timeline.whole for stretch in stretches):
        caption += "; of a long op only the first uses were recorded"
    caption += "."
    if near:
        caption += (
            f" {bars_of_all} bars are drawn as {len(shown)}: neighbors that lie within "
            f"{si(near, 's')} are one, in the color of what took longest, the paler the less busy."
        )
    return section("What runs when", caption, figure(gantt(stretches, most), "Gantt chart"))


def batches_section(stretches: Sequence[Stretch]) -> str:
    """Batches through the stages of a pipeline, as a card of a page."""
    caption = "What stages and their links do when batches follow one another: once the first has "
    caption += "filled the pipeline, one leaves it every interval."
    return section("Batches through the stages", caption, figure(gantt(stretches), "Gantt chart"))


def stall_section(stalls: Stalls) -> str:
    """What resources wait for, as a card with a figure and a table. Of the whole run."""
    shares = shares_of(stalls)
    names = [part for part in STALLS if any(of[part] >= 5e-4 for of in shares.values())]
    rows = [
        [escape(name), *(percent(of[part]) if of[part] >= 5e-4 else "" for part in names)]
        for name, of in shares.items()
    ]
    caption = (
        "The run's time as each resource spends it: at work, or without work since its next use "
        "waited for data, for space to put them, for a hand-over, a launch or another's turn, or "
        "since memory was refreshed or its bus turned around; idle "
        "is what is left after its last use, and ops that do not use it."
    )
    body = figure(stall_figure(stalls), "what each resource waits for")
    numbers = tuple(range(1, len(names) + 1))
    head = ["resource", *(f"{chip(STALLS[part])}{part}" for part in names)]
    return section("What each resource waits for", caption, body + table(head, rows, numbers))


def stall_markdown(stalls: Stalls) -> str:
    """The same table for text."""
    shares = shares_of(stalls)
    names = [part for part in STALLS if any(of[part] >= 5e-4 for of in shares.values())]
    lines = [["resource", *names], ["---", *("--:" for _ in names)]]
    lines += [[name, *(percent(of[part]) for part in names)] for name, of in shares.items()]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
