"""The HTML report's figures: plotly JSON as plain dicts, and the colors and numbers they share.

Bars are count times an op's figure; ops below SMALL of a panel's total share one bar, so that bars
sum to the run's total. Roofline: x = 2 * MACs / bytes of the outermost memory, y = 2 * MACs / s,
under y = x * bandwidth and y = 2 * peak (Williams, Waterman, Patterson, CACM 52(4), 2009).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from html import escape
from itertools import cycle
from math import log10
from typing import Any

from sim.report.quantities import percent, si
from sim.run import OpRun, Run

Figure = dict[str, Any]
Parts = Callable[[OpRun], dict[str, float]]
Point = tuple[OpRun, float, float]  # op, op/byte of the outermost memory, op/s

SMALL = 0.005  # of a panel's total
PHASES = ("prefill", "decode")
TIMES = "\N{MULTIPLICATION SIGN}"
GREY = "#8A8F98"  # readable on light and on dark
# Okabe and Ito, "Color Universal Design" (2008), then Tol's muted: levels from the outermost in.
LEVEL_COLORS = (
    "#0072B2", "#56B4E9", "#009E73", "#F0E442", "#E69F00", "#44AA99", "#117733", "#AA4499",
)  # fmt: skip
ENGINE_COLORS = {
    "matrix": "#D55E00", "vector": "#CC79A7", "launch": "#7F7F7F", "access": "#B5B5B5",
    "in_flight": "#8C6D4F", "power": "#5A4FCF", "static": "#9A9A9A",
}  # fmt: skip
# Tol's light scheme (SRON/EPS/TN/09-002, 2021): another family than the resources'.
OPERAND_COLORS = {
    "weight": "#77AADD", "keys, values": "#44BB99", "activation": "#EEDD88", "output": "#EE8866",
    "scores": "#FFAABB", "table": "#BBCC33", "epilogue": "#99DDFF",
}  # fmt: skip
GROUPS = {
    "attention": ("#009E73", "attention"),
    "attention projections": ("#0072B2", "q_proj k_proj v_proj o_proj qkv_proj out_proj c_attn"),
    "feed-forward": ("#E69F00", "gate_proj up_proj down_proj gate_up_proj c_fc fc1 fc2"),
    "output head": ("#CC79A7", "lm_head"),
    "other": ("#7F7F7F", ""),
}


def text(value: object) -> str:
    """Escaped for plotly, which draws a little HTML but knows no entities for quotes."""
    return escape(str(value), quote=False)


def phase_of(op: OpRun, run: Run) -> str:
    """A request's ops start with their phase."""
    phase = op.name.partition(".")[0]
    return phase if phase in PHASES else run.phase


def panels(run: Run) -> dict[str, tuple[OpRun, ...]]:
    """Ops by phase: one panel, or two for a request."""
    phases = dict.fromkeys(phase_of(op, run) for op in run.ops)
    return {phase: tuple(op for op in run.ops if phase_of(op, run) == phase) for phase in phases}


def short_name(op: OpRun) -> str:
    """Without the phase."""
    phase, _, rest = op.name.partition(".")
    return rest if phase in PHASES else op.name


def level_names(run: Run) -> list[str]:
    """Outermost first."""
    seen = dict.fromkeys(run.facts.get("bandwidth_bytes_per_s", {}))
    return list(seen | dict.fromkeys(level for op in run.ops for level in op.traffic))


def resource_colors(run: Run) -> dict[str, str]:
    """Every resource of the run in the order it is stacked, with its one color."""
    colors = dict(zip(level_names(run), cycle(LEVEL_COLORS), strict=False)) | ENGINE_COLORS
    used = [name for op in run.ops for name in (*op.busy_s, *op.exposed_s, *op.energy_by_j)]
    used += [limit.resource for limit in run.limits]
    return colors | {name: GREY for name in used if name not in colors}


def totals(ops: Iterable[OpRun], parts: Parts) -> dict[str, float]:
    """Sum over ops of count times each part."""
    found: dict[str, float] = {}
    for op in ops:
        for name, value in parts(op).items():
            found[name] = found.get(name, 0.0) + op.count * float(value)
    return found


