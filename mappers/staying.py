"""Tensors that stay on chip between the group that makes them and those that read them.

A tensor may stay in a memory that there is one of, that keeps activations and outputs, and that the
cores go through on the way to (or in) their own; the makers' and the readers' kinds of cores must
both reach it. All that stay at one time take at most ROOM of it, and what runs meanwhile has the
rest. Nothing then moves between that memory and those further out for this tensor: traffic that the
mapping has there is taken off, and each level's time with it. A tensor passes to another kind of
cores through the innermost such memory that both have, or through the outermost one.
Not considered: tensors smaller than LEAST of the memory; parts of a tensor; keeping the weights.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from collections.abc import Mapping as Map
from dataclasses import replace
from itertools import product

from accel_models.path import Level, Path
from accel_models.reader import DesignError
from mappers.cost import Cost, Traffic, add_traffic, compose, memory_joules
from mappers.fusion import Stay
from mappers.groups import Group
from mappers.mapping import Mapping
from mappers.problem import Contraction
from mappers.reuse import Nest
from mappers.streaming import core_level
from mappers.traffic import flow_between, load_share, operand_sums
from mappers.wiring import Wiring

ROOM = 0.5  # of a memory, for what stays
LEAST = 0.01

KINDS = ("einsum", "vector", "move", "attention")  # of ops that find their data on chip

Flow = dict[str, tuple[float, float]]  # level -> bytes (read, written)
FlowOf = Callable[[str, str], Flow]  # of an operand, down to a level
Shares = Map[str, Map[str, float]]  # operand -> level -> share of its bytes that stays there


def places(path: Path) -> list[Level]:
    """The memories of this path in which a tensor may stay, outermost first."""
    last = path.levels.index(core_level(path))
    return [
        level
        for level in path.memories[1 : last + 1]
        if level.instances == 1 and {"activation", "output"} <= set(level.keeps)
    ]


def reach(group: Group, path: Path) -> dict[str, float]:
    """Memories in which the group may find and leave tensors, and their capacities."""
    if group.form == "pair" or any(op.kind not in KINDS for op in group.ops):
        return {}
    attention = group.ops[0].kind == "attention"  # it reads keys as weights, from a shared memory
    return {
        level.name: level.capacity
        for level in places(path)
        if not attention or ("weight" in level.keeps and path.levels.index(level) < path.first_core)
    }


def choices(
    group: Group, levels: Map[str, float], here: frozenset[Stay], wiring: Wiring
) -> Iterator[frozenset[Stay]]:
    """What the group may leave in these memories while others stay there: nothing first."""
    taken = dict.fromkeys(levels, 0.0)
    for tensor, level in here:
        if level in taken:
            taken[level] += wiring.sizes[tensor]
    options: list[list[Stay | None]] = []
    for tensor in group.outputs:
        size = wiring.sizes[tensor]
        fits = [n for n, c in levels.items() if LEAST * c <= size <= ROOM * c - taken[n]]
        if fits and _read_alike(tensor, group, wiring):
            options.append([None, *((tensor, name) for name in fits)])
    for chosen in product(*options):
        leaves = frozenset(stay for stay in chosen if stay)
        total = dict(taken)
        for tensor, level in leaves:
            total[level] += wiring.sizes[tensor]
        if all(total[name] <= ROOM * capacity for name, capacity in levels.items()):
            yield leaves


def _read_alike(tensor: str, group: Group, wiring: Wiring) -> bool:
    """Is it an activation, read only by ops that can find it on chip, as often as it is made?"""
    readers = wiring.readers.get(tensor, [])
    alike = (wiring.counts[i] == group.count and wiring.ops[i].kind in KINDS for i in readers)
    return wiring.graph.tensors[tensor].kind == "activation" and bool(readers) and all(alike)


def beside(path: Path, names: Collection[str]) -> Path:
    """The path with the room that is left where tensors stay, in the memories of these names."""
    levels = tuple(
        replace(level, capacity=level.capacity * (1 - ROOM)) if level.name in names else level
        for level in path.levels
    )
    return replace(path, levels=levels, by_name={level.name: level for level in levels})


def kept_on_chip(cost: Cost, flow: FlowOf, path: Path, shares: Shares) -> Cost:
    """The cost of a mapping without what these shares of its operands move further out."""
    removed = Traffic()
    for operand, by_level in shares.items():
        for name, share in by_level.items():
            for level, (read, written) in flow(operand, name).items():
                add_traffic(removed, level, operand, read * share, written * share)
    return lighter(cost, removed, path) if removed else cost


def operand_flow(
    operand: str, problem: Contraction, mapping: Mapping, path: Path, inward: str
) -> Flow:
    """What the operand moves from the outermost memory down to level `inward` (or back)."""
    scratch = Traffic()
    last = next(i for i, level in enumerate(path.levels) if level.name == inward)
    if operand == "epilogue":
        return {m.name: (problem.epilogue_bytes, 0.0) for m in path.memories[:last]}
    if operand not in mapping.levels[last].keeps:
        raise DesignError(f"{path.name}: the {operand} passes {inward} by")
    nest, parent = Nest(mapping, path, problem), 0
    for i in range(1, last + 1):
        if operand in mapping.levels[i].keeps:
            flow_between(operand, (parent, i), problem, nest, scratch)
            parent = i
    return {name: operands[operand] for name, operands in scratch.items()}


def lighter(cost: Cost, removed: Traffic, path: Path) -> Cost:
    """The cost with this traffic taken off (or, negative, added); levels are as busy as their bytes
    take."""
    work = cost.work
    traffic = {name: dict(operands) for name, operands in work.traffic.items()}
    for name, operands in removed.items():
        for operand, (read, written) in operands.items():
            was = traffic[name][operand]
            traffic[name][operand] = max(0.0, was[0] - read), max(0.0, was[1] - written)
    parts = [dict(p) for p in (work.busy, work.head, work.tail, work.serial)]
    busy, head, tail, serial = parts
    for name in removed:
        level, before, after = path.by_name[name], work.traffic[name], traffic[name]
        old, new = (
            float(level.seconds(*operand_sums(operands, level.fill_port), 1))
            for operands in (before, after)
        )
        times = new / old if old else 0.0
        loads, stores = map(_ratio, load_share(before), load_share(after))
        busy[name] *= times
        head[name] = head.get(name, 0.0) * times * loads
        tail[name] = tail.get(name, 0.0) * times * stores
        if name in serial:
            serial[name] = busy[name] - head[name] - tail[name]
    changed = {"busy": busy, "head": head, "tail": tail, "serial": serial, "traffic": traffic}
    joules = work.joules | memory_joules(traffic, path)
    return compose(replace(work, joules=joules, **changed), path)  # type: ignore[arg-type]


def floor(cost: Cost, path: Path) -> tuple[float, float]:
    """Latency and energy that a mapping has however much stays on chip."""
    inmost = max((path.levels.index(level) for level in places(path)), default=0)
    outer = {level.name for level in path.levels[: inmost + 1]}
    work = cost.work
    busy, head, tail, serial, joules = (
        {name: value for name, value in part.items() if name not in outer}
        for part in (work.busy, work.head, work.tail, work.serial, work.joules)
    )
    least = compose(
        replace(work, busy=busy, head=head, tail=tail, serial=serial, joules=joules), path
    )
    return float(least.latency_s), float(least.energy_j)


def _ratio(before: float, after: float) -> float:
    return float(after / before) if before else 0.0
