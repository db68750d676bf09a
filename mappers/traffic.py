"""What a matrix multiplication moves at each level under a mapping, and what it converts.

Traffic by `mappers.reuse`; each level is charged with what its children read from and write to it
and with what it is filled with. Partial sums that leave an instance travel at the accumulator's
width, written every time and read back all but the first. Weights are stored in the order they are
read; rows of activations shorter than a memory's granularity fetch whole granules. An operand the
PE cannot take is converted by the vector engine each time it enters the level that feeds the
engine; scales are multiplied in as `_scaling` says.
Not modeled: scales of the keys and values in attention; packing and unpacking of narrow words.
"""

from __future__ import annotations

from collections.abc import Mapping as Map

import numpy as np

from accel_models.engines.tile import MatmulTile, Number, ceil_div
from kernels_ref.formats import Format
from mappers.cost import Traffic, add_traffic, whole_granules
from mappers.mapping import OPERAND_RANKS, Mapping
from mappers.problem import Contraction
from mappers.reuse import Nest, moved_elements


def matmul_traffic(problem: Contraction, nest: Nest) -> tuple[Traffic, dict[str, Number]]:
    """Bytes at every level by operand, and conversions by the vector engine."""
    traffic: Traffic = {}
    conversions = dict(_scaling(problem, nest))
    for operand in OPERAND_RANKS:
        _flow(operand, problem, nest, traffic)
        convert = (
            problem.datapath.convert_weight
            if operand == "weight"
            else operand == "activation" and problem.datapath.convert_activation
        )
        if convert:
            entering = _entering(nest, operand)
            conversions["convert"] = conversions.get("convert", 0) + entering
    if problem.epilogue_bytes:
        for shared in nest.path.levels[: nest.path.first_core]:
            add_traffic(traffic, shared.name, "epilogue", problem.epilogue_bytes, 0.0)
    return traffic, conversions


def _scaling(problem: Contraction, nest: Nest) -> dict[str, Number]:
    """Multiplications that put scales back, for each operand that has them.

    One scale per channel or token goes to the finished sums. One per group is applied where the
    PE says: to every weight that enters (and its zero-point with it), or to the sums of each group.
    """
    ext = problem.extents
    sums = ext["b"] * ext["m"] * ext["n"]
    work: dict[str, Number] = {}
    for operand in ("activation", "weight"):
        stored: Format | None = getattr(problem, operand)
        if stored is None or not stored.scale_bits:
            continue
        if stored.group is None:
            times: Number = sums
        elif nest.path.engine.pe.dequantize == "after_group":
            times = sums * ceil_div(ext["k"], stored.group)
        else:
            times = _entering(nest, operand)
        for cls in ("mul", "add") if stored.zero_bits else ("mul",):
            work[cls] = work.get(cls, 0) + times
    return work


def split_sums(problem: Contraction, nest: Nest) -> Number:
    """Additions that bring the sums of a split over k together, where nothing else reduces them."""
    added: Number = 0
    for i in range(1, nest.path.first_core + 1):
        if not nest.path.levels[i - 1].reduction:
            added = added + nest.mapping.levels[i].spatial["k"] - 1
    ext = problem.extents
    return added * ext["b"] * ext["m"] * ext["n"]


def _entering(nest: Nest, operand: str) -> Number:
    """Elements brought in all to the level that feeds the engine."""
    level = max(_kept(operand, nest.mapping), nest.path.first_core)
    return moved_elements(nest, operand, level, False)


def _kept(operand: str, mapping: Mapping) -> int:
    """Index of the innermost level that keeps the operand."""
    return max(i for i, level in enumerate(mapping.levels) if operand in level.keeps)


def _flow(operand: str, problem: Contraction, nest: Nest, traffic: Traffic) -> None:
    """Charge the operand's way down through the levels that keep it, and into the engine."""
    parent = 0
    for i in range(1, len(nest.path.memories)):
        if operand in nest.mapping.levels[i].keeps:
            _between(operand, (parent, i), problem, nest, traffic)
            parent = i
    _into_engine(operand, parent, problem, nest, traffic)


