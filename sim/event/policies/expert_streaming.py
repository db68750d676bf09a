"""A layer's experts one after the other: the next one's matrix is loaded while one is computed.

M3ViT (arXiv 2210.14793) queues a layer's tokens by expert, computes an expert on its whole queue
and loads the next meanwhile, so that each is loaded once a layer; the order it improves on loads
the matrix of its expert for every token. Which order it is and so how often what is loaded is the
graph's (transform token_major); the policy says that a matrix has a place of its own:

    load matrix e+1 | compute its rows with matrix e        `buffers` matrices have a place

Matrices of a layer follow one another through all of its multiplications by experts, with the ops
between them. They come from the outermost memory, or, where they live in a backing one, from there.
With E matrices of L seconds each and C to compute one, a multiplication takes
L + (E - 1) max(L, C) + C with two places, E (L + C) with one (`offloaded`).

    L   the outermost memory's (or the link's) seconds of weights / matrices that are read
    C   what else the op is busy with, at most, by its rows; of matrices from a backing memory the
        op's own latency, by its rows unless the outermost memory is its bound; launches once
Not modeled: multiplications whose time does not go by rows; hits of an expert cache, which are
spread over all experts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from mappers.plan import Placed, Schedule
from mappers.residence import layers
from sim.event.policies import PolicyError, Stretch
from sim.event.policies.offloaded import SHARED, Compute, Layer, Offloaded, at_least
from sim.event.policies.streamed import Places, streamed
from workloads.ops import Experts

NAME = "expert_streaming"
FIXED = ("launch", "access", "sync")
NO_LOADS = (SHARED, "in_flight")  # what is busy, but not with a matrix's rows


@dataclass(frozen=True, slots=True)
class Source:
    """Where all matrices of a layer come from: seconds of the backing memory, and of what its loads
    share with the ops; bytes of each tensor that are fetched."""

    memory: str
    seconds: float
    shared: Mapping[str, float]
    bytes: Mapping[str, float]
    fetch: str  # the op's name

    def of(self, tensor: str, matrices: int) -> tuple[dict[str, float], dict[str, float]]:
        """Of one of so many matrices of a tensor."""
        part = self.bytes[tensor] / sum(self.bytes.values()) / matrices
        shared = {name: seconds * part for name, seconds in self.shared.items()}
        return {self.memory: self.seconds * part}, shared


def expert_streaming(schedule: Schedule, buffers: int = 2) -> list[Stretch]:
    """Experts of a layer follow one another, and matrices of those to come are loaded while one is
    computed on all of its rows, as far as there are places for them; token by token with
    token_major.

    Arguments: buffers, matrices of experts that have a place at once, at least 1.

    Source: M3ViT, arXiv 2210.14793 (computation reordering); Edge-MoE, arXiv 2305.18691.
    """
    at_least(1, NAME, buffers=buffers)
    sources = dict(_sources(schedule))
    found = []
    for kind, ops in _runs(schedule).items():
        source = sources.get(kind)
        jobs = tuple(job for placed in ops for job in _jobs(placed, source))
        names = tuple(placed.op.name for placed in ops)
        names += (source.fetch,) if source else ()
        program = streamed(Offloaded(jobs, names), Places(buffers))
        found.append(Stretch(names, ops[0].count, program))
    if not found:
        raise PolicyError(f"{NAME}: {schedule.graph.name} has no experts")
    return found


def _runs(schedule: Schedule) -> dict[str, list[Placed]]:
    """Of each kind of layer, the ops from the first with experts to the last."""
    kinds = {node.op.name: node.layer for node in schedule.graph}
    groups: dict[str, list[Placed]] = {}
    for placed in schedule:
        if placed.op.kind != "fetch":
            groups.setdefault(kinds[placed.op.name], []).append(placed)
    found = {}
    for kind, ops in groups.items():
        at = [n for n, placed in enumerate(ops) if isinstance(placed.op, Experts)]
        if at:
            found[kind] = ops[at[0] : at[-1] + 1]
            _check_counts(found[kind])
    return found


def _check_counts(ops: list[Placed]) -> None:
    """Raises PolicyError where ops between run less or more often than the experts."""
    if len({placed.count for placed in ops}) > 1:
        names = ", ".join(f"{placed.op.name} x{placed.count:g}" for placed in ops)
        raise PolicyError(f"{NAME}: these do not run equally often: {names}")


def _sources(schedule: Schedule) -> Iterator[tuple[str, Source]]:
    """Kinds of layers that fetch their experts. Raises PolicyError if they fetch otherwise."""
    fetches = iter([placed for placed in schedule if placed.op.kind == "fetch"])
    for kind in layers(schedule.graph):
        mine = [(next(fetches), asked) for _, asked in kind.nested()]
        tensors = {n.op.inputs[1]: n.op.name for n in kind.nodes if isinstance(n.op, Experts)}
        experts = [a for a in kind.asked if a.tensor.name in tensors]
        if not experts:
            continue
        (fetch, asked), *others = mine
        late = all(one.away.late(1.0) for one in experts)
        if others or not late or len(asked) > len(experts) or fetch.count != kind.count:
            only = min(tensors.values()).rpartition(".")[0]
            raise PolicyError(
                f"{NAME}: experts from a backing memory are to be fetched alone, by all layers and "
                f"when their layer asks: --apply 'offload(only={only}.*,overlap=no)'"
            )
        busy = {name: float(s) for name, s in fetch.cost.work.busy.items()}
        names = (fetch.plan.path.levels[0].name, SHARED)
        shared = {name: busy.pop(name) for name in names}
        ((memory, seconds),) = busy.items()
        sizes = {one.tensor.name: one.fetched for one in experts}
        yield kind.name, Source(memory, seconds, shared, sizes, fetch.op.name)


def _jobs(placed: Placed, source: Source | None) -> Iterator[Layer]:
    """An op as it is, or a matrix after the other."""
    main = placed.plan.path.levels[0].name
    busy = {name: float(s) for name, s in placed.cost.work.busy.items()}
    op = placed.op
    if not isinstance(op, Experts):
        shared = {name: busy[name] for name in (main, SHARED)}
        yield Layer(1, Compute(), Compute(float(placed.cost.latency_s), shared))
        return
    fixed = sum(float(placed.cost.exposed[name]) for name in FIXED)
    yield Layer(1, Compute(), Compute(fixed))
    matrices = op.rows if op.by_token else op.active
    longest = max(s for name, s in busy.items() if name not in (main, *NO_LOADS))
    if source is None:
        weights, by_rows = busy[main] * _weight_share(placed, main), True
        whole = Compute(longest, {main: busy[main] - weights, SHARED: busy[SHARED]})
        load, sharing = {main: weights / matrices}, dict[str, float]()
    else:
        by_rows = longest > busy[main]
        seconds = float(placed.cost.latency_s) - fixed
        whole = Compute(seconds, {main: busy[main], SHARED: busy[SHARED]})
        load, sharing = source.of(op.inputs[1], matrices)
    for count, rows in ((op.rows, 1),) if op.by_token else op.loads:
        part = whole.times(rows / op.rows if by_rows else 1 / matrices)
        yield Layer(count, Compute(), part, load, {}, sharing)


def _weight_share(placed: Placed, level: str) -> float:
    """Of the bytes that pass a level, those of weights that are read."""
    traffic = placed.cost.work.traffic[level]
    return float(traffic["weight"][0] / sum(read + written for read, written in traffic.values()))
