"""A rank's rows and sequences: tensors and ops with a share of them."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from math import ceil

from workloads.graph import Tensor
from workloads.ops import Attention, Einsum

Lengths = tuple[tuple[int, int], ...]


def fewer(tensor: Tensor, part: Fraction) -> Tensor:
    """The tensor with a share of its rows."""
    return replace(tensor, shape=(ceil(tensor.shape[0] * part), *tensor.shape[1:]))


def row_rank(op: Einsum) -> str | None:
    """The rank that counts the rows of activation and output, if there is just one."""
    a, b, c = op.operand_ranks()
    rows = [r for r in op.ranks if r in a and r in c and r not in b]
    return rows[0] if len(rows) == 1 else None


def dealt_lengths(lengths: Lengths, ways: int) -> Lengths:
    """(sequences, keys) of the first of so many ranks, to which sequences are dealt one by one, the
    longest first."""
    ordered = [keys for count, keys in sorted(lengths, key=lambda x: -x[1]) for _ in range(count)]
    own = ordered[::ways]
    return tuple((own.count(keys), keys) for keys in sorted(set(own)))


def dealt(op: Attention, ways: int, batch: int) -> Attention:
    """The op on the sequences of that rank: `batch` of them where all are of one length."""
    if not op.lengths:
        return replace(op, batch=batch)
    lengths = dealt_lengths(op.lengths, ways)
    own, longest = sum(count for count, _ in lengths), lengths[-1][1]
    return replace(op, batch=own, kv_len=longest, lengths=lengths if len(lengths) > 1 else ())
