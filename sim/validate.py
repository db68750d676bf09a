"""A design against measurements: every row predicted, and how far off that is.

A row's kernels are mapped one by one, nothing fused between them, and their latencies added. The
error of a row is |predicted / measured - 1| (APE). A row that the design cannot do (no PE for its
formats, no link for so many chips), or whose op has no model yet, is reported beside the others
with the reason; a row that is not right stops everything, with its line.
Not modeled: inputs that lie in a cache already when a kernel starts.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from accel_models.design import Design
from accel_models.explain import nearest
from accel_models.path import Path as MemoryPath
from accel_models.path import memory_path
from accel_models.read_design import read_design
from kernels_ref.errors import UserError
from mappers import map_graph
from mappers.map_graph import Memo
from mappers.plan import Placed
from sim.measured.cases import Case, RowError, of_device, read_cases
from sim.measured.kinds import LINKS, OPS, Kind, about, judged_column, kind_of
from sim.measured.methods import METHODS
from sim.measured.power import reading

Progress = Callable[[Iterable[Case], int], Iterable[Case]]


@dataclass(frozen=True)
class Judged:
    """A measured row and what the model says, seconds or watts; `predicted` is None where it says
    nothing, and `why` is the reason. `bound_by` and `tile` are of the kernel that takes longest."""

    case: Case
    predicted: float | None
    bound_by: str = ""
    tile: str = ""
    why: str = ""
    column: str = "latency_us"  # that was measured

    @property
    def measured(self) -> float:
        """Seconds or watts."""
        return self.case.measured(self.column)

    @property
    def ratio(self) -> float:
        """Predicted over measured."""
        assert self.predicted is not None
        return self.predicted / self.measured

    @property
    def ape(self) -> float:
        """Absolute percentage error, as a share."""
        return abs(self.ratio - 1)

    @property
    def in_band(self) -> bool | None:
        """Within [0.9 least, 1.1 most] of what others measured; None where nothing is known."""
        if self.column != "latency_us" or self.case.band_s is None or self.predicted is None:
            return None
        least, most = self.case.band_s
        return 0.9 * least <= self.predicted <= 1.1 * most


@dataclass(frozen=True)
class Validation:
    """All rows of a file that were asked for."""

    design: Design
    file: str
    op: str
    kind: Kind
    rows: tuple[Judged, ...]
    seconds: float
    warnings: tuple[str, ...] = ()

    @property
    def predicted(self) -> tuple[Judged, ...]:
        return tuple(row for row in self.rows if row.predicted is not None)

    @property
    def unsupported(self) -> tuple[Judged, ...]:
        return tuple(row for row in self.rows if row.predicted is None)

    @property
    def quantities(self) -> dict[str, tuple[Judged, ...]]:
        """The predicted rows by what was measured, where that is more than one column."""
        names = self.kind.measured if len(self.kind.measured) > 1 else ()
        return {n: tuple(r for r in self.predicted if r.column == n) for n in names}

    def scores(self) -> dict[str, float | None]:
        """Errors over the predicted rows; None where there are none."""
        return scores(self.predicted)


def validate(
    design: str | Design,
    file: Path,
    op: str | None = None,
    device: str | None = None,
    progress: Progress | None = None,
) -> Validation:
    """Predict the rows of a CSV on a design. Raises UserError for a file that is not right."""
    machine = read_design(design) if isinstance(design, str) else design
    cases, columns = read_cases(file)
    name = kind_of(str(file), columns, op)
    cases = of_device(cases, device, machine.measured_as)
    started = time.perf_counter()
    shown = progress(cases, len(cases)) if progress else cases
    rows = tuple(judged(shown, machine, OPS[name]))
    seconds = time.perf_counter() - started
    return Validation(machine, str(file), name, OPS[name], rows, seconds, _warnings(machine, cases))


def _warnings(machine: Design, cases: Sequence[Case]) -> tuple[str, ...]:
    found = []
    others = {case.device for case in cases} - set(machine.measured_as)
    if machine.measured_as and others:
        own = ", ".join(machine.measured_as)
        rows = f"rows of {', '.join(sorted(others))}"
        found.append(f"{rows} are judged with {machine.name}, which is {own}")
    methods = {case.values.get("method", "") for case in cases} - {"", *METHODS}
    for method in sorted(methods):
        hint = nearest(method, list(METHODS))
        found.append(f"method '{method}' is taken as kernels in a loop of their own; {hint}")
    return tuple(found)


def judged(
    cases: Iterable[Case], machine: Design, kind: Kind, memo: Memo | None = None
) -> Iterator[Judged]:
    """Every case with its prediction. `memo` as in `map_graph`: a caller that asks again, of the
    same cores with other numbers, may pass the mappings found."""
    library, cases = kind.library, about(cases, kind)
    paths = [memory_path(machine, name) for name in machine.cores]
    known = [path for path in paths if library and has_kernels(path, library.block)]
    if library and known:
        yield from _by_library(list(cases), known[0], kind)
    else:
        yield from _mapped(cases, machine, kind, {} if memo is None else memo)


def has_kernels(path: MemoryPath, block: str) -> bool:
    """Do the cores' library's kernels include these, which need a memory that the cores share? Of
    LINKS: has any link a library?"""
    if block == LINKS:
        return any(link.library is not None for link in path.design.links.values())
    return path.first_core >= 2 and getattr(path.core.kernels, block, None) is not None


def _by_library(cases: Sequence[Case], path: MemoryPath, kind: Kind) -> Iterator[Judged]:
    assert kind.library
    for case in cases:
        # a row that is not right stops at its line
        case.measured(judged_column(case, kind)), case.band_s
    for case, answer in zip(cases, kind.library.predict(cases, path), strict=True):
        column = judged_column(case, kind)
        if isinstance(answer, str):
            yield Judged(case, None, why=answer, column=column)
        else:
            yield Judged(case, answer.seconds, answer.bound_by, answer.tile, column=column)


def _mapped(cases: Iterable[Case], machine: Design, kind: Kind, memo: Memo) -> Iterator[Judged]:
    def placed_of(case: Case) -> list[Placed]:
        return [p for graph in kind.graphs(case) for p in map_graph(graph, machine, memo=memo)]

    def watts_of(case: Case) -> float:
        return board_power_w(placed_of(case))

    for case in cases:
        column = judged_column(case, kind)
        case.measured(column), case.band_s  # a row that is not right stops at its line
        try:
            placed = placed_of(case)
            if column == "power_w":
                predicted = reading(case, watts_of, machine.power.static)
            else:
                predicted = sum(p.count * float(p.cost.latency_s) for p in placed)
        except RowError:
            raise
        except UserError as problem:
            why = str(problem).partition("\n")[0]
            yield Judged(case, None, why=why, column=column)
            continue
        longest = max(placed, key=lambda p: float(p.cost.latency_s))
        bound, tile = longest.cost.bound_by, longest.plan.tile
        yield Judged(case, predicted, bound, tile, column=column)


def reasons(rows: Sequence[Judged]) -> dict[str, int]:
    """Why rows have no prediction, with the file and line of the first, and how many each."""
    first: dict[str, Case] = {}
    for row in rows:
        first.setdefault(row.why, row.case)
    counts = Counter(row.why for row in rows)
    return {f"{case.file}:{case.line}: {why}": counts[why] for why, case in first.items()}


def without_prediction(unsupported: Mapping[str, int]) -> list[str]:
    """A sentence for each of `reasons`."""
    return [
        f"{count} {'row' if count == 1 else 'rows'} without a prediction: {why}"
        for why, count in unsupported.items()
    ]


def board_power_w(placed: Sequence[Placed]) -> float:
    """Energy over latency of kernels that run one after the other, over and over."""
    energy = sum(p.count * float(p.cost.energy_j) for p in placed)
    seconds = sum(p.count * float(p.cost.latency_s) for p in placed)
    return energy / seconds


def scores(rows: Sequence[Judged]) -> dict[str, float | None]:
    """MAPE, median APE, geometric mean of predicted over measured, shares within 10, 25 and 50 %,
    and in the band of other measurements (of the rows that have one)."""
    names = ("mape", "median_ape", "geomean_ratio", "within_10", "within_25", "within_50")
    if not rows:
        return dict.fromkeys((*names, "in_band"))
    ratios = np.array([row.ratio for row in rows])
    ape = np.abs(ratios - 1)
    values = [ape.mean(), np.median(ape), np.exp(np.log(ratios).mean())]
    values += [(ape <= limit).mean() for limit in (0.10, 0.25, 0.50)]
    banded = [row.in_band for row in rows if row.in_band is not None]
    found: dict[str, float | None] = dict(zip(names, map(float, values), strict=True))
    found["in_band"] = sum(banded) / len(banded) if banded else None
    return found
