"""Measured layers of experts, without their router: rows dealt to the experts of the fullest chip,
two grouped multiplications with the activation between them, the weighted sum.

`inter` is divided by moe_tp, experts by moe_ep. A kernel named `nongated` has no gate.
Not predicted: what the chips send each other.
"""

from __future__ import annotations

from collections import Counter

import numpy as np

from kernels_ref.format_names import parse_formats
from kernels_ref.formats import get_format
from mappers.library.times import Values
from sim.measured.cases import Case, RowError
from sim.measured.gemm import dtype_of, single
from sim.measured.routing import fullest
from workloads.graph import Graph, Op, Tensor
from workloads.ops import Experts, Gather, Vector

COLUMNS = ("dtype", "num_tokens", "hidden", "inter", "topk", "num_experts", "moe_tp", "moe_ep",
           "distribution")  # fmt: skip
KINDS_OF_LOADS = 8  # at most: loads beyond are taken for the next of them


def gated(case: Case) -> bool:
    return "nongated" not in case.values.get("kernel", "")


def inner(case: Case) -> int:
    """Of a chip. Raises RowError where it does not divide."""
    whole, parts = case.count("inter"), case.count("moe_tp")
    if whole % parts:
        raise RowError(f"{case.file}:{case.line}: inter: {whole} is not divided by moe_tp {parts}")
    return whole // parts


def loads_of(case: Case) -> Values:
    """Rows of every expert of the fullest chip."""
    counts = (case.count(name) for name in ("num_tokens", "topk", "num_experts", "moe_ep"))
    return fullest(case.values["distribution"], *counts)


def moe_graphs(case: Case) -> list[Graph]:
    """The layer's kernels, one after the other."""
    tokens, hidden, width = case.count("num_tokens"), case.count("hidden"), inner(case)
    loads = _few(loads_of(case))
    rows, experts = sum(n * each for n, each in loads), sum(n for n, _ in loads)
    dtype = dtype_of(case)
    weight, activation = parse_formats(dtype.formats, dtype.base)
    base = get_format(dtype.base)
    up = (2 if gated(case) else 1) * width
    shapes = {
        "x": (tokens, hidden),
        "up": (rows, up),
        "down": (rows, hidden),
        "y": (tokens, hidden),
    }
    tensors = {name: Tensor(name, shape, base, "activation") for name, shape in shapes.items()}
    tensors["dealt"] = Tensor("dealt", (rows, hidden), activation, "activation")
    tensors["act"] = Tensor("act", (rows, width), activation, "activation")
    tensors["up.weight"] = Tensor("up.weight", (experts, up, hidden), weight, "weight")
    tensors["down.weight"] = Tensor("down.weight", (experts, hidden, width), weight, "weight")
    function = "silu_mul" if gated(case) else "squared_relu"
    picked = max(1, round(rows / tokens))
    ops: list[Op] = [
        Gather("dispatch", ("x",), "dealt", rows, hidden),
        Experts("up", ("dealt", "up.weight"), "up", loads, up, hidden),
        Vector("act", ("up",), "act", function, rows, width),
        Experts("down", ("act", "down.weight"), "down", loads, hidden, width),
        Vector("combine", ("down",), "y", "weighted_sum", tokens, hidden, picked),
    ]
    named = [[tensors[name] for name in (*op.inputs, op.output)] for op in ops]
    return [single(op, own, rows) for op, own in zip(ops, named, strict=True)]


def _few(rows: Values) -> tuple[tuple[int, int], ...]:
    """(experts, rows) with few different numbers of rows, the sum kept as near as that allows."""
    if len(set(rows)) > KINDS_OF_LOADS:
        parts = np.array_split(np.sort(rows)[::-1], KINDS_OF_LOADS)
        rows = np.concatenate([np.full(len(p), max(1, round(p.mean()))) for p in parts])
    return tuple((n, int(each)) for each, n in sorted(Counter(rows.tolist()).items()))
