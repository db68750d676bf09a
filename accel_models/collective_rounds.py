"""Collectives message by message: the rounds of every algorithm in one direction of links.

A round is what every chip does at once: it sends, what it sent arrives a latency after, and the
next round begins with what arrived. Rounds add up to the closed forms of `collective_algorithms`
(a test compares them). n chips, D bytes, shares of D / n:

    ring       n-1 rounds of a share (reduce_scatter, all_gather, all_to_all)
    tree       round i: min(2^i, n - 2^i) shares (Bruck; Thakur 4.1); all_reduce, broadcast: D;
               all_to_all: D / 2
    direct     one round with a share for every other chip
    one_shot   one round with D for every other chip
    in_network all_reduce: D up, then the sum of a share to all; others one round
    on a ring or line of chips: floor(n/2) rounds both ways at once, of an even ring's last one
               half; n-1 rounds one way along a line, those of its fullest wire

A reduce_scatter is an all_gather backwards. Over several directions: collective_phases.py.
Not modeled: which wires of a line are not full; rounds of an all_to_all on rings and lines, and of
a broadcast's bytes per chip, are evened out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import ceil, log2

from accel_models.collective_algorithms import WIRED
from accel_models.links import Dim

ALL = 0  # not one chip at a distance but all others receive


@dataclass(frozen=True, slots=True)
class Round:
    """`count` rounds alike of one chip. `port`: what is busy for `transfer_s`; the message is there
    `latency_s` later. Bytes sent, received, and of operands that the chip adds to. It sends along
    this `dim` of the group's, so many chips away (ALL: to all)."""

    port: str
    count: int
    transfer_s: float
    latency_s: float
    sent: float
    received: float
    added: float = 0.0
    away: int = 1
    dim: int = 0

    @property
    def seconds(self) -> float:
        """Of all of them."""
        return self.count * (self.transfer_s + self.latency_s)


def on_one_dim(function: str, dim: Dim, size: float, algorithm: str) -> list[Round]:
    """The rounds of one algorithm. Raises KeyError for one that is not of this kind of dim."""
    if dim.kind in WIRED:
        return _WIRED[function, algorithm](dim, size)
    return _SWITCHED[function, algorithm](dim, size)


def _round(dim: Dim, carried: float, rate: float, away: int = 1, count: int = 1) -> Round:
    """Of as many bytes sent as received."""
    return Round("", count, carried / rate, dim.latency_s, carried, carried, 0.0, away)


def _backwards(rounds: list[Round]) -> list[Round]:
    """Of a reduce_scatter: where a round copies, it adds."""
    return [replace(r, sent=r.received, received=r.sent, added=r.received) for r in rounds[::-1]]


def _ring(dim: Dim, size: float) -> list[Round]:
    share = size / dim.size
    return [_round(dim, share, dim.wire_bytes_per_s, count=dim.size - 1)]


def _bruck(dim: Dim, size: float) -> list[Round]:
    n, share = dim.size, size / dim.size
    blocks = [min(1 << i, n - (1 << i)) for i in range(ceil(log2(n)))]
    return [_round(dim, b * share, dim.wire_bytes_per_s, 1 << i) for i, b in enumerate(blocks)]


def _direct(dim: Dim, size: float) -> list[Round]:
    return [_round(dim, (dim.size - 1) / dim.size * size, dim.bytes_per_s, ALL)]


def _one_shot(dim: Dim, size: float) -> list[Round]:
    whole = _round(dim, (dim.size - 1) * size, dim.bytes_per_s, ALL)
    return [replace(whole, added=whole.received)]


def _logarithm(dim: Dim, size: float, count: int, added: float = 0.0) -> list[Round]:
    """So many rounds of the same bytes, with chips ever farther away."""
    one = _round(dim, size, dim.wire_bytes_per_s)
    return [replace(one, added=added, away=(1 << i) % dim.size or 1) for i in range(count)]


def _doubling(dim: Dim, size: float) -> list[Round]:
    n = dim.size
    return _logarithm(dim, size, int(log2(n)) + (0 if n & (n - 1) == 0 else 2), size)


def _multicast(dim: Dim, size: float) -> list[Round]:
    """The switch copies: a share up, all others down."""
    (direct,) = _direct(dim, size)
    return [replace(direct, sent=size / dim.size)]


def _summed_multicast(dim: Dim, size: float) -> list[Round]:
    (copied,) = _multicast(dim, size)
    return [replace(copied, sent=copied.received, received=copied.sent)]


def _fetch_and_send(dim: Dim, size: float) -> list[Round]:
    return [_round(dim, part, dim.bytes_per_s, ALL) for part in (size, size / dim.size)]


def _averaged(rounds: list[Round], sent: float, received: float) -> list[Round]:
    """The time of the root's, the bytes of the average chip."""
    carried = sum(r.count * r.sent for r in rounds)
    return [
        replace(r, sent=r.sent / carried * sent, received=r.sent / carried * received, added=0.0)
        for r in rounds
    ]


