"""ZigZag's hardware (zigzag-dse 3.x), with workload and mapping where given.

Memories are listed from the innermost out; `served_dimensions` says over which of the array's
dimensions one instance is shared, so it has an instance for every position along the others. Costs
are pJ for an access as wide as the port (`bandwidth_max`), bandwidths bits a cycle. A memory that
is shared along dimensions along which one further out is not cannot stand in a chain, and is left
out. Where the memories of a group keep different operands, the larger is taken as the outer one.
Source: the schemas and the cost model of zigzag-dse 3.9.1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from accel_models.memory import OPERANDS
from sim.importers.foreign import Block, ForeignFileError, read_foreign
from sim.importers.imported import Imported, add_mapping, imported
from sim.importers.machine import Axis, FanOut, Machine, Macs, Notes, Store
from sim.importers.ranks import Workload
from sim.importers.zigzag_mapping import (
    Unrolled,
    layer_of,
    mapping_nest,
    unrolled_of,
)

CLOCK_HZ = 1e9
LINKS = {"I": "I1", "W": "I2", "O": "O"}
OURS = {"I": "activation", "W": "weight", "O": "output"}
NOT_USED = "nothing here corresponds to it"


def read(files: list[Path]) -> Imported:
    """The machine, and a mapping for every layer with an order of its loops. Raises
    ForeignFileError."""
    hardware, layers, mappings, documents = _sorted(files)
    notes = Notes()
    entries = {str(entry.need("name")): entry for entry in mappings}
    works = [layer_of(layer, notes) for layer in layers]
    entry = _entry_for(works[0] if works else None, layers, entries)
    operands = _operands(entry)
    unrolled = unrolled_of(entry, hardware, works[0] if works else None)
    machine = _machine(hardware, operands, unrolled, works, notes)
    result = imported(machine, works, notes)
    for work, layer in zip(works, layers, strict=True):
        its = _entry_for(work, [layer], entries)
        if its is not None and its.get("temporal_ordering"):
            nest = mapping_nest(its, work, machine, unrolled, result)
            add_mapping(result, work, nest, str(its.at("temporal_ordering")))
    for name, other in entries.items():
        if other is not entry and not (other.asked - {"name"}):
            other.pass_over()
            notes.drop(other.place, f"mapping of {name}", "no layer of that name or kind was given")
    for document in documents:
        notes.drop_unread(document, NOT_USED)
    return result


def _sorted(files: list[Path]) -> tuple[Block, list[Block], list[Block], list[Any]]:
    """The hardware, the layers and the mappings among the files."""
    hardware: list[Block] = []
    layers: list[Block] = []
    mappings: list[Block] = []
    documents = [read_foreign(file) for file in files]
    for file, document in zip(files, documents, strict=True):
        if isinstance(document, Block) and "memories" in document.data:
            hardware.append(document)
            continue
        for item in document if isinstance(document, list) else []:
            if isinstance(item, Block) and "equation" in item.data:
                layers.append(item)
            elif isinstance(item, Block):
                mappings.append(item)
        if not isinstance(document, list):
            raise ForeignFileError(
                f"{file}:1: neither hardware ('memories:') nor a list of layers or mappings"
            )
    if len(hardware) != 1:
        raise ForeignFileError(f"{files[0]}: {len(hardware)} files with 'memories:'; give one")
    return hardware[0], layers, mappings, documents


def _entry_for(
    work: Workload | None, layers: list[Block], entries: Mapping[str, Block]
) -> Block | None:
    """The mapping of a layer: by its name, its kind, or the default."""
    names = [work.name] if work else []
    names += [str(layer.get("operator_type")) for layer in layers[:1]]
    return next((entries[n] for n in [*names, "default"] if n in entries), None)


def _operands(entry: Block | None) -> dict[str, str]:
    """Our operand of each of the memories' (I1, I2, O)."""
    links = dict(LINKS)
    if entry is not None:
        given = entry.block("memory_operand_links")
        links |= {key: str(given.get(key)) for key in LINKS if key in given.data}
    return {memory: OURS[layer] for layer, memory in links.items()}


def _machine(
    hardware: Block,
    operands: Mapping[str, str],
    unrolled: Unrolled,
    works: list[Workload],
    notes: Notes,
) -> Machine:
    array = hardware.block("operational_array")
    if array.get("is_imc"):
        raise array.error("computing in memory has no counterpart here", "is_imc")
    dims, sizes = array.need("dimensions"), array.wholes("sizes")
    if not isinstance(dims, list) or len(dims) != len(sizes):
        raise array.error("'dimensions' and 'sizes' must be lists of the same length", "sizes")
    extent = {str(dim): size for dim, size in zip(dims, sizes, strict=True)}
    if array.get("systolic_dimensions"):
        what = f"systolic_dimensions: {array.get('systolic_dimensions')}"
        notes.drop(
            array.at("systolic_dimensions"), what, "fill and drain of the array are not timed"
        )
    memories = hardware.block("memories")
    chain = _chain(memories, extent, operands, notes)
    stores, apart = [], frozenset[str]()
    for store, unserved in chain:
        fan_out = FanOut(
            tuple(_axis(dim, extent, unrolled) for dim in extent if dim in unserved - apart)
        )
        stores.append(replace(store, fan_out=fan_out))
        apart = unserved
    inside = FanOut(tuple(_axis(dim, extent, unrolled) for dim in extent if dim not in apart))
    energy = array.number("unit_energy")
    macs = Macs("operational_array", array.place, inside, _joules(energy), _bits(array, works))
    first = replace(stores[0], keeps=OPERANDS, bypass=())
    name = str(hardware.get("name", default="zigzag"))
    return Machine("ZigZag", name, (first, *stores[1:]), macs)


