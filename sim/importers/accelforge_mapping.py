"""AccelForge's mappings as loop nests, one for each einsum.

`nodes` from the outermost in: `!Storage` takes tensors into a memory, `!Temporal` and `!Spatial`
are loops (`tile_shape`: the size of a step), `!Sequential` and `!Pipeline` branch into `!Nested`
parts, `!Compute` ends a branch. What is above a branch belongs to each einsum in it: that they run
fused is not carried over.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sim.importers.foreign import Block
from sim.importers.imported import Imported, add_mapping
from sim.importers.nest import Loop, Take
from sim.importers.ranks import Workload

_BRANCHES = ("Sequential", "Pipeline", "Nested", "Mapping")


def add_mappings(result: Imported, document: Block, spread: Mapping[str, str]) -> None:
    """Every einsum's mapping in this file. Raises ForeignFileError."""
    if "mapping" not in document.data:
        return
    mapping = document.block("mapping")
    paths = list(_paths(mapping.blocks("nodes"), []))
    works = {work.name: work for work in result.workloads}
    for path, compute in paths:
        name = str(compute.need("einsum"))
        compute.get("component")
        work = works.get(name)
        if work is None:
            why = "its einsum is not given, or is not a product of two tensors"
            result.notes.drop(compute.place, f"mapping of {name}", why)
            for node in path:
                node.pass_over()
            continue
        if len(paths) > 1:
            result.notes.drop(
                compute.place, f"{name} fused with others", "each is mapped by itself"
            )
        nest = [item for node in path for item in _items(node, work, result, spread)]
        add_mapping(result, work, nest, str(compute.place))


def _paths(nodes: list[Block], above: list[Block]) -> Any:
    """(nodes on the way, compute node) of every branch."""
    way = list(above)
    for node in nodes:
        if node.tag in _BRANCHES:
            inner = node.blocks("nodes")
            if node.tag == "Nested" or node.tag == "Mapping":
                yield from _paths(inner, way)
                continue
            for branch in inner:
                yield from _paths([branch], way)
        elif node.tag == "Compute":
            yield way, node
        elif node.tag in ("Storage", "Temporal", "Spatial"):
            way.append(node)
        elif node.tag != "Reservation":
            known = "Storage, Temporal, Spatial, Sequential, Nested, Compute"
            raise node.error(f"!{node.tag}: an unknown kind of node; known: {known}")


def _items(
    node: Block, work: Workload, result: Imported, spread: Mapping[str, str]
) -> list[Loop | Take]:
    """A node as loops or takes of this einsum."""
    component = str(node.get("component"))
    if node.tag == "Storage":
        outermost = result.machine.stores[0].name
        if component == outermost:
            node.get("tensors")
            return []
        if component not in result.names:
            raise node.error(f"'{component}' is no memory of the machine", "component")
        tensors = node.get("tensors", default=[])
        operands = (work.tensors.get(str(t)) for t in tensors if isinstance(tensors, list))
        return [Take(str(component), operand) for operand in operands if operand]
    rank = work.names.get(str(node.need("rank_variable")))
    tile = node.count("tile_shape")
    if rank is None or rank not in work.ranks:
        return []
    if tile is None:
        raise node.error("tile_shape must be the size of a step", "tile_shape")
    if node.get("initial_tile_shape") not in (None, tile):
        result.notes.drop(
            node.at("initial_tile_shape"), "initial_tile_shape", "taken as the others"
        )
    over = None
    if node.tag == "Spatial":
        node.get("name")
        over = spread.get(str(component))
        if over is None:
            raise node.error(f"'{component}' has no spatial fan-out", "component")
    return [Loop(rank, tile, over)]
