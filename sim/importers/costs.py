"""Energies that another tool leaves to component models, from this project's own.

DRAM by kind (accel_models/dram.py), SRAM macros from 1 KiB (accel_models/sram.py), smaller memories
as register files (accel_models/register_file.py), multipliers from gates (accel_models/pes). A
memory larger than 4 MiB is taken as macros of 4 MiB, without the wires between them.
"""

from __future__ import annotations

from math import inf, log2

from accel_models.dram import KINDS
from accel_models.pes import GATE_PES
from accel_models.register_file import RegisterFile
from accel_models.sram import CAPACITIES, KIB, WIDTHS, Sram, sram_cost
from accel_models.technology import gate_energy_j
from sim.importers.machine import Store

Energy = tuple[float, float, str]  # J per bit read, per bit written, source


def dram_energy(class_name: str) -> Energy:
    """Of the kind that the class names, else of LPDDR4."""
    words = class_name.lower()
    kind = max((k for k in KINDS if k in words), key=len, default="lpddr4")
    energy = KINDS[kind].energy
    return energy, energy, f"guess: {kind} in accel_models/dram.py, which the file leaves open"


def store_energy(store: Store, node_m: float) -> Energy:
    """Of an on-chip memory by its capacity and width. Raises ValueError for a node that the tables
    do not have."""
    bits = store.capacity_bits
    size = CAPACITIES[-1] if bits in (None, inf) else float(bits or 1.0) / 8
    node = f"{node_m * 1e9:g} nm"
    if size < KIB:
        word = max(1, round(store.width_bits or 8))
        words = max(1, round(size * 8 / word))
        file = RegisterFile(words, word)
        read = max(file.read_j(node_m) / word, file.write_j(node_m) / word / 10)
        source = f"guess: {words} words of flip-flops at {node}, accel_models/register_file.py"
        return read, file.write_j(node_m) / word, source
    width: float = min(max(store.width_bits or 64, WIDTHS[0]), WIDTHS[-1])
    width = min(width, 2 ** int(log2(size / 8)))  # 64 rows at least
    width = max(width, WIDTHS[0])
    macro = Sram(min(size, CAPACITIES[-1]), width)
    cost = sram_cost(macro, node_m)
    source = f"guess: SRAM of {macro.capacity_bytes / KIB:g} KiB, {width:g} bit wide, at {node}"
    return cost.read_j / width, cost.write_j / width, f"{source}, accel_models/sram.py"


def mac_energy(bits: int, node_m: float) -> tuple[float, str]:
    """J of a multiply-accumulate of at least this width (16 bits at most), and the source. Raises
    ValueError for a node that the tables do not have."""
    pe = GATE_PES["int8_mac" if bits <= 8 else "fp16_mac"]
    energy = pe.energy_per_mac() * gate_energy_j(node_m)
    return energy, f"guess: {pe.name} of accel_models/pes at {node_m * 1e9:g} nm"
