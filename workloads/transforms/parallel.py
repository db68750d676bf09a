"""A graph over several chips, along an axis of parallelism each.

These transforms leave the graph whole and write down how it is to be split; what every rank runs
follows from it when the graph is placed on a system (workloads/sharding), whatever transforms
follow. Accuracy: none of them changes what is computed, but for the order of sums.
"""

from __future__ import annotations

from dataclasses import replace

from kernels_ref.errors import UserError
from workloads.graph import Graph, Split


def tensor_parallel(
    graph: Graph, ways: int, scatter: str = "no", attention: str = "heads"
) -> Graph:
    """Heads and the width of every matrix over so many chips, sums completed after o_proj and
    down_proj. With `scatter` the stream between is in rows; `attention=batch` deals out sequences
    instead of heads.

    Source: Megatron-LM, arXiv 1909.08053, sec. 3; scatter: arXiv 2205.05198, sec. 4.2.2; attention
    by sequences: arXiv 2211.05102, sec. 3.3.
    Accuracy: as without it, but for the order of sums.
    """
    options = {
        "scatter": _one(scatter, ("yes", "no"), "scatter"),
        "attention": _one(attention, ("heads", "batch"), "attention"),
    }
    return _split(graph, "tensor", ways, options)


def stream_parallel(graph: Graph, ways: int, attention: str = "heads") -> Graph:
    """The stream's width over so many chips, and the other side of every matrix: with
    tensor_parallel the two-dimensional weight-stationary layout.

    Source: Pope et al., Efficiently Scaling Transformer Inference, arXiv 2211.05102, sec. 3.2.2.
    Accuracy: as without it, but for the order of sums.
    """
    kept = _one(attention, ("heads", "batch"), "attention")
    return _split(graph, "stream", ways, {"attention": kept})


def weight_gathered(graph: Graph, ways: int) -> Graph:
    """Sequences over so many chips; every matrix is stored in as many slices and gathered for each
    use.

    Source: Pope et al., arXiv 2211.05102, sec. 3.2.3; ZeRO stage 3, arXiv 1910.02054.
    Accuracy: as without it.
    """
    return _split(graph, "weights", ways, {})


def data_parallel(graph: Graph, ways: int) -> Graph:
    """Sequences over so many copies of the model.

    Source: elementary; a rank has ceil(batch / ways) sequences.
    Accuracy: as without it.
    """
    return _split(graph, "data", ways, {})


def expert_parallel(graph: Graph, ways: int, split: str = "experts") -> Graph:
    """Sequences over so many chips, and experts too: whole ones, whose rows are sent to them and
    back (all_to_all), or with `split=inner` a share of each of them.

    Source: GShard, arXiv 2006.16668, sec. 3.2; split=inner: MoEShard, arXiv 2503.08467, sec. 3.
    Accuracy: as without it.
    """
    return _split(graph, "expert", ways, {"split": _one(split, ("experts", "inner"), "split")})


def sequence_parallel(graph: Graph, ways: int, by: str = "keys") -> Graph:
    """Tokens of every sequence over so many chips, parameters on each: of a prompt with keys
    gathered, or heads dealt out (`by=heads`); of a step caches by position.

    Source: striped attention, arXiv 2311.09431; Ulysses, arXiv 2309.14509, sec. 3.1.
    Accuracy: as without it, but for the order of sums.
    """
    return _split(graph, "sequence", ways, {"by": _one(by, ("keys", "heads"), "by")})


def pipeline_parallel(graph: Graph, stages: int) -> Graph:
    """Layers over so many stages, one after the other.

    Source: GPipe, arXiv 1811.06965.
    Accuracy: as without it.
    """
    return _split(graph, "stage", stages, {})


def _split(graph: Graph, axis: str, ways: int, options: dict[str, str]) -> Graph:
    if int(ways) != ways or ways < 1:
        raise UserError(f"{axis} parallelism over {ways:g} chips; write a whole number, at least 1")
    if any(split.axis == axis for split in graph.splits):
        raise UserError(f"{graph.name} is split along '{axis}' already; give the ways once")
    added = Split(axis, int(ways), tuple(options.items()))
    return replace(graph, splits=(*graph.splits, added))


def _one(value: str, known: tuple[str, ...], name: str) -> str:
    if value not in known:
        raise UserError(f"{name} is '{value}'; write {' or '.join(known)}")
    return value


# all of the above: they may follow training(), since they change no op.
AXES = (
    tensor_parallel,
    stream_parallel,
    weight_gathered,
    data_parallel,
    expert_parallel,
    sequence_parallel,
    pipeline_parallel,
)
