"""Who comes before whom in a graph, as bit masks over the positions of its ops."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

from workloads.graph import Graph, Op


class Wiring:
    """Makers and readers of tensors; predecessors, successors and what follows from them."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.ops: tuple[Op, ...] = tuple(node.op for node in graph)
        self.counts = tuple(node.count for node in graph)
        self.layers = tuple((node.count, node.layer) for node in graph)  # equal: of the same ones
        self.sizes = {name: tensor.bytes for name, tensor in graph.tensors.items()}
        self.maker = {op.output: i for i, op in enumerate(self.ops)}
        wholes = {name: t.part_of for name, t in graph.tensors.items() if t.part_of}
        self.maker |= {part: self.maker[t] for part, t in wholes.items() if t in self.maker}
        self.readers: dict[str, list[int]] = {}
        for i, op in enumerate(self.ops):
            read = (*op.inputs, *(wholes[t] for t in op.inputs if t in wholes))
            for tensor in dict.fromkeys(read):
                self.readers.setdefault(tensor, []).append(i)
        self.before = [0] * len(self.ops)  # direct predecessors
        self.after = [0] * len(self.ops)
        self.ancestors = [0] * len(self.ops)
        self.descendants = [0] * len(self.ops)
        for i, op in enumerate(self.ops):
            for j in {self.maker[tensor] for tensor in op.inputs if tensor in self.maker}:
                self.before[i] |= 1 << j
                self.after[j] |= 1 << i
                self.ancestors[i] |= 1 << j | self.ancestors[j]
            for j in positions(self.ancestors[i]):
                self.descendants[j] |= 1 << i

    @cached_property
    def siblings(self) -> list[int]:
        """For every multiplication those that may be merged with it, itself included; else 0."""
        found = [0] * len(self.ops)
        for i, op in enumerate(self.ops):
            if op.kind == "einsum":
                for j in self.readers[op.inputs[0]]:
                    if self._alike(i) is not None and self._alike(i) == self._alike(j):
                        found[i] |= 1 << j
                found[i] |= 1 << i
        return found

    def _alike(self, i: int) -> tuple[object, ...] | None:
        """Equal for multiplications that differ in their columns only; None: may not be merged."""
        op = self.ops[i]
        if op.kind != "einsum":
            return None
        weight = self.graph.tensors[op.inputs[1]]
        if weight.kind not in ("weight", "table") or op.inputs[1] in self.maker:
            return None
        sizes = op.roles()  # type: ignore[attr-defined]
        shape = (sizes["b"], sizes["m"], sizes["k"])
        window = getattr(op, "window", None)
        stored = weight.format, weight.sparsity, weight.kind
        return op.inputs[0], shape, window, *stored, self.layers[i]


def positions(mask: int) -> Iterator[int]:
    """Set bits, lowest first."""
    while mask:
        yield (mask & -mask).bit_length() - 1
        mask &= mask - 1
