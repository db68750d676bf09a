"""The graph while an export is read: which tensor, in which view, stands behind every ONNX value.

A value that only shows another in a different shape or part is a View of its tensor and costs
nothing. Matrix multiplications, attention and copies read views; a vector function reads tensors as
they lie, so a part of one is copied first (`<value>.part`), and codes are turned into numbers first
(`<value>.numbers`). A constant is a weight; constants of one element are in the instruction.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import prod

from kernels_ref.formats import Format
from workloads.from_onnx.exported import OnnxError, OnnxNode, Shape
from workloads.from_onnx.facts import Facts
from workloads.from_onnx.number_formats import format_of
from workloads.from_onnx.views import View, dense
from workloads.graph import Node, Op, Tensor
from workloads.ops import Move, Vector


@dataclass
class Draft:
    """`roots` names the value that each tensor was made for, `scales` scale and zero-point of each
    tensor of codes; `done` the nodes that another's rule has taken with it, by their outputs."""

    facts: Facts
    nodes: list[Node] = field(default_factory=list)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    views: dict[str, View] = field(default_factory=dict)
    readers: dict[str, list[OnnxNode]] = field(default_factory=dict)
    roots: dict[str, str] = field(default_factory=dict)
    scales: dict[str, tuple[str, ...]] = field(default_factory=dict)
    done: set[str] = field(default_factory=set)
    names: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        for node in self.facts.nodes:
            for name in dict.fromkeys(filter(None, node.inputs)):
                self.readers.setdefault(name, []).append(node)

    def shape(self, value: str) -> Shape:
        return self.facts.shape(value)

    def constant(self, value: str) -> bool:
        return value in self.facts.constants

    def only_reader(self, value: str) -> OnnxNode | None:
        """The one node that reads the value, if nobody else wants it."""
        found = self.readers.get(value, [])
        alone = len(found) == 1 and value not in self.facts.export.outputs
        return found[0] if alone and found[0].outputs[0] not in self.done else None

    def name(self, text: str) -> str:
        """A name for an op that no other has."""
        return _unique(_clean(text), self.names)

    def tensor(self, value: str, shape: Shape, number_format: Format, kind: str) -> str:
        """A new tensor for a value; its name."""
        name = _unique(_clean(value), self.tensors.keys())
        self.tensors[name] = Tensor(name, shape or (1,), number_format, kind)
        self.roots[name] = value
        return name

    def output(self, value: str, number_format: Format | None = None, coded: bool = False) -> str:
        """The tensor of a value that an op makes, as it lies."""
        shape = self.shape(value)
        made = number_format or format_of(self.facts.type(value), value)
        name = self.tensor(value, shape, made, "activation")
        self.views[value] = dense(name, shape, coded)
        return name

    def add(self, op: Op) -> None:
        self.nodes.append(Node(op, 1))

    def view(self, value: str) -> View:
        """Where a value lies. Raises OnnxError for one that no node here makes."""
        if value in self.views:
            return self.views[value]
        given = value in self.facts.export.inputs
        if not given and not self.constant(value):
            raise OnnxError(f"{self.facts.export.file}: '{value}': an output that is not modeled")
        shape = self.shape(value)
        made = format_of(self.facts.type(value), value)
        kind = "weight" if self.facts.parameters(value) else "activation"
        name = self.tensor(value, shape, made, kind)
        self.views[value] = dense(name, shape)
        return self.views[value]

    def read(self, value: str) -> str | None:
        """The tensor that a vector function reads; None for a number in the instruction."""
        if self.constant(value) and self.facts.size(value) == 1:
            return None
        view = self.view(value)
        if view.coded:
            return self._numbers(value, view)
        if view.distinct != self.tensors[view.tensor].elements:
            return self.copied(value, f"{value}.part", view)
        return view.tensor

    def reads(self, node: OnnxNode) -> tuple[str, ...]:
        """The tensors of all inputs, each once."""
        found = (self.read(value) for value in node.inputs if value)
        return tuple(dict.fromkeys(name for name in found if name is not None))

    def _numbers(self, value: str, view: View) -> str:
        """Codes as the numbers that they stand for."""
        shape = view.shape
        made = format_of(self.facts.type(value), value)
        name = self.tensor(f"{value}.numbers", shape, made, "activation")
        width = shape[-1] if shape else 1
        op = Vector(
            self.name(name), (view.tensor,), name, "dequantize", prod(shape) // width, width
        )
        self.add(op)
        self.views[value] = dense(name, shape)
        return name

    def numbers(self, value: str) -> View:
        """The view of a value, turned into numbers first if it is of codes."""
        view = self.view(value)
        if view.coded:
            self._numbers(value, view)
        return self.views[value]

    def copied(self, value: str, name: str, view: View) -> str:
        """A dense copy of what a view shows, which the value is from now on."""
        source = self.tensors[view.tensor]
        made = self.tensor(name, view.shape, source.format, "activation")
        self.add(self.copy(self.name(made), (view.tensor,), made, view.run))
        self.views[value] = dense(made, view.shape, view.coded)
        return made

    def copy(self, name: str, sources: tuple[str, ...], output: str, run: int) -> Op:
        """Elements as they are; where the sources have fewer, some are written several times."""
        out = self.tensors[output]
        if sum(self.tensors[t].elements for t in sources) >= out.elements:
            return Move(name, sources, output, max(1, run))
        width = out.shape[-1]
        return Vector(name, sources, output, "copy", out.elements // width, width)

    def deliver(self, value: str) -> None:
        """What the graph gives away lies as it should: as numbers, one after the other."""
        if self.constant(value) or not self.facts.size(value):
            return
        view = self.numbers(value)
        if view.run != self.tensors[view.tensor].elements:
            self.copied(value, f"{value}.delivered", view)

    def retag(self, tensor: str, number_format: Format) -> None:
        """Give a tensor another format, before anything reads it."""
        self.tensors[tensor] = replace(self.tensors[tensor], format=number_format)


def _clean(text: str) -> str:
    """Without what the command line gives a meaning to."""
    return "_".join(text.replace(":", "_").split()).strip("/") or "op"


def _unique(name: str, taken: object) -> str:
    found, number = name, 2
    while found in taken:  # type: ignore[operator]
        found, number = f"{name}_{number}", number + 1
    if isinstance(taken, set):
        taken.add(found)
    return found
