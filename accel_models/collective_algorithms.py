"""Algorithms of collectives in one direction of links: the alpha-beta cost of each.

A message of x bytes takes alpha + x / rate (Thakur, Rabenseifner, Gropp, "Optimization of
collective communication operations in MPICH", IJHPCA 19(1), 2005, section 3); alpha and rate are a
Dim's (accel_models/links.py). Messages to several chips leave at the same time and share the
chip's bandwidth. n chips, D bytes: of all_reduce, broadcast and send the buffer; of all_gather
what a chip ends with; of reduce_scatter and all_to_all what it begins with (as nccl-tests count).

On a switch or full mesh (B: a chip's bandwidth; w: to one other chip, B on a switch):

    ring    all_gather, reduce_scatter   (n-1) alpha + (n-1)/n D/w     Thakur 4.1
            all_reduce = reduce_scatter + all_gather                   Patarasu and Yuan, JPDC 2009
            broadcast = scatter (binomial) + all_gather                Thakur 4.2 (van de Geijn)
            all_to_all                   (n-1) alpha + (n-1)/n D/w     Thakur 4.3 (pairwise)
    tree    all_gather, reduce_scatter   ceil(lg n) alpha + (n-1)/n D/w   Thakur 4.1 (Bruck); Träff,
                                         "Optimal, non-pipelined ...", 2024
            all_reduce                   lg n (alpha + D/w), recursive doubling (Thakur 4.5; + 2
                                         steps where n is no power of 2)
            broadcast                    ceil(lg n) (alpha + D/w), binomial (Thakur 4.2)
            all_to_all                   ceil(lg n) (alpha + D/2/w)    Thakur 4.3 (Bruck)
    halving all_reduce = reduce_scatter + all_gather by tree           Rabenseifner; Thakur 4.5
    direct  all_gather, reduce_scatter, all_to_all   alpha + (n-1)/n D/B
            all_reduce = reduce_scatter + all_gather; broadcast = scatter + all_gather
            send                         alpha + D/w
    one_shot all_reduce, broadcast       alpha + (n-1) D/B: the whole to all, and add
    in_network (a switch that reduces; Klenk et al., ISCA 2020): all_reduce 2 alpha + (n+1)/n D/B,
            each chip fetching the sum of its slice and sending that to all; broadcast alpha + D/B;
            all_gather, reduce_scatter as direct

On a physical ring (r = B, h = floor(n/2) steps: both ways at once) or line (r = B/2, h = n-1):

    ring    all_gather, reduce_scatter   h alpha + (n-1)/n D/r
            all_to_all                   h alpha + floor(n^2/4)/n D/r (the fullest wire)
            all_reduce, broadcast        twice all_gather
    one_shot all_reduce                  h alpha + (n-1) D/r

Energy: bytes sent times the energy of their hops. Checked against messages counted wire by wire in
tests/accel_models/test_links.py.
What libraries reach, and their protocols: accel_models/library_collectives.py.
Not modeled: a message's overhead at its sender (LogP's o), synchronization skew of the chips.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import ceil, log2
from typing import Any

from accel_models.links import Dim


@dataclass(frozen=True, slots=True)
class Transfer:
    """Of one chip (the average): latency_s does not shrink with the bytes, transfer_s does.

    `added_bytes` are operands' bytes that the chip itself adds to others. `launched`: the
    latency has the launch of a kernel in it.
    """

    algorithm: str
    latency_s: float = 0.0
    transfer_s: float = 0.0
    sent_bytes: float = 0.0
    received_bytes: float = 0.0
    added_bytes: float = 0.0
    joules: float = 0.0
    launched: bool = False

    @property
    def seconds(self) -> float:
        """From the first byte sent to the last received."""
        return self.latency_s + self.transfer_s

    def then(self, other: Transfer, algorithm: str) -> Transfer:
        """One after the other."""
        return Transfer(
            algorithm,
            self.latency_s + other.latency_s,
            self.transfer_s + other.transfer_s,
            self.sent_bytes + other.sent_bytes,
            self.received_bytes + other.received_bytes,
            self.added_bytes + other.added_bytes,
            self.joules + other.joules,
            self.launched or other.launched,
        )


WIRED = ("ring", "line")  # kinds of dims where only neighbors are joined


def _way(name: str, dim: Dim, steps: float, seconds: float, sent: float, **more: float) -> Transfer:
    """`seconds` on the wires, `sent` by the average chip and as much received."""
    own: dict[str, Any] = {"received_bytes": sent, "joules": sent * dim.j_per_byte}
    return Transfer(name, steps * dim.latency_s, seconds, sent, **(own | more))


def _around(dim: Dim) -> tuple[int, float]:
    """Steps of a pass over a physical ring or line, and its rate."""
    if dim.kind == "ring":
        return dim.size // 2, dim.bytes_per_s
    return dim.size - 1, dim.bytes_per_s / 2


def _all_gather(dim: Dim, size: float) -> list[Transfer]:
    n, sent = dim.size, (dim.size - 1) / dim.size * size
    if dim.kind in WIRED:
        steps, rate = _around(dim)
        return [_way("ring", dim, steps, sent / rate, sent)]
    wire, chip = sent / dim.wire_bytes_per_s, sent / dim.bytes_per_s
    found = [
        _way("ring", dim, n - 1, wire, sent),
        _way("tree", dim, ceil(log2(n)), wire, sent),
        _way("direct", dim, 1, chip, sent),
    ]
    if dim.reduction:  # the switch copies: half of each byte's way is gone for all but one
        once = size / n
        joules = (once + sent) / 2 * dim.j_per_byte
        more = {"received_bytes": sent, "joules": joules}
        found.append(_way("in_network", dim, 1, chip, once, **more))
    return found


def _reduce_scatter(dim: Dim, size: float) -> list[Transfer]:
    """An all_gather run backwards, adding where that copies."""
    return [
        replace(
            way,
            sent_bytes=way.received_bytes,
            received_bytes=way.sent_bytes,
            added_bytes=0.0 if way.algorithm == "in_network" else way.received_bytes,
        )
        for way in _all_gather(dim, size)
    ]


def _all_reduce(dim: Dim, size: float) -> list[Transfer]:
    n = dim.size
    halves = zip(_reduce_scatter(dim, size), _all_gather(dim, size), strict=True)
    found = [
        scatter.then(gather, "halving" if gather.algorithm == "tree" else gather.algorithm)
        for scatter, gather in halves
        if gather.algorithm != "in_network"
    ]
    everything = (n - 1) * size
    if dim.kind in WIRED:
        steps, rate = _around(dim)
        shot = _way("one_shot", dim, steps, everything / rate, everything, added_bytes=everything)
        return [*found, shot]
    whole = int(log2(n)) + (0 if n & (n - 1) == 0 else 2)
    tree = _way("tree", dim, whole, whole * size / dim.wire_bytes_per_s, whole * size)
    shot = _way("one_shot", dim, 1, everything / dim.bytes_per_s, everything)
    found += [replace(tree, added_bytes=whole * size), replace(shot, added_bytes=everything)]
    if dim.reduction:
        sent = (n + 1) / n * size
        found.append(_way("in_network", dim, 2, sent / dim.bytes_per_s, sent))
    return found


def _broadcast(dim: Dim, size: float) -> list[Transfer]:
    n, sent = dim.size, (dim.size - 1) / dim.size * size
    if dim.kind in WIRED:
        steps, rate = _around(dim)
        return [_way("ring", dim, 2 * steps, 2 * sent / rate, 2 * sent)]
    wire, logarithm = dim.wire_bytes_per_s, ceil(log2(n))
    found = [
        _way("ring", dim, logarithm + n - 1, 2 * sent / wire, 2 * sent),
        _way("tree", dim, logarithm, logarithm * size / wire, sent),
        _way("direct", dim, 2, 2 * sent / dim.bytes_per_s, 2 * sent),
        _way("one_shot", dim, 1, (n - 1) * size / dim.bytes_per_s, sent),
    ]
    if dim.reduction:
        joules = (size / n + sent) / 2 * dim.j_per_byte
        more = {"received_bytes": sent, "joules": joules}
        found.append(_way("in_network", dim, 1, size / dim.bytes_per_s, size / n, **more))
    return found


def _all_to_all(dim: Dim, size: float) -> list[Transfer]:
    n, sent = dim.size, (dim.size - 1) / dim.size * size
    if dim.kind in WIRED:
        steps, rate = _around(dim)
        fullest = n * n // 4 * size / n
        carried = fullest if dim.kind == "ring" else (n * n - 1) / 3 * size / n
        return [_way("ring", dim, steps, fullest / rate, carried)]
    wire, logarithm = dim.wire_bytes_per_s, ceil(log2(n))
    return [
        _way("ring", dim, n - 1, sent / wire, sent),
        _way("tree", dim, logarithm, logarithm * size / 2 / wire, logarithm * size / 2),
        _way("direct", dim, 1, sent / dim.bytes_per_s, sent),
    ]


def _send(dim: Dim, size: float) -> list[Transfer]:
    return [_way("direct", dim, 1, size / dim.wire_bytes_per_s, size)]


ON_ONE_DIM: dict[str, Callable[[Dim, float], list[Transfer]]] = {
    "all_reduce": _all_reduce,
    "all_gather": _all_gather,
    "reduce_scatter": _reduce_scatter,
    "broadcast": _broadcast,
    "all_to_all": _all_to_all,
    "send": _send,
}
