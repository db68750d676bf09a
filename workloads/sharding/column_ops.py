"""How each kind of op is split over the ranks of an axis (`columns.py`): how it takes its inputs,
the rank's part of it, and how its output is held then."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from math import ceil
from typing import TYPE_CHECKING, Any

from kernels_ref.errors import UserError
from workloads.graph import Op
from workloads.ops import Collective, Einsum, Experts, Gather, Vector
from workloads.sharding.column_attention import attention, move, whole_input, whole_op
from workloads.sharding.roles import NORMS, by_column, is_matrix

if TYPE_CHECKING:
    from workloads.sharding.columns import Held, Sharder


def gather(sharder: Sharder, op: Gather) -> None:
    """Rows of a table of which every rank has some, or of the stream."""
    source, *indices = op.inputs
    if sharder.graph.tensors[source].kind == "table":
        _look_up(sharder, op)
        return
    if sharder.graph.tensors[source].kind == "weight":
        raise UserError(f"{op.name} picks columns of a matrix: no rule for a matrix among ranks")
    here = sharder.state(source)
    if here.kind == "partial":
        here = sharder.settle(source)
    if here.kind == "rows":  # who has which of the rows is not known
        here = sharder.take(source, "whole")
    others = tuple(whole_input(sharder, name) for name in indices)
    width = ceil(op.width * here.share)
    sharder.add(replace(op, inputs=(here.name, *others), width=width))
    sharder.keep(op.output, here.kind, here.share)


def _look_up(sharder: Sharder, op: Gather) -> None:
    """A rank has columns of the table, or rows, of the largest one; others it has whole."""
    tensors, part = sharder.graph.tensors, Fraction(1, sharder.ways)
    source, *indices = op.inputs
    others = tuple(whole_input(sharder, name) for name in indices)
    tables = [t for t in tensors.values() if t.kind == "table"]
    largest = max(tables, key=lambda table: table.bytes).name
    if sharder.stream == "cols":
        table = sharder.stored(source, -1, part)
        sharder.add(replace(op, inputs=(table, *others), width=ceil(op.width * part)))
        sharder.keep(op.output, "cols", part)
        return
    multiplied = any(
        is_matrix(sharder.graph, n.op) and n.op.inputs[1] == source for n in sharder.graph
    )
    split = source == largest or multiplied
    table = sharder.stored(source, 0 if split else None, part)
    sharder.add(replace(op, inputs=(table, *others)))
    sharder.keep(op.output, "partial" if split else "whole")
    if split:
        sharder.settle(op.output)


def einsum(sharder: Sharder, op: Einsum) -> None:
    """A matrix, by its role; a matrix for each head, or a filter for each channel, with them."""
    if is_matrix(sharder.graph, op):
        _matrix(sharder, op, *_letters(op))
        return
    here = sharder.state(op.inputs[0])
    batch = [r for r in op.ranks if all(r in ranks for ranks in op.operand_ranks())]
    made = sharder.graph.tensors[op.inputs[1]].kind == "activation"
    if made and len(batch) == 1 and sharder.state(op.inputs[1]) == replace(here, name=op.inputs[1]):
        other = [sharder.state(op.inputs[1]).name]
    elif by_column(sharder.graph, op):
        other = []
    else:
        batch = []
    if here.kind != "cols" or len(batch) != 1:
        whole_op(sharder, op)
        return
    _for_each(sharder, op, batch[0], other)


def _for_each(sharder: Sharder, op: Einsum, batch: str, other: list[str]) -> None:
    """A multiplication for each head or channel, of which the rank has some."""
    here = sharder.state(op.inputs[0])
    weights = other or [sharder.stored(name, 0, here.share) for name in op.inputs[1:]]
    ranks = {**op.ranks, batch: ceil(op.ranks[batch] * here.share)}
    window = op.window
    if window is not None:
        window = replace(window, channels=ceil(window.channels * here.share))
    sharder.add(replace(op, inputs=(here.name, *weights), ranks=ranks, window=window))
    sharder.keep(op.output, "cols", here.share)


def _letters(op: Einsum) -> tuple[str, str]:
    """The ranks of the outputs and of the sum."""
    a, b, c = op.operand_ranks()
    return next(r for r in b if r in c), next(r for r in b if r in a)


def _matrix(sharder: Sharder, op: Einsum, n: str, k: str) -> None:
    mode, share = _mode(sharder, op)
    letters = op.operand_ranks()[1]
    two = len(sharder.graph.tensors[op.inputs[1]].shape) == 2
    place = {r: letters.index(r) if two else (0, -1)[r == k] for r in (n, k)}
    source, dim, ranks = _taken(sharder, op.inputs[0], mode), None, dict(op.ranks)
    if mode in ("n", "k"):
        rank = n if mode == "n" else k
        dim, ranks[rank] = place[rank], ceil(ranks[rank] * share)
    if source.kind == "rows":
        m = next(r for r in ranks if r not in (n, k))
        ranks[m] = ceil(ranks[m] * source.share)
    weight = sharder.stored(op.inputs[1], dim, share)
    bias = [sharder.stored(b, 0 if mode == "n" else None, share) for b in op.inputs[2:]]
    sharder.add(replace(op, inputs=(source.name, weight, *bias), ranks=ranks))
    _made(sharder, op, mode, (share, source))


def experts(sharder: Sharder, op: Experts) -> None:
    """The matrices of all experts, split alike."""
    mode, share = _mode(sharder, op)
    source, change = _taken(sharder, op.inputs[0], mode), {}
    if mode in ("n", "k"):
        change = {mode: ceil(getattr(op, mode) * share)}
    dim = {"n": 1, "k": 2}.get(mode)
    weight = sharder.stored(op.inputs[1], dim, share)
    bias = [sharder.stored(b, 1 if mode == "n" else None, share) for b in op.inputs[2:]]
    sharder.add(replace(op, inputs=(source.name, weight, *bias), **change))
    _made(sharder, op, mode, (share, source))


def _mode(sharder: Sharder, op: Op) -> tuple[str, Fraction]:
    """Which side is split, and the rank's share of it."""
    role, part = sharder.roles[op.name], Fraction(1, sharder.ways)
    if sharder.stream == "cols":
        if role.kind == "row":
            return "n", part
        if sharder.state(op.inputs[0]).kind in ("cols", "partial"):
            return "k", part
        return ("n", role.share) if role.kind == "column" else ("whole", part)
    if role.kind == "column":
        return "n", role.share
    source = sharder.state(op.inputs[0])
    if role.kind == "row" and source.kind == "cols":
        return "k", source.share
    return "whole", part


