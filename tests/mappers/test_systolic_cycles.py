"""Engine cycles of mapped multiplications on systolic arrays, against SCALE-Sim and closed forms.

Memories here take no time, so that the array alone decides. With r x c folds of s streamed elements
on R x C PEs (data/README.md), and load = R cycles that bring in what stays (shift out, for os):

    none    folds * (s + R + C - 2 + load)        (os: without the load)
    shadow  folds * max(s, load), and the pipe after the last element
    ideal   folds * s + R + C - 2
"""

from __future__ import annotations

import csv
from math import ceil
from pathlib import Path as File

import pytest
from mapspace import by_hand
from tiny import design_dict, engine, memory, parse

from accel_models.path import Path, memory_path
from kernels_ref.formats import FORMATS
from mappers.matmul import matmul_cost
from mappers.problem import Contraction
from mappers.search.best import best_mapping

INT8 = FORMATS["int8"]
PRELOADS = ("none", "shadow", "ideal")
CSV = File(__file__).parents[1] / "data" / "scalesim_gemm_cycles.csv"


def scalesim() -> list[dict[str, str]]:
    with CSV.open() as file:
        return list(csv.DictReader(file))


ROWS = [pytest.param(row, id="-".join(list(row.values())[:6])) for row in scalesim()]


def array(rows: int, cols: int, dataflow: str, preload: str) -> Path:
    """One array at 1 GHz beside memories and a power supply that never limit it."""
    fast = {"bandwidth": "1e15 B/cycle", "latency": "1e-9 ns"}
    pe = {"formats": {"int8": {"macs_per_cycle": 1, "accumulate": "int32", "energy": "1 fJ"}}}
    shape = {"rows": rows, "cols": cols, "dataflow": dataflow, "weight_preload": preload, "pe": pe}
    design = design_dict(
        {"dram": memory("1 TiB", "1 B/s", kind="dram") | fast},
        {"buffer": memory("1 TiB", "1 B/s") | fast},
        engine("systolic", **shape),
        launch="1e-9 ns",
    )
    design["power"] = {"limit": "1e15 W", "static": "1 W"}
    return memory_path(parse(design), "core")


def int8(path: Path, m: int, n: int, k: int) -> Contraction:
    extents = {"b": 1, "m": m, "n": n, "k": k}
    return Contraction(extents, path.datapath(INT8, INT8), 1.0, 1.0, 4.0, 4.0)


def one_tile(path: Path, problem: Contraction) -> float:
    """Cycles of the array with everything in the buffer at once."""
    cost = matmul_cost(problem, by_hand(problem, path, {}), path)
    return cost.work.busy["matrix"] * path.clock_hz


def best(path: Path, problem: Contraction) -> float:
    """Cycles of the array under the fastest mapping; there is nothing else to it."""
    cost = best_mapping(problem, path).cost
    assert cost.latency_s * path.clock_hz == pytest.approx(cost.work.busy["matrix"] * 1e9, rel=1e-6)
    return cost.work.busy["matrix"] * path.clock_hz


def of_row(row: dict[str, str], preload: str) -> tuple[Path, Contraction]:
    path = array(int(row["array_rows"]), int(row["array_cols"]), row["dataflow"], preload)
    return path, int8(path, *(int(row[rank]) for rank in "MNK"))


@pytest.mark.parametrize("row", ROWS)
def test_without_preload_cycles_are_those_of_scale_sim(row: dict[str, str]):
    """Theirs count from zero (their issue 125). The search finds nothing faster, and nothing
    slower."""
    path, problem = of_row(row, "none")
    assert one_tile(path, problem) == pytest.approx(int(row["compute_cycles"]) + 1, rel=1e-12)
    assert best(path, problem) == pytest.approx(int(row["compute_cycles"]) + 1, rel=1e-12)


@pytest.mark.parametrize("preload", ["shadow", "ideal"])
@pytest.mark.parametrize("row", ROWS)
def test_closed_forms_of_overlapped_preload(row: dict[str, str], preload: str):
    path, problem = of_row(row, preload)
    m, n, k = (problem.extents[rank] for rank in "mnk")
    rows, cols = int(row["array_rows"]), int(row["array_cols"])
    (r, c), stream = {"ws": ((k, n), m), "is": ((k, m), n), "os": ((m, n), k)}[row["dataflow"]]
    folds, each = ceil(r / rows) * ceil(c / cols), stream
    if preload == "shadow":
        each = max(stream, rows)
    drain = max(0, rows + cols - 2 - (each - stream))
    assert one_tile(path, problem) == pytest.approx(folds * each + drain, rel=1e-12)
    assert best(path, problem) == pytest.approx(folds * each + drain, rel=1e-12)


@pytest.mark.parametrize("row", ROWS)
def test_preload_that_overlaps_more_never_takes_longer(row: dict[str, str]):
    none, shadow, ideal = (best(*of_row(row, preload)) for preload in PRELOADS)
    assert ideal <= shadow <= none


@pytest.mark.parametrize(
    ("preload", "cycles", "about"),
    [
        ("none", 1024 * (1 + 62 + 32), 97_280),
        ("shadow", 1024 * 32 + 31, 32_768),
        ("ideal", 1024 + 62, 1_152),
    ],
)
def test_decode_shows_the_difference(preload: str, cycles: int, about: int):
    """1 x 1024 x 1024 on 32 x 32: 1024 folds of one row. `about`: SCALE-Sim's count, a load of 32
    cycles a fold, and ZigZag's count, which ends with memory transfers."""
    path = array(32, 32, "ws", preload)
    problem = int8(path, 1, 1024, 1024)
    assert best(path, problem) == pytest.approx(cycles, rel=1e-12)
    assert best(path, problem) == pytest.approx(about, rel=0.06)