def bars(ops: tuple[OpRun, ...], parts: Parts, unit: str, colors: dict[str, str]) -> Figure:
    """A bar per op in execution order, stacked by `parts` (each of one instance, in `unit`)."""
    sums = {label: totals(members, parts) for label, members in _rows(ops, parts).items()}
    labels, ends = list(sums), [sum(s.values()) for s in sums.values()]
    data = [
        _bar(name, labels, [s.get(name, 0.0) for s in sums.values()], unit, color)
        for name, color in colors.items()
        if any(s.get(name) for s in sums.values())
    ]
    shares: Figure = {"type": "scatter", "mode": "text", "x": ends, "y": labels}
    shares |= {"text": [f" {percent(end / (sum(ends) or 1.0))}" for end in ends]}
    shares |= {"textposition": "middle right", "showlegend": False, "hoverinfo": "skip"}
    axis = {"ticksuffix": unit, "tickformat": "~s", "range": [0, 1.13 * max(ends)], "nticks": 6}
    return {"data": [*data, shares], "layout": _bar_layout(len(labels), axis)}


def _rows(ops: tuple[OpRun, ...], parts: Parts) -> dict[str, list[OpRun]]:
    """Label to ops: by name, the small ones together at the end."""
    size = {id(op): op.count * sum(parts(op).values()) for op in ops}
    small = [op for op in ops if size[id(op)] < SMALL * sum(size.values())]
    small = small if len(small) > 1 else []
    found: dict[str, list[OpRun]] = {}
    for op in ops:
        if op not in small:
            times = f" {TIMES}{op.count:g}" if op.count > 1 else ""
            found.setdefault(text(short_name(op)) + times, []).append(op)
    return found | ({f"{len(small)} small ops": small} if small else {})


def _bar(name: str, labels: list[str], values: list[float], unit: str, color: str) -> Figure:
    return {
        "type": "bar",
        "orientation": "h",
        "name": text(name),
        "y": labels,
        "x": values,
        "marker": {"color": color},
        "text": [si(value, unit) for value in values],
        "textposition": "none",
        "hovertemplate": f"%{{y}}<br>{text(name)}: %{{text}}<extra></extra>",
    }


def _bar_layout(rows: int, xaxis: Figure) -> Figure:
    yaxis = {"autorange": "reversed", "automargin": True, "showgrid": False}
    margin = {"l": 8, "r": 8, "t": 36, "b": 30}
    size = {"height": 92 + 25 * rows, "margin": margin}
    return {"barmode": "stack", "xaxis": xaxis, "yaxis": yaxis} | size


def operand_class(op: OpRun, operand: str) -> str:
    """Operands of every op in a few classes; attention's `weight` is the cache."""
    if op.kind == "attention" and operand == "weight":
        return "keys, values"
    if operand in OPERAND_COLORS:
        return operand
    return "weight" if operand.endswith((".weight", ".bias")) else "activation"


def moved_bytes(run: Run) -> dict[str, dict[tuple[str, str], float]]:
    """Per level that moves anything, outermost first: bytes by (operand class, way)."""
    found: dict[str, dict[tuple[str, str], float]] = {level: {} for level in level_names(run)}
    for op in run.ops:
        for level, operands in op.traffic.items():
            for operand, moved in operands.items():
                for way, amount in (("read", moved.read), ("written", moved.written)):
                    key = (operand_class(op, operand), way)
                    found[level][key] = found[level].get(key, 0.0) + op.count * float(amount)
    return {level: amounts for level, amounts in found.items() if sum(amounts.values())}


def traffic(run: Run) -> Figure:
    """A bar per level as shares of its bytes: by operand, the written part hatched."""
    levels = moved_bytes(run)
    labels = [f"{text(level)}  {si(sum(of.values()), 'B')}" for level, of in levels.items()]
    data: list[Figure] = []
    for operand, color in OPERAND_COLORS.items():
        for way in ("read", "written"):
            amounts = [of.get((operand, way), 0.0) for of in levels.values()]
            if any(amounts):
                shares = [
                    a / sum(of.values()) for a, of in zip(amounts, levels.values(), strict=True)
                ]
                trace = _bar(f"{operand} {way}", labels, amounts, "B", color)
                trace |= {"x": shares, "customdata": amounts, "legendgroup": operand}
                trace |= {"showlegend": operand not in {t["legendgroup"] for t in data}}
                trace["name"] = operand
                trace["marker"]["pattern"] = {"shape": "/" if way == "written" else "", "size": 6}
                data.append(trace)
    axis = {"tickformat": ".0%", "range": [0, 1], "nticks": 6}
    return {"data": data, "layout": _bar_layout(len(labels), axis)}


def on_roofline(run: Run) -> list[Point]:
    """Every op that has MACs and moves bytes at the outermost memory."""
    outermost = next(iter(level_names(run)), "")
    return [
        (op, 2 * op.macs / float(moved), 2 * op.macs / float(op.latency_s))
        for op in run.ops
        if op.macs and (moved := op.traffic_bytes.get(outermost, 0.0))
    ]


