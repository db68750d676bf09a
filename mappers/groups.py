"""Which ops of a graph may run as one kernel, and in what form.

A group is a set of ops of the same layers that some path of tensors, or a shared input, connects,
and that no path leaves and enters again. Its forms:

    alone     one op
    rows      elementwise and row-wise functions over the same rows, and copies of their results
    matmul    a matrix multiplication, or all those that read one activation with weights of one
              format as one of as many columns (q, k and v; gate and up); with the vector ops that
              make the activation (prologue) and those that read the products (epilogue: rope,
              activation, residual, quantization, the write to the cache)
    pair      a group of form matmul without prologue, whose one result feeds a further
              multiplication and nothing else, and that one with its epilogue

What makes an activation in a prologue is read by nobody else; weights are never made in a group. A
convolution has neither prologue nor pair.
Attention, gathers and sums over all rows run alone. Tensors that only ops of the group read are
not stored.
Not considered: groups across layers, groups of more than MOST_OPS ops, some of several
multiplications that could be merged, one kernel for independent functions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import product

from mappers.wiring import Wiring, positions
from workloads.graph import Op

MOST_OPS = 12
FUSIBLE = ("einsum", "vector", "move")


@dataclass(frozen=True)
class Group:
    """`ops` in the graph's order; `inputs` and `outputs` are tensors that pass its border.

    A group of form matmul has `prologue`, `anchors` (multiplications) and `epilogue`; of form pair
    two `parts` of form matmul.
    """

    form: str
    ops: tuple[Op, ...]
    count: float
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    mask: int  # of the ops, by their position in the graph
    needs: int  # of the ops that must have run, those that these need among them
    prologue: tuple[Op, ...] = ()
    anchors: tuple[Op, ...] = ()
    epilogue: tuple[Op, ...] = ()
    parts: tuple[Group, ...] = ()

    @property
    def anchor(self) -> Op:
        """The op by whose name the group is known."""
        if self.parts:
            return self.parts[0].anchor
        return self.anchors[0] if self.anchors else self.ops[0]

    @property
    def fused(self) -> tuple[Op, ...]:
        """The others."""
        return tuple(op for op in self.ops if op is not self.anchor)


def legal_groups(wiring: Wiring) -> list[Group]:
    """All of them, by their first op and then by size."""
    masks = {1 << i for i in range(len(wiring.ops))} | _functions(wiring)
    for i, same in enumerate(wiring.siblings):
        for anchors in {1 << i, same} if same else ():
            sets = product(_prologues(wiring, anchors), _epilogues(wiring, anchors))
            masks |= {anchors | above | below for above, below in sets}
    found = [g for mask in masks if (g := group_of(wiring, mask)) is not None]
    alone: dict[int, list[Group]] = {}
    for group in found:
        if group.form == "matmul" and len(group.anchors) == 1 and not group.prologue:
            alone.setdefault(wiring.maker[group.anchors[0].output], []).append(group)
    for first in [group for group in found if group.form == "matmul" and len(group.outputs) == 1]:
        for reader in wiring.readers.get(first.outputs[0], ()):
            pairs = (group_of(wiring, first.mask | g.mask) for g in alone.get(reader, ()))
            found += [pair for pair in pairs if pair is not None and pair.form == "pair"]
    return sorted(found, key=lambda g: (g.mask & -g.mask, g.mask.bit_count(), g.mask))


def _functions(wiring: Wiring) -> set[int]:
    """Connected sets of vector functions and copies."""
    found: set[int] = set()
    for i, op in enumerate(wiring.ops):
        if op.kind == "vector" and _fusible(op):
            found |= _grown(wiring, 1 << i, lambda at: wiring.before[at] | wiring.after[at])
    return found


def _prologues(wiring: Wiring, anchors: int) -> set[int]:
    """Sets of functions that nobody reads but each other and the multiplications."""
    return {mask & ~anchors for mask in _grown(wiring, anchors, wiring.before.__getitem__)}


def _epilogues(wiring: Wiring, anchors: int) -> set[int]:
    """Sets of functions and copies that read the products, or each other."""
    return {mask & ~anchors for mask in _grown(wiring, anchors, wiring.after.__getitem__)}


def _grown(wiring: Wiring, start: int, next_to: Callable[[int], int]) -> set[int]:
    """All sets of at most MOST_OPS ops of the same layers grown from these by functions and
    copies."""
    layers = wiring.layers[next(positions(start))]
    sets, todo = {start}, [start]
    while todo:
        mask = todo.pop()
        edge = 0
        for i in positions(mask):
            edge |= next_to(i)
        for j in positions(edge & ~mask):
            larger = mask | 1 << j
            op = wiring.ops[j]
            fits = op.kind != "einsum" and _fusible(op) and wiring.layers[j] == layers
            if fits and larger not in sets and larger.bit_count() <= MOST_OPS:
                sets.add(larger)
                todo.append(larger)
    return sets


def group_of(wiring: Wiring, mask: int) -> Group | None:
    """The group that these ops form; None if they may not be one."""
    at = list(positions(mask))
    if len(at) > MOST_OPS:
        return None
    if len(at) == 1:
        op = wiring.ops[at[0]]
        return _built(wiring, mask, "matmul" if op.kind == "einsum" else "alone")
    ops = [wiring.ops[i] for i in at]
    if len({wiring.layers[i] for i in at}) > 1 or not all(map(_fusible, ops)):
        return None
    above = below = 0
    for i in at:
        above |= wiring.ancestors[i]
        below |= wiring.descendants[i]
    if above & below & ~mask or not _copies_end(wiring, mask):
        return None
    anchors = sum(1 << i for i in at if wiring.ops[i].kind == "einsum")
    if not anchors:
        return _rows(wiring, mask)
    last = sum(1 << i for i in positions(anchors) if wiring.ancestors[i] & anchors)
    if not last:
        return _matmul(wiring, mask, anchors)
    return _pair(wiring, mask, anchors, last)


def _fusible(op: Op) -> bool:
    """May it be in a group with others?"""
    return op.kind in FUSIBLE and not getattr(op, "of_all_rows", False)


def _copies_end(wiring: Wiring, mask: int) -> bool:
    """A copy is the last of its line, of something that the group makes."""
    for i in positions(mask):
        op = wiring.ops[i]
        if op.kind == "move":
            inside = wiring.before[i] & mask
            if not inside or wiring.descendants[i] & mask:
                return False
    return True


def _rows(wiring: Wiring, mask: int) -> Group | None:
    ops = [wiring.ops[i] for i in positions(mask)]
    rows = {op.rows for op in ops if op.kind == "vector"}  # type: ignore[attr-defined]
    nested = rows and all(max(rows) % n == 0 and n % min(rows) == 0 for n in rows)
    return _built(wiring, mask, "rows") if nested and _connected(wiring, mask) else None


def _connected(wiring: Wiring, mask: int) -> bool:
    """By tensors that pass between the ops."""
    seen = grown = mask & -mask
    while grown:
        edge = 0
        for i in positions(grown):
            edge |= (wiring.before[i] | wiring.after[i]) & mask
        grown = edge & ~seen
        seen |= edge
    return seen == mask


def _matmul(wiring: Wiring, mask: int, anchors: int) -> Group | None:
    first = next(positions(anchors))
    if anchors.bit_count() > 1 and anchors != wiring.siblings[first]:
        return None
    above = below = 0
    for i in positions(anchors):
        above |= wiring.ancestors[i] & mask
        below |= wiring.descendants[i] & mask
    if mask & ~(anchors | above | below) or (above and _slides(wiring, anchors)):
        return None
    source = wiring.ops[first].inputs[0]
    for i in positions(anchors):
        if any(wiring.maker.get(t, -1) >= 0 and mask >> wiring.maker[t] & 1
               for t in wiring.ops[i].inputs[1:]):  # fmt: skip
            return None
    for i in positions(above):
        op = wiring.ops[i]
        readers = sum(1 << j for j in wiring.readers.get(op.output, ()))
        allowed = anchors if op.output == source else above
        if op.kind != "vector" or not readers or readers & ~allowed:
            return None
    return _built(wiring, mask, "matmul", above, anchors)


def _slides(wiring: Wiring, anchors: int) -> bool:
    """Is one of them a convolution? What it gathers is not made as it enters the cores."""
    ops = (wiring.ops[i] for i in positions(anchors))
    return any(getattr(op, "window", None) is not None for op in ops)


def _pair(wiring: Wiring, mask: int, anchors: int, last: int) -> Group | None:
    if last.bit_count() > 1:
        return None
    (end,) = positions(last)
    after = last | wiring.descendants[end] & mask
    if _slides(wiring, anchors):
        return None
    first, second = group_of(wiring, mask & ~after), group_of(wiring, after)
    if first is None or second is None or first.form != "matmul" or second.form != "matmul":
        return None
    between = wiring.ops[end].inputs[0]
    if first.prologue or first.outputs != (between,) or wiring.readers[between] != [end]:
        return None
    return replace(_built(wiring, mask, "pair"), parts=(first, second))


def _built(wiring: Wiring, mask: int, form: str, above: int = 0, anchors: int = 0) -> Group:
    ops = tuple(wiring.ops[i] for i in positions(mask))
    made = {op.output for op in ops}
    inputs = dict.fromkeys(t for op in ops for t in op.inputs if t not in made)
    needs = 0
    for i in positions(mask):
        needs |= wiring.ancestors[i]
    outputs = tuple(
        op.output
        for op in ops
        if not (readers := wiring.readers.get(op.output, ()))
        or any(not mask >> j & 1 for j in readers)
    )
    if form == "matmul" and not anchors:
        anchors = mask
    return Group(
        form,
        ops,
        wiring.counts[next(positions(mask))],
        tuple(inputs),
        outputs,
        mask,
        needs & ~mask,
        tuple(wiring.ops[i] for i in positions(above)),
        tuple(wiring.ops[i] for i in positions(anchors)),
        tuple(wiring.ops[i] for i in positions(mask & ~above & ~anchors)) if anchors else (),
    )
