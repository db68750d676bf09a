"""Datasheet designs against measured matrix multiplications, before any calibration.

    python benchmarks/gemm_check.py gemm.csv [--rows 150]

FILE has columns device, dtype, M, N, K, latency_us (microseconds), method; rows with method
`cudagraph` and dtype `bf16` of the devices below are used, every n-th of them in the file's order.
Printed: the mean and median absolute percentage error and the geometric mean of predicted over
measured.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np

from accel_models.path import Path as MemoryPath
from accel_models.path import memory_path
from accel_models.read_design import read_design
from kernels_ref.formats import get_format
from mappers.problem import Contraction
from mappers.search.best import best_mapping
from mappers.search.found import Limits

DEVICES = {
    "A100-SXM4-80GB": "a100_sxm",
    "H100-SXM5-80GB": "h100_sxm",
    "H200-SXM5-141GB": "h200_sxm",
    "L40S": "l40s",
    "B200-SXM-180GB": "b200",
}


def predicted_us(path: MemoryPath, m: int, n: int, k: int) -> float:
    """Microseconds of C[m,n] = A[m,k] B[k,n] in bf16."""
    bf16 = get_format("bf16")
    problem = Contraction(
        {"b": 1, "m": m, "n": n, "k": k}, path.datapath(bf16, bf16), 2.0, 2.0, 2.0, 4.0
    )
    best = best_mapping(problem, path, "latency", Limits(gap=0.005, evaluations=60_000))
    if best is None:
        raise SystemExit(f"{path.design.name}: nothing fits {m} x {n} x {k}")
    return best.cost.latency_s * 1e6


def main() -> None:
    """One line per device."""
    parser = argparse.ArgumentParser()
    parser.add_argument("file", type=Path)
    parser.add_argument("--rows", type=int, default=150, help="of each device")
    arguments = parser.parse_args()
    with arguments.file.open() as file:
        measured = [
            r for r in csv.DictReader(file) if r["dtype"] == "bf16" and r["method"] == "cudagraph"
        ]
    for device, name in DEVICES.items():
        rows = [row for row in measured if row["device"] == device]
        if not rows:
            print(f"{device}: no rows")
            continue
        rows = rows[:: max(1, len(rows) // arguments.rows)][: arguments.rows]
        path = memory_path(read_design(name), "sm")
        ratios = np.array(
            [
                predicted_us(path, int(r["M"]), int(r["N"]), int(r["K"])) / float(r["latency_us"])
                for r in rows
            ]
        )
        error = np.abs(ratios - 1)
        mean, median = 100 * error.mean(), 100 * np.median(error)
        ratio = np.exp(np.log(ratios).mean())
        print(
            f"{device}: {len(rows)} rows, MAPE {mean:.1f} %, median {median:.1f} %, "
            f"geometric mean ratio {ratio:.3f}"
        )


if __name__ == "__main__":
    main()
