"""How groups of ranks can lie on a machine's chips: the layouts and what their groups see.

A machine's chips are a product of dims (accel_models/links.py). A layout splits each dim into
factors of the axes of parallelism and of the stages, which multiply to the axis's size over all
dims, and arranges them on the dim's chips (mappers/arrangement.py). The stages have as many slots
as they need, or a few more where factors must multiply.

The space is every such split with every arrangement of each dim. Not in it: groups that are no
product over the dims (a ring folded through a mesh), stages of different shapes on one machine.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from math import prod

from accel_models.collectives import Dims, Route
from accel_models.links import Dim
from mappers.arrangement import STAGE, Arrangement, Split, arrangements


@dataclass(frozen=True)
class Layout:
    """An arrangement of each dim. Ranks of a stage count in the order of `axes`, the last one
    fastest; an axis is split with its nearest ranks along the innermost dim."""

    axes: Mapping[str, int]
    along: tuple[Arrangement, ...]

    @cached_property
    def groups(self) -> tuple[tuple[str, Dims], ...]:
        """What the chips of a group see along every axis, innermost dim first."""
        return tuple(
            (axis, tuple(dim for each in self.along if (dim := each.group(axis))))
            for axis in self.axes
        )

    @cached_property
    def slots(self) -> tuple[tuple[int, ...], ...]:
        """Where stages can lie: which of each dim's stages."""
        return tuple(product(*(range(each.stages) for each in self.along)))

    @cached_property
    def key(self) -> tuple[str, ...]:
        """Equal for layouts that differ only in which of several equal dims is which."""
        return tuple(sorted(repr((each.dim, each.signature)) for each in self.along))

    def snake(self) -> tuple[int, ...]:
        """The slots so that each is next to the one before."""
        order: list[tuple[int, ...]] = [()]
        for each in self.along:
            there = range(each.stages)
            order = [
                (*before, stage)
                for i, before in enumerate(order)
                for stage in (there if i % 2 == 0 else reversed(there))
            ]
        return tuple(self.slots.index(slot) for slot in order)

    def chips(self, slot: int) -> tuple[int, ...]:
        """The chips of a slot's ranks, numbered from the machine's first."""
        found = []
        for ranks in product(*(range(size) for size in self.axes.values())):
            left = dict(zip(self.axes, ranks, strict=True))
            chip, inside = 0, 1
            for each, stage in zip(self.along, self.slots[slot], strict=True):
                digits = {STAGE: stage}
                for name, factor in each.split:
                    if name != STAGE:
                        left[name], digits[name] = divmod(left[name], factor)
                chip += each.place(digits) * inside
                inside *= each.dim.size
            found.append(chip)
        return tuple(found)

    def route(self, source: int, target: int) -> Route:
        """From every rank of one slot to the same rank of another, all at the same time."""
        ends = zip(self.along, self.slots[source], self.slots[target], strict=True)
        return tuple(way for each, a, b in ends if (way := each.ways[a][b]))


def layouts(dims: Dims, axes: Mapping[str, int], stages: int) -> Iterator[Layout]:
    """Every layout with a slot for each stage."""
    sizes = [dim.size for dim in dims]
    known: dict[tuple[Dim, Split], list[Arrangement]] = {}
    for choice in product(*(list(_factors(size, sizes)) for size in axes.values())):
        taken = [prod(factors[i] for factors in choice) for i in range(len(dims))]
        if any(t > size for t, size in zip(taken, sizes, strict=True)):
            continue
        free = [size // t for t, size in zip(taken, sizes, strict=True)]
        for slots in _enough(stages, free):
            options = []
            for i, dim in enumerate(dims):
                split = [(axis, factors[i]) for axis, factors in zip(axes, choice, strict=True)]
                used = tuple((name, n) for name, n in [*split, (STAGE, slots[i])] if n > 1)
                options.append(known.setdefault((dim, used), arrangements(dim, used)))
            for along in product(*options):
                yield Layout(axes, along)


def _enough(stages: int, limits: list[int]) -> Iterator[tuple[int, ...]]:
    """Factors of the stages in each dim, none larger than so many stages need."""
    for factors in product(*(range(1, limit + 1) for limit in limits)):
        whole = prod(factors)
        if whole >= stages and all(whole // f * (f - 1) < stages for f in factors):
            yield factors


def _factors(size: int, limits: list[int]) -> Iterator[tuple[int, ...]]:
    """Every way to write `size` as a product of as many factors as there are limits."""
    if not limits:
        if size == 1:
            yield ()
        return
    for first in range(1, min(size, limits[0]) + 1):
        if size % first == 0:
            for rest in _factors(size // first, limits[1:]):
                yield (first, *rest)
