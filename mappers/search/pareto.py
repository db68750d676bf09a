"""Mappings that no other beats in latency, energy and bytes held at once.

The front may have thousands of mappings; here are some of it, each the optimum of a question that
limits two of the three (the epsilon-constraint method; Haimes, Lasdon and Wismer 1971):

    the fastest and the thriftiest of all
    the thriftiest that take at most L, for latencies L between those two, evenly in their logarithm
    the fastest and the thriftiest that hold half the bytes at most, a quarter ..., till none fit

Ties go to the other of latency and energy, so that only bytes can still be beaten: what another of
them beats in all three is left out. Bytes held are those of all instances of all memories but the
outermost, double buffers counted twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import inf

from accel_models.path import Path
from mappers.legality import occupancy
from mappers.mapping import Mapping
from mappers.problem import Contraction
from mappers.search.found import Found, Limits

LATENCIES = 6  # asked for between the fastest and the thriftiest
HALVINGS = 5
ROOM = 1 + 1e-9  # limits are kept to the last digits


@dataclass(frozen=True, slots=True)
class Point:
    """A mapping of the front."""

    found: Found
    latency_s: float
    energy_j: float
    held_bytes: float


def pareto_front(
    problem: Contraction, path: Path, limits: Limits | None = None, latencies: int = LATENCIES
) -> list[Point]:
    """Points of the front, the fastest first; none if nothing fits. `limits` are those of each
    search."""
    points: list[Point] = []
    for point in _asked(problem, path, limits or Limits(), latencies):
        if not any(_beats(other, point) for other in points):
            points = [other for other in points if not _beats(point, other)] + [point]
    return sorted(points, key=lambda point: (point.latency_s, point.energy_j, point.held_bytes))


def bytes_held(problem: Contraction, mapping: Mapping, path: Path) -> float:
    """Of all instances of all memories but the outermost."""
    total = 0.0
    for index, level in enumerate(path.memories[1:], start=1):
        held = occupancy(problem, mapping, path, index)
        total += float(sum(held.values())) * level.instances
    return total


def _asked(problem: Contraction, path: Path, limits: Limits, latencies: int) -> Iterator[Point]:
    from mappers.search.best import best_mapping  # and numpy, when there is something to search

    def best(objective: str, latency_s: float = inf, held_bytes: float = inf) -> Point | None:
        asked = replace(limits, latency_s=latency_s, held_bytes=held_bytes)
        found = best_mapping(problem, path, objective, asked)
        if found is None:
            return None
        held = bytes_held(problem, found.mapping, path)
        return Point(found, float(found.cost.latency_s), float(found.cost.energy_j), held)

    fastest, thriftiest = best("latency"), best("energy")
    if fastest is None or thriftiest is None:
        return
    yield fastest
    yield thriftiest
    ratio = thriftiest.latency_s / fastest.latency_s
    for i in range(1, latencies + 1):
        most = fastest.latency_s * ratio ** (i / (latencies + 1)) * ROOM
        if point := best("energy", latency_s=most):
            yield point
    most = max(fastest.held_bytes, thriftiest.held_bytes)
    for _ in range(HALVINGS):
        most /= 2
        small = best("latency", held_bytes=most * ROOM), best("energy", held_bytes=most * ROOM)
        points = [point for point in small if point]
        yield from points
        if not points:
            return
        most = min(most, *(point.held_bytes for point in points))


def _beats(one: Point, other: Point) -> bool:
    """Is it as good in all three, and not the same?"""
    pairs = [
        (one.latency_s, other.latency_s),
        (one.energy_j, other.energy_j),
        (one.held_bytes, other.held_bytes),
    ]
    return all(a <= b * ROOM for a, b in pairs)
