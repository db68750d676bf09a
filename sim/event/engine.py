"""Runs a program: actors fire as soon as tokens, space and resources let them.

An actor has one firing at a time in its first resource; the next may start when that lets go of the
one before, so that transfers and pipelines overlap as far as channels allow. Tokens are handed on
in the order of firings: one that is through before those before it waits for them. Deterministic,
see `clockwork`.
"""

from __future__ import annotations

from sim.event.clockwork import Clockwork
from sim.event.fold import Folder
from sim.event.players import Player, Stream
from sim.event.program import Program, Run, check, contested
from sim.event.record import KEPT, Fold, Job, Timeline
from sim.event.servers import Server


class DeadlockError(AssertionError):
    """Actors that can never fire again, though they should: a program of ours is wrong."""


class Engine:
    """A program's run. `fold`: leap over what repeats; `record`: keep every use."""

    def __init__(self, program: Program, fold: bool = True, record: bool = True) -> None:
        check(program)
        self.program, self.record = program, record
        self.clockwork, ranks = Clockwork(), contested(program)
        self.servers = {
            spec.name: Server(spec, self.clockwork, program.tick_hz, ranks.get(spec.name, 0))
            for spec in program.resources
        }
        self.players = {actor.name: Player(actor) for actor in program.actors}
        self.streams = []
        for channel in program.channels:
            source, target = self.players[channel.source], self.players[channel.target]
            stream = Stream(channel, source, target)
            (source.after if channel.after else source.outputs).append(stream)
            (target.before if channel.after else target.inputs).append(stream)
            self.streams.append(stream)
        self.jobs, self.folds = list[Job](), list[Fold]()
        self.ended: dict[str, int] = {}
        self.folder = Folder(self) if fold else None

    def run(self) -> Timeline:
        """To the end. Raises DeadlockError."""
        for player in self.players.values():
            self.offer(player)
        self.clockwork.run()
        stuck = [p.spec.name for p in self.players.values() if p.finished < p.total]
        if stuck:
            raise DeadlockError(f"never fire again: {', '.join(stuck)}")
        return self.timeline()

    def timeline(self) -> Timeline:
        """So far."""
        whole = self.record and len(self.jobs) < KEPT
        return Timeline(
            self.clockwork.now,
            self.program.tick_hz,
            self.clockwork.events,
            {name: server.counters for name, server in self.servers.items()},
            self.jobs,
            self.folds,
            {name: player.finished for name, player in self.players.items()},
            whole,
            self.ended,
            {n: s.bucket.kept(self.clockwork.now) for n, s in self.servers.items() if s.bucket},
        )

    def offer(self, player: Player) -> None:
        """Let it fire if it can."""
        if player.busy or player.started == player.total:
            return
        phase, run = player.at(player.started)
        lacking = player.lacks(phase)
        if lacking:
            player.blocked = lacking
            return
        for stream in player.inputs:
            stream.tokens -= stream.takes[phase]
        for stream in player.outputs:
            if stream.room is not None:
                stream.room -= stream.gives[phase]
        player.busy = True
        index, player.started = player.started, player.started + 1
        self._fire(player, index, (phase, run))

    def _fire(self, player: Player, index: int, which: tuple[int, Run]) -> None:
        cause, after = "", player.last
        if player.blocked:
            cause, stream = player.blocked
            after = stream.gave if stream.target is player else stream.took
            player.blocked = None
        run, firing = which[1], Firing(self, player, index, which, (cause, after))
        player.flight.append(firing)
        if run.uses:
            firing.ask(0)
        else:
            firing.complete()
            self.clockwork.at(0, lambda: self.again(player), ("again", 0, player))

    def again(self, player: Player) -> None:
        """After a firing that took no time; not at once, or actors that do so would call each other
        as often as they fire."""
        player.busy = False
        self.offer(player)

    def keep(self, job: Job) -> None:
        """Record it, while there is room."""
        if self.record and len(self.jobs) < KEPT:
            self.jobs.append(job)
        else:
            job.after = job.behind = None

    def finished(self, player: Player, phase: int, last: Job | None) -> None:
        """A firing's uses are over: its inputs' space is free."""
        for stream in player.inputs:
            if stream.room is not None and stream.takes[phase]:
                stream.room += stream.takes[phase]
                stream.took = last
                self.offer(stream.source)

    def deliver(self, player: Player) -> None:
        """Tokens of the firings that are through, up to the first that is not."""
        while player.flight and player.flight[0].through:
            firing = player.flight.popleft()
            player.finished += 1
            for stream in player.outputs:
                if stream.gives[firing.phase]:
                    stream.tokens += stream.gives[firing.phase]
                    stream.gave = firing.last
                    self.offer(stream.target)
            if player.finished == player.total:
                self.ended[player.spec.name] = self.clockwork.now
                for stream in player.after:
                    stream.gave = firing.last
                    self.offer(stream.target)
        if self.folder and player in self.folder.watches:
            self.clockwork.between = self.folder.watches[player].look


