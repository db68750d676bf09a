"""Timeloop's `mapping` as a loop nest.

A list of directives by target, from any level to any: `temporal` and `spatial` with factors and a
permutation (innermost first), `bypass` (also `datatype`, `dataspace`) with what is kept and what
passes by. A level takes in what it keeps, then runs its loops in time, then spreads its loops in
space over the level below. A factor of 0 means what is left of the dimension; a missing one, 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from accel_models.memory import OPERANDS
from accel_models.path import ENGINE
from sim.importers.foreign import Block
from sim.importers.machine import Notes
from sim.importers.nest import Loop, Take
from sim.importers.ranks import Workload, workload_of
from sim.importers.timeloop_problem import (
    CNN,
    GEMM,
    SPACES,
    factors_of,
    our_operands,
    permutation_of,
)
from sim.importers.timeloop_tree import Element

Step = tuple[str, int, bool]  # their dimension, trips, in space


@dataclass(slots=True)
class Target:
    """All directives of one element. `steps` outermost first."""

    steps: list[Step] = field(default_factory=list)
    passes: tuple[str, ...] = ()


def targets_of(
    mapping: list[Block], elements: Sequence[Element], tensors: Mapping[str, str], notes: Notes
) -> dict[str, Target]:
    """Directives by element. Raises ForeignFileError."""
    found = {element.name: Target() for element in elements}
    space: dict[str, list[Step]] = {}
    for directive in mapping:
        name = str(directive.need("target"))
        if name not in found:
            raise directive.error(f"target '{name}' is no level of the architecture", "target")
        kind = str(directive.get("type", default="temporal"))
        if kind in ("bypass", "datatype", "dataspace", "datatypes"):
            directive.get("keep")
            found[name].passes = our_operands(directive.get("bypass"), tensors)
        elif kind in ("temporal", "spatial"):
            steps = _steps(directive, kind == "spatial", notes)
            if kind == "temporal":
                found[name].steps = steps
            else:
                space[name] = space.get(name, []) + steps
        else:
            raise directive.error(f"type '{kind}'; known: temporal, spatial, bypass", "type")
    for name, steps in space.items():
        found[name].steps += steps
    return found


def _steps(directive: Block, in_space: bool, notes: Notes) -> list[Step]:
    factors = factors_of(directive.get("factors"), directive)
    order = permutation_of(directive.get("permutation"))
    order = [dim for dim in order if dim in factors]
    order += [dim for dim in factors if dim not in order]
    directive.get("split")
    for dim, (_, size, last) in factors.items():
        if last is not None and last != size:
            what = f"{dim}={size},{last}"
            notes.drop(directive.at("factors"), what, "a last step of another size; taken as full")
    return [(dim, factors[dim][1], in_space) for dim in reversed(order)]


def sizes_of(targets: Mapping[str, Target], where: Block) -> Workload:
    """The computation, where no problem is given: sizes are the products of the factors."""
    sizes: dict[str, int] = {}
    for target in targets.values():
        for dim, trips, _ in target.steps:
            sizes[dim] = sizes.get(dim, 1) * max(1, trips)
    dims = GEMM if set(sizes) <= {"M", "N", "K"} else CNN
    ranks = {rank for theirs in dims.values() for dim in theirs for rank, _ in dim}
    extents = {rank: sizes.get(rank, 1) for rank in sorted(ranks)}
    return workload_of("layer", dims, extents, SPACES, {}, where)


def nest_of(
    targets: Mapping[str, Target],
    elements: Sequence[Element],
    stores: Mapping[str, set[str]],
    known: tuple[Workload, Mapping[str, int]],
) -> list[Any]:
    """Loops and takes, outermost first. `stores`: what the elements that became memories may keep;
    `known`: the computation, and the sizes of their dimensions."""
    work, sizes = known
    memories = [element for element in elements if not element.computes]
    tiles = _inner_tiles(targets, memories, sizes)
    nest: list[Any] = []
    for i, element in enumerate(memories):
        target = targets[element.name]
        if element.name in stores and i:
            kept = (o for o in OPERANDS if o in stores[element.name] - set(target.passes))
            nest += [Take(element.name, operand) for operand in kept]
        over = next((e.name for e in memories[i + 1 :] if e.name in stores), ENGINE)
        for dim, inner, in_space in tiles[element.name]:
            if dim in work.names and work.names[dim] in work.ranks:
                nest.append(Loop(work.names[dim], inner, over if in_space else None))
    return nest


def _inner_tiles(
    targets: Mapping[str, Target], memories: Sequence[Element], sizes: Mapping[str, int]
) -> dict[str, list[Step]]:
    """Each loop with the size of the tile inside it, from the innermost out; what is left of a
    dimension goes to the loop with factor 0."""
    size: dict[str, int] = {}
    found: dict[str, list[Step]] = {}
    for element in reversed(memories):
        steps: list[Step] = []
        for dim, trips, in_space in reversed(targets[element.name].steps):
            inner = size.get(dim, 1)
            steps.append((dim, inner, in_space))
            size[dim] = inner * trips if trips else sizes.get(dim, inner)
        found[element.name] = steps[::-1]
    return found
