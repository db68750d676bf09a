"""How each kind of op, and each form of group, is planned on a path. An op kind without a rule is
an error, never free.

A rule: (group, context) -> Plan. It raises DesignError if the path cannot do it. A group of one op
is planned by the rule of the op's kind, another by that of its form.
"""

from __future__ import annotations

from collections.abc import Callable

from accel_models.reader import DesignError
from mappers.attention import plan_attention
from mappers.collective import plan_collective
from mappers.context import Context
from mappers.contractions import per_element
from mappers.flash_backward import plan_attention_backward
from mappers.fused_matmul import plan_matmul
from mappers.fused_pair import plan_pair
from mappers.fused_rows import plan_rows, row_count
from mappers.grouped import plan_experts
from mappers.groups import Group
from mappers.library.vector_plan import Call, library_facts
from mappers.plan import Plan
from mappers.streaming import Stream, stream_cost
from workloads.ops import Collective, Gather, Move, Update

Rule = Callable[[Group, Context], Plan]


def plan_gather(group: Group, context: Context) -> Plan:
    """Rows wherever they lie, whole granules each."""
    graph, path = context.graph, context.path
    op = group.ops[0]
    assert isinstance(op, Gather)
    table, out = graph.tensors[op.inputs[0]], graph.tensors[op.output]
    row = op.width * per_element(table)
    read = {"table": op.rows * row}
    if len(op.inputs) > 1:
        read["indices"] = float(graph.tensors[op.inputs[1]].bytes)
    stream = Stream(read, {"output": float(out.bytes)}, op.rows, row, run_bytes=row)
    return Plan(
        path,
        stream_cost(stream, path),
        row_count(op.rows),
        {"rows": op.rows},
        0.0,
        0.0,
        rests_on=library_facts((), path),
    )


def plan_move(group: Group, context: Context) -> Plan:
    """Read in the inputs' format, written in the output's, in runs; a windowed cache takes less."""
    graph, path = context.graph, context.path
    op = group.ops[0]
    assert isinstance(op, Move)
    cache = graph.tensors[op.output]
    out = per_element(cache)
    moved = [graph.tensors[t] for t in op.inputs]
    elements = min(sum(t.elements for t in moved), cache.elements)
    stream = Stream(
        {"activation": elements * per_element(moved[0])},
        {"output": elements * out},
        max(1, elements // op.run_elements),
        op.run_elements * out,
        run_bytes=op.run_elements * out,
        stays={"activation": context.stays.get(op.inputs[0], "")},
    )
    return Plan(
        path,
        stream_cost(stream, path),
        "copy",
        {"elements": elements},
        0.0,
        0.0,
        rests_on=library_facts((), path),
    )


def plan_update(group: Group, context: Context) -> Plan:
    """Gradients read, states read and written, weights written, in one pass."""
    graph, path = context.graph, context.path
    op = group.ops[0]
    assert isinstance(op, Update)
    read = {t: float(context.size(t)) for t in op.inputs}
    written = {t: float(context.size(t)) for t in (*op.inputs[len(op.inputs) - op.states :],)}
    written |= {op.output: float(graph.tensors[op.output].bytes)}
    stepped = Call("update", 1, op.elements, dict(op.vector_ops))
    stream = Stream(read, written, 1, sum(read.values()), (stepped,))
    return Plan(
        path,
        stream_cost(stream, path),
        f"{op.elements} parameters",
        {"parameters": op.elements},
        path.cores * path.vector.count * path.clock_hz,
        path.vector.cycles(dict(op.vector_ops)),
        rests_on=library_facts((), path),
    )


def _plan_collective(group: Group, context: Context) -> Plan:
    op = group.ops[0]
    assert isinstance(op, Collective)
    return plan_collective(op, (), context)


COST_RULES: dict[str, Rule] = {
    "einsum": plan_matmul,
    "experts": plan_experts,
    "attention": plan_attention,
    "vector": plan_rows,
    "gather": plan_gather,
    "move": plan_move,
    "collective": _plan_collective,
    "attention_backward": plan_attention_backward,
    "update": plan_update,
}
FORMS: dict[str, Rule] = {"rows": plan_rows, "matmul": plan_matmul, "pair": plan_pair}


def rule_of(group: Group) -> Rule:
    """The rule that plans this group. Raises DesignError for an op of unknown kind."""
    if len(group.ops) > 1:
        return FORMS[group.form]
    op = group.ops[0]
    if op.kind not in COST_RULES:
        known = ", ".join(COST_RULES)
        raise DesignError(f"{op.name}: no cost rule for ops of kind '{op.kind}'; known: {known}")
    return COST_RULES[op.kind]