class Firing:
    """One firing on its way through its uses."""

    __slots__ = ("asked", "because", "engine", "fired", "index", "last", "open", "phase", "player",
                 "run", "through")  # fmt: skip

    def __init__(
        self,
        engine: Engine,
        player: Player,
        index: int,
        which: tuple[int, Run],
        because: tuple[str, Job | None],
    ) -> None:
        self.engine, self.player, self.index = engine, player, index
        (self.phase, self.run), self.because = which, because
        self.open, self.asked = len(self.run.uses), 0
        self.through = False  # its tokens could be handed on
        self.last: Job | None = because[1]
        self.fired = engine.clockwork.now - engine.clockwork.leapt  # leaps move it along

    def ask(self, number: int) -> None:
        """Its use of this number, of the resource that it names."""
        use, engine = self.run.uses[number], self.engine
        self.asked = number + 1
        now = engine.clockwork.now
        because = self.because if number == 0 else ("data", self.last)
        job = Job(use.resource, self.player.spec.name, self.index, use.kind, now, *because)
        job.fired, job.why = self.fired + engine.clockwork.leapt, self.because[0]
        server = engine.servers[use.resource]
        job.refresh = use.refresh
        server.serve(job, use.amount, self.player.spec.priority, _Asker(self, number, job))

    def begun(self, number: int, job: Job) -> None:
        """The next use, so that it ends no earlier than this one."""
        self.engine.keep(job)
        self.last = job
        if number + 1 < len(self.run.uses):
            use = self.run.uses[number + 1]
            service = self.engine.servers[use.resource].ticks(use.amount)
            wait = max(0, job.end - job.begin - service)
            if not wait:
                self.ask(number + 1)
                return
            key = "next", number, self
            self.engine.clockwork.at(wait, lambda: self.ask(number + 1), key)

    def done(self, number: int, job: Job) -> None:
        """Over with a use; with the first one, the next firing may start."""
        if number == 0:
            self.player.busy = False
            self.player.last = job
        self.open -= 1
        if self.last is None or job.end >= self.last.end:
            self.last = job
        if not self.open:
            self.complete()
        if number == 0:
            self.engine.offer(self.player)

    def complete(self) -> None:
        """All uses are over; tokens follow after the latency."""
        self.engine.finished(self.player, self.phase, self.last)
        if self.run.latency:
            self.engine.clockwork.at(self.run.latency, self.hand_on, ("tokens", 0, self))
        else:
            self.hand_on()

    def hand_on(self) -> None:
        self.through = True
        self.engine.deliver(self.player)

    def place(self) -> tuple[object, ...]:
        """Which of the firings on their way it is."""
        return self.player.spec.name, self.index - self.player.started

    def progress(self) -> tuple[object, ...]:
        """How far it is, and what it waited for, while that matters."""
        phase, asked = self.phase, self.asked
        if asked == len(self.run.uses):
            return phase, asked, self.open, self.through
        clockwork = self.engine.clockwork
        age = clockwork.now - clockwork.leapt - self.fired
        return phase, asked, self.open, self.through, self.because[0], age


class _Asker:
    """A use that waits or is served."""

    __slots__ = ("firing", "job", "number")

    def __init__(self, firing: Firing, number: int, job: Job) -> None:
        self.firing, self.number, self.job = firing, number, job

    def begun(self) -> None:
        self.firing.begun(self.number, self.job)

    def done(self) -> None:
        self.firing.done(self.number, self.job)

    def place(self) -> tuple[object, ...]:
        return self.number, self.firing.place()
