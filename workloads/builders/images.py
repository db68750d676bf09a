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


def convolve(
    draft: Draft,
    name: str,
    image: Image,
    channels: int,
    kernel: int,
    stride: int = 1,
    padding: int | None = None,
    groups: int = 1,
    dilation: int = 1,
    bias: bool = False,
    cut: int | None = None,
) -> Image:
    """A convolution with the same kernel along every axis; the padding keeps the size if None and
    the stride is 1, and is none at a stride of a whole kernel. `cut`: only so many positions."""
    taken = draft.tensors[image.tensor].shape[1]
    reach = dilation * (kernel - 1) + 1
    around = 0 if stride == kernel else (reach - 1) // 2
    around = around if padding is None else padding
    size = tuple((side + 2 * around - reach) // stride + 1 for side in image.size)
    size = (cut,) if cut else size
    axes = len(size)
    taps = taken // groups * kernel**axes
    full = draft.prefix + name
    weight = draft.tensor(f"{full}.weight", (channels, taps), "weight")
    biases = (draft.tensor(f"{full}.bias", (channels,), "weight"),) if bias else ()
    rows = image.batch * prod(size)
    output = draft.tensor(full, (rows, channels), "activation")
    ranks = {"m": rows, "n": channels // groups, "k": taps}
    spec = "mk,nk->mn"
    if groups > 1:
        ranks, spec = {"g": groups, **ranks}, "gmk,gnk->gmn"
    window = Window(taken, image.size, (kernel,) * axes, (stride,) * axes, (dilation,) * axes)
    slides = None if kernel == stride == 1 else window
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


def pool(
    draft: Draft, name: str, function: str, image: Image, kernel: int, stride: int, padding: int = 0
) -> Image:
    """The largest of each window, or the mean."""
    size = tuple((side + 2 * padding - kernel) // stride + 1 for side in image.size)
    full, channels = draft.prefix + name, draft.tensors[image.tensor].shape[1]
    rows = image.batch * prod(size)
    output = draft.tensor(full, (rows, channels), "activation")
    taps = kernel ** len(size)
    draft.add(Vector(full, (image.tensor,), output, function, rows, channels, taps))
    return Image(output, image.batch, size)


def mean_of_all(draft: Draft, name: str, image: Image) -> str:
    """One row to an image: the mean of its positions."""
    full, channels = draft.prefix + name, draft.tensors[image.tensor].shape[1]
    output = draft.tensor(full, (image.batch, channels), "activation")
    op = Vector(full, (image.tensor,), output, "avg_pool", image.batch, channels, image.positions)
    return draft.add(op)
