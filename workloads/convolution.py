"""A convolution as the einsum of implicit GEMM, from the shapes that frameworks give it.

input [batch, channels, *size], weight [filters, channels / groups, *kernel]; along each axis

    positions = (size + padding before and after - dilation * (kernel - 1) - 1) // stride + 1

(Dumoulin and Visin, arXiv 1603.07285, relationship 15). MACs = batch * positions * filters *
channels / groups * kernel; padded taps are counted, as `workloads.ops.einsum` says.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from workloads.graph import GraphError
from workloads.ops import Einsum, Window

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Sliding:
    """How the window moves, an entry for each spatial axis; `padding` is the sum of both sides."""

    stride: Shape
    dilation: Shape
    padding: Shape
    groups: int = 1


def positions(size: Shape, kernel: Shape, sliding: Sliding) -> Shape:
    """Outputs along each axis. Raises GraphError for a kernel that does not fit the input."""
    found = tuple(
        (n + pad - dilation * (k - 1) - 1) // stride + 1
        for n, k, stride, dilation, pad in zip(
            size, kernel, sliding.stride, sliding.dilation, sliding.padding, strict=True
        )
    )
    if any(n < 1 for n in found):
        raise GraphError(f"a kernel of {kernel} does not fit an input of {size}")
    return found


def convolved(image: Shape, weight: Shape, sliding: Sliding) -> Shape:
    """The output's shape, [batch, filters, *positions]. Raises GraphError for shapes that do not
    go together."""
    groups = sliding.groups
    if len(image) != len(weight) or len(image) < 3:
        raise GraphError(
            f"an input of {image} and a weight of {weight}: [batch, channels, *size] and "
            "[filters, channels / groups, *kernel] are needed"
        )
    if image[1] != weight[1] * groups or weight[0] % groups:
        raise GraphError(
            f"{image[1]} channels and a weight of {weight} do not go together in {groups} group(s)"
        )
    return (image[0], weight[0], *positions(image[2:], weight[2:], sliding))


def convolution(
    name: str, inputs: tuple[str, ...], output: str, shapes: tuple[Shape, Shape], sliding: Sliding
) -> Einsum:
    """The einsum; `shapes` are those of input and weight. Raises GraphError as `convolved` does."""
    image, weight = shapes
    out, groups = convolved(image, weight, sliding), sliding.groups
    ranks = {
        "m": image[0] * prod(out[2:]),
        "n": weight[0] // groups,
        "k": prod(weight[1:]),
    }
    window = Window(image[1], image[2:], weight[2:], sliding.stride, sliding.dilation)
    if groups == 1:
        return Einsum(name, inputs, output, ranks, "mk,nk->mn", window)
    return Einsum(name, inputs, output, {"g": groups} | ranks, "gmk,gnk->gmn", window)
