"""A Validation as JSON and in the terminal."""

from __future__ import annotations

from collections import Counter
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sim.measured.cases import UNITS
from sim.report.document import SCHEMA_VERSION, rounded
from sim.report.quantities import percent, si
from sim.validate import Judged, Validation, reasons, scores, without_prediction

WORST = 10  # rows that are shown


def validation_document(found: Validation) -> dict[str, Any]:
    """Plain values; seconds or watts, shares. `rows` in the file's order, those without a
    prediction in `unsupported_rows`."""
    document: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "design": found.design.name,
        "file": found.file,
        "op": found.op,
        "cases": len(found.predicted),
        "unsupported": len(found.unsupported),
        **found.scores(),
        **{name: scores(rows) for name, rows in found.quantities.items()},
        "seconds": found.seconds,
        "warnings": list(found.warnings),
        "rows": [_row(row, found) for row in found.predicted],
        "unsupported_rows": [
            {"line": row.case.line, **_inputs(row, found), "why": row.why}
            for row in found.unsupported
        ],
    }
    checked: dict[str, Any] = rounded(document)
    return checked


def _row(row: Judged, found: Validation) -> dict[str, Any]:
    return {
        "line": row.case.line,
        "device": row.case.device,
        **_inputs(row, found),
        "measured": row.measured,
        "predicted": row.predicted,
        "ape": row.ape,
        "in_band": row.in_band,
        "bound_by": row.bound_by,
        "tile": row.tile,
    }


def _inputs(row: Judged, found: Validation) -> dict[str, str]:
    return {column: row.case.values[column] for column in found.kind.shown}


def worst(found: Validation) -> list[Judged]:
    """The rows furthest off."""
    return sorted(found.predicted, key=lambda row: -row.ape)[:WORST]


def by_bound(found: Validation) -> dict[str, tuple[Judged, ...]]:
    """Rows by what the model says bounds them, the most first."""
    counts = Counter(row.bound_by for row in found.predicted)
    return {
        name: tuple(row for row in found.predicted if row.bound_by == name)
        for name, _ in counts.most_common()
    }


def show_validation(found: Validation, console: Console) -> None:
    """Scores, where the errors are, and the worst rows with what the model says about them."""
    console.print(f"[bold]{found.design.title}[/] against {found.file}, {found.op}")
    table = Table(header_style="bold", pad_edge=False)
    for name in ("rows", "n", "MAPE", "median", "ratio", "in 10 %", "in 25 %", "in 50 %", "band"):
        table.add_column(name, justify="left" if name == "rows" else "right")
    groups = {"all": found.predicted} | found.quantities
    groups |= {f"bound by {n}": r for n, r in by_bound(found).items()}
    for name, rows in groups.items():
        table.add_row(name, str(len(rows)), *_cells(scores(rows)))
    console.print(table)
    if found.predicted:
        console.print("[bold]furthest off[/]")
        console.print(_worst_table(found))
    for sentence in without_prediction(reasons(found.unsupported)):
        console.print(f"[yellow]{escape(sentence)}[/]")
    console.print(f"{len(found.rows)} rows in {si(found.seconds, 's')}")


def _cells(found: dict[str, float | None]) -> list[str]:
    """In the order of `scores`, as people read them."""
    return [
        "" if value is None else f"{value:.3f}" if name == "geomean_ratio" else percent(value)
        for name, value in found.items()
    ]


def _worst_table(found: Validation) -> Table:
    table = Table(header_style="bold", pad_edge=False)
    for name in ("line", *found.kind.shown, "measured", "predicted", "off", "bound by", "tile"):
        table.add_column(
            name, justify="right" if name in ("measured", "predicted", "off") else "left"
        )
    unit = UNITS[found.kind.measured[0]][0]
    for row in worst(found):
        assert row.predicted is not None
        table.add_row(
            str(row.case.line),
            *(row.case.values[column] for column in found.kind.shown),
            si(row.measured, unit),
            si(row.predicted, unit),
            f"{row.ratio - 1:+.0%}",
            row.bound_by,
            row.tile,
        )
    return table
