"""Groups of ranks along one dim: which chips they take, and what their messages share.

A dim of n chips is split into factors of axes, [("tensor", 2), ("stage", 3)]; its ranks count with
the first factor fastest, and `places` says which chip each of them is. On a switch or full mesh all
places are alike. On a ring or line a group's chips hand blocks to their neighbors in the group,
all groups of the axis at once (those of other stages too, as in a full pipeline):

    line   rate = chip's / (messages on the fullest wire each way), hop = the longest gap
    ring   rate = chip's / groups, hop = the longest gap: all the way around, both ways

and the one with more bandwidth is taken (a line needs two wires' time: accel_models/links.py).
A message to another stage goes the shorter way (upward if both are as long), all ranks at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise, permutations, product
from math import prod

from accel_models.links import Dim, DimKind

STAGE = "stage"
Split = tuple[tuple[str, int], ...]  # (axis, factor)
Way = tuple[Dim, int, int, float]  # hops at most, messages on the fullest wire, hops on average
ARRANGED = 6  # chips of a dim up to which every arrangement is tried; above, boxes


@dataclass(frozen=True)
class Arrangement:
    """Ranks on the chips of a dim."""

    dim: Dim
    split: Split
    places: tuple[int, ...]

    @property
    def stages(self) -> int:
        """How many lie along the dim."""
        return prod(factor for name, factor in self.split if name == STAGE)

    def place(self, digits: dict[str, int]) -> int:
        """The chip at these positions along the axes."""
        rank, stride = 0, 1
        for name, factor in self.split:
            rank += digits[name] * stride
            stride *= factor
        return self.places[rank]

    def group(self, axis: str) -> Dim | None:
        """What the chips of one group along this axis see; None if the axis is not split here."""
        size = dict(self.split).get(axis, 1)
        if size == 1:
            return None
        if self.dim.kind in ("switch", "full"):
            return self.dim.part(size)
        groups = [
            sorted(self.place(others | {axis: digit}) for digit in range(size))
            for others in self._digits(axis)
        ]
        line = [pair for group in groups for pair in pairwise(group)]
        far, sharing, mean = self._messages(line)
        found = [self._part("line", size, sharing, far, mean)]
        if self.dim.kind == "ring":
            gaps = [
                (b - a) % self.dim.size
                for group in groups
                for a, b in zip(group, group[1:] + group[:1], strict=True)
            ]
            mean = sum(gaps) / len(gaps)
            found.append(self._part("ring", size, len(groups), max(gaps), mean))
        return min(found, key=_slowness)

    @cached_property
    def ways(self) -> tuple[tuple[Way | None, ...], ...]:
        """[stage here][stage there]: from every rank of one to the same of the other; None within
        one."""
        stages = range(self.stages)
        return tuple(tuple(self._way(here, there) for there in stages) for here in stages)

    def _way(self, source: int, target: int) -> Way | None:
        if source == target:
            return None
        if self.dim.kind in ("switch", "full"):
            return self.dim, 1, 1, 1.0
        ends = [
            (self.place(at | {STAGE: source}), self.place(at | {STAGE: target}))
            for at in self._digits(STAGE)
        ]
        return (self.dim, *self._messages(ends))

    @cached_property
    def signature(self) -> tuple[object, ...]:
        """Equal for arrangements in which everything takes the same time."""
        groups = tuple((name, self.group(name)) for name, _ in sorted(self.split) if name != STAGE)
        return groups, self.ways

    def _digits(self, but: str) -> Iterator[dict[str, int]]:
        """Positions along all axes but one."""
        others = [(name, factor) for name, factor in self.split if name != but]
        for digits in product(*(range(factor) for _, factor in others)):
            yield dict(zip((name for name, _ in others), digits, strict=True)) | {but: 0}

    def _messages(self, pairs: list[tuple[int, int]]) -> tuple[int, int, float]:
        """(hops at most, messages on the fullest wire, hops on average) of these at once."""
        n, loads, hops = self.dim.size, Counter[tuple[int, int]](), []
        for source, target in pairs:
            up = (target - source) % n
            upward = 2 * up <= n if self.dim.kind == "ring" else target > source
            hops.append(abs(target - source) if self.dim.kind == "line" else min(up, n - up))
            step = 1 if upward else -1
            loads.update(((source + i * step) % n, step) for i in range(hops[-1]))
        return max(hops), max(loads.values()), sum(hops) / len(hops)

    def _part(self, kind: DimKind, size: int, sharing: int, far: int, mean: float) -> Dim:
        return replace(
            self.dim,
            kind=kind,
            size=size,
            bytes_per_s=self.dim.bytes_per_s / sharing,
            latency_s=self.dim.latency_s * far,
            j_per_byte=self.dim.j_per_byte * mean,
        )


def _slowness(dim: Dim) -> tuple[float, float]:
    """Of passing long messages along, then of short ones."""
    if dim.kind == "ring":
        return 1 / dim.bytes_per_s, dim.size // 2 * dim.latency_s
    return 2 / dim.bytes_per_s, (dim.size - 1) * dim.latency_s


def arrangements(dim: Dim, split: Split) -> list[Arrangement]:
    """Those of which something differs: on a ring or line every one, or the boxes of every order
    of the factors if the dim is large; elsewhere one."""
    ranks = prod(factor for _, factor in split)
    if dim.kind in ("switch", "full") or len(split) < 2:
        return [Arrangement(dim, split, tuple(range(ranks)))]
    if dim.size > ARRANGED:
        orders = [Arrangement(dim, order, tuple(range(ranks))) for order in permutations(split)]
        return list({each.signature: each for each in orders}.values())
    found: dict[object, Arrangement] = {}
    for places in permutations(range(dim.size), ranks):
        each = Arrangement(dim, split, places)
        if _in_order(each):
            found.setdefault(each.signature, each)
    return list(found.values())


def _in_order(each: Arrangement) -> bool:
    """Is this the first of those that only number the ranks of an axis otherwise?"""
    stride = 1
    for _, factor in each.split:
        line = [each.places[digit * stride] for digit in range(factor)]
        if line != sorted(line):
            return False
        stride *= factor
    return each.dim.kind == "line" or each.places[0] == 0
