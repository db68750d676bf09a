"""Branch and bound, compiled: sets of chains are halved until one mapping is left or nothing can be
gained.

An open entry is a template and a node of each rank's tree. Its bound is no more than the cost of
any mapping in it. An entry is dropped if it cannot be legal or its bound does not beat the best
mapping found. Entries wait on a stack, the better half of a split on top, so that good mappings
come early and memory stays small. The arrays beside those of `layout`:

    stack, bounds  open entries, and the first and second key of each
    state          entries waiting, bounds made, mappings costed, roots whose bound is known
    choice, keys   the best mapping's template and chains, and its first and second key
    limits         share by which the best may be missed, most latency, most bytes held, objective
    H, V, C        of `plain` and `joint`
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kernels_ref.compiled import compiled
from mappers.search.bulk.costing import cost_of
from mappers.search.bulk.joint import WANTED
from mappers.search.bulk.layout import LEAF, LEFT, PLAIN, SIZE
from mappers.search.bulk.plain import bound_of

WAITING, BOUNDS, COSTED, ROOTED = range(4)
LATENCY, ENERGY, EDP = range(3)
GAP, MOST_LATENCY, MOST_BYTES, OBJECTIVE, N_LIMITS = range(5)
SAME = 1e-9  # keys closer than this share of them count as equal: sums differ in their last digits


@compiled(borrowing=True)
def improve(
    I: Any, X: Any, templates: Any, H: Any, F: Any, K: Any, V: Any, C: Any, limits: Any,
    most: Any, stack: Any, bounds: Any, state: Any, choice: Any, keys: Any, at: Any, trial: Any,
    out: Any,
) -> None:  # fmt: skip
    """Bounds the entries that have no bound yet, the first ones; or else works on the stack until
    it is empty, `most` bounds have been made, or it needs more room."""
    ranks = stack.shape[1] - 1
    stop = state[BOUNDS] + most
    while 0 < state[WAITING] < len(stack) - 2 and state[BOUNDS] < stop and C[3, WANTED] == 0:
        rooting = state[ROOTED] < state[WAITING]
        place = state[ROOTED] if rooting else state[WAITING] - 1
        template = stack[place, 0]
        for r in range(ranks):
            at[r] = stack[place, 1 + r]
        if rooting:
            state[ROOTED] += 1
        else:
            state[WAITING] = state[ROOTED] = place
            if _beaten(bounds[place, 0], bounds[place, 1], keys, limits):
                continue
        if rooting or K[at[_largest(K, at)], SIZE] == 1:
            at[ranks] = 0 if K[at[_largest(K, at)], SIZE] > 1 else 1
            _bound(
                I, X, templates, H, F, K, V, C, template, at, limits, state, choice, keys, out
            )  # fmt: skip
            if rooting:
                bounds[place, 0], bounds[place, 1] = out[0], out[1]
                if state[ROOTED] == state[WAITING]:
                    return  # for them to be sorted
            continue
        chosen = _try_all(
            I, X, templates, H, F, K, V, C, template, at, limits, state, choice, keys, trial, out
        )  # fmt: skip
        node = at[chosen]
        for half in range(2):
            if trial[chosen, half, 0] < np.inf:
                at[chosen] = K[node, LEFT + half]
                _push(stack, bounds, state, template, at, trial[chosen, half], place)


@compiled(inner=True, borrowing=True)
def _try_all(
    I: Any, X: Any, templates: Any, H: Any, F: Any, K: Any, V: Any, C: Any, template: Any, at: Any,
    limits: Any, state: Any, choice: Any, keys: Any, trial: Any, out: Any,
) -> Any:  # fmt: skip
    """Bounds both halves of every rank's set; the rank whose halves gain most by it."""
    chosen, best, ranks = 0, -1.0, len(at) - 1
    for r in range(ranks):
        node, score = at[r], 0.0
        if K[node, SIZE] == 1:
            continue
        for half in range(2):
            at[r] = K[node, LEFT + half]
            at[ranks] = 0 if K[at[_largest(K, at)], SIZE] > 1 else 1
            _bound(
                I, X, templates, H, F, K, V, C, template, at, limits, state, choice, keys, out
            )  # fmt: skip
            trial[r, half, 0], trial[r, half, 1] = out[0], out[1]
            score += min(out[0], 2.0 * keys[0]) if keys[0] < np.inf else out[0]
        at[r] = node
        if score > best:
            chosen, best = r, score
        if score == np.inf:
            break
    return chosen


