"""Two multiplications as one kernel: what the first makes stays in the cores' own memories.

    rows      each core takes blocks of rows, through both multiplications: of its part of the
              intermediate it has every column, and it reads all weights for every block
    columns   each core takes a share of the intermediate's columns for all rows, and the matching
              rows of the second weight; the cores' sums meet in the innermost shared memory and
              are added up with the epilogue

Each part is mapped like any contraction, to one core with its share of the shared memories, which
has so much less room as the block of the intermediate takes. Cores that work on different rows at a
time read weights from a shared memory each, but bring them into it together. A block's
multiplications do not overlap.
Not modeled: stepping through the intermediate's columns within a block, as attention does.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import ceil

from accel_models.mapping_rules import LevelRules
from accel_models.path import Path
from accel_models.reader import DesignError
from mappers.context import Context, searched
from mappers.cost import Cost, Traffic, Work, add_traffic, compose, in_sequence, memory_joules
from mappers.flash_problem import exchange, own_keepers
from mappers.fused_matmul import pair_facts, with_work
from mappers.fused_operands import Matmul, matmul_of
from mappers.fused_rows import vector_work
from mappers.groups import Group
from mappers.library.matmul_plan import library_of
from mappers.library.vector_plan import Call
from mappers.mapping import Mapping, describe_tile
from mappers.matmul import matmul_cost
from mappers.plan import Plan
from mappers.problem import Contraction
from mappers.reuse import Nest, moved_elements
from mappers.search.found import OBJECTIVES
from mappers.staying import lighter, operand_flow
from mappers.streaming import Stream, core_level, stream_cost
from mappers.traffic import operand_sums

ROOM = 0.5  # of a core's memory, for its part of the intermediate
BLOCKS = 2  # sizes of row blocks tried, largest first


@dataclass(frozen=True)
class Share:
    """What a core does at a time: `rows`, `columns` of the intermediate; of `jobs` such, `rounds`
    one after the other."""

    name: str
    rows: int
    columns: int
    jobs: int
    rounds: int

    @property
    def cores(self) -> int:
        """At work."""
        return ceil(self.jobs / self.rounds)


def plan_pair(group: Group, context: Context) -> Plan:
    """The best arrangement. Raises DesignError if the intermediate fits in none."""
    first, second = (matmul_of(part, context) for part in group.parts)
    path, other = first.path, second.path
    if library_of(path) or path.runs_on != other.runs_on:
        raise DesignError(f"{path.name}: no kernel has both of {group.anchor.name}'s pair")
    options = []
    for share in shares(first, path):
        try:
            cost, tiles, mapping = _arranged(first, second, share, context)
        except DesignError:  # these tiles do not fit; another arrangement may
            continue
        shape = f"{share.rows}x{share.columns}: {tiles}"
        options.append((cost, shape, mapping, share.name))
    if not options:
        raise DesignError(f"{path.name}: no part of {group.anchor.name}'s result fits a core")
    value = OBJECTIVES[context.objective]
    cost, tile, mapping, name = min(options, key=lambda o: tuple(map(float, value(o[0]))))
    return Plan(
        path,
        cost,
        tile,
        mapping,
        path.peak_macs_per_s(first.pair),
        sum(op.macs for op in group.ops),
        " + ".join([f"pair by {name}", *_skips(first, second)]),
        rests_on={"matrix": pair_facts(path, first.pair)},
    )


def _skips(*parts: Matmul) -> Iterator[str]:
    """What is done with the zeros of sparse weights."""
    yield from dict.fromkeys(part.pair.skip.name for part in parts if part.pair.skip.name)


def shares(first: Matmul, path: Path) -> Iterator[Share]:
    """Arrangements whose intermediate fits."""
    rows, columns, each = _intermediate(first)
    room = ROOM * core_level(path).capacity
    keeps = own_keepers("activation", path) and own_keepers("output", path)
    if not keeps or first.bare.extents["b"] > 1:
        return
    block, tried = ceil(rows / path.cores), 0
    while block and tried < BLOCKS:
        if block * columns * each <= room:
            jobs = ceil(rows / block)
            yield Share("rows", block, columns, jobs, ceil(jobs / path.cores))
            tried += 1
        block //= 2
    part = ceil(columns / path.cores)
    whole_rows = any(getattr(op, "reduction", False) for op in first.group.epilogue)
    if path.cores > 1 and not whole_rows and rows * part * each <= room:
        yield Share("columns", rows, part, ceil(columns / part), 1)


def _intermediate(first: Matmul) -> tuple[int, int, float]:
    """Its rows, its columns, and bytes of an element."""
    tensor = first.context.graph.tensors[first.group.outputs[0]]
    rows = first.bare.extents["b"] * first.bare.extents["m"]
    columns = tensor.elements // rows
    return rows, columns, tensor.bytes / tensor.elements


def one_core(path: Path, cores: int, taken: float) -> Path:
    """One of so many cores at work, with its share of the shared memories' bandwidth and room; its
    own memory has `taken` bytes less."""
    levels = []
    home = core_level(path)
    for i, level in enumerate(path.levels):
        if i < path.first_core:
            part = min(1.0, level.instances / cores)
            level = replace(
                level,
                instances=1,
                multicast=1,
                capacity=level.capacity * part,
                read_bytes_per_s=level.read_bytes_per_s * part,
                write_bytes_per_s=level.write_bytes_per_s * part,
            )
        else:
            less = taken if level.name == home.name else 0.0
            level = replace(
                level, instances=level.instances // path.cores, capacity=level.capacity - less
            )
        levels.append(level)
    core = path.core.model_copy(update={"count": 1})
    by_name = {level.name: level for level in levels}
    return replace(path, core=core, levels=tuple(levels), by_name=by_name)


def _arranged(
    first: Matmul, second: Matmul, share: Share, context: Context
) -> tuple[Cost, str, object]:
    """Cost, tiles for a person and mappings of one arrangement."""
    path = first.path
    rows, columns, each = _intermediate(first)
    one = one_core(path, share.cores, share.rows * share.columns * each)
    m, n = share.rows / rows, share.columns / columns
    extents = first.bare.extents
    sizes = {"b": 1, "m": share.rows, "n": ceil(extents["n"] * n), "k": extents["k"]}
    a = _Part(first, sizes, m * n)
    k = ceil(second.bare.extents["k"] * n)
    sizes = {"b": 1, "m": share.rows, "n": second.bare.extents["n"], "k": k}
    b = _Part(second, sizes, m if share.name == "rows" else 0.0)
    costs, tiles, mappings = [_launch(path)], [], {}
    for part, kept in ((a, "output"), (b, "activation")):
        cost, mapping = part.on(one, context, kept)
        costs.append(_all_cores(cost, path, share))
        tiles.append(describe_tile(mapping, one.first_core))
        mappings[part.matmul.group.anchor.name] = mapping.describe()
    if share.name == "columns":
        costs.append(_added_up(second, share, path))
    return in_sequence(costs), " then ".join(tiles), mappings


@dataclass(frozen=True)
class _Part:
    """One of the two, on one core: its sizes there, and its share of the epilogue (0: none, its
    sums are passed on)."""

    matmul: Matmul
    sizes: dict[str, int]
    share: float

    def on(self, one: Path, context: Context, kept: str) -> tuple[Cost, Mapping]:
        """Cost on one core, `kept` (its output or its activation) being in the core's memory."""
        whole = self.matmul.around()
        problem = replace(
            whole, extents=self.sizes, epilogue_bytes=whole.epilogue_bytes * self.share
        )
        if not self.share:
            problem = replace(problem, output_bytes=problem.partial_bytes)
        plain = replace(context, whole=None)
        mapping = searched(problem, one, plain, self.matmul.group.anchor.name)
        if kept == "output" and _spill(problem, mapping, one):
            staying = _sums_staying(one)
            mapping = searched(problem, staying, plain, self.matmul.group.anchor.name)
        if self.share:
            problem = with_work(self.matmul, problem, mapping, self.share)
        cost = matmul_cost(problem, mapping, one)
        return _within(cost, problem, mapping, one, kept, bool(self.share)), mapping


