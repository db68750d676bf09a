"""A graph whose layers of experts are shared by an accelerator and its host.

The accelerator holds `cached` of a layer's experts and everything else; the host has all experts.
Of the experts that a step gives rows to (the graph's routing), the accelerator has those with the
most rows (`which=popular`: it keeps the popular ones), or an even sample of them (`any`; where that
is no whole number, one more in some layers than in others). Their multiplications are one grouped
kernel. A missed expert's are mapped alone, on both machines, for as many rows as it has; its load
is its matrices' bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from accel_models.explain import nearest
from kernels_ref.errors import UserError
from mappers.plan import Placed
from sim.event.cooperation import Cooperation, Done, Stretch
from sim.event.cuts import ancestors, kinds_of_layers, outside, part
from sim.event.expert_layers import Dense, ExpertRoom, WithExperts, dealt, kind_of
from sim.event.policies import Setting
from sim.event.policies.host_experts import (
    LOADS,
    Expert,
    ExpertLayer,
    Split,
    host_experts_program,
    split,
)
from sim.event.sides import Sent, Sides, sides_of
from sim.event.tasks import Task, tasks_program
from workloads.graph import Graph

WHICH = ("any", "popular")


def host_experts(
    setting: Setting, cached: float | None = None, load: str = "greedy", which: str = "any"
) -> Cooperation:
    """An accelerator holds some experts of each layer; of the others, those with the most rows are
    loaded over the link, and the host computes the rest, whichever ends first.

    Arguments: cached, a share of each layer's experts (up to 1) or how many of them, as many as fit
    where it is not given; load: greedy, all (none on the host), none (none loaded); which of those
    that get rows are held: an even sample (any), or those with the most rows (popular).

    Source: HybriMoE, arXiv 2504.05897; kTransformers (load=none).
    """
    for word, known, what in ((load, LOADS, "load"), (which, WHICH, "which")):
        if word not in known:
            raise UserError(f"host_experts: no {what} '{word}'; {nearest(word, list(known))}")
    sides, graph = sides_of(setting), setting.graph
    kinds = [kind_of(graph, nodes) for nodes in kinds_of_layers(graph)]
    with_experts = [kind for kind in kinds if isinstance(kind, WithExperts)]
    if not with_experts:
        raise UserError(f"host_experts: {graph.name} has no layers of experts")
    room = ExpertRoom(graph, sides.accelerator, with_experts, cached)
    return _Shared(graph, sides, kinds, load, which, room).cooperation()


@dataclass(frozen=True)
class _Layer:
    """A kind of layers with experts, on both machines."""

    kind: WithExperts
    count: int
    held: tuple[int, ...]  # rows of those that the accelerator has
    layer: ExpertLayer
    chosen: Split
    parts: Mapping[str, tuple[Placed, ...]]  # on the accelerator, once a layer
    missed: tuple[int, ...]  # rows
    on: Mapping[tuple[str, int], tuple[Placed, ...]]  # an expert with so many rows, by machine


@dataclass(frozen=True)
class _Shared:
    """The whole graph, and how it is to be shared."""

    graph: Graph
    sides: Sides
    kinds: Sequence[Dense]
    load: str
    which: str
    room: ExpertRoom

    def cooperation(self) -> Cooperation:
        """Every kind of layers, and what is outside of them."""
        gpu, graph = self.sides.accelerator, self.graph
        before, after = (gpu.placed(cut) for cut in outside(graph))
        stretches = [self._alone("outside of layers", 1, (*before, *after))]
        done = [Done(gpu, placed, placed.count) for placed in (*before, *after)]
        sent: list[Sent] = []
        for kind in self.kinds:
            if not isinstance(kind, WithExperts):
                placed = gpu.placed(part(graph, kind.names))
                stretches.append(self._alone("layer without experts", kind.count, placed))
                done += [Done(gpu, each, each.count) for each in placed]
                continue
            for number, times in self._held(kind):
                layer = self._layer(kind, number, times)
                program = host_experts_program(layer.layer, self.sides.pair, layer.chosen)
                stretches.append(Stretch(_label(layer), times, program))
                done += self._done(layer)
                sent += self._sent(layer, f".{len(sent)}" if sent else "")
        held, host = self.room.held_bytes()
        chips = self.sides.chips((held, float(graph.kv_bytes)), (host, 0.0))
        sides, objective = self.sides, gpu.objective
        return Cooperation(
            graph, sides.system, objective, stretches, done, sent, chips, sides.rests_on()
        )

    def _alone(self, name: str, count: float, placed: Iterable[Placed]) -> Stretch:
        gpu = self.sides.accelerator
        return Stretch(name, count, tasks_program([Task(name, {gpu.name: gpu.seconds(placed)})]))

    def _held(self, kind: WithExperts) -> list[tuple[int, int]]:
        """(experts with rows that the accelerator has, in so many layers): where that is not whole
        on average, the number below in some and the one above in others."""
        active, room = len(kind.rows), self.room.held(kind)
        if self.which == "popular":
            return [(min(room, active), kind.count)]
        whole, more = divmod(room * active, self.room.experts(kind))
        above = round(kind.count * more / self.room.experts(kind))
        found = [(whole, kind.count - above), (whole + 1, above)]
        return [(held, count) for held, count in found if count]

    def _layer(self, kind: WithExperts, number: int, count: int) -> _Layer:
        """So many of them hold so many of the experts with rows."""
        graph, gpu = self.graph, self.sides.accelerator
        chain = {node.op.name for node in kind.chain}
        first = ancestors(kind.nodes, chain)
        after = {n for n in kind.names - chain if ancestors(kind.nodes, {n}) & chain}
        held, missed = self._dealt_out(kind, number)
        parts = {
            "before": gpu.placed(part(graph, first)),
            "shared": gpu.placed(part(graph, kind.names - chain - first - after)),
            "held": gpu.placed(dealt(graph, kind, held)) if held else (),
            "after": gpu.placed(part(graph, after)),
        }
        seconds = {name: gpu.seconds(placed) for name, placed in parts.items()}
        host = self.sides.host
        on = {
            (side.name, rows): side.placed(dealt(graph, kind, [rows]))
            for rows in dict.fromkeys(missed)
            for side in (gpu, host)
        }
        layer = ExpertLayer(
            seconds["before"],
            seconds["shared"] + seconds["held"],
            seconds["after"],
            tuple(self._expert(kind, rows, on) for rows in missed),
            host.memory_bytes_per_s,
        )
        chosen = split(layer, self.sides.pair, self.load)
        return _Layer(kind, count, tuple(held), layer, chosen, parts, tuple(missed), on)

    def _expert(
        self, kind: WithExperts, rows: int, on: Mapping[tuple[str, int], tuple[Placed, ...]]
    ) -> Expert:
        gpu, host, tensors = self.sides.accelerator, self.sides.host, self.graph.tensors
        there = on[host.name, rows]
        memory = next(iter(host.design.memory))
        share = rows / kind.first.rows
        return Expert(
            gpu.seconds(on[gpu.name, rows]),
            host.seconds(there),
            sum(float(placed.cost.work.busy.get(memory, 0.0)) for placed in there),
            self.room.expert_bytes(kind),
            tensors[kind.first.inputs[0]].bytes * share,
            tensors[kind.last.output].bytes * share,
        )

    def _dealt_out(self, kind: WithExperts, held: int) -> tuple[list[int], list[int]]:
        """Rows of the experts that are held, and of those that are missed, most first."""
        rows = kind.rows
        if self.which == "popular":
            return rows[:held], rows[held:]
        here = [(i + 1) * held // len(rows) > i * held // len(rows) for i in range(len(rows))]
        return (
            [n for n, there in zip(rows, here, strict=True) if there],
            [n for n, there in zip(rows, here, strict=True) if not there],
        )

    def _done(self, layer: _Layer) -> list[Done]:
        gpu, host, count = self.sides.accelerator, self.sides.host, layer.count
        found = [Done(gpu, each, count) for placed in layer.parts.values() for each in placed]
        for side, numbers in ((gpu, layer.chosen.loaded), (host, layer.chosen.hosted)):
            found += [
                Done(side, each, count)
                for number in numbers
                for each in layer.on[side.name, layer.missed[number]]
            ]
        return found

    def _sent(self, layer: _Layer, label: str) -> list[Sent]:
        """Experts, rows and sums."""
        count, chosen, missed = layer.count, layer.chosen, layer.layer.missed
        found = []
        if chosen.loaded:
            each = missed[chosen.loaded[0]].bytes
            times = count * len(chosen.loaded)
            found.append(self.sides.sent(f"experts loaded{label}", each, times))
        if chosen.hosted:
            experts = [missed[number] for number in chosen.hosted]
            up, down = sum(e.up for e in experts), sum(e.down for e in experts)
            found.append(self.sides.sent(f"rows to host{label}", up, count))
            found.append(self.sides.sent(f"sums back{label}", down, count))
        return found


def _label(layer: _Layer) -> str:
    loaded, hosted = len(layer.chosen.loaded), len(layer.chosen.hosted)
    return f"layer, experts: {len(layer.held)} held, {loaded} loaded, {hosted} on the host"