@compiled(inner=True, borrowing=True)
def _bound(
    I: Any, X: Any, templates: Any, H: Any, F: Any, K: Any, V: Any, C: Any, template: Any, at: Any,
    limits: Any, state: Any, choice: Any, keys: Any, out: Any,
) -> None:  # fmt: skip
    """Leaves the keys' bounds in `out`; infinite if nothing in the entry can be legal and better.
    One chain of every rank is costed at once, and nothing of it is left to do."""
    state[BOUNDS] += 1
    exact, known = at[len(at) - 1] == 1, -1
    if I[PLAIN] and not exact:
        known = bound_of(I, X, templates[template], H[template], F, K, V, C, at, out)
    legal = known == 1
    if known < 0:
        legal = cost_of(I, X, templates[template], F, K, at, out)
    legal = legal and out[0] <= limits[MOST_LATENCY] and out[2] <= limits[MOST_BYTES]
    first, second = _keys(out, limits[OBJECTIVE])
    if legal and exact:
        _take(K, template, at, first, second, choice, keys, limits)
        state[COSTED] += 1
    if not legal or exact or _beaten(first, second, keys, limits):
        first = np.inf
    out[0], out[1] = first, second


@compiled(inner=True, borrowing=True)
def _keys(out: Any, objective: Any) -> Any:
    """(first, second) of a cost under the objective: the second breaks ties."""
    if objective == LATENCY:
        return out[0], out[1]
    if objective == ENERGY:
        return out[1], out[0]
    return out[0] * out[1], out[0]


@compiled(inner=True, borrowing=True)
def _largest(K: Any, at: Any) -> Any:
    """The rank with the largest set."""
    split, size = 0, 0
    for r in range(len(at) - 1):
        if K[at[r], SIZE] > size:
            split, size = r, K[at[r], SIZE]
    return split


@compiled(inner=True, borrowing=True)
def _beaten(first: Any, second: Any, keys: Any, limits: Any) -> Any:
    """Can nothing with these bounds be better than the best found?"""
    near = max(SAME, limits[GAP])
    if first > keys[0] * (1.0 + SAME):
        return True
    return first >= keys[0] * (1.0 - near) and second >= keys[1] * (1.0 - near)


@compiled(inner=True, borrowing=True)
def _take(
    K: Any, template: Any, at: Any, first: Any, second: Any, choice: Any, keys: Any, limits: Any
) -> None:
    """A mapping's cost: is it the best so far?"""
    near = max(SAME, limits[GAP])
    lower = first < keys[0] * (1.0 - near) or keys[0] == np.inf
    if lower or (first <= keys[0] * (1.0 + SAME) and second < keys[1] * (1.0 - SAME)):
        keys[0], keys[1] = min(first, keys[0]), second
        choice[0] = template
        for r in range(len(at) - 1):
            choice[1 + r] = K[at[r], LEAF]


@compiled(inner=True, borrowing=True)
def _push(stack: Any, bounds: Any, state: Any, template: Any, at: Any, key: Any, base: Any) -> None:
    """Onto the stack; of two from the same entry, the one with the lower bound lies on top."""
    top, first, second = state[WAITING], key[0], key[1]
    if top > base:
        lower = bounds[base, 0] < first or (bounds[base, 0] == first and bounds[base, 1] < second)
        if lower:
            for j in range(stack.shape[1]):
                stack[top, j] = stack[base, j]
            bounds[top, 0], bounds[top, 1] = bounds[base, 0], bounds[base, 1]
            top = base
    stack[top, 0] = template
    for r in range(len(at) - 1):
        stack[top, 1 + r] = at[r]
    bounds[top, 0], bounds[top, 1] = first, second
    state[WAITING] += 1
    state[ROOTED] = state[WAITING]
