"""Collectives as libraries do them over one link: every protocol of every algorithm they have.

n chips, D bytes, B the link's bandwidth of a chip, c = 0.42; of a protocol (setup, step, share):

    rings      all_gather, reduce_scatter   setup + (n-1) step + (n-1+c)/n D / (share B)
               all_reduce                   setup + 2(n-1) step + (2(n-1)+c)/n D / (share B)
    messages   all_to_all                   setup + (n-1+c)/n D / (share B)
    sends      send                         setup + D / (share B)
    in_network all_reduce, n > 2            setup + (n+1)/n D / (share B)
    one_shot   all_reduce                   setup + (n-1) D / (share B)
    two_shot   all_reduce                   setup + 2(n-1)/n D / (share B)

c: a chip's own first chunk is copied by the same threads while no message is on its way; fits of
each device gave 0.42 (A100), 0.44 (H100) and 0.65 (B200), and 0.42 is taken for all
(tests/data/silicon/comm.csv, 2026-11-22). Setups include the launch. Steps of rings and the names
of protocols: NCCL, src/graph/tuning.cc; what protocols are, and one and two shots (TensorRT-LLM):
recalled. The fastest is chosen, which NCCL itself does not always do near the change points.
Not modeled: trees (NCCL uses them between nodes), channels that a library opens one by one, skew.
"""

from __future__ import annotations

from dataclasses import replace

from accel_models.collective_algorithms import ON_ONE_DIM, WIRED, Transfer
from accel_models.kernel_library.collective import CollectiveKernels, Protocol
from accel_models.links import Dim

OWN_CHUNK = 0.42
_STEPS = {"all_reduce": 2, "all_gather": 1, "reduce_scatter": 1}  # passes around the ring
_MESSAGES = {"all_to_all": OWN_CHUNK, "send": 0.0}


def library_ways(function: str, dim: Dim, size: float) -> list[Transfer]:
    """Every way of the dim's library; none where it has no library, or one that does not do it."""
    library = dim.library
    if library is None or dim.kind in WIRED:
        return []
    found = [*_rings(function, dim, library, size), *_messages(function, dim, library, size)]
    return found + (_adding(dim, library, size) if function == "all_reduce" else [])


def library_rate(dim: Dim, library: CollectiveKernels) -> float:
    """Bytes per second of a chip that shares are of: what crossings leave of the link's own."""
    left = [each.share for each in library.crossings if dim.size >= each.chips]
    return dim.bytes_per_s / dim.efficiency * min(left, default=1.0)


def _timed(way: Transfer, protocol: Protocol, steps: int, size: float, rate: float) -> Transfer:
    latency = protocol.setup + steps * (protocol.step or 0.0)
    seconds = size / (protocol.share * rate)
    return replace(way, latency_s=latency, transfer_s=seconds, launched=True)


def _plain(function: str, dim: Dim, size: float, algorithm: str) -> Transfer:
    """What the algorithm sends and adds."""
    return next(w for w in ON_ONE_DIM[function](dim, size) if w.algorithm == algorithm)


def _rings(function: str, dim: Dim, library: CollectiveKernels, size: float) -> list[Transfer]:
    if function not in _STEPS:
        return []
    steps, rate = _STEPS[function] * (dim.size - 1), library_rate(dim, library)
    plain = _plain(function, dim, size, "ring")
    wire = (steps + OWN_CHUNK) / dim.size * size
    return [
        _timed(replace(plain, algorithm=f"ring {name}"), protocol, steps, wire, rate)
        for name, protocol in library.rings.items()
    ]


def _messages(function: str, dim: Dim, library: CollectiveKernels, size: float) -> list[Transfer]:
    if function not in _MESSAGES:
        return []
    protocols = library.sends or library.messages if function == "send" else library.messages
    plain = _plain(function, dim, size, "direct")
    wire = plain.sent_bytes + _MESSAGES[function] / dim.size * size
    return [
        _timed(
            replace(plain, algorithm=f"direct {name}"), each, 0, wire, library_rate(dim, library)
        )
        for name, each in protocols.items()
    ]


def _adding(dim: Dim, library: CollectiveKernels, size: float) -> list[Transfer]:
    """All reductions that are no rings."""
    rate, n = library_rate(dim, library), dim.size
    shots = {"one_shot": "one_shot", "two_shot": "direct"}
    found = []
    for name, protocol in library.custom.items():
        plain = replace(_plain("all_reduce", dim, size, shots[name]), algorithm=name)
        found.append(_timed(plain, protocol, 0, plain.sent_bytes, rate))
    if library.in_network is not None and n > 2:
        sent = (n + 1) / n * size
        way = Transfer("in_network", 0.0, 0.0, sent, sent, 0.0, sent * dim.j_per_byte)
        found.append(_timed(way, library.in_network, 0, sent, rate))
    return found
