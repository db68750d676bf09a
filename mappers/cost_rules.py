"""How each kind of op is planned on a path. An op kind without a rule is an error, never free.

A rule: (op, epilogue ops, context) -> Plan. It raises DesignError if the path cannot do the op. The
epilogue is the elementwise ops that ride on the op's output; it runs in the mapping that is best
without it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from accel_models.engines.pe import Datapath
from accel_models.path import Path
from accel_models.reader import DesignError
from kernels_ref.formats import Format, get_format
from mappers.collective import plan_collective
from mappers.cost import Cost, in_sequence
from mappers.flash import flash_cost, flash_tiles
from mappers.flash_problem import Flash
from mappers.mapping import Mapping, describe_tile
from mappers.matmul import matmul_cost
from mappers.plan import Plan
from mappers.problem import Contraction
from mappers.search.cache import cached_best, open_cache
from mappers.search.found import OBJECTIVES, Limits
from mappers.streaming import Stream, stream_cost
from workloads.graph import Graph, Op, Tensor
from workloads.ops import Attention, Einsum, Gather, Move, Vector
from workloads.ops.attention import softmax_ops

# Mappings within half a percent of the best latency count as equal, and a graph's ops are many:
# what
# the search has found by then is what it takes. `tileloom map` proves the optimum of one op.
LIMITS = Limits(gap=0.005, evaluations=60_000)


@dataclass(frozen=True)
class Context:
    """What a rule plans for; `found` remembers mappings of this path by problem."""

    graph: Graph
    path: Path
    objective: str
    vector_macs: bool = False  # may MACs that no PE takes run on the vector engine?
    found: dict[Any, Mapping] = field(default_factory=dict)


Rule = Callable[[Any, tuple[Op, ...], Context], Plan]


def per_element(tensor: Tensor) -> float:
    """Bytes of one element, its share of the scales included."""
    return tensor.bytes / tensor.elements


def _value(cost: Cost, objective: str) -> tuple[float, float]:
    a, b = OBJECTIVES[objective](cost)
    return float(a), float(b)


def _datapath(context: Context, weight: Format, activation: Format) -> tuple[Path, Datapath]:
    """The engine's pair; where no PE takes these formats, perhaps the vector engine's."""
    try:
        return context.path, context.path.datapath(weight, activation)
    except DesignError:
        if not context.vector_macs:
            raise
        path = context.path.on_vector_engine()
        return path, path.datapath(weight, activation)


def _pair_facts(path: Path, pair: Datapath) -> tuple[tuple[str, ...], ...]:
    if path.runs_on == "vector":
        return (("cores", path.name, "vector", "ops_per_cycle"),)
    at = ("cores", path.name, "matrix", "pe", "formats", pair.key)
    return ((*at, "macs_per_cycle"),)


def _searched(
    problem: Contraction, path: Path, context: Context, what: str
) -> tuple[Mapping, Cost]:
    """The best mapping and its cost. Raises DesignError if no tile fits."""
    bare = replace(problem, epilogue_ops={}, epilogue_bytes=0.0)
    key = (path.runs_on, bare.key())
    if key in context.found:
        return context.found[key], matmul_cost(problem, context.found[key], path)
    found = cached_best(bare, path, context.objective, LIMITS, open_cache())
    if found is None:
        smallest = " x ".join(str(g) for g in path.engine.geometry(1))
        levels = ", ".join(f"{m.name} {m.capacity / 1024:.4g} KiB" for m in path.memories[1:])
        raise DesignError(
            f"{path.design.name}: {path.name}: {what}: no tile fits the memories ({levels}), not "
            f"even the engine's own {smallest}; a shared one must hold the tiles of all its cores"
        )
    mapping = context.found[key] = found.mapping
    return mapping, matmul_cost(problem, mapping, path)


def _epilogue(op: Op, epilogue: tuple[Op, ...], graph: Graph) -> tuple[dict[str, float], float]:
    """Vector work of the fused ops (and a bias), and bytes of operands they add."""
    work = dict(op.vector_ops)
    own = {op.output, *(e.output for e in epilogue)}
    extra = 0.0
    for fused in epilogue:
        for cls, n in fused.vector_ops.items():
            work[cls] = work.get(cls, 0) + n
        extra += sum(graph.tensors[t].bytes for t in fused.inputs if t not in own)
    return work, extra


def plan_einsum(op: Einsum, epilogue: tuple[Op, ...], context: Context) -> Plan:
    """The searched mapping; a fused epilogue replaces the output and adds its operands."""
    graph = context.graph
    a, b = (graph.tensors[t] for t in op.inputs[:2])
    out = graph.tensors[(epilogue[-1] if epilogue else op).output]
    path, pair = _datapath(context, b.format, a.format)
    work, extra = _epilogue(op, epilogue, graph)
    if len(op.inputs) == 3:
        extra += graph.tensors[op.inputs[2]].bytes
    problem = Contraction(
        op.roles(),
        pair,
        per_element(a),
        per_element(b),
        out.bytes / graph.tensors[op.output].elements,
        get_format(pair.pair.accumulate).bits / 8,
        work,
        extra,
        shared_weight=b.kind in ("weight", "table"),
        weight=b.format,
        activation=a.format,
    )
    mapping, cost = _searched(problem, path, context, op.name)
    return Plan(
        path,
        cost,
        describe_tile(mapping, path.first_core),
        mapping.describe(),
        path.peak_macs_per_s(pair),
        op.macs,
        rests_on={"matrix": _pair_facts(path, pair)},
    )


def plan_attention(op: Attention, epilogue: tuple[Op, ...], context: Context) -> Plan:
    """In one pass where a tile fits, or in three steps through memory: whichever is better."""
    graph, objective = context.graph, context.objective
    q, k, v = (graph.tensors[t] for t in op.inputs)
    out = graph.tensors[op.output]
    path, qk = _datapath(context, k.format, q.format)
    other, pv = _datapath(context, v.format, out.format)
    if other.runs_on != path.runs_on:
        raise DesignError(
            f"{path.design.name}: {path.name}: {op.name}: its PEs multiply only one of "
            f"{q.format.element} queries by {k.format.element} keys and {out.format.element} "
            f"probabilities by {v.format.element} values; choose others with --formats and --kv"
        )
    flash = Flash(
        op,
        per_element(q),
        per_element(k),
        per_element(v),
        per_element(out),
        get_format(qk.pair.accumulate).bits / 8,
        qk,
        pv,
    )
    options = _one_pass(flash, path, objective)
    steps, mapping = _three_steps(flash, path, context)
    options["unfused"] = in_sequence(steps), "QK, softmax, PV", mapping
    variant = min(options, key=lambda name: _value(options[name][0], objective))
    cost, shape, described = options[variant]
    return Plan(
        path,
        cost,
        shape,
        described,
        path.peak_macs_per_s(qk),
        op.macs,
        variant,
        {name: float(o[0].latency_s) for name, o in options.items() if name != variant},
        {"matrix": _pair_facts(path, qk)},
    )


Option = tuple[Cost, str, Any]  # cost, tile for a person, mapping for JSON


def _one_pass(flash: Flash, path: Path, objective: str) -> dict[str, Option]:
    """The best tile of the fused form; nothing if none fits."""
    costs = [(flash_cost(flash, tile, path), tile) for tile in flash_tiles(flash, path)]
    if not costs:
        return {}
    cost, tile = min(costs, key=lambda found: _value(found[0], objective))
    split = f" split-kv {tile.splits}" if tile.splits > 1 else ""
    return {"fused": (cost, f"q{tile.tm} kv{tile.ts}{split}", tile.describe())}


def _three_steps(flash: Flash, path: Path, context: Context) -> tuple[list[Cost], Any]:
    """Scores to memory, softmax over them, times the values. The whole square is computed."""
    op = flash.op
    heads, rows = op.batch * op.kv_heads, op.group * op.q_len
    scores = heads * rows * op.kv_len
    qk = Contraction(
        {"b": heads, "m": rows, "n": op.kv_len, "k": op.head_dim},
        flash.qk,
        flash.q_bytes,
        flash.k_bytes,
        flash.o_bytes,
        flash.partial_bytes,
        shared_weight=False,
        weight_run="k",
    )
    pv = Contraction(
        {"b": heads, "m": rows, "n": op.v_head_dim, "k": op.kv_len},
        flash.pv,
        flash.o_bytes,
        flash.v_bytes,
        flash.o_bytes,
        flash.partial_bytes,
        shared_weight=False,
    )
    softmax = Stream(
        {"scores": scores * flash.o_bytes},
        scores * flash.o_bytes,
        heads * rows,
        op.kv_len * flash.o_bytes,
        softmax_ops(scores, op.softcap) | {"mul": 2 * scores},
        reduction=True,
    )
    first, first_cost = _searched(qk, path, context, f"{op.name}: QK")
    last, last_cost = _searched(pv, path, context, f"{op.name}: PV")
    mapping = {"qk": first.describe(), "pv": last.describe()}
    return [first_cost, stream_cost(softmax, path), last_cost], mapping


def plan_vector(op: Vector, epilogue: tuple[Op, ...], context: Context) -> Plan:
    """One stream; fused followers add their work and operands."""
    graph, path = context.graph, context.path
    own = {op.output, *(e.output for e in epilogue)}
    names = [t for o in (op, *epilogue) for t in o.inputs if t not in own]
    out = graph.tensors[(epilogue[-1] if epilogue else op).output]
    work, _ = _epilogue(op, epilogue, graph)
    rows = [t for t in names if graph.tensors[t].kind not in ("weight", "table")]
    stream = Stream(
        {name: float(graph.tensors[name].bytes) for name in dict.fromkeys(names)},
        float(out.bytes),
        op.rows,
        sum(graph.tensors[t].bytes for t in rows) / max(1, op.rows),
        work,
        op.reduction,
    )
    cost = stream_cost(stream, path)
    peak = path.cores * path.vector.count * path.clock_hz
    mapping = {"rows": op.rows, "cores": min(path.cores, op.rows) if op.reduction else path.cores}
    return Plan(path, cost, _rows(op.rows), mapping, peak, path.vector.cycles(work))


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count} rows"


def plan_gather(op: Gather, epilogue: tuple[Op, ...], context: Context) -> Plan:
    """Rows wherever they lie, whole granules each."""
    graph, path = context.graph, context.path
    table, out = graph.tensors[op.inputs[0]], graph.tensors[op.output]
    row = op.width * per_element(table)
    stream = Stream({"table": op.rows * row}, float(out.bytes), op.rows, row, run_bytes=row)
    return Plan(path, stream_cost(stream, path), _rows(op.rows), {"rows": op.rows}, 0.0, 0.0)


def plan_move(op: Move, epilogue: tuple[Op, ...], context: Context) -> Plan:
    """Read in the inputs' format, written in the output's, in runs; a windowed cache takes less."""
    graph, path = context.graph, context.path
    cache = graph.tensors[op.output]
    out = per_element(cache)
    moved = [graph.tensors[t] for t in op.inputs]
    elements = min(sum(t.elements for t in moved), cache.elements)
    stream = Stream(
        {"activation": elements * per_element(moved[0])},
        elements * out,
        max(1, elements // op.run_elements),
        op.run_elements * out,
        run_bytes=op.run_elements * out,
    )
    return Plan(path, stream_cost(stream, path), "copy", {"elements": elements}, 0.0, 0.0)


COST_RULES: dict[str, Rule] = {
    "einsum": plan_einsum,
    "attention": plan_attention,
    "vector": plan_vector,
    "gather": plan_gather,
    "move": plan_move,
    "collective": plan_collective,
}
