"""`tileloom calibrate DESIGN FILE.csv`: a design's parameters fitted to measurements."""

from __future__ import annotations

import datetime
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from kernels_ref.errors import UserError
from sim.cli.options import AsJson, DesignName, print_json, writable


def calibrate(
    design: DesignName,
    file: Annotated[
        Path, typer.Argument(metavar="FILE.csv", help="Measured rows: docs/validate.md.")
    ],
    op: Annotated[
        str | None, typer.Option(help="What the rows are, as in validate. [what the columns say]")
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="Of a file with several: one of them, or all.")
    ] = None,
    params: Annotated[
        list[str] | None,
        typer.Option(help="Patterns of names, A,B. [all that the rows depend on]"),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="YAML that has the values, or a design to be made. [printed]"),
    ] = None,
    leave_out: Annotated[
        bool, typer.Option("--leave-out", help="Do not fit a fifth of the rows, but judge them.")
    ] = False,
    date: Annotated[
        str | None, typer.Option(help="Of the values' source, 2026-11-22. [today]")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Fit a design's parameters to anyone's measurements, with how sure they are."""
    from sim.calibrate import calibrate as run_it
    from sim.report.calibration import calibration_document, show_calibration, show_yaml

    day = _day(date)
    if out:
        from sim.calibrated.write import write, yaml_file

        writable(yaml_file(out))
    patterns = [word.strip() for given in params or [] for word in given.split(",")]
    found = run_it(design, file, op, device, patterns, leave_out, _say())
    for warning in found.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    if as_json:
        print_json(calibration_document(found))
    else:
        from sim.report.table import report_console

        show_calibration(found, report_console())
    if out:
        for warning in write(found, out, day):
            print(f"warning: {warning}", file=sys.stderr)
        print(f"wrote {out}", file=sys.stderr)
    elif not as_json:
        show_yaml(found, day)


def _day(text: str | None) -> datetime.date:
    """A date. Raises UserError."""
    try:
        return datetime.date.fromisoformat(text) if text else datetime.date.today()
    except ValueError:
        raise UserError(f"--date '{text}': write year, month and day, 2026-11-22") from None


def _say() -> Callable[[str], None]:
    """Tells a terminal what is done next."""
    if not sys.stderr.isatty():
        return lambda words: None
    return lambda words: print(words, file=sys.stderr)
