"""A graph's step on an accelerator and its host, which has the caches of some layers.

What is placed where: attention that reads a cache, and the ops that add to it, are the host's; of a
layer, what these need comes before them, everything else after. Parts are mapped apart, so that no
kernel of the accelerator spans the gap. Which layers: the last ones, or spread evenly among the
others; by default as many as do not fit beside the weights:

    weights + batches * caches of the layers left (+ buffers for two fetched ones) <= memory
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from accel_models.explain import nearest
from kernels_ref.errors import UserError
from mappers.plan import Placed
from sim.event.cooperation import Cooperation, Done, Stretch
from sim.event.cuts import ancestors, crossing, kinds_of_layers, outside, part
from sim.event.policies import Setting
from sim.event.policies.host_attention import BUFFERS, Layer, Rotation, host_attention_program
from sim.event.sides import Sent, Sides, sides_of
from workloads.graph import Graph, Node
from workloads.phase import STEPS

BY = ("host", "fetch")
WHERE = ("last", "spread")


def host_attention(
    setting: Setting,
    layers: int | None = None,
    batches: int = 1,
    by: str = "host",
    where: str = "last",
) -> Cooperation:
    """Caches of some layers live on the host of an accelerator, whose cores attend to them in a
    step; `by=fetch` brings them over the link instead. A prompt's caches are sent there.

    Arguments: layers, as many as do not fit the accelerator; batches of the given size that take
    turns; by: host, fetch; where: the last layers (last), or spread among the others (spread).

    Source: FastAttention, arXiv 2410.16663 (CPU-GPU cooperation); Lamina, arXiv 2405.01814.
    """
    for word, known, what in ((by, BY, "by"), (where, WHERE, "where")):
        if word not in known:
            raise UserError(f"host_attention: no {what} '{word}'; {nearest(word, list(known))}")
    if batches < 1:
        raise UserError(f"host_attention: batches is {batches}; at least 1")
    sides, graph = sides_of(setting), setting.graph
    kinds = [_Kind.of(graph, nodes, sides) for nodes in kinds_of_layers(graph)]
    on_host = by == "host" and graph.phase in STEPS
    whole = _Step(graph, sides, kinds, batches, on_host, where)
    return whole.cooperation(whole.hosted(layers))


@dataclass(frozen=True)
class _Kind:
    """A kind of layers on both machines."""

    nodes: Sequence[Node]
    count: int
    layer: Layer
    hosts: bool  # has a cache
    placed: dict[str, tuple[Placed, ...]]  # by part: whole, before, after, here, away

    @classmethod
    def of(cls, graph: Graph, nodes: Sequence[Node], sides: Sides) -> _Kind:
        """Mapped, and run by events."""
        count = round(max(node.count for node in nodes))
        names = {node.op.name for node in nodes}
        gpu, cpu = sides.accelerator, sides.host
        placed = {"whole": gpu.placed(part(graph, names))}
        cached = cache_ops(graph, nodes)
        if not cached:
            return cls(nodes, count, Layer(gpu.seconds(placed["whole"])), False, placed)
        first = ancestors(nodes, cached)
        _refuse_two(graph, nodes, cached, first)
        placed["before"] = gpu.placed(part(graph, first))
        placed["after"] = gpu.placed(part(graph, names - first - cached))
        placed["here"] = gpu.placed(part(graph, cached))
        placed["away"] = cpu.placed(part(graph, cached))
        up, down = crossing(part(graph, names), cached)
        seconds = {name: gpu.seconds(placed[name]) for name in ("whole", "before", "after", "here")}
        cache, added = _cache_bytes(graph, nodes, cached)
        away = cpu.seconds(placed["away"])
        layer = Layer(**seconds, away=away, up=up, down=down, cache=cache, added=added)
        return cls(nodes, count, layer, True, placed)


def cache_ops(graph: Graph, nodes: Sequence[Node]) -> set[str]:
    """Ops that read or write a cache."""
    return {
        node.op.name
        for node in nodes
        if any(graph.tensors[t].kind == "kv" for t in (*node.op.inputs, node.op.output))
    }


def _refuse_two(graph: Graph, nodes: Sequence[Node], cached: set[str], first: set[str]) -> None:
    """Raises UserError where one op with a cache needs what an earlier one made."""
    between = {
        node.op.name
        for node in nodes
        if node.op.name in first and ancestors(nodes, {node.op.name}) & cached
    }
    if between:
        raise UserError(
            f"host_attention: a layer of {graph.name} has caches one after the other "
            f"({', '.join(sorted(between))} between them); only layers with one attention can be "
            "shared with a host"
        )


def _cache_bytes(graph: Graph, nodes: Sequence[Node], cached: set[str]) -> tuple[int, int]:
    """Of a layer's caches, and of the rows that a step adds to them."""
    whole, added = dict[str, int](), 0
    for node in nodes:
        if node.op.name not in cached:
            continue
        for name in (*node.op.inputs, node.op.output):
            if graph.tensors[name].kind == "kv":
                whole[name] = graph.tensors[name].bytes
        if graph.tensors[node.op.output].kind == "kv":
            added += sum(graph.tensors[name].bytes for name in node.op.inputs)
    return sum(whole.values()), added