def _taken(sharder: Sharder, name: str, mode: str) -> Held:
    if mode == "k":
        return sharder.take(name, "cols")
    if mode == "n":
        return sharder.take(name, "whole")
    rows = sharder.stream == "rows" and sharder.state(name).kind == "rows"
    return sharder.take(name, "rows" if rows else "whole")


def _made(sharder: Sharder, op: Op, mode: str, held: tuple[Fraction, Held]) -> None:
    share, source = held
    if mode == "n":
        sharder.keep(op.output, "cols", share)
    elif mode == "k":
        sharder.keep(op.output, "partial")
        role = sharder.roles[op.name]
        fewer = role.kind == "column" and role.share > Fraction(1, sharder.ways)
        if fewer or role.kind == "whole":  # heads of keys fewer than ranks; what is read whole
            sharder.take(op.output, "whole")
    else:
        sharder.keep(op.output, source.kind, source.share)


def vector(sharder: Sharder, op: Vector) -> None:
    """The rank's columns or rows; sums go through what is linear in them."""
    tensors = sharder.graph.tensors
    made = [name for name in op.inputs if tensors[name].kind not in ("weight", "table")]
    kinds = [sharder.state(name).kind for name in made]
    if "partial" in kinds and not _passes(op, kinds):
        others = {kind for kind in kinds if kind != "partial"} or {sharder.stream}
        wanted = next(k for k in ("cols", "rows", "whole") if k in others)
        for name in made:
            sharder.take(name, wanted, "whole", "cols", "rows")
        kinds = [sharder.state(name).kind for name in made]
    if "partial" in kinds and op.function == "weighted_sum":
        held = [sharder.state(made[0]), *(sharder.take(name, "whole") for name in made[1:])]
        _vector(sharder, op, held)
        return
    apart = {kind for kind in kinds if kind not in ("whole", "partial")}
    columns = tensors[op.inputs[0]].shape[-1]
    if len(apart) > 1 or ("cols" in apart and not _by_columns(op, columns)):
        whole_op(sharder, op)
        return
    _vector(sharder, op, [sharder.state(name) for name in made])


