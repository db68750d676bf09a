"""A collective as a program: the rounds of its algorithm on the chip's ports and on the chip.

    launch -> send (round after round; what arrived begins the next one) -> end

A round holds, as data stream through, the outermost memory (what the chip sends and adds to is
read, what it receives written), its vector engine (additions), and its port (bytes over the wire's
rate); after them comes the latency, in which nothing is busy. So

    seconds = launch + access + sum over rounds of (max(port, memory, vector, power) + latency)

This is the closed form (mappers/collective.py) where the port takes longest in every round, and no
more than the sum of its parts anywhere: times are the closed form's, divided over the rounds by
their bytes (power: by their time). Where a phase has lanes side by side, the chip's own part runs
beside them in as many steps. Ranks do the same at the same time, so that one is run, which hears
itself; `every_rank` runs all, each waiting for those that send to it.
A message may go in pieces, so that others who want the same memory get it in between; `chunked`,
each is passed on when it is there: latencies then hide behind sending, which the closed forms do
not have.
Not modeled: ranks that begin at different times, cores that a library takes to move data.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import ceil

from accel_models.collective_phases import WHOLE, Lane, Phases
from accel_models.collective_rounds import ALL, Round
from accel_models.path import Path
from mappers.cost import Cost
from sim.event.program import FINE, Actor, Channel, Program, Resource, Run, Use

NOTHING = 1e-15  # seconds
AHEAD = 2  # pieces of a message on the chip: one that is sent, one that is read
Place = tuple[int, ...]  # of a chip, along each direction
Before = tuple[str, Round | None]  # a round that comes before, and what was sent in it


@dataclass(frozen=True, slots=True)
class Pieces:
    """Of every message. `chunked`: each is passed on when it is there, else when all of them are.
    Raises ValueError for fewer than one."""

    count: int = 1
    chunked: bool = False

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"a message in {self.count} pieces: it has at least 1")


WHOLE_MESSAGES = Pieces()


def collective_program(
    cost: Cost, phases: Phases, path: Path, pieces: Pieces = WHOLE_MESSAGES
) -> Program:
    """Of one rank."""
    chip = _Chip(cost, phases, path)
    actors, channels = [chip.launch()], list[Channel]()
    for number, phase in enumerate(chip.parts()):
        before, end = actors[-1].name, Actor(f"end.{number}", (Run(1),))
        kind = "data" if number else "launch"
        for i, lane in enumerate(phase):
            mine, joins = _lane(f"{number}.{i}", [chip.run(p, pieces.count) for p in lane], pieces)
            actors += mine
            firings = mine[0].firings
            channels.append(Channel(before, mine[0].name, produce=firings, kind=kind))
            channels += [*joins, Channel(mine[-1].name, end.name, consume=firings)]
        actors.append(end)
    return _program(actors, channels, chip.clock)


def _lane(name: str, runs: list[Run], pieces: Pieces) -> tuple[list[Actor], list[Channel]]:
    """Rounds one after the other, the actor that begins first, the one that sends last. Of several
    pieces no more than AHEAD are on the chip: the memory is read at the pace of the port."""
    send, count = Actor(f"send.{name}", tuple(runs)), pieces.count
    if count == 1:
        return [send], [Channel(send.name, send.name, initial=1)]
    piece = Actor(f"piece.{name}", (Run(send.firings),))
    handed = Channel(piece.name, send.name, capacity=AHEAD)
    if pieces.chunked:
        return [piece, send], [handed, Channel(send.name, piece.name, initial=count)]
    rounds = Actor(f"round.{name}", (Run(send.firings // count),))
    through = Channel(send.name, rounds.name, consume=count, initial=count)
    return [piece, rounds, send], [
        handed,
        through,
        Channel(rounds.name, piece.name, produce=count),
    ]


def every_rank(cost: Cost, phases: Phases, path: Path, sizes: Sequence[int]) -> Program:
    """Of all ranks of a group, of so many chips along each direction; every round is an actor."""
    chip = _Chip(cost, phases, path)
    actors, channels = [chip.launch()], list[Channel]()
    for name, part, before in _steps(chip.parts()):
        for place in product(*map(range, sizes)):
            own = f"{name}{_suffix(place)}"
            actors.append(Actor(own, (chip.run(part, 1, _suffix(place)),)))
            if not before:
                channels.append(Channel("launch", own, kind="launch"))
            channels += (
                Channel(f"{earlier}{_suffix(source)}", own)
                for earlier, sent in before
                for source in _senders(sent, place, sizes)
            )
    return _program(actors, channels, chip.clock)


@dataclass(frozen=True, slots=True)
class _Part:
    """So many rounds alike: seconds of each resource, and the latency. Without a round it is the
    chip's own."""

    count: int
    seconds: Mapping[str, float]
    latency_s: float = 0.0
    sent: Round | None = None


