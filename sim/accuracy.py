"""How far predictions are from the measurements that this project is judged on.

Rows of fold JUDGED (sim/measured/split.py) are in no fit of a shipped design. Beside the model, two
rooflines for matrix multiplications: the naive one, max(operations / peak, bytes / bandwidth), and
one with three parameters (a floor, shares of either), fitted to the other folds as we are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from accel_models.design import Design
from accel_models.kernel_library.matmul import MatmulKernels
from accel_models.library import list_designs
from accel_models.path import memory_path
from accel_models.read_design import read_design
from kernels_ref.format_names import parse_formats
from sim.measured.cases import Case, read_cases
from sim.measured.gemm import dtype_of
from sim.measured.kinds import OPS
from sim.measured.split import JUDGED, fold_of
from sim.validate import Judged, scores, validate

# op -> file of the data set, columns that split its rows
FILES: dict[str, tuple[str, tuple[str, ...]]] = {
    "gemm": ("gemm.csv", ("dtype",)),
    "attention": ("attention.csv", ("phase", "q_dtype", "kv_dtype")),
    "vector": ("vector_ops.csv", ("method",)),
    "comm": ("comm.csv", ("lib",)),
    "moe": ("moe.csv", ("dtype",)),
    "layer": ("transformer.csv", ("model",)),
    "serving": ("serving_e2e.csv", ("model", "gemm_quant_mode", "backend")),
}
KERNELS = tuple(op for op in FILES if op != "serving")  # what libraries run, not who plans it


@dataclass(frozen=True)
class Group:
    """Rows of one kind on one device, and what the design says about them."""

    op: str
    what: str
    device: str
    design: str
    rows: tuple[Judged, ...]
    unsupported: int

    def about(self, column: str) -> Group:
        """The rows that judge this column."""
        return replace(self, rows=tuple(row for row in self.rows if row.column == column))

    def of_fold(self, judged: bool) -> tuple[Judged, ...]:
        """The rows that no fit saw, or those that fits may have seen."""
        columns = OPS[self.op].columns
        return tuple(r for r in self.rows if (fold_of(r.case, columns) == JUDGED) == judged)

    def mape(self, judged: bool) -> float | None:
        """Mean absolute percentage error over these rows, as a share."""
        return scores(self.of_fold(judged))["mape"]


def own_designs() -> dict[str, str]:
    """The shipped design of each device name."""
    found: dict[str, str] = {}
    for name in list_designs():
        for device in read_design(name).measured_as:
            found.setdefault(device, name)
    return found


def groups(folder: Path, op: str) -> Iterator[Group]:
    """The rows of an op by device and kind, each device by its own design."""
    file, columns = FILES[op]
    cases, _ = read_cases(folder / file)
    designs = own_designs()
    for device in dict.fromkeys(case.device for case in cases):
        if device not in designs:
            continue
        found = validate(designs[device], folder / file, op, device)
        kinds = dict.fromkeys(_kind(row.case, columns) for row in found.rows)
        for kind in kinds:
            rows = [row for row in found.rows if _kind(row.case, columns) == kind]
            known = tuple(row for row in rows if row.predicted is not None)
            yield Group(op, kind, device, designs[device], known, len(rows) - len(known))


def _kind(case: Case, columns: Sequence[str]) -> str:
    values = [case.values.get(column, "") for column in columns]
    if columns == ("phase", "q_dtype", "kv_dtype"):
        phase, queries, cache = values
        return f"{phase} {queries}" + ("" if queries == cache else f", {cache} cache")
    return " ".join(values)


def rooflines(group: Group) -> tuple[float, float]:
    """MAPE on the judged rows of a matrix multiplication's naive and three-parameter roofline."""
    from scipy.optimize import least_squares

    design = read_design(group.design)
    fitted = _terms([row.case for row in group.of_fold(False)], design)
    judged = _terms([row.case for row in group.of_fold(True)], design)

    def naive(terms: np.ndarray) -> np.ndarray:
        return np.maximum(terms[0], terms[1])

    def three(p: np.ndarray, terms: np.ndarray) -> np.ndarray:
        floor, compute, memory = np.exp(p)
        return floor * 1e-6 + np.maximum(terms[0] / compute, terms[1] / memory)

    start = np.log([3.0, 0.7, 0.7])
    best = least_squares(
        lambda p: np.log(three(p, fitted) / fitted[2]), start, loss="soft_l1", f_scale=0.08
    ).x
    errors = [np.abs(s / judged[2] - 1).mean() for s in (naive(judged), three(best, judged))]
    return float(errors[0]), float(errors[1])


def _terms(cases: Sequence[Case], design: Design) -> np.ndarray:
    """Seconds at peak rate and at peak bandwidth, and as measured; (3, cases)."""
    path = memory_path(design, next(iter(design.cores)))
    outer = path.levels[0]
    memory = design.memory[outer.name]
    bandwidth = outer.read_bytes_per_s / memory.efficiency * outer.instances
    found = []
    for case in cases:
        dtype = dtype_of(case)
        weight, activation = parse_formats(dtype.formats, dtype.base)
        peak = path.peak_macs_per_s(path.datapath(weight, activation))
        m, n, k = (case.count(name) for name in "MNK")
        moved = m * k * float(activation.bits_per_element) / 8
        moved += n * k * float(weight.bits_per_element) / 8 + m * n * 2
        found.append((m * n * k / peak, moved / bandwidth, case.measured_s))
    return np.array(found).T


def transfers(folder: Path, dtype: str = "bf16") -> Iterator[tuple[str, str, float]]:
    """(device, the device whose library was fitted, MAPE): data sheet numbers of the one with the
    kernels of the other, for matrix multiplications."""
    cases, _ = read_cases(folder / FILES["gemm"][0])
    predict = OPS["gemm"].library
    assert predict
    measured_here = {case.device for case in cases if case.values["dtype"] == dtype}
    designs = {d: n for d, n in own_designs().items() if d in measured_here and _library(n)}
    for device, name in designs.items():
        rows = [c for c in cases if c.device == device and c.values["dtype"] == dtype]
        measured = np.array([case.measured_s for case in rows])
        for other, lender in designs.items():
            machine, core = _with_kernels(name, lender)
            answers = predict.predict(rows, memory_path(machine, core))
            seconds = np.array([getattr(answer, "seconds", np.nan) for answer in answers])
            yield device, other, float(np.abs(seconds / measured - 1).mean())


def _library(name: str) -> MatmulKernels | None:
    """Of the design's first kind of cores."""
    kernels = next(iter(read_design(name).cores.values())).kernels
    return kernels.matmul if kernels else None


def _with_kernels(name: str, lender: str) -> tuple[Design, str]:
    """The design with the kernels of another's cores, and which cores have them."""
    design, other = read_design(name), read_design(lender)
    (at, core), lent = next(iter(design.cores.items())), next(iter(other.cores.values()))
    cores = {at: core.model_copy(update={"kernels": lent.kernels})}
    return design.model_copy(update={"cores": cores}), at
