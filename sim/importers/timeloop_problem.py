"""Timeloop's `problem`, and its constraints by target.

A shape is a list of dimensions and data spaces with projections; `cnn-layer` and nothing at all
mean the seven dimensions of a convolution.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from accel_models.memory import OPERANDS
from sim.importers.foreign import Block
from sim.importers.machine import Notes
from sim.importers.ranks import Dim, Workload, workload_of
from sim.importers.timeloop_tree import Element

CNN: dict[str, tuple[Dim, ...]] = {
    "activation": ((("N", 1),), (("C", 1),), (("P", 1), ("R", 1)), (("Q", 1), ("S", 1))),
    "weight": ((("C", 1),), (("M", 1),), (("R", 1),), (("S", 1),)),
    "output": ((("N", 1),), (("M", 1),), (("Q", 1),), (("P", 1),)),
}
GEMM: dict[str, tuple[Dim, ...]] = {
    "activation": ((("M", 1),), (("K", 1),)),
    "weight": ((("K", 1),), (("N", 1),)),
    "output": ((("M", 1),), (("N", 1),)),
}
SPACES = {"Inputs": "activation", "Weights": "weight", "Outputs": "output"}
_WEIGHTS = re.compile(r"w|b|weights?|filters?|kernels?", re.IGNORECASE)
_FACTOR = re.compile(r"([A-Za-z]\w*?)\s*(<=|>=|=|<|>)?\s*(\d+)(?:\s*,\s*(\d+))?")


def problem_of(document: Block, notes: Notes) -> Workload | None:
    """The computation of a file, if it has one. Raises ForeignFileError."""
    if "problem" not in document.data:
        return None
    problem = document.block("problem")
    problem.get("version")
    shape = problem.get("shape")
    instance = problem.block("instance") if "instance" in problem.data else problem
    sizes = {
        key: int(value)
        for key, value in instance.data.items()
        if isinstance(value, int) and not isinstance(value, bool)
    }
    instance.asked.update(sizes)
    for word in ("densities", "padding"):
        given = instance.get(word)
        if isinstance(given, Block) and given.data:
            notes.drop(instance.at(word), word, "sparsity and padding are not carried over")
    if not isinstance(shape, Block):
        gemm = not {"P", "Q", "R", "S"} & set(sizes) and {"M", "N", "K"} <= set(sizes)
        dims = GEMM if gemm else CNN
        return workload_of("layer", dims, _sized(dims, sizes), SPACES, {}, problem)
    name = str(shape.get("name", default="layer"))
    shape.get("dimensions")
    defaults = _coefficients(shape)
    spaces = [_space(space) for space in shape.blocks("data_spaces", "data-spaces", "data_space")]
    tensors = operands_of([(n, writes) for n, writes, _ in spaces], shape)
    dims = {tensors[n]: _projected(p, defaults | sizes) for n, _, p in spaces}
    return workload_of(name, dims, _sized(dims, sizes), tensors, {}, problem)


def _sized(dims: Mapping[str, tuple[Dim, ...]], sizes: Mapping[str, int]) -> dict[str, int]:
    ranks = {rank for theirs in dims.values() for dim in theirs for rank, _ in dim}
    return {rank: sizes.get(rank, 1) for rank in sorted(ranks)}


def _coefficients(shape: Block) -> dict[str, int]:
    return {
        str(item.need("name")): item.count("default") or 1 for item in shape.blocks("coefficients")
    }


def _space(space: Block) -> tuple[str, bool, list[Any]]:
    writes = space.get("read_write", "read-write")
    return str(space.need("name")), bool(writes), space.get("projection", default=[])


def _projected(projection: list[Any], values: Mapping[str, int]) -> tuple[Dim, ...]:
    """`[[[C]], [[P, Wstride], [R]]]` as dimensions with strides."""
    dims = []
    for dim in projection:
        terms = dim if isinstance(dim, list) else [[dim]]
        pairs = [(str(t[0]), values.get(str(t[1]), 1) if len(t) > 1 else 1) for t in terms if t]
        dims.append(tuple(pairs))
    return tuple(dims)


def operands_of(spaces: list[tuple[str, bool]], where: Block) -> dict[str, str]:
    """Their data spaces as operands. Raises ForeignFileError unless two go in and one out."""
    outputs = [name for name, writes in spaces if writes]
    inputs = [name for name, writes in spaces if not writes]
    if len(outputs) != 1 or len(inputs) != 2:
        raise where.error("a computation here has two inputs and one output")
    weight = next((name for name in inputs[::-1] if _WEIGHTS.fullmatch(name)), inputs[1])
    other = next(name for name in inputs if name != weight)
    return {other: "activation", weight: "weight", outputs[0]: "output"}


def factors_of(value: Any, where: Block) -> dict[str, tuple[str, int, int | None]]:
    """`R=3 S=1`, `[R=3, C<=4]` or `R3 S1` as (relation, size, size of the last step).

    Raises ForeignFileError for what is none of these.
    """
    words: list[str] = []
    if isinstance(value, list):
        words = [str(word) for word in value]
    elif isinstance(value, str):
        words = re.split(r"[\s,]+", value.strip())
    found = {}
    for word in filter(None, words):
        match = _FACTOR.fullmatch(word.strip())
        if not match:
            raise where.error(f"factors: '{word}' is not a factor such as C=4", "factors")
        found[match[1]] = (match[2] or "=", int(match[3]), int(match[4]) if match[4] else None)
    return found


def permutation_of(value: Any) -> list[str]:
    """`RSPQ` or `[R, S]`: dimensions, innermost first."""
    if isinstance(value, list):
        return [str(word) for word in value]
    text = str(value or "")
    return re.split(r"[\s,]+", text.strip()) if re.search(r"[\s,]", text.strip()) else list(text)


def constraints_of(document: Block, elements: list[Element]) -> dict[str, list[Block]]:
    """Constraints by the element they speak of: those with the element, and lists by target."""
    found = {element.name: list(element.constraints) for element in elements}
    for key in ("architecture_constraints", "constraints", "mapspace_constraints", "mapspace"):
        block = document.data.get(key)
        if not isinstance(block, Block):
            continue
        document.get(key)
        block.get("version")
        for target in block.blocks("targets"):
            found.setdefault(str(target.need("target")), []).append(target)
    return found


def our_operands(names: Any, tensors: Mapping[str, str]) -> tuple[str, ...]:
    """Their data spaces of a keep or bypass list, in our order; unknown ones are left out."""
    wanted = {tensors.get(str(name)) for name in (names if isinstance(names, list) else [])}
    return tuple(operand for operand in OPERANDS if operand in wanted)
