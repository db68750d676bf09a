"""Convolutions as implicit GEMM: what their overlapping windows save.

A window's taps are gathered where the activation leaves the outermost memory's child, so that
inside every tap of every output is a word of its own, while from the outermost memory each element
of the input comes once per pass over it: taps that neighbors share are read within a few rows of
outputs of each other. Padding is not stored.
Not modeled: rows of the input that a small child forgets between neighbors; windows that slide
further in (`mappers.reuse` has them, for mappings of a convolution's own ranks); Winograd and FFT.
"""

from __future__ import annotations

from accel_models.path import Path
from mappers.cost import Cost
from mappers.mapping import Mapping
from mappers.problem import Contraction
from mappers.staying import Flow, kept_on_chip, operand_flow
from workloads.ops import Einsum


def unique_share(op: Einsum, elements: int) -> float:
    """Elements of the input for each tap of an output; 1 without a window."""
    if op.window is None:
        return 1.0
    sizes = op.roles()
    return min(1.0, elements / (sizes["b"] * sizes["m"] * sizes["k"]))


def holder(mapping: Mapping, path: Path) -> str | None:
    """The outermost memory's child for activations; None if the engine reads them there."""
    for level in mapping.levels[1 : len(path.memories)]:
        if "activation" in level.keeps:
            return level.level
    return None


def read_once(
    cost: Cost, problem: Contraction, mapping: Mapping, path: Path, unique: float
) -> Cost:
    """The cost with a share of the reads from the outermost memory, for all of them."""
    child = holder(mapping, path)
    if unique >= 1.0 or child is None:
        return cost

    def flow(operand: str, inward: str) -> Flow:
        return operand_flow(operand, problem, mapping, path, inward)

    return kept_on_chip(cost, flow, path, {"activation": {child: 1.0 - unique}})


def once(flow: Flow, mapping: Mapping, path: Path, unique: float) -> Flow:
    """An activation's flow with what the outermost memory and its child move by that share."""
    child, outer = holder(mapping, path), path.levels[0].name
    found = dict(flow)
    if outer in found:
        read, written = found[outer]
        found[outer] = read * unique, written
    if child in found:
        read, written = found[child]
        found[child] = read, written * unique
    return found
