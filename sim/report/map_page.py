"""A mapping as one HTML page: key figures, loop nest, what each memory holds, what moves, what is
busy, and where the mapping lies among others of the space."""

from __future__ import annotations

from html import escape
from itertools import cycle
from math import log10
from pathlib import Path
from typing import Any

from mappers.legality import occupancy
from mappers.search.sample import sample_space
from sim.map_api import Mapped
from sim.report.figures import ENGINE_COLORS, GREY, LEVEL_COLORS, OPERAND_COLORS
from sim.report.nest import how_known, nest_text, small
from sim.report.page import chip, figure, meter, page, section, stack, table, tile
from sim.report.quantities import binary, percent, si

SAMPLES = 800  # a few seconds
SEED = 0
BEST = "#D55E00"
WAYS = (("read", 0), ("written", 1))


def write_page(mapped: Mapped, file: Path) -> None:
    """The page as a file."""
    file.write_text(map_page(mapped), encoding="utf-8")


def map_page(mapped: Mapped) -> str:
    """The whole page."""
    parts = (_header, _nest, _memories, _space, _traffic, _times)
    title = f"{mapped.workload} on {mapped.design.name}"
    return page(title, "\n".join(part(mapped) for part in parts))


def _header(mapped: Mapped) -> str:
    cost, path = mapped.cost, mapped.path
    formats = ", ".join(f"{what} {name}" for what, name in mapped.formats.items())
    about = f"{formats}; {path.cores} {path.name} of design {mapped.design.name}"
    cycles = f"{mapped.cycles:,.0f} cycles at {si(path.clock_hz, 'Hz')}"
    tiles = (
        ("Latency", si(cost.latency_s, "s"), cycles),
        ("Energy", si(cost.energy_j, "J"), f"{si(cost.energy_j / cost.latency_s, 'W')} on average"),
        ("Bound by", escape(cost.bound_by), "the resource that is busy longest"),
        ("Utilization", percent(mapped.utilization), f"of what the {path.runs_on} engines can do"),
        ("Computing", f"{mapped.compute_cycles:,.0f}", "cycles in which the engines work"),
    )
    return (
        f"<header><h1>{escape(mapped.workload)} on {escape(mapped.design.title)}</h1>"
        f"<div>{escape(how_known(mapped))}</div>"
        f'<div class="soft">{escape(about)}</div></header>'
        f'<dl class="tiles">{"".join(tile(*each) for each in tiles)}</dl>'
    )


def _nest(mapped: Mapped) -> str:
    caption = (
        "From the outermost memory in. A level's line has its tile of each rank and the bytes that "
        "one instance holds; the loops above it step through the tile of the level outside. "
        "Where a level is double-buffered, an input that changes is held twice."
    )
    body = f'<div class="scroll"><pre>{escape(nest_text(mapped))}</pre></div>'
    return section("Loop nest", caption, body)


def _memories(mapped: Mapped) -> str:
    """A bar per level: bytes of each operand in one instance, of its capacity."""
    rows: list[list[str]] = []
    used: set[str] = set()
    for index, level in enumerate(mapped.path.memories):
        parts = occupancy(mapped.problem, mapped.found.mapping, mapped.path, index)
        used |= parts.keys()
        bar = stack(
            [
                (f"{operand} {binary(size)}", size / level.capacity, OPERAND_COLORS[operand])
                for operand, size in parts.items()
            ]
        )
        total = sum(parts.values())
        facts = [binary(total), binary(level.capacity), small(total / level.capacity)]
        rows.append([escape(level.name), bar, *facts, str(level.instances)])
    legend = "".join(f"<span>{chip(c)}{o}</span>" for o, c in OPERAND_COLORS.items() if o in used)
    head = ["level", "of the capacity of one instance", "held", "capacity", "share", "instances"]
    widths = table(head, rows, (2, 3, 4, 5)).replace("<th>of", '<th style="width:50%">of', 1)
    return section(
        "What each memory holds",
        "Bytes of each operand in one instance.",
        f'{widths}<p class="legend soft">{legend}</p>',
    )


def _traffic(mapped: Mapped) -> str:
    rows = []
    for level in mapped.path.memories:
        operands = mapped.cost.work.traffic.get(level.name, {})
        total = sum(float(read + written) for read, written in operands.values())
        if not total:
            continue
        parts = [
            (f"{operand} {way} {binary(moved[at])}", float(moved[at]) / total, _color(operand))
            for operand, moved in operands.items()
            for way, at in WAYS
        ]
        words = [
            f"{chip(_color(operand))}{escape(operand)} {binary(read)}"
            + (f" + {binary(written)}" if written else "")
            for operand, (read, written) in operands.items()
        ]
        rows.append([escape(level.name), stack(parts), binary(total), "<br>".join(words)])
    caption = "Bytes in all, over all instances; bars are shares of the level's bytes."
    body = table(["level", "by operand", "moved", "read + written"], rows, (2,))
    body = body.replace("<th>by", '<th style="width:50%">by', 1)
    return section("What moves through each memory", caption, body)


