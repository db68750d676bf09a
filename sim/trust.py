"""How far a result can be trusted: which numbers it rests on, and how uncertain they make it.

Every second of latency is waited for one resource, every joule spent in one, and a resource's
figure rests on a few numbers of the design (bandwidth and its efficiency; MAC rate and clock;
...). A share counts as the least trusted kind among the numbers it rests on. With p the numbers,
s_p the share that rests on p and u_p its relative half-width, the band's half-width is sqrt(sum
(s_p u_p)^2): first order, independent numbers (JCGM 100:2008, eq. 10).
Not modeled: errors of the formulas themselves; see docs/accuracy.md for those.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from math import sqrt

from accel_models.area import area_parts
from accel_models.design import Design, PathKey
from accel_models.network import INTO, OUT
from accel_models.path import Path
from accel_models.source import REPORTED_AS, UNCERTAINTY, Source
from mappers.plan import Placed
from sim.run import Trust

Shares = dict[tuple[PathKey, ...], float]  # numbers rested on -> amount of the total
_LEAST_TRUSTED = list(UNCERTAINTY)  # in order


def latency_numbers(placed: Placed, resource: str) -> tuple[PathKey, ...]:
    """Key paths that this op's time on this resource rests on."""
    path = placed.plan.path
    core: PathKey = ("cores", path.name)
    clock: PathKey = (*core, "clock") if path.core.clock else ("clock",)
    stated = placed.plan.rests_on.get(resource, ())
    if resource in path.by_name:
        at = path.by_name[resource].at
        reached = stated or ((*at, "efficiency"),)
        return (*((*at, key) for key in _bandwidth_keys(path, resource)), *reached)
    if resource == "matrix":
        return (*stated, (*core, "count"), clock)
    if resource == "vector":
        rate = stated or ((*core, "vector", "ops_per_cycle"),)
        return (*rate, (*core, "count"), clock)
    if resource == "power":
        return (*stated, ("power", "limit"), ("power", "static"))
    if resource in (INTO, OUT):
        at = path.memories[path.first_core - 1].at
        return ((*at, "network", "link"),)
    if stated:  # of a link, or a library's kernel
        return stated
    if resource == "launch" or (resource == "sync" and path.control.sync):
        return ((*core, "control", resource),)
    return ((*path.farthest().at, "latency"),)


def _bandwidth_keys(path: Path, resource: str) -> tuple[str, ...]:
    return (
        ("bandwidth",)
        if path.by_name[resource].shared_port
        else (
            "read_bandwidth",
            "write_bandwidth",
        )
    )


def energy_numbers(placed: Placed, resource: str) -> tuple[PathKey, ...]:
    """Key paths that this op's energy in this resource rests on."""
    path = placed.plan.path
    if resource in path.by_name:
        level = path.by_name[resource]
        split = level.write_j_per_byte != level.read_j_per_byte
        keys = ("energy", "write_energy") if split else ("energy",)
        return tuple((*level.at, key) for key in keys)
    if resource == "matrix":
        pairs = placed.plan.rests_on.get("matrix", ())
        return tuple((*pair[:-1], "energy") for pair in pairs if pair[-1] == "macs_per_cycle")
    if resource == "vector":
        return (("cores", path.name, "vector", "energy"),)
    if resource in path.design.backing:
        return (("backing", resource, "energy"),)
    if resource in path.design.links and path.design.links[resource].energy:
        return (("links", resource, "energy"),)
    return (("power", "static"),)


def area_numbers(design: Design) -> Shares:
    """Key paths and mm2 of what the area is made of."""
    return {(path,): mm2 for path, mm2 in area_parts(design).items()}


def trust(
    shares: Mapping[tuple[PathKey, ...], float], source_of: Callable[[PathKey], Source]
) -> Trust:
    """Shares by reported kind (they sum to 1) and the band around the total."""
    total = sum(shares.values())
    kinds = dict.fromkeys(("calibrated", "datasheet", "derived", "recalled", "guessed"), 0.0)
    weights: dict[PathKey, float] = {}
    for numbers, amount in shares.items():
        if not amount:
            continue  # of a number that need not be there
        sources = [source_of(number) for number in numbers]
        worst = max(sources, key=lambda s: _LEAST_TRUSTED.index(s.kind))
        kinds[REPORTED_AS[worst.kind]] += amount / total
        for number in numbers:
            weights[number] = weights.get(number, 0.0) + amount / total
    width = _combined((share, source_of(number).uncertainty) for number, share in weights.items())
    return Trust(
        {kind: float(share) for kind, share in kinds.items()},
        float(total * (1 - min(width, 1.0))),
        float(total * (1 + width)),
    )


def _combined(parts: Iterable[tuple[float, float]]) -> float:
    return sqrt(sum((share * width) ** 2 for share, width in parts))
