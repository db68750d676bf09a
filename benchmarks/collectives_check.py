"""Datasheet systems against measured collectives, nothing fitted.

    python benchmarks/collectives_check.py comm.csv

FILE has columns device, n_gpus, bytes, op, latency_us (microseconds), lib; rows of the devices
below are used, between the GPUs of one node. Predicted is the whole op as the mapper costs it:
launch, access latency, transfer and additions, by the fastest algorithm and, for what NCCL does, by
a ring. Printed by device, library and size of the message: the mean absolute percentage error and
the geometric mean of predicted over measured.
"""

from __future__ import annotations

import argparse
import csv
from collections import defaultdict
from pathlib import Path

import numpy as np

from accel_models.collectives import collective
from accel_models.path import memory_path
from accel_models.read_system import parse_system, read_system
from accel_models.system import System
from mappers.collective import transfer_cost
from workloads.ops import Collective

B200 = """
title: eight B200 on NVSwitch
machines: {gpu: {design: b200, count: 8, source: "datasheet: NVIDIA HGX B200"}}
links:
  nvlink: {bandwidth: 900 GB/s, source: {bandwidth: "datasheet: NVIDIA HGX B200, 1.8 TB/s"}}
"""
DEVICES = {"A100-SXM4-80GB": "dgx_a100", "H100-SXM5-80GB": "dgx_h100", "B200-SXM-180GB": B200}
SIZES = {"to 64 KiB": 1 << 16, "to 8 MiB": 1 << 23, "to 64 MiB": 1 << 26, "above": 1 << 62}
FUNCTIONS = {"alltoall": "all_to_all", "send_recv": "send"}


def system_of(device: str) -> System:
    """The device's system; B200s are joined as H100s are, at their own bandwidth."""
    name = DEVICES[device]
    if name != B200:
        return read_system(name)
    base = Path(__file__).parents[1] / "designs" / "system" / "dgx_h100.yaml"
    return parse_system(f"extends: {base}{name}", "hgx_b200")


def predicted_us(system: System, row: dict[str, str], algorithm: str | None) -> float:
    """Microseconds of the row's collective."""
    function = FUNCTIONS.get(row["op"], row["op"])
    chips, size = int(row["n_gpus"]), int(float(row["bytes"]))
    (nvlink,) = system.dims("gpu")
    transfer = collective(function, (nvlink.part(chips),), size, algorithm)
    op = Collective("op", ("x",), "y", function, size, max(1, size // 2), chips)
    path = memory_path(system.design("gpu"), "sm")
    return float(transfer_cost(op, transfer, ("nvlink",), path).latency_s) * 1e6


def errors(ratios: list[float]) -> str:
    """Mean error and mean ratio."""
    values = np.array(ratios)
    mean = 100 * np.abs(values - 1).mean()
    return f"MAPE {mean:5.1f} %, ratio {np.exp(np.log(values).mean()):.2f}"


def main() -> None:
    """A line per device, library and size."""
    parser = argparse.ArgumentParser()
    parser.add_argument("file", type=Path)
    with parser.parse_args().file.open() as file:
        rows = [row for row in csv.DictReader(file) if row["device"] in DEVICES]
    systems = {device: system_of(device) for device in DEVICES}
    found: dict[tuple[str, str, str], list[tuple[float, float]]] = defaultdict(list)
    for row in rows:
        chips, function = int(row["n_gpus"]), FUNCTIONS.get(row["op"], row["op"])
        one_node = f"devices_per_node={chips}" in row["lib"] or "devices_per_node" not in row["lib"]
        if chips > 8 or not one_node or row["op"] == "send_recv_internode":
            continue
        size = next(name for name, limit in SIZES.items() if float(row["bytes"]) <= limit)
        library = row["lib"].split(",")[0].rstrip("0123456789.rc ")
        system, measured = systems[row["device"]], float(row["latency_us"])
        ring = "direct" if function == "send" else "ring"
        best, by_ring = (predicted_us(system, row, a) / measured for a in (None, ring))
        for group in ((row["device"], library, size), (row["device"], "all", "all")):
            found[group].append((best, by_ring))
    for (device, library, size), ratios in sorted(found.items()):
        best, by_ring = (errors([r[i] for r in ratios]) for i in (0, 1))
        what = f"{device:15} {library:24} {size:9} {len(ratios):3} rows"
        print(f"{what}  best: {best}  ring: {by_ring}")


if __name__ == "__main__":
    main()
