"""An MLP whose neurons are divided: hot ones on a dense engine, clusters of cold ones on CPU cores.

    dense engine | hot neurons, all of them                                       |
    CPU cores    | predict | first 1 | first 2 | rest 1 | first 3 | rest 2 | rest 3 |
    flash                  | read 2  | read 3  | read 2, rest | read 3, rest |

Of a layer's cold neurons a step computes those that a predictor says are active, cluster by
cluster: the first matrix (whose output says which neurons are), then the others. Clusters that are
not in memory read their neurons from flash, in two reads each, one for either part, and go first on
the CPU; those in memory fill its time. Every cluster goes on by itself; or with barriers at
matrices: none begins the others before all are through the first one. All take turns at the
outermost memory, which what is read passes through too.

Where reads of R seconds in all for n clusters are the bound, F and S seconds of a cluster's first
and other matrices, clusters by themselves take R + S; barriers F + R + S, the flash waiting for the
first matrix of the last cluster.
Source: PowerInfer-2, arXiv 2406.06282 (neuron clusters on NPU and CPU, cluster-level pipelines, two
reads of half a bundle).
Not modeled: which neurons are hot or active, and that this changes; threads of the CPU one by one;
what reads evict.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from sim.event.program import Actor, Channel, Program, Resource, Run, Use
from sim.event.tasks import NANOSECONDS

PIECES = 16  # of the hot neurons: how finely engines share the outermost memory


@dataclass(frozen=True, slots=True)
class Load:
    """Seconds of an engine or of flash, and of the outermost memory in these."""

    seconds: float = 0.0
    memory: float = 0.0


@dataclass(frozen=True, slots=True)
class ClusterLayer:
    """A layer: ops before and after the MLP, as (engine, seconds); the hot neurons; of all cold
    clusters their prediction, first matrix and rest; of those `away` both reads."""

    before: Sequence[tuple[str, float]]
    after: Sequence[tuple[str, float]]
    hot: Load
    predict: Load
    first: Load
    rest: Load
    read: Load
    clusters: int
    away: int


@dataclass(frozen=True, slots=True)
class Engines:
    """Names of resources, and a read's latency."""

    dense: str
    sparse: str
    memory: str
    flash: str
    latency_s: float


def neuron_clusters_program(layer: ClusterLayer, engines: Engines, matrix: bool) -> Program:
    """The layer, once. `matrix`: barriers between matrices."""
    made = _Clusters(layer, engines, matrix)
    actors = tuple(made.actors())
    used = dict.fromkeys(use.resource for a in actors for run in a.cycle for use in run.uses)
    resources = tuple(Resource(name, NANOSECONDS) for name in used)
    return Program(actors, tuple(made.channels()), resources)


@dataclass(frozen=True)
class _Clusters:
    """A layer on its way to a program."""

    layer: ClusterLayer
    engines: Engines
    matrix: bool

    @property
    def kinds(self) -> list[tuple[str, int]]:
        """Clusters away and in memory, those of which there are some."""
        layer = self.layer
        found = (("away", layer.away), ("near", layer.clusters - layer.away))
        return [(name, count) for name, count in found if count]

    def actor(self, name: str, load: Load, engine: str, of: tuple[int, int]) -> Actor:
        """`of`: so many firings of so many that the load is of."""
        times, whole = of
        uses = tuple(
            Use(resource, round(seconds * NANOSECONDS / whole))
            for resource, seconds in ((engine, load.seconds), (self.engines.memory, load.memory))
            if seconds
        )
        waits = self.engines.latency_s if engine == self.engines.flash else 0.0
        priority = 1 if name.endswith("near") else 0
        return Actor(name, (Run(times, uses, round(waits * NANOSECONDS)),), priority=priority)

    def actors(self) -> Iterator[Actor]:
        """Of the layer, in the order of the data."""
        layer, engines = self.layer, self.engines
        for name, ops in (("before", layer.before), ("after", layer.after)):
            for number, (engine, seconds) in enumerate(ops):
                use = Use(engine, round(seconds * NANOSECONDS))
                yield Actor(f"{name} {number}", (Run(1, (use,)),))
        yield Actor("MLP", (Run(1),))
        yield self.actor("hot", layer.hot, engines.dense, (PIECES, PIECES))
        for kind, count in self.kinds:
            of = (count, layer.clusters)
            yield self.actor(f"predict {kind}", layer.predict, engines.sparse, of)
            yield self.actor(f"first {kind}", layer.first, engines.sparse, of)
            yield self.actor(f"rest {kind}", layer.rest, engines.sparse, of)
        if layer.away:
            half = Load(layer.read.seconds / 2, layer.read.memory / 2)
            for name in ("read", "read rest"):
                yield self.actor(name, half, engines.flash, (layer.away, layer.away))
        if self.matrix:
            yield from (Actor(f"all {name}", (Run(1),)) for name in ("predicted", "first"))
        yield Actor("sum", (Run(1),))

    def channels(self) -> Iterator[Channel]:
        """What waits for what; with barriers, for all clusters of a matrix."""
        layer = self.layer
        chain = [f"before {n}" for n in range(len(layer.before))] + ["MLP"]
        yield from (Channel(a, b) for a, b in pairwise(chain))
        ends = ["sum", *(f"after {n}" for n in range(len(layer.after)))]
        yield from (Channel(a, b) for a, b in pairwise(ends))
        yield Channel("MLP", "hot", produce=PIECES)
        yield Channel("hot", "sum", consume=PIECES)
        for kind, count in self.kinds:
            away = kind == "away"
            first, rest = ("read", "read rest") if away else ("first near", "rest near")
            yield Channel("MLP", f"predict {kind}", produce=count)
            yield from self._on(f"predict {kind}", first, "all predicted", count)
            yield from self._on(f"first {kind}", rest, "all first", count)
            if away:
                yield Channel("read", "first away")
                yield Channel("read rest", "rest away")
            yield Channel(f"rest {kind}", "sum", consume=count)

    def _on(self, source: str, target: str, barrier: str, count: int) -> Iterator[Channel]:
        """From one stage to the next, past the barrier if there is one."""
        if not self.matrix:
            yield Channel(source, target)
            return
        yield Channel(source, barrier, consume=count)
        yield Channel(barrier, target, produce=count)
