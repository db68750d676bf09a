"""`tileloom import`: a machine of another tool, and its mapping, as files of ours."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sim.cli.options import AsJson, print_json

if TYPE_CHECKING:
    from sim.importers.imported import Imported
    from sim.importers.machine import Note

SCHEMA_VERSION = 1


def import_(
    tool: Annotated[
        str, typer.Argument(metavar="TOOL", help="accelforge, timeloop, zigzag or scalesim.")
    ],
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="Its files, in any order.")
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Write the design and mappings here."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Turn another tool's machine, and its mapping, into a design and a mapping file."""
    from kernels_ref.errors import UserError
    from sim.importers import import_files

    if out is not None and not out.is_dir():
        raise UserError(f"{out}: is no folder; create it first")
    found = import_files(tool, files)
    written = _write(found, out) if out is not None else None
    if as_json:
        print_json(_document(found, written))
    else:
        _print(found, written)


def _file_names(found: Imported) -> list[str]:
    """Of the design, then of each mapping."""
    names = [f"{found.name}.yaml"]
    for i, (of, _) in enumerate(found.mappings):
        part = "".join(c if c.isalnum() else "_" for c in of)
        again = part in (
            "".join(c if c.isalnum() else "_" for c in o) for o, _ in found.mappings[:i]
        )
        names.append(f"{found.name}.{part}{f'_{i}' if again else ''}.mapping.yaml")
    return names


def _write(found: Imported, out: Path) -> list[Path]:
    from kernels_ref.errors import UserError
    from sim.importers.imported import mapping_yaml

    texts = [found.design_yaml(), *(mapping_yaml(mapping) for _, mapping in found.mappings)]
    paths = [out / name for name in _file_names(found)]
    for path, text in zip(paths, texts, strict=True):
        try:
            path.write_text(text, encoding="utf-8")
        except OSError as problem:
            raise UserError(f"{path}: cannot be written: {problem.strerror}") from None
    return paths


def _document(found: Imported, written: list[Path] | None) -> dict[str, Any]:
    document = {"schema_version": SCHEMA_VERSION, **found.document()}
    if written is not None:
        document["design"] = str(written[0])
        document["mapping"] = [str(path) for path in written[1:]]
    return document


def _print(found: Imported, written: list[Path] | None) -> None:
    notes = found.notes
    _list("carried over", notes.carried, "->")
    _list("assumed", notes.assumed, "-")
    _list("not carried over", notes.not_carried, "-")
    for work in found.workloads:
        sizes = work.matmul or ", ".join(f"{r} {size}" for r, size in work.ranks.items())
        print(f"computed there: {work.name}, {sizes}")
    if written is None:
        print(f"{found.design_yaml()}---")
        print("--out DIR writes this design" + (" and its mapping" if found.mappings else ""))
        return
    for path in written:
        print(f"wrote {path}")
    for work in found.workloads:
        if work.matmul:
            print(f"next: tileloom map {written[0]} --matmul {work.matmul}")


def _list(title: str, notes: list[Note], between: str) -> None:
    print(f"{title}: {len(notes) or 'nothing'}")
    for note in notes:
        print(f"  {note.where}: {note.what} {between} {note.why}")
