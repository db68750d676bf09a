"""What an engine is asked, and what it answers: all engines in one form.

The cycles of a tile are a product of one function per role of a rank,

    interval = F_k(k) * max(F_m(m) * F_n(n), pipeline)
    F(x)     = max(per * ceil(x / block) + add, floor)
    latency  = interval + max(0, fill + raw - F(x))     raw = per * ceil(x / block)

with x the streamed rank in the last line, and so are the elements that cross its boundary. An
engine states the numbers (`form`); the mapper's search evaluates the same numbers in bulk.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Protocol

from accel_models.engines.pe import PE
from accel_models.facts import Count, Facts

Number = Any  # int or float


@dataclass(frozen=True, slots=True)
class MatmulTile:
    """C[m,n] += A[m,k] B[k,n] in one format pair: `rate` MACs per PE and cycle, weights of
    `weight_bits`."""

    m: int
    n: int
    k: int
    rate: float = 1.0
    weight_bits: int = 8


@dataclass(frozen=True, slots=True)
class Service:
    """`latency` cycles until the tile's last result; `interval` until the next may start."""

    latency: float
    interval: float


@dataclass(frozen=True, slots=True)
class OperandWords:
    """Elements that cross the engine's boundary for one tile."""

    activation: float
    weight: float
    output_read: float
    output_write: float


@dataclass(frozen=True, slots=True)
class Steps:
    """max(per * ceil(x / block) + add, floor) cycles, or blocks, for x elements of a rank."""

    block: float = 1.0
    per: float = 1.0
    add: float = 0.0
    floor: float = 0.0

    def __call__(self, x: int) -> float:
        return max(self.raw(x) + self.add, self.floor)

    def raw(self, x: int) -> float:
        """Without what does not overlap and without the floor."""
        return self.per * ceil_div(x, self.block)


@dataclass(frozen=True, slots=True)
class EngineForm:
    """An engine in one format pair, as numbers. `streamed` is the role (m, n or k) whose length the
    fill depends on.

    Words: the activation enters once per `activation_block` of n, the weight once per
    `weight_block` of m (0: once), sums go in and out once per `sum_block` of k (0: once); of these
    a share, `activation_share` and `sum_share`, where blocks are skipped.
    """

    m: Steps
    n: Steps
    k: Steps
    pipeline: float
    fill: float
    streamed: str
    activation_block: int
    weight_block: int
    sum_block: int
    activation_share: float = 1.0
    sum_share: float = 1.0

    def exchanged(self) -> EngineForm:
        """The engine with the roles of m and n, and so of activation and weight, exchanged."""
        return replace(
            self,
            m=self.n,
            n=self.m,
            streamed={"m": "n", "n": "m"}.get(self.streamed, self.streamed),
            activation_block=self.weight_block,
            weight_block=self.activation_block,
        )

    def skipping(self, issued: float) -> EngineForm:
        """With a share of the blocks of weights issued, the others taking no time and moving
        nothing; what is paid once a tile stays. Weights that stream do so along n."""
        n, k = self.n, self.k
        if self.streamed == "n":
            n = replace(n, per=n.per * issued)
        else:
            k = replace(k, per=k.per * issued)
        return replace(
            self,
            n=n,
            k=k,
            activation_share=issued if self.activation_block else 1.0,
            sum_share=issued if self.sum_block else 1.0,
        )

    def sums_out(self, dense: float, least: float) -> float:
        """Of so many sums that leave the engine, those that do; each that is begun at `least`."""
        return dense if self.sum_share == 1.0 else max(least, dense * self.sum_share)

    def service(self, m: int, n: int, k: int) -> Service:
        """Cycles of one tile."""
        interval = self.k(k) * max(self.m(m) * self.n(n), self.pipeline)
        x, steps = {"m": (m, self.m), "n": (n, self.n), "k": (k, self.k)}[self.streamed]
        return Service(interval + max(0.0, self.fill + steps.raw(x) - steps(x)), interval)

    def words(self, m: int, n: int, k: int) -> OperandWords:
        """Elements across the boundary for one tile."""
        passes = self.sums_out(blocks(k, self.sum_block), 1)
        a = m * k * blocks(n, self.activation_block) * self.activation_share
        return OperandWords(
            a, k * n * blocks(m, self.weight_block), m * n * (passes - 1), m * n * passes
        )


class Engine(Protocol):
    """A matrix engine; implementations are the models in ENGINES."""

    # the word in YAML
    @property
    def kind(self) -> str: ...

    # engines per core
    @property
    def count(self) -> int: ...

    # formats and their rates
    @property
    def pe(self) -> PE: ...

    # cycles and words as numbers, for one format pair
    def form(self, rate: float, weight_bits: int) -> EngineForm: ...

    # pure service time of one tile in cycles, memory excluded
    def service(self, tile: MatmulTile) -> Service: ...

    # the (m, n, k) block that fills the engine exactly at this rate
    def geometry(self, rate: float) -> tuple[int, int, int]: ...

    # multiply-accumulates per cycle of one engine when full
    def peak(self, rate: float, weight_bits: int) -> float: ...

    # elements read and written at the level that feeds the engine
    def operand_words(self, tile: MatmulTile) -> OperandWords: ...


class MatrixEngine(Facts):
    """What all engines share: how many there are, of what, and answers from their form."""

    count: Count
    pe: PE

    def form(self, rate: float, weight_bits: int) -> EngineForm:
        """The engine as numbers; every kind states its own."""
        raise NotImplementedError

    def service(self, tile: MatmulTile) -> Service:
        """Cycles of one tile."""
        return self.form(tile.rate, tile.weight_bits).service(tile.m, tile.n, tile.k)

    def operand_words(self, tile: MatmulTile) -> OperandWords:
        """Elements across the boundary for one tile."""
        return self.form(tile.rate, tile.weight_bits).words(tile.m, tile.n, tile.k)


def ceil_div(a: Number, b: Number) -> Number:
    """Ceiling of a / b for positive numbers, exact for integers."""
    return -(-a // b)


def blocks(x: int, block: int) -> int:
    """How many blocks x elements take; with a block of 0, one."""
    return -(-x // block) if block else 1
