"""Matrix multiplications as a library's kernels do them: which tile, and what that costs.

A kernel is a tile of tm x tn outputs and a split of k over s blocks. With J = b ceil(m/tm)
ceil(n/tn) s blocks on C cores, q = ceil(J/C) of them one after the other on the busiest (wave
quantization), `a` of those at once (as many as its memory holds, at most `resident` and q), K =
ceil(k / (k of a step) / s) steps to a block, in seconds:

    matrix     q K tm tn (k of a step) / (a core's MACs per second * issue)
    in_flight  q K step_latency / a                   (Little's law, of the loads of a step)
    l2         J K (bytes of a step's two tiles) / (bandwidth * l2); blocks of a `cluster` fetch the
               operand with the larger tile side once
    dram       (A and B, each once for every wave that needs it anew, and the outputs, less what
               L2 still holds) / (bandwidth * dram)
    power      MACs * mac_energy / (power that the board allows for as long: machine.py)

    latency = launch + (sum of the fourth powers)^(1/4) + exposed_store * outputs / dram
              + (s > 1: split_latency + parts, written and read in L2)

OVERLAP = 4 stands for resources that overlap, but not perfectly: one alone is hidden, two that are
equally busy take 1.19 of one.
A wave of C blocks is a rectangle of tiles: as square in elements as it goes, or as the library's
`order` of blocks has it. A is read again for every such rectangle across, B for every one down, but
for what L2 keeps of it meanwhile. What L2 still holds of data after `passed` bytes since their last
use: mappers/library/reuse.py, of `warm` of its capacity. `passed` are for the inputs those of the
whole loop, for an operand that a later wave reads again its own, for the outputs those of one run.
Libraries that take their tile by the rows alone (`up_to`) have no other candidates. With up to
`vector_rows` rows there is a kernel more, without tiles: it reads every weight once, multiplies on
the vector units, and fetches A for every VECTOR_COLUMNS columns.
The chooser: libraries choose well but not perfectly. What is expected is the average over the
candidates, weighted exp(-(their latency / the least - 1) / SPREAD).
OVERLAP and SPREAD are the same for all machines.
Not modeled: stream-K and other uneven divisions of k, blocks of different tiles in one kernel.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from accel_models.kernel_library.matmul import MatmulKernel
from mappers.library.machine import Machine
from mappers.library.reuse import found_again
from mappers.library.times import Times, Values

OVERLAP = 4.0
SPREAD = 0.1
PARTIAL_BYTES = 4.0  # of a sum
VECTOR_COLUMNS = 8.0


@dataclass(frozen=True)
class Gemms:
    """C[m,n] = A[m,k] B[k,n], b times each: arrays of shape (cases,), of one format.

    Bytes are those of an element; `macs_per_s` the peak of all cores; `passed` the bytes that pass
    L2 between two uses of the same inputs (infinite: all is cold). `fresh`: A was just written.
    """

    b: Values
    m: Values
    n: Values
    k: Values
    a_bytes: float
    b_bytes: float
    out_bytes: float
    macs_per_s: float
    passed: Values
    fresh: bool = False
    wide_bytes: float = 0.0  # of an element as it is multiplied, where it is converted
    runs: float = np.inf  # without a pause, one after the other; 1: the power limit does not hold


@dataclass(frozen=True)
class Candidates:
    """Tiles and splits, arrays of shape (1, candidates)."""

    tm: Values
    tn: Values
    s: Values


def candidates(kernel: MatmulKernel, machine: Machine) -> Candidates:
    """What the menu has and a core's memory holds `stages` steps of; the smallest tile always."""
    fitting = [
        (tm, tn)
        for tm, tn in dict.fromkeys(kernel.tiles.pairs)
        if tm * tn <= kernel.largest
        and (tm + tn) * kernel.step * kernel.stages <= machine.core_bytes
    ]
    tiles = fitting or [(min(kernel.tiles.m), min(kernel.tiles.n))]
    rows = [(tm, tn, s) for tm, tn in tiles for s in kernel.splits]
    tm, tn, s = np.array(rows, dtype=float).T
    return Candidates(tm[None, :], tn[None, :], s[None, :])


