"""Convolutions of AlexNet and ResNet-50, two machines that were built for them, and mappings
written by hand for these."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Any

from mapspace import by_hand, conv2d_dims
from tiny import design_dict, engine, memory, parse

from accel_models.path import Path, memory_path
from kernels_ref.formats import FORMATS
from mappers.mapping import Mapping
from mappers.problem import Contraction


@dataclass(frozen=True)
class Layer:
    """g groups of m filters of c channels, p x q outputs, r x s taps; as the mapper has them."""

    g: int
    m: int
    c: int
    p: int
    q: int
    r: int
    s: int
    stride: int = 1
    b: int = 4  # images

    @property
    def extents(self) -> dict[str, int]:
        return {rank: getattr(self, rank) for rank in "gbmcpqrs"}

    @property
    def width(self) -> int:
        """Columns of the input that the outputs depend on, padding included."""
        return (self.q - 1) * self.stride + self.s

    def rows(self, outputs: int) -> int:
        """Rows of the input that so many rows of outputs depend on."""
        return (outputs - 1) * self.stride + self.r

    def on(self, path: Path, number: str, bytes_each: float, sum_bytes: float) -> Contraction:
        """The contraction on a machine, all operands of one format."""
        pair = path.datapath(FORMATS[number], FORMATS[number])
        widths = (bytes_each, bytes_each, bytes_each, sum_bytes)
        return Contraction(self.extents, pair, *widths, dims=conv2d_dims(self.stride))


# Krizhevsky, Sutskever, Hinton, "ImageNet classification with deep convolutional neural networks",
# NIPS 2012, section 3.5 (input 227 wide, so that 55 outputs come of it); conv2, 4 and 5 see half of
# the channels each. He et al., "Deep residual learning for image recognition", CVPR 2016, table 1;
# the stride of conv3_1 is in its 3 x 3, as in most implementations.
LAYERS: dict[str, Layer] = {
    "alexnet conv1": Layer(1, 96, 3, 55, 55, 11, 11, stride=4),
    "alexnet conv2": Layer(2, 128, 48, 27, 27, 5, 5),
    "alexnet conv3": Layer(1, 384, 256, 13, 13, 3, 3),
    "alexnet conv4": Layer(2, 192, 192, 13, 13, 3, 3),
    "alexnet conv5": Layer(2, 128, 192, 13, 13, 3, 3),
    "resnet conv1 7x7/2": Layer(1, 64, 3, 112, 112, 7, 7, stride=2),
    "resnet conv2 1x1": Layer(1, 256, 64, 56, 56, 1, 1),
    "resnet conv2 3x3": Layer(1, 64, 64, 56, 56, 3, 3),
    "resnet conv3 3x3/2": Layer(1, 128, 128, 28, 28, 3, 3, stride=2),
}


def eyeriss(order: tuple[str, ...] = ("ifmap", "filter", "psum"), network: bool = True) -> Path:
    """12 x 14 PEs with scratchpads of 224 filter, 12 input and 24 sum words of 16 bit, under a
    buffer of 108 KiB for inputs and sums (Chen et al., JSSC 2017); rows of filters along the
    columns, which add sums up, rows of outputs along the rows. Energies relative to a MAC
    as in Chen et al., ISCA 2016, table IV (DRAM 200, buffer 6, scratchpad 1); bandwidths are made
    up. Without its `network`, every PE is served alone."""

    def pad(words: int, operand: str) -> dict[str, Any]:
        more = {"buffering": "single", "kind": "regfile", "energy": "0.0625 pJ/bit"}
        return memory(f"{2 * words} B", "8 B/cycle", keeps=[operand], **more)

    pads = {"filter": pad(224, "weight"), "ifmap": pad(12, "activation")}
    pads["psum"] = pad(24, "output")
    glb = memory("108 KiB", "64 B/cycle", keeps=["activation", "output"], energy="0.375 pJ/bit")
    data = design_dict(
        {
            "dram": memory("4 GiB", "16 B/cycle", kind="dram", energy="12.5 pJ/bit"),
            "glb": glb | ({"multicast": 14, "reduction": True} if network else {}),
        },
        {name: pads[name] for name in order},
        engine("dot_product", m=1, n=1, k=1),
        168,
    )
    axes = {
        "rows": {"size": 12, "ranks": ["r", "c", "m"]},
        "cols": {"size": 14, "ranks": ["p", "m"]},
    }
    data["cores"]["core"]["mapping"] = {"levels": {order[0]: {"axes": axes}}}
    return memory_path(parse(data), "core")


def tpu() -> Path:
    """256 x 256 MACs of 8 bit, a unified buffer of 24 MiB, accumulators of 4 MiB, weights from
    DRAM through a FIFO of four tiles (Jouppi et al., ISCA 2017, section 2). Energies and most
    bandwidths are made up."""
    mac = {"formats": {"int8": {"macs_per_cycle": 1, "accumulate": "int32", "energy": "0.2 pJ"}}}
    data = design_dict(
        {
            "dram": memory("8 GiB", "48 B/cycle", kind="dram", energy="15 pJ/bit"),
            "unified": memory("24 MiB", "512 B/cycle", keeps=["activation", "output"]),
        },
        {
            "fifo": memory("256 KiB", "512 B/cycle", keeps=["weight"]),
            "accumulators": memory("4 MiB", "2048 B/cycle", keeps=["output"]),
        },
        engine("systolic", rows=256, cols=256, weight_preload="shadow", pe=mac),
    )
    return memory_path(parse(data), "core")


@dataclass(frozen=True)
class RowStationary:
    """A PE's `filters` filters of `channels` channels, a row of each; the array has `rows` output
    rows, `sets` times so many filters, and `deep` times so many channels; the buffer has `m`
    filters' sums and `c` channels."""

    rows: int
    filters: int
    channels: int
    m: int
    c: int
    sets: int = 1
    deep: int = 1

    def mapping(self, layer: Layer, problem: Contraction, path: Path) -> Mapping:
        pad = {"m": self.filters, "c": self.channels, "p": 1, "q": 1, "r": 1}
        split = {"p": self.rows, "r": layer.r, "m": self.sets, "c": self.deep}
        glb = {"g": 1, "b": 1, "m": self.m, "c": self.c, "p": self.rows}
        levels = {
            "glb": {"tile": glb, "order": "gbpmc"},
            path.levels[2].name: {"tile": pad, "split": split, "order": "cmq"},
        }
        return by_hand(problem, path, levels)


