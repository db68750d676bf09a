"""ZigZag's layers, spatial mappings and loop orders.

A layer is an equation such as `O[b][k]+=I[b][c]*W[c][k]` over sized dimensions. A mapping gives,
for the array's dimensions, what is unrolled along them, and perhaps the order of the loops in time,
innermost first; which memory holds which of these loops ZigZag decides as it runs, filling them
from the innermost: so does this, operand by operand, where a memory's operands share it evenly.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf, prod
from typing import Any

from accel_models.path import ENGINE
from sim.importers.foreign import Block
from sim.importers.imported import Imported
from sim.importers.machine import Machine, Notes
from sim.importers.nest import Loop, Take
from sim.importers.ranks import Dim, Workload, workload_of

# What the usual names of dimensions are, where no layer says it.
ROLES = {"B": "m", "OX": "m", "OY": "m", "K": "n", "C": "k", "FX": "k", "FY": "k", "G": "b"}
_OPERAND = re.compile(r"([A-Za-z])((?:\[\w+\])+)")
_RELATION = re.compile(r"(\w+)\s*=\s*(?:(\d+)\s*\*\s*)?(\w+)\s*\+\s*(?:(\d+)\s*\*\s*)?(\w+)")
_UNROLLING = re.compile(r"\s*([A-Za-z]\w*)\s*,\s*(\d+)\s*")
_TENSORS = {"O": "output", "I": "activation", "W": "weight"}


@dataclass(frozen=True, slots=True)
class Unrolled:
    """`allowed`: our ranks along a dimension of the array; `factors`: what a mapping puts there, as
    their dimensions and sizes."""

    allowed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    factors: Mapping[str, tuple[tuple[str, int], ...]] = field(default_factory=dict)


def layer_of(layer: Block, notes: Notes) -> Workload:
    """One layer. Raises ForeignFileError."""
    name = str(layer.get("name") or f"layer{layer.get('id', default=0)}")
    for key in ("id", "operator_type", "operand_source"):
        layer.get(key)
    dims, sizes = layer.need("loop_dims"), layer.wholes("loop_sizes")
    if not isinstance(dims, list) or len(dims) != len(sizes):
        raise layer.error("'loop_dims' and 'loop_sizes' must be lists of the same length")
    relations = {}
    for text in layer.get("dimension_relations", default=[]) or []:
        match = _RELATION.fullmatch(str(text).strip())
        if not match:
            raise layer.error(f"'{text}' is not a relation such as ix=1*ox+1*fx")
        one, two = (match[3].upper(), int(match[2] or 1)), (match[5].upper(), int(match[4] or 1))
        relations[match[1].upper()] = (one, two)
    operands: dict[str, tuple[Dim, ...]] = {}
    for match in _OPERAND.finditer(str(layer.need("equation"))):
        if match[1] in _TENSORS:
            words = (word.upper() for word in re.findall(r"\[(\w+)\]", match[2]))
            operands[_TENSORS[match[1]]] = tuple(relations.get(w, ((w, 1),)) for w in words)
    if set(operands) != set(_TENSORS.values()):
        raise layer.error("the equation must have O, I and W", "equation")
    given = layer.block("operand_precision")
    bits = {
        operand: value
        for key, operand in (
            ("I", "activation"),
            ("W", "weight"),
            ("O", "partial"),
            ("O_final", "output"),
        )
        if (value := given.count(key)) is not None
    }
    names = {str(dim).upper(): size for dim, size in zip(dims, sizes, strict=True)}
    return workload_of(name, operands, names, _TENSORS, bits, layer)


def unrolled_of(entry: Block | None, hardware: Block, work: Workload | None) -> Unrolled:
    """What lies along the array's dimensions. Raises ForeignFileError."""
    allowed: dict[str, tuple[str, ...]] = {}
    factors: dict[str, tuple[tuple[str, int], ...]] = {}
    given = hardware.block("dataflows")
    hints = Block(hardware.place)
    if entry is not None:
        given = entry.block("spatial_mapping") if entry.get("spatial_mapping") else given
        hints = entry.block("spatial_mapping_hint")
    for dim in given.data:
        pairs = []
        for text in given.get(dim):
            match = _UNROLLING.fullmatch(str(text))
            if not match or int(match[2]) < 1:
                raise given.error(f"'{text}' is not an unrolling such as K, 32", dim)
            pairs.append((match[1].upper(), int(match[2])))
        factors[dim] = tuple(pairs)
        allowed[dim] = _ranks([name for name, _ in pairs], work)
    for dim in hints.data:
        words = [str(word).upper() for word in hints.get(dim)]
        allowed.setdefault(dim, _ranks(words, work))
    return Unrolled(allowed, factors)


def _ranks(dims: list[str], work: Workload | None) -> tuple[str, ...]:
    """Our names; with no layer given, those of a matrix multiplication."""
    known = work.names if work else ROLES
    return tuple(dict.fromkeys(known[dim] for dim in dims if dim in known))


