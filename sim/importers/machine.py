"""A machine as the four tools see it: a chain of memories, outermost first, over
multiply-accumulators.

Every importer states what it read in these words; `write` turns them into a design. What a file
does not say is None; an amount that is unlimited is infinity. Instances multiply along the chain:
`fan_out` counts a level's instances in one instance of the level above, axis by axis.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from math import prod

from accel_models.memory import OPERANDS
from accel_models.path import ENGINE
from accel_models.reader import Place
from sim.importers.foreign import Block, repeated, unread

MANY = 2  # places of the same key and value that are still listed one by one
# Names that a run's resources have.
RESERVED = {ENGINE, "matrix", "vector", "power", "in_flight", "launch", "sync", "epilogue"}


@dataclass(frozen=True, slots=True)
class Axis:
    """A direction of a fan-out; `ranks` may be split along it (None: any)."""

    name: str
    size: int
    ranks: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class FanOut:
    """Instances in one instance of the level above. With `multicast` a read above serves all that
    want the same; with `reduction` sums add up on the way."""

    axes: tuple[Axis, ...] = ()
    multicast: bool = True
    reduction: bool = True

    @property
    def count(self) -> int:
        return prod(axis.size for axis in self.axes)


@dataclass(frozen=True, slots=True)
class Store:
    """One memory of theirs. Bits, bits per second and J per bit, of one instance."""

    name: str
    place: Place
    class_name: str = ""
    fan_out: FanOut = FanOut()
    capacity_bits: float | None = None
    keeps: tuple[str, ...] = OPERANDS
    bypass: tuple[str, ...] = ()
    read_bits_per_s: float | None = None
    write_bits_per_s: float | None = None
    shared_port: bool = True
    read_j_per_bit: float | None = None
    write_j_per_bit: float | None = None
    width_bits: float | None = None  # of an access
    buffering: str = "single"


@dataclass(frozen=True, slots=True)
class Macs:
    """The multiply-accumulators; `bits` of weight, activation and output."""

    name: str
    place: Place
    fan_out: FanOut = FanOut()
    energy_j: float | None = None
    bits: tuple[int, int, int | None] = (8, 8, None)
    per_cycle: float = 1.0


@dataclass(frozen=True, slots=True)
class Systolic:
    """A systolic array in the place of separate multiply-accumulators."""

    rows: int
    cols: int
    dataflow: str
    weight_preload: str


@dataclass(frozen=True, slots=True)
class Machine:
    """All of it. `stores` outermost first."""

    tool: str
    name: str
    stores: tuple[Store, ...]
    macs: Macs
    clock_hz: float | None = None
    node_m: float | None = None
    static_w: float | None = None
    systolic: Systolic | None = None


@dataclass(frozen=True, slots=True)
class Note:
    """`where`: file and line; `what` stands there; `why` it became what it did."""

    where: str
    what: str
    why: str


@dataclass(slots=True)
class Notes:
    """What became of everything in the files."""

    carried: list[Note] = field(default_factory=list)
    assumed: list[Note] = field(default_factory=list)
    not_carried: list[Note] = field(default_factory=list)

    def carry(self, where: Place | str, what: str, to: str) -> None:
        self.carried.append(Note(str(where), what, to))

    def assume(self, where: Place | str, what: str, why: str) -> None:
        self.assumed.append(Note(str(where), what, why))

    def drop(self, where: Place | str, what: str, why: str) -> None:
        self.not_carried.append(Note(str(where), what, why))

    def drop_unread(self, document: object, why: str) -> None:
        """Everything of a file that no importer asked for, and keys given twice. The same key and
        value in many places is one entry, at the first."""
        places: dict[str, list[tuple[str, str]]] = {}
        for place, path, value in unread(document):
            plain = not isinstance(value, (Block, list))
            shown = f"{path}: {value}" if plain else path
            last = shown.rpartition(".")[2] if plain and "." not in str(value) else shown
            places.setdefault(last, []).append((str(place), shown))
        for last, found in places.items():
            if len(found) > MANY:
                self.drop(found[0][0], f"{last} (here and {len(found) - 1} times more)", why)
                continue
            for where, what in found:
                self.drop(where, what, why)
        for again, key in repeated(document):
            self.drop(again, key, "given twice; the last counts, as the tool reads it")


def named(wanted: str, taken: dict[str, str]) -> str:
    """A key of our file after their name; it is added to `taken` (theirs to ours)."""
    base = re.sub(r"\W+", "_", wanted).strip("_") or "memory"
    base = f"{base}_memory" if base in RESERVED else base
    name, number = base, 2
    while name in taken.values():
        name, number = f"{base}_{number}", number + 1
    taken[wanted] = name
    return name
