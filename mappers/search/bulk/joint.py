"""Compiled: the least that an operand of a matrix multiplication takes over a set of chains.

An operand lacks one rank, and what it moves at any level is its size times a function of that
rank's chain, once it is known which loops bring it in again. So sums over levels (its energy, its
time at a level less its share of the first step's) are functions of one chain too, and their least
value over a set is that of one chain of the set; the least of each summand apart would be smaller.
A *class* is the levels that keep the operand and the depth of its reuse at each, as a key with four
bits a level: 0, or 1 + depth. The rows of a class are filled when it is first met:

    V  float64  a row for each node of the rank's tree: see the columns below
    C  int64    for each operand: classes, first and number of its rank's nodes, and then for each
                class its key and what to add to a node to get its row; last: rows used and wanted

With h the bytes of a level's loads (of outputs: stores) and s the rank's share of the first (of the
last) step: `END` is s h, and `BEYOND` of a level i over an even level l is s (h_i z_i - h_l z_l), z
the least seconds a byte: what level i's ends add beyond those of l. Even levels are shared ones
whose bytes take the same time either way.
"""

from __future__ import annotations

from typing import Any

from kernels_ref.compiled import compiled
from mappers.search.bulk.flows import copies_of, least_copies
from mappers.search.bulk.layout import *

CLASSES, FIRST_NODE, NODES, KEYS = range(4)  # of a row of C
USED, WANTED = range(2)  # of its last row
MOST_CLASSES = 120
NO_ROOM = -(1 << 60)
JOULES, SECONDS, BYTES = range(3)  # of a row of V: beyond its bytes', of the vector engine
(
    READ, FILLED, WRITTEN, END, MINUS_READ, MINUS_WRITTEN, N_BYTES,
) = range(7)  # fmt: skip  # of each level; then BEYOND, by even level


def columns(levels: int, even: int) -> int:
    """Of V."""
    return BYTES + (N_BYTES + even) * levels


@compiled(inner=True, borrowing=True)
def class_of(I: Any, T: Any, operand: Any, rank: Any, trips: Any) -> Any:
    """The key of the operand's class in a template; `trips`: for each level (a byte each), which
    ranks have more than one trip whatever the chain. Reuse is as good as any chains allow."""
    own, key = I[OWN_A + operand], 0
    depth, best = 0, I[FIRST] if I[RANK + N_RANK * rank + DEALT] else 0
    for i in range(1, I[LEVELS]):
        here = (trips >> (8 * i)) & own
        if here:
            inside = I[INSIDE + (MOST_RANKS * i + T[4 * i + 3]) * MOST_RANKS + rank]
            depth = i if here & inside else i - 1
        if T[4 * i + operand]:
            key |= (1 + (max(depth, best) if i >= I[FIRST] else depth)) << (4 * i)
    return key


@compiled(inner=True, borrowing=True)
def rows_of(I: Any, X: Any, F: Any, K: Any, V: Any, C: Any, operand: Any, key: Any) -> Any:
    """What to add to a node to get its row of this class; NO_ROOM where V has none."""
    count = C[operand, CLASSES]
    for j in range(count):
        if C[operand, KEYS + 2 * j] == key:
            return C[operand, KEYS + 2 * j + 1]
    start, rows = C[3, USED], C[operand, NODES]
    if count == MOST_CLASSES or start + rows > len(V):
        if count < MOST_CLASSES:
            C[3, WANTED] = max(C[3, WANTED], rows)
        return NO_ROOM
    C[operand, CLASSES] += 1
    C[3, USED] += rows
    C[operand, KEYS + 2 * count] = key
    C[operand, KEYS + 2 * count + 1] = start - C[operand, FIRST_NODE]
    _fill(I, X, F, K, V, operand, key, C[operand, FIRST_NODE], rows, start)
    return start - C[operand, FIRST_NODE]


@compiled(inner=True, borrowing=True)
def _fill(
    I: Any, X: Any, F: Any, K: Any, V: Any, operand: Any, key: Any, first: Any, rows: Any,
    start: Any,
) -> None:  # fmt: skip
    """A class's rows: each chain's own, and the least of both halves above them."""
    for place in range(rows - 1, -1, -1):
        node, row = first + place, start + place
        if K[node, LEAF] >= 0:
            _of_chain(I, X, F, node, operand, key, V, row)
            _ends(I, X, F, node, operand, V, row)
            continue
        a, b = start + K[node, LEFT] - first, start + K[node, RIGHT] - first
        for j in range(V.shape[1]):
            V[row, j] = min(V[a, j], V[b, j])
    for row in range(start, start + rows):
        V[row, JOULES] -= _joules(I, X, operand, V, row)


