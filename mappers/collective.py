"""What a collective costs a chip: its links, its memory, its additions.

    busy(links)      = the transfer, of the fastest algorithm (accel_models/collectives.py)
    busy(memory)     = sent bytes and the operands of additions read, received bytes written
    busy(vector)     = the additions that the chip does itself
    latency          = launch + access latency + the longest of them (mappers/cost.py)

all at the outermost memory, where the chips' data meet. The cost rule of `map_graph` runs a
collective over the design's own links, with as many chips as it has participants; on a system the
chips and their links are those of a placement (mappers/partition.py).
Not modeled: cores that a library sets aside to move the data, other levels that the data pass.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from accel_models.collective_algorithms import Transfer
from accel_models.collectives import Dims, collective, ways
from accel_models.links import port
from accel_models.path import Path
from accel_models.reader import DesignError
from mappers.cost import (
    Cost,
    Traffic,
    Work,
    add_traffic,
    compose,
    memory_joules,
    vector_joules,
)
from mappers.plan import Plan
from mappers.search.found import OBJECTIVES
from workloads.ops import Collective

if TYPE_CHECKING:
    from mappers.context import Context


def plan_collective(op: Collective, epilogue: tuple[object, ...], context: Context) -> Plan:
    """Over the best of the design's own links. Raises DesignError if it has none for so many."""
    path, design = context.path, context.path.design
    if op.participants == 1:
        return collective_plan(op, (), path)
    ports = [
        port(name, link, design.clock, op.participants)
        for name, link in design.links.items()
        if link.topology != "point_to_point" or op.participants == 2
    ]
    if not ports:
        has = ", ".join(f"{n} ({link.topology})" for n, link in design.links.items()) or "no links"
        raise DesignError(
            f"{design.name}: {op.name}: no link joins {op.participants} chips; the design has "
            f"{has}: add one under 'links', or place the graph on a system"
        )
    plans = [collective_plan(op, (dim,), path) for dim in ports]
    value = OBJECTIVES[context.objective]
    best = min(plans, key=lambda plan: tuple(float(v) for v in value(plan.cost)))
    return replace(best, rests_on={name: _numbers(name) for name in best.mapping["links"]})


def _numbers(link: str) -> tuple[tuple[str, ...], ...]:
    return (("links", link, "bandwidth"), ("links", link, "latency"))


def collective_plan(op: Collective, dims: Dims, path: Path) -> Plan:
    """The op among chips that are joined by `dims`, by the fastest algorithm."""
    transfer = collective(op.function, dims, op.bytes)
    used = tuple(dim for dim in dims if dim.size > 1)
    others = {} if transfer.algorithm == "none" else _others(op, used, path, transfer)
    return transfer_plan(op, transfer, tuple(dim.link for dim in used), path, others)


def transfer_plan(
    op: Collective,
    transfer: Transfer,
    links: tuple[str, ...],
    path: Path,
    others: dict[str, float] | None = None,
) -> Plan:
    """The op as this transfer; `others`: the latency by other algorithms."""
    names = tuple(dict.fromkeys(links))
    cost = transfer_cost(op, transfer, names, path)
    mapping = {"algorithm": transfer.algorithm, "chips": op.participants, "links": list(names)}
    tile = f"{transfer.algorithm} of {op.participants}"
    return Plan(path, cost, tile, mapping, 0.0, 0.0, transfer.algorithm, others or {})


def transfer_cost(op: Collective, transfer: Transfer, links: tuple[str, ...], path: Path) -> Cost:
    """Latency and energy of one chip. Nothing at all where nothing is to be moved."""
    top = path.levels[0]
    traffic: Traffic = {}
    read = transfer.sent_bytes + transfer.added_bytes
    add_traffic(traffic, top.name, "activation", read, 0.0)
    add_traffic(traffic, top.name, "output", 0.0, transfer.received_bytes)
    adds = {"add": transfer.added_bytes * op.elements / op.bytes} if transfer.added_bytes else {}
    busy = {
        "+".join(links) or "link": transfer.seconds,
        top.name: float(top.seconds(read, transfer.received_bytes, top.instances)),
        "vector": path.vector_seconds(adds, path.cores) if adds else 0.0,
    }
    joules = {"+".join(links) or "link": transfer.joules, **memory_joules(traffic, path)}
    joules["vector"] = vector_joules(adds, path)
    launches = 0 if transfer.algorithm == "none" or transfer.launched else 1
    return compose(Work(busy, {}, {}, joules, traffic, launches=launches), path)


def _others(op: Collective, dims: Dims, path: Path, taken: Transfer) -> dict[str, float]:
    return {
        way.algorithm: float(transfer_cost(op, way, (), path).latency_s)
        for way in ways(op.function, dims, op.bytes)
        if way.algorithm != taken.algorithm
    }
