"""Steady states: a run that has come back to a state it was in does the same again, later.

The state is what decides about the future: for every actor the run of its cycle that it is in and
the firings on the way, tokens and space of the channels, the queues and rounding of the resources,
and what is pending, how far ahead. Max-plus linear systems, which programs without priorities are,
reach a period after finitely many firings (Baccelli, Cohen, Olsder, Quadrat, "Synchronization and
Linearity", 1992, th. 3.109). Once a state is met again, whole periods are leapt over: clocks and
counters move on, nothing is approximated. Credits of buckets are no part of a state; they say how
many periods there may be.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import lcm
from typing import TYPE_CHECKING

from sim.event.bucket import FOREVER, Bucket, Mark
from sim.event.record import Counters, Fold

if TYPE_CHECKING:
    from sim.event.engine import Engine
    from sim.event.players import Player

STATES = 2048  # remembered at once
OFTEN = 256  # firings from which on an actor's are many
PATIENCE = 64  # looks at first for a watched state to come back
State = tuple[object, ...]
Then = tuple[int, dict[str, int], dict[str, Counters], dict[str, Mark]]  # when, firings started,
# counters, credits


class Watch:
    """States after the firings of one actor, the pacer: what is worth a look, and what came back.

    Of one that fires seldom (a layer's first op) each state is compared with the one before; of
    others those that are seen for the second time are watched for a third."""

    __slots__ = ("_folder", "_last", "_looks", "_pacer", "_patience", "_seen", "_since",
                 "_step", "_watched")  # fmt: skip

    def __init__(self, folder: Folder, pacer: Player) -> None:
        self._folder, self._pacer = folder, pacer
        self._seen: set[State] = set()
        self._watched: tuple[State, Then] | None = None
        self._last = self._step = self._looks = 0
        self._since, self._patience = 0, PATIENCE

    def look(self) -> None:
        """After the pacer's delivery: leap if a state that came back has come back again."""
        pacer, folder = self._pacer, self._folder
        if pacer.total - pacer.finished < 2 or not self._worth_a_look():
            return
        state, watched = folder.state(), self._watched
        if pacer.total < OFTEN:  # what resources waited counts too, as a third time would tell
            state = (*state, folder.ages())
        if watched is not None and state == watched[0]:
            folder.leap(*watched[1])
            self._watched, self._patience = None, PATIENCE
            self._seen.clear()
        elif pacer.total < OFTEN or (state in self._seen and (not watched or self._in_vain())):
            self._watched, self._since = (state, folder.snapshot()), self._looks
        elif len(self._seen) < STATES:
            self._seen.add(state)
        else:
            self._seen.clear()
            self._watched = None

    def _in_vain(self) -> bool:
        """Has it been watched for too long? Then another one is, for twice as long (Brent, "An
        improved Monte Carlo factorization algorithm", BIT 20, 1980, sec. 7): what is periodic now
        need not come back to what was periodic before."""
        if self._looks - self._since <= self._patience:
            return False
        self._patience *= 2
        return True

    def _worth_a_look(self) -> bool:
        """Is the time since the delivery before the same as then? Else every eighth is."""
        if self._pacer.total < OFTEN:
            return True
        now = self._folder.engine.clockwork.now
        before, self._step = self._step, now - self._last
        self._last, self._looks = now, self._looks + 1
        return self._step == before or self._looks % 8 == 0


class Folder:
    """Compares states of an engine, and leaps over periods of what comes back."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.beat = lcm(*(server.period for server in engine.servers.values()))
        # whose deliveries are worth a look
        players = [engine.players[name] for name in engine.program.pacers]
        players = players or [max(engine.players.values(), key=lambda player: player.total)]
        self.watches = {player: Watch(self, player) for player in players}

    def state(self) -> State:
        """All that the future depends on, but how much is left to do."""
        engine = self.engine
        clockwork = engine.clockwork
        actors = tuple(
            (
                p.busy,
                p.at(p.started)[0] if p.started < p.total else -1,
                not p.started and bool(p.before),
                p.blocked[0] if p.blocked else "",
                tuple(firing.progress() for firing in p.flight),
            )
            for p in engine.players.values()
        )
        streams = tuple(
            (s.tokens, s.room)
            for s in engine.streams
            if s.room is not None or s.source.finished < s.source.total
        )
        servers = tuple(server.state() for server in engine.servers.values())
        now = clockwork.now
        return actors, streams, servers, self._ahead(now), now % self.beat

    def ages(self) -> State:
        """How long ago each resource's last use ended."""
        now, servers = self.engine.clockwork.now, self.engine.servers.values()
        return tuple(now - server.counters.last_end for server in servers)

    def _ahead(self, now: int) -> tuple[object, ...]:
        """What is pending, how far ahead, in order."""
        return tuple(
            (when - now, *(part if isinstance(part, (str, int)) else part.place() for part in key))
            for when, key in self.engine.clockwork.pending.values()
        )

    def snapshot(self) -> Then:
        """What a leap counts on."""
        engine = self.engine
        started = {name: player.started for name, player in engine.players.items()}
        counters = {name: server.counters.copy() for name, server in engine.servers.items()}
        now = engine.clockwork.now
        return now, started, counters, {n: bucket.mark(now) for n, bucket in self._buckets()}

    def _buckets(self) -> Iterator[tuple[str, Bucket]]:
        for name, server in self.engine.servers.items():
            if server.bucket:
                yield name, server.bucket

    def _times(self, now: int, started: dict[str, int], marks: dict[str, Mark]) -> int:
        """As many periods as all actors still have, but one, and all credits."""
        players = self.engine.players.items()
        times = min((self._periods(player, started[name]) for name, player in players), default=0)
        most = (bucket.times(marks[name], now) for name, bucket in self._buckets())
        return min(times, *most, FOREVER)

    def leap(
        self,
        then: int,
        started: dict[str, int],
        counters: dict[str, Counters],
        marks: dict[str, Mark],
    ) -> None:
        """Over as many periods as there are."""
        engine = self.engine
        now = engine.clockwork.now
        times = self._times(now, started, marks)
        if times < 1:
            return
        busy = {
            name: server.counters.total - counters[name].total
            for name, server in engine.servers.items()
        }
        engine.folds.append(Fold(now, now - then, times, busy))
        leap = times * (now - then)
        mores = {n: times * (p.started - started[n]) for n, p in engine.players.items()}
        for name, player in engine.players.items():
            more = mores[name]
            player.started += more
            player.finished += more
            for firing in player.flight:
                firing.index += more
        for name, server in engine.servers.items():
            if server.counters.jobs > counters[name].jobs:
                server.counters.grow(counters[name], times)
                server.counters.last_end += leap
                server.ended += leap
                if server.bucket:
                    server.bucket.leap(marks[name], now, times, leap)
            for *_, job, _ in server.queue:
                job.asked += leap
                job.fired += leap
                job.index += mores[job.actor]
        engine.clockwork.leap(leap)

    def _periods(self, player: Player, before: int) -> int:
        """How often the actor can do again what it did since `before` firings."""
        each = player.started - before
        if not each:
            return 1 << 62
        length = player.bounds[-1]
        if each % length == 0:
            return (player.total - player.started) // each - 1
        if before // length != player.started // length:
            return 0
        place = player.at(before)[0]
        if player.at(player.started)[0] != place:
            return 0
        left = player.bounds[place] - player.started % length
        return left // each - 1
