"""How long the search takes, what it finds, and how that grows.

    python benchmarks/mapper.py [--curve] [--model] [--gap 0.01] [DESIGN ...]

Prints, warm, in seconds of one core, for each design and size: time to prove the optimum (at most
`--seconds` each, 20), bounds a second, mappings in the space, and the gap where it was not proven.
`--curve`: the sizes from 10^3 to 16384^3. `--model`: all ops of llama-3-70b on a100_sxm, as
`simulate` maps them, without and with the store of results.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time

from accel_models.path import Path, memory_path
from accel_models.read_design import read_design
from accel_models.reader import DesignError
from kernels_ref.formats import get_format
from mappers.problem import Contraction
from mappers.search.best import best_mapping
from mappers.search.found import Limits

DESIGNS = ("systolic_128x128", "tpu_v4", "a100_sxm")
SIZES = ((512, 512, 512), (1, 4096, 4096), (4096, 4096, 4096), (16384, 12288, 3072))
CURVE = tuple((size, size, size) for size in (10, 32, 100, 256, 512, 1024, 2048, 4096, 8192, 16384))


def problem(path: Path, m: int, n: int, k: int) -> Contraction:
    """C[m,n] = A[m,k] B[k,n] in 16 bits, or 8 where the engine takes no other."""
    for name in ("bf16", "int8"):
        form = get_format(name)
        try:
            pair = path.datapath(form, form)
        except DesignError:
            continue
        width = form.bits / 8
        return Contraction({"b": 1, "m": m, "n": n, "k": k}, pair, width, width, width, 4.0)
    raise SystemExit(f"{path.design.name} multiplies neither bf16 nor int8")


def one(path: Path, size: tuple[int, int, int], limits: Limits) -> str:
    """A line of the table."""
    started = time.process_time()
    found = best_mapping(problem(path, *size), path, "latency", limits)
    seconds = time.process_time() - started
    if found is None:
        return "nothing fits"
    rate = found.bounds / seconds / 1e6
    return (
        f"{seconds * 1e3:9.1f} ms  {found.bounds:8d} bounds {rate:.2f} M/s  "
        f"{found.total:9.2e} mappings  gap {found.gap:.2%}  {found.cost.latency_s * 1e6:.2f} us"
    )


def model() -> None:
    """All ops of a model in both phases, mapped anew and from the store."""
    from sim.api import simulate

    with tempfile.TemporaryDirectory() as folder:
        os.environ["TILELOOM_CACHE"] = folder
        simulate("a100_sxm", "opt-125m", "decode")  # compiled and imported
        for what in ("searched", "from the store"):
            started = time.process_time()
            for phase in ("prefill", "decode"):
                simulate("a100_sxm", "llama-3-70b", phase)
            print(f"llama-3-70b on a100_sxm, prefill and decode, {what}: ", end="")
            print(f"{time.process_time() - started:.2f} s")


def main() -> None:
    """One line per design and size."""
    parser = argparse.ArgumentParser()
    parser.add_argument("designs", nargs="*", default=DESIGNS)
    parser.add_argument("--curve", action="store_true")
    parser.add_argument("--model", action="store_true")
    parser.add_argument("--gap", type=float, default=0.0)
    parser.add_argument("--seconds", type=float, default=20.0)
    asked = parser.parse_args()
    limits = Limits(gap=asked.gap, seconds=asked.seconds)
    for name in asked.designs:
        design = read_design(name)
        path = memory_path(design, next(iter(design.cores)))
        best_mapping(problem(path, 16, 16, 16), path, "latency", Limits(gap=0.5))
        for size in CURVE if asked.curve else SIZES:
            shown = "x".join(map(str, size))
            print(f"{name:18s} {shown:18s} {one(path, size, limits)}", flush=True)
    if asked.model:
        model()


if __name__ == "__main__":
    main()