def _color(operand: str) -> str:
    return OPERAND_COLORS.get(operand, GREY)


def _colors(mapped: Mapped) -> dict[str, str]:
    names = [level.name for level in mapped.path.memories]
    return dict(zip(names, cycle(LEVEL_COLORS), strict=False)) | ENGINE_COLORS


def _times(mapped: Mapped) -> str:
    cost, colors = mapped.cost, _colors(mapped)
    busy = sorted(cost.bounds().items(), key=lambda item: -item[1])
    rows = []
    for name, seconds in busy:
        if seconds:
            color, share = colors.get(name, GREY), seconds / cost.latency_s
            joules = si(cost.joules[name], "J") if name in cost.joules else ""
            label = f"{chip(color)}{escape(name)}"
            rows.append([label, meter(share, color), si(seconds, "s"), percent(share), joules])
    rows.append([f"{chip(GREY)}static", "", "", "", si(cost.joules["static"], "J")])
    head = ["resource", "", "busy", "of the latency", "energy"]
    body = table(head, rows, (2, 3, 4)).replace("<th></th>", '<th style="width:45%"></th>', 1)
    title = f"What is busy: {escape(cost.bound_by)} longest"
    return section(title, "Resources work at the same time, so shares do not add up.", body)


def _space(mapped: Mapped) -> str:
    latency, energy = sample_space(mapped.problem, mapped.path, SAMPLES, SEED)
    points = [*zip(latency.tolist(), energy.tolist(), strict=True)]
    name = "the mapping given" if mapped.file else "the mapping found"
    if not points:
        return section("Among other mappings", "None of those drawn at random is legal.", "")
    here = {"latency": mapped.cost.latency_s, "energy": mapped.cost.energy_j}
    here["edp"] = here["latency"] * here["energy"]
    values = [{"latency": s, "energy": j, "edp": s * j}[mapped.objective] for s, j in points]
    better = sum(value < here[mapped.objective] for value in values)
    middle = sorted(values)[len(values) // 2] / here[mapped.objective]
    what = {"edp": "energy-delay product"}.get(mapped.objective, mapped.objective)
    times = f"{middle:,.0f}" if middle >= 100 else f"{middle:.3g}"
    caption = (
        f"{len(points)} legal mappings drawn at random (seed {SEED}), not uniformly. "
        f"{better or 'None'} of them {'have' if better > 1 else 'has'} less {what} than {name}; "
        f"the middle one has {times} times as much."
    )
    label = f"energy against latency of {len(points)} mappings, and {name}"
    return section(
        "Among other mappings", caption, figure(_scatter(points, here, name, mapped), label)
    )


def _scatter(
    points: list[tuple[float, float]], here: dict[str, float], name: str, mapped: Mapped
) -> dict[str, Any]:
    cloud = _marks("drawn at random", points, {"color": "#0072B2", "size": 5, "opacity": 0.45})
    star = {"color": BEST, "size": 15, "symbol": "star", "line": {"color": "#fff", "width": 1}}
    best = _marks(name, [(here["latency"], here["energy"])], star)
    front = [(point.latency_s, point.energy_j) for point in mapped.front]
    every = [*points, (here["latency"], here["energy"]), *front]
    layout = {
        "height": 460,
        "margin": {"l": 70, "r": 10, "t": 36, "b": 50},
        "xaxis": _axis("latency (s)", [s for s, _ in every]),
        "yaxis": _axis("energy (J)", [j for _, j in every]),
    }
    line = {"color": BEST, "size": 8, "symbol": "diamond-open"}
    beside = [_marks("front, also in bytes held", front, line)] if front else []
    return {"data": [cloud, best, *beside], "layout": layout}


def _marks(name: str, points: list[tuple[float, float]], marker: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": [s for s, _ in points],
        "y": [j for _, j in points],
        "text": [f"{si(s, 's')}, {si(j, 'J')}" for s, j in points],
        "hovertemplate": f"{name}<br>%{{text}}<extra></extra>",
        "marker": marker,
    }


def _axis(title: str, values: list[float]) -> dict[str, Any]:
    low, high = log10(min(values)), log10(max(values))
    room = 0.05 * (high - low) + 0.02
    span = [low - room, high + room]
    steps = "D1" if high - low < 0.5 else "D2"
    return {"type": "log", "title": {"text": title}, "tickformat": "~s", "range": span,
            "dtick": 1 if high - low > 3 else steps}  # fmt: skip
