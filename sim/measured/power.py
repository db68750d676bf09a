"""Measured board power of matrix multiplications: what NVML reads while one runs over and over.

What a board draws is the energy of a row's kernels over their latency. What is read is that only
where nothing else is averaged in:

- a board is sampled every 100 ms for about a second; rows of 300 us and less, which are not kept up
  as long, are not judged;
- NVML gives the mean of the past second. A first run of a second after something else reads as
  much of the one as of the other:

      reading = (P + P_before) / 2

aiconfigurator's TensorRT-LLM collector (collector/trtllm/collect_gemm.py, helper.py) goes through
M from large to small for every (N, K) and format, on the four GPUs of a tray at once: the four
largest M are such first runs. Before them ran the smallest M of the format before: in turn bf16,
fp8, fp8_block, nvfp4. A row of bf16 with M = 1 streams its weights, so that fp8 starts from a busy
board; the others' rows of small M are chains of short kernels, or weights are quantized between,
and they start from what never stops (static). Rows of other sources are taken as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from kernels_ref.errors import UserError
from sim.measured.cases import Case
from sim.measured.gemm import gemm_graphs
from workloads.graph import Graph

SHORTEST_S = 300e-6
WORKERS = 4  # GPUs of a GB200 tray
LARGEST = (32768, 16384, 8192, 4353, 4352, 4097, 4096)  # that the collector asks for, in its order
ELEMENTS = 2**31  # of a matrix, that it does not reach
BEFORE = {"fp8": "bf16"}  # formats that start from a busy board, and what kept it busy


def power_graphs(case: Case) -> list[Graph]:
    """The kernels of a row. Raises UserError for one too short to be judged."""
    if case.measured_s <= SHORTEST_S:
        raise UserError(f"no longer than {SHORTEST_S * 1e6:.0f} us: not kept up while sampled")
    return gemm_graphs(case)


def is_first_run(case: Case) -> bool:
    """Does the collector come to this row with a board that did something else?"""
    source = case.values.get("source", "")
    if not (source.startswith("aic:") and "/trtllm/" in source):
        return False
    m, widest = case.count("M"), max(case.count("N"), case.count("K"))
    asked = [x for x in LARGEST if x * widest < ELEMENTS]
    return m in asked[:WORKERS]


def reading(case: Case, watts: Callable[[Case], float], static_w: float) -> float:
    """What NVML says of a row; `watts`: board power of a case."""
    drawn = watts(case)
    if not is_first_run(case):
        return drawn
    busy = BEFORE.get(case.values["dtype"])
    if busy is None:
        return (drawn + static_w) / 2
    before = replace(case, values={**case.values, "dtype": busy, "M": "1"})
    return (drawn + watts(before)) / 2