def _spill(problem: Contraction, mapping: Mapping, one: Path) -> bool:
    """Do unfinished sums leave the core?"""
    at = one.levels.index(own_keepers("output", one)[0])
    return moved_elements(Nest(mapping, one, problem), "output", at) > problem.outputs


def _sums_staying(one: Path) -> Path:
    """The path with loops that let sums stay in the core, unless its design says what stays."""
    rules, name = one.core.mapping, own_keepers("output", one)[0].name
    level = rules.levels.get(name, LevelRules(source=None))
    if level.stationary is not None:
        return one
    changed = rules.levels | {name: level.model_copy(update={"stationary": ["output"]})}
    mapping = rules.model_copy(update={"levels": changed})
    return replace(one, core=one.core.model_copy(update={"mapping": mapping}))


def _launch(path: Path) -> Cost:
    return compose(Work({}, {}, {}, {}, {}), path)


def _within(
    cost: Cost, problem: Contraction, mapping: Mapping, one: Path, kept: str, finished: bool
) -> Cost:
    """The cost without what `kept` would move further out, and with its way into the core's memory;
    sums that are not finished go no further than where the cores meet."""
    removed, home = Traffic(), core_level(one).name
    if kept == "output":
        keeper = own_keepers("output", one)[0]
        if _spill(problem, mapping, one):
            raise DesignError(f"{one.name}: sums of the intermediate spill")
        for level, moved in operand_flow("output", problem, mapping, one, keeper.name).items():
            if level != keeper.name:
                add_traffic(removed, level, "output", *moved)
        add_traffic(removed, home, "activation", 0.0, -problem.outputs * problem.output_bytes)
        return lighter(cost, removed, one)
    for level, moved in operand_flow("activation", problem, mapping, one, home).items():
        add_traffic(removed, level, "activation", *moved)
    meeting = exchange(one)
    if not finished and meeting is not one.levels[0]:
        for level, moved in operand_flow("output", problem, mapping, one, meeting.name).items():
            add_traffic(removed, level, "output", *moved)
    return lighter(cost, removed, one)


