"""Timeloop's architectures (v3 and v4), with problem, mapping and energy table where given.

Bandwidths are words a cycle, widths bits, depths rows of `width`, the clock is
`global_cycle_seconds` (1 ns). `meshX` and `meshY` become axes; spatial constraints say which ranks
may lie along them, keep and bypass what a level keeps. What only fans out (containers, dummies,
memories that everything passes by) lends its axes to the next memory in.
Source: timeloop.csail.mit.edu, input formats of v3 and v4.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from accel_models.memory import OPERANDS
from sim.importers.foreign import Block, ForeignFileError, read_foreign
from sim.importers.imported import Imported, add_mapping, imported
from sim.importers.machine import Axis, FanOut, Machine, Macs, Notes, Store
from sim.importers.ranks import Workload, our_names, roles_of
from sim.importers.timeloop_energy import Table, energies_of, mac_energy_of, store_energy_of
from sim.importers.timeloop_mapping import nest_of, sizes_of, targets_of
from sim.importers.timeloop_problem import (
    CNN,
    SPACES,
    constraints_of,
    factors_of,
    our_operands,
    permutation_of,
    problem_of,
)
from sim.importers.timeloop_tree import Element, elements_of

CYCLE_S = 1e-9
OTHER_PARTS = {
    "ART": "areas are not carried over",
    "compound_components": "component models are this project's own",
    "components": "component models are this project's own",
    "mapper": "the mapper here is another",
}
NOT_USED = "nothing here corresponds to it"


def read(files: list[Path]) -> Imported:
    """The machine, and the mapping if there is one. Raises ForeignFileError."""
    documents = [_document(file) for file in files]
    found = [d for d in documents if "architecture" in d.data]
    if len(found) != 1:
        where = documents[0].place if documents else "timeloop"
        raise ForeignFileError(f"{where}: {len(found)} files with 'architecture:'; give one")
    notes = Notes()
    work = next((w for d in documents if (w := problem_of(d, notes))), None)
    table: dict[str, Table] = {}
    for document in documents:
        table |= energies_of(document)
    elements = elements_of(found[0].block("architecture"), notes)
    constraints: dict[str, list[Block]] = {}
    for document in documents:
        for name, blocks in constraints_of(document, elements).items():
            constraints.setdefault(name, []).extend(b for b in blocks if b not in constraints[name])
    machine, memories = _machine(files[0].stem, elements, constraints, (table, work), notes)
    result = imported(machine, [work] if work else [], notes)
    _add_mapping(result, documents, elements, memories, work)
    for document in documents:
        for key in [key for key in OTHER_PARTS if key in document.data]:
            notes.drop(document.at(key), key, OTHER_PARTS[key])
            document.pass_over(key)
        notes.drop_unread(document, NOT_USED)
    return result


def _document(file: Path) -> Block:
    document = read_foreign(file)
    if not isinstance(document, Block):
        raise ForeignFileError(f"{file}:1: a mapping of keys ('architecture: ...') is expected")
    return document


def _add_mapping(
    result: Imported,
    documents: list[Block],
    elements: list[Element],
    memories: list[Element],
    work: Workload | None,
) -> None:
    document = next((d for d in documents if "mapping" in d.data), None)
    if document is None:
        return
    tensors = work.tensors if work else SPACES
    targets = targets_of(document.blocks("mapping"), elements, tensors, result.notes)
    work = work or sizes_of(targets, document)
    if not result.workloads:
        result.workloads.append(work)
    stores = result.machine.stores
    keeps = {e.name: set(s.keeps) for e, s in zip(memories, stores, strict=True)}
    theirs = {dim: work.ranks.get(name, 1) for dim, name in work.names.items()}
    nest = nest_of(targets, elements, keeps, (work, theirs))
    add_mapping(result, work, nest, str(document.at("mapping")))


def _machine(
    name: str,
    elements: list[Element],
    constraints: dict[str, list[Block]],
    known: tuple[dict[str, Table], Workload | None],
    notes: Notes,
) -> tuple[Machine, list[Element]]:
    """The machine, and the elements that became its memories."""
    table, work = known
    tensors = work.tensors if work else SPACES
    known_ranks = _known_ranks(work, constraints)
    stores: list[Store] = []
    memories: list[Element] = []
    axes: list[Axis] = []
    before: list[Block] = []
    macs = None
    for element in elements:
        axes += _axes(element, [*before, *element.constraints], known_ranks, len(axes))
        before = [c for c in constraints.get(element.name, []) if c not in element.constraints]
        if element.computes:
            macs = _macs(element, FanOut(tuple(axes)), table)
            break
        store = _memory(element, constraints.get(element.name, []), (table, tensors), notes)
        if store is None:
            continue
        store = replace(store, fan_out=FanOut(tuple(axes)))
        stores.append(store if stores else replace(store, keeps=OPERANDS, bypass=()))
        memories.append(element)
        axes = []
    if macs is None or not stores:
        raise elements[0].block.error(
            "no compute element (class intmac, compute ...) below a memory"
        )
    return Machine(
        "Timeloop", name, tuple(stores), macs, 1 / _cycle_s(elements[-1]), _node_m(elements[-1])
    ), memories


def _memory(
    element: Element,
    constraints: list[Block],
    known: tuple[dict[str, Table], Mapping[str, str]],
    notes: Notes,
) -> Store | None:
    """The memory that an element is; None if it only fans out."""
    keeps, bypass = _keeps(constraints, known[1])
    if element.beside:
        keeps, bypass = tuple(operand for operand in keeps if operand not in bypass), ()
    if element.stores and "dummy" not in element.class_name.lower() and keeps:
        return replace(_store(element, known[0], notes), keeps=keeps, bypass=bypass)
    if element.mesh != (1, 1):
        shape = " x ".join(str(size) for size in element.mesh)
        notes.carry(element.block.place, element.name, f"{shape}: axes of the next level in")
    return None


def _cycle_s(element: Element) -> float:
    return element.number("global_cycle_seconds") or CYCLE_S


def _node_m(element: Element) -> float | None:
    """`45nm`, `45`; -1 stands for none."""
    text = (element.text("technology") or "").lower().removesuffix("nm").strip()
    try:
        value = float(text)
    except ValueError:
        return None
    if value <= 0:
        return None
    return value * 1e-9 if value > 1e-6 else value


def _store(element: Element, table: dict[str, Table], notes: Notes) -> Store:
    word = element.number("word_bits", "word-bits", "datawidth", "data_width") or 16.0
    width = element.number("width", "memory_width")
    block = element.number("block_size", "block-size", "n_words")
    width = width or word * (block or 1)
    depth = element.number("depth", "memory_depth")
    entries, kilobytes = element.number("entries"), element.number("sizeKB", "size_kb")
    capacity = depth * width if depth is not None else None
    if capacity is None and entries is not None:
        capacity = entries * word
    if capacity is None and kilobytes is not None:
        capacity = kilobytes * 8192
    buffers = element.number("multiple_buffering", "multiple-buffering") or 1.0
    if buffers > 1 and buffers != 2 and capacity is not None:
        capacity /= buffers
        what = f"{element.name}: multiple_buffering {buffers:g}"
        notes.drop(element.block.place, what, "the capacity is divided by it")
    second = word / _cycle_s(element)
    rates = [element.number(f"{way}_bandwidth", f"{way}-bandwidth") for way in ("read", "write")]
    shared = element.number("shared_bandwidth", "shared-bandwidth")
    rates = [shared, shared] if shared is not None else rates
    read_j, write_j = store_energy_of(element, table, width, notes)
    return Store(
        element.name,
        element.block.place,
        f"{element.class_name} {element.text('type') or ''}".strip(),
        capacity_bits=capacity,
        read_bits_per_s=None if rates[0] is None else rates[0] * second,
        write_bits_per_s=None if rates[1] is None else rates[1] * second,
        shared_port=shared is not None or rates == [None, None],
        read_j_per_bit=read_j,
        write_j_per_bit=write_j,
        width_bits=width,
        buffering="double" if buffers == 2 else "single",
    )


def _macs(element: Element, fan_out: FanOut, table: dict[str, Table]) -> Macs:
    keys = ("datawidth", "word_bits", "word-bits", "multiplier_width", "width")
    bits = element.attributes[0].count(*keys) or 16
    energy = mac_energy_of(element, table)
    return Macs(element.name, element.block.place, fan_out, energy, (bits, bits, None))


def _keeps(
    constraints: list[Block], tensors: Mapping[str, str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What a level keeps, and what of it may pass by: all that no constraint decides."""
    must: set[str] = set()
    never: set[str] = set()
    for constraint in constraints:
        constraint.get("type"), constraint.get("target")
        block = constraint.block("dataspace") if "dataspace" in constraint.data else constraint
        must |= set(our_operands(block.get("keep"), tensors))
        never |= set(our_operands(block.get("bypass"), tensors))
    keeps = tuple(operand for operand in OPERANDS if operand not in never)
    return keeps, tuple(operand for operand in keeps if operand not in must)


