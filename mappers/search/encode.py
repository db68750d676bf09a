"""A problem, its path and its space as the arrays of the compiled search."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from accel_models.engines.tile import EngineForm
from accel_models.path import Level, Path
from accel_models.reader import DesignError
from mappers.conversions import conversions
from mappers.legality import rules_of
from mappers.mapping import OPERANDS
from mappers.problem import Contraction
from mappers.search.bulk import layout as at
from mappers.search.bulk.chains import Choices
from mappers.search.space import RankSpace, Space, order_of

ROLE_CODES = {"b": at.BATCH, "m": at.ROLE_M, "n": at.ROLE_N, "k": at.ROLE_K}
BUFFERING = {"single": at.SINGLE, "double": at.DOUBLE, "multi": at.MULTI}


def encode(space: Space) -> tuple[np.ndarray, np.ndarray]:
    """Problem and machine: I and X of `layout`. Raises DesignError if they are larger than
    those."""
    problem, path = space.problem, space.path
    if len(path.levels) > at.MOST_LEVELS or len(problem.extents) > at.MOST_RANKS:
        raise DesignError(
            f"{path.design.name}: {len(path.levels)} levels and {len(problem.extents)} ranks; the "
            f"search takes {at.MOST_LEVELS} levels, engine included, and {at.MOST_RANKS} ranks"
        )
    integers = np.zeros(at.N_INTEGERS, dtype=np.int64)
    _counts(space, integers)
    _ranks(problem, path, integers)
    _halos(problem, integers)
    _orders(space, integers)
    return integers, _numbers(problem, path)


def least_key(I: np.ndarray, X: np.ndarray, objective: str) -> float:
    """No mapping is better: MACs at the engines' peak, every operand once at the outermost
    memory."""
    cycles, led = 1.0, set()
    for r in range(int(I[at.RANKS])):
        row = I[at.RANK + at.N_RANK * r :]
        role, per = int(row[at.ROLE]), 1.0
        if role != at.BATCH and role not in led:
            s = at.STEPS + 4 * (role - 1)
            per = X[s + 1] / X[s]
            led.add(role)
        cycles *= row[at.EXTENT] * per
    outermost = X[at.LEVEL : at.LEVEL + at.N_LEVEL]
    sizes = [X[at.BASE_A + i] * X[at.LEAST_A + i] * X[at.WIDTH_A + i] for i in range(2)]
    read, written = sum(sizes), X[at.OUTPUTS] * X[at.WIDTH_O]
    read_s, write_s = read * outermost[at.READ_S], written * outermost[at.WRITE_S]
    moved = read_s + write_s if outermost[at.SHARED_PORT] else max(read_s, write_s)
    latency = X[at.FIXED_S] + max(cycles / (X[at.CLOCK] * X[at.FAN_OUTS]), moved)
    joules = X[at.MATRIX_J] + read * outermost[at.READ_J] + written * outermost[at.WRITE_J]
    energy = joules + X[at.STATIC_W] * latency
    return float({"latency": latency, "energy": energy, "edp": latency * energy}[objective])


def encode_templates(space: Space) -> np.ndarray:
    """T of `layout`, a row for every template."""
    names = list(space.problem.extents)
    rows = [
        [
            [*(operand in kept for operand in OPERANDS), names.index(innermost)]
            for kept, innermost in zip(*by_level, strict=True)
        ]
        for by_level in zip(space.keeps, space.innermost, strict=True)
    ]
    return np.array(rows, dtype=np.int64).reshape(len(rows), -1)


def encode_choices(rank: RankSpace, doubling: bool) -> Choices:
    """What a rank may choose."""
    widest = max(1, *(len(menu) for menu in rank.menus))
    menus = np.zeros((len(rank.menus), widest), dtype=np.int64)
    for i, menu in enumerate(rank.menus):
        menus[i, : len(menu)] = menu
    return Choices(
        np.array(rank.loops),
        menus,
        np.array([len(menu) for menu in rank.menus], dtype=np.int64),
        np.array(rank.multiples, dtype=np.int64),
        np.array(rank.most, dtype=np.int64),
        np.array(rank.axes),
        np.array(rank.largest, dtype=np.float64),
        doubling,
    )


def _counts(space: Space, counts: np.ndarray) -> None:
    problem, path = space.problem, space.path
    levels, first = len(path.levels) - 1, path.first_core
    dynamic = path.control.dispatch == "dynamic"
    counts[at.RANKS], counts[at.LEVELS], counts[at.FIRST] = len(problem.extents), levels, first
    counts[at.DYNAMIC], counts[at.CORES] = dynamic, path.cores
    counts[at.STREAMED] = ROLE_CODES[_form(problem, path).streamed]
    counts[at.ON_VECTOR] = path.runs_on == "vector"
    counts[at.OVERLAP] = path.control.overlap_engines
    counts[at.MERGING] = any(level.multicast > 1 or level.reduction for level in path.levels)
    constant, entering = conversions(problem, path)
    counts[at.HAS_WORK] = bool(problem.epilogue_ops or constant or any(entering.values()))
    counts[at.AXIS_LEVEL] = space.axis_level
    counts[at.AXIS_0], counts[at.AXIS_1] = space.axis_sizes
    counts[at.PERFECT] = path.core.mapping.factors == "perfect"
    counts[at.WAVE] = dynamic and first >= 2
    names = list(problem.extents)
    for i, operand in enumerate(OPERANDS):
        as_read = operand == "weight" and problem.shared_weight
        counts[at.RUN_A + i] = -1 if as_read else names.index(problem.run_rank(operand))
        counts[at.LACKS_A + i] = _lacking(problem, operand)
        counts[at.OWN_A + i] = sum(1 << names.index(r) for r in problem.ranks_of(operand))
    _plain(problem, path, counts)


def _plain(problem: Contraction, path: Path, counts: np.ndarray) -> None:
    """Is it a multiplication of one rank m, n and k each, perhaps in batches of all operands? The
    places of its ranks, and the even levels of `joint`."""
    names = list(problem.extents)
    for i, role in enumerate("bmnk"):
        ranks = problem.of_role(role)
        counts[at.AT_B + i] = names.index(ranks[0]) if len(ranks) == 1 else -1
    has_all = all(counts[at.LACKS_A + i] >= 0 for i in range(3)) and len(problem.of_role("b")) < 2
    counts[at.PLAIN] = has_all and all(counts[at.AT_B + i] >= 0 for i in (1, 2, 3))
    even = [
        i
        for i, level in enumerate(path.levels[: path.first_core])
        if level.shared_port and level.read_bytes_per_s == level.write_bytes_per_s
    ][:3]
    counts[at.EVENS] = len(even)
    counts[at.EVEN : at.EVEN + len(even)] = even


def _lacking(problem: Contraction, operand: str) -> int:
    """The one rank that the operand lacks, of those that a cost depends on; -1 if there is no such
    rank, or windows overlap."""
    if any(len(dim) > 1 for dim in problem.dims[operand]):
        return -1
    role = {"activation": "n", "weight": "m", "output": "k"}[operand]
    lacks = [r for r in problem.extents if r not in problem.ranks_of(operand)]
    long = [r for r in lacks if problem.extents[r] > 1] or list(problem.of_role(role)[:1])
    alone = len(long) == 1 and problem.roles[long[0]] == role
    return list(problem.extents).index(long[0]) if alone else -1


def _form(problem: Contraction, path: Path) -> EngineForm:
    return path.form(problem.datapath)


def _numbers(problem: Contraction, path: Path) -> np.ndarray:
    form, power, control = _form(problem, path), path.design.power, path.control
    constant, entering = conversions(problem, path)
    narrow = path.vector.narrow

    def seconds(work: Any) -> float:
        return path.vector_seconds(dict(work), 1.0) if work else 0.0

    x = np.zeros(at.N_NUMBERS, dtype=np.float64)
    x[at.CLOCK], x[at.FAN_OUTS] = path.clock_hz, path.levels[-1].instances
    x[at.EPILOGUE_S], x[at.ADD_S] = seconds(problem.epilogue_ops), seconds({"add": 1.0})
    x[at.CONVERSION_S] = seconds(constant) / narrow
    x[at.ENTER_A_S], x[at.ENTER_W_S] = (seconds(work) / narrow for work in entering.values())
    x[at.EPILOGUE_OPS] = sum(problem.epilogue_ops.values())
    x[at.CONVERSION_OPS] = sum(constant.values())
    x[at.ENTER_A_OPS], x[at.ENTER_W_OPS] = (sum(work.values()) for work in entering.values())
    x[at.VECTOR_J], x[at.SYNC] = path.vector.energy, control.sync or 0.0
    load = path.access_latency_s(path.first_core + 1)
    x[at.SUMS_ACCESS], x[at.LOAD_S] = 2 * load, load
    x[at.FIXED_S] = control.launch + path.access_latency_s()
    x[at.STATIC_W], x[at.HEADROOM_W] = power.static, power.limit - power.static
    x[at.MACS], x[at.MATRIX_J] = problem.macs, problem.macs * problem.datapath.energy
    x[at.OUTPUTS], x[at.PARTIAL] = problem.outputs, problem.partial_bytes
    for i, operand in enumerate(OPERANDS):
        x[at.WIDTH_A + i] = problem.bytes_per_element(operand)
        x[at.BASE_A + i], x[at.LEAST_A + i] = _base(problem, operand), _least(problem, operand)
    x[at.ENGINE_A], x[at.ENGINE_W] = (problem.engine_bytes(o) for o in OPERANDS[:2])
    x[at.EPILOGUE_BYTES] = problem.epilogue_bytes
    _engine(problem, form, x)
    for i, level in enumerate(path.levels):
        outside = path.levels[i - 1].instances if i else 1
        _level(level, outside, x[at.LEVEL + at.N_LEVEL * i :])
    return x


def _engine(problem: Contraction, form: EngineForm, x: np.ndarray) -> None:
    x[at.PIPELINE], x[at.FILL] = form.pipeline, form.fill
    x[at.BLOCK_A], x[at.BLOCK_W] = form.activation_block, form.weight_block
    x[at.BLOCK_O] = form.sum_block
    x[at.WORD_A], x[at.WORD_W] = x[at.ENGINE_A] * form.activation_share, x[at.ENGINE_W]
    x[at.SUM_SHARE] = form.sum_share
    for i, (role, steps) in enumerate((("m", form.m), ("n", form.n), ("k", form.k))):
        x[at.LENGTH_M + i] = problem.length(role)
        start = at.STEPS + 4 * i
        x[start : start + 4] = steps.block, steps.per, steps.add, steps.floor


def _level(level: Level, outside: int, row: np.ndarray) -> None:
    row[at.CAPACITY], row[at.GRANULARITY] = level.capacity, level.granularity
    row[at.READ_BPS], row[at.WRITE_BPS] = level.read_bytes_per_s, level.write_bytes_per_s
    row[at.SHARED_PORT], row[at.FILL_PORT] = level.shared_port, level.fill_port
    row[at.READ_J], row[at.WRITE_J] = level.read_j_per_byte, level.write_j_per_byte
    row[at.BUFFERING], row[at.INSTANCES] = BUFFERING[level.buffering], level.instances
    row[at.REDUCTION], row[at.MULTICAST] = level.reduction, level.multicast
    row[at.FAN_OUT] = level.instances // outside
    speeds = level.read_bytes_per_s, level.write_bytes_per_s
    if not all(speeds):  # the engine's own
        return
    row[at.READ_S], row[at.WRITE_S] = (1 / (bps * level.instances) for bps in speeds)
    both = max(speeds) if level.shared_port else sum(speeds)
    row[at.EITHER_S] = 1 / (both * level.instances)


def _ranks(problem: Contraction, path: Path, integers: np.ndarray) -> None:
    for i, (rank, extent) in enumerate(problem.extents.items()):
        row = integers[at.RANK + at.N_RANK * i :]
        role = problem.roles[rank]
        same = [r for r in problem.of_role(role) if problem.extents[r] > 1]
        same = same or [problem.of_role(role)[0]]
        row[at.EXTENT] = extent
        # a rank of one element beside others of its role leaves the engine's work alone
        row[at.ROLE] = ROLE_CODES[role] if rank in same else at.BATCH
        row[at.DEALT] = path.control.dispatch == "dynamic" and role != "k"
        row[at.ALONE] = same == [rank]
        for j, operand in enumerate(OPERANDS):
            row[at.IN_A + j] = rank in problem.ranks_of(operand)


def _base(problem: Contraction, operand: str) -> int:
    """Elements along dimensions of one rank each."""
    return prod(problem.extents[d[0][0]] for d in problem.dims[operand] if len(d) == 1)


def _least(problem: Contraction, operand: str) -> int:
    """Coordinates that its dimensions of two ranks have in all."""
    dims = [dim for dim in problem.dims[operand] if len(dim) > 1]
    return prod(problem.footprint_of(dim, problem.extents) for dim in dims)


def _halos(problem: Contraction, integers: np.ndarray) -> None:
    names = list(problem.extents)
    found = [
        (i, names.index(p), stride, names.index(r), dilation)
        for i, operand in enumerate(OPERANDS)
        for dim in problem.dims[operand]
        if len(dim) > 1
        for (p, stride), (r, dilation) in [dim]
    ]
    integers[at.HALOS] = len(found)
    for h, halo in enumerate(found):
        integers[at.HALO + 5 * h : at.HALO + 5 * h + 5] = halo


def _orders(space: Space, integers: np.ndarray) -> None:
    """Ranks inside each, as bits, and ranks outermost first, by level and innermost rank; ranks
    that may not be innermost."""
    names = list(space.problem.extents)
    inmost = [set(by_level) for by_level in zip(*space.innermost, strict=True)]
    whole = len(space.keeps) == len(set(space.keeps)) * prod(len(ranks) for ranks in inmost)
    for i in range(1, len(space.path.levels)):
        if whole:  # every choice at one level is there with every choice at the others
            integers[at.INMOST + i] = sum(1 << names.index(rank) for rank in inmost[i])
        for x, innermost in enumerate(names):
            ranks = [names.index(r) for r in order_of(space.problem, space.path, i, innermost)]
            place = (at.MOST_RANKS * i + x) * at.MOST_RANKS
            integers[at.ORDER + place : at.ORDER + place + len(ranks)] = ranks
            for position, rank in enumerate(ranks):
                bits = sum(1 << q for q in ranks[position + 1 :])
                integers[at.INSIDE + place + rank] = bits
        stationary = rules_of(space.path, i).stationary
        for x, name in enumerate(names):
            if stationary is not None and all(
                name in space.problem.ranks_of(o) for o in stationary
            ):
                integers[at.BARRED + i] |= 1 << x
