"""Where stored tensors live, what each layer asks for of those that are away, and what fits.

    resident = sum over tensors of copies * bytes * (1 - share (1 - held)) + buffers
    buffers  = the most that a layer fetches, twice if ahead (in use, and on its way), else once,
               but of no tensor more than there is of it elsewhere
    backing  = sum over tensors of copies * bytes * share: what is held or buffered is a copy

A tensor that several ops of a layer read is fetched once, and a cache that neighboring layers share
once for all of them. Layers that ask for different tensors are
nested: those with the smaller share also ask for the tensors with the larger one.
Not modeled: activations and workspaces, which take room too; fragmentation.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from accel_models.design import Design
from accel_models.explain import nearest
from accel_models.library import list_designs
from accel_models.read_design import read_design
from accel_models.reader import DesignError
from workloads.away import Away, read_of, written_by
from workloads.graph import Graph, Node, Tensor


@dataclass(frozen=True, slots=True)
class Asked:
    """What a layer reads of a tensor, and writes to it, on average over the layers; `most`: bytes
    that one of them reads; `chunk`: bytes that lie together, 0 for all that the layer reads."""

    tensor: Tensor
    away: Away
    read: float
    most: float
    written: float
    chunk: float

    @property
    def fetched(self) -> float:
        """Bytes that are brought in."""
        return self.away.ahead(self.read) + self.away.late(self.read)


@dataclass(frozen=True, slots=True)
class Layers:
    """Nodes of one kind of layers, how many of these there are, and what they ask for."""

    name: str
    nodes: tuple[Node, ...]
    asked: tuple[Asked, ...]

    @property
    def count(self) -> float:
        return max(node.count for node in self.nodes)

    def nested(self) -> Iterator[tuple[float, tuple[Asked, ...]]]:
        """(how many layers, what each of them asks for), by share."""
        shares = sorted({asked.away.share for asked in self.asked}, reverse=True)
        for share, less in zip(shares, [*shares[1:], 0.0], strict=True):
            yield (
                (share - less) * self.count,
                tuple(asked for asked in self.asked if asked.away.share >= share),
            )


@dataclass(frozen=True, slots=True)
class Residence:
    """Bytes that the outermost memory must hold, and each backing memory, with what it has."""

    resident_bytes: float
    capacity: float
    backing: dict[str, tuple[float, float]]

    @property
    def fits(self) -> bool:
        kept = all(need <= have for need, have in self.backing.values())
        return self.resident_bytes <= self.capacity and kept


def layers(graph: Graph) -> list[Layers]:
    """The kinds of layers that ask for something, and the ops outside of layers if they do."""
    kinds: dict[tuple[str, bool], list[Node]] = {}
    for node in graph:
        kinds.setdefault((node.layer, bool(node.layered)), []).append(node)
    found = []
    copies = graph.stored_copies()
    for (name, _), nodes in kinds.items():
        asked = _asked(graph, nodes, copies)
        if asked:
            found.append(Layers(name, tuple(nodes), tuple(asked)))
    return found


def _asked(graph: Graph, nodes: Sequence[Node], copies: Mapping[str, float]) -> Iterable[Asked]:
    """A tensor that several ops of a layer read is fetched once: as much as any of them reads."""
    count = max(node.count for node in nodes)
    found: dict[str, Asked] = {}
    for node in nodes:
        op, share = node.op, node.count / count
        for name in dict.fromkeys((*op.inputs, op.output)):
            tensor = graph.tensors[name]
            if tensor.away is None:
                continue
            read, chunk = read_of(op, tensor) if name in op.inputs else (0.0, 0.0)
            moved = sum(graph.tensors[t].elements for t in op.inputs)
            written = written_by(op, tensor, moved) if name == op.output else 0.0
            most, written = read, share * written
            read *= share * _fetched(tensor, node, copies)
            before = found.get(name)
            if before:
                most, written = max(most, before.most), written + before.written
                if before.read >= read:  # who reads most says in what chunks
                    read, chunk = before.read, before.chunk
            found[name] = Asked(tensor, tensor.away.of(op.name), read, most, written, chunk)
    bundle = sum(asked.chunk for asked in found.values() if asked.away.bundled)
    return [replace(a, chunk=bundle) if a.away.bundled else a for a in found.values()]


def _fetched(tensor: Tensor, node: Node, copies: Mapping[str, float]) -> float:
    """The share of the node's layers that fetch the tensor: of a cache that neighbors share, one
    of them. (What is stored 0 times is a part of something else that is.)"""
    stored = copies[tensor.name]
    shared = tensor.kind == "kv" and 0 < stored < node.count
    return stored / node.count if shared else 1.0


def backing_of(design: Design, away: Away) -> str:
    """The name of the memory that is meant. Raises DesignError."""
    if not design.backing:
        have = ", ".join(_designs_with_backing()) or "none of those shipped"
        raise DesignError(
            f"{design.name} has no backing memory to keep tensors in; designs that have one: "
            f"{have}; a design gets one by the key 'backing'"
        )
    name = away.memory or next(iter(design.backing))
    if name not in design.backing:
        hint = nearest(name, list(design.backing))
        raise DesignError(f"{design.name} has no backing memory '{name}'; {hint}")
    return name


def _designs_with_backing() -> Iterator[str]:
    for name, path in list_designs().items():
        try:
            design = read_design(str(path))
        except DesignError:  # somebody's own, unfinished
            continue
        if design.backing:
            yield name


def residence(graph: Graph, design: Design) -> Residence:
    """What lies where. Raises DesignError if the design lacks a memory that is meant."""
    memory = next(iter(design.memory.values()))
    copies = graph.stored_copies()
    resident = max((_buffers(kind, copies) for kind in layers(graph)), default=0.0)
    needs = dict.fromkeys(design.backing, 0.0)
    for name, count in copies.items():
        tensor = graph.tensors[name]
        whole = count * tensor.bytes
        if tensor.away is not None:
            out = whole * tensor.away.share
            needs[backing_of(design, tensor.away)] += out
            whole -= out * (1 - tensor.away.held)
        resident += whole
    backing = {name: (need, design.backing[name].capacity) for name, need in needs.items()}
    return Residence(resident, memory.capacity * memory.instances, backing)


def _buffers(kind: Layers, copies: Mapping[str, float]) -> float:
    """Bytes for what a layer of this kind fetches: in use, and what is fetched ahead on its way."""
    total = 0.0
    for asked in kind.asked:
        away, tensor = asked.away, asked.tensor
        ahead, late = away.ahead(asked.most), away.late(asked.most)
        elsewhere = (copies[tensor.name] or kind.count) * away.share * tensor.bytes
        total += min(ahead + max(ahead, late), elsewhere * (1 - away.held))
    return total
