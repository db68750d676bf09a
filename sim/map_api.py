"""`map`: one matrix multiplication, or one op of a model, onto a design: its best mapping or a
given one, and what that costs. The command line is a thin layer over this.

An op is mapped alone, without what a simulation fuses into it. Where a design has several kinds of
cores, the best of them is taken; counts are those of all that were tried.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path as File

from accel_models.design import Design
from accel_models.explain import nearest
from accel_models.path import Path, memory_path
from accel_models.read_design import read_design
from accel_models.reader import DesignError
from kernels_ref.errors import UserError
from kernels_ref.formats import get_format
from mappers.contractions import contraction, contraction_names, operand_tensors
from mappers.cost import Cost
from mappers.map_graph import takes_some
from mappers.mapping_file import mapping_on, read_mapping, shown_sizes
from mappers.mapping_text import MappingFile, matmul_extents
from mappers.matmul import matmul_cost
from mappers.problem import Contraction
from mappers.search.cache import cached_best, open_cache
from mappers.search.found import OBJECTIVES, Found, Limits
from mappers.search.pareto import Point, pareto_front
from workloads import quantize, read_model
from workloads.graph import Graph, Node, Tensor
from workloads.ops import Einsum
from workloads.phase import Phase
from workloads.read_model import Model

PARETO, BY, SEARCHES = "pareto", "edp", 18  # a front; what its main mapping is least in; searches
HALF = ("bf16", "fp16")  # a matrix multiplication without a model, where the engine takes them


@dataclass(frozen=True, slots=True)
class Asked:
    """What is wanted: the least latency, energy or edp, within `gap` (a share) of the optimum, or
    the best of `budget_s` seconds; `pareto`: the least edp, and a front beside; or the cost of the
    mapping in a file."""

    objective: str = "latency"
    cores: str | None = None
    mapping: str | None = None
    gap: float = 0.0
    budget_s: float | None = None
    cache: bool = True


OPTIMUM = Asked()


@dataclass(frozen=True)
class Mapped:
    """A contraction on a path, and the mapping found or given (then `file` is its name)."""

    design: Design
    workload: str
    formats: Mapping[str, str]  # of the operands and the sums
    objective: str
    problem: Contraction
    path: Path
    found: Found
    file: str | None = None
    front: tuple[Point, ...] = ()

    @property
    def cost(self) -> Cost:
        return self.found.cost

    @property
    def cycles(self) -> float:
        """The latency in the cores' clock."""
        return self.cost.latency_s * self.path.clock_hz

    @property
    def compute_cycles(self) -> float:
        """Cycles in which the engine that does the MACs is at work."""
        return self.cost.work.busy[self.path.runs_on] * self.path.clock_hz

    @property
    def utilization(self) -> float:
        """MACs done of those that the engines could do in the time."""
        peak = self.path.peak_macs_per_s(self.problem.datapath)
        return self.problem.macs / (self.cost.latency_s * peak)

    @property
    def gap(self) -> float | None:
        """The share by which the optimum may be lower at most; None for a given mapping."""
        return None if self.file else self.found.gap


def map_matmul(
    design: str | Design,
    sizes: str | Mapping[str, int] | None,
    formats: str | None = None,
    asked: Asked = OPTIMUM,
) -> Mapped:
    """C[m,n] = A[m,k] B[k,n], the weights being B.

    design: a name, a path or what `read_design` returns. sizes: `MxNxK`, or b, m, n and k; None: as
    the mapping file says. formats: as on the command line; by default 16-bit floats where the
    engines take them, else what they do take. Raises UserError for anything that is not right.
    """
    machine = read_design(design) if isinstance(design, str) else design
    file = _file(asked)
    extents = _extents(sizes, file)
    paths = _paths(machine, asked, file)
    base, text = _format_choice(paths, formats)
    graph = quantize(_matmul_graph(extents, base), text)
    return _mapped(machine, graph, "matmul", paths, (asked, file))


