"""Tensors seen in another shape, order or part without being copied: strides over a storage.

As in NumPy and PyTorch: transposing, cutting and broadcasting change strides; reshaping does where
the axes that it joins follow each other in memory, and is a copy where they do not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

from workloads.from_onnx.exported import Shape


@dataclass(frozen=True, slots=True)
class View:
    """`tensor` of the graph, with a stride in elements for each axis. `coded`: these are codes of
    a quantized tensor, and what is meant are the numbers that they stand for."""

    tensor: str
    shape: Shape
    strides: Shape
    coded: bool = False

    @property
    def distinct(self) -> int:
        """Elements of the storage that it shows."""
        axes = zip(self.shape, self.strides, strict=True)
        return prod(size for size, stride in axes if stride) if prod(self.shape) else 0

    @property
    def run(self) -> int:
        """Elements that lie one after the other."""
        length = 1
        for size, stride in zip(reversed(self.shape), reversed(self.strides), strict=True):
            if size != 1 and stride != length:
                break
            length *= size
        return length

    def transposed(self, order: Sequence[int]) -> View:
        """Axes in another order."""
        shape, strides = (tuple(x[axis] for axis in order) for x in (self.shape, self.strides))
        return replace(self, shape=shape, strides=strides)

    def cut(self, shape: Shape, steps: Shape) -> View:
        """A part: every `steps`-th element along each axis."""
        strides = tuple(s * step for s, step in zip(self.strides, steps, strict=True))
        return replace(self, shape=shape, strides=strides)

    def spread(self, shape: Shape) -> View:
        """Broadcast to a larger shape."""
        more = len(shape) - len(self.shape)
        own = ((1,) * more + self.shape, (0,) * more + self.strides)
        strides = tuple(
            stride if size == wide else 0 for size, stride, wide in zip(*own, shape, strict=True)
        )
        return replace(self, shape=shape, strides=strides)

    def reshaped(self, shape: Shape) -> View | None:
        """None where that needs a copy."""
        blocks = _blocks(self)
        strides: list[int] = []
        size, stride = blocks.pop() if blocks else (1, 1)
        for wanted in reversed(shape):
            if wanted == 1:
                strides.append(0)
                continue
            if size == 1 and blocks:
                size, stride = blocks.pop()
            if size % wanted:
                return None
            strides.append(stride)
            size, stride = size // wanted, stride * wanted
        return replace(self, shape=shape, strides=tuple(reversed(strides)))


def dense(tensor: str, shape: Shape, coded: bool = False) -> View:
    """The whole of a storage, as it lies."""
    strides, length = [], 1
    for size in reversed(shape):
        strides.append(length)
        length *= size
    return View(tensor, shape, tuple(reversed(strides)), coded)


def _blocks(view: View) -> list[tuple[int, int]]:
    """(size, stride of its elements) of groups of axes that follow each other, outermost first."""
    found: list[tuple[int, int]] = []
    for size, stride in zip(reversed(view.shape), reversed(view.strides), strict=True):
        if size == 1:
            continue
        if found and stride == found[-1][1] * found[-1][0] and stride:
            found[-1] = (found[-1][0] * size, found[-1][1])
        else:
            found.append((size, stride))
    return found[::-1]
