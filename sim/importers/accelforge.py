"""AccelForge's architectures, with workload and mapping where given.

Nodes from the outermost in: `!Memory` (sizes in bits, energies in J and throughputs in actions a
second, an action moving `bits_per_action`, 1), `!Container` (older: `!Fanout`) that only fans out,
and the `!Compute` that three tensors reach. `spatial` fan-outs become axes: `reuse` says which
ranks may lie along one, `may_reuse` whether a read serves all. `keep` must stay, `may_keep` may
pass by. Costs left to component models come from this project's. Their latency is that of the
slowest component; their throughputs are of one instance. Source: accelforge 1.0, frontend/arch.
"""

from __future__ import annotations

import re
from pathlib import Path

from accel_models.memory import OPERANDS
from sim.importers.accelforge_mapping import add_mappings
from sim.importers.accelforge_parts import macs_of, store_of
from sim.importers.accelforge_sets import EVERYTHING, Tensors, workloads_of
from sim.importers.arithmetic import members
from sim.importers.foreign import Block, ForeignFileError, read_foreign
from sim.importers.imported import Imported, imported
from sim.importers.machine import Axis, FanOut, Machine, Notes, Store
from sim.importers.ranks import MATMUL

NOT_USED = "nothing here corresponds to it"
_ENABLED = re.compile(r"len\(All\)\s*(==|>=|>|<=|<|!=)\s*(\d+)")
_COMPARE = {
    "==": "__eq__",
    ">=": "__ge__",
    ">": "__gt__",
    "<=": "__le__",
    "<": "__lt__",
    "!=": "__ne__",
}


def read(files: list[Path]) -> Imported:
    """The machine, and a mapping for every einsum that is mapped. Raises ForeignFileError."""
    documents = [read_foreign(file) for file in files]
    for file, document in zip(files, documents, strict=True):
        if not isinstance(document, Block):
            raise ForeignFileError(f"{file}:1: a mapping of keys ('arch: ...') is expected")
    archs = [document for document in documents if "arch" in document.data]
    if len(archs) != 1:
        raise ForeignFileError(f"{files[0]}: {len(archs)} files with 'arch:'; give one")
    notes = Notes()
    works = [work for document in documents for work in workloads_of(document, notes)]
    tensors = Tensors(works[0] if works else MATMUL, tuple(works[1:]))
    nodes, node_m = _nodes(archs[0].block("arch"), notes)
    machine, spread = _machine(files[0].stem, nodes, node_m, tensors, notes)
    result = imported(machine, works, notes)
    for document in documents:
        add_mappings(result, document, spread)
        notes.drop_unread(document, NOT_USED)
    return result


def _nodes(arch: Block, notes: Notes) -> tuple[list[Block], float | None]:
    """The nodes of the chain, and the technology node."""
    attributes = arch.block("extra_attributes_for_all_component_models")
    return _flat(arch.blocks("nodes"), notes), attributes.number("tech_node")


def _flat(nodes: list[Block], notes: Notes) -> list[Block]:
    found = []
    for node in nodes:
        if node.tag == "Hierarchical":
            found += _flat(node.blocks("nodes"), notes)
        elif node.tag in ("Memory", "Container", "Fanout", "Compute"):
            found.append(node)
        else:
            what = f"!{node.tag or 'node'} {node.get('name', default='')}"
            node.pass_over()
            notes.drop(node.place, what, "a machine here is a chain of memories over multipliers")
    if not found:
        raise ForeignFileError(f"{nodes[0].place if nodes else 'arch'}: there are no nodes")
    return found


