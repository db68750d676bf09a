"""How attention runs: in one pass, with one level of tiles or two, or in three steps through
memory."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from accel_models.path import Path
from accel_models.reader import DesignError
from kernels_ref.formats import get_format
from mappers.context import Context, datapath_of, room, searched
from mappers.contractions import of_attention, per_element
from mappers.cost import Cost, compose, in_one_kernel, in_sequence
from mappers.flash import flash_cost, flash_tiles, two_level_tiles
from mappers.flash_problem import Flash, FlashTile
from mappers.fused_matmul import pair_facts
from mappers.groups import Group
from mappers.library.attention_plan import by_library, library_facts
from mappers.library.vector_plan import Call
from mappers.matmul import matmul_cost
from mappers.plan import Plan
from mappers.search.found import OBJECTIVES
from mappers.streaming import Stream, stream_cost
from workloads.ops import Attention

Option = tuple[Cost, str, Any]  # cost, tile for a person, mapping for JSON
IN_MEMORY = "mask in memory"


def plan_attention(group: Group, context: Context) -> Plan:
    """Sequences of each length by the best of its variants, all in one kernel."""
    op = group.ops[0]
    assert isinstance(op, Attention)
    if not op.lengths:
        return _plan_alike(op, context)
    plans = []
    for part in op.parts():
        key = None if context.key is None else (context.key, part.batch, part.kv_len)
        plans.append(_plan_alike(part, replace(context, key=key)))
    longest = plans[-1]
    return replace(
        longest,
        cost=compose(in_one_kernel([plan.cost.work for plan in plans]), longest.path),
        tile=f"{longest.tile}, {len(plans)} lengths",
        mapping=[
            {"sequences": count, "keys_seen": keys, **plan.mapping}
            for (count, keys), plan in zip(op.lengths, plans, strict=True)
        ],
        work=op.macs,
        instead={},
    )


def _plan_alike(op: Attention, context: Context) -> Plan:
    """The best of its variants; only in one pass if operands lie on chip. With a
    mask, what it would take to read one from memory is among those not taken."""
    flash, path = flash_of(op, context)
    options: dict[str, Option] = {}
    tiled = replace(flash, mask="tile") if op.causal and op.q_len > 1 else flash
    for name, form, tiles in (
        ("fused", flash, flash_tiles(flash, path)),
        ("two-level", tiled, two_level_tiles(tiled, path)),
    ):
        tile = _best_tile(name, form, tiles, path, context)
        if tile:
            options[name] = flash_cost(form, tile, path), _shape(tile), tile.describe()
            if tiled.mask == "tile":
                masked = flash_cost(replace(flash, mask="whole"), tile, path)
                options[IN_MEMORY] = masked, _shape(tile), tile.describe()
    if not flash.stays:
        options["unfused"] = _three_steps(op, path, flash, context)
    elif not options:
        raise DesignError(f"{path.name}: {op.name}: no tile fits beside what stays on chip")
    open_to_us = [name for name in options if name != IN_MEMORY]
    query, key = (context.graph.tensors[t].format.name for t in op.operands[:2])
    cost = options["fused"][0] if "fused" in options else None
    known = by_library(flash, cost, path, (query, key)) if cost else None
    if known:
        options["fused"], open_to_us = (known, *options["fused"][1:]), ["fused"]
    variant = min(open_to_us, key=lambda name: _value(options[name][0], context))
    cost, shape, described = options[variant]
    return Plan(
        path,
        cost,
        shape,
        described,
        path.peak_macs_per_s(flash.qk),
        op.macs,
        variant,
        {name: float(o[0].latency_s) for name, o in options.items() if name != variant},
        {"matrix": pair_facts(path, flash.qk)} | (library_facts(path) if known else {}),
    )


def _best_tile(
    name: str, flash: Flash, tiles: Iterable[FlashTile], path: Path, context: Context
) -> FlashTile | None:
    """The best of these with nothing on chip; None of none."""
    key = name, context.key, room(path)
    if context.key is None or key not in context.costed:
        off_chip = replace(flash, stays={})
        context.costed[key] = min(
            tiles, key=lambda tile: _value(flash_cost(off_chip, tile, path), context), default=None
        )
    found: FlashTile | None = context.costed[key]
    return found


def _value(cost: Cost, context: Context) -> tuple[float, float]:
    a, b = OBJECTIVES[context.objective](cost)
    return float(a), float(b)


def _shape(tile: FlashTile) -> str:
    keys = f"kv{tile.ts}" + (f" x{tile.steps}" if tile.steps > 1 else "")
    split = f" split-kv {tile.splits}" if tile.splits > 1 else ""
    return f"q{tile.tm} {keys}{split}"


def flash_of(op: Attention, context: Context) -> tuple[Flash, Path]:
    """The op with its widths, and the path with the engine that does both multiplications."""
    q, k, v, out = (context.graph.tensors[t] for t in (*op.operands, op.output))
    path, qk = datapath_of(context, k.format, q.format)
    other, pv = datapath_of(context, v.format, out.format)
    if other.runs_on != path.runs_on:
        raise DesignError(
            f"{path.design.name}: {path.name}: {op.name}: its PEs multiply only one of "
            f"{q.format.element} queries by {k.format.element} keys and {out.format.element} "
            f"probabilities by {v.format.element} values; choose others with --formats and --kv"
        )
    named = {"q": op.inputs[0], "k": op.inputs[1], "v": op.inputs[2], "o": op.output}
    flash = Flash(
        op,
        per_element(q),
        per_element(k),
        per_element(v),
        per_element(out),
        get_format(qk.pair.accumulate).bits / 8,
        qk,
        pv,
        stays={part: context.stays[t] for part, t in named.items() if t in context.stays},
    )
    return flash, path


def _three_steps(op: Attention, path: Path, flash: Flash, context: Context) -> Option:
    """Scores to memory, softmax over them, times the values. The whole square is computed."""
    heads, rows = op.batch * op.kv_heads, op.group * op.q_len
    scores = heads * rows * op.kv_len
    work = op.score_ops(scores)
    work["mul"] += scores
    for cls, n in path.vector.reduction_ops(heads * rows).items():
        work[cls] = work.get(cls, 0) + n
    softmax = Stream(
        {"scores": scores * flash.o_bytes},
        {"output": scores * flash.o_bytes},
        heads * rows,
        op.kv_len * flash.o_bytes,
        (Call("softmax", heads * rows, op.kv_len, work),),
        reduction=True,
    )
    costs, mappings = [], {}
    for part, pair in (("qk", flash.qk), ("pv", flash.pv)):
        problem = of_attention(op, context.graph, pair, part)
        mapping = searched(problem, path, context, f"{op.name}: {part.upper()}")
        costs.append(matmul_cost(problem, mapping, path))
        mappings[part] = mapping.describe()
    return (
        in_sequence([costs[0], stream_cost(softmax, path), costs[1]]),
        "QK, softmax, PV",
        mappings,
    )
