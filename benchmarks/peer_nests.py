"""A mapping of ours in the words of AccelForge and ZigZag."""

from __future__ import annotations

from accel_models.path import ENGINE, Path
from mappers.mapping import Mapping
from mappers.problem import Contraction
from mappers.reuse import Nest
from sim.importers.imported import Imported


def accelforge_nodes(found: Imported, mapping: Mapping, problem: Contraction, path: Path) -> list[str]:
    """Nodes of AccelForge's mapping, outermost first.

    A tensor that a loop does not concern stays in ours while the loop runs, if it is among the
    innermost; there its storage node must lie outside of it.
    """
    work = found.workloads[0]
    tensors = {operand: tensor for tensor, operand in work.tensors.items()}
    rank_of = {ours: theirs for theirs, ours in work.names.items()}
    memories = {ours: theirs for theirs, ours in found.names.items()}
    nest = Nest(mapping, path, problem)
    outermost = ", ".join(tensors.values())
    nodes = [f"!Storage {{tensors: [{outermost}], component: {memories[path.levels[0].name]}}}"]
    for i, level in enumerate(mapping.levels[1:], start=1):
        nodes += _level(nest, i, rank_of, _spread(found, level.level))
        if level.level == ENGINE:
            nodes += [
                f"!Temporal {{rank_variable: {rank_of[rank]}, tile_shape: 1}}"
                for rank in work.ranks
                if level.tile[rank] > 1
            ]
            continue
        for operand in level.keeps:
            node = f"!Storage {{tensors: [{tensors[operand]}], component: {memories[level.level]}}}"
            relevant = {rank_of[r] for r in problem.ranks_of(operand) if r in rank_of}
            nodes.insert(_outside(nodes, relevant), node)
    compute = found.machine.macs.name
    return [*nodes, f"!Compute {{einsum: {work.name}, component: {compute}}}"]


def _spread(found: Imported, level: str) -> tuple[str, str]:
    """(axis, the node that has it) of a level's fan-out; the benchmark's machines have one each."""
    for store in found.machine.stores:
        if found.names[store.name] == level and store.fan_out.axes:
            return store.fan_out.axes[0].name, store.name
    return "", ""


def _level(nest: Nest, i: int, rank_of: dict[str, str], spread: tuple[str, str]) -> list[str]:
    """The loops of one level, in time and in space."""
    level, nodes = nest.mapping.levels[i], []
    for rank in level.order:
        if nest.trips(i, rank) > 1:
            step = level.tile[rank] * level.spatial[rank]
            nodes.append(f"!Temporal {{rank_variable: {rank_of[rank]}, tile_shape: {step}}}")
    for rank, count in level.spatial.items():
        if count > 1:
            nodes.append(
                f"!Spatial {{rank_variable: {rank_of[rank]}, tile_shape: {level.tile[rank]}, "
                f"name: {spread[0]}, component: {spread[1]}}}"
            )
    return nodes


def _outside(nodes: list[str], relevant: set[str]) -> int:
    """Where a tensor's storage node goes: outside of the innermost loops that do not concern it."""
    at = len(nodes)
    while nodes[at - 1].startswith(("!Temporal", "!Storage")):
        node = nodes[at - 1]
        if node.startswith("!Storage") and not nodes[at - 2].startswith("!Temporal"):
            break
        if node.startswith("!Temporal") and node.split("rank_variable: ")[1].split(",")[0] in relevant:
            break
        at -= 1
    while at > 1 and nodes[at - 1].startswith("!Storage"):
        break
    return at


def zigzag_entry(found: Imported, mapping: Mapping, problem: Contraction, path: Path) -> str:
    """A mapping file of ZigZag's: loops in space by dimension of the array, loops in time innermost
    first."""
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
    loops += [(rank, size) for rank, size in mapping.levels[-1].tile.items() if size > 1]
    lines = ["- name: default", "  spatial_mapping:"]
    axes = [axis.name for store in found.machine.stores for axis in store.fan_out.axes]
    axes += [axis.name for axis in found.machine.macs.fan_out.axes]
    for axis in axes:
        unrolled = space.get(axis, [f"{names[next(iter(found.workloads[0].ranks))]}, 1"])
        lines.append(f"    {axis}: [{', '.join(repr(text) for text in unrolled)}]")
    lines.append("  temporal_ordering:")
    lines += [f"  - [{names[rank]}, {size}]" for rank, size in reversed(loops)]
    return "\n".join([*lines, "  memory_operand_links: {O: O, W: I2, I: I1}", ""])


def _axis(found: Imported, level: str, rank: str) -> str:
    """The dimension of the array along which a level is split over a rank."""
    for store in found.machine.stores:
        for axis in store.fan_out.axes:
            if found.names[store.name] == level and (axis.ranks is None or rank in axis.ranks):
                return axis.name
    return found.machine.macs.fan_out.axes[0].name
