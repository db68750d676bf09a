"""`tileloom show`: the tree of a design or system, a model's size, or what there is."""

from __future__ import annotations

import os
from typing import Annotated, Any

import typer

from sim.cli.options import AsJson, print_json, quantity

Flag = typer.Option


def show(
    thing: Annotated[
        str | None,
        typer.Argument(metavar="[DESIGN|SYSTEM|MODEL]", help="A name or a path, or requests:MIX."),
    ] = None,
    designs: Annotated[bool, Flag("--designs", help="List designs.")] = False,
    models: Annotated[bool, Flag("--models", help="List models.")] = False,
    formats: Annotated[bool, Flag("--formats", help="List number formats.")] = False,
    kernels: Annotated[bool, Flag("--kernels", help="List reference kernels.")] = False,
    pes: Annotated[
        bool, Flag("--pes", help="List processing elements, costed from gates.")
    ] = False,
    transforms: Annotated[bool, Flag("--transforms", help="List transforms.")] = False,
    policies: Annotated[bool, Flag("--policies", help="List policies of --sim event.")] = False,
    node: Annotated[str | None, Flag(help="With --pes: the process, such as 7nm. [28nm]")] = None,
    area: Annotated[
        str | None, Flag(help="With --pes: how many fit into so much, such as 1.5mm2.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show a design's levels and peaks, a system's links, a model's size, or list what there is."""
    from kernels_ref.errors import UserError
    from sim.report import inventory

    asked = {"designs": designs, "models": models, "formats": formats}
    asked |= {"kernels": kernels, "pes": pes, "transforms": transforms}
    asked |= {"policies": policies}
    lists = [name for name, wanted in asked.items() if wanted]
    if len(lists) + bool(thing) != 1:
        raise UserError("show one thing: a design, a model, or one of --" + ", --".join(asked))
    if lists == ["pes"]:
        _show_pes(node, area, as_json)
        return
    if node or area:
        raise UserError("--node and --area go with --pes")
    if lists:
        document: dict[str, Any] = {lists[0]: inventory.LISTS[lists[0]]()}
    else:
        document = _document(str(thing))
    if as_json:
        print_json(document)
        return
    from rich.console import Console

    from sim.report.tree import tree

    Console().print(tree(document))


def _show_pes(node: str | None, area: str | None, as_json: bool) -> None:
    from sim.report.pes import DEFAULT_NODE, pes_document, show_pes
    from sim.report.table import report_console

    node_m = DEFAULT_NODE if node is None else quantity(node, "length", "--node")
    area_um2 = None if area is None else quantity(area, "area", "--area") * 1e6
    found = pes_document(node_m, area_um2)
    if as_json:
        print_json({"pes": found})
    else:
        show_pes(found, node_m, report_console())


def _document(name: str) -> dict[str, Any]:
    """A model by its source, a system or design by name or YAML file, else a model by name, JSON
    file or folder with config.json."""
    from accel_models.library import list_designs
    from accel_models.read_system import is_system
    from kernels_ref.errors import UserError
    from sim.report import inventory
    from sim.report.systems import system_document
    from workloads.read_model import source_of

    if name.startswith("requests:"):
        from workloads.requests import read_mix, requests, statistics

        text = name.partition(":")[2]
        return {"mix": text, **statistics(requests(read_mix(text)))}
    if source_of(name):
        return inventory.model_document(name)
    if is_system(name):
        return system_document(name)
    if name.endswith((".yaml", ".yml")) or name in list_designs():
        return inventory.design_document(name)
    try:
        return inventory.model_document(name)
    except UserError as no_model:
        if name.endswith(".json") or os.path.isdir(name):
            raise
        try:
            return inventory.design_document(name)
        except UserError as no_design:
            raise UserError(f"{no_design}\n{no_model}") from None
