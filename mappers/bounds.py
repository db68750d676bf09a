"""Least latency and energy of a group on a kind of cores, before anything is searched.

    latency >= launch + access + sum over parts of max(outermost memory, matrix, vector)
    energy  >= bytes * energy + MACs * energy + vector operations * energy + static * latency

with two parts in a pair and one in other groups. Tensors that do not stay on chip pass the
outermost memory once (caches, gathered tables and copies aside). MACs run at the engine's peak for
the formats, those of attention without what the mask hides. Vector work is done once at least,
tables of look-up engines aside.
"""

from __future__ import annotations

from collections.abc import Collection
from math import inf

from accel_models.engines.pe import Datapath
from accel_models.path import Path
from accel_models.reader import DesignError
from mappers.context import Context, datapath_of
from mappers.flash_problem import exchange
from mappers.fused_operands import matmul_of
from mappers.fused_pair import Share, shares
from mappers.fused_rows import calls
from mappers.groups import Group
from mappers.library.matmul_plan import fusible, least_launch, library_of, outer_share
from mappers.library.vector_plan import functions_s
from mappers.sparse_weights import least_work, sparse_weights
from workloads.graph import Op


def bound(group: Group, context: Context, stays: Collection[str]) -> tuple[float, float]:
    """(latency, energy) that no plan of the group is below with these tensors on chip; infinite
    where there can be no plan."""
    path = context.path
    try:
        if (group.parts and library_of(path)) or not fusible(group, path):
            return inf, inf
        if group.parts:
            seconds, joules = _pair_bound(group, context)
        else:
            seconds, joules = _part(group, context, stays)
    except DesignError:
        return inf, inf
    latency = least_launch(path) + seconds
    return latency, joules + path.design.power.static * latency


def _pair_bound(group: Group, context: Context) -> tuple[float, float]:
    """The least of its arrangements: shared memories are read for every job, or round of jobs."""
    first = matmul_of(group.parts[0], context)
    between = group.parts[0].outputs
    least = inf, inf
    for share in shares(first, first.path):
        parts = [_part(part, context, between, share) for part in group.parts]
        least = min(least[0], sum(s for s, _ in parts)), min(least[1], sum(j for _, j in parts))
    return least


def _part(
    group: Group, context: Context, stays: Collection[str], share: Share | None = None
) -> tuple[float, float]:
    """Seconds of its busiest resource, and dynamic energy."""
    path, matrix, joules = context.path, 0.0, 0.0
    vector: dict[str, float] = {}
    for op in group.ops:
        if op.macs:
            runs_on, pair = _pair(op, context)
            block = runs_on.engine.geometry(pair.pair.macs_per_cycle)[0]
            idle = max(1.0, block / share.rows) if share else 1.0
            peak, each = least_work(pair, sparse_weights(op, context.graph), runs_on)
            matrix += idle * op.macs / peak
            joules += op.macs * each
        if op.kind == "vector" and op.output not in context.tables:
            for cls, n in op.vector_ops.items():
                vector[cls] = vector.get(cls, 0) + n
    outer = path.levels[0]
    read, written, weights = _compulsory(group, context, stays)
    seconds = [matrix, _vector_s(group, vector, context)]
    if share:
        meeting = exchange(path, "weight")
        jobs, rounds = (share.jobs, share.rounds) if share.name == "rows" else (1, 1)
        read += (rounds - 1) * weights if meeting is not outer else (jobs - 1) * weights
        seconds.append(float(meeting.seconds(jobs * weights, 0.0, meeting.instances)))
    seconds.append(float(outer.seconds(read, written, outer.instances)) / outer_share(path))
    joules += read * outer.read_j_per_byte + written * outer.write_j_per_byte
    return max(seconds), joules + sum(vector.values()) * path.vector.energy


def _vector_s(group: Group, work: dict[str, float], context: Context) -> float:
    """Of operations that are done once at least: at the engine's rates, or as the library's own
    kernels issue them."""
    path = context.path
    if all(op.kind == "vector" and op.output not in context.tables for op in group.ops):
        return functions_s(calls(group.ops, path), path, path.cores)
    return path.vector_seconds(work, path.cores)


def _compulsory(
    group: Group, context: Context, stays: Collection[str]
) -> tuple[float, float, float]:
    """Bytes that the outermost memory at least reads and writes, and weights among them."""
    whole = "einsum", "vector"
    inputs = {t for op in group.ops if op.kind in whole for t in op.inputs} & set(group.inputs)
    made = {op.output for op in group.ops if op.kind in whole} & set(group.outputs)
    read, written = (
        float(sum(context.size(t) for t in names if t not in stays)) for names in (inputs, made)
    )
    for op in group.anchors:
        if (window := getattr(op, "window", None)) and op.inputs[0] not in stays:
            read -= (1 - window.taken()) * context.size(op.inputs[0])
    stored = [t for op in group.anchors for t in op.inputs[1:2] if t in inputs]
    return read, written, float(sum(context.size(t) for t in stored))


def _pair(op: Op, context: Context) -> tuple[Path, Datapath]:
    """The engine's fastest pair for the op's first multiplication."""
    tables = context.tables.get(op.inputs[0])
    source = tables.inputs[0] if tables else op.inputs[0]
    a, b = context.graph.tensors[source], context.graph.tensors[op.inputs[1]]
    return datapath_of(context, b.format, a.format)
