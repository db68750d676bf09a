"""A model over the stages of a pipeline, speculating with a draft model on a machine of its own.

Layers are dealt out evenly; a stage's seconds for a run of some tokens are those of its layers by
events, the draft's those of its whole model, for one token. What is handed on is the stream of a
run's tokens: bytes / bandwidth and the link's latency, of which nothing is in another's way. Which
drafted tokens are right is drawn once, each with the same probability, from a seed: it cannot
follow from a graph. All tokens see the given context.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from random import Random
from typing import Any

from accel_models.explain import nearest
from accel_models.links import Dim
from accel_models.system import System
from kernels_ref.errors import UserError
from mappers.plan import Placed
from sim.event.cooperation import Cooperation, Done, Stretch
from sim.event.critical import WAITING
from sim.event.cuts import kinds_of_layers, outside, part
from sim.event.policies import Setting
from sim.event.policies.speculative_runs import (
    DRAFT,
    WAYS,
    Pipeline,
    Speculation,
    speculation_program,
)
from sim.event.sides import Chip, Sent, Side
from sim.event.tasks import NANOSECONDS
from workloads.builders import build
from workloads.config import read_config
from workloads.graph import Graph
from workloads.phase import decode
from workloads.transforms.rows import with_tokens


def async_speculation(
    setting: Setting,
    draft: str,
    k: int = 4,
    accept: float = 0.8,
    tokens: int = 64,
    way: str = "async",
    seed: int = 0,
) -> Cooperation:
    """Runs of drafted tokens follow the last known one into a pipeline of stages without waiting
    for it; those behind a wrong token are given up as soon as that is known. One sequence.

    Arguments: draft, a model; k tokens a run; accept, the probability of each to be right; tokens
    of the text; way: async, uncancelled (runs that are given up go on), sync (draft, then verify),
    none (a token at a time); seed of which tokens are right.

    Source: PipeInfer, arXiv 2407.11798.
    """
    if way not in WAYS:
        raise UserError(f"async_speculation: no way '{way}'; {nearest(way, list(WAYS))}")
    if k < 1 or tokens < 1 or not 0 <= accept <= 1:
        raise UserError(
            "async_speculation: k and tokens are at least 1, accept is a share from 0 to 1"
        )
    graph = setting.graph
    if graph.phase != "decode" or graph.batch != 1:
        raise UserError(
            f"async_speculation: phase {graph.phase}, batch {graph.batch}; it speculates on one "
            "sequence's decode step: --phase decode --batch 1"
        )
    stages = _stages(setting)
    drafted = build(read_config(draft), decode(1, graph.context))
    drawn = Random(seed)
    right = [drawn.random() < accept for _ in range(tokens)]
    return _Cluster(setting, stages, drafted, k).cooperation(right, way)


@dataclass(frozen=True)
class Stages:
    """Chips of the stages, that of the draft, and what joins them."""

    machine: str
    count: int
    draft: tuple[str, int]
    link: Dim


def _stages(setting: Setting) -> Stages:
    """All chips of the first machine; the draft on the second one's, or on the last of them. Raises
    UserError."""
    system = setting.machine
    assert isinstance(system, System)  # sim/event/policies says so
    first, *others = system.machines
    count = system.machines[first].count
    if others:
        between = system.across(first, others[0])
        draft, link = (others[0], system.first_chip(others[0])), between
    else:
        count -= 1
        draft, link = (first, count), (system.dims(first) or (None,))[-1]
    if count < 1 or link is None:
        raise UserError(
            f"async_speculation: {system.name} has one chip; a draft needs one beside the stages' "
            "(such as xeon_8480_8)"
        )
    return Stages(first, count, draft, link)


@dataclass(frozen=True)
class _Cluster:
    """A model's stages on the chips, and its draft."""

    setting: Setting
    stages: Stages
    draft: Graph
    k: int

    @property
    def system(self) -> System:
        assert isinstance(self.setting.machine, System)
        return self.setting.machine

    def side(self, name: str, machine: str) -> Side:
        memo: dict[Any, Any] = self.setting.memo.setdefault(machine, {})
        design = self.system.design(machine)
        return Side(name, design, self.setting.objective, None, machine, name, memo)

    def graph(self, kind: str) -> Graph:
        """Of a run: one token, k drafted ones, or those and the last one."""
        tokens = {"one": 1, "drafted": self.k, "verified": self.k + 1}[kind]
        return self.setting.graph if tokens == 1 else with_tokens(self.setting.graph, tokens)

    def dealt(self) -> list[range]:
        """Numbers of each stage's layers."""
        whole = sum(round(max(n.count for n in nodes)) for nodes in self._kinds("one"))
        count = self.stages.count
        if count > whole:
            raise UserError(f"async_speculation: {count} stages, but {whole} layers")
        bounds = [stage * whole // count for stage in range(count + 1)]
        return [range(a, b) for a, b in pairwise(bounds)]

    def _kinds(self, kind: str) -> Sequence[Sequence[Any]]:
        return kinds_of_layers(self.graph(kind))

    def parts(self, kind: str) -> list[list[tuple[Placed, int]]]:
        """Of each stage what it runs for such a run, and how often."""
        graph, side = self.graph(kind), self.side("stage 0", self.stages.machine)
        before, after = (side.placed(cut) for cut in outside(graph))
        found: list[list[tuple[Placed, int]]] = [[] for _ in self.dealt()]
        found[0] += [(placed, 1) for placed in before]
        first = 0
        for nodes in self._kinds(kind):
            count = round(max(node.count for node in nodes))
            placed = side.placed(part(graph, {node.op.name for node in nodes}))
            for stage, numbers in enumerate(self.dealt()):
                mine = len(set(numbers) & set(range(first, first + count)))
                found[stage] += [(each, mine) for each in placed if mine]
            first += count
        found[-1] += [(placed, 1) for placed in after]
        return found

    def ticks(self, parts: Sequence[tuple[Placed, int]], side: Side) -> int:
        return round(sum(n * side.seconds([placed]) for placed, n in parts) * NANOSECONDS)

    def drafting(self) -> list[tuple[Placed, int]]:
        """A drafted token."""
        placed = self.side(DRAFT, self.stages.draft[0]).placed(self.draft)
        return [(each, round(each.count)) for each in placed]

    def stream(self, kind: str) -> int:
        """Bytes that a stage hands on."""
        graph = self.graph(kind)
        last = [node for node in graph if node.layered][-1]
        return graph.tensors[last.op.output].bytes

    def cooperation(self, right: Sequence[bool], way: str) -> Cooperation:
        """The whole text."""
        kinds = ("one", "drafted", "verified")
        parts = {kind: self.parts(kind) for kind in kinds}
        side = self.side("stage 0", self.stages.machine)
        ticks = {
            kind: tuple(self.ticks(part, side) for part in stages) for kind, stages in parts.items()
        }
        link = self.stages.link
        hop = link.latency_s + self.stream("drafted") / link.wire_bytes_per_s
        drafting = self.drafting()
        token = self.ticks(drafting, self.side(DRAFT, self.stages.draft[0]))
        layers = tuple(len(numbers) for numbers in self.dealt())
        count = self.stages.count
        pipeline = Pipeline(
            ticks["one"], ticks["drafted"], ticks["verified"], layers, token,
            round(hop * NANOSECONDS), self.k, count + 2,
        )  # fmt: skip
        made = Speculation(pipeline, right, way).make()
        graph = self.setting.graph
        return Cooperation(
            replace(graph, tokens=1),
            self.system,
            self.setting.objective,
            (Stretch(f"{len(right)} tokens, {way}", 1, speculation_program(made)),),
            _done(self, made, parts, drafting),
            _sent(self, made, hop),
            _chips(self),
            {WAITING: (("links", link.link, "latency"), ("links", link.link, "bandwidth"))},
            produced=float(len(right)),
        )


def _done(
    cluster: _Cluster,
    made: Speculation,
    parts: Mapping[str, Sequence[Sequence[tuple[Placed, int]]]],
    drafting: Sequence[tuple[Placed, int]],
) -> list[Done]:
    """Ops of all runs, those that are given up as far as they went."""
    found = []
    full = {
        "one": made.pipeline.one,
        "drafted": made.pipeline.drafted,
        "verified": made.pipeline.verified,
    }
    for kind, stages in parts.items():
        for stage, ops in enumerate(stages):
            mine = [run for run in made.runs if run.kind == kind and len(run.ticks) > stage]
            times = sum(run.ticks[stage] for run in mine) / full[kind][stage]
            side = cluster.side(f"stage {stage}", cluster.stages.machine)
            found += [Done(side, placed, n * times) for placed, n in ops if times]
    times = sum(run.drafted for run in made.runs) / made.pipeline.token
    side = cluster.side(DRAFT, cluster.stages.draft[0])
    return found + [Done(side, placed, n * times) for placed, n in drafting if times]


def _sent(cluster: _Cluster, made: Speculation, hop: float) -> list[Sent]:
    """What stages hand on, by kind of run."""
    link = cluster.stages.link
    found = []
    for kind in ("one", "drafted", "verified"):
        times = sum(len(run.ticks) for run in made.runs if run.kind == kind)
        if times:
            energy = ("links", link.link, "energy")
            size = cluster.stream(kind)
            found.append(
                Sent(f"stream of {kind}", link.link, size, hop, times, link.j_per_byte, energy)
            )
    return found


def _chips(cluster: _Cluster) -> list[Chip]:
    """Weights and caches by layers; the draft's on its chip."""
    graph, count = cluster.setting.graph, cluster.stages.count
    machine, first = cluster.stages.machine, cluster.system.first_chip(cluster.stages.machine)
    weights, cache = graph.weight_bytes / count, graph.kv_bytes / count
    chips = [Chip(f"stage {n}", machine, first + n, weights, cache) for n in range(count)]
    name, number = cluster.stages.draft
    return [*chips, Chip(DRAFT, name, number, cluster.draft.weight_bytes, cluster.draft.kv_bytes)]