def _steps(phases: Iterable[list[list[_Part]]]) -> Iterator[tuple[str, _Part, list[Before]]]:
    """Every round by itself, after the one before in its lane or after all lanes of the phase
    before."""
    ends = list[Before]()
    for number, phase in enumerate(phases):
        last = list[Before]()
        for i, lane in enumerate(phase):
            before = ends
            rounds = [replace(part, count=1) for part in lane for _ in range(part.count)]
            for k, part in enumerate(rounds):
                name = f"send.{number}.{i}.{k}"
                yield name, part, before
                before = [(name, part.sent)]
            last += before
        ends = last


def _senders(sent: Round | None, place: Place, sizes: Sequence[int]) -> list[Place]:
    """Whose message of this round a chip has when it is over: its own, and others'."""
    if sent is None:
        return [place]
    if sent.dim == WHOLE:  # one ring through all places, in their order
        places = list(product(*map(range, sizes)))
        return [place, places[places.index(place) - 1]]
    along, size = place[sent.dim], sizes[sent.dim]
    others = range(size) if sent.away == ALL else (along, (along - sent.away) % size)
    return [(*place[: sent.dim], other, *place[sent.dim + 1 :]) for other in dict.fromkeys(others)]


def _suffix(place: Place) -> str:
    return "." + "-".join(map(str, place))


def _program(actors: list[Actor], channels: list[Channel], clock: int) -> Program:
    used = {use.resource for actor in actors for run in actor.cycle for use in run.uses}
    resources = tuple(Resource(name, clock) for name in sorted(used))
    return Program(tuple(actors), tuple(channels), resources)


@dataclass(frozen=True)
class _Chip:
    """What a chip's resources do in each round."""

    cost: Cost
    phases: Phases
    path: Path

    @property
    def clock(self) -> int:
        return round(self.path.clock_hz) * FINE

    def launch(self) -> Actor:
        """All launches, and the first access."""
        fixed = self.cost.exposed["launch"] + self.cost.exposed["access"]
        uses = (Use("launch", ceil(fixed * self.clock)),) if fixed else ()
        return Actor("launch", (Run(1, uses),))

    def run(self, part: _Part, pieces: int, chip: str = "") -> Run:
        """Its rounds, each in so many pieces, on the chip of this suffix. What is quicker comes
        first, so that all begin at once: data stream through at the pace of the slowest."""
        uses = tuple(
            Use(name + chip, ceil(seconds * self.clock / pieces))
            for name, seconds in sorted(part.seconds.items(), key=lambda item: item[1])
            if seconds > NOTHING
        )
        return Run(part.count * pieces, uses, ceil(part.latency_s * self.clock))

    def parts(self) -> Iterator[list[list[_Part]]]:
        """The lanes of each phase; of several, the chip's own part is a lane of its own."""
        whole = _whole(lane for phase in self.phases for lane in phase)
        for phase in self.phases:
            if len(phase) == 1:
                yield [[self.part(each, whole) for each in phase[0]]]
                continue
            lanes = [
                [_Part(r.count, {r.port: r.transfer_s}, r.latency_s, r) for r in lane]
                for lane in phase
            ]
            rounds = max(sum(each.count for each in lane) for lane in phase)
            own = {
                name: seconds / rounds for name, seconds in self.own(_whole(phase), whole).items()
            }
            yield [*lanes, [_Part(rounds, own)]]

    def part(self, each: Round, whole: Round) -> _Part:
        """The chip's and the port's, as data stream through."""
        seconds = {each.port: each.transfer_s, **self.own(each, whole)}
        return _Part(each.count, seconds, each.latency_s, each)

    def own(self, each: Round, whole: Round) -> dict[str, float]:
        """Seconds of the chip's resources, of the whole collective's."""
        busy = self.cost.work.busy
        shares = {
            self.path.levels[0].name: (_moved(each), _moved(whole)),
            "vector": (each.added, whole.added),
            "power": (each.transfer_s, whole.transfer_s),
        }
        return {
            name: float(busy.get(name, 0.0)) * part / every
            for name, (part, every) in shares.items()
            if every
        }


def _whole(lanes: Iterable[Lane]) -> Round:
    """All rounds of all lanes as one."""
    total = Round("", 1, 0.0, 0.0, 0.0, 0.0)
    for each in (each for lane in lanes for each in lane):
        total = replace(
            total,
            transfer_s=total.transfer_s + each.count * each.transfer_s,
            sent=total.sent + each.count * each.sent,
            received=total.received + each.count * each.received,
            added=total.added + each.count * each.added,
        )
    return total


def _moved(each: Round) -> float:
    """Bytes read and written."""
    return each.sent + each.added + each.received