ROW_STATIONARY: dict[str, RowStationary] = {
    "alexnet conv1": RowStationary(11, 16, 1, m=48, c=1),
    "alexnet conv2": RowStationary(9, 16, 2, m=64, c=48, sets=2),
    "alexnet conv3": RowStationary(13, 16, 4, m=128, c=64, sets=4),
    "alexnet conv4": RowStationary(13, 16, 4, m=192, c=48, sets=4),
    "alexnet conv5": RowStationary(13, 16, 4, m=64, c=96, sets=4),
    "resnet conv1 7x7/2": RowStationary(14, 16, 1, m=16, c=1),
    "resnet conv2 1x1": RowStationary(14, 16, 4, m=32, c=16, sets=2, deep=4),
    "resnet conv2 3x3": RowStationary(14, 16, 4, m=32, c=16, sets=2),
    "resnet conv3 3x3/2": RowStationary(14, 16, 4, m=64, c=8, sets=4),
}


@dataclass(frozen=True)
class WeightStationary:
    """`rows` rows of outputs at a time in the accumulators; blocks of (c, r, s) in the array.
    Strips of an image follow each other, or (order gpb) the same strip of all images."""

    rows: int
    block: tuple[int, int, int]
    order: str = "gbp"

    def blocks(self, layer: Layer) -> int:
        """How many there are."""
        c, r, s = self.block
        return ceil(layer.c / c) * ceil(layer.r / r) * ceil(layer.s / s)

    def strips(self, layer: Layer) -> list[int]:
        """Rows of each."""
        return [min(self.rows, layer.p - start) for start in range(0, layer.p, self.rows)]

    def mapping(self, layer: Layer, problem: Contraction, path: Path) -> Mapping:
        c, r, s = self.block
        tile = {"m": min(256, layer.m), "c": c, "r": r, "s": s}
        levels = {
            "unified": {"tile": {"g": 1, "b": 1, "p": self.rows}, "order": self.order},
            "fifo": {"tile": tile, "order": "mcrs"},
        }
        return by_hand(problem, path, levels)


WEIGHT_STATIONARY: dict[str, WeightStationary] = {
    "alexnet conv1": WeightStationary(55, (3, 7, 11)),  # the last has 4 rows of taps
    "alexnet conv2": WeightStationary(27, (48, 1, 5)),
    "alexnet conv3": WeightStationary(13, (256, 1, 1)),
    "alexnet conv4": WeightStationary(13, (192, 1, 1)),
    "alexnet conv5": WeightStationary(5, (64, 1, 3)),  # strips of 5, 5 and 3 rows
    "resnet conv1 7x7/2": WeightStationary(30, (3, 7, 7)),  # 30, 30, 30 and 22 rows
    "resnet conv2 1x1": WeightStationary(56, (64, 1, 1)),
    "resnet conv2 3x3": WeightStationary(28, (64, 1, 3)),
    "resnet conv3 3x3/2": WeightStationary(28, (128, 1, 1)),
}
