"""Measured collectives as a library does them over a design's own links, all rows of a file.

`lib` says whose kernels ran: inference libraries have their own all_reduce beside NCCL's
(`custom` of accel_models/kernel_library/collective.py), nccl-tests and torch have not. Rows of
Vidur's profiles (`torch nccl (vidur)`) are durations of a kernel on one chip, so an all_reduce
includes waiting for the others to start theirs: WAIT_S, whatever the device.
Not predicted: collectives between nodes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from accel_models.collective_algorithms import Transfer
from accel_models.collectives import collective
from accel_models.design import Design
from accel_models.explain import nearest
from accel_models.links import Dim, port
from accel_models.reader import DesignError
from kernels_ref.errors import UserError
from mappers.library.times import Values
from sim.measured.cases import Case
from sim.measured.comm import FUNCTIONS

WAIT_S = 28e-6  # calibrated on A100's and H100's rows of Vidur, 2026-11-22
OWN_ALL_REDUCE = ("trtllm", "vllm", "sglang")  # how `lib` begins


def comm_seconds(cases: Sequence[Case], design: Design) -> Values:
    """Seconds of each row; NaN where no link of the design joins so many chips, or the row is
    between nodes. Raises UserError for an op that is unknown."""
    return np.array([_seconds(case, design) for case in cases])


def _seconds(case: Case, design: Design) -> float:
    try:
        seconds = transfer_of(case, design).seconds
    except DesignError:
        return float("nan")
    waits = "vidur" in _library(case) and case.values["op"] == "all_reduce"
    return max(seconds, WAIT_S) if waits else seconds


def transfer_of(case: Case, design: Design) -> Transfer:
    """The way the row's library takes. Raises DesignError where the design cannot do it."""
    name, chips = case.values["op"], case.count("n_gpus")
    nodes = _library(case).partition("devices_per_node=")[2]
    if name == "send_recv_internode" or (nodes.isdigit() and int(nodes) < chips):
        raise DesignError(f"{design.name}: {name}: chips of several nodes; a design has no network")
    if name not in FUNCTIONS:
        raise UserError(f"op: no collective '{name}'; {nearest(name, list(FUNCTIONS))}")
    own = _library(case).startswith(OWN_ALL_REDUCE)
    dims = [dim if own else _without_custom(dim) for dim in _ports(design, chips)]
    if not dims:
        raise DesignError(f"{design.name}: {name}: no link joins {chips} chips")
    ways = [collective(FUNCTIONS[name], (dim,), case.count("bytes")) for dim in dims]
    return min(ways, key=lambda way: way.seconds)


def _library(case: Case) -> str:
    return case.values.get("lib", "")


def _ports(design: Design, chips: int) -> list[Dim]:
    return [
        port(name, link, design.clock, chips)
        for name, link in design.links.items()
        if link.topology != "point_to_point" or chips == 2
    ]


def _without_custom(dim: Dim) -> Dim:
    if dim.library is None:
        return dim
    plain: dict[str, Any] = {"custom": {}}
    return replace(dim, library=dim.library.model_copy(update=plain))