def _joules(picojoules: float | None) -> float | None:
    return None if picojoules is None else picojoules * 1e-12


def _axis(dim: str, extent: Mapping[str, int], unrolled: Unrolled) -> Axis:
    return Axis(dim, extent[dim], unrolled.allowed.get(dim))


def _bits(array: Block, works: list[Workload]) -> tuple[int, int, int | None]:
    given = array.get("input_precision")
    bits = works[0].bits if works else {}
    if isinstance(given, list) and len(given) == 2:
        return int(given[1]), int(given[0]), bits.get("partial")
    return bits.get("weight", 8), bits.get("activation", 8), bits.get("partial")


def _chain(
    memories: Block, extent: Mapping[str, int], operands: Mapping[str, str], notes: Notes
) -> list[tuple[Store, frozenset[str]]]:
    """The memories that stand in a chain, outermost first, each with the dimensions along which it
    has instances of its own."""
    found: list[tuple[Store, frozenset[str]]] = []
    for name in reversed(memories.data):
        memory = memories.block(name)
        served = memory.need("served_dimensions")
        if not isinstance(served, list):
            raise memory.error("served_dimensions must be a list", "served_dimensions")
        for dim in served:
            if not isinstance(dim, str) or dim not in extent:
                raise memory.error(f"'{dim}' is no dimension of the array", "served_dimensions")
        unserved = frozenset(extent) - frozenset(served)
        store = _store(name, memory, operands, notes)
        if found and not found[-1][1] <= unserved:
            shared = ", ".join(sorted(found[-1][1] - unserved))
            notes.drop(memory.place, name, f"is shared along {shared}, {found[-1][0].name} is not")
            continue
        found.append((store, unserved))
    if not found:
        raise memories.error("there is no memory")
    by_size = lambda part: -(part[0].capacity_bits or 0)  # noqa: E731
    outer, inner = found[:1], found[1:]
    i = 0
    while i < len(inner):
        j = i + 1
        while j < len(inner) and _beside(inner[i:j], inner[j]):
            j += 1
        inner[i:j] = sorted(inner[i:j], key=by_size)
        i = j
    return outer + inner


def _beside(group: list[tuple[Store, frozenset[str]]], other: tuple[Store, frozenset[str]]) -> bool:
    """Do all of the group have the other's instances, and none of its operands?"""
    return all(
        store.keeps and unserved == other[1] and not set(store.keeps) & set(other[0].keeps)
        for store, unserved in group
    )


def _store(name: str, memory: Block, operands: Mapping[str, str], notes: Notes) -> Store:
    keeps = {operands[str(o)] for o in memory.need("operands") if str(o) in operands}
    rates = {"read": [0.0, 0.0], "write": [0.0, 0.0], "read_write": [0.0, 0.0]}  # sum, widest
    for port in memory.blocks("ports"):
        kind, bits = str(port.need("type")), port.number("bandwidth_max") or 0.0
        if kind not in rates:
            raise port.error(f"type '{kind}'; known: read, write, read_write", "type")
        rates[kind][0] += bits
        rates[kind][1] = max(rates[kind][1], bits)
        port.get("name"), port.get("allocation")
        least = port.number("bandwidth_min")
        if least is not None and least < bits:
            what = f"{name}: bandwidth_min {least:g}"
            notes.drop(port.at("bandwidth_min"), what, "transfers are not rounded up to it here")
    shared = rates["read_write"]
    read, write = (rates[way][0] + shared[0] for way in ("read", "write"))
    wide_read, wide_write = (max(rates[way][1], shared[1]) for way in ("read", "write"))
    costs = [memory.number(key) for key in ("r_cost", "w_cost")]
    if memory.get("auto_cost_extraction"):
        costs = [None, None]
    only_shared = shared[0] > 0 and rates["read"][0] == rates["write"][0] == 0
    if shared[0] and not only_shared:
        notes.drop(memory.at("ports"), f"{name}: ports", "read_write ports count as one of each")
    memory.get("mem_type")
    return Store(
        name,
        memory.place,
        str(memory.get("mem_type", default="")),
        capacity_bits=memory.number("size"),
        keeps=tuple(operand for operand in OPERANDS if operand in keeps),
        read_bits_per_s=read * CLOCK_HZ or None,
        write_bits_per_s=write * CLOCK_HZ or None,
        shared_port=only_shared,
        read_j_per_bit=_per_bit(costs[0], wide_read),
        write_j_per_bit=_per_bit(costs[1], wide_write),
        width_bits=wide_read or None,
        buffering="double" if memory.get("force_double_buffering") else "single",
    )


def _per_bit(cost: float | None, width: float) -> float | None:
    return None if cost is None or not width else cost * 1e-12 / width
