"""What a core of an imported machine computes with: engine, formats, and how its arrays may be
split."""

from __future__ import annotations

from math import prod
from typing import Any

from sim.importers.chain import RANKS, Chain
from sim.importers.costs import mac_energy
from sim.importers.machine import FanOut, Macs, Notes
from sim.importers.quantities import derived, joules


def engine_block(chain: Chain, node: float, notes: Notes) -> dict[str, Any]:
    """The design's `matrix`."""
    machine, macs = chain.machine, chain.machine.macs
    energy, source = macs.energy_j, derived(machine, macs)
    if energy is None:
        energy, source = _mac_energy(macs, node, notes)
    key, accumulate = _pair(macs, notes)
    pair = {
        "macs_per_cycle": macs.per_cycle,
        "accumulate": accumulate,
        "energy": joules(energy),
    }
    block: dict[str, Any] = {"source": {"default": derived(machine, macs), "energy": source}}
    if machine.systolic:
        array = machine.systolic
        shape = {"rows": array.rows, "cols": array.cols, "dataflow": array.dataflow}
        block |= {"kind": "systolic", "count": 1, **shape}
        block["weight_preload"] = array.weight_preload
    else:
        m, n, k = chain.block
        block |= {"kind": "dot_product", "count": chain.engines // chain.cores}
        block |= {"m": m, "n": n, "k": k, "issue_interval": 1, "pipeline": 1}
    block["pe"] = {"formats": {key: pair}}
    count = chain.engines * prod(chain.block)
    shown = f"{machine.systolic.rows} x {machine.systolic.cols}" if machine.systolic else f"{count}"
    notes.carry(macs.place, macs.name, f"{block['kind']}, {shown} MACs, {key} -> {accumulate}")
    return block


def _mac_energy(macs: Macs, node: float, notes: Notes) -> tuple[float, str]:
    try:
        energy, source = mac_energy(max(macs.bits[:2]), node)
    except ValueError as problem:
        energy, source = 0.0, f"guess: {problem}"
    notes.assume(macs.place, f"{macs.name}: energy", source.removeprefix("guess: "))
    return energy, source


def _pair(macs: Macs, notes: Notes) -> tuple[str, str]:
    """The formats' key and the sums' format for these widths."""
    weight, activation, sums = macs.bits
    names = [_format(bits) for bits in (weight, activation)]
    floats = any(name.startswith("fp") for name in names)
    for bits, name in dict.fromkeys(zip((weight, activation), names, strict=True)):
        if name != f"int{bits}":
            why = f"written as {name}; there is no int{bits} here"
            notes.assume(macs.place, f"{macs.name}: words of {bits} bits", why)
    wide = "fp32" if floats else "int32"
    if sums is not None:
        narrow = {8: "int8"}.get(sums) if not floats else {16: "fp16"}.get(sums)
        if narrow is None and sums != 32:
            notes.drop(macs.place, f"sums of {sums} bits", f"{wide} is the nearest format for them")
        wide = narrow or wide
    return (names[0] if names[0] == names[1] else "*".join(names)), wide


def _format(bits: int) -> str:
    if bits <= 8:
        return f"int{max(2, bits)}"
    return "fp16" if bits <= 16 else "fp32"


def mapping_rules(chain: Chain, keys: list[str]) -> dict[str, Any]:
    """Axes of the arrays, by level; nothing where any rank may be split."""
    fan_outs = dict(zip(keys, (store.fan_out for store in chain.machine.stores), strict=True))
    if prod(chain.block) == 1 and chain.machine.systolic is None:
        fan_outs["engine"] = chain.machine.macs.fan_out
    found = {}
    for name, fan_out in fan_outs.items():
        if _ruled(fan_out):
            found[name] = {
                "axes": {
                    axis.name: {"size": axis.size, "ranks": list(axis.ranks or RANKS)}
                    for axis in fan_out.axes
                    if axis.size > 1
                }
            }
    return found


def _ruled(fan_out: FanOut) -> bool:
    axes = [axis for axis in fan_out.axes if axis.size > 1]
    return len(axes) > 1 or any(axis.ranks is not None for axis in axes)
