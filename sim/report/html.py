"""A Run as one HTML file that needs no network: key figures, roofline, breakdowns, every op.

The frame and its parts are sim/report/page.py's, the figures sim/report/figures.py's. All names
from outside are escaped.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from html import escape
from pathlib import Path
from typing import Any

from sim.report import figures
from sim.report.page import chip, figure, meter, page, section, table, tile
from sim.report.quantities import binary, percent, si
from sim.report.timeline import timeline_cards
from sim.run import OpRun, Run, Trust

KIND_COLORS = {
    "calibrated": "#0072B2", "datasheet": "#56B4E9", "derived": "#009E73", "recalled": "#E69F00",
    "guessed": "#D55E00",
}  # fmt: skip


def write_html(run: Run, path: Path) -> None:
    """The report as a file, about 5 MB of which are plotly.js."""
    path.write_text(html_document(run), encoding="utf-8")


def html_document(run: Run) -> str:
    """The whole page."""
    sections = (_header, _trust, _roofline, _latency, timeline_cards, _energy, _traffic, _ops)
    title = f"{run.workload} {run.phase} on {run.design}"
    return page(title, "\n".join(section_of(run) for section_of in sections))


def _header(run: Run) -> str:
    span = f"batch {run.batch}, new tokens per sequence {run.tokens}, context {run.context}"
    span = span if run.unit == "token" else "all of them once"
    about = f"{run.simulator} simulation, mapped for {run.objective}, formats: {run.formats}"
    warnings = "".join(f"<div>{escape(warning)}</div>" for warning in run.warnings)
    return (
        f"<header><h1>{escape(run.workload)} on {escape(run.design_title)}</h1>"
        f"<div><b>{escape(run.phase)}</b>, {span}</div>"
        f'<div class="soft">{escape(about)}; design {escape(run.design)}</div></header>'
        + (f'<div class="warning" role="alert"><b>Warning</b>{warnings}</div>' if warnings else "")
        + f'<dl class="tiles">{"".join(tile(*each) for each in _key_figures(run))}</dl>'
    )


def _key_figures(run: Run) -> Iterable[tuple[str, str, str]]:
    """(name, value, note)"""
    band = run.latency_trust
    yield "Latency", si(run.latency_s, "s"), f"{si(band.low, 's')} to {si(band.high, 's')}"
    if run.ttft_s is not None:
        yield "TTFT", si(run.ttft_s, "s"), "time to first token"
    if run.tpot_s is not None:
        yield "TPOT", si(run.tpot_s, "s"), "time per output token"
    yield (
        "Throughput",
        f"{run.tokens_per_s:.4g} {run.unit}s/s",
        f"{run.produced_tokens} {run.unit}s",
    )
    yield "Energy", si(run.energy_j, "J"), f"{si(run.energy_per_token_j, 'J')} per {run.unit}"
    yield "Power", si(run.power_w, "W"), "average over the run"
    if run.area_mm2 is not None:
        whole = "die" if run.area_is_die else "the parts that state one"
        yield "Area", f"{run.area_mm2:.4g} mm²", whole
    need, fits = run.held_bytes, "fits" if run.fits else "does not fit"
    parts = ", ".join(f"{name} {binary(size)}" for name, size in run.held().items())
    if run.stages:
        axes = ", ".join(f"{axis} {ways}" for axis, ways in run.parallel.items())
        yield "Chips", str(run.chips), axes or "no parallelism"
    for name, held in run.backing.items():
        parts += f"; {binary(held.bytes)} in {name} of {binary(held.capacity)}"
    parts += f"; {binary(run.main_bytes)} here" if run.backing else ""
    yield "Memory", f"{binary(need)}, {fits}", f"{parts}; capacity {binary(run.memory_bytes)}"
    if run.cost_usd is not None:
        per_million = run.cost_usd / run.produced_tokens * 1e6
        yield "Cost", f"{per_million:.3g} USD", f"per million {run.unit}s, at the price per hour"


def _trust(run: Run) -> str:
    totals = {"latency": (run.latency_trust, "s"), "energy": (run.energy_trust, "J")}
    rows = "".join(_trust_row(name, trust, unit) for name, (trust, unit) in totals.items())
    if run.area_trust:
        rows += _trust_row("area", run.area_trust, "mm²")
    legend = "".join(f"<span>{chip(color)}{kind}</span>" for kind, color in KIND_COLORS.items())
    caption = (
        "What the totals rest on: the share of each that stands on a kind of number, by the least "
        "trusted number involved. The band is the uncertainty of those numbers alone; errors of "
        "the model's formulas come on top."
    )
    body = f'<div class="trust">{rows}</div><p class="legend soft">{legend}</p>'
    return section("How far to trust these figures", caption, body)


def _trust_row(name: str, trust: Trust, unit: str) -> str:
    parts = "".join(
        f'<div style="width:{100 * share:.3f}%;background:{KIND_COLORS.get(kind, figures.GREY)}" '
        f'title="{escape(kind)} {percent(share)}"></div>'
        for kind, share in trust.shares.items()
    )
    number = (lambda v: f"{v:.4g} mm²") if unit == "mm²" else (lambda v: si(v, unit))
    half = (trust.high - trust.low) / (trust.high + trust.low)
    band = f"{number(trust.low)} to {number(trust.high)} (±{percent(half)})"
    shares = ", ".join(f"{escape(k)} {percent(s)}" for k, s in trust.shares.items() if s >= 0.0005)
    return f'<b>{name}</b><div><div class="stack">{parts}</div><small>{shares}</small></div>{band}'


def _roofline(run: Run) -> str:
    drawn = [op for op, _, _ in figures.on_roofline(run)]
    others = [(op.name, op.count * op.latency_s) for op in run.ops if op not in drawn]
    rest = sum(seconds for _, seconds in others)
    listed = ", ".join(
        f"{escape(name)} {percent(s / run.latency_s)}"
        for name, s in sorted(others, key=lambda o: -o[1])
    )
    aside = (
        f"<p><b>Not drawn:</b> {len(others)} ops that multiply nothing or move nothing at the "
        f"outermost memory, {si(rest, 's')} or {percent(rest / run.latency_s)} of the latency. "
        f'<span class="soft">{listed}</span></p>'
    )
    caption = (
        "One point per op with multiplications, its size the share of the latency. Solid: the "
        "outermost memory's bandwidth and the peak of the multipliers; dotted: memories nearer by, "
        "the limit if the same bytes came from there. A request's decode ops are diamonds."
    )
    plot = figure(figures.roofline(run), "roofline") if drawn else ""
    return section("Roofline: how close ops come to the machine's limits", caption, plot + aside)


def _latency(run: Run) -> str:
    first = run.limits[0]
    title = (
        f"Where the time goes: {percent(first.exposed_s / run.latency_s)} of "
        f"{si(run.latency_s, 's')} is spent waiting for {escape(first.resource)}"
    )
    caption = "Each op's latency by the resource waited for, in order of execution."
    colors, whole = figures.resource_colors(run), run.latency_s
    rows = [
        [_name(x.resource, colors), meter(x.exposed_s / whole, colors[x.resource]),
         si(x.exposed_s, "s"), percent(x.exposed_s / whole), percent(x.saves_s / whole)]
        for x in run.limits
    ]  # fmt: skip
    rows_table = "<h3>What each resource costs</h3>" + table(
        ["waited for", "", "time", "share", "saves"], rows, numbers=(2, 3, 4)
    )
    note = (
        '<p class="soft">What it saves if it took no time: less than it costs where another '
        "resource then takes over.</p>"
    )
    panels = _panels(run, lambda op: op.exposed_s, "s")
    return section(
        title, caption, f'<div class="split"><div>{panels}</div><div>{rows_table}{note}</div></div>'
    )


def _panels(run: Run, parts: figures.Parts, unit: str) -> str:
    colors, phases = figures.resource_colors(run), figures.panels(run)
    body = ""
    for phase, ops in phases.items():
        total = si(sum(figures.totals(ops, parts).values()), unit)
        body += f"<h3>{escape(phase)}: {total}</h3>" if len(phases) > 1 else ""
        body += figure(figures.bars(ops, parts, unit, colors), f"{phase}: {total} by op")
    return body


def _energy(run: Run) -> str:
    spent = figures.totals(run.ops, lambda op: op.energy_by_j)
    ranked = sorted(spent.items(), key=lambda item: -item[1])
    colors, whole = figures.resource_colors(run), run.energy_j
    title = (
        f"Where the energy goes: {percent(ranked[0][1] / whole)} of {si(whole, 'J')} "
        f"is {escape(ranked[0][0])}"
    )
    caption = "Each op's energy by memory level and engine; static is the power of an idle chip."
    rows = [
        [_name(name, colors), meter(j / whole, colors[name]), si(j, "J"), percent(j / whole)]
        for name, j in ranked
    ]
    rows_table = "<h3>What each part spends</h3>" + table(
        ["spent in", "", "energy", "share"], rows, (2, 3)
    )
    panels = _panels(run, lambda op: op.energy_by_j, "J")
    return section(
        title, caption, f'<div class="split"><div>{panels}</div><div>{rows_table}</div></div>'
    )


def _traffic(run: Run) -> str:
    caption = (
        "All bytes read and written at each level, outermost first, by operand; hatched is written."
        " The bars are shares of the level's bytes: nearer levels move far more of them."
    )
    return section(
        "What moves through each memory", caption, figure(figures.traffic(run), "traffic")
    )


def _ops(run: Run) -> str:
    head = ["op", "kind", "count", "each", "total", "share", "bound by", "then", "utilization",
            "energy", "variant", "tile and mapping"]  # fmt: skip
    colors = figures.resource_colors(run)
    rows = [_op_row(op, run, colors) for op in run.ops]
    caption = "In order of execution; utilization is of the op's cores' peak, energy the total."
    return section("Every op", caption, table(head, rows, numbers=(2, 3, 4, 5, 8, 9)))


def _op_row(op: OpRun, run: Run, colors: dict[str, str]) -> list[str]:
    total = op.count * op.latency_s
    fused = f"<br><small>with {escape(', '.join(op.fused))}</small>" if op.fused else ""
    instead = "".join(
        f"<br><small>{escape(v)} {si(s, 's')}</small>" for v, s in op.instead_s.items()
    )
    mapping = (
        f"<details><summary>{escape(op.tile)}</summary><pre>{_mapping(op.mapping)}</pre></details>"
    )
    return [
        escape(op.name) + fused, f"{escape(op.kind)}<br><small>{escape(op.cores)}</small>",
        f"{op.count:g}", si(op.latency_s, "s"), si(total, "s"), percent(total / run.latency_s),
        _name(op.bound_by, colors), _name(op.next_bound, colors), percent(op.utilization),
        si(op.count * op.energy_j, "J"), escape(op.variant) + instead, mapping,
    ]  # fmt: skip


def _mapping(mapping: Any) -> str:
    """A line per memory level of a matrix multiplication, otherwise a line per choice."""
    lines = (
        mapping if isinstance(mapping, list) else [{k: v} for k, v in dict(mapping or {}).items()]
    )
    return escape("\n".join(json.dumps(x, default=str).strip("{}").replace('"', "") for x in lines))


def _name(resource: str, colors: dict[str, str]) -> str:
    square = chip(colors.get(resource, figures.GREY))
    return f'<span class="name">{square}{escape(resource)}</span>'