def _spread(dim: Dim, size: float, rounds: list[Round]) -> list[Round]:
    """A broadcast's: every chip but the root receives it once."""
    sent = (dim.size - 1) / dim.size * size
    return _averaged(rounds, sent, sent)


def _copied(dim: Dim, size: float) -> list[Round]:
    """A broadcast through a switch that copies."""
    once = _round(dim, size, dim.bytes_per_s, ALL)
    return _averaged([once], size / dim.size, (dim.size - 1) / dim.size * size)


def _around(dim: Dim, share: float) -> list[Round]:
    """Shares passed on until everyone has all: both ways round a ring, one way along a line."""
    n = dim.size
    if dim.kind == "line":
        return [_round(dim, share, dim.bytes_per_s / 2, count=n - 1)]
    rounds = list[Round]()
    if n > 2:
        rounds.append(_round(dim, 2 * share, dim.bytes_per_s, count=(n - 1) // 2))
    if n % 2 == 0:
        rounds.append(_round(dim, share, dim.bytes_per_s))
    return rounds


def _pass(dim: Dim, size: float) -> list[Round]:
    return _around(dim, size / dim.size)


def _everything_around(dim: Dim, size: float) -> list[Round]:
    """Not shares but all of it, which every chip adds."""
    return [replace(r, added=r.received) for r in _around(dim, size)]


def _exchange_around(dim: Dim, size: float) -> list[Round]:
    """An all_to_all, evened out over its rounds."""
    n, ring = dim.size, dim.kind == "ring"
    count, rate = (n // 2, dim.bytes_per_s) if ring else (n - 1, dim.bytes_per_s / 2)
    fullest = n * n // 4 * size / n
    carried = fullest if ring else (n * n - 1) / 3 * size / n
    each = carried / count
    return [Round("", count, fullest / count / rate, dim.latency_s, each, each)]


Rounds = Callable[[Dim, float], list[Round]]
_LINES: dict[str, Rounds] = {"ring": _ring, "tree": _bruck, "direct": _direct}


def _all_reduce(gather: Rounds) -> Rounds:
    return lambda dim, size: [*_backwards(gather(dim, size)), *gather(dim, size)]


def _scattered(gather: Rounds) -> Rounds:
    """A broadcast as a scatter and an all_gather."""
    return lambda dim, size: [*_bruck(dim, size)[::-1], *gather(dim, size)]


_SWITCHED: dict[tuple[str, str], Rounds] = {
    **{("all_gather", name): rounds for name, rounds in _LINES.items()},
    ("all_gather", "in_network"): _multicast,
    ("reduce_scatter", "ring"): lambda dim, size: _backwards(_ring(dim, size)),
    ("reduce_scatter", "tree"): lambda dim, size: _backwards(_bruck(dim, size)),
    ("reduce_scatter", "direct"): lambda dim, size: _backwards(_direct(dim, size)),
    ("reduce_scatter", "in_network"): _summed_multicast,
    ("all_reduce", "ring"): _all_reduce(_ring),
    ("all_reduce", "halving"): _all_reduce(_bruck),
    ("all_reduce", "direct"): _all_reduce(_direct),
    ("all_reduce", "tree"): _doubling,
    ("all_reduce", "one_shot"): _one_shot,
    ("all_reduce", "in_network"): _fetch_and_send,
    ("broadcast", "ring"): _scattered(_ring),
    ("broadcast", "direct"): lambda dim, size: _direct(dim, size) * 2,
    ("broadcast", "tree"): lambda dim, size: _spread(
        dim, size, _logarithm(dim, size, ceil(log2(dim.size)))
    ),
    ("broadcast", "one_shot"): lambda dim, size: _spread(dim, size, _one_shot(dim, size)),
    ("broadcast", "in_network"): _copied,
    ("all_to_all", "ring"): _ring,
    ("all_to_all", "tree"): lambda dim, size: _logarithm(dim, size / 2, ceil(log2(dim.size))),
    ("all_to_all", "direct"): _direct,
    ("send", "direct"): lambda dim, size: [_round(dim, size, dim.wire_bytes_per_s)],
}
_WIRED: dict[tuple[str, str], Rounds] = {
    ("all_gather", "ring"): _pass,
    ("reduce_scatter", "ring"): lambda dim, size: _backwards(_pass(dim, size)),
    ("all_reduce", "ring"): _all_reduce(_pass),
    ("all_reduce", "one_shot"): _everything_around,
    ("broadcast", "ring"): lambda dim, size: _pass(dim, size) * 2,
    ("all_to_all", "ring"): _exchange_around,
    ("send", "direct"): lambda dim, size: [_round(dim, size, dim.wire_bytes_per_s)],
}
