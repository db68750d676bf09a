"""Speculative runs through a pipeline of stages: which there are, and when which token is known.

A run takes some tokens through all stages and yields, for each of them, the model's own next token.
Whether a draft's token is the model's is given, for every position of the text (`right`): the first
wrong one ends a chain of drafted tokens, and the model's own takes its place.

    none         one token a run, each after the one before
    sync         the draft makes k tokens, then a run of k + 1 says how many are right
    async        the last token goes ahead at once; drafted ones follow, k a run, as soon as they
                 are drafted and a place is free. When a token comes out that was drafted wrong, all
                 behind it is given up: runs at work end with the layer that they are in, others do
                 not begin; and it begins anew with the right token
    uncancelled  the same, but runs that are given up go through to the end

Times are max-plus, in whole ticks: at a stage a run begins when it has come from the stage before
and the run before it is through; a hand-over takes `hop`. With S stages of t ticks for a run of one
token, T for k + 1 and U for k, and d for a drafted token, n tokens take n S (t + hop) with none; i
rounds of sync i (k d + hop + S (T + hop)); and async whose drafts are all right, made no slower
than a stage takes them, hop + S (U + hop) + k d + (r - 1) U for 1 + r k tokens.
Source: PipeInfer, arXiv 2407.11798 (continuous asynchronous speculation, early cancellation).
Not modeled: trees of drafts, a k that adapts, the way of the signal that cancels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from sim.event.program import Program
from sim.event.tasks import NANOSECONDS, Task, tasks_program

WAYS = ("async", "uncancelled", "sync", "none")
DRAFT = "draft"


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Ticks of each stage for runs of one token, of k drafted ones and of k + 1, and its layers;
    ticks of a drafted token and of a hand-over. `places`: runs that are on their way at once."""

    one: tuple[int, ...]
    drafted: tuple[int, ...]
    verified: tuple[int, ...]
    layers: tuple[int, ...]
    token: int
    hop: int
    k: int
    places: int


@dataclass(slots=True)
class SpeculativeRun:
    """`ticks` of the draft before it, and of each stage that it came to; it waits for runs of these
    numbers to come out, its draft for another draft. `out`: when it comes out."""

    kind: str
    waits: tuple[int, ...]
    drafted: int = 0
    behind: int | None = None
    ticks: list[int] = field(default_factory=list)
    out: int = 0


