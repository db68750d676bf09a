"""A multiplication planned by the machine's kernel library, where it has one: its tile, its time.

How long it takes, and what moves through the memories outside of cores, are the library's
(mappers/library/matmul.py), with all inputs cold; what moves within cores is that of the best
mapping with the library's tile. Energy follows the bytes (mappers/library/moved.py). Work that is
fused to it is one resource more.
Not modeled: the vector work that dequantizes weights apart from the main loop (`issue` has it).
"""

from __future__ import annotations

from collections.abc import Mapping as Map
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from accel_models.engines.tile import ceil_div
from accel_models.kernel_library.matmul import MatmulKernel, MatmulKernels
from accel_models.mapping_rules import LevelRules
from accel_models.path import Path
from accel_models.reader import DesignError
from mappers.context import Context, searched
from mappers.cost import Cost, compose, overlapped
from mappers.groups import Group
from mappers.library.machine import machine_of
from mappers.library.matmul import OVERLAP, Gemms, candidates, matmul_times
from mappers.library.moved import as_moved
from mappers.library.times import Times
from mappers.mapping import RANKS, Mapping, describe_tile
from mappers.matmul import matmul_cost
from mappers.problem import Contraction
from mappers.steps import Steps


class Chosen(NamedTuple):
    """A kernel's tile and its split of k (None: it has none), and what it takes."""

    tile: tuple[int, int, int] | None
    times: Times

    @property
    def name(self) -> str:
        """For one line of a table."""
        if self.tile is None:
            return "no tiles"
        m, n, split = self.tile
        return f"{m}x{n}" + (f" split-k {split}" if split > 1 else "")


def library_of(path: Path) -> MatmulKernels | None:
    """The library of the cores' matrix engines."""
    known = path.core.kernels if path.runs_on == "matrix" else None
    return known.matmul if known else None


def fusible(group: Group, path: Path) -> bool:
    """May the cores' library run the group as one kernel?"""
    known = path.core.kernels if path.runs_on == "matrix" else None
    return known is None or known.fuses or not (group.prologue or group.epilogue)


def mapping_of(problem: Contraction, path: Path, context: Context, what: str) -> Mapping:
    """The best mapping: with the library's tile where there is one that fits, of all else. Raises
    DesignError if no tile fits."""
    chosen = chosen_kernel(problem, path)
    if chosen and chosen.tile:
        try:
            return searched(problem, _with_tile(path, chosen.tile[:2]), context, what)
        except DesignError:
            pass
    return searched(problem, path, context, what)


def tile_of(problem: Contraction, mapping: Mapping, path: Path) -> str:
    """The library's tile, or the mapping's, for one line of a table."""
    chosen = chosen_kernel(problem, path)
    return chosen.name if chosen else describe_tile(mapping, path.first_core)


def cost_of(problem: Contraction, mapping: Mapping, path: Path) -> Cost:
    """The library's, where there is one, else that of the mapping."""
    cost, chosen = matmul_cost(problem, mapping, path), chosen_kernel(problem, path)
    if chosen is None:
        return cost
    parts = {name: float(values[0]) for name, values in chosen.times.parts.items()}
    outer, shared = path.levels[0].name, path.levels[path.first_core - 1].name
    busy = dict.fromkeys(cost.work.busy, 0.0) | {
        outer: parts["dram"],
        shared: parts["l2"],
        **{name: parts[name] for name in ("matrix", "in_flight", "power")},
    }
    body = overlapped(busy, OVERLAP)
    fixed = parts["launch"] + parts["store"] + parts["split"]
    scale = (float(chosen.times.latency_s[0]) - fixed) / body
    busy = {name: seconds * scale for name, seconds in busy.items()}
    moved = {name: float(values[0]) for name, values in chosen.times.moved.items()}
    for name, level in (("dram", outer), ("l2", shared)):  # what the epilogue reads besides
        busy[level] += parts[name] * problem.epilogue_bytes / moved[name]
    moved["l2"] -= moved["sums"]
    busy[outer] += parts["store"]
    if problem.epilogue_ops:
        busy["vector"] = path.vector_seconds(
            dict(problem.epilogue_ops), _at_work(problem, chosen, path)
        )
    work = replace(
        cost.work,
        busy=busy,
        head={},
        tail={outer: parts["store"]},
        serial={},
        sync_s=parts["split"],
        launch_s=parts["launch"],
        norm=OVERLAP,
        steps=_steps(problem, chosen, path, busy),
    )
    return compose(as_moved(work, moved, _once(problem), path), path)


def _once(problem: Contraction) -> dict[str, float]:
    """Bytes of every operand, once."""
    b, m, n, k = (float(problem.extents.get(rank, 1)) for rank in RANKS)
    return {
        "activation": b * m * k * problem.activation_bytes,
        "weight": b * n * k * problem.weight_bytes,
        "output": b * m * n * problem.output_bytes,
    }


STEP = 64  # elements of k that a core's tiles go on by


