"""`tileloom schema [WHAT]`: JSON Schemas, for editors and for scripts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

from sim.cli.options import print_json


def _design() -> Any:
    from accel_models.schema import file_schema

    return file_schema()


def _system() -> Any:
    from accel_models.read_system import system_schema

    return system_schema()


def _mapping() -> Any:
    from mappers.mapping_text import file_schema

    return file_schema()


def _ops() -> Any:
    from workloads.ops_text import file_schema

    return file_schema()


def _requests() -> Any:
    from workloads.requests import file_schema

    return file_schema()


def _run() -> Any:
    from sim.report.document import RunDocument

    return _document(RunDocument)


def _map() -> Any:
    from sim.report.map_document import MapDocument

    return _document(MapDocument)


def _verify() -> Any:
    from sim.report.verdicts import VerifyDocument

    return _document(VerifyDocument)


def _trace() -> Any:
    from sim.event.trace_document import TraceDocument

    return _document(TraceDocument)


def _document(kind: type) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(kind).json_schema()


SCHEMAS: dict[str, Callable[[], Any]] = {
    "design": _design,  # files that are read
    "system": _system,
    "mapping": _mapping,
    "ops": _ops,
    "requests": _requests,
    "run": _run,  # what `simulate`, `map` and `verify` print with --json
    "map": _map,
    "verify": _verify,
    "trace": _trace,  # what `simulate --sim event --trace` writes
}


def schema(
    what: Annotated[
        str,
        typer.Argument(
            help="design, system, mapping, ops or requests (YAML); run, map, verify, trace (JSON)."
        ),
    ] = "design",
) -> None:
    """Print the JSON Schema of a file that is read, or of what a command prints as JSON."""
    from accel_models.explain import nearest
    from kernels_ref.errors import UserError

    if what not in SCHEMAS:
        raise UserError(f"no schema of '{what}'; {nearest(what, list(SCHEMAS))}")
    print_json(SCHEMAS[what]())
