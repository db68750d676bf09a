"""The cheapest way to divide a graph into groups, and to keep tensors on chip between them.

A state is what has run (a set of ops that is closed against the edges: the cut of live tensors) and
which live tensors stay in an on-chip memory. A step runs a group whose inputs are there, in one
way: on a kind of cores, leaving some of its results on chip. Costs of steps add up, so

    best(state) = min over groups and ways that may run of  count * cost(step) + best(next state)

from the last state back to the first is the optimum over all divisions into legal groups and all
choices of what stays, run in the graph's order: the next group has the first op that has not run,
unless it awaits others, which then go first. Tests compare it with trying everything. For an
objective that is no sum (energy-delay product) a state keeps all pairs (latency, energy) that no
other pair beats in both. A step is costed only if its lower bound could still be of use. A layer is
nearly a chain, so that there are hundreds of states, not 2^ops.
Not considered: computing a tensor twice; storing a tensor that stays, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import Protocol

from mappers.groups import Group

Stay = tuple[str, str]  # tensor, memory level
Value = tuple[float, float]  # latency, energy
NOTHING: frozenset[Stay] = frozenset()
EQUAL = 1e-9  # relative differences below count as none


@dataclass(frozen=True, slots=True)
class Way:
    """How a group runs: on which kind of cores, and what of its results stays where."""

    kind: int
    leaves: frozenset[Stay] = NOTHING


@dataclass(frozen=True, slots=True)
class Step:
    """A group run in one way while `here` is on chip."""

    group: Group
    way: Way
    here: frozenset[Stay]


class Prices(Protocol):
    """What steps cost."""

    def ways(self, group: Group, here: frozenset[Stay]) -> Sequence[Way]:
        """The ways in which it may run, whatever they cost."""
        ...

    def bound(self, step: Step) -> Value:
        """No more than the price."""
        ...

    def price(self, step: Step) -> Value | None:
        """Latency and energy of one instance; None where the cores cannot do it."""
        ...


@dataclass(frozen=True, slots=True)
class _Label:
    """The cost from a state to the end, and the step to take."""

    value: Value
    step: Step | None = None
    rest: _Label | None = None


_State = tuple[int, frozenset[Stay]]
_Edge = tuple[Group, Way, _State]


def best_division(
    groups: Sequence[Group], prices: Prices, everything: int, by: int | None
) -> list[list[Step]]:
    """The steps of the cheapest division, in order; several divisions, each best in its own way,
    where `by` (0 latency, 1 energy) is None. Empty if there is none.

    `everything` is the mask of all ops; `groups` come in the order preferred among equals.
    """
    edges = _edges(groups, prices, everything)
    labels: dict[_State, list[_Label]] = {(everything, NOTHING): [_Label((0.0, 0.0))]}
    for state in sorted(edges, key=lambda s: -s[0].bit_count()):
        labels[state] = _labels(state, edges[state], labels, prices, by)
    return [_steps(label) for label in labels[0, NOTHING]]


def _edges(groups: Sequence[Group], prices: Prices, everything: int) -> dict[_State, list[_Edge]]:
    """Every state that can be reached, with what may follow it."""
    readers: dict[str, int] = {}
    for group in groups:
        if len(group.ops) == 1:
            for tensor in group.inputs:
                readers[tensor] = readers.get(tensor, 0) | group.mask
    found: dict[_State, list[_Edge]] = {}
    ready: dict[int, list[Group]] = {}
    grown: list[_State] = [(0, NOTHING)]
    while grown:
        state = grown.pop()
        done, here = state
        if state in found or done == everything:
            continue
        found[state] = edges = []
        if done not in ready:
            ready[done] = _ready(groups, done)
        for group in ready[done]:
            after = done | group.mask
            for way in prices.ways(group, here):
                staying = here | way.leaves
                if staying:
                    staying = frozenset(s for s in staying if readers[s[0]] & ~after)
                next_state = after, staying
                edges.append((group, way, next_state))
                grown.append(next_state)
    return found


def _ready(groups: Sequence[Group], done: int) -> list[Group]:
    """Groups that may run next: with the first op that has not run, or what such a group awaits."""
    first = ~done & (done + 1)
    awaited = first
    for group in groups:
        if group.mask & first and not group.mask & done:
            awaited |= group.needs
    return [
        group
        for group in groups
        if not group.mask & done and not group.needs & ~done and group.mask & awaited
    ]


def _labels(
    state: _State,
    edges: Sequence[_Edge],
    labels: dict[_State, list[_Label]],
    prices: Prices,
    by: int | None,
) -> list[_Label]:
    """The best of what may follow a state; of equals, the one that comes first."""
    todo: list[tuple[Value, int, Step, _Label]] = []
    for at, (group, way, next_state) in enumerate(edges):
        step = Step(group, way, state[1])
        for rest in labels.get(next_state, []):
            todo.append((_after(prices.bound(step), group, rest), at, step, rest))
    kept: list[tuple[Value, int, _Label]] = []
    for bound, at, step, rest in sorted(todo, key=lambda t: (t[0][by or 0], t[1])):
        if bound[0] == inf or _beaten((bound, at), kept, by):
            continue
        bound = _after(prices.bound(step), step.group, rest)  # others may have taught more
        if _beaten((bound, at), kept, by):
            continue
        price = prices.price(step)
        if price is None:
            continue
        value = _after(price, step.group, rest)
        if not _beaten((value, at), kept, by):
            new = value, at, _Label(value, step, rest)
            kept = [k for k in kept if not _beaten(k[:2], [new], by)] + [new]
    return [label for _, _, label in kept]


def _after(price: Value, group: Group, rest: _Label) -> Value:
    return group.count * price[0] + rest.value[0], group.count * price[1] + rest.value[1]


def _beaten(
    one: tuple[Value, int], others: Sequence[tuple[Value, int, _Label]], by: int | None
) -> bool:
    """Is another better, or as good and before it?"""
    (mine, at) = one
    for theirs, before, _ in others:
        signs = [_sign(a, b) for a, b in zip(theirs, mine, strict=True)]
        if by is None:
            if max(signs) < 0 or (max(signs) == 0 and (min(signs) < 0 or before <= at)):
                return True
        elif (signs[by], signs[1 - by], before) <= (0, 0, at):
            return True
    return False


def _sign(a: float, b: float) -> int:
    """-1 if a is less than b, 0 if they count as equal."""
    if abs(a - b) <= EQUAL * abs(b):
        return 0
    return -1 if a < b else 1


def _steps(label: _Label) -> list[Step]:
    found = []
    while label.step is not None and label.rest is not None:
        found.append(label.step)
        label = label.rest
    return found
