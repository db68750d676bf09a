"""Matrices, heads and the width of the stream split over the ranks of an axis.

Every tensor is held in one way: `whole` by each rank, by `cols` or `rows` a share each, or as
`partial` sums that add up to it. Ops say how they take their inputs; what is held otherwise is
exchanged first, as late as it can be:

    partial -> whole   all_reduce           cols, rows -> whole   all_gather
    partial -> cols    reduce_scatter       partial -> rows       reduce_scatter

Axis `tensor` (Megatron-LM, arXiv 1909.08053, sec. 3): a column matrix [n, k] is split along n and
reads a whole stream, a row matrix along k and makes partial sums. The stream is whole, or with the
option `scatter` in rows between them (Korthikanti et al., arXiv 2205.05198, sec. 4.2.2).
Axis `stream` (Pope et al., arXiv 2211.05102, sec. 3.2.2): the other way around; the stream is in
columns. Both together are that paper's two-dimensional weight-stationary layout.

Norms over columns that are apart exchange sums of each row. The token table is split along its
rows. Vector ops on columns that are apart may read another input whole.
Not modeled: collectives that overlap with what follows them, merged ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil

from kernels_ref.formats import FORMATS
from workloads.graph import Graph, Node, Op, Split, Tensor, check
from workloads.sharding.column_attention import whole_op
from workloads.sharding.column_ops import RULES
from workloads.sharding.exchange import exchange
from workloads.sharding.roles import Role, roles

WHOLE_SHARE = Fraction(1)
EXCHANGE = {
    ("partial", "whole"): "all_reduce",
    ("partial", "cols"): "reduce_scatter",
    ("partial", "rows"): "reduce_scatter",
    ("cols", "whole"): "all_gather",
    ("rows", "whole"): "all_gather",
}


@dataclass(frozen=True, slots=True)
class Held:
    """How a rank holds a tensor: its name there, and the share of columns or rows."""

    name: str
    kind: str = "whole"
    share: Fraction = WHOLE_SHARE


def split_matrices(graph: Graph, split: Split) -> Graph:
    """What a rank along axis `tensor` or `stream` runs. Raises UserError for heads that cannot be
    dealt out."""
    stream = "cols" if split.axis == "stream" else "whole"
    stream = "rows" if split.option("scatter") == "yes" else stream
    return Sharder(graph, split, stream).local()


class Sharder:
    """One rank's graph in the making; `stream` is how the stream between layers is held."""

    def __init__(self, graph: Graph, split: Split, stream: str) -> None:
        self.graph, self.split, self.stream = graph, split, stream
        self.ways = split.ways
        self.roles: Mapping[str, Role] = roles(graph, split.ways)
        self.tensors: dict[str, Tensor] = {}
        self.nodes: list[Node] = []
        self.held: dict[str, Held] = {}
        self.whole: dict[str, Held] = {}  # gathered beside a tensor that stays apart
        self.sent: dict[str, Held] = {}  # dealt out otherwise beside it
        self.made_by: dict[str, Node] = {}
        self.node = graph.nodes[0]  # the one at work

    def local(self) -> Graph:
        """The graph, checked; outputs that nobody reads are whole at the end."""
        readers = self.graph.consumers()
        for node in self.graph:
            self.node = node
            RULES.get(node.op.kind, whole_op)(self, node.op)
        for node in self.graph:
            self.node, name = node, node.op.output
            if name not in readers and self.graph.tensors[name].kind == "activation":
                self.take(name, "whole")
        for name in set(self.graph.copies) - set(self.tensors):
            matrix = len(self.graph.tensors[name].shape) == 2
            self.stored(name, 0 if matrix else None, Fraction(1, self.ways))
        nodes = tuple(self.nodes)
        return check(replace(self.graph, nodes=nodes, tensors=self.tensors))

    # how inputs are taken

    def state(self, name: str) -> Held:
        """How it is held now; whole where no op of the graph has made it."""
        return self.held.get(name) or self.keep(name)

    def take(self, name: str, *kinds: str) -> Held:
        """The tensor in one of these ways, exchanged if it is in none of them."""
        here = self.state(name)
        if here.kind in kinds:
            return here
        wanted = kinds[0]
        if here.kind != "partial" and name in self.whole:
            return self.whole[name]
        if (here.kind, wanted) not in EXCHANGE:
            return self.take(name, "whole")
        found = self._exchanged(name, here, wanted)
        if here.kind == "partial":
            self.held[name] = found
        else:
            self.whole[name] = found
        return found

    def settle(self, name: str) -> Held:
        """The tensor, its sums complete: as the stream is held."""
        return self.take(name, self.stream, "whole", "cols", "rows")

    def _exchanged(self, name: str, here: Held, wanted: str) -> Held:
        function = EXCHANGE[here.kind, wanted]
        source, like = self.tensors[here.name], self.graph.tensors[name]
        share = WHOLE_SHARE if wanted == "whole" else Fraction(1, self.ways)
        made = self.local_tensor(like, Held(self._free(f"{name}.{function}"), wanted, share))
        size = made if function == "all_gather" else source
        op = exchange(function, here.name, made.name, size, self.split)
        # sums are completed as often as they are made, columns gathered as often as they are read
        node = self.made_by.get(name, self.node) if here.kind == "partial" else self.node
        self.nodes.append(Node(op, node.count, node.layer, node.layered))
        return Held(made.name, wanted, share)

    def _free(self, name: str) -> str:
        known = self.graph.tensors
        return name if name not in known else f"{name}.{self.split.axis}"

    def dealt(self, name: str) -> Held:
        """Columns of all sequences to all columns of the rank's sequences, or back (all_to_all)."""
        here = self.state(name)
        wanted = "cols" if here.kind == "rows" else "rows"
        if here.kind == "whole" or name in self.sent:
            return self.sent.get(name, here)
        like, share = self.graph.tensors[name], Fraction(1, self.ways)
        made = self.local_tensor(like, Held(self._free(f"{name}.all_to_all"), wanted, share))
        source = self.tensors[here.name]
        self.add(exchange("all_to_all", here.name, made.name, source, self.split))
        self.sent[name] = Held(made.name, wanted, share)
        return self.sent[name]

    # how outputs are held

    def keep(self, name: str, kind: str = "whole", share: Fraction = WHOLE_SHARE) -> Held:
        """The tensor as this rank has it, under its own name."""
        held = Held(name, kind, share)
        self.local_tensor(self.graph.tensors[name], held)
        self.held[name] = held
        self.made_by[name] = self.node
        return held

    def local_tensor(self, tensor: Tensor, held: Held) -> Tensor:
        """The rank's part; rows that are heads of tokens count as columns."""
        shape = list(tensor.shape)
        if held.kind == "cols":
            dim = 0 if tensor.kind == "kv" or held.name in self._by_head else -1
            shape[dim] = ceil(shape[dim] * held.share)
        elif held.kind == "rows":
            shape[0] = ceil(shape[0] * held.share)
        made = replace(tensor, name=held.name, shape=tuple(shape))
        self.tensors[made.name] = made
        return made

    @property
    def _by_head(self) -> set[str]:
        """Outputs of the op at work that have a row for every head."""
        op, tensors = self.node.op, self.graph.tensors
        here, before = tensors[op.output], tensors[op.inputs[0]]
        more = len(here.shape) == 2 and here.shape[0] > before.shape[0]
        return {op.output} if more and here.elements == before.elements else set()

    def stored(self, name: str, dim: int | None = None, share: Fraction = WHOLE_SHARE) -> str:
        """A parameter of which the rank has this share along `dim`; the first to ask decides."""
        if name not in self.tensors:
            tensor = self.graph.tensors[name]
            shape = list(tensor.shape)
            if dim is not None:
                shape[dim] = ceil(shape[dim] * share)
            self.tensors[name] = replace(tensor, shape=tuple(shape))
        return name

    def add(self, op: Op) -> None:
        """The rank's part of the op at work."""
        self.nodes.append(replace(self.node, op=op))

    def sums(self, source: str, each: int) -> str:
        """So many sums of every row of a tensor whose columns are apart, over all ranks."""
        rows = self.tensors[source].shape[0]
        name = self._free(f"{self.node.op.name}.statistics")
        made = Tensor(name, (rows, each), FORMATS["fp32"], "activation")
        self.tensors[name] = made
        self.add(exchange("all_reduce", source, name, made, self.split))
        return name