def matmul_times(gemms: Gemms, machine: Machine, kernel: MatmulKernel) -> Times:
    """What each multiplication is expected to take. `choice` indexes `candidates`; one past its
    end is the kernel without tiles."""
    menu = candidates(kernel, machine)
    shape = len(gemms.m), menu.tm.size
    parts = _broadcast(_tiled(_column(gemms), menu, machine, kernel), shape)
    if kernel.vector_rows:
        extra = _broadcast(_untiled(_column(gemms), machine, kernel), (len(gemms.m), 1))
        parts = {name: np.concatenate([parts[name], extra[name]], axis=1) for name in parts}
    moved = {name: parts.pop(f"{name}_bytes") for name in ("dram", "l2", "sums")}
    total = composed(parts)
    weight = np.exp(-(total / total.min(axis=1, keepdims=True) - 1) / SPREAD)
    weight /= weight.sum(axis=1, keepdims=True)

    def expected(values: Values) -> Values:
        finite = np.where(weight > 0, values, 0.0)
        return (finite * weight).sum(axis=1)

    return Times(
        expected(total),
        {name: expected(values) for name, values in parts.items()},
        {name: expected(values) for name, values in moved.items()},
        total.argmin(axis=1),
    )


def _broadcast(parts: dict[str, Values], shape: tuple[int, int]) -> dict[str, Values]:
    return {name: np.broadcast_to(values, shape) for name, values in parts.items()}


def composed(parts: dict[str, Values]) -> Values:
    """The latency of these parts."""
    fixed = sum(parts[name] for name in ("store", "split", "launch"))
    overlapping = (v for name, v in parts.items() if name not in ("store", "split", "launch"))
    total: Values = fixed + sum(v**OVERLAP for v in overlapping) ** (1 / OVERLAP)
    return total


def _column(gemms: Gemms) -> Gemms:
    """Its arrays of shape (cases, 1), to go with candidates."""
    names = ("b", "m", "n", "k", "passed")
    columns = {name: np.asarray(getattr(gemms, name), dtype=float)[:, None] for name in names}
    return Gemms(**{**gemms.__dict__, **columns})


def _tiled(g: Gemms, c: Candidates, machine: Machine, kernel: MatmulKernel) -> dict[str, Values]:
    per_step = kernel.step / max(g.a_bytes, g.b_bytes, g.wide_bytes)  # of k
    down, across = np.ceil(g.m / c.tm), np.ceil(g.n / c.tn)
    blocks = g.b * down * across * c.s
    rounds = np.ceil(blocks / machine.cores)
    steps = np.ceil(g.k / per_step / c.s)
    tile_a, tile_b = c.tm * g.a_bytes * per_step, c.tn * g.b_bytes * per_step
    at_once = np.clip(
        machine.core_bytes // ((tile_a + tile_b) * (kernel.stages + 1)), 1, kernel.resident
    )
    l2_rate = machine.l2_bytes_per_s * kernel.l2
    l2_bytes = blocks * steps * _shared(tile_a, tile_b, (down, across), c, kernel.cluster)
    dram_bytes = np.minimum(_anew(g, c, machine, kernel), l2_bytes) + _stored(g, machine, kernel)
    macs = c.tm * c.tn * per_step * machine.cores / (g.macs_per_s * kernel.issue)
    macs = np.where(_taken(g, c, kernel), macs, np.inf)
    sums = np.where(c.s > 1, 2 * c.s * g.b * g.m * g.n * PARTIAL_BYTES, 0.0)
    return _common(g, machine, kernel) | {
        "matrix": rounds * steps * macs,
        "in_flight": rounds * steps * kernel.step_latency / np.minimum(at_once, rounds),
        "l2": l2_bytes / l2_rate,
        "dram": dram_bytes / (machine.dram_bytes_per_s * kernel.dram),
        "split": np.where(c.s > 1, kernel.split_latency, 0.0) + sums / l2_rate,
        "dram_bytes": dram_bytes,
        "l2_bytes": l2_bytes + sums,
        "sums_bytes": sums,
    }


def _taken(g: Gemms, c: Candidates, kernel: MatmulKernel) -> Values:
    """Is the tile one that the library would take for so many rows? Any, where it does not say."""
    if kernel.tiles.up_to is None:
        return np.full((1, 1), True)
    by_rows = np.array(kernel.tiles.pairs)[np.searchsorted(kernel.tiles.up_to, g.m)]
    taken: Values = (c.tm == by_rows[..., 0]) & (c.tn == by_rows[..., 1])
    return taken | ~taken.any(axis=1, keepdims=True)  # where it does not fit a core, any


def _common(g: Gemms, machine: Machine, kernel: MatmulKernel) -> dict[str, Values]:
    store = g.b * g.m * g.n * g.out_bytes / (machine.dram_bytes_per_s * kernel.dram)
    return {
        "power": _powered(g, machine, kernel),
        "store": kernel.exposed_store * store,
        "launch": np.full_like(g.m, kernel.launch),
    }


