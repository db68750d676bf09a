"""`tileloom schema [design|run]`: JSON Schemas, for editors and for scripts."""

from __future__ import annotations

from typing import Annotated

import typer

from sim.cli.options import print_json


def schema(
    what: Annotated[
        str, typer.Argument(help="design (YAML input) or run (JSON output).")
    ] = "design",
) -> None:
    """Print the JSON Schema of a design file or of `simulate --json`."""
    from kernels_ref.errors import UserError

    if what == "design":
        from accel_models.schema import file_schema

        print_json(file_schema())
    elif what == "run":
        from pydantic import TypeAdapter

        from sim.report.document import RunDocument

        print_json(TypeAdapter(RunDocument).json_schema())
    else:
        raise UserError(f"no schema of '{what}'; there are design and run")
