"""Attention beside caches that lie in a host's memory, instead of caches that come over its link.

    accelerator | before 1 | before 1, batch 2 |      | after 1, before 2 |
    link                   | q,k,v |      | outputs |
    host                           | attention 1  | attention 1, batch 2 |

The new tokens' queries, keys and values of a layer go to the host, whose cores attend, and
outputs come back. The other way: the layer's cache goes to the accelerator, at most BUFFERS layers
of it in use or on their way, and the new rows come back. With C bytes of cache a layer, q, k and v
those of the new tokens, bandwidths W of the host's memory and of the link, and nothing hidden, the
host is the better place if

    C / W_host + max(q + k + v, q) / W_link < C / W_link

Source: FastAttention, arXiv 2410.16663 (CPU-GPU cooperation: the first layers' caches on the GPU as
far as they fit, those of the others on the host); Lamina, arXiv 2405.01814 (attention on other
devices, two batches in rotation). `batches` take turns: while one is at the host, another computes.
The program is one step of each, from the first one's beginning to the last one's end.
Not modeled: steps in each other's wake; what fetches take of both memories' bandwidth.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sim.event.program import Program
from sim.event.sides import Pair
from sim.event.tasks import Task, tasks_program

BUFFERS = 2  # layers whose caches have a place on the accelerator, of those that are fetched


@dataclass(frozen=True, slots=True)
class Layer:
    """Seconds of a layer on the accelerator: whole; or what comes `before` attention, and `after`
    it; attention on the host (`away`), or here, where its cache was fetched (`here`). Bytes to the
    host and back, of its cache, and of what a step adds to that."""

    whole: float
    before: float = 0.0
    after: float = 0.0
    away: float = 0.0
    here: float = 0.0
    up: int = 0
    down: int = 0
    cache: int = 0
    added: int = 0


@dataclass(frozen=True, slots=True)
class Rotation:
    """Layers whose caches are on the host; whether the host attends (else they are fetched); how
    many batches take turns."""

    hosted: frozenset[int]
    on_host: bool = True
    batches: int = 1


def host_attention_program(
    layers: Sequence[Layer], outside: tuple[float, float], pair: Pair, rotation: Rotation
) -> Program:
    """A step of every batch. `outside`: seconds of the accelerator before and after the layers."""
    tasks = [
        task
        for batch in range(rotation.batches)
        for task in _batch(layers, outside, pair, (rotation, f" of {batch}"))
    ]
    return tasks_program(tasks)


def _batch(
    layers: Sequence[Layer],
    outside: tuple[float, float],
    pair: Pair,
    of: tuple[Rotation, str],
) -> Iterator[Task]:
    """One batch's, each layer after the one before. `of`: the rotation, and the batch's name."""
    rotation, label = of
    begin, end = outside
    yield Task(f"begin{label}", {pair.accelerator: begin})
    last, read = f"begin{label}", list[str]()  # the last task, and those that have read a buffer
    for number, layer in enumerate(layers):
        name = f"{number}{label}"
        if number not in rotation.hosted:
            yield Task(f"layer {name}", {pair.accelerator: layer.whole}, (last,))
            last = f"layer {name}"
        elif rotation.on_host:
            yield from _on_host(layer, name, pair, last)
            last = f"after {name}"
        else:
            free = (read[-BUFFERS],) if len(read) >= BUFFERS else ()
            yield from _fetched(layer, name, pair, (last, free))
            last = f"attention {name}"
            read.append(last)
            yield Task(f"after {name}", {pair.accelerator: layer.after}, (last,))
            last = f"after {name}"
    yield Task(f"end{label}", {pair.accelerator: end}, (last,))


def _on_host(layer: Layer, name: str, pair: Pair, last: str) -> Iterator[Task]:
    yield Task(f"before {name}", {pair.accelerator: layer.before}, (last,))
    yield pair.to_host(f"send {name}", layer.up, (f"before {name}",))
    yield Task(f"attention {name}", {pair.host: layer.away}, (f"send {name}",))
    yield pair.from_host(f"return {name}", layer.down, (f"attention {name}",))
    yield Task(f"after {name}", {pair.accelerator: layer.after}, (f"return {name}",))


def _fetched(
    layer: Layer, name: str, pair: Pair, waits: tuple[str, tuple[str, ...]]
) -> Iterator[Task]:
    """`waits`: the task before, and the one that frees the buffer."""
    last, free = waits
    yield pair.from_host(f"fetch {name}", layer.cache - layer.added, free)
    yield Task(f"before {name}", {pair.accelerator: layer.before}, (last,))
    here = (f"before {name}", f"fetch {name}")
    yield Task(f"attention {name}", {pair.accelerator: layer.here}, here)
    yield pair.to_host(f"store {name}", layer.added, (f"before {name}",))
