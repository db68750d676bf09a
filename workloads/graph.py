"""The work as a graph: tensors, operations over them, and how often each is repeated.

A transformer's layers are identical, so a layer's ops stand in the graph once with the `count` of
layers that run them; totals are sums of count times value. Edges follow from who produces and who
consumes a tensor: an op's data are its inputs' and output's names.
Not modeled: control flow; an op that only some tokens take.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import TYPE_CHECKING, Protocol

from kernels_ref.errors import UserError
from kernels_ref.formats import Format
from workloads.away import Away

if TYPE_CHECKING:
    import networkx

    from kernels_ref.sparsity import Pattern

# What a tensor is to the machine: weights are read only, kv persists between steps, a table is
# gathered from by row instead of streamed. Of a training step: saved is kept from the forward pass
# for the backward pass, state (gradients, the optimizer's) lives as long as the weights.
TENSOR_KINDS = ("weight", "table", "activation", "kv", "saved", "state")

# The classes in which vector work is counted (throughput differs by class on every machine).
VECTOR_CLASSES = ("add", "mul", "exp", "rsqrt", "convert", "compare", "shuffle")

AS_IT_IS = "ops"  # the phase of a graph that has none: it runs as it is, a token being one run


class GraphError(UserError):
    """The graph contradicts itself; the message names the op and the tensor."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """`shape` outermost first; scales are shared along the last axis. Bytes include metadata.

    `sparsity` of stored weights [..., rows, k], each matrix pruned by itself; `elements` stay those
    of the dense tensor, `kept` are those that may be other than zero. A tensor that is not all in
    the chip's own memory says so in `away`. `part_of`: the tensor that this one is a part of, whose
    maker makes it too.
    """

    name: str
    shape: tuple[int, ...]
    format: Format
    kind: str
    away: Away | None = None
    sparsity: Pattern | None = None
    part_of: str = ""

    @property
    def elements(self) -> int:
        return prod(self.shape)

    @property
    def bytes(self) -> int:
        if self.sparsity is None:
            return self.dense_bytes
        from kernels_ref.sparsity import stored_bits

        return -(-stored_bits(self.sparsity, self.format, self.shape) // 8)

    @property
    def dense_bytes(self) -> int:
        """Bytes without sparsity."""
        return -(-self.format.storage_bits(self.elements, self.shape[-1]) // 8)

    @property
    def kept(self) -> int:
        """Elements that may be other than zero."""
        if self.sparsity is None:
            return self.elements
        rows, k = self.shape[-2:]
        return prod(self.shape[:-2]) * self.sparsity.kept((rows, k))


class Op(Protocol):
    """What every operation states; one dataclass per kind lives in `workloads/ops/`."""

    # unique in its graph: the module's name in the model, e.g. "q_proj"
    @property
    def name(self) -> str: ...

    # key of workloads.ops.OPS and of the mapper's cost rules
    @property
    def kind(self) -> str: ...

    # names of tensors, in the order the kind defines
    @property
    def inputs(self) -> tuple[str, ...]: ...

    @property
    def output(self) -> str: ...

    # multiply-accumulates of a matrix engine
    @property
    def macs(self) -> int: ...

    # by VECTOR_CLASSES
    @property
    def vector_ops(self) -> Mapping[str, float]: ...


@dataclass(frozen=True)
class Node:
    """An op and how many identical copies of it the model runs: an expectation where it is not
    whole. `layer` names the kind of layer that it is of, where the model has several, or the part
    of the model. `layered`: is it in one of the model's layers? Where that is not said, if it is
    run several times."""

    op: Op
    count: float
    layer: str = ""
    layered: bool | None = None

    def __post_init__(self) -> None:
        if self.layered is None:
            object.__setattr__(self, "layered", self.count > 1)


@dataclass(frozen=True, slots=True)
class Split:
    """The graph is to run on so many ranks along an axis of parallelism, in a way that `options`
    say; `workloads.sharding` makes what each of them runs."""

    axis: str
    ways: int
    options: tuple[tuple[str, str], ...] = ()

    def option(self, name: str) -> str:
        """Its value; empty where it is not given."""
        return dict(self.options).get(name, "")


@dataclass(frozen=True)
class Graph:
    """A phase of a model: its ops in execution order and the tensors they name."""

    name: str
    phase: str
    batch: int
    tokens: int  # new tokens of one sequence in this phase
    nodes: tuple[Node, ...]
    tensors: Mapping[str, Tensor]
    context: int  # length of a sequence at the end of the phase
    max_context: int | None = None  # what the model was trained for, where its config says
    copies: Mapping[str, float] = field(default_factory=dict)  # of stored tensors, where the ops do
    # not say: what this phase does not use, or uses more or less than once
    produced: float | None = None  # tokens of a sequence that it is expected to yield; None: all
    splits: tuple[Split, ...] = ()  # over the chips of a system; the graph itself is whole

    @property
    def params(self) -> int:
        """Every parameter once, a tied one too; of sparse weights the zeros as well."""
        return round(sum(t.elements * n for t, n in self._stored(("weight", "table"))))

    @property
    def kept_params(self) -> int:
        """Parameters that sparsity leaves."""
        return round(sum(t.kept * n for t, n in self._stored(("weight", "table"))))

    @property
    def weight_bytes(self) -> int:
        """All stored parameters with their scales, gathered tables included."""
        return round(sum(t.bytes * n for t, n in self._stored(("weight", "table"))))

    @property
    def kv_bytes(self) -> int:
        """The whole batch's key and value cache at the end of the phase."""
        return round(sum(t.bytes * n for t, n in self._stored(("kv",))))

    @property
    def state_bytes(self) -> int:
        """Gradients and the optimizer's state, in training."""
        return round(sum(t.bytes * n for t, n in self._stored(("state",))))

    @property
    def saved_bytes(self) -> int:
        """What is kept of the forward pass for the backward pass, in training."""
        return round(sum(t.bytes * n for t, n in self._stored(("saved",))))

    @property
    def held_bytes(self) -> int:
        """All that must be in memory at a time, but what passes from one op to the next."""
        return self.weight_bytes + self.kv_bytes + self.state_bytes + self.saved_bytes

    def stored_copies(self) -> dict[str, float]:
        """Copies of every tensor that persists, those that no op uses among them."""
        return stored(self.nodes, self.tensors) | dict(self.copies)

    def _stored(self, kinds: tuple[str, ...]) -> list[tuple[Tensor, float]]:
        """Tensors of these kinds with the number of copies (one per layer that uses it)."""
        found = ((self.tensors[name], n) for name, n in self.stored_copies().items())
        return [(tensor, n) for tensor, n in found if tensor.kind in kinds]

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes)

    def node(self, name: str) -> Node:
        """The node of this op name. Raises GraphError with the names there are."""
        for node in self.nodes:
            if node.op.name == name:
                return node
        raise GraphError(f"no op '{name}'; there are {', '.join(n.op.name for n in self.nodes)}")

    def bytes_of(self, op: Op) -> dict[str, int]:
        """Bytes of every operand of `op`, by tensor name, once each."""
        return {name: self.tensors[name].bytes for name in (*op.inputs, op.output)}

    def consumers(self) -> dict[str, list[Op]]:
        """Who reads each tensor."""
        found: dict[str, list[Op]] = {}
        for node in self.nodes:
            for name in node.op.inputs:
                found.setdefault(name, []).append(node.op)
        return found

    def dag(self) -> networkx.DiGraph:
        """Ops as nodes (by name), tensors as edges, for analyses that want a graph library."""
        import networkx

        producer = {node.op.output: node.op.name for node in self.nodes}
        parts = [t for t in self.tensors.values() if t.part_of in producer]
        producer |= {t.name: producer[t.part_of] for t in parts}
        dag = networkx.DiGraph()
        dag.add_nodes_from((node.op.name, {"op": node.op, "count": node.count}) for node in self)
        dag.add_edges_from(
            (producer[tensor], node.op.name, {"tensor": tensor})
            for node in self
            for tensor in node.op.inputs
            if tensor in producer
        )
        return dag