def _all_cores(cost: Cost, path: Path, share: Share) -> Cost:
    """All jobs of a part, in rounds, without a launch."""
    work, rounds, traffic = cost.work, share.rounds, Traffic()
    shared = path.memories[: path.first_core]
    meeting = shared.index(exchange(path, "weight"))
    for at, level in enumerate(path.memories):
        for operand, (read, written) in work.traffic.get(level.name, {}).items():
            together = share.name == "rows" and operand == "weight"
            reads = rounds if together and at < meeting else share.jobs
            writes = rounds if together and at <= meeting else share.jobs
            add_traffic(traffic, level.name, operand, read * reads, written * writes)
    parts = [
        {name: seconds * rounds for name, seconds in part.items()}
        for part in (work.busy, work.head, work.tail, work.serial)
    ]
    busy, head, tail, serial = parts
    for level in shared:
        read, written = operand_sums(traffic.get(level.name, {}), level.fill_port)
        total = float(level.seconds(read, written, level.instances))
        ratio = total / busy[level.name] if busy[level.name] else 0.0
        for part in parts:
            if level.name in part:
                part[level.name] *= ratio
    joules = {name: j * share.jobs for name, j in work.joules.items()} | memory_joules(
        traffic, path
    )
    sync, steps = work.sync_s * rounds, replace(work.steps, outputs=work.steps.outputs * rounds)
    return compose(Work(busy, head, tail, joules, traffic, serial, sync, 0, steps=steps), path)


def _added_up(second: Matmul, share: Share, path: Path) -> Cost:
    """The cores' sums of the second part, read where they meet, added up, finished and written."""
    problem = second.bare
    sums = float(problem.outputs) * share.cores
    work = vector_work(second.group.epilogue, path)
    for cls, n in {"add": sums, **problem.epilogue_ops}.items():
        work[cls] = work.get(cls, 0) + n
    stream = Stream(
        {"sums": sums * problem.partial_bytes, **second.aside},
        second.written,
        share.rows,
        0.0,
        (Call("sums", share.rows, round(sums / share.rows), work),),
        stays={"sums": exchange(path).name},
    )
    cost = stream_cost(stream, path)
    sync = 2 * path.access_latency_s(path.first_core + 1)
    return compose(replace(cost.work, launches=0, sync_s=sync), path)
