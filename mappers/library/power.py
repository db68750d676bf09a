"""Board power of a library's kernels, and how long they take under the board's limit.

    E = macs e_mac + outer bytes e_outer + shared bytes e_shared            joules, dynamic
    W = sustained limit - static                                            watts that E may take
    latency = max(latency at full clock, E / W)                             the clock gives way
    P = static + E / latency                                            at most the sustained limit

e_mac is the pair's own energy with the operands' way inside the core: one block of the matrix
engine reads its operands from the innermost memory that keeps them, and reads and writes its sums.
e_outer: a byte read from the outermost memory and written to the shared one; e_shared: a byte that
a core gets from there, its share of the read if one read serves several cores (`multicast`), and
its writing to and reading from the core's own memory.

Energies are those at the clock that the limit allows: under a lower one voltage and energy are
lower too, so that a chip of the same silicon under another limit loses less than W says.
Source: SUSTAINED, and the energies of designs/gpu/b200.yaml, are fitted to GB200's board power
(docs/library_power.md). Not modeled: voltage (P ~ f V^2); clocks that rise while only memories
work; padded rows of tiles; what a regulator lets pass in the first milliseconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from accel_models.engines.pe import Datapath
from accel_models.path import Level, Path
from kernels_ref.formats import get_format
from mappers.library.machine import Machine
from mappers.library.times import Values

BLOCKS = 256  # of k, between a sum's first and its last
SUSTAINED = 0.977  # of the limit: GB200's long multiplications read 1165 to 1182 of 1200 W


@dataclass(frozen=True, slots=True)
class Energies:
    """Dynamic joules of a multiplication: per MAC, per byte from the outermost memory, per byte
    from the shared one."""

    mac: float
    outer: float
    shared: float


def energies(path: Path, pair: Datapath) -> Energies:
    """What this machine takes for work in a format pair."""
    outer, shared, own = (
        path.levels[0],
        path.levels[path.first_core - 1],
        path.levels[path.first_core],
    )
    fill = own.write_j_per_byte + own.read_j_per_byte
    return Energies(
        pair.energy + _inside_the_core(path, pair),
        outer.read_j_per_byte + shared.write_j_per_byte,
        shared.read_j_per_byte / shared.multicast + fill,
    )


def _inside_the_core(path: Path, pair: Datapath) -> float:
    """Joules per MAC of operands and sums at the matrix engine, from the words of one block, over
    and over along k."""
    m, n, k = path.engine.geometry(pair.pair.macs_per_cycle)
    k *= BLOCKS
    words = path.form(pair).words(m, n, k)
    operands, sums = _innermost(path, "activation"), _innermost(path, "output")
    read = words.activation * pair.activation.bits + words.weight * pair.weight.bits
    each = get_format(pair.pair.accumulate).bits / 8
    moved = words.output_read * sums.read_j_per_byte + words.output_write * sums.write_j_per_byte
    return (read / 8 * operands.read_j_per_byte + each * moved) / (m * n * k)


def _innermost(path: Path, operand: str) -> Level:
    return next(level for level in reversed(path.memories) if operand in level.keeps)


def joules(macs: Values, moved: Mapping[str, Values], each: Energies, path: Path) -> Values:
    """Dynamic energy of each case; `moved`: bytes through the outermost memory and the shared one,
    by name, as in `Times`."""
    outer, shared = path.levels[0].name, path.levels[path.first_core - 1].name
    total: Values = macs * each.mac + moved[outer] * each.outer + moved[shared] * each.shared
    return total


def allowed_w(machine: Machine) -> float:
    """Watts of dynamic power that the board sustains."""
    return SUSTAINED * (machine.power_w + machine.static_w) - machine.static_w


def throttled(latency_s: Values, joules: Values, machine: Machine) -> Values:
    """Seconds of each case under the board's limit: as long as its energy takes to come in."""
    return np.maximum(latency_s, joules / allowed_w(machine))


def watts(latency_s: Values, joules: Values, machine: Machine) -> Values:
    """Board power while each case runs, again and again; `latency_s` at full clock or throttled."""
    dynamic: Values = joules / throttled(latency_s, joules, machine)
    return machine.static_w + dynamic
