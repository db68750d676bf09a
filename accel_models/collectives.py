"""What a collective takes over a group of chips, whatever joins them: the fastest way there is.

In one direction: accel_models/collective_algorithms.py. Over several:

    nested     all_reduce: reduce_scatter inside, all_reduce of the shares across, all_gather
               inside; others one direction after the other
    each_dim   an all_reduce of everything in each direction, one after the other
    bucket     the directions of a torus or mesh at the same time: the data in as many parts, each
               taking the directions in another order (Jain and Sabharwal, "Optimal bucket
               algorithms", ICS 2010; Sack and Gropp, ACM TOPC 1(2), 2015)
    ring       one ring through nested switches, which enters and leaves every node as often as it
               has uplinks: its rate is the least of a dim's times the chips inside that share it
               (Patarasu and Yuan, JPDC 2009)

Not modeled: pipelining between the directions of `nested`, synchronization skew of the chips.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import prod

from accel_models.collective_algorithms import ON_ONE_DIM, WIRED, Transfer
from accel_models.library_collectives import library_ways
from accel_models.links import Dim

Dims = tuple[Dim, ...]
# (dim, hops, messages that share its fullest wire, hops on average) of many messages at once
Route = tuple[tuple[Dim, int, int, float], ...]
COLLECTIVES = tuple(ON_ONE_DIM)
_ON_SHARES = ("all_reduce", "all_gather", "reduce_scatter")


def collective(function: str, dims: Dims, size: float, algorithm: str | None = None) -> Transfer:
    """The fastest way (or this one) to do `function` with `size` bytes; nothing for one chip.

    Raises ValueError if no algorithm of this name does it on these dims.
    """
    dims = tuple(dim for dim in dims if dim.size > 1)
    if not dims or not size:
        return Transfer("none")
    found = [way for way in ways(function, dims, size) if algorithm in (None, way.algorithm)]
    if not found:
        raise ValueError(f"no algorithm '{algorithm}' for {function} on {dims[0].kind}")
    return min(found, key=lambda way: (way.seconds, way.joules))


def ways(function: str, dims: Dims, size: float) -> list[Transfer]:
    """Every way to do it over dims of at least two chips; a link's library does it in its own."""
    if len(dims) == 1:
        return library_ways(function, dims[0], size) or ON_ONE_DIM[function](dims[0], size)
    found = [_nested(function, dims, size)]
    if function == "all_reduce":
        found.append(_in_turn([collective(function, (d,), size) for d in dims], "each_dim"))
    if all(dim.kind == "switch" for dim in dims) and function in _ON_SHARES:
        found.append(_one_ring(function, dims, size))
    if len({dim.link for dim in dims}) == 1 and all(dim.kind in WIRED for dim in dims):
        found.append(_bucket(function, dims, size))
    return found


def hops(route: Route, size: float) -> Transfer:
    """A message over these dims, one after the other."""
    if not route:
        return Transfer("none")
    return Transfer(
        "direct",
        sum(dim.latency_s * far for dim, far, _, _ in route),
        max(size * sharing / dim.wire_bytes_per_s for dim, _, sharing, _ in route),
        size,
        size,
        0.0,
        sum(size * dim.j_per_byte * mean for dim, _, _, mean in route),
    )


def _in_turn(parts: list[Transfer], algorithm: str) -> Transfer:
    total = Transfer(algorithm)
    for part in parts:
        total = total.then(part, algorithm)
    return total


def _nested(function: str, dims: Dims, size: float) -> Transfer:
    """Inward dims first (or last, for what spreads), on the share that is left of the data."""
    inner, outer = dims[:1], dims[1:]
    share = size / inner[0].size
    if function == "all_reduce":
        down = collective("reduce_scatter", inner, size)
        across, up = collective(function, outer, share), collective("all_gather", inner, size)
        return _in_turn([down, across, up], "nested")
    rest = share if function in ("all_gather", "reduce_scatter") else size
    return _in_turn(
        [collective(function, outer, rest), collective(function, inner, size)], "nested"
    )


def _one_ring(function: str, dims: Dims, size: float) -> Transfer:
    return collective(function, (one_ring(dims)[0],), size, "ring")


def one_ring(dims: Dims) -> tuple[Dim, int]:
    """A ring that enters and leaves each node once, as many of them as a node has uplinks; and
    which dim's rate it has."""
    n, inside = prod(dim.size for dim in dims), 1
    rates, joules = list[float](), 0.0
    for i, dim in enumerate(dims):
        rates.append(dim.bytes_per_s * inside)
        beyond = 0.0 if i == len(dims) - 1 else 1 / (inside * dim.size)
        joules += (1 / inside - beyond) * dim.j_per_byte  # of all hops, those over this dim
        inside *= dim.size
    latency, rate = max(dim.latency_s for dim in dims), min(rates)
    return Dim("", "switch", n, rate, latency, joules), rates.index(rate)


def _bucket(function: str, dims: Dims, size: float) -> Transfer:
    """The data in as many parts as dims; in each phase every part runs along another dim."""
    if function == "all_reduce":
        scatter = _bucket("reduce_scatter", dims, size)
        return scatter.then(_bucket("all_gather", dims, size), "bucket")
    total = Transfer("bucket")
    for phase in bucket_phases(function, dims, size):
        now = [collective(function, (dims[number],), share) for number, share in phase]
        slowest = max(now, key=lambda way: way.seconds)
        together = _in_turn(now, "bucket")
        total = total.then(
            replace(together, latency_s=slowest.latency_s, transfer_s=slowest.transfer_s), "bucket"
        )
    return total


def bucket_phases(function: str, dims: Dims, size: float) -> Iterator[list[tuple[int, float]]]:
    """Of each phase: (number of the dim, bytes) of every part."""
    parts = len(dims)
    for phase in range(parts):
        now = []
        for part in range(parts):
            order = [(part + i) % parts for i in range(parts)]
            later = prod(dims[number].size for number in order[phase + 1 :])
            left = later if function in _ON_SHARES else 1
            now.append((order[phase], size / parts / left))
        yield now