Spread = tuple[str, int, str]  # a rank, how often it is unrolled, the memory that is spread


def mapping_nest(
    entry: Block, work: Workload, machine: Machine, unrolled: Unrolled, result: Imported
) -> list[Any]:
    """The nest of one layer: loops in time as ordered, shared out among the memories."""
    left = dict(work.ranks)
    spread = spread_of(unrolled, work, machine, left)
    loops: list[tuple[str, int]] = []
    for item in entry.get("temporal_ordering"):
        if not isinstance(item, list) or len(item) != 2:
            raise entry.error("a loop is written [K, 4] or [K, '*']", "temporal_ordering")
        dim, size = str(item[0]).upper(), item[1]
        rank = work.names.get(dim, "")
        if rank not in left:
            result.notes.drop(entry.at("temporal_ordering"), f"loop over {dim}", "not in the layer")
            continue
        given = left[rank] if size == "*" else entry.whole(size, "temporal_ordering")
        trips = min(given, left[rank])
        left[rank] = -(-left[rank] // trips)
        loops.append((rank, trips))
    loops += [(rank, size) for rank, size in left.items() if size > 1]
    where = "filled from the innermost memory, evenly where operands share one"
    result.notes.assume(entry.at("temporal_ordering"), "which memory holds which loops", where)
    return shared_out(loops, spread, work, machine, _held(loops, spread, work, machine))


def _needed(loops: Sequence[tuple[str, int]], held: int, relevant: frozenset[str]) -> int:
    """Of the loops that a memory holds of an operand, those that its tile depends on."""
    while held and loops[held - 1][0] not in relevant:
        held -= 1
    return held


def spread_of(
    unrolled: Unrolled, work: Workload, machine: Machine, left: dict[str, int]
) -> list[Spread]:
    """Loops in space with the memory that they are spread over (`engine`: positions that share all
    memories). Takes them off what is left of each rank."""
    over = {axis.name: store.name for store in machine.stores for axis in store.fan_out.axes}
    found = []
    for dim, pairs in unrolled.factors.items():
        for theirs, size in pairs:
            rank = work.names.get(theirs, "")
            if rank in left and left[rank] > 1:
                size = min(size, left[rank])
                left[rank] = -(-left[rank] // size)
                found.append((rank, size, over.get(dim, ENGINE)))
    return found


def _held(
    loops: Sequence[tuple[str, int]], spread: Sequence[Spread], work: Workload, machine: Machine
) -> dict[tuple[str, str], int]:
    """How many of the loops, from the innermost, each memory holds of each operand."""
    found: dict[tuple[str, str], int] = {}
    order = [*(store.name for store in machine.stores), ENGINE]
    for operand in work.dims:
        relevant, held = work.relevant(operand), 0
        bits = work.bits.get("partial" if operand == "output" else operand, 8)
        for store in reversed(machine.stores[1:]):
            if operand not in store.keeps:
                continue
            room = (store.capacity_bits or inf) / len(store.keeps) / bits
            inside = set(order[order.index(store.name) + 1 :])
            served = prod(n for rank, n, over in spread if over in inside and rank in relevant)
            while held < len(loops):
                held_then = prod(n for rank, n in loops[: held + 1] if rank in relevant)
                if served * held_then > room:
                    break
                held += 1
            found[store.name, operand] = held
    return found


def shared_out(
    loops: Sequence[tuple[str, int]],
    spread: Sequence[Spread],
    work: Workload,
    machine: Machine,
    held: Mapping[tuple[str, str], int],
) -> list[Any]:
    """The nest, outermost first, of loops in time (innermost first) and in space, where a memory
    holds so many loops of an operand. A memory is spread as far in as what it takes can go."""
    at: list[list[Take | Spread]] = [[] for _ in range(len(loops) + 1)]
    at[0] += [s for s in spread if s[2] == ENGINE]
    inside = 0
    for store in reversed(machine.stores[1:]):
        mine = {operand: n for (name, operand), n in held.items() if name == store.name}
        for operand, count in mine.items():
            at[count].append(Take(store.name, operand))
        needed = [_needed(loops, n, work.relevant(operand)) for operand, n in mine.items()]
        inside = max([inside, *needed])
        at[inside] += [s for s in spread if s[2] == store.name]
    size = dict.fromkeys(work.ranks, 1)
    outward: list[Loop | Take] = []
    for i, items in enumerate(at):
        for item in items:
            outward.append(
                item if isinstance(item, Take) else Loop(item[0], size[item[0]], item[2])
            )
            if not isinstance(item, Take):
                size[item[0]] *= item[1]
        if i < len(loops):
            rank, trips = loops[i]
            outward.append(Loop(rank, size[rank]))
            size[rank] *= trips
    return outward[::-1]
