"""Collectives over several directions of links, message by message: phases of rounds.

Phases follow one another; the lanes of a phase are side by side, each in a direction of its own,
and wait for each other before they change directions (`bucket`). They add up to the closed forms of
`collectives` (a test compares them). What libraries reach is measured as a whole: one round.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from accel_models.collective_algorithms import Transfer
from accel_models.collective_rounds import ALL, Round, on_one_dim
from accel_models.collectives import Dims, Route, bucket_phases, collective, hops, one_ring
from accel_models.links import Dim

WHOLE = -1  # the direction of a ring through all of them
Lane = tuple[Round, ...]  # one after the other
Phase = tuple[Lane, ...]  # side by side
Phases = tuple[Phase, ...]  # one after the other


def phases(function: str, dims: Dims, size: float, algorithm: str | None = None) -> Phases:
    """Of the fastest way to do it (or of this one), as `collectives.collective` has it; none for
    one chip, and for no bytes. Raises ValueError if there is no such way."""
    dims = tuple(dim for dim in dims if dim.size > 1)
    way = collective(function, dims, size, algorithm)
    if way.algorithm == "none":
        return ()
    return tuple(_rounds(function, tuple(zip(dims, ports(dims), strict=True)), size, way))


def ports(dims: Dims) -> list[tuple[int, str]]:
    """Number and name of a chip's port into each dim; dims of one link are told apart."""
    names = [dim.link for dim in dims]
    return [
        (i, name if names.count(name) == 1 else f"{name} {names[: i + 1].count(name)}")
        for i, name in enumerate(names)
    ]


def handed_on(route: Route, size: float) -> Phases:
    """A message over dims one after the other, as `collectives.hops` has it: through the port that
    it takes longest to leave by."""
    if not route:
        return ()
    way = hops(route, size)
    slowest = max(route, key=lambda hop: hop[2] / hop[0].wire_bytes_per_s)
    return (((Round(slowest[0].link, 1, way.transfer_s, way.latency_s, size, size),),),)


Joined = tuple[tuple[Dim, tuple[int, str]], ...]  # dims with their ports


def _rounds(function: str, joined: Joined, size: float, way: Transfer) -> Iterator[Phase]:
    dims = tuple(dim for dim, _ in joined)
    if len(dims) == 1:
        (dim, (number, port)), *_ = joined
        if way.launched:
            found: Iterable[Round] = [_measured(way)]
        else:
            found = on_one_dim(function, dim, size, way.algorithm)
        yield (tuple(replace(each, port=port, dim=number) for each in found),)
    elif way.algorithm == "nested":
        yield from _nested(function, joined, size)
    elif way.algorithm == "each_dim":
        for each in joined:
            yield from _part(function, (each,), size)
    elif way.algorithm == "ring":
        ring, slowest = one_ring(dims)
        rounds = on_one_dim(function, ring, size, "ring")
        yield (tuple(replace(r, port=joined[slowest][1][1], dim=WHOLE) for r in rounds),)
    else:
        yield from _bucket(function, joined, size)


def _part(function: str, joined: Joined, size: float) -> Iterator[Phase]:
    """Part of a collective, by its own fastest algorithm."""
    way = collective(function, tuple(dim for dim, _ in joined), size)
    return _rounds(function, joined, size, way)


def _nested(function: str, joined: Joined, size: float) -> Iterator[Phase]:
    inner, outer = joined[:1], joined[1:]
    share = size / inner[0][0].size
    if function == "all_reduce":
        yield from _part("reduce_scatter", inner, size)
        yield from _part(function, outer, share)
        yield from _part("all_gather", inner, size)
        return
    yield from _part(
        function, outer, share if function in ("all_gather", "reduce_scatter") else size
    )
    yield from _part(function, inner, size)


def _bucket(function: str, joined: Joined, size: float) -> Iterator[Phase]:
    """Lanes side by side, each along another dim in every phase."""
    if function == "all_reduce":
        yield from _bucket("reduce_scatter", joined, size)
        yield from _bucket("all_gather", joined, size)
        return
    for phase in bucket_phases(function, tuple(dim for dim, _ in joined), size):
        lanes = (_part(function, (joined[number],), share) for number, share in phase)
        yield tuple(lane for each in lanes for (lane,) in each)


def _measured(way: Transfer) -> Round:
    """All of it at once, as a library was measured, which hides the chip's part behind all."""
    more = (way.sent_bytes, way.received_bytes, way.added_bytes)
    return Round("", 1, way.seconds, 0.0, *more, away=ALL)