def _passes(op: Vector, kinds: Sequence[str]) -> bool:
    """Is the function of partial sums the same as the sum of its functions?"""
    if op.function == "weighted_sum":
        return kinds[0] == "partial"
    linear = op.function == "mul" and len(kinds) == 1
    return linear or (op.function == "add" and set(kinds) == {"partial"})


def _by_columns(op: Vector, columns: int) -> bool:
    """Can a rank that has some of the columns do its part?"""
    if not op.reduction or op.function in NORMS or op.function == "quantize":
        return True
    return op.width < columns  # reduced within a head


def _vector(sharder: Sharder, op: Vector, made: list[Held]) -> None:
    """The op on the columns or rows that its inputs come in; sums of rows that norms need."""
    apart = next((held for held in made if held.kind in ("cols", "rows")), made[0])
    names = dict(zip(_made_inputs(sharder, op), (held.name for held in made), strict=True))
    source, rows, width = sharder.graph.tensors[op.inputs[0]], op.rows, op.width
    by_head = op.rows > source.shape[0] and op.width < source.shape[-1]
    narrower = apart.kind == "cols" and not by_head
    if narrower:
        width = ceil(width * apart.share)
    elif apart.kind in ("cols", "rows"):
        rows = ceil(rows * apart.share)
    inputs = [
        names[name] if name in names else _along(sharder, name, apart, narrower)
        for name in op.inputs
    ]
    if narrower and op.function in NORMS:
        inputs.append(sharder.sums(apart.name, NORMS[op.function]))
    sharder.add(replace(op, inputs=tuple(inputs), rows=rows, width=width))
    kind = "partial" if any(held.kind == "partial" for held in made) else apart.kind
    sharder.keep(op.output, kind, apart.share)


def _along(sharder: Sharder, name: str, apart: Held, narrower: bool) -> str:
    """A parameter for each column, of the rank's columns."""
    wide = sharder.graph.tensors[name].shape[-1] > 1
    return sharder.stored(name, -1 if narrower and wide else None, apart.share)


def _made_inputs(sharder: Sharder, op: Vector) -> list[str]:
    tensors = sharder.graph.tensors
    return [name for name in op.inputs if tensors[name].kind not in ("weight", "table")]


def collective(sharder: Sharder, op: Collective) -> None:
    """An exchange along another axis: of what the rank has."""
    here = sharder.settle(op.inputs[0])
    sharder.keep(op.output, here.kind, here.share)
    before = sharder.graph.tensors[op.inputs[0]], sharder.tensors[here.name]
    size, elements = (
        max(1, ceil(whole * before[1].elements / before[0].elements))
        for whole in (op.bytes, op.elements)
    )
    sharder.add(replace(op, inputs=(here.name,), bytes=size, elements=elements))


RULES: dict[str, Callable[[Sharder, Any], None]] = {
    "gather": gather,
    "einsum": einsum,
    "experts": experts,
    "attention": attention,
    "vector": vector,
    "move": move,
    "collective": collective,
}
