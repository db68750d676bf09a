"""A machine of another tool as a design of ours: plain values, ready for YAML.

What ours needs and theirs does not say gets a value that changes nothing (a femtosecond, a
yottabyte a second), or is taken from this project's own models where theirs has component models;
both are listed as assumed. Granularity is a bit: no tool charges short rows for what they do not
use.
"""

from __future__ import annotations

from math import inf
from typing import Any

from accel_models.memory import OPERANDS
from sim.importers.chain import Chain, chain_of
from sim.importers.cores import engine_block, mapping_rules
from sim.importers.costs import dram_energy, store_energy
from sim.importers.machine import Machine, Notes, Store, named
from sim.importers.quantities import (
    UNLIMITED_BYTES,
    UNLIMITED_RATE,
    derived,
    joules,
    neutral,
    of,
    passing_by,
)

DEFAULT_NODE, DEFAULT_CLOCK, NO_LEAKAGE = 45e-9, 1e9, 1e-15
SMALL_BITS = 8 * 1024  # below: flip-flops rather than a macro
_CLASSES = ("add", "mul", "exp", "rsqrt", "convert", "compare", "shuffle")


def design_of(machine: Machine, names: dict[str, str], notes: Notes) -> dict[str, Any]:
    """The design as plain values. `names` gets their names of memories with ours."""
    chain, place = chain_of(machine), machine.macs.place
    if machine.node_m is None:
        notes.assume(place, "technology node", f"not given: {DEFAULT_NODE * 1e9:g} nm")
    if machine.clock_hz is None:
        notes.assume(place, "clock", "theirs counts cycles: 1 GHz")
    node = machine.node_m or DEFAULT_NODE
    source = {"default": neutral(machine)}
    if machine.clock_hz is not None:
        source["clock"] = derived(machine, machine.macs)
    if machine.static_w:
        source["static"] = derived(machine, machine.macs)
    chip, core = _parts(chain, names, node, notes)
    if any(store.buffering == "single" for store in machine.stores[1:]):
        what = "a memory is filled while it is used, at no room"
        notes.drop(place, what, "single-buffered: the same tiles fit, but the times add up here")
    what = "vector engine, launch, latencies, power limit"
    notes.assume(place, what, f"{machine.tool} has none: values that add neither time nor energy")
    return {
        "title": f"{machine.name}, from {machine.tool}",
        "source": source,
        "technology": {"node": of(node * 1e9, "nm")},
        "clock": of(machine.clock_hz or DEFAULT_CLOCK, "Hz"),
        "power": {"limit": "1e24 W", "static": of(machine.static_w or NO_LEAKAGE, "W")},
        "memory": chip,
        "cores": {"core": core},
    }


