"""The operands of a multiplication with what is fused around it, as they lie in memory.

Merged multiplications are one of as many columns, their weights side by side. With a prologue the
activation is what the prologue reads, and the engine reads what it makes; the output is what the
epilogue leaves, and what it needs beside lies apart.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from accel_models.engines.pe import Datapath
from accel_models.path import Path
from accel_models.reader import DesignError
from mappers.context import Context, datapath_of
from mappers.contractions import of_einsum
from mappers.fused_rows import PARAMETERS, written_bytes
from mappers.fused_tables import reads_tables
from mappers.groups import Group
from mappers.problem import Contraction
from mappers.sparse_weights import skipping, sparse_weights
from workloads.graph import Op


@dataclass(frozen=True)
class Prepared(Contraction):
    """A contraction whose activation is made as it enters the cores."""

    made_bytes: float = 0.0  # of one element as the engine reads it

    def engine_bytes(self, operand: str) -> float:
        made = operand == "activation" and not self.datapath.convert_activation
        return self.made_bytes if made else super().engine_bytes(operand)

    def key(self) -> tuple[object, ...]:
        return (*super().key(), self.made_bytes)


@dataclass(frozen=True)
class Matmul:
    """A group of form matmul on a path: operands as they lie in memory.

    `bare` is without prologue and epilogue; `prologue` leaves out tables that the path does not
    need.
    """

    group: Group
    context: Context
    path: Path
    pair: Datapath
    bare: Contraction
    prologue: tuple[Op, ...]

    @property
    def streamed(self) -> dict[str, float]:
        """Bytes of the activation, or of what the prologue makes it from, by tensor."""
        if not self.prologue:
            source = self.group.anchors[0].inputs[0]
            made = {op.output: op.inputs[0] for op in self.group.prologue}
            names = [made.get(source, source)]
        else:
            made_here = {op.output for op in self.prologue}
            names = [t for op in self.prologue for t in op.inputs if t not in made_here]
        return {t: float(self.context.size(t)) for t in names if not self._is_parameter(t)}

    @property
    def aside(self) -> dict[str, float]:
        """Bytes of the epilogue's further operands and of all parameters, by tensor."""
        made = {op.output for op in self.group.ops}
        after = [t for op in self.group.epilogue for t in op.inputs]
        after += [t for op in self.group.anchors for t in op.inputs[2:]]
        before = [t for op in self.prologue for t in op.inputs if self._is_parameter(t)]
        names = dict.fromkeys(t for t in after + before if t not in made)
        return {t: float(self.context.size(t)) for t in names}

    @property
    def written(self) -> dict[str, float]:
        """Bytes of the results, by tensor."""
        return {t: written_bytes(t, self.group, self.context) for t in self.group.outputs}

    def _is_parameter(self, tensor: str) -> bool:
        return self.context.graph.tensors[tensor].kind in PARAMETERS

    def around(self) -> Contraction:
        """The contraction with the operands that the group reads and writes, no vector work yet."""
        problem = replace(
            self.bare,
            epilogue_bytes=sum(self.aside.values()),
            output_bytes=sum(self.written.values()) / self.bare.outputs,
        )
        if not self.prologue:
            return problem
        sizes = problem.extents
        elements = sizes["b"] * sizes["m"] * sizes["k"]
        facts = {name: getattr(problem, name) for name in Contraction.__dataclass_fields__}
        facts["activation_bytes"] = sum(self.streamed.values()) / elements
        return Prepared(**facts, made_bytes=self.bare.activation_bytes)


def matmul_of(group: Group, context: Context) -> Matmul:
    """The group on this path. Raises DesignError if no engine of it takes the formats."""
    graph, first = context.graph, group.anchors[0]
    tables = context.tables.get(first.inputs[0])
    source = tables.inputs[0] if tables else first.inputs[0]
    a, b = graph.tensors[source], graph.tensors[first.inputs[1]]
    path, pair = datapath_of(context, b.format, a.format)
    plain = [replace(op, inputs=(source, *op.inputs[1:])) for op in group.anchors]  # type: ignore[type-var]
    bare = merged([of_einsum(op, graph, pair) for op in plain])  # type: ignore[arg-type]
    bare = skipping(bare, sparse_weights(first, graph), path)
    prologue = group.prologue
    if tables and reads_tables(path):
        bare = replace(bare, activation_bytes=context.size(tables.output) / a.elements)
    elif tables and tables in prologue:
        prologue = tuple(op for op in prologue if op is not tables)
    elif tables:
        raise DesignError(f"{path.name}: {first.name}: these engines read no tables")
    return Matmul(group, context, path, bare.datapath, bare, prologue)


def merged(problems: list[Contraction]) -> Contraction:
    """Multiplications of one activation as one, their columns side by side."""
    first = problems[0]
    if len(problems) == 1:
        return first
    columns = [p.extents["n"] for p in problems]
    n = sum(columns)
    bias: dict[str, float] = {}
    for p in problems:
        for cls, amount in p.epilogue_ops.items():
            bias[cls] = bias.get(cls, 0) + amount

    def mean(name: str) -> float:
        values = (getattr(p, name) * size for p, size in zip(problems, columns, strict=True))
        return float(sum(values) / n)

    return replace(
        first,
        extents={**first.extents, "n": n},
        weight_bytes=mean("weight_bytes"),
        output_bytes=mean("output_bytes"),
        epilogue_ops=bias,
    )
