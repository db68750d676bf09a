"""Options that several commands share, and how their values are read."""

from __future__ import annotations

import json
import os
import re
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from kernels_ref.errors import UserError

_COUNT = re.compile(r"(\d{1,12})([kKmM]?)")
_FACTOR = {"": 1, "k": 1024, "m": 1024 * 1024}
LARGEST = 16 * 1024 * 1024
PATIENCE_S = 2.0  # before saying on a terminal what is going on
COMPILES = "the first run after installing compiles, for about a minute"


def parse_count(text: str | None, option: str) -> int | None:
    """`4096` or `4k` (times 1024). Raises UserError."""
    if text is None:
        return None
    match = _COUNT.fullmatch(text.strip())
    if not match:
        raise UserError(f"--{option} '{text}' is not a count; write 4096 or 4k")
    count = int(match[1]) * _FACTOR[match[2].lower()]
    if count > LARGEST:
        raise UserError(f"--{option} '{text}' is too large; at most 16m ({LARGEST})")
    return count


DesignName = Annotated[str, typer.Argument(metavar="DESIGN", help="A shipped name or a YAML file.")]
ModelName = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="A shipped name, a Hugging Face config.json, hf:CLASS:config.json, onnx:FILE or "
        "ops:FILE.yaml.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]


def quantity(text: str, dimension: str, option: str) -> float:
    """A number with a unit, in SI (areas in mm2). Raises UserError."""
    from accel_models.quantity import parse

    try:
        return parse(text, dimension)[0]
    except ValueError as problem:
        raise UserError(f"{option}: {problem}") from None


def print_json(document: Any) -> None:
    """One document on stdout and nothing else."""
    json.dump(document, sys.stdout, indent=1, allow_nan=False)
    sys.stdout.write("\n")


def writable(path: Path) -> Path:
    """The path, if a file can be written there. Raises UserError before any work is done."""
    if path.is_dir():
        raise UserError(f"{path}: is a folder; name a file")
    if not path.parent.is_dir():
        raise UserError(f"{path}: there is no folder {path.parent}; create it first")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise UserError(f"{path}: cannot be written; check its permissions")
    return path


@contextmanager
def ops_bar(simulator: str) -> Iterator[Callable[[int, int], None] | None]:
    """A bar of ops done, with the time left, on a terminal's stderr; none of the closed form."""
    if simulator == "analytic" or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("ops by events")
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def waiting(words: str) -> Iterator[None]:
    """A line on a terminal's stderr if what is done inside takes long."""
    if not sys.stderr.isatty():
        yield
        return
    timer = threading.Timer(PATIENCE_S, lambda: print(words, file=sys.stderr))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