def _between(
    operand: str, ends: tuple[int, int], problem: Contraction, nest: Nest, traffic: Traffic
) -> None:
    """Bytes from parent to child; outputs go the other way, partial sums both."""
    up, down = nest.path.levels[ends[0]].name, nest.path.levels[ends[1]].name
    seen = moved_elements(nest, operand, ends[1], True)
    held = moved_elements(nest, operand, ends[1], False)
    width, partial = problem.bytes_per_element(operand), problem.partial_bytes
    extra = _overfetch(operand, ends, problem, nest)
    if operand != "output":
        add_traffic(traffic, up, operand, seen * width * extra, 0.0)
        add_traffic(traffic, down, operand, 0.0, held * width)
        return
    once = problem.extents["b"] * problem.extents["m"] * problem.extents["n"]
    written = once * width * extra + (seen - once) * partial
    add_traffic(traffic, up, operand, (seen - once) * partial, written)
    shared = ends[1] < nest.path.first_core  # a core's own accumulators drain as they are
    drained = once * width + (held - once) * partial if shared else held * partial
    add_traffic(traffic, down, operand, drained, (held - once) * partial)


def _overfetch(operand: str, ends: tuple[int, int], problem: Contraction, nest: Nest) -> Number:
    """Bytes moved per byte used: a tile's rows of a row-major operand, in whole granules."""
    if operand == "weight" and problem.shared_weight:
        return 1.0
    granularity = nest.path.levels[ends[0]].granularity
    rank = {"activation": "k", "weight": problem.weight_run, "output": "n"}[operand]
    tile = nest.mapping.levels[ends[1]].tile[rank]
    run = whole_granules(tile * problem.bytes_per_element(operand), granularity)
    return np.where(tile >= problem.extents[rank], 1.0, run)  # whole rows leave no gaps


def _into_engine(operand: str, source: int, problem: Contraction, nest: Nest, traffic: Traffic) -> None:
    """What the engine reads and writes at the innermost level that keeps the operand."""
    tile, last, pair = nest.mapping.levels[-1].tile, len(nest.path.levels) - 1, problem.datapath
    words = nest.path.engine.operand_words(
        MatmulTile(tile["m"], tile["n"], tile["k"], pair.pair.macs_per_cycle, pair.weight.bits)
    )
    share: Number = tile["b"]  # tiles, ragged ones by their useful part
    for rank, extent in problem.extents.items():
        share = share * (extent / tile[rank])
    name = nest.path.levels[source].name
    if operand == "output":
        outputs = problem.extents["b"] * problem.extents["m"] * problem.extents["n"]
        read = words.output_read * share + (nest.tiles(last, "k") - 1) * outputs
        partial = problem.partial_bytes
        add_traffic(traffic, name, operand, read * partial, words.output_write * share * partial)
        return
    elements = words.activation if operand == "activation" else words.weight
    add_traffic(traffic, name, operand, elements * share * problem.engine_bytes(operand), 0.0)


def operand_sums(
    operands: Map[str, tuple[Number, Number]], fill_port: bool = False
) -> tuple[Number, Number]:
    """Bytes read and written in all. With a `fill_port`, what fills the level is not among them."""
    read: Number = 0.0
    written: Number = 0.0
    for operand, (r, w) in operands.items():
        read = read + r
        if not fill_port or operand in ("output", "scores"):
            written = written + w
    return read, written


def load_share(operands: Map[str, tuple[Number, Number]]) -> tuple[Number, Number]:
    """Shares of a level's bytes that are loads of inputs, and stores of outputs."""
    read, written = operand_sums(operands)
    total = np.maximum(read + written, 1e-30)
    out_read, out_written = operands.get("output", (0.0, 0.0))
    stores = (out_read + out_written) / total
    return 1.0 - stores, stores