def _parts(
    chain: Chain, names: dict[str, str], node: float, notes: Notes
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The chip's memories, and the core."""
    machine = chain.machine
    keys = [named(store.name, names) for store in machine.stores]
    blocks = [_memory(chain, i, node, notes) for i in range(len(keys))]
    pairs = list(zip(keys, blocks, strict=True))
    own = dict(pairs[chain.first_core :])
    if not own:
        notes.assume(machine.macs.place, "registers", "a core needs a memory: it keeps nothing")
        own = {"registers": passing_by()}
    rates: dict[str, Any] = {"count": 1, "lanes": 1}
    rates |= {"ops_per_cycle": dict.fromkeys(_CLASSES, 1e9), "energy": joules(0.0)}
    core: dict[str, Any] = {
        "count": chain.cores,
        "memory": own,
        "matrix": engine_block(chain, node, notes),
        "vector": rates,
        "control": {"launch": "1 fs"},
    }
    rules = mapping_rules(chain, keys)
    if rules:
        core["mapping"] = {"source": derived(machine, machine.macs), "levels": rules}
    return dict(pairs[: chain.first_core]), core


def _memory(chain: Chain, index: int, node: float, notes: Notes) -> dict[str, Any]:
    """One memory's block."""
    machine = chain.machine
    store, count = machine.stores[index], chain.counts[index]
    block: dict[str, Any] = {"kind": _kind(store, index)}
    if index < chain.first_core and count > 1:
        block["instances"] = count
    if index >= chain.first_core and count > chain.cores:
        block["per"] = "engine"
    block |= _capacity(store, notes) | _bandwidth(store, notes)
    block |= {"efficiency": 1.0, "latency": "1 fs", "granularity": "0.125 B"}
    energy, energy_source = _energy(store, index, node, notes)
    block |= energy
    if set(store.keeps) != set(OPERANDS):
        block["keeps"] = [operand for operand in OPERANDS if operand in store.keeps]
    if store.bypass:
        block["bypass"] = [operand for operand in OPERANDS if operand in store.bypass]
    if index > 0:
        block["buffering"] = store.buffering
    below = [s.fan_out for s in machine.stores[index + 1 :]] + [machine.macs.fan_out]
    if below[0].count > 1 and below[0].multicast:
        block["multicast"] = below[0].count
    if below[0].count > 1 and below[0].reduction:
        block["reduction"] = True
    source = {"default": derived(machine, store)} | dict.fromkeys(energy, energy_source)
    source |= dict.fromkeys(("efficiency", "latency", "granularity"), neutral(machine))
    block["source"] = {k: v for k, v in source.items() if v is not None}
    notes.carry(store.place, store.name, f"{block['kind']}, {count} in all, {block['capacity']}")
    return block


def _kind(store: Store, index: int) -> str:
    words = f"{store.class_name} {store.name}".lower()
    if index == 0 or any(word in words for word in ("dram", "ddr", "hbm")):
        return "dram"
    small = store.capacity_bits is not None and store.capacity_bits <= SMALL_BITS
    return "regfile" if small or "reg" in words else "sram"


def _capacity(store: Store, notes: Notes) -> dict[str, str]:
    if store.capacity_bits is None or store.capacity_bits == inf:
        notes.assume(store.place, f"{store.name}: capacity", f"unlimited there: {UNLIMITED_BYTES}")
        return {"capacity": UNLIMITED_BYTES}
    return {"capacity": of(store.capacity_bits / 8, "B")}


def _bandwidth(store: Store, notes: Notes) -> dict[str, str]:
    """Both directions; one port for both, where it is."""
    read, write = (
        UNLIMITED_RATE if bits is None or bits == inf else of(bits / 8, "B/s")
        for bits in (store.read_bits_per_s, store.write_bits_per_s)
    )
    if UNLIMITED_RATE in (read, write):
        notes.assume(
            store.place, f"{store.name}: bandwidth", f"unlimited or not given: {UNLIMITED_RATE}"
        )
    if store.shared_port and read == write:
        return {"bandwidth": read}
    if store.shared_port:
        what = f"{store.name}: reads and writes of different speed take turns"
        notes.drop(store.place, what, "they have a port each here")
    return {"read_bandwidth": read, "write_bandwidth": write}


def _energy(
    store: Store, index: int, node: float, notes: Notes
) -> tuple[dict[str, str], str | None]:
    """Energy per bit and its source; from our models where theirs leaves it to its own."""
    read, write, source = store.read_j_per_bit, store.write_j_per_bit, None
    if read is None and write is None:
        try:
            if _kind(store, index) == "dram":
                read, write, source = dram_energy(f"{store.class_name} {store.name}")
            else:
                read, write, source = store_energy(store, node)
        except ValueError as problem:
            read, source = 0.0, f"guess: {problem}"
        notes.assume(store.place, f"{store.name}: energy", source.removeprefix("guess: "))
    first = write if read is None else read
    second = read if write is None else write
    block = {"energy": joules(first or 0.0, "pJ/bit")}
    if second != first:
        block["write_energy"] = joules(second or 0.0, "pJ/bit")
    return block, source