def roofline(run: Run) -> Figure:
    """The ops of `on_roofline` (at least one) under the roofs of `run.facts`."""
    points = on_roofline(run)
    peaks = {name: 2 * float(peak) for name, peak in run.facts["peak_macs_per_s"].items()}
    bands = {name: float(band) for name, band in run.facts["bandwidth_bytes_per_s"].items()}
    outermost, top = next(iter(bands)), max(peaks.values())
    xs = [x for _, x, _ in points] + [top / bands[outermost]]
    span = (min(xs) / 4, max(xs) * 6)
    data = [_points(run, group, points) for group in GROUPS]
    return {
        "data": _roofs(bands, peaks, span) + [trace for trace in data if trace["x"]],
        "layout": {
            "height": 520,
            "margin": {"l": 62, "r": 10, "t": 36, "b": 50},
            "xaxis": _log_axis(f"op per byte of {text(outermost)}", span),
            "yaxis": _log_axis("op/s", (min(y for _, _, y in points) / 4, top * 8)),
            "annotations": _roof_labels(bands, peaks, span),
        },
    }


def group_of(op: OpRun) -> str:
    """The part of the layer it belongs to, by its name's last word."""
    last = short_name(op).rpartition(".")[2]
    return next((name for name, (_, words) in GROUPS.items() if last in words.split()), "other")


def _points(run: Run, group: str, points: list[Point]) -> Figure:
    mine = [point for point in points if group_of(point[0]) == group]
    share = [op.count * float(op.latency_s) / run.latency_s for op, _, _ in mine]
    return {
        "type": "scatter",
        "mode": "markers",
        "name": group,
        "x": [x for _, x, _ in mine],
        "y": [y for _, _, y in mine],
        "text": [_hover(op, s) for (op, _, _), s in zip(mine, share, strict=True)],
        "hovertemplate": "%{text}<extra></extra>",
        "marker": {
            "color": GROUPS[group][0],
            "size": [8 + 44 * s**0.5 for s in share],
            "symbol": ["diamond" if phase_of(op, run) == "decode" else "circle" for op, *_ in mine],
        },
    }


def _hover(op: OpRun, share: float) -> str:
    moved = ", ".join(f"{level} {si(amount, 'B')}" for level, amount in op.traffic_bytes.items())
    lines = (
        f"{op.name} {TIMES}{op.count:g}",
        f"{si(op.latency_s, 's')} each, {percent(share)} of the latency",
        f"bound by {op.bound_by}, then {op.next_bound}",
        f"tile {op.tile}, utilization {percent(op.utilization)}",
        f"moves {moved}",
    )
    return "<br>".join(text(line) for line in lines)


def _log_axis(title: str, span: tuple[float, float]) -> Figure:
    ends = [log10(end) for end in span]
    return {"type": "log", "title": {"text": title}, "tickformat": "~s", "dtick": 1, "range": ends}


def _roofs(
    bands: dict[str, float], peaks: dict[str, float], span: tuple[float, float]
) -> list[Figure]:
    """The outermost memory and the peaks solid; nearer memories dotted."""
    top, first = max(peaks.values()), next(iter(bands))
    lines = [
        ([span[0], top / band], [band * span[0], top], "solid" if name == first else "dot")
        for name, band in bands.items()
        if top / band > span[0]
    ]
    starts = {name: max(span[0], peak / max(bands.values())) for name, peak in peaks.items()}
    lines += [([starts[name], span[1]], [peak, peak], "solid") for name, peak in peaks.items()]
    look = {"type": "scatter", "mode": "lines", "showlegend": False, "hoverinfo": "skip"}
    return [look | {"x": x, "y": y, "line": {"color": GREY, "dash": dash}} for x, y, dash in lines]


def _roof_labels(
    bands: dict[str, float], peaks: dict[str, float], span: tuple[float, float]
) -> list[Figure]:
    """Bandwidths at their ridges, slanted as they crowd; peaks at their right end."""
    top = max(peaks.values())
    slanted: Figure = {"textangle": -35, "xanchor": "left", "yanchor": "bottom"}
    flat: Figure = {"xanchor": "right", "yanchor": "top"}
    labels = [
        (top / band, top, f"{name} {si(band, 'B/s')}", slanted)
        for name, band in bands.items()
        if top / band > span[0]
    ]
    labels += [(span[1], p, f"{name} {si(p, 'op/s')}", flat) for name, p in peaks.items()]
    look = {"showarrow": False, "font": {"size": 11, "color": GREY}}
    return [look | at | {"x": log10(x), "y": log10(y), "text": text(s)} for x, y, s, at in labels]