def map_op(
    design: str | Design, model: str | Model, op: str, phase: Phase | None = None,
    formats: str | None = None, asked: Asked = OPTIMUM,
) -> Mapped:  # fmt: skip
    """An op of a model by its name, as `tileloom simulate` shows it, in a phase (None for a graph
    that runs as it is); attention's two multiplications are `attention.qk` and `attention.pv`.

    Raises UserError for anything that is not right.
    """
    machine = read_design(design) if isinstance(design, str) else design
    file = _file(asked)
    graph = (read_model(model) if isinstance(model, str) else model).build(phase)
    if formats:
        graph = quantize(graph, formats)
    mapped = _mapped(machine, graph, op, _paths(machine, asked, file), (asked, file))
    return replace(mapped, workload=f"{graph.name} {graph.phase}: {op}")


def ops_to_map(model: str, phase: Phase | None) -> list[str]:
    """Names that `map_op` takes."""
    return contraction_names(read_model(model).build(phase))


def _file(asked: Asked) -> MappingFile | None:
    if asked.objective not in (*OBJECTIVES, PARETO):
        near = nearest(asked.objective, [*OBJECTIVES, PARETO])
        raise UserError(f"unknown objective '{asked.objective}'; {near}")
    return None if asked.mapping is None else read_mapping(File(asked.mapping), asked.mapping)


def _extents(sizes: str | Mapping[str, int] | None, file: MappingFile | None) -> dict[str, int]:
    """b, m, n and k. Raises UserError where nobody says them."""
    if isinstance(sizes, str):
        return matmul_extents(sizes)
    said = sizes if sizes is not None or file is None else file.extents
    if said is None:
        raise UserError("what is to be mapped? give the sizes of a matrix multiplication, MxNxK")
    whole = {"b": 1, "m": 1, "n": 1, "k": 1}
    for rank in said:
        if rank not in whole:
            raise UserError(f"a matrix multiplication has no rank '{rank}', only b, m, n and k")
    return whole | dict(said)


def _paths(design: Design, asked: Asked, file: MappingFile | None) -> list[Path]:
    """To every kind of cores, or the one that is asked for. Raises UserError."""
    written = file.text.cores if file else None
    if file and written is not None and written not in design.cores:
        what = (
            f"no cores named '{written}' in {design.name}; {nearest(written, list(design.cores))}"
        )
        raise file.error([(("cores",), what)])
    wanted = asked.cores or written
    paths = [memory_path(design, name) for name in ([wanted] if wanted else design.cores)]
    if file and len(paths) > 1:
        names = ", ".join(path.name for path in paths)
        raise UserError(
            f"{design.name} has several kinds of cores ({names}): say which the mapping is for, "
            "with --cores or with 'cores:' in it"
        )
    return paths


def _format_choice(paths: list[Path], formats: str | None) -> tuple[str, str]:
    """(16-bit format of what stays at 16 bits, formats): as given, or the first that a PE takes."""
    elements = {name for path in paths for key in path.engine.pe.formats for name in key.split("*")}
    base = next((half for half in HALF if half in elements), HALF[0])
    if formats is not None:
        return base, formats
    names = [half for half in HALF if half in elements]
    for path in paths:
        for key in path.engine.pe.formats:
            w, _, a = key.partition("*")
            weight, activation = get_format(w), get_format(a or w)
            same = weight == activation and weight.kind == "float"
            names.append(weight.name if same else f"w{weight.bits}a{activation.bits}")
    for name in names:
        graph = _takes(name, base)
        if graph is not None and any(takes_some(graph, path) for path in paths):
            return base, name
    raise UserError(f"{paths[0].design.name}: which formats? give them with --formats")


def _takes(formats: str, base: str) -> Graph | None:
    """A small graph in these formats, if there are such."""
    try:
        return quantize(_matmul_graph({"b": 1, "m": 1, "n": 1, "k": 1}, base), formats)
    except UserError:
        return None


