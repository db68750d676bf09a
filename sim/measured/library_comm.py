"""Measured collectives as a library does them over a design's own links, all rows of a file.

`lib` says whose kernels ran: inference libraries have their own all_reduce beside NCCL's
(`custom` of accel_models/kernel_library/collective.py), nccl-tests and torch have not. Rows of
Vidur's profiles (`torch nccl (vidur)`) are durations of a kernel on one chip, so an all_reduce
includes waiting for the others to start theirs: WAIT_S, whatever the device.
Not predicted: collectives between nodes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from accel_models.collective_algorithms import Transfer
from accel_models.collectives import collective
from accel_models.design import Design
from accel_models.explain import nearest
from accel_models.links import Dim, port
from accel_models.path import Path
from accel_models.reader import DesignError
from kernels_ref.errors import UserError
from sim.measured.cases import Case
from sim.measured.comm import FUNCTIONS
from sim.measured.library import Answer, Predicted

WAIT_S = 28e-6  # calibrated on A100's and H100's rows of Vidur, 2026-11-22
OWN_ALL_REDUCE = ("trtllm", "vllm", "sglang")  # how `lib` begins


def comm_predictions(cases: Sequence[Case], path: Path) -> list[Answer]:
    """Every case, or why the design cannot do it."""
    return [_prediction(case, path.design) for case in cases]


def _prediction(case: Case, design: Design) -> Answer:
    try:
        link, transfer = transfer_of(case, design)
    except UserError as problem:
        return str(problem).partition("\n")[0]
    waits = "vidur" in _library(case) and case.values["op"] == "all_reduce"
    seconds = max(transfer.seconds, WAIT_S) if waits else transfer.seconds
    bound = link if transfer.transfer_s > transfer.latency_s else "latency"
    return Predicted(seconds, bound, transfer.algorithm)


def transfer_of(case: Case, design: Design) -> tuple[str, Transfer]:
    """The link, and the way that the row's library takes over it.

    Raises DesignError where the design cannot do it, UserError for an op that is unknown.
    """
    name, chips = case.values["op"], case.count("n_gpus")
    nodes = re.search(r"devices_per_node=(\d+)", _library(case))
    if name == "send_recv_internode" or (nodes and int(nodes[1]) < chips):
        raise DesignError(f"{design.name}: {name}: chips of several nodes; a design has no network")
    if name not in FUNCTIONS:
        raise UserError(f"op: no collective '{name}'; {nearest(name, list(FUNCTIONS))}")
    if chips < 2:
        raise DesignError(f"{design.name}: {name}: one chip has nothing to exchange")
    own = _library(case).startswith(OWN_ALL_REDUCE)
    dims = [dim if own else _without_custom(dim) for dim in _ports(design, chips)]
    if not dims:
        raise DesignError(f"{design.name}: {name}: no link joins {chips} chips")
    size = case.count("bytes")
    ways = [(dim.link, collective(FUNCTIONS[name], (dim,), size)) for dim in dims]
    return min(ways, key=lambda way: way[1].seconds)


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
