"""What the ranks of a split graph run: the same graph each, stage after stage.

Transforms say how a graph is split (`Graph.splits`) and leave it whole, so that the order in which
they and others are applied does not matter. `shard` applies the splits in one order:

    sequences of the batch, tokens of a sequence, matrices and heads, the stream,
    what is gathered, layers

Every axis turns a graph into that of a rank along it, with the collectives in between; `ranks` of a
stage are the product of the axes. All ranks do what the one with the most work does: sizes that do
not divide are rounded up.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import prod

from workloads.graph import Graph, Split
from workloads.sharding.batch import split_batch
from workloads.sharding.columns import split_matrices
from workloads.sharding.experts import split_experts
from workloads.sharding.gathered import gather_weights
from workloads.sharding.sequence import split_sequence
from workloads.sharding.stages import stages

STAGE = "stage"
BATCHED = ("data", "expert", "weights")  # axes along which sequences are dealt out

# In the order in which they are applied.
AXES: dict[str, Callable[[Graph, Split], Graph]] = {
    "data": split_batch,
    "expert": split_experts,
    "sequence": split_sequence,
    "tensor": split_matrices,
    "stream": split_matrices,
    "weights": gather_weights,
}


@dataclass(frozen=True)
class Sharded:
    """Stages in the order of the data, and how many ranks of each lie along every axis."""

    stages: tuple[Graph, ...]
    axes: Mapping[str, int]

    @property
    def ranks(self) -> int:
        """Of one stage."""
        return prod(self.axes.values())

    @property
    def chips(self) -> int:
        return len(self.stages) * self.ranks


def ways(graph: Graph) -> dict[str, int]:
    """Ranks along every axis that the graph is split over, `stage` among them."""
    return {split.axis: split.ways for split in graph.splits if split.ways > 1}


def shard(graph: Graph) -> Sharded:
    """What every rank of every stage runs. Raises UserError where it cannot be split so."""
    splits = {split.axis: split for split in graph.splits if split.ways > 1}
    local = replace(graph, splits=())
    for axis, apply in AXES.items():
        if axis in splits:
            local = apply(local, splits[axis])
    axes = {axis: split.ways for axis, split in splits.items() if axis != STAGE}
    count = splits[STAGE].ways if STAGE in splits else 1
    return Sharded(stages(local, count), axes)