def stored(nodes: Iterable[Node], tensors: Mapping[str, Tensor]) -> dict[str, float]:
    """Copies of every tensor that persists: one for each layer that uses it."""
    counts: dict[str, float] = {}
    for node in nodes:
        for name in (*node.op.inputs, node.op.output):
            if tensors[name].kind != "activation":
                counts[name] = max(counts.get(name, 0), node.count)
    return counts


def check(graph: Graph) -> Graph:
    """The graph itself if every tensor named exists, is produced before use and only once.

    Raises GraphError otherwise. A tensor nobody produces must be a weight, a table, the cache,
    or one of the graph's inputs (an activation that no op outputs).
    """
    produced: set[str] = set()
    outputs = {node.op.output for node in graph}
    names: set[str] = set()
    for node in graph:
        op = node.op
        if op.name in names:
            raise GraphError(f"two ops are named '{op.name}'")
        names.add(op.name)
        for tensor in (*op.inputs, op.output):
            if tensor not in graph.tensors:
                raise GraphError(f"{op.name}: tensor '{tensor}' is not in the graph")
        for tensor in op.inputs:
            whole = graph.tensors[tensor].part_of or tensor
            if whole in outputs and whole not in produced:
                raise GraphError(f"{op.name}: reads '{tensor}' before it is produced")
        if op.output in produced:
            raise GraphError(f"{op.name}: '{op.output}' is produced twice")
        produced.add(op.output)
    return graph
