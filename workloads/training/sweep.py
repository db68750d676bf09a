"""The backward pass as it is written: what gradients have reached a tensor, and the ops that make
them.

Ops of the forward pass are visited from the last to the first; each hands the gradient of its
output on to its inputs. Where several reach a tensor they are added up. A tensor gets a gradient if
a parameter is somewhere before it, and the loss behind it.
"""

from __future__ import annotations

from dataclasses import replace

from kernels_ref.formats import Format, get_format
from workloads.graph import Graph, Node, Op, Tensor
from workloads.ops import Vector

PARAMETERS = ("weight", "table")


class Sweep:
    """The forward graph, and what has been written of its backward pass."""

    def __init__(self, graph: Graph, gradients: Format | None, operands: Format | None) -> None:
        self.graph = graph
        self.tensors: dict[str, Tensor] = dict(graph.tensors)
        self.nodes: list[Node] = []
        self.reached: dict[str, list[tuple[str, Node]]] = {}  # tensor -> parts of its gradient
        self.node: Node | None = None  # the forward op whose gradients are written
        self.weight_format = gradients
        self.operand_format = operands
        self.learned = _learned(graph)
        self.rounded = {  # what has been given fewer bits -> what that was made of
            node.op.output: node.op.inputs[0]
            for node in graph
            if isinstance(node.op, Vector) and node.op.function == "quantize"
        }
        halves = {t.format.name for t in graph.tensors.values()}
        self._half = get_format("fp16" if "fp16" in halves else "bf16")

    def wants(self, tensor: str) -> bool:
        """Has a gradient of this tensor any use?"""
        return tensor in self.learned

    def tensor(self, name: str, shape: tuple[int, ...], number_format: Format) -> str:
        """A new activation of this name."""
        self.tensors[name] = Tensor(name, shape, number_format, "activation")
        return name

    def gradient_format(self, tensor: str) -> Format:
        """Of a parameter's gradient, or of an activation's: its own of 16 bits or more."""
        known = self.tensors[tensor]
        wide = known.format if known.format.bits >= 16 else self._half
        if known.kind in PARAMETERS:
            return self.weight_format or wide
        return wide

    def like(self, tensor: str, name: str) -> str:
        """A new gradient of this tensor."""
        return self.tensor(name, self.tensors[tensor].shape, self.gradient_format(tensor))

    def add(self, op: Op) -> str:
        """One more op, as often as the forward op runs; its output."""
        assert self.node is not None
        self.nodes.append(replace(self.node, op=op))
        return op.output

    def reach(self, tensor: str, gradient: str) -> None:
        """A gradient that is one part of this tensor's."""
        assert self.node is not None
        self.reached.setdefault(tensor, []).append((gradient, self.node))

    def take(self, tensor: str) -> str | None:
        """The tensor's gradient, added up; None where the loss does not depend on it."""
        parts = self.reached.pop(tensor, [])
        if not parts:
            return None
        self.node = max((node for _, node in parts), key=lambda node: node.count)
        found = parts[0][0]
        for i, (part, _) in enumerate(parts[1:], 1):
            found = self.sum_of(f"{tensor}.gradient.sum{i}", tensor, (found, part))
        return found

    def sum_of(self, name: str, tensor: str, parts: tuple[str, str]) -> str:
        """Two parts of a tensor's gradient as one."""
        shape = self.tensors[tensor].shape
        rows = self.tensors[tensor].elements // shape[-1]
        made = self.like(tensor, name)
        return self.add(Vector(name, parts, made, "add", rows, shape[-1]))


def _learned(graph: Graph) -> set[str]:
    """Parameters, and what depends on one."""
    found = {name for name, t in graph.tensors.items() if t.kind in PARAMETERS}
    for node in graph:
        if found & set(node.op.inputs):
            found.add(node.op.output)
    return found
