"""What each op of a file makes of its inputs: the op, and its output's shape.

A problem is a GraphError whose text is `key|sentence`, so that the reader finds the key's line.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from math import prod

from accel_models.explain import nearest
from workloads.convolution import Sliding, convolution, convolved
from workloads.graph import GraphError, Op, Tensor
from workloads.ops import Attention, Einsum, Gather, Move, Vector
from workloads.ops.vector import FUNCTIONS
from workloads.ops_text import (
    AttentionText,
    ConvText,
    EinsumText,
    GatherText,
    MoveText,
    OpText,
    VectorText,
)

Shape = tuple[int, ...]
_SPEC = re.compile(r"([A-Za-z]+),([A-Za-z]+)->([A-Za-z]+)")


def made(
    text: OpText, output: str, inputs: Sequence[Tensor], declared: Tensor | None
) -> tuple[Op, Shape]:
    """The op that `text` says, and the shape of its output; `declared` is the output where the file
    states it. Raises GraphError for shapes that do not go together."""
    names = tuple(tensor.name for tensor in inputs)
    rule: Callable[..., tuple[Op, Shape]] = _RULES[type(text)]
    return rule(text, names, output, inputs, declared)


def _count(text: OpText, inputs: Sequence[Tensor], least: int, most: int, what: str) -> None:
    if not least <= len(inputs) <= most:
        raise GraphError(f"inputs|takes {what}, not {len(inputs)} tensor(s)")


def _einsum(
    text: EinsumText, names: tuple[str, ...], output: str, inputs: Sequence[Tensor], _: Tensor
) -> tuple[Op, Shape]:
    _count(text, inputs, 2, 3, "two tensors and perhaps a bias")
    spec = text.einsum.replace(" ", "")
    match = _SPEC.fullmatch(spec)
    if not match:
        raise GraphError(f"einsum|'{text.einsum}' is no spec; write one such as 'mk,nk->mn'")
    for part in match.groups():
        if len(set(part)) < len(part):
            raise GraphError(f"einsum|'{part}' of '{spec}' has a rank twice")
    sizes: dict[str, int] = {}
    first: dict[str, str] = {}
    for letters, tensor in zip(match.groups()[:2], inputs, strict=False):
        if len(letters) != len(tensor.shape):
            raise GraphError(
                f"einsum|'{letters}' has {len(letters)} ranks, and {tensor.name} is "
                f"{list(tensor.shape)}"
            )
        for rank, size in zip(letters, tensor.shape, strict=True):
            if sizes.setdefault(rank, size) != size:
                raise GraphError(
                    f"inputs|rank {rank} is {sizes[rank]} in {first[rank]} and {size} in "
                    f"{tensor.name}"
                )
            first.setdefault(rank, tensor.name)
    unknown = set(match[3]) - set(sizes)
    if unknown:
        raise GraphError(f"einsum|rank '{min(unknown)}' of the output is in no input")
    op = Einsum(text.name, names, output, sizes, spec)
    try:
        op.roles()
    except GraphError as problem:
        raise GraphError(f"einsum|{str(problem).partition(': ')[2]}") from None
    shape = tuple(sizes[rank] for rank in match[3])
    _check_bias(inputs[2:], shape)
    return op, shape


def _check_bias(bias: Sequence[Tensor], shape: Shape) -> None:
    for tensor in bias:
        if tensor.shape != shape[len(shape) - len(tensor.shape) :]:
            raise GraphError(
                f"inputs|the bias {tensor.name} is {list(tensor.shape)}, not the last axes of the "
                f"output, {list(shape)}"
            )


def _vector(
    text: VectorText,
    names: tuple[str, ...],
    output: str,
    inputs: Sequence[Tensor],
    declared: Tensor | None,
) -> tuple[Op, Shape]:
    if text.vector not in FUNCTIONS:
        near = nearest(text.vector, list(FUNCTIONS))
        raise GraphError(f"vector|no function '{text.vector}'; {near}")
    if text.taps > 1 and declared is None:
        raise GraphError("taps|with 'taps' the output is smaller: declare its shape in 'tensors'")
    if text.vector.endswith("_mul") and len(inputs) == 1:
        shape, whole = _half(inputs[0]), True
    else:
        shape, whole = declared.shape if declared else inputs[0].shape, text.taps > 1
    for tensor in () if whole else inputs:
        if not _broadcasts(tensor.shape, shape):
            raise GraphError(
                f"inputs|{tensor.name} is {list(tensor.shape)}, which does not spread over the "
                f"output, {list(shape)}"
            )
    rows, width = prod(shape[:-1]), shape[-1]
    return Vector(text.name, names, output, text.vector, rows, width, text.taps), shape


def _half(merged: Tensor) -> Shape:
    """The output of a gated function whose gate and other half lie side by side in one tensor."""
    if merged.shape[-1] % 2:
        raise GraphError(f"inputs|{merged.name} is {list(merged.shape)}: gate and up are no halves")
    return (*merged.shape[:-1], merged.shape[-1] // 2)


def _broadcasts(shape: Shape, whole: Shape) -> bool:
    if len(shape) > len(whole):
        return False
    ends = whole[len(whole) - len(shape) :]
    return all(own in (1, size) for own, size in zip(shape, ends, strict=True))


def _attention(
    text: AttentionText, names: tuple[str, ...], output: str, inputs: Sequence[Tensor], _: Tensor
) -> tuple[Op, Shape]:
    _count(text, inputs, 3, 3, "three tensors, q, k and v")
    for tensor in inputs:
        if len(tensor.shape) != 4:
            raise GraphError(
                f"inputs|{tensor.name} is {list(tensor.shape)}; [batch, heads, length, width] is "
                "needed"
            )
    q, k, v = (tensor.shape for tensor in inputs)
    same = {
        "batch": (q[0], k[0], v[0]),
        "heads of k and v": (k[1], v[1]),
        "length of k and v": (k[2], v[2]),
        "width of q and k": (q[3], k[3]),
    }
    for what, sizes in same.items():
        if len(set(sizes)) > 1:
            raise GraphError(f"inputs|{what} must be one number, not {sizes}")
    if q[1] % k[1]:
        raise GraphError(f"inputs|{q[1]} heads of q cannot share {k[1]} of k evenly")
    if text.attention.causal and q[2] > k[2]:
        raise GraphError(f"inputs|{q[2]} queries are more than {k[2]} keys under a causal mask")
    op = Attention(
        text.name, (names[0], names[1], names[2]), output, q[0], q[1], k[1], q[2], k[2], q[3], v[3],
        causal=text.attention.causal, window=text.attention.window,
    )  # fmt: skip
    return op, (*q[:3], v[3])


def _conv(
    text: ConvText, names: tuple[str, ...], output: str, inputs: Sequence[Tensor], _: Tensor
) -> tuple[Op, Shape]:
    _count(text, inputs, 2, 3, "an input, a weight and perhaps a bias")
    image, weight = inputs[0].shape, inputs[1].shape
    axes = len(image) - 2
    each = {}
    for key in ("stride", "padding", "dilation"):
        value = getattr(text.conv, key)
        each[key] = (value,) * axes if isinstance(value, int) else tuple(value)
        if len(each[key]) != axes:
            raise GraphError(f"conv|{key} has {len(each[key])} numbers for {axes} axes")
    padding = tuple(2 * pad for pad in each["padding"])
    sliding = Sliding(each["stride"], each["dilation"], padding, text.conv.groups)
    try:
        shape = convolved(image, weight, sliding)
    except GraphError as problem:
        raise GraphError(f"inputs|{problem}") from None
    _check_bias(inputs[2:], (weight[0],))
    return convolution(text.name, names, output, (image, weight), sliding), shape


def _gather(
    text: GatherText, names: tuple[str, ...], output: str, inputs: Sequence[Tensor], _: Tensor
) -> tuple[Op, Shape]:
    _count(text, inputs, 1, 1, "one table")
    table = inputs[0]
    if len(table.shape) != 2:
        raise GraphError(f"inputs|{table.name} is {list(table.shape)}; a table is [rows, width]")
    width = table.shape[1]
    return Gather(text.name, (names[0],), output, text.gather, width), (text.gather, width)


def _move(
    text: MoveText,
    names: tuple[str, ...],
    output: str,
    inputs: Sequence[Tensor],
    declared: Tensor | None,
) -> tuple[Op, Shape]:
    if len(inputs) > 1 and declared is None:
        raise GraphError("inputs|several are copied: declare the output's shape in 'tensors'")
    shape = declared.shape if declared else inputs[0].shape
    copied = sum(tensor.elements for tensor in inputs)
    if copied > prod(shape):
        raise GraphError(f"inputs|{copied} elements are copied into {list(shape)}")
    if text.move > prod(shape):
        raise GraphError(f"move|a run of {text.move} elements in {prod(shape)}")
    return Move(text.name, names, output, text.move), shape


_RULES: dict[type, Callable[..., tuple[Op, Shape]]] = {
    EinsumText: _einsum,
    VectorText: _vector,
    AttentionText: _attention,
    ConvText: _conv,
    GatherText: _gather,
    MoveText: _move,
}
