"""`tileloom map DESIGN`: the best mapping of a matrix multiplication or of a model's op."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sim.cli.options import COMPILES, AsJson, DesignName, parse_count, print_json, waiting, writable

if TYPE_CHECKING:
    from sim.map_api import Asked, Mapped
    from workloads.phase import Phase
    from workloads.read_model import Model


def map_to(
    design: DesignName,
    matmul: Annotated[
        str | None, typer.Option(metavar="MxNxK", help="A matrix multiplication, 4kx4kx4k.")
    ] = None,
    op: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL:NAME", help="An op of a model, llama-3-8b:q_proj, ops:a.yaml:proj."
        ),
    ] = None,
    phase: Annotated[
        str | None, typer.Option(help="With --op: as `simulate` has them. [decode]")
    ] = None,
    batch: Annotated[str | None, typer.Option(help="With --op: sequences at once. [1]")] = None,
    prompt: Annotated[
        str | None, typer.Option(help="With --op and prefill: tokens of a sequence. [2048]")
    ] = None,
    context: Annotated[
        str | None, typer.Option(help="With --op and decode: keys that a token sees. [2048]")
    ] = None,
    formats: Annotated[
        str | None, typer.Option(help="fp16, fp8, int8 ... or w4a16-g128. [what the engine takes]")
    ] = None,
    objective: Annotated[str, typer.Option(help="latency, energy, edp or pareto.")] = "latency",
    mapping: Annotated[
        Path | None, typer.Option(help="Cost the mapping in this YAML file; search nothing.")
    ] = None,
    budget: Annotated[
        str,
        typer.Option(metavar="S", help="Stop the search after so many seconds; inf: prove it."),
    ] = "20",
    gap: Annotated[
        str, typer.Option(metavar="P%", help="Be content this close to the optimum.")
    ] = "0%",
    cores: Annotated[str | None, typer.Option(help="Only this kind of the design's cores.")] = None,
    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="Neither use nor keep earlier results.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="Also write the mapping here, as --mapping reads it.")
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Also write a page of plots here.")] = None,
    as_json: AsJson = False,
) -> None:
    """The best mapping of one multiplication onto a design, as a loop nest, and what it costs."""
    from sim.map_api import Asked, map_matmul, map_op
    from workloads.read_model import read_model

    for file in (html, out):
        if file:
            writable(file)
    asked = Asked(
        objective,
        cores,
        str(mapping) if mapping else None,
        _share(gap),
        _seconds(budget),
        not no_cache,
    )
    sizes = {"batch": batch, "prompt": prompt, "context": context}
    with waiting(f"searching; ctrl-C stops with the best so far ({COMPILES})"):
        if op is None:
            _only_with_op(phase, sizes)
            mapped = map_matmul(design, _sizes(matmul, asked), formats, asked)
        else:
            text, name = _model_and_op(op, matmul)
            model = read_model(text)
            mapped = map_op(design, model, name, _phase(model, phase, sizes), formats, asked)
    _show(mapped, as_json, html, out)
    if mapped.found.interrupted:
        raise KeyboardInterrupt


def _sizes(matmul: str | None, asked: Asked) -> str | None:
    from kernels_ref.errors import UserError

    if matmul is None and asked.mapping is None:
        raise UserError("what is to be mapped? give --matmul MxNxK or --op MODEL:NAME")
    return matmul


def _only_with_op(phase: str | None, sizes: dict[str, str | None]) -> None:
    from kernels_ref.errors import UserError

    for name, value in ({"phase": phase} | sizes).items():
        if value is not None:
            raise UserError(f"--{name} goes with --op")


def _model_and_op(op: str, matmul: str | None) -> tuple[str, str]:
    from kernels_ref.errors import UserError

    if matmul is not None:
        raise UserError("give --matmul or --op, not both")
    model, _, name = op.rpartition(":")
    if not model or not name:
        raise UserError(f"--op '{op}': write MODEL:NAME, such as llama-3-8b:q_proj")
    return model, name


def _phase(model: Model, phase: str | None, sizes: dict[str, str | None]) -> Phase | None:
    """As `simulate` reads them; None for a graph that runs as it is. Raises UserError."""
    from sim.api import phase_of, refuse_phase

    if model.fixed is not None:
        refuse_phase(model, {"phase": phase} | sizes)
        return None
    given = {name: parse_count(sizes.get(name), name) for name in ("prompt", "context")}
    batch = parse_count(sizes["batch"], "batch")
    return phase_of(model, phase, 1 if batch is None else batch, given)


def _share(text: str) -> float:
    """`1%` as 0.01. Raises UserError."""
    from kernels_ref.errors import UserError

    number = _number(text.removesuffix("%"))
    if not text.endswith("%") or number is None or not 0 <= number < 100:
        raise UserError(f"--gap '{text}' is not a gap; write a percentage such as 1%")
    return number / 100


def _seconds(text: str) -> float:
    from kernels_ref.errors import UserError

    number = math.inf if text == "inf" else _number(text)
    if number is None or number <= 0:
        raise UserError(f"--budget '{text}' is not a time; write seconds, such as 2 or 0.5, or inf")
    return number


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _show(mapped: Mapped, as_json: bool, html: Path | None, out: Path | None) -> None:
    if out:
        from mappers.mapping_file import mapping_yaml

        text = mapping_yaml(mapped.found.mapping, mapped.problem, mapped.path)
        out.write_text(text, encoding="utf-8")
        print(f"wrote {out}", file=sys.stderr)
    if html:
        from sim.report.map_page import write_page

        with waiting("drawing mappings for the page"):
            write_page(mapped, html)
        print(f"wrote {html}", file=sys.stderr)
    if as_json:
        from sim.report.map_document import map_document

        print_json(map_document(mapped))
        return
    from sim.report.nest import show_mapped
    from sim.report.table import report_console

    show_mapped(mapped, report_console())