def _known_ranks(
    work: Workload | None, constraints: Mapping[str, list[Block]]
) -> dict[str, tuple[str, ...]]:
    """Our ranks for each of their dimensions: with no problem given, a convolution's own and those
    of the matrix multiplication that it is."""
    if work:
        return {dim: (rank,) for dim, rank in work.names.items()}
    blocks = [block for some in constraints.values() for block in some]
    spaces = [block.block("spatial") if "spatial" in block.data else block for block in blocks]
    dims = {dim for block in spaces for dim in factors_of(block.data.get("factors"), block)}
    if "K" in dims and not dims & {"C", "P", "Q", "R", "S"}:
        return {dim: (dim.lower(),) for dim in "MNK"}
    roles = roles_of(CNN)
    return {dim: (rank, roles[dim]) for dim, rank in our_names(roles, {}).items()}


def _axes(
    element: Element, constraints: list[Block], ranks: Mapping[str, tuple[str, ...]], before: int
) -> list[Axis]:
    """The element's fan-out, with the ranks that its spatial constraints leave."""
    allowed = [set(ranks), set(ranks)]
    for constraint in constraints:
        spatial = constraint.block("spatial") if "spatial" in constraint.data else constraint
        if spatial is constraint and constraint.get("type") != "spatial":
            continue
        factors = factors_of(spatial.get("factors"), spatial)
        order, split = permutation_of(spatial.get("permutation")), spatial.get("split")
        for axis, dims in enumerate(allowed):
            dims -= {dim for dim, (_, size, _) in factors.items() if size == 1}
            if order and isinstance(split, int):
                dims -= set(order[split:] if axis == 0 else order[:split])
    found = []
    for axis, size in enumerate(element.mesh):
        ours = dict.fromkeys(rank for dim in ranks if dim in allowed[axis] for rank in ranks[dim])
        some = None if allowed[axis] == set(ranks) else tuple(ours)
        if size > 1:
            name = "XY"[axis] + (str(before + axis + 1) if before else "")
            found.append(Axis(name, size, some))
    return found
