"""Steady states: a run that has come back to a state it was in does the same again, later.

The state is what decides about the future: for every actor the run of its cycle that it is in and
the firings on the way, tokens and space of the channels, the queues and rounding of the resources,
and what is pending, how far ahead. Max-plus linear systems, which programs without priorities are,
reach a period after finitely many firings (Baccelli, Cohen, Olsder, Quadrat, "Synchronization and
Linearity", 1992, th. 3.109). Once a state is met again, whole periods are leapt over: clocks and
counters move on, nothing is approximated.
"""

from __future__ import annotations

from math import lcm
from typing import TYPE_CHECKING

from sim.event.record import Counters, Fold

if TYPE_CHECKING:
    from sim.event.engine import Engine, Player

STATES = 2048  # remembered at once
State = tuple[object, ...]
Then = tuple[int, dict[str, int], dict[str, Counters]]  # when, firings started, counters


class Folder:
    """Watches an engine for states that come back."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.seen: set[State] = set()
        self.watched: tuple[State, Then] | None = None
        self.beat = lcm(*(server.period for server in engine.servers.values()))
        # whose deliveries are worth a look: the actor that fires most often
        self.pacer = max(engine.players.values(), key=lambda player: player.total)
        self.last = self.step = self.looks = 0

    def look(self) -> None:
        """After the pacer's delivery: leap if a state that came back has come back again."""
        if self.pacer.total - self.pacer.finished < 2 or not self._worth_a_look():
            return
        state = self._state()
        if self.watched is not None and state == self.watched[0]:
            self._leap(*self.watched[1])
            self.watched = None
            self.seen.clear()
        elif state in self.seen and self.watched is None:
            self.watched = state, self._snapshot()
        elif len(self.seen) < STATES:
            self.seen.add(state)
        else:
            self.seen.clear()
            self.watched = None

    def _worth_a_look(self) -> bool:
        """Is the time since the delivery before the same as then? Else every eighth is."""
        now = self.engine.clockwork.now
        before, self.step = self.step, now - self.last
        self.last, self.looks = now, self.looks + 1
        return self.step == before or self.looks % 8 == 0

    def _state(self) -> State:
        engine = self.engine
        clockwork = engine.clockwork
        actors = tuple(
            (
                p.busy,
                p.at(p.started)[0] if p.started < p.total else -1,
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

    def _ahead(self, now: int) -> tuple[object, ...]:
        """What is pending, how far ahead, in order."""
        return tuple(
            (when - now, *(part if isinstance(part, (str, int)) else part.place() for part in key))
            for when, key in self.engine.clockwork.pending.values()
        )

    def _snapshot(self) -> Then:
        engine = self.engine
        started = {name: player.started for name, player in engine.players.items()}
        counters = {name: server.counters.copy() for name, server in engine.servers.items()}
        return engine.clockwork.now, started, counters

    def _leap(self, then: int, started: dict[str, int], counters: dict[str, Counters]) -> None:
        """Over as many periods as all actors still have, but one."""
        engine = self.engine
        times = min(
            (self._periods(player, started[name]) for name, player in engine.players.items()),
            default=0,
        )
        if times < 1:
            return
        now = engine.clockwork.now
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
