"""Which stage goes to which slot: the cheapest path through slots, exactly, depth first.

    cost = sum_i node(i, slot_i) + sum_i edge(i, slot_i, slot_i+1)      all slots different

A partial assignment is dropped if its cost, the least node of every stage left and the least edge
of every step left together are no better than the best known: no completion is cheaper, since an
objective grows with latency and energy. The best known begins as the slots in their order and in
snake order, in which neighbors on a grid follow one another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from mappers.cost import Cost, Work
from mappers.search.found import OBJECTIVES

EXPANSIONS = 200_000  # partial assignments, of one call


@dataclass(frozen=True, slots=True)
class Amount:
    """What an objective is a function of, and how many stages do not fit their memory."""

    latency_s: float = 0.0
    energy_j: float = 0.0
    misfits: int = 0

    def __add__(self, other: Amount) -> Amount:
        return Amount(
            self.latency_s + other.latency_s,
            self.energy_j + other.energy_j,
            self.misfits + other.misfits,
        )

    def value(self, objective: str) -> tuple[float, ...]:
        """Smaller is better, what fits before what does not."""
        cost = Cost(self.latency_s, self.energy_j, Work({}, {}, {}, {}, {}), {}, {})
        return (self.misfits, *(float(v) for v in OBJECTIVES[objective](cost)))


@dataclass(frozen=True, slots=True)
class Assignment:
    """The slot of each stage and what that costs; `slots` is None where nothing beats `below`.
    `complete` unless the search was cut short."""

    slots: tuple[int, ...] | None
    amount: Amount
    complete: bool


@dataclass(frozen=True)
class Costs:
    """`node(stage, slot)`, and `edge(stage, slot, slot of the next)`; `closed`: the last stage has
    an edge to the first."""

    stages: int
    slots: int
    node: Callable[[int, int], Amount]
    edge: Callable[[int, int, int], Amount]
    closed: bool = False

    def total(self, slots: Sequence[int]) -> Amount:
        """Of a whole assignment."""
        found = sum((self.node(i, slot) for i, slot in enumerate(slots)), Amount())
        for i in range(self.stages if self.closed else self.stages - 1):
            found += self.edge(i, slots[i], slots[(i + 1) % self.stages])
        return found


def assign(
    costs: Costs, objective: str, orders: Sequence[Sequence[int]], below: Amount | None = None
) -> Assignment:
    """The cheapest assignment that costs less than `below`. `orders` of slots begin the search."""
    search = _Search(costs, objective, below)
    for order in orders:
        search.take(tuple(order[: costs.stages]))
    search.descend((), Amount())
    amount = costs.total(search.best) if search.best is not None else Amount()
    return Assignment(search.best, amount, search.left > 0)


class _Search:
    """The best so far and how many partial assignments may still be tried."""

    def __init__(self, costs: Costs, objective: str, below: Amount | None) -> None:
        self.costs, self.objective, self.left = costs, objective, EXPANSIONS
        self.best: tuple[int, ...] | None = None
        self.value = below.value(objective) if below else (float("inf"),)
        stages, slots = range(costs.stages), range(costs.slots)
        edges = costs.stages if costs.closed else costs.stages - 1
        pairs = [(a, b) for a in slots for b in slots if a != b]
        nodes = [_least(costs.node(i, slot) for slot in slots) for i in stages]
        ways = [_least(costs.edge(i, a, b) for a, b in pairs) for i in range(edges)]
        self.ahead = [  # of the stages from i on, and of the edges that lead to them and on
            sum(nodes[i:] + ways[max(0, i - 1) :], Amount()) for i in range(costs.stages + 1)
        ]

    def take(self, slots: tuple[int, ...]) -> None:
        """Keep a whole assignment if it is the best so far."""
        value = self.costs.total(slots).value(self.objective)
        if value < self.value:
            self.best, self.value = slots, value

    def descend(self, slots: tuple[int, ...], spent: Amount) -> None:
        """Every completion of `slots` that may be better than the best."""
        i = len(slots)
        if i == self.costs.stages:
            self.take(slots)
            return
        self.left -= 1
        if self.left <= 0 or (spent + self.ahead[i]).value(self.objective) >= self.value:
            return
        steps = []
        for slot in set(range(self.costs.slots)) - set(slots):
            cost = self.costs.node(i, slot)
            if slots:
                cost += self.costs.edge(i - 1, slots[-1], slot)
            steps.append((cost.value(self.objective), slot, cost))
        for _, slot, cost in sorted(steps, key=lambda step: step[:2]):
            self.descend((*slots, slot), spent + cost)


def _least(amounts: Iterable[Amount]) -> Amount:
    """The least of each part, of however different ones; nothing of none."""
    found = list(amounts)
    if not found:
        return Amount()
    return Amount(
        min(a.latency_s for a in found),
        min(a.energy_j for a in found),
        min(a.misfits for a in found),
    )