def _powered(g: Gemms, machine: Machine, kernel: MatmulKernel) -> Values:
    """Seconds that the board's power limit asks for. How long the runs last is what they would
    take if nothing but the limit and the engines' peak held them up."""
    macs = g.b * g.m * g.n * g.k
    if g.runs == 1:
        return np.zeros_like(macs)
    each = macs * max(kernel.mac_energy / machine.power_w, 1 / g.macs_per_s)
    seconds: Values = macs * kernel.mac_energy / machine.allowed_w(g.runs * each)
    return seconds


def _shared(
    tile_a: Values, tile_b: Values, tiles: tuple[Values, Values], c: Candidates, cluster: int
) -> Values:
    """Bytes of a step's two tiles that a block fetches itself."""
    down, across = tiles
    of_rows = tile_a + tile_b / np.minimum(cluster, down)
    of_columns = tile_a / np.minimum(cluster, across) + tile_b
    return np.where(c.tm <= c.tn, of_rows, of_columns)


def _anew(g: Gemms, c: Candidates, machine: Machine, kernel: MatmulKernel) -> Values:
    """Bytes of both inputs from the outermost memory: each once for every wave that needs it
    anew, less what L2 keeps of it."""
    down, across = np.ceil(g.m / c.tm), np.ceil(g.n / c.tn)
    high, wide = _wave(down, across, c, machine, kernel)
    cold = 1 - _warm(g, machine, kernel)
    a, b = g.m * g.k * g.a_bytes, g.n * g.k * g.b_bytes
    kept_a, kept_b = (found_again(size, kernel.warm * machine.l2_bytes) for size in (a, b))
    first_a = 1 - kept_a if g.fresh else 1.0
    read_a = a * (first_a + (across / wide - 1) * (1 - kept_a)) * cold
    read_b = b * (1 + (down / high - 1) * (1 - kept_b)) * cold
    total: Values = g.b * (read_a + read_b)
    return total


def _wave(
    down: Values, across: Values, c: Candidates, machine: Machine, kernel: MatmulKernel
) -> tuple[Values, Values]:
    """Tiles down and across of what the cores compute at once."""
    wave = np.minimum(down * across, machine.cores)
    if kernel.order == "square":
        high = np.sqrt(wave * c.tn / c.tm)
    else:
        by_columns = (kernel.order == "columns") | (across >= down)
        high = np.where(by_columns, wave, wave / np.minimum(wave, across))
    high = np.clip(high, 1, down)
    wide = np.clip(wave / high, 1, across)
    return np.clip(wave / wide, 1, down), wide


def _warm(g: Gemms, machine: Machine, kernel: MatmulKernel) -> Values:
    """Share of the inputs that L2 holds when the kernel starts."""
    return found_again(g.passed, kernel.warm * machine.l2_bytes)


def _stored(g: Gemms, machine: Machine, kernel: MatmulKernel) -> Values:
    """Outputs that leave L2 while the kernel runs. Runs in a row write the same buffer, so that
    what L2 still holds of it is written over there; of a single run L2 keeps what it can hold."""
    outputs = g.b * g.m * g.n * g.out_bytes
    if g.runs == 1:
        return np.maximum(0.0, outputs - machine.l2_bytes)
    own = outputs + g.b * g.k * (g.m * g.a_bytes + g.n * g.b_bytes)
    passed = np.where(np.isinf(g.passed), np.inf, np.minimum(own, g.passed))
    return outputs * (1 - found_again(passed, kernel.warm * machine.l2_bytes))


def _untiled(g: Gemms, machine: Machine, kernel: MatmulKernel) -> dict[str, Values]:
    """The kernel for few rows, on the vector units; infinite where there are more."""
    weights = g.b * g.n * g.k * g.b_bytes
    l2_bytes = weights + g.b * g.m * g.k * g.a_bytes * g.n / VECTOR_COLUMNS
    inputs = weights + g.b * g.m * g.k * g.a_bytes
    dram_bytes = inputs * (1 - _warm(g, machine, kernel)) + _stored(g, machine, kernel)
    macs = g.b * g.m * g.n * g.k
    per_s = machine.cores * machine.vector["mul"] * machine.clock_hz
    none = np.zeros_like(macs)
    return _common(g, machine, kernel) | {
        "matrix": np.where(g.m <= kernel.vector_rows, macs / per_s, np.inf),
        "in_flight": none,
        "l2": l2_bytes / (machine.l2_bytes_per_s * kernel.l2),
        "dram": dram_bytes / (machine.dram_bytes_per_s * kernel.dram),
        "store": none,
        "split": none,
        "dram_bytes": dram_bytes,
        "l2_bytes": l2_bytes,
        "sums_bytes": none,
    }
