"""A graph while it is written: ops and tensors in the order of execution.

An op's output tensor bears the op's name; its parameters are `<op>.weight` and `<op>.bias`.
Parameters of a matrix are stored as [out, in]; an activation is [tokens, width].
"""

from __future__ import annotations

from math import prod

from kernels_ref.formats import Format
from workloads.graph import Graph, Node, Op, Tensor, check, stored
from workloads.ops import Einsum, Gather, Move, Vector
from workloads.phase import Phase


class Draft:
    """`prefix`, `count` and `layered` belong to the layers being written, and change between
    them."""

    def __init__(self, number_format: Format):
        self.format = number_format
        self.nodes: list[Node] = []
        self.tensors: dict[str, Tensor] = {}
        self.copies: dict[str, float] = {}
        self.prefix = ""
        self.count = 1
        self.layered = False

    def tensor(self, name: str, shape: tuple[int, ...], kind: str) -> str:
        """The name again, once the tensor is known."""
        self.tensors[name] = Tensor(name, shape, self.format, kind)
        return name

    def add(self, op: Op) -> str:
        """Append an op; the name of its output tensor."""
        self.nodes.append(Node(op, self.count, self.prefix.rstrip("."), self.layered))
        return op.output

    def gather(self, name: str, table: str, rows: int) -> str:
        """`rows` rows of a two-dimensional tensor."""
        width = self.tensors[table].shape[1]
        output = self.tensor(self.prefix + name, (rows, width), "activation")
        return self.add(Gather(self.prefix + name, (table,), output, rows, width))

    def project(
        self, name: str, source: str, width: int, bias: bool = False, k: int | None = None
    ) -> str:
        """A linear layer to `width` outputs, with its own weight and perhaps a bias; of a part of
        the source with `k` columns, where that is given."""
        name = self.prefix + name
        taken = k or self.tensors[source].shape[1]
        weight = self.tensor(f"{name}.weight", (width, taken), "weight")
        biases = (self.tensor(f"{name}.bias", (width,), "weight"),) if bias else ()
        return self.multiply(name, source, weight, biases)

    def keep(self, name: str, width: int, k: int, bias: bool = False) -> None:
        """A linear layer's parameters, which this phase does not use."""
        name = self.prefix + name
        self.copies[self.tensor(f"{name}.weight", (width, k), "weight")] = self.count
        if bias:
            self.copies[self.tensor(f"{name}.bias", (width,), "weight")] = self.count

    def keep_all(self, other: Draft) -> None:
        """Everything that is stored of a part of the model that this phase does not run."""
        counts = stored(other.nodes, other.tensors)
        for name, count in (counts | other.copies).items():
            if other.tensors[name].kind != "kv":
                self.tensors[name] = other.tensors[name]
                self.copies[name] = count

    def move(self, name: str, inputs: tuple[str, ...], shape: tuple[int, ...], run: int) -> str:
        """Copies side by side, in runs of so many elements."""
        name = self.prefix + name
        return self.add(Move(name, inputs, self.tensor(name, shape, "activation"), run))

    def grouped_rows(self, name: str, source: str, rows: int) -> str:
        """Neighboring rows side by side, `rows` to one: another view of the same elements."""
        if rows == 1:
            return source
        count, width = self.tensors[source].shape
        name = self.prefix + name
        output = self.tensor(name, (count // rows, width * rows), "activation")
        return self.add(Move(name, (source,), output, width))

    def multiply(self, name: str, source: str, weight: str, biases: tuple[str, ...] = ()) -> str:
        """source [m, k] times weight [n, k], plus a bias [n] if there is one; of a wider source the
        weight's k columns."""
        m = self.tensors[source].shape[0]
        n, k = self.tensors[weight].shape
        output = self.tensor(name, (m, n), "activation")
        ranks = {"m": m, "n": n, "k": k}
        return self.add(Einsum(name, (source, weight, *biases), output, ranks, "mk,nk->mn"))

    def vector(self, name: str, function: str, inputs: tuple[str, ...], width: int = 0) -> str:
        """Elementwise; the output is like the first input unless `width` says otherwise."""
        rows, like = self.tensors[inputs[0]].shape
        output = self.tensor(self.prefix + name, (rows, width or like), "activation")
        return self.add(Vector(self.prefix + name, inputs, output, function, rows, width or like))

    def rope(self, name: str, source: str, width: int) -> str:
        """Rotate `width` elements of every row; the others stay as they are."""
        rows, like = self.tensors[source].shape
        output = self.tensor(self.prefix + name, (rows, like), "activation")
        return self.add(Vector(self.prefix + name, (source,), output, "rope", rows, width))

    def norm(self, name: str, function: str, source: str, parameters: tuple[str, ...]) -> str:
        """Normalize whole rows; `parameters` of ("weight", "bias")."""
        return self._norm(name, function, source, parameters, self.tensors[source].shape[1])

    def head_norm(self, name: str, source: str, head_dim: int) -> str:
        """RMS norm of every head of every row, with one weight for all heads."""
        return self._norm(name, "rmsnorm", source, ("weight",), head_dim)

    def part_norm(self, name: str, source: str, width: int) -> str:
        """RMS norm of the first `width` elements of every row."""
        name, shape = self.prefix + name, self.tensors[source].shape
        weight = self.tensor(f"{name}.weight", (width,), "weight")
        output = self.tensor(name, shape, "activation")
        return self.add(Vector(name, (source, weight), output, "rmsnorm", shape[0], width))

    def _norm(
        self, name: str, function: str, source: str, parameters: tuple[str, ...], width: int
    ) -> str:
        name, shape = self.prefix + name, self.tensors[source].shape
        stored = [self.tensor(f"{name}.{part}", (width,), "weight") for part in parameters]
        output = self.tensor(name, shape, "activation")
        rows = prod(shape) // width
        return self.add(Vector(name, (source, *stored), output, function, rows, width))


def graph_of(name: str, draft: Draft, phase: Phase, max_context: int | None) -> Graph:
    """What has been written, checked."""
    return check(
        Graph(
            name=name,
            phase=phase.kind,
            batch=phase.batch,
            tokens=phase.tokens,
            nodes=tuple(draft.nodes),
            tensors=draft.tensors,
            context=phase.context,
            max_context=max_context,
            copies=draft.copies,
        )
    )
