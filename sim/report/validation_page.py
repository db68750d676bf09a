"""A Validation as a page: parity, errors against the rows' size and intensity, the worst rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from html import escape
from pathlib import Path

from sim.measured.cases import UNITS
from sim.report.figures import ENGINE_COLORS, GREY, LEVEL_COLORS, text
from sim.report.page import Figure, figure, page, section, table, tile
from sim.report.quantities import percent, si
from sim.report.validation import by_bound, worst
from sim.validate import Judged, Validation

HEIGHT = 420
COLORS = "A point per row, colored by what bounds it."


def write_page(found: Validation, path: Path) -> None:
    """The report as a file, about 5 MB of which are plotly.js."""
    path.write_text(_document(found), encoding="utf-8")


def _document(found: Validation) -> str:
    parts = [_header(found)]
    if found.predicted:
        parts += [_parity(found), *_errors(found), _worst(found)]
    if found.unsupported:
        parts.append(_unsupported(found))
    return page(f"{found.design.name} against {Path(found.file).name}", "\n".join(parts))


def _header(found: Validation) -> str:
    scores = found.scores()
    named = {
        "MAPE": "mape", "Median APE": "median_ape", "Within 10 %": "within_10",
        "Within 25 %": "within_25", "Within 50 %": "within_50", "In band": "in_band",
    }  # fmt: skip
    tiles = [tile("Rows", str(len(found.predicted)), f"{len(found.unsupported)} more without")]
    for name, key in named.items():
        value = scores[key]
        tiles += [tile(name, percent(value))] if value is not None else []
    ratio = scores["geomean_ratio"]
    if ratio is not None:
        tiles.append(tile("Predicted / measured", f"{ratio:.3f}", "geometric mean"))
    return (
        f"<header><h1>{escape(found.design.title)}</h1><div>{escape(found.op)} of "
        f"{escape(Path(found.file).name)}</div></header><dl class='tiles'>{''.join(tiles)}</dl>"
    )


def _parity(found: Validation) -> str:
    values = [v for row in found.predicted for v in (_shown(row), _shown_predicted(row))]
    ends = [min(values), max(values)]
    drawn = _scatter(found, _shown, _shown_predicted)
    for factor, dash in ((1.0, "solid"), (0.75, "dot"), (1.25, "dot")):
        line = {"color": GREY, "width": 1, "dash": dash}
        drawn["data"].append(
            {"type": "scatter", "mode": "lines", "x": ends, "y": [e * factor for e in ends],
             "line": line, "showlegend": False, "hoverinfo": "skip"}
        )  # fmt: skip
    drawn["layout"]["xaxis"] |= {"title": {"text": f"measured, {_unit(found)}"}}
    drawn["layout"]["yaxis"] |= {"title": {"text": f"predicted, {_unit(found)}"}, "type": "log"}
    label = f"Predicted against measured {_quantity(found)}"
    return section("Parity", f"{COLORS} Dotted: 25 % off.", figure(drawn, label))


def _quantity(found: Validation) -> str:
    return " and ".join(name.partition("_")[0] for name in found.kind.measured)


def _unit(found: Validation) -> str:
    """As plots have it: that of the column."""
    return found.kind.measured[0].partition("_")[2].replace("w", "W")


def _shown(row: Judged) -> float:
    return row.measured / UNITS[row.column][1]


def _shown_predicted(row: Judged) -> float:
    return (row.predicted or 0.0) / UNITS[row.column][1]


def _off(row: Judged) -> float:
    return 100 * (row.ratio - 1)


def _errors(found: Validation) -> Iterable[str]:
    """The error against what the rows differ in."""
    axes: dict[str, Callable[[Judged], float]] = {
        f"measured {_quantity(found)}, {_unit(found)}": _shown
    }
    if found.op in ("gemm", "power"):
        axes["M"] = lambda row: row.case.number("M")
        axes["arithmetic intensity, MACs per element moved"] = _intensity
    elif found.op == "attention":
        axes["sequence length"] = lambda row: row.case.number("seq_len")
    for name, value in axes.items():
        drawn = _scatter(found, value, _off)
        drawn["layout"]["xaxis"] |= {"title": {"text": name}}
        drawn["layout"]["yaxis"] |= {"title": {"text": "off, %"}, "zeroline": True}
        yield section(
            f"Error by {name}", f"Above zero: too slow. {COLORS}", figure(drawn, f"Error by {name}")
        )


def _intensity(row: Judged) -> float:
    m, n, k = (row.case.number(column) for column in "MNK")
    return m * n * k / (m * k + k * n + m * n)


def _scatter(
    found: Validation, x: Callable[[Judged], float], y: Callable[[Judged], float]
) -> Figure:
    """A point per row, colored by what bounds it."""
    colors = iter((*LEVEL_COLORS, *LEVEL_COLORS))
    data = []
    for name, rows in by_bound(found).items():
        data.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": text(name),
                "x": [x(row) for row in rows],
                "y": [y(row) for row in rows],
                "text": [text(_named(row, found)) for row in rows],
                "hovertemplate": "%{text}<br>%{x:.4g}, %{y:.4g}<extra></extra>",
                "marker": {"color": ENGINE_COLORS.get(name) or next(colors), "size": 6},
            }
        )
    axis = {"type": "log", "gridcolor": "rgba(128,128,128,.2)"}
    layout = {
        "height": HEIGHT,
        "margin": {"l": 60, "r": 20, "t": 10, "b": 50},
        "xaxis": dict(axis),
        "yaxis": {"gridcolor": "rgba(128,128,128,.2)"},
        "legend": {"orientation": "h", "y": 1.08},
    }
    return {"data": data, "layout": layout}


def _named(row: Judged, found: Validation) -> str:
    return ", ".join(f"{c} {row.case.values[c]}" for c in found.kind.shown)


def _in_one_line(row: Judged, found: Validation) -> str:
    """Of a table's cell, which a narrow page scrolls to."""
    return f'<span class="name">{escape(_named(row, found))}</span>'


def _worst(found: Validation) -> str:
    unit = UNITS[found.kind.measured[0]][0]
    rows = [
        [
            str(row.case.line), _in_one_line(row, found), si(row.measured, unit),
            si(row.predicted or 0.0, unit), f"{row.ratio - 1:+.0%}", escape(row.bound_by),
            escape(row.tile),
        ]
        for row in worst(found)
    ]  # fmt: skip
    head = ["line", "row", "measured", "predicted", "off", "bound by", "tile"]
    return section("Furthest off", "What the model says about them.", table(head, rows, (2, 3, 4)))


def _unsupported(found: Validation) -> str:
    rows = [
        [str(row.case.line), _in_one_line(row, found), escape(row.why)] for row in found.unsupported
    ]
    return section("Without a prediction", "", table(["line", "row", "why"], rows, ()))
