"""Vector functions over the same rows as one kernel: residual, norm, quantization, their copies.

Rows are dealt to cores as in `mappers.streaming`; what one function passes to the next stays in the
core. With several functions, of which one needs rows whole, a row of all that the group reads and
makes must fit half of the core's memory.
"""

from __future__ import annotations

from accel_models.path import Path
from accel_models.reader import DesignError
from mappers.context import Context
from mappers.contractions import per_element
from mappers.fused_tables import Tables
from mappers.groups import Group
from mappers.library.vector_plan import Call, library_facts
from mappers.plan import Plan
from mappers.streaming import Stream, core_level, stream_cost
from workloads.graph import Op
from workloads.ops import Move, Vector

PARAMETERS = ("weight", "table")


def plan_rows(group: Group, context: Context) -> Plan:
    """One pass over the rows. Raises DesignError if they do not fit."""
    graph, path = context.graph, context.path
    functions = [op for op in group.ops if op.kind == "vector"]
    reduction = any(op.reduction for op in functions)  # type: ignore[attr-defined]
    rows = min(op.rows for op in functions)  # type: ignore[attr-defined]
    read = {t: float(context.size(t)) for t in group.inputs}
    streamed = [t for t in group.inputs if graph.tensors[t].kind not in PARAMETERS]
    if reduction and len(functions) > 1:
        _check_fit(group, streamed, rows, context)
    called = calls(group.ops, path)
    stream = Stream(
        read,
        {t: written_bytes(t, group, context) for t in group.outputs},
        rows,
        sum(context.size(t) for t in streamed) / max(1, rows),
        called,
        reduction,
        stays=context.stays,
    )
    mapping = {"rows": rows, "cores": min(path.cores, rows) if reduction else path.cores}
    return Plan(
        path,
        stream_cost(stream, path),
        row_count(rows),
        mapping,
        path.cores * path.vector.count * path.clock_hz,
        path.vector.cycles(vector_work(group.ops, path)),
        "rows" if len(group.ops) > 1 else "",
        rests_on=library_facts([call.function for call in called], path),
    )


def _check_fit(group: Group, streamed: list[str], rows: int, context: Context) -> None:
    whole = sum(context.size(t) for t in (*streamed, *(op.output for op in group.ops)))
    capacity = core_level(context.path).capacity
    if whole / max(1, rows) > capacity / 2:
        names = ", ".join(op.name for op in group.ops)
        raise DesignError(f"{context.path.name}: rows of {names} do not fit a core")


def row_count(count: int) -> str:
    """For a line of a table."""
    return "1 row" if count == 1 else f"{count} rows"


def calls(ops: tuple[Op, ...], path: Path) -> tuple[Call, ...]:
    """The vector functions among the ops; tables of look-up engines too."""
    return tuple(
        Call(op.function, op.rows, op.width * getattr(op, "taps", 1), vector_work((op,), path))
        for op in ops
        if isinstance(op, (Vector, Tables))
    )


def vector_work(ops: tuple[Op, ...], path: Path) -> dict[str, float]:
    """Vector operations of all ops by class, lanes brought together where rows are reduced."""
    work: dict[str, float] = {}
    for op in ops:
        parts = [op.vector_ops]
        if isinstance(op, Vector) and op.reduction:
            parts.append(path.vector.reduction_ops(op.rows))
        for part in parts:
            for cls, n in part.items():
                work[cls] = work.get(cls, 0) + n
    return work


def written_bytes(tensor: str, group: Group, context: Context) -> float:
    """Bytes that leave the group for this tensor; new entries of a cache in whole granules."""
    maker = next(op for op in group.ops if op.output == tensor)
    if not isinstance(maker, Move):
        return float(context.size(tensor))
    graph, granule = context.graph, context.path.levels[0].granularity
    cache = graph.tensors[tensor]
    elements = min(sum(graph.tensors[t].elements for t in maker.inputs), cache.elements)
    run = maker.run_elements * per_element(cache)
    return elements * per_element(cache) * -(-run // granule) * granule / run
