"""Images on their way through a graph: rows are positions, columns channels."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from workloads.builders.draft import Draft
from workloads.ops import Einsum, Vector, Window


@dataclass(frozen=True, slots=True)
class Image:
    """A tensor [batch * positions, channels], positions of `size` outermost first."""

    tensor: str
    batch: int
    size: tuple[int, ...]

    @property
    def positions(self) -> int:
        return prod(self.size)


@dataclass(frozen=True, slots=True)
class Conv:
    """A convolution with the same kernel along every axis; the padding keeps the size if None and
    the stride is 1, and is none at a stride of a whole kernel. `cut`: only so many positions."""

    channels: int
    kernel: int
    stride: int = 1
    padding: int | None = None
    groups: int = 1
    bias: bool = False
    cut: int | None = None

    def around(self) -> int:
        """Positions of padding at either end."""
        if self.padding is not None:
            return self.padding
        return 0 if self.stride == self.kernel else (self.kernel - 1) // 2

    def size(self, before: tuple[int, ...]) -> tuple[int, ...]:
        """Positions of the output."""
        if self.cut:
            return (self.cut,)
        around = 2 * self.around() - self.kernel
        return tuple((side + around) // self.stride + 1 for side in before)


def convolve(draft: Draft, name: str, image: Image, conv: Conv) -> Image:
    """The image through a convolution."""
    taken = draft.tensors[image.tensor].shape[1]
    size, groups = conv.size(image.size), conv.groups
    axes = len(size)
    taps = taken // groups * conv.kernel**axes
    full = draft.prefix + name
    weight = draft.tensor(f"{full}.weight", (conv.channels, taps), "weight")
    biases = (draft.tensor(f"{full}.bias", (conv.channels,), "weight"),) if conv.bias else ()
    rows = image.batch * prod(size)
    output = draft.tensor(full, (rows, conv.channels), "activation")
    ranks = {"m": rows, "n": conv.channels // groups, "k": taps}
    spec = "mk,nk->mn"
    if groups > 1:
        ranks, spec = {"g": groups, **ranks}, "gmk,gnk->gmn"
    sides = (conv.kernel,) * axes, (conv.stride,) * axes, (1,) * axes
    slides = None if conv.kernel == conv.stride == 1 else Window(taken, image.size, *sides)
    draft.add(Einsum(full, (image.tensor, weight, *biases), output, ranks, spec, slides))
    return Image(output, image.batch, size)


def normalize_batch(draft: Draft, name: str, image: Image) -> Image:
    """A batch norm with known statistics: a multiplication and an addition per channel."""
    full, shape = draft.prefix + name, draft.tensors[image.tensor].shape
    stored = [draft.tensor(f"{full}.{p}", (shape[1],), "weight") for p in ("weight", "bias")]
    output = draft.tensor(full, shape, "activation")
    inputs = (image.tensor, *stored)
    draft.add(Vector(full, inputs, output, "scale_shift", shape[0], shape[1]))
    return Image(output, image.batch, image.size)


def activate(draft: Draft, name: str, function: str, image: Image, *others: str) -> Image:
    """An elementwise function of the image, and of further tensors like it."""
    made = draft.vector(name, function, (image.tensor, *others))
    return Image(made, image.batch, image.size)


def pool(draft: Draft, name: str, image: Image, window: Conv) -> Image:
    """The largest of each window."""
    size = window.size(image.size)
    full, channels = draft.prefix + name, draft.tensors[image.tensor].shape[1]
    rows = image.batch * prod(size)
    output = draft.tensor(full, (rows, channels), "activation")
    taps = window.kernel ** len(size)
    draft.add(Vector(full, (image.tensor,), output, "max_pool", rows, channels, taps))
    return Image(output, image.batch, size)


def mean_of_all(draft: Draft, name: str, image: Image) -> str:
    """One row to an image: the mean of its positions."""
    full, channels = draft.prefix + name, draft.tensors[image.tensor].shape[1]
    output = draft.tensor(full, (image.batch, channels), "activation")
    op = Vector(full, (image.tensor,), output, "avg_pool", image.batch, channels, image.positions)
    return draft.add(op)
