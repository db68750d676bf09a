"""Layers of experts as a library runs them: rows dealt to experts, two grouped multiplications.

A expert's rows come in tiles: multiples of 16 up to 64 rows, of 128 beyond. With R rows in all (r
after rounding up to tiles), E active experts, h hidden and i inner elements, g matrices before the
activation (2 with a gate), D the outermost memory's bandwidth, for (n, k) = (g i, h) and (h, i):

    memory   = (E n k weight bytes + R (k input bytes + n output bytes)) / (dram D)
    matrix   = r n k / (issue * peak MACs per second)
    rows     = (tokens in and out, R rows dealt, activated and collected) / (rows D)

    latency  = setup + sum over both of (memory^3 + matrix^3)^(1/3) + rows

Not modeled: L2 (weights of few experts that stay), tails of waves, a skewed expert's own tail.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from accel_models.kernel_library.experts import ExpertKernels
from mappers.library.machine import Machine
from mappers.library.times import Times, Values

OVERLAP = 3.0
SMALL_TILE, SMALL_UP_TO, TILE = 16, 64, 128
WIDE_BYTES = 2.0  # of tokens, sums, and what the activation reads


@dataclass(frozen=True)
class Layers:
    """Layers of experts of one format on one machine: arrays of shape (cases,).

    `loads`: of each case, the rows of every expert that has some.
    """

    tokens: Values
    hidden: Values
    inner: Values
    gates: Values
    loads: tuple[Values, ...]
    weight_bytes: float
    input_bytes: float
    macs_per_s: float


@dataclass(frozen=True)
class Grouped:
    """Multiplications of `active` experts' rows, arrays of shape (cases,); `padded` to whole tiles;
    bytes of an element of input, weight and output."""

    active: Values
    rows: Values
    padded: Values
    n: Values
    k: Values
    each: tuple[float, float, float]
    macs_per_s: float


def tiled(rows: Values) -> Values:
    """Rows of whole tiles."""
    size = np.where(rows <= SMALL_UP_TO, SMALL_TILE, TILE)
    return np.ceil(rows / size) * size


def grouped_times(g: Grouped, machine: Machine, kernels: ExpertKernels) -> Times:
    """Seconds of one grouped multiplication, its launch aside."""
    of_input, of_weight, of_output = g.each
    moved = g.active * g.n * g.k * of_weight + g.rows * (g.k * of_input + g.n * of_output)
    read = moved / (kernels.dram * machine.dram_bytes_per_s)
    multiplied = g.padded * g.n * g.k / (kernels.issue * g.macs_per_s)
    both = (read**OVERLAP + multiplied**OVERLAP) ** (1 / OVERLAP)
    parts = {"memory": read, "matrix": multiplied}
    return Times(both, parts, {"dram": moved}, np.zeros(len(read), int))


def expert_times(layers: Layers, machine: Machine, kernels: ExpertKernels) -> Times:
    """Seconds of a layer, without its router."""
    rows = np.array([load.sum() for load in layers.loads])
    padded = np.array([tiled(load).sum() for load in layers.loads])
    active = np.array([float(len(load)) for load in layers.loads])
    shapes = ((layers.gates * layers.inner, layers.hidden), (layers.hidden, layers.inner))
    each = layers.input_bytes, layers.weight_bytes, WIDE_BYTES
    both = [
        grouped_times(
            Grouped(active, rows, padded, n, k, each, layers.macs_per_s), machine, kernels
        )
        for n, k in shapes
    ]
    memory, matrix = (
        np.sum([t.parts[name] for t in both], axis=0) for name in ("memory", "matrix")
    )
    dealt = _dealt_bytes(layers, rows)
    dealing = dealt / (kernels.rows * machine.dram_bytes_per_s)
    setup = np.full_like(rows, kernels.setup)
    parts = {"launch": setup, "memory": memory, "matrix": matrix, "rows": dealing}
    total = setup + sum(t.latency_s for t in both) + dealing
    moved = dealt + sum(t.moved["dram"] for t in both)
    return Times(total, parts, {"dram": moved}, np.zeros(len(rows), int))


def _dealt_bytes(layers: Layers, rows: Values) -> Values:
    """Tokens read and written; rows written for the first multiplication, read and written by the
    activation, read for the weighted sum."""
    tokens = 2 * layers.tokens * layers.hidden * WIDE_BYTES
    outer = layers.hidden * (layers.input_bytes + WIDE_BYTES)
    inner = layers.inner * (layers.gates * WIDE_BYTES + layers.input_bytes)
    return tokens + rows * (outer + inner)