def _matmul_graph(extents: Mapping[str, int], base: str) -> Graph:
    b, m, n, k = (extents[rank] for rank in "bmnk")
    fmt = get_format(base)
    op = Einsum("matmul", ("a", "w"), "c", dict(extents), "bmk,bnk->bmn")
    shapes = {"a": (b * m, k), "w": (b * n, k), "c": (b * m, n)}
    tensors = {
        name: Tensor(name, shape, fmt, "weight" if name == "w" else "activation")
        for name, shape in shapes.items()
    }
    return Graph(shown_sizes(extents), "prefill", 1, m, (Node(op, 1),), tensors, m)


def _mapped(
    design: Design, graph: Graph, name: str, paths: list[Path],
    how: tuple[Asked, MappingFile | None],
) -> Mapped:  # fmt: skip
    asked, file = how
    wanted = asked.objective
    asked = replace(asked, objective=BY if wanted == PARETO else wanted)
    tried, refused = [], []
    for path in paths:
        try:
            tried.append(contraction(graph, name, path, takes_some(graph, path)))
        except DesignError as refusal:
            refused.append(str(refusal))
    if not tried:
        raise DesignError("\n".join(dict.fromkeys(refused)))
    problem, path, found = _given(tried[0], file) if file else _searched(tried, asked)
    operands = ("activation", "weight", "output")
    formats = {
        o: t.format.name for o, t in zip(operands, operand_tensors(graph, name), strict=True)
    }
    formats["sums"] = problem.datapath.pair.accumulate
    front: tuple[Point, ...] = ()
    if wanted == PARETO and not file and not found.interrupted:
        seconds = None if asked.budget_s is None else asked.budget_s / SEARCHES
        front = tuple(pareto_front(problem, path, Limits(asked.gap, seconds)))
    return Mapped(
        design, graph.name, formats, asked.objective, problem, path, found, asked.mapping, front
    )


Answer = tuple[Contraction, Path, Found]


def _given(candidate: tuple[Contraction, Path], file: MappingFile) -> Answer:
    """A mapping as it is written: one of one, nothing searched."""
    problem, path = candidate
    started = time.perf_counter()
    mapping = mapping_on(file, problem, path)
    cost = matmul_cost(problem, mapping, path)
    return problem, path, Found(mapping, cost, 1, 1, time.perf_counter() - started, 0.0)


def _searched(candidates: Iterable[tuple[Contraction, Path]], asked: Asked) -> Answer:
    """The best over kinds of cores; the gap is to the least that any of them could have."""
    store = open_cache() if asked.cache else None
    limits = Limits(asked.gap, asked.budget_s)
    keys = OBJECTIVES[asked.objective]
    answers: list[Answer] = []
    tried = []
    for problem, path in candidates:
        tried.append(path)
        found = cached_best(problem, path, asked.objective, limits, store)
        if found is not None:
            answers.append((problem, path, found))
            if found.interrupted:
                break
    if not answers:
        raise DesignError("\n".join(_nothing_fits(path) for path in tried))
    problem, path, best = min(answers, key=lambda answer: keys(answer[2].cost))
    least = min(keys(found.cost)[0] * (1 - found.gap) for _, _, found in answers)
    everything = [found for _, _, found in answers]
    return problem, path, replace(
        best,
        total=sum(found.total for found in everything),
        evaluated=sum(found.evaluated for found in everything),
        seconds=sum(found.seconds for found in everything),
        gap=max(0.0, 1 - least / keys(best.cost)[0]),
        cached=all(found.cached for found in everything),
        interrupted=any(found.interrupted for found in everything),
    )  # fmt: skip


def _nothing_fits(path: Path) -> str:
    levels = ", ".join(f"{level.name} {level.capacity:,.0f} B" for level in path.memories[1:])
    return (
        f"{path.design.name}: {path.name}: no mapping fits the memories ({levels}) and the "
        "design's mapping rules; a shared memory must hold the tiles of all its cores"
    )