def _machine(
    name: str, nodes: list[Block], node_m: float | None, tensors: Tensors, notes: Notes
) -> tuple[Machine, dict[str, str]]:
    """The machine; and, for each node with a fan-out, the memory (or `engine`) that is spread."""
    stores: list[Store] = []
    axes: list[Axis] = []
    shares: list[frozenset[str]] = []
    waiting: list[str] = []
    spread: dict[str, str] = {}
    leakage, instances, macs, clock = 0.0, 1, None, None
    for node in nodes:
        own = str(node.need("name"))
        if node.tag == "Compute" and not _enabled(node, notes):
            continue
        for axis, shared in _axes(node, tensors, notes):
            axes.append(axis)
            shares.append(shared)
            waiting.append(own)
        fan_out = _fan_out(axes, shares, node, notes)
        leakage += (node.number("leak_power") or 0.0) * instances * fan_out.count
        if node.tag == "Compute":
            macs, clock = macs_of(node, fan_out, tensors)
            spread |= dict.fromkeys(waiting, "engine")
            break
        store = store_of(node, fan_out, tensors, notes) if node.tag == "Memory" else None
        if store is None or not (store.keeps or not stores):
            _container(node, notes)
            continue
        instances *= fan_out.count
        stores.append(store)
        spread |= dict.fromkeys(waiting, own)
        axes, shares, waiting = [], [], []
    if macs is None or not stores:
        raise nodes[0].error("no !Compute below a !Memory")
    return Machine("AccelForge", name, tuple(stores), macs, clock, node_m, leakage or None), spread


def _container(node: Block, notes: Notes) -> None:
    if node.tag == "Memory":
        notes.drop(
            node.place, str(node.get("name")), "keeps nothing of a computation with three tensors"
        )
        node.pass_over()


def _enabled(node: Block, notes: Notes) -> bool:
    """Does a multiply-accumulate of three tensors reach this compute node?"""
    value = node.get("enabled", default=True)
    match = _ENABLED.fullmatch(str(value).strip())
    on = (
        bool(getattr(len(OPERANDS), _COMPARE[match[1]])(int(match[2])))
        if match
        else value is not False
    )
    if not on:
        node.pass_over()
        notes.drop(node.place, str(node.get("name")), "is not for computations with three tensors")
    elif not match and value is not True:
        notes.drop(node.at("enabled"), f"enabled: {value}", "taken as enabled")
    return on


def _axes(node: Block, tensors: Tensors, notes: Notes) -> list[tuple[Axis, frozenset[str]]]:
    """The node's fan-outs, each with the tensors that a read above serves to all along it."""
    found = []
    for spatial in node.blocks("spatial"):
        size = spatial.count("fanout") or 1
        reuse = tensors.of(spatial, "reuse")
        may = tensors.of(spatial, "may_reuse")
        shared = may if may is not None else reuse if reuse is not None else EVERYTHING
        ranks = tensors.irrelevant(reuse) if reuse else None
        for bound in spatial.blocks("loop_bounds"):
            if str(bound.get("operator")) in ("==", "<=") and bound.number("value") == 1:
                ones = _ranks(bound, tensors)
                every = ranks or tuple(dict.fromkeys(tensors.work.names.values()))
                ranks = tuple(rank for rank in every if rank not in ones)
            else:
                what = f"{bound.get('expression')} {bound.get('operator')} {bound.get('value')}"
                notes.drop(bound.place, what, "bounds of loops in space other than 1")
        found.append((Axis(str(spatial.need("name")), size, ranks), shared))
        along = "any rank" if ranks is None else " ".join(ranks) or "no rank"
        what = f"{node.get('name')}, {spatial.get('name')}"
        notes.carry(spatial.place, what, f"an axis of {size} for {along}")
    return found


def _ranks(bound: Block, tensors: Tensors) -> frozenset[str]:
    """Our ranks of an expression over rank variables, such as `~m`."""
    names = {theirs: frozenset({ours}) for theirs, ours in tensors.work.names.items()}
    try:
        return members(bound.get("expression"), names, frozenset(tensors.work.names.values()))
    except ValueError as problem:
        raise bound.error(f"expression: {problem}", "expression") from None


def _fan_out(axes: list[Axis], shares: list[frozenset[str]], node: Block, notes: Notes) -> FanOut:
    """One fan-out of all axes. What is irrelevant to a rank along an axis is what can be shared."""
    unused = {"m": "weight", "n": "activation", "k": "output"}
    answers: dict[str, set[bool]] = {"multicast": set(), "reduction": set()}
    for axis, shared in zip(axes, shares, strict=True):
        for rank, operand in unused.items():
            if axis.size > 1 and (axis.ranks is None or rank in axis.ranks):
                key = "reduction" if operand == "output" else "multicast"
                answers[key].add(operand in shared)
    for key, said in answers.items():
        if len(said) == 2:
            notes.drop(node.at("spatial"), f"may_reuse ({key})", "for some only; here for none")
    return FanOut(tuple(axes), False not in answers["multicast"], False not in answers["reduction"])
