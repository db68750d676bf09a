"""A mapping of ours in the words of AccelForge and ZigZag."""

from __future__ import annotations

from collections.abc import Iterator

from accel_models.path import Path
from mappers.mapping import Mapping
from mappers.problem import Contraction
from mappers.reuse import Nest
from sim.importers.imported import Imported

Node = tuple[str, str, str, int]  # kind, rank or operand, memory (of a loop in space: it), trips


def accelforge_nodes(
    found: Imported, mapping: Mapping, problem: Contraction, path: Path
) -> list[str]:
    """Nodes of AccelForge's mapping, outermost first; factors must be perfect.

    A tensor that a loop does not concern stays in ours while the loop runs, if it is among the
    innermost; there its storage node must lie outside of it, and loops in space further out still.
    """
    nest = Nest(mapping, path, problem)
    nodes: list[Node] = [("keep", operand, path.levels[0].name, 1) for operand in problem.dims]
    for i, level in enumerate(mapping.levels[1:], start=1):
        spread = [("space", r, level.level, n) for r, n in level.spatial.items() if n > 1]
        at = max(n for n, node in enumerate(nodes) if node[0] == "keep") + 1
        nodes[at:at] = spread
        nodes += [("time", r, "", nest.trips(i, r)) for r in level.order if nest.trips(i, r) > 1]
        for operand in level.keeps:
            at = _outside(nodes, problem.ranks_of(operand), level.level)
            nodes.insert(at, ("keep", operand, level.level, 1))
    last = mapping.levels[-1].tile
    nodes += [("time", rank, "", size) for rank, size in last.items() if size > 1]
    return _written(nodes, found, problem)


def _outside(nodes: list[Node], relevant: frozenset[str], memory: str) -> int:
    """Where a tensor is taken in: outside of the innermost loops that do not concern it."""
    at = best = len(nodes)
    while True:
        kind, name, of, _ = nodes[at - 1]
        if kind == "time" and name not in relevant:
            best = at - 1
        elif kind != "keep" or of != memory:
            return best
        at -= 1


def _written(nodes: list[Node], found: Imported, problem: Contraction) -> list[str]:
    """The nodes in AccelForge's words."""
    work = found.workloads[0]
    tensors = {operand: tensor for tensor, operand in work.tensors.items()}
    theirs = {ours: name for name, ours in work.names.items()}
    memories = {ours: name for name, ours in found.names.items()}
    axes = {s.name: s.fan_out.axes[0].name for s in found.machine.stores if s.fan_out.axes}
    size, lines = dict(problem.extents), []
    for kind, name, memory, trips in nodes:
        if kind == "keep":
            lines.append(f"!Storage {{tensors: [{tensors[name]}], component: {memories[memory]}}}")
            continue
        size[name] //= trips
        loop = f"rank_variable: {theirs[name]}, tile_shape: {size[name]}"
        if kind == "time":
            lines.append(f"!Temporal {{{loop}}}")
        else:
            where = memories[memory]
            lines.append(f"!Spatial {{{loop}, name: {axes[where]}, component: {where}}}")
    return [*lines, f"!Compute {{einsum: {work.name}, component: {found.machine.macs.name}}}"]


def zigzag_entries(
    found: Imported, mapping: Mapping, problem: Contraction, path: Path
) -> Iterator[str]:
    """Mapping files of ZigZag's, one for each rank that may be innermost.

    The order of the loops inside an engine's tile makes no difference to us; it does to ZigZag,
    where a word that is read again at once is not read again.
    """
    names = {ours: theirs for theirs, ours in found.workloads[0].names.items()}
    nest = Nest(mapping, path, problem)
    loops: list[tuple[str, int]] = []
    space: dict[str, list[str]] = {}
    for i, level in enumerate(mapping.levels[1:], start=1):
        loops += [(rank, nest.trips(i, rank)) for rank in level.order if nest.trips(i, rank) > 1]
        for rank, count in level.spatial.items():
            if count > 1:
                axis = _axis(found, level.level, rank)
                space.setdefault(axis, []).append(f"{names[rank]}, {count}")
    inside = [(rank, size) for rank, size in mapping.levels[-1].tile.items() if size > 1]
    fan_outs = [*(store.fan_out for store in found.machine.stores), found.machine.macs.fan_out]
    nothing = [f"{names[next(iter(found.workloads[0].ranks))]}, 1"]
    for turn in range(max(1, len(inside))):
        lines = ["- name: default", "  spatial_mapping:"]
        for axis in (axis.name for fan_out in fan_outs for axis in fan_out.axes):
            unrolled = ", ".join(repr(text) for text in space.get(axis, nothing))
            lines.append(f"    {axis}: [{unrolled}]")
        ordered = [*loops, *inside[turn:], *inside[:turn]]
        lines.append("  temporal_ordering:")
        lines += [f"  - [{names[rank]}, {size}]" for rank, size in reversed(ordered)]
        yield "\n".join([*lines, "  memory_operand_links: {O: O, W: I2, I: I1}", ""])


def _axis(found: Imported, level: str, rank: str) -> str:
    """The dimension of the array along which a level is split over a rank."""
    for store in found.machine.stores:
        for axis in store.fan_out.axes:
            if found.names[store.name] == level and (axis.ranks is None or rank in axis.ranks):
                return axis.name
    return found.machine.macs.fan_out.axes[0].name