@compiled(inner=True, borrowing=True)
def _of_chain(I: Any, X: Any, F: Any, node: Any, operand: Any, key: Any, V: Any, row: Any) -> None:
    """One chain's bytes, the formulas of `mappers.search.bulk.flows`."""
    for j in range(V.shape[1]):
        V[row, j] = 0.0
    parent, held = operand - operand, 0.0  # 0, and no literal: those are compiled apart
    width, partial, once = X[WIDTH_A + operand], X[PARTIAL], X[OUTPUTS]
    begun = once
    for child in range(1, I[LEVELS]):
        depth = ((key >> (4 * child)) & 15) - 1
        if depth < 0:
            continue
        seen, held = least_copies(I, F, node, depth, child, child, parent)
        seen, held = seen * X[BASE_A + operand], held * X[BASE_A + operand]
        up, down = BYTES + N_BYTES * parent, BYTES + N_BYTES * child
        if operand < 2:
            V[row, up + READ] += seen * width
            V[row, down + FILLED] += held * width
        else:
            back = max(0.0, seen - begun) * partial
            V[row, up + READ] += back
            V[row, up + WRITTEN] += once * width + (seen - once) * partial
            V[row, down + READ] += held * partial
            if child < I[FIRST]:
                V[row, down + READ] += once * (width - partial)
            V[row, down + WRITTEN] += back
            begun += _most_begun(I, F, node, depth, child, parent) * once
        parent = child
    _of_engine(I, X, F, node, operand, parent, held, begun, V, row)
    V[row, JOULES] = _joules(I, X, operand, V, row)


@compiled(inner=True, borrowing=True)
def _most_begun(I: Any, F: Any, node: Any, depth: Any, child: Any, parent: Any) -> Any:
    """Sums of an output at most that the child begins, beyond those that the parent does."""
    most = 0.0
    for d in range(depth, child + 1):
        seen, held = copies_of(F, node, d, child, parent, I[MERGING])
        most = max(most, held - seen)
    return most


@compiled(inner=True, borrowing=True)
def _of_engine(
    I: Any, X: Any, F: Any, node: Any, operand: Any, source: Any, held: Any, begun: Any, V: Any,
    row: Any,
) -> None:  # fmt: skip
    """What the engine and the vector engine take of it."""
    place, partial, blocks = BYTES + N_BYTES * source, X[PARTIAL], F[node, BLOCKS]
    if operand == 2:
        written = blocks * X[OUTPUTS]
        if X[SUM_SHARE] != 1.0:
            written = max(X[OUTPUTS], written * X[SUM_SHARE])
        V[row, place + READ] += max(0.0, written - begun) * partial
        V[row, place + WRITTEN] += written * partial
        return
    role = I[RANK + N_RANK * I[LACKS_A + operand] + ROLE]
    words = X[MACS] / X[LENGTH_M + role - ROLE_M] * blocks
    V[row, place + READ] += words * X[WORD_A + operand]
    if source >= I[FIRST]:
        V[row, SECONDS] = held * X[ENTER_A_S + operand]


@compiled(inner=True, borrowing=True)
def _ends(I: Any, X: Any, F: Any, node: Any, operand: Any, V: Any, row: Any) -> None:
    """The columns of the first loads, or last stores."""
    share = F[node, TAIL_SHARE] if operand == 2 else F[node, HEAD_SHARE]
    for i in range(I[LEVELS]):
        place, level = BYTES + N_BYTES * i, LEVEL + N_LEVEL * i
        total = V[row, place + READ]
        if X[level + FILL_PORT]:  # its fills take no time, and so its stores' share is unknown
            total = 0.0 if operand == 2 else total
        else:
            total += V[row, place + FILLED] + V[row, place + WRITTEN]
        V[row, place + END] = share * total
        V[row, place + MINUS_READ] = -V[row, place + READ]
        V[row, place + MINUS_WRITTEN] = -V[row, place + FILLED] - V[row, place + WRITTEN]
    for e in range(I[EVENS]):
        place, level = BYTES + N_BYTES * I[EVEN + e], LEVEL + N_LEVEL * I[EVEN + e]
        least = V[row, place + READ] + V[row, place + FILLED] + V[row, place + WRITTEN]
        least *= share * X[level + EITHER_S]
        for i in range(I[LEVELS]):
            beyond = BYTES + (N_BYTES + e) * I[LEVELS] + i
            V[row, beyond] = V[row, BYTES + N_BYTES * i + END] * X[LEVEL + N_LEVEL * i + EITHER_S]
            V[row, beyond] -= least


@compiled(inner=True, borrowing=True)
def _joules(I: Any, X: Any, operand: Any, V: Any, row: Any) -> Any:
    """Of a row's bytes and vector work."""
    joules = operations(X, operand, V[row, SECONDS]) * X[VECTOR_J]
    for i in range(I[LEVELS]):
        place, level = BYTES + N_BYTES * i, LEVEL + N_LEVEL * i
        joules += V[row, place + READ] * X[level + READ_J]
        joules += (V[row, place + FILLED] + V[row, place + WRITTEN]) * X[level + WRITE_J]
    return joules


@compiled(inner=True, borrowing=True)
def operations(X: Any, operand: Any, seconds: Any) -> Any:
    """Of the vector engine on what enters, in proportion to its seconds."""
    return seconds * X[ENTER_A_OPS + operand] / X[ENTER_A_S + operand] if seconds > 0.0 else 0.0
