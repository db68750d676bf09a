"""A layer of experts, some on an accelerator, some on its host, some on their way over the link.

    accelerator | router | shared, cached experts | loaded one |     | sum |
    link                 | load the heaviest | next heaviest  | sums |
    host                 | rows | lightest | next lightest | ..

Experts that the accelerator holds run there, as one grouped kernel. Of the others, in the order of
their rows, the link takes from the heavy end (an expert's bytes are the same however many rows it
has) and the host's cores from the light end, one after the other. The next one goes to whichever
would be through with it first, until none is left:

    loaded   max(link free + load, accelerator free) + its kernel
    hosted   host free + its kernel

Loads and the host's cores take turns at the host's memory. Rows to the host and sums back go over
the link; a layer waits for the one before, loads wait for the router.
Source: HybriMoE, arXiv 2504.05897 (scheduling within a layer); kTransformers, whose hosts compute
all that is not held, is `none`; loading all is `all`.
Not modeled: loads for the next layer by a prediction; idle cores of the host that take experts that
the accelerator holds; what a load evicts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sim.event.program import Actor, Channel, Program, Resource, Run, Use
from sim.event.sides import FROM_HOST, HOST_MEMORY, TO_HOST, Pair
from sim.event.tasks import NANOSECONDS

PIECES = 16  # of a load and of a host's kernel: how finely they share the host's memory
LOADS = ("greedy", "all", "none")


@dataclass(frozen=True, slots=True)
class Expert:
    """That the accelerator does not hold: seconds of its kernels on the accelerator, on the host,
    and of the host's memory in those; bytes of its matrices, of its rows, and of what it makes of
    them."""

    accelerator: float
    host: float
    memory: float
    bytes: float
    up: float = 0.0
    down: float = 0.0


@dataclass(frozen=True, slots=True)
class ExpertLayer:
    """`missed`: most rows first. Seconds on the accelerator before the experts, of those that it
    holds (with shared ones), and after; what the host's memory reads for the link."""

    before: float
    held: float
    after: float
    missed: tuple[Expert, ...]
    memory_bytes_per_s: float


@dataclass(frozen=True, slots=True)
class Split:
    """Numbers of the missed experts that are loaded, and of those that are hosted, in turn."""

    loaded: tuple[int, ...]
    hosted: tuple[int, ...]


def split(layer: ExpertLayer, pair: Pair, load: str = "greedy") -> Split:
    """Who takes which: `load` is one of LOADS."""
    numbers = tuple(range(len(layer.missed)))
    if load != "greedy":
        return Split(numbers, ()) if load == "all" else Split((), numbers[::-1])
    link, host, free = 0.0, pair.latency_s, layer.held
    left, loaded, hosted = list(numbers), list[int](), list[int]()
    while left:
        heavy, light = layer.missed[left[0]], layer.missed[left[-1]]
        there = link + pair.seconds(heavy.bytes)
        by_link = max(there + pair.latency_s, free) + heavy.accelerator
        if by_link < host + light.host:
            link, free = there, by_link
            loaded.append(left.pop(0))
        else:
            host += light.host
            hosted.append(left.pop())
    return Split(tuple(loaded), tuple(hosted))


def host_experts_program(layer: ExpertLayer, pair: Pair, chosen: Split) -> Program:
    """The layer, once."""
    actors = [
        _actor("before", [{pair.accelerator: layer.before}]),
        _actor("held", [{pair.accelerator: layer.held}]),
        _actor("after", [{pair.accelerator: layer.after}]),
    ]
    channels = [Channel("before", "held"), Channel("held", "after")]
    for made, joins in (_loaded(layer, pair, chosen.loaded), _hosted(layer, pair, chosen.hosted)):
        actors += made
        channels += joins
    used = dict.fromkeys(use.resource for a in actors for run in a.cycle for use in run.uses)
    resources = tuple(Resource(name, NANOSECONDS) for name in used)
    return Program(tuple(actors), tuple(channels), resources)


def _actor(
    name: str, firings: Sequence[Mapping[str, float]], times: int = 1, latency_s: float = 0.0
) -> Actor:
    """Through these seconds of resources, each in so many pieces."""
    latency = round(latency_s * NANOSECONDS)
    runs = [
        tuple(Use(r, round(s * NANOSECONDS / times)) for r, s in seconds.items())
        for seconds in firings
    ]
    return Actor(name, tuple(Run(times, uses, latency) for uses in runs))


def _loaded(
    layer: ExpertLayer, pair: Pair, numbers: Sequence[int]
) -> tuple[list[Actor], list[Channel]]:
    """Loads one after the other, and their kernels, which those held go before."""
    if not numbers:
        return [], []
    experts = [layer.missed[number] for number in numbers]
    loads = [
        {FROM_HOST: pair.seconds(e.bytes), HOST_MEMORY: e.bytes / layer.memory_bytes_per_s}
        for e in experts
    ]
    kernels = [{pair.accelerator: e.accelerator} for e in experts]
    count = len(experts)
    return [_actor("load", loads, PIECES, pair.latency_s), _actor("loaded", kernels)], [
        Channel("before", "load", produce=count * PIECES),
        Channel("load", "loaded", consume=PIECES),
        Channel("held", "loaded", produce=count),
        Channel("loaded", "after", consume=count),
    ]


def _hosted(
    layer: ExpertLayer, pair: Pair, numbers: Sequence[int]
) -> tuple[list[Actor], list[Channel]]:
    """Rows to the host, its kernels one after the other, sums back."""
    if not numbers:
        return [], []
    experts = [layer.missed[number] for number in numbers]
    kernels = [{pair.host: e.host, HOST_MEMORY: e.memory} for e in experts]
    pieces = len(experts) * PIECES
    up, down = pair.seconds(sum(e.up for e in experts)), pair.seconds(sum(e.down for e in experts))
    return [
        _actor("rows", [{TO_HOST: up}], latency_s=pair.latency_s),
        _actor("hosted", kernels, PIECES),
        _actor("sums", [{FROM_HOST: down}], latency_s=pair.latency_s),
    ], [
        Channel("before", "rows"),
        Channel("rows", "hosted", produce=pieces),
        Channel("hosted", "sums", consume=pieces),
        Channel("sums", "after"),
    ]
