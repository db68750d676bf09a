"""The tables that a look-up engine reads instead of activations, as work of the vector engine.

For every GROUP = 4 activations, the 2^3 = 8 sums a0 +- a1 +- a2 +- a3: both signs of two pairs (4
additions), then of the pairs' sums (8), and 8 entries packed at the width of the PE's own: 3
additions and 2 conversions an activation. As an op of its own it may be its own kernel, be fused
into the function that makes the activations, or be repeated in every core for every tile of columns
(LUT Tensor Core, arXiv 2408.06003, section 3.1: operator splitting, then fusion; N / N_tile
repetitions without). A PE that makes its tables itself, and one that is not in the register of PEs,
needs none of this.
Not modeled: entries quantized to INT8 with a scale per table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from accel_models.path import Path
from accel_models.pes import GATE_PES
from accel_models.pes.lut import GROUP, LutUnit
from kernels_ref.formats import get_format
from workloads.graph import Graph, Node, Tensor
from workloads.ops import Einsum

ENTRIES = 2 ** (GROUP - 1)
ADDITIONS = 12  # of a table: 4 for both signs of the pairs, 8 for both signs of those


@dataclass(frozen=True, slots=True)
class Tables:
    """`inputs` is the activation, `rows` by `width`; the output all its tables."""

    name: str
    inputs: tuple[str]
    output: str
    rows: int
    width: int
    function: str = "tables"
    kind: str = "vector"
    reduction: bool = False

    @property
    def macs(self) -> int:
        return 0

    @property
    def vector_ops(self) -> Mapping[str, float]:
        tables = self.rows * -(-self.width // GROUP)
        return {"add": ADDITIONS * tables, "convert": ENTRIES * tables}


def reads_tables(path: Path) -> bool:
    """Do the engines of this path read tables that something else must make?"""
    pe = GATE_PES.get(path.engine.pe.name or "")
    if path.engine.kind != "lut" or path.runs_on == "vector" or pe is None:
        return False
    names = {part.name for part in pe.parts}
    return "tables" in names and "table generator" not in names


def with_tables(graph: Graph, paths: Sequence[Path]) -> tuple[Graph, dict[str, Tables]]:
    """The graph with an op that makes tables before every multiplication that some engine would do
    by look-up, once for all that read the same activation; and these ops by their output."""
    engines = [path.engine.pe for path in paths if reads_tables(path)]
    found: dict[str, Tables] = {}
    nodes: list[Node] = []
    tensors = dict(graph.tensors)
    for node in graph:
        op = node.op
        if isinstance(op, Einsum) and any(_looked_up(op, graph, pe) for pe in engines):
            source = graph.tensors[op.inputs[0]]
            name = f"{source.name}.tables"
            if name not in found:
                found[name] = _tables(name, source)
                tensors[name] = _stored(name, source)
                nodes.append(replace(node, op=found[name]))
            op = replace(op, inputs=(name, *op.inputs[1:]))
        nodes.append(replace(node, op=op))
    return replace(graph, nodes=tuple(nodes), tensors=tensors), found


def _looked_up(op: Einsum, graph: Graph, pe: object) -> bool:
    from accel_models.engines.pe import takes

    a, b = (graph.tensors[t] for t in op.inputs[:2])
    return takes(pe, b.format, a.format)  # type: ignore[arg-type]


def _tables(name: str, source: Tensor) -> Tables:
    width = source.shape[-1]
    return Tables(name, (source.name,), name, source.elements // width, width)


def _stored(name: str, source: Tensor) -> Tensor:
    """The tables as bytes, entries packed, with the scales of the activations."""
    width = source.shape[-1]
    bits = ENTRIES * LutUnit(1, activation=source.format.element).entry_bits
    row = -(-width // GROUP) * bits / 8 + source.format.scale_bits / 8
    shape = (source.elements // width, round(row + 0.49))
    return Tensor(name, shape, get_format("uint8"), "activation")
