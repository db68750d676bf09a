"""What ranks along an axis send each other, as ops."""

from __future__ import annotations

from dataclasses import replace

from workloads.graph import Op, Split, Tensor
from workloads.ops import Collective


def exchange(
    function: str, source: str, made: str, whole: Tensor, split: Split, name: str | None = None
) -> Collective:
    """The collective that makes `made` of `source`; `whole` has the bytes that its definition
    counts (workloads/ops/collective.py)."""
    size = (whole.bytes, whole.elements)
    return Collective(name or made, (source,), made, function, *size, split.ways, split.axis)


def reading(op: Op, renamed: dict[str, str]) -> Op:
    """The op with inputs by other names."""
    return replace(op, inputs=tuple(renamed.get(t, t) for t in op.inputs))  # type: ignore[type-var]
