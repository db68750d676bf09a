"""What a matrix multiplication moves at each level under a mapping, and what it converts.

Traffic by `mappers.reuse`; each level is charged with what its children read from and write to it
and with what it is filled with. Partial sums that leave an instance travel at the accumulator's
width, written every time and read back unless they begin at zero. Weights are stored in the order
they are read; rows of activations shorter than a memory's granularity fetch whole granules. What
the vector engine does to what enters is in `mappers.conversions`. Sparse weights travel as they are
stored down to the level that feeds the engine, which reads of them what their `Skip` says.
"""

from __future__ import annotations

from collections.abc import Mapping as Map
from itertools import product
from math import prod

from accel_models.engines.tile import blocks
from mappers.conversions import conversions
from mappers.cost import Traffic, add_traffic, whole_granules
from mappers.mapping import OPERANDS, Mapping
from mappers.problem import Contraction
from mappers.reuse import Nest, moved_elements


def matmul_traffic(problem: Contraction, nest: Nest) -> tuple[Traffic, dict[str, float]]:
    """Bytes at every level by operand, and conversions by the vector engine."""
    traffic: Traffic = {}
    work, entering = conversions(problem, nest.path)
    for operand in OPERANDS:
        _flow(operand, problem, nest, traffic)
        for cls, each in entering.get(operand, {}).items():
            work[cls] = work.get(cls, 0) + each * entered(nest, operand)
    if problem.epilogue_bytes:
        for shared in nest.path.levels[: nest.path.first_core]:
            add_traffic(traffic, shared.name, "epilogue", problem.epilogue_bytes, 0.0)
    return traffic, work


def split_sums(problem: Contraction, nest: Nest) -> int:
    """Additions that bring the sums of a split over k together, where nothing else reduces them."""
    added = 0
    for i in range(1, nest.path.first_core + 1):
        if not nest.path.levels[i - 1].reduction:
            added += prod(nest.mapping.levels[i].spatial[r] for r in problem.of_role("k")) - 1
    return added * problem.outputs


def entered(nest: Nest, operand: str) -> int:
    """Elements brought in all to the level that feeds the engine."""
    level = max(_kept(operand, nest.mapping), nest.path.first_core)
    return moved_elements(nest, operand, level)


def _kept(operand: str, mapping: Mapping) -> int:
    """Index of the innermost level that keeps the operand."""
    return max(i for i, level in enumerate(mapping.levels) if operand in level.keeps)


def _flow(operand: str, problem: Contraction, nest: Nest, traffic: Traffic) -> None:
    """Charge the operand's way down through the levels that keep it, and into the engine."""
    parent = 0
    for i in range(1, len(nest.path.memories)):
        if operand in nest.mapping.levels[i].keeps:
            flow_between(operand, (parent, i), problem, nest, traffic)
            parent = i
    _into_engine(operand, parent, problem, nest, traffic)


def flow_between(
    operand: str, ends: tuple[int, int], problem: Contraction, nest: Nest, traffic: Traffic
) -> None:
    """Bytes from parent to child; outputs go the other way, partial sums both."""
    up, down = nest.path.levels[ends[0]].name, nest.path.levels[ends[1]].name
    seen = moved_elements(nest, operand, ends[1], ends[0])
    held = moved_elements(nest, operand, ends[1])
    width, partial = problem.bytes_per_element(operand), problem.partial_bytes
    extra = _overfetch(operand, ends, problem, nest)
    if operand != "output":
        add_traffic(traffic, up, operand, seen * width * extra, 0.0)
        add_traffic(traffic, down, operand, 0.0, held * width)
        return
    once = problem.outputs
    back = (seen - sums_begun(nest, ends[0])) * partial
    add_traffic(traffic, up, operand, back, once * width * extra + (seen - once) * partial)
    shared = ends[1] < nest.path.first_core  # a core's own accumulators drain as they are
    drained = once * width + (held - once) * partial if shared else held * partial
    add_traffic(traffic, down, operand, drained, back)


def sums_begun(nest: Nest, level: int) -> int:
    """Partial sums that the instances of a level that keeps outputs begin at zero. Each output is
    begun once; where instances' sums are added up on the way, each of them begins its own."""
    begun, parent = nest.problem.outputs, 0
    for i in range(1, level + 1):
        if "output" in nest.mapping.levels[i].keeps:
            begun += moved_elements(nest, "output", i) - moved_elements(nest, "output", i, parent)
            parent = i
    return begun


def _overfetch(operand: str, ends: tuple[int, int], problem: Contraction, nest: Nest) -> float:
    """Bytes moved per byte used: a tile's rows of a row-major operand, in whole granules."""
    if operand == "weight" and problem.shared_weight:
        return 1.0
    granularity = nest.path.levels[ends[0]].granularity
    rank = problem.run_rank(operand)
    tile = nest.mapping.levels[ends[1]].tile[rank]
    if tile >= problem.extents[rank]:  # whole rows leave no gaps
        return 1.0
    return whole_granules(tile * problem.bytes_per_element(operand), granularity)


def _into_engine(
    operand: str, source: int, problem: Contraction, nest: Nest, traffic: Traffic
) -> None:
    """What the engine reads and writes at the innermost level that keeps the operand."""
    pair, name = problem.datapath, nest.path.levels[source].name
    form = nest.path.form(pair)
    if operand == "output":
        begun, partial = sums_begun(nest, source), problem.partial_bytes
        written = form.sums_out(problem.outputs * _blocks(nest, "k", form.sum_block), begun)
        read = written - begun
        add_traffic(traffic, name, operand, read * partial, written * partial)
        return
    role, block = (
        ("n", form.activation_block) if operand == "activation" else ("m", form.weight_block)
    )
    elements = problem.macs // problem.length(role) * _blocks(nest, role, block)
    share = form.activation_share if operand == "activation" else 1
    add_traffic(traffic, name, operand, elements * problem.engine_bytes(operand) * share, 0.0)


def _blocks(nest: Nest, role: str, block: int) -> int:
    """Engine blocks along a role's ranks, in all tiles together, ragged ones as they are."""
    total, problem, last = 0, nest.problem, len(nest.path.levels) - 1
    tiles = []
    for rank in problem.of_role(role):
        tile, count = nest.mapping.levels[last].tile[rank], nest.tiles(last, rank)
        tiles.append(((count - 1, tile), (1, problem.extents[rank] - (count - 1) * tile)))
    for combination in product(*tiles):
        count = prod(times for times, _ in combination)
        total += count * blocks(prod(size for _, size in combination), block)
    return total


def operand_sums(
    operands: Map[str, tuple[float, float]], fill_port: bool = False
) -> tuple[float, float]:
    """Bytes read and written in all. With a `fill_port`, what fills the level is not among them."""
    read = written = 0.0
    for operand, (r, w) in operands.items():
        read += r
        if not fill_port or operand in ("output", "scores"):
            written += w
    return read, written


def load_share(operands: Map[str, tuple[float, float]]) -> tuple[float, float]:
    """Shares of a level's bytes that are loads of inputs, and stores of outputs."""
    read, written = operand_sums(operands)
    total = max(read + written, 1e-30)
    stores = sum(operands.get("output", (0.0, 0.0))) / total
    return 1.0 - stores, stores
