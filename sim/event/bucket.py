"""A token bucket: what a resource may give at once beyond its rate, and how it fills again.

    credit(t) = min(burst, credit(s) + rate (t - s))         while nothing is served from s to t
    a use of x takes max(0, x - credit) / rate, and leaves what it does not spend

as of traffic policers and of a board that limits its mean power (Le Boudec and Thiran, "Network
Calculus", 2001, sec. 1.2). In integers: units of work times the rate's denominator times ticks of a
cycle, so that nothing is rounded but a use's end, to a whole cycle, and what that is later by is
credit.

A run that neither empties nor fills the bucket does the same at any credit. So it may come back to
a state with another credit, and periods of it can be leapt over until one would reach an end of the
bucket (`times`).
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from sim.event.program import Resource

FOREVER = 1 << 62
Mark = tuple[int, int]  # credit, and how often an end of the bucket had been reached


@dataclass(frozen=True, slots=True)
class Credit:
    """Of a run, in the resource's units: at its begin and end, and the least in between."""

    first: Fraction
    last: Fraction
    least: Fraction


class Bucket:
    """At work."""

    def __init__(self, spec: Resource, period: int) -> None:
        self.period, self.rate = period, spec.rate.numerator  # filled a tick
        self.unit = spec.rate.denominator * period
        self.most, self.credit = spec.burst * self.unit, spec.credit * self.unit
        self.first = self.least = self.credit
        self.low, self.high = self.credit, 0  # of a period that is watched
        self.since = 0
        self.ends = 0  # how often one was reached
        self.bound = False  # by the last use

    def spend(self, amount: int, now: int) -> int:
        """Cycles that the use takes."""
        credit = self.credit + (now - self.since) * self.rate
        self.bound = credit >= self.most
        self.high = max(self.high, credit)
        credit = min(credit, self.most) - amount * self.unit
        cycles = max(0, -(credit // (self.rate * self.period)))
        if cycles:
            self.bound = True
            credit += cycles * self.rate * self.period
        self.ends += self.bound
        self.credit, self.since = credit, now + cycles * self.period
        self.low, self.least = min(self.low, credit), min(self.least, credit)
        return cycles

    def at(self, now: int) -> int:
        """Credit at this time, or at the end of the use that is served."""
        return min(self.most, self.credit + max(0, now - self.since) * self.rate)

    def state(self, now: int) -> tuple[object, ...]:
        """What decides about the future besides how far the ends are."""
        return max(self.since - now, -1), self.at(now) if self.bound else -1

    def mark(self, now: int) -> Mark:
        """From here on a period is watched."""
        self.low, self.high = self.at(now), 0
        return self.at(now), self.ends

    def times(self, mark: Mark, now: int) -> int:
        """How often what has happened since can happen again."""
        credit, ends = mark
        spent = credit - self.at(now)
        if not spent:
            return FOREVER
        if ends != self.ends:
            return 0
        if spent > 0:
            return self.low // spent
        return max(0, self.most - self.high - 1) // -spent

    def leap(self, mark: Mark, now: int, times: int, ticks: int) -> None:
        """It has, over these ticks."""
        spent = mark[0] - self.at(now)
        self.credit -= times * spent
        self.since += ticks
        self.least = min(self.least, self.low - times * max(0, spent))

    def kept(self, now: int) -> Credit:
        """Of the run so far."""
        whole = (Fraction(credit, self.unit) for credit in (self.first, self.at(now), self.least))
        return Credit(*whole)