@dataclass
class Speculation:
    """A text being made, one way: runs so far, and when stages and the draft are free."""

    pipeline: Pipeline
    right: Sequence[bool]
    way: str
    runs: list[SpeculativeRun] = field(default_factory=list)
    known: list[int] = field(default_factory=list)  # when each token was
    free: list[int] = field(default_factory=list)
    draft_free: int = 0

    def make(self) -> Speculation:
        """Every token that `right` has a word on."""
        self.free = [0] * len(self.pipeline.one)
        now, detected = 0, -1
        step = {"none": self._plain, "sync": self._sync}.get(self.way, self._async)
        while len(self.known) < len(self.right):
            now, detected = step(now, detected)
        return self

    def accepted(self, most: int) -> int:
        """Drafted tokens that are right, of so many after the last one known."""
        first = len(self.known)
        chain = self.right[first : first + most]
        return next((i for i, right in enumerate(chain) if not right), most)

    def _learn(self, tokens: int, now: int) -> None:
        """So many tokens more are known, as far as the text goes."""
        self.known += [now] * min(tokens, len(self.right) - len(self.known))

    def _through(self, run: SpeculativeRun, begin: int, until: int | None = None) -> int:
        """Through all stages; those it would begin `until` then, it does not, and it leaves the one
        it is at with the layer. The run's number."""
        full = {"one": self.pipeline.one, "drafted": self.pipeline.drafted}
        at = begin
        for stage, ticks in enumerate(full.get(run.kind, self.pipeline.verified)):
            start = max(at, self.free[stage])
            if until is not None and start >= until:
                break
            if until is not None and start + ticks > until:
                layer = -(-ticks // self.pipeline.layers[stage])
                ticks = min(ticks, -(-(until - start) // layer) * layer)
            run.ticks.append(ticks)
            self.free[stage] = start + ticks
            at = start + ticks + self.pipeline.hop
        run.out = at if len(run.ticks) == len(self.free) else max(at, until or 0)
        self.runs.append(run)
        return len(self.runs) - 1

    def _plain(self, now: int, detected: int) -> tuple[int, int]:
        number = self._through(SpeculativeRun("one", _some(detected)), now)
        self._learn(1, self.runs[number].out)
        return self.runs[number].out, number

    def _sync(self, now: int, detected: int) -> tuple[int, int]:
        pipeline = self.pipeline
        run = SpeculativeRun("verified", _some(detected), pipeline.k * pipeline.token)
        number = self._through(run, now + run.drafted + pipeline.hop)
        self._learn(self.accepted(pipeline.k) + 1, run.out)
        return run.out, number

    def _async(self, now: int, detected: int) -> tuple[int, int]:
        """From a token that is known to the next one that was drafted wrong."""
        k, first = self.pipeline.k, len(self.runs)
        number = self._through(SpeculativeRun("one", _some(detected)), now)
        left = len(self.right) - len(self.known)
        chain = min(self.accepted(left), left - 1)  # right ones until the next wrong, or last, one
        last = -(-chain // k)  # the run that says so, of those after the first
        free, wrong, made = max(now, self.draft_free), None, 0
        while True:
            if made == last:
                wrong = self.runs[number].out
                self._known_by(first, chain)
                if len(self.known) == len(self.right):
                    return wrong, number
            made += 1
            begin = free
            waits = _some(detected)
            if made >= self.pipeline.places:
                waits = (*waits, first + made - self.pipeline.places)
                begin = max(begin, self.runs[first + made - self.pipeline.places].out)
            if wrong is not None and begin >= wrong:
                return wrong, first + last
            free = self._drafted(begin, waits, (first, made), wrong)
            number = len(self.runs) - 1

    def _drafted(
        self, begin: int, waits: tuple[int, ...], place: tuple[int, int], wrong: int | None
    ) -> int:
        """A draft of k tokens and their run, given up at `wrong`; when the draft is free."""
        pipeline, (first, made) = self.pipeline, place
        behind = None if made == 1 else first + made - 1
        ticks = pipeline.k * pipeline.token
        end = begin + ticks
        run = SpeculativeRun("drafted", waits, ticks, behind)
        if wrong is not None and end + pipeline.hop > wrong:
            run.drafted = min(ticks, -(-(wrong - begin) // pipeline.token) * pipeline.token)
            run.out = wrong
            self.runs.append(run)
            self.draft_free = begin + run.drafted
            return end
        self.draft_free = end
        until = wrong if self.way == "async" else None
        self._through(run, end + pipeline.hop, until)
        return end

    def _known_by(self, first: int, chain: int) -> None:
        """The tokens of a chain, and the one after it, by the runs that yield them."""
        k = self.pipeline.k
        for token in range(chain + 1):
            self._learn(1, self.runs[first + -(-token // k)].out)


def _some(number: int) -> tuple[int, ...]:
    return (number,) if number >= 0 else ()


def speculation_program(made: Speculation) -> Program:
    """All drafts and stages, with what they wait for."""
    hop = made.pipeline.hop / NANOSECONDS
    tasks = []
    for number, run in enumerate(made.runs):
        after = tuple(_out(made.runs[other], other) for other in run.waits)
        if run.drafted:
            before = () if run.behind is None else (f"draft {run.behind:05}",)
            name = f"draft {number:05}"
            # a hand-over delays the run, not the next draft
            tasks.append(Task(name, {DRAFT: run.drafted / NANOSECONDS}, (*after, *before)))
            after = (f"to {number:05}",)
            tasks.append(Task(f"to {number:05}", {}, (name,), hop))
        for stage, ticks in enumerate(run.ticks):
            name = f"run {number:05} at {stage}"
            tasks.append(Task(name, {f"stage {stage}": ticks / NANOSECONDS}, after, hop))
            after = (name,)
    return tasks_program(tasks)


def _out(run: SpeculativeRun, number: int) -> str:
    """The last that it came to."""
    return f"run {number:05} at {len(run.ticks) - 1}"