@dataclass(frozen=True)
class _Step:
    """The whole graph, and how it is to be shared."""

    graph: Graph
    sides: Sides
    kinds: Sequence[_Kind]
    batches: int
    on_host: bool
    where: str

    @property
    def order(self) -> list[_Kind]:
        """Of every layer its kind."""
        return [kind for kind in self.kinds for _ in range(kind.count)]

    def chosen(self, count: int) -> frozenset[int]:
        """Numbers of the layers whose caches are the host's."""
        able = [number for number, kind in enumerate(self.order) if kind.hosts]
        if self.where == "last":
            return frozenset(able[len(able) - count :])
        every = len(able)
        return frozenset(
            n for i, n in enumerate(able) if (i + 1) * count // every > i * count // every
        )

    def left(self, hosted: frozenset[int]) -> float:
        """Bytes of caches, and of buffers, that the accelerator must hold."""
        order = self.order
        kept = sum(k.layer.cache for n, k in enumerate(order) if n not in hosted)
        buffers = 0
        if not self.on_host and hosted:
            buffers = BUFFERS * max(order[n].layer.cache for n in hosted)
        return float(self.batches * (kept + buffers))

    def hosted(self, layers: int | None) -> frozenset[int]:
        """As many as are asked for, or do not fit. Raises UserError."""
        able = sum(kind.hosts for kind in self.order)
        graph, gpu = self.graph, self.sides.accelerator
        if not able:
            raise UserError(
                f"host_attention: no layer of {graph.name} reads a cache in phase {graph.phase}; "
                "take decode or verify of a model that has one"
            )
        if layers is not None:
            if not 0 <= layers <= able:
                raise UserError(f"host_attention: layers is {layers}; of 0 to {able} with a cache")
            return self.chosen(layers)
        room = gpu.memory_bytes - graph.weight_bytes
        for count in range(able + 1):
            if self.left(self.chosen(count)) <= room:
                break
        else:
            raise UserError(
                f"host_attention: {gpu.design.name} has no room for {graph.name}'s weights of "
                f"{graph.weight_bytes / 2**30:.1f} GiB; quantize them (--formats)"
            )
        if not count:
            raise UserError(
                f"host_attention: all caches fit {gpu.design.name}; say how many layers' are to be "
                "the host's all the same: layers=N"
            )
        return self.chosen(count)

    def cooperation(self, hosted: frozenset[int]) -> Cooperation:
        """The step's program, and what ran where."""
        gpu = self.sides.accelerator
        before, after = (gpu.placed(cut) for cut in outside(self.graph))
        program = host_attention_program(
            [kind.layer for kind in self.order],
            (gpu.seconds(before), gpu.seconds(after)),
            self.sides.pair,
            Rotation(hosted, self.on_host, self.batches),
        )
        away = sum(self.order[n].layer.cache for n in hosted) * self.batches
        return Cooperation(
            self.graph,
            self.sides.system,
            gpu.objective,
            (Stretch(f"step, {len(hosted)} caches on {self.sides.host.name}", 1, program),),
            self._done(hosted, (*before, *after)),
            self._sent(hosted),
            self.sides.chips((self.graph.weight_bytes, self.left(hosted)), (0.0, away)),
            self.sides.rests_on(),
            self.batches,
        )

    def _done(self, hosted: frozenset[int], outside: Sequence[Placed]) -> list[Done]:
        """Ops where they ran, all layers and batches counted."""
        gpu, cpu, n = self.sides.accelerator, self.sides.host, self.batches
        found = [Done(gpu, placed, placed.count * n) for placed in outside]
        for kind, numbers in self._by_kind():
            away = len(hosted & numbers)
            parts = [(gpu, "whole", kind.count - away)]
            if away:
                parts += [(gpu, "before", away), (gpu, "after", away)]
                parts += [(cpu, "away", away) if self.on_host else (gpu, "here", away)]
            found += [
                Done(side, placed, count * n)
                for side, name, count in parts
                for placed in kind.placed[name]
                if count
            ]
        return found

    def _sent(self, hosted: frozenset[int]) -> list[Sent]:
        """Transfers, by kind of layers."""
        found = []
        for number, (kind, numbers) in enumerate(self._by_kind()):
            times = len(hosted & numbers) * self.batches
            label = f".{number}" if number else ""
            layer = kind.layer
            sizes = {"q,k,v to host": layer.up, "outputs back": layer.down}
            if not self.on_host:
                sizes = {"fetch": layer.cache - layer.added, "new rows to host": layer.added}
            if times:
                found += [
                    self.sides.sent(what + label, size, times) for what, size in sizes.items()
                ]
        return found

    def _by_kind(self) -> list[tuple[_Kind, frozenset[int]]]:
        """Each kind with the numbers of its layers."""
        found, first = [], 0
        for kind in self.kinds:
            found.append((kind, frozenset(range(first, first + kind.count))))
            first += kind.count
        return found
