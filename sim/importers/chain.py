"""Where the chip ends and the cores begin in an imported machine, and what its engines are.

The engines are the multiply-accumulators; memories with as many instances as there are engines are
the engines' own, the next ones out a core's, the rest the chip's. Multiply-accumulators that one
memory feeds along axes of one rank each are one engine of that shape (`dot_product`); a lone one
reads and writes its sum for every MAC, as all the tools count it.
"""

from __future__ import annotations

from dataclasses import dataclass

from sim.importers.machine import FanOut, Machine

RANKS = ("b", "m", "n", "k")


@dataclass(frozen=True, slots=True)
class Chain:
    """`counts`: instances of each store on the whole chip; `block`: the m, n and k that an engine
    does at once; `first_core`: index of the first store that belongs to a core."""

    machine: Machine
    counts: tuple[int, ...]
    block: tuple[int, int, int]
    engines: int
    cores: int
    first_core: int


def chain_of(machine: Machine) -> Chain:
    """The machine with its cores decided."""
    counts: list[int] = []
    for store in machine.stores:
        counts.append((counts[-1] if counts else 1) * store.fan_out.count)
    block = _block(machine.macs.fan_out)
    engines = counts[-1] * (1 if block else machine.macs.fan_out.count)
    inner = counts[1:]
    below = [count for count in inner if count < engines]
    engines_own = bool(below) and counts[-1] == engines
    cores = counts[-1]
    if inner:
        cores = below[-1] if engines_own else inner[-1]
    first = next((i for i in range(1, len(counts)) if counts[i] >= cores), len(counts))
    return Chain(machine, tuple(counts), block or (1, 1, 1), engines, cores, first)


def _block(fan_out: FanOut) -> tuple[int, int, int] | None:
    """m, n and k of multipliers side by side, if each axis has one rank and data are shared."""
    sizes = {"m": 1, "n": 1, "k": 1}
    for axis in fan_out.axes:
        if axis.size == 1:
            continue
        rank = axis.ranks[0] if axis.ranks and len(axis.ranks) == 1 else ""
        if rank not in sizes or not fan_out.multicast or not fan_out.reduction:
            return None
        sizes[rank] *= axis.size
    return sizes["m"], sizes["n"], sizes["k"]