def _steps(problem: Contraction, chosen: Chosen, path: Path, busy: Map[str, float]) -> Steps:
    """Rounds of blocks, each over its share of k; tiles come through the shared memories."""
    outer, store = path.levels[0].name, float(chosen.times.parts["store"][0])
    loads = {level.name: 1.0 for level in path.memories[: path.first_core]}
    loads[outer] -= store / busy[outer] if busy[outer] else 0.0
    if chosen.tile is None:
        return Steps(finish=1.0, loads=loads, once=True)
    m, n, split = chosen.tile
    tiles = ceil_div(problem.length("m"), m) * ceil_div(problem.length("n"), n)
    rounds = ceil_div(problem.length("b") * tiles * split, path.cores)
    parts = ceil_div(ceil_div(problem.length("k"), split), STEP)
    step = STEP * (m * problem.activation_bytes + n * problem.weight_bytes)
    held = max(2, int(path.levels[path.first_core].capacity // step))
    return Steps(rounds, parts, held, finish=1.0, loads=loads, once=True)


def chosen_kernel(problem: Contraction, path: Path) -> Chosen | None:
    """What the library runs; None where it has no multiplications, or none like this."""
    library = library_of(path)
    if library is None or set(problem.extents) - set(RANKS) or path.first_core < 2:
        return None
    machine, kernel = machine_of(path), library.of(*format_names(problem))
    done = problem.datapath.skip.done  # of the operation's MACs, where zeros are skipped
    kernel = kernel.model_copy(update={"mac_energy": kernel.mac_energy * done})
    b, m, n, k = (np.array([float(problem.extents.get(rank, 1))]) for rank in RANKS)
    gemms = Gemms(
        b,
        m,
        n,
        k,
        problem.activation_bytes,
        problem.weight_bytes,
        problem.output_bytes,
        path.peak_macs_per_s(problem.datapath),
        passed=np.array([np.inf]),
        wide_bytes=problem.datapath.activation.bits / 8,
    )
    times, menu = matmul_times(gemms, machine, kernel), candidates(kernel, machine)
    at = int(times.choice[0])
    if at == menu.tm.size:
        return Chosen(None, times)
    return Chosen((int(menu.tm[0, at]), int(menu.tn[0, at]), int(menu.s[0, at])), times)


def _at_work(problem: Contraction, chosen: Chosen, path: Path) -> float:
    """Cores that have a block, on average over the rounds."""
    if chosen.tile is None:
        return path.cores
    m, n, split = chosen.tile
    tiles = ceil_div(problem.length("m"), m) * ceil_div(problem.length("n"), n)
    blocks = problem.length("b") * tiles * split
    return blocks / ceil_div(blocks, path.cores)


PARAMETERS = {  # of a resource's time
    "matrix": "issue",
    "in_flight": "step_latency",
    "launch": "launch",
    "sync": "split_latency",
    "power": "mac_energy",
}


def rests_on(problem: Contraction, path: Path) -> dict[str, tuple[tuple[str, ...], ...]]:
    """Key paths of the library's numbers, by resource; none where it has no kernel for this."""
    library = library_of(path)
    if library is None or chosen_kernel(problem, path) is None:
        return {}
    block = ("cores", path.name, "kernels", "matmul")
    name = library.name_of(*format_names(problem))
    own = library.formats[name] if name else None

    def at(key: str) -> tuple[tuple[str, ...], ...]:
        changed = own is not None and getattr(own, key) is not None
        return ((*block, "formats", str(name), key),) if changed else ((*block, key),)

    memories = {path.levels[0].name: "dram", path.levels[path.first_core - 1].name: "l2"}
    return {resource: at(key) for resource, key in (PARAMETERS | memories).items()}


def format_names(problem: Contraction) -> tuple[str, ...]:
    """What a library may call the formats: weights in fewer bits than they are multiplied in by
    both, others by the pair."""
    pair = problem.datapath
    if pair.convert_weight:
        return f"w{int(8 * problem.weight_bytes)}a{pair.activation.bits}", pair.key
    return (pair.key,)


def _with_tile(path: Path, tile: tuple[int, int]) -> Path:
    """The path with this tile of outputs in a core's own memory, and no other."""
    rules, name = path.core.mapping, path.levels[path.first_core].name
    level = rules.levels.get(name, LevelRules())
    tiles = level.tiles | {"m": [tile[0]], "n": [tile[1]]}
    own = {name: level.model_copy(update={"tiles": tiles, "multiples": {}})}
    changed = rules.model_copy(update={"levels": rules.levels | own})
    return replace(path, core=path.core.model_copy(update={"mapping": changed}))


def least_launch(path: Path) -> float:
    """Seconds that any kernel of these cores takes before it does anything."""
    found = [path.control.launch + path.access_latency_s()]
    found += [kernel.launch for kernel in _kernels(library_of(path))]
    known = path.core.kernels
    if known and known.vector:
        found.append(known.vector.floor)
    if known and known.attention:  # whose launch is of two kernels, one of them small
        small = known.vector.floor if known.vector else 0.0
        own = [kernel.launch for kernel in known.attention.kernels.values() if kernel.launch]
        found += [max(0.0, launch - small) for launch in (known.attention.launch, *own)]
    return min(found)


def outer_share(path: Path) -> float:
    """By how much at most the library's kernels are faster than the outermost memory's stated
    efficiency."""
    memory = path.design.memory[path.levels[0].name]
    reached = [kernel.dram for kernel in _kernels(library_of(path))]
    known = path.core.kernels
    if known and known.vector:
        reached.append(known.vector.dram)
    if known and known.attention:
        reached.append(known.attention.dram or 0.0)
    if known and known.experts:
        reached.append(known.experts.dram)
    return max([1.0, *(share / memory.efficiency for share in reached)])


def _kernels(library: MatmulKernels | None) -> list[MatmulKernel]:
    if library is None:
        return []
    return [library, *(library.of(name) for name in library.formats)]
