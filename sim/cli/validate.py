"""`tileloom validate DESIGN FILE.csv`: predictions against measurements."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from kernels_ref.errors import UserError
from sim.cli.options import AsJson, DesignName, print_json, writable

T = TypeVar("T")
KINDS = "gemm power attention vector comm moe layer serving".split()


def validate(
    design: DesignName,
    file: Annotated[
        Path, typer.Argument(metavar="FILE.csv", help="Measured rows: docs/validate.md.")
    ],
    op: Annotated[
        str | None,
        typer.Option(help=f"{', '.join(KINDS)}. [as columns say]"),
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="Of a file with several: one of them, or all.")
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Also write a page of plots here.")] = None,
    as_json: AsJson = False,
) -> None:
    """How far a design's predictions are from anyone's measurements, row by row."""
    from sim.report.validation import show_validation, validation_document
    from sim.validate import reasons
    from sim.validate import validate as run_it

    if html:
        writable(html)
    found = run_it(design, file, op, device, _progress)
    for warning in found.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    if html:
        from sim.report.validation_page import write_page

        write_page(found, html)
        print(f"wrote {html}", file=sys.stderr)
    if as_json:
        print_json(validation_document(found))
    else:
        from sim.report.table import report_console

        show_validation(found, report_console())
    if not found.predicted:
        raise UserError(
            f"{next(iter(reasons(found.unsupported)))}. No row has a prediction".replace("?.", "?")
        )


def _progress(rows: Iterable[T], total: int) -> Iterable[T]:
    """The same, with a bar on stderr where that is a terminal."""
    if not sys.stderr.isatty():
        return rows
    from rich.console import Console
    from rich.progress import track

    return track(rows, "predicting", total, console=Console(stderr=True), transient=True)
