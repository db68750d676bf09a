"""What a cooperation's latency and energy rest on.

Seconds of the critical path that ops run on are divided as these divide theirs; those of links and
memories rest on the numbers that the policy names.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from accel_models.design import PathKey
from mappers.cost import exposed_by_resource
from sim.event.cooperation import Cooperation, Done
from sim.on_system import MACHINES, sources
from sim.run import Trust
from sim.trust import Shares, energy_numbers, latency_numbers, trust


def latency_trust(made: Cooperation, on_path: Mapping[str, float]) -> Trust:
    """`on_path`: seconds by resource of the programs."""
    shares: Shares = {}
    for resource, seconds in on_path.items():
        mine = [done for done in made.done if done.side.name == resource]
        if not mine:
            _add(shares, made.rests_on[resource], seconds)
            continue
        whole = sum(done.count * float(done.placed.cost.latency_s) for done in mine)
        for done in mine:
            for level, part in exposed_by_resource(done.placed.cost).items():
                numbers = _numbers(done, latency_numbers(done.placed, level))
                _add(shares, numbers, done.count * part * seconds / whole)
    return trust(shares, sources(made.system))


def energy_trust(made: Cooperation, static: float) -> Trust:
    """`static`: joules."""
    shares: Shares = {}
    for done in made.done:
        for resource, joules in done.placed.cost.joules.items():
            if resource != "static" and joules > 0:
                numbers = _numbers(done, energy_numbers(done.placed, resource))
                _add(shares, numbers, done.count * float(joules))
    for sent in made.sent:
        _add(shares, (sent.energy_of,), sent.count * sent.bytes * sent.j_per_byte)
    machines = dict.fromkeys(chip.machine for chip in made.chips)
    _add(shares, tuple((MACHINES, name, "power", "static") for name in machines), static)
    return trust(shares, sources(made.system))


def _add(shares: Shares, numbers: tuple[PathKey, ...], amount: float) -> None:
    shares[numbers] = shares.get(numbers, 0.0) + amount


def _numbers(done: Done, paths: Iterable[PathKey]) -> tuple[PathKey, ...]:
    return tuple((MACHINES, done.machine, *path) for path in paths)
