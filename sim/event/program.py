"""What the event engine runs: actors that fire on contended resources, joined by bounded channels.

A program is a cyclo-static dataflow graph (Lee and Messerschmitt, "Synchronous Data Flow", Proc.
IEEE 75(9), 1987; Bilsen et al., "Cyclo-Static Dataflow", IEEE Trans. Signal Processing 44(2), 1996)
with resources: an actor fires a known number of times; a firing takes tokens from its inputs and
space in its outputs (credits, Kung, NBT, 1994), uses resources, gives the space of its inputs back,
and after `latency` hands on its tokens. Buffers, look-ahead, barriers and engines that hand over
only every so often are all channels:

    double buffering     capacity 2          single buffering   capacity 1
    a tile used r times  the load produces r tokens, its user takes 1
    a sum of r steps     the store takes r tokens
    look-ahead by k      capacity k          barrier of n       n channels into one actor

A firing's uses follow one another as data do that stream through (cut-through): a use begins when
the one before it has begun, and ends no earlier than it, each resource being busy for its own
service only.

Rates may differ by the runs of an actor's cycle (the static phases of the second paper): who gives
only with its last run tells that all of the cycle is done.
Not modeled: firings whose number depends on data.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from math import lcm

Rate = int | tuple[int, ...]  # tokens of a firing, or by the runs of its actor's cycle
FINE = 1024  # where service times are averages over a step's tiles, a cycle has so many ticks


@dataclass(frozen=True, slots=True)
class Resource:
    """Something that serves one use at a time (`width`: so many), in order of (priority, arrival).

    A use of amount x takes x / rate cycles of `clock_hz`; it ends on a whole cycle, and what was
    rounded up is taken off the next one if that follows at once. A use of another kind than the one
    before costs `turnaround` cycles more (uses without a kind and sync aside); after every
    `refresh_every` cycles of service `refresh_for` are lost. With a `burst` it is a token bucket
    (sim/event/bucket.py) with so much `credit` at the start: a use takes what this does not cover.
    """

    name: str
    clock_hz: int
    rate: Fraction = Fraction(1)
    width: int = 1
    turnaround: int = 0
    refresh_every: int = 0
    refresh_for: int = 0
    burst: int = 0
    credit: int = 0


@dataclass(frozen=True, slots=True)
class Use:
    """Of a resource, in its unit of work. `kind`: read, write, sync, or whatever is told apart;
    `refresh`: of the amount, what the resource is refreshed for meanwhile."""

    resource: str
    amount: int
    kind: str = ""
    refresh: int = 0

    def part(self, amount: int) -> Use:
        """So much of it, with its share of the refresh."""
        return replace(self, amount=amount, refresh=self.refresh * amount // max(1, self.amount))


@dataclass(frozen=True, slots=True)
class Run:
    """So many firings alike. `latency`: ticks from the end of the uses to the tokens."""

    count: int
    uses: tuple[Use, ...] = ()
    latency: int = 0


@dataclass(frozen=True, slots=True)
class Actor:
    """Fires through its `cycle` of runs, `repeat` times over. Lower `priority` goes first."""

    name: str
    cycle: tuple[Run, ...]
    repeat: int = 1
    priority: int = 0

    @property
    def length(self) -> int:
        """Firings of one cycle."""
        return sum(run.count for run in self.cycle)

    @property
    def firings(self) -> int:
        return self.repeat * self.length


@dataclass(frozen=True, slots=True)
class Channel:
    """Tokens from one actor to another. `kind` says what waiting for it means: data, space (tokens
    that are credits), sync or launch; waiting for its space is waiting for space whatever it is.
    `after`: no tokens, but the target's first firing waits for the source's last."""

    source: str
    target: str
    produce: Rate = 1
    consume: Rate = 1
    initial: int = 0
    capacity: int | None = None
    kind: str = "data"
    after: bool = False


@dataclass(frozen=True)
class Program:
    """Actors by name, what joins them, and what they use. `pacers`: after whose firings it is worth
    a look whether a state has come back; without any, after those of who fires most often."""

    actors: tuple[Actor, ...]
    channels: tuple[Channel, ...]
    resources: tuple[Resource, ...]
    pacers: tuple[str, ...] = ()

    @property
    def tick_hz(self) -> int:
        """Ticks per second: every clock's cycle is a whole number of them."""
        return lcm(*(resource.clock_hz for resource in self.resources))


def check(program: Program) -> None:
    """Raises ValueError for names that are not there or twice, and channels that cannot balance."""
    actors = {actor.name: actor for actor in program.actors}
    resources = {resource.name for resource in program.resources}
    if len(actors) < len(program.actors) or len(resources) < len(program.resources):
        raise ValueError("two actors or two resources of one name")
    for resource in program.resources:
        if resource.credit > resource.burst or (resource.burst and resource.width > 1):
            raise ValueError(f"{resource.name}: a bucket serves one at a time, up to its burst")
    for actor in program.actors:
        for run in actor.cycle:
            if unknown := {use.resource for use in run.uses} - resources:
                raise ValueError(f"{actor.name}: no resource {', '.join(sorted(unknown))}")
    for channel in program.channels:
        source, target = actors[channel.source], actors[channel.target]
        if channel.after:
            continue
        made = channel.initial + given(source, channel.produce, source.firings)
        if made < given(target, channel.consume, target.firings):
            raise ValueError(f"{source.name} gives {target.name} too little: {made} tokens")
        if channel.capacity is not None and channel.capacity < max(
            *rates(source, channel.produce), *rates(target, channel.consume), channel.initial
        ):
            raise ValueError(f"{source.name} to {target.name}: no room for one firing's tokens")


def rates(actor: Actor, rate: Rate) -> tuple[int, ...]:
    """Tokens by the runs of the actor's cycle. Raises ValueError if they are not as many."""
    if isinstance(rate, int):
        return (rate,) * len(actor.cycle)
    if len(rate) != len(actor.cycle):
        raise ValueError(f"{actor.name}: {len(rate)} rates of {len(actor.cycle)} runs")
    return rate


def given(actor: Actor, rate: Rate, firings: int) -> int:
    """Tokens of its first firings."""
    if isinstance(rate, int):
        return firings * rate
    runs = list(zip(actor.cycle, rates(actor, rate), strict=True))
    whole, rest = divmod(firings, actor.length)
    total = whole * sum(run.count * tokens for run, tokens in runs)
    for run, tokens in runs:
        total += min(run.count, rest) * tokens
        rest -= min(run.count, rest)
    return total


def contested(program: Program) -> dict[str, int]:
    """Resources that more than one actor uses, or one more than once in a firing, numbered from 1
    by name."""
    users: dict[str, set[str]] = {}
    several = set()
    for actor in program.actors:
        for run in actor.cycle:
            names = [use.resource for use in run.uses]
            several |= {name for name in names if names.count(name) > 1}
            for name in names:
                users.setdefault(name, set()).add(actor.name)
    several |= {name for name, actors in users.items() if len(actors) > 1}
    return {name: number for number, name in enumerate(sorted(several), 1)}
