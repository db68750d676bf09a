"""Which weights are kept, how that is written down, and what it costs in bits, exactly.

    N:M            the n largest of every m along k; ceil(log2 m) bits of place per kept element:
                   bits per element = n (bits + ceil(log2 m)) / m, so 2:4 of 8 bits takes 5
                   (2:4 with 2-bit metadata: Mishra et al., arXiv 2104.08378, sec. 3; recalled)
    block-sparse   whole blocks; a bitmap of blocks:
                   bits per element = density bits + 1 / (block rows x block columns)
    unstructured   single elements; a bitmap (density bits + 1) or compressed rows, CSR
                   (density (bits + column bits), and a pointer per row)

Weights are [rows, k]: rows are output channels, k the reduction. Ties keep the earlier element.
A last group or block may be partial: a partial group of N:M still has n slots, the unused ones
holding zero at place 0. Not modeled: the interleaving that hardware wants of metadata words.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import ceil, prod
from typing import Protocol

import numpy as np

from kernels_ref.errors import UserError
from kernels_ref.formats import Format

Shape = tuple[int, int]


class SparsityError(UserError):
    """No such pattern."""


@dataclass(frozen=True, slots=True)
class Compressed:
    """Kept values and where they belong; what the arrays mean is the pattern's."""

    shape: Shape  # of the dense weights
    values: np.ndarray
    places: np.ndarray


class Pattern(Protocol):
    """A rule for what is kept, and its encoding."""

    @property
    def density(self) -> Fraction:
        """Share of the elements that is kept."""

    def __str__(self) -> str:
        """As it is named: 2:4, 16x16 blocks of density 0.2."""

    def kept(self, shape: Shape) -> int:
        """Elements that are kept of weights of this shape, padding left out."""

    def mask(self, weights: np.ndarray) -> np.ndarray:
        """Bool [rows, k]: what is kept of these weights."""

    def compress(self, weights: np.ndarray) -> Compressed:
        """What is kept of the weights; the rest is lost."""

    def expand(self, compressed: Compressed) -> np.ndarray:
        """Dense weights with zeros where nothing was kept."""

    def bits_per_element(self, bits: int) -> Fraction:
        """Storage per dense element for values of `bits`, metadata included, in large weights."""

    def storage_bits(self, shape: Shape, bits: int) -> int:
        """Storage of weights of this shape, partial groups and rounding up included."""


@dataclass(frozen=True, slots=True)
class NOfM:
    """The n largest magnitudes of every m elements along k.

    values [rows, groups x n], places (uint8) alike: the place of each value in its group, rising.
    Raises SparsityError unless 1 <= n <= m <= 256.
    """

    n: int
    m: int

    def __post_init__(self) -> None:
        if not 1 <= self.n <= self.m <= 256:
            raise SparsityError(f"{self.n}:{self.m} sparsity needs 1 <= n <= m <= 256")

    @property
    def density(self) -> Fraction:
        return Fraction(self.n, self.m)

    def __str__(self) -> str:
        return f"{self.n}:{self.m}"

    def kept(self, shape: Shape) -> int:
        groups, rest = divmod(shape[1], self.m)
        return shape[0] * (groups * self.n + min(self.n, rest))

    @property
    def place_bits(self) -> int:
        """Of one kept element's place in its group: ceil(log2 m)."""
        return (self.m - 1).bit_length()

    def mask(self, weights: np.ndarray) -> np.ndarray:
        grouped = self._grouped(np.abs(weights.astype(np.float64)), -1.0)
        order = np.argsort(-grouped, axis=2, kind="stable")
        kept = np.zeros(grouped.shape, bool)
        np.put_along_axis(kept, order[..., : self.n], True, axis=2)
        return kept.reshape(len(weights), -1)[:, : weights.shape[1]]

    def compress(self, weights: np.ndarray) -> Compressed:
        kept = self._grouped(self.mask(weights), False)
        grouped = self._grouped(weights, 0)
        places = np.argsort(~kept, axis=2, kind="stable")[..., : self.n]
        used = np.take_along_axis(kept, places, axis=2)
        values = np.where(used, np.take_along_axis(grouped, places, axis=2), 0)
        rows = len(weights)
        return Compressed(
            (rows, weights.shape[1]),
            values.astype(weights.dtype).reshape(rows, -1),
            np.where(used, places, 0).astype(np.uint8).reshape(rows, -1),
        )

    def expand(self, compressed: Compressed) -> np.ndarray:
        rows, k = compressed.shape
        dense = np.zeros((rows, ceil(k / self.m) * self.m), compressed.values.dtype)
        slots = np.arange(compressed.values.shape[1])
        columns = slots // self.n * self.m + compressed.places
        np.add.at(dense, (np.arange(rows)[:, None], columns), compressed.values)
        return dense[:, :k]

    def bits_per_element(self, bits: int) -> Fraction:
        return Fraction(self.n * (bits + self.place_bits), self.m)

    def storage_bits(self, shape: Shape, bits: int) -> int:
        return shape[0] * ceil(shape[1] / self.m) * self.n * (bits + self.place_bits)

    def _grouped(self, weights: np.ndarray, fill: float) -> np.ndarray:
        """[rows, groups, m], the last group filled up."""
        short = -weights.shape[1] % self.m
        padded = np.pad(weights, ((0, 0), (0, short)), constant_values=fill)
        return padded.reshape(len(weights), -1, self.m)


@dataclass(frozen=True, slots=True)
class BlockSparse:
    """The blocks of the largest mean magnitude, ceil(density x blocks) of them. Raises
    SparsityError for a density outside 0 to 1 or an empty block.

    values [kept blocks, block rows, block columns], partial blocks filled with zeros, in row-major
    order of blocks; places (bool) [block rows of the weights, block columns]: the bitmap.
    """

    block: Shape
    density: Fraction

    def __post_init__(self) -> None:
        _check_density(self.density)
        if min(self.block) < 1:
            raise SparsityError(f"a block has at least one element, not {self.block}")

    def __str__(self) -> str:
        return f"{self.block[0]}x{self.block[1]} blocks of density {float(self.density):g}"

    def kept(self, shape: Shape) -> int:
        return min(prod(shape), ceil(self.density * self._count(shape)) * prod(self.block))

    def bitmap(self, weights: np.ndarray) -> np.ndarray:
        """Which blocks are kept: bool [blocks along rows, blocks along k]."""
        blocks = self._blocks(np.abs(weights.astype(np.float64)))
        return _largest(blocks.sum(axis=(2, 3)) / self._elements(weights.shape), self.density)

    def mask(self, weights: np.ndarray) -> np.ndarray:
        bitmap = self.bitmap(weights)
        wide = np.repeat(np.repeat(bitmap, self.block[0], axis=0), self.block[1], axis=1)
        return wide[: weights.shape[0], : weights.shape[1]]

    def compress(self, weights: np.ndarray) -> Compressed:
        bitmap = self.bitmap(weights)
        return Compressed((len(weights), weights.shape[1]), self._blocks(weights)[bitmap], bitmap)

    def expand(self, compressed: Compressed) -> np.ndarray:
        bitmap, (rows, k) = compressed.places, compressed.shape
        blocks = np.zeros((*bitmap.shape, *self.block), compressed.values.dtype)
        blocks[bitmap] = compressed.values
        height, width = bitmap.shape[0] * self.block[0], bitmap.shape[1] * self.block[1]
        return blocks.swapaxes(1, 2).reshape(height, width)[:rows, :k]

    def bits_per_element(self, bits: int) -> Fraction:
        return self.density * bits + Fraction(1, prod(self.block))

    def storage_bits(self, shape: Shape, bits: int) -> int:
        blocks = self._count(shape)
        return ceil(self.density * blocks) * prod(self.block) * bits + blocks

    def _count(self, shape: Shape) -> int:
        """Blocks, partial ones too."""
        return prod(ceil(size / side) for size, side in zip(shape, self.block, strict=True))

    def _blocks(self, weights: np.ndarray) -> np.ndarray:
        """[blocks along rows, blocks along k, block rows, block columns], filled with zeros."""
        height, width = self.block
        short = -weights.shape[0] % height, -weights.shape[1] % width
        padded = np.pad(weights, ((0, short[0]), (0, short[1])))
        rows, columns = padded.shape[0] // height, padded.shape[1] // width
        return padded.reshape(rows, height, columns, width).swapaxes(1, 2)

    def _elements(self, shape: tuple[int, ...]) -> np.ndarray:
        """Elements in every block, fewer in partial ones."""
        return self._blocks(np.ones(shape)).sum(axis=(2, 3))


@dataclass(frozen=True, slots=True)
class Unstructured:
    """The largest magnitudes anywhere, ceil(density x elements) of them. Raises SparsityError for
    a density outside 0 to 1.

    values [kept], row by row. places: the bitmap (bool [rows, k]), or with `column_bits` the CSR
    columns and row pointers behind each other (int64 [kept + rows + 1]).
    """

    density: Fraction
    column_bits: int = 0  # of a CSR column index; 0: a bitmap
    pointer_bits: int = 32

    def __post_init__(self) -> None:
        _check_density(self.density)

    def __str__(self) -> str:
        return f"unstructured of density {float(self.density):g}"

    def kept(self, shape: Shape) -> int:
        return ceil(self.density * prod(shape))

    def mask(self, weights: np.ndarray) -> np.ndarray:
        return _largest(np.abs(weights.astype(np.float64)), self.density)

    def compress(self, weights: np.ndarray) -> Compressed:
        """Raises SparsityError where a column does not fit `column_bits`."""
        kept = self.mask(weights)
        shape = len(weights), weights.shape[1]
        if not self.column_bits:
            return Compressed(shape, weights[kept], kept)
        if shape[1] > 2**self.column_bits:
            raise SparsityError(f"{shape[1]} columns need more than {self.column_bits} bits")
        pointers = np.concatenate([[0], kept.sum(axis=1).cumsum()])
        return Compressed(shape, weights[kept], np.concatenate([np.nonzero(kept)[1], pointers]))

    def expand(self, compressed: Compressed) -> np.ndarray:
        dense = np.zeros(compressed.shape, compressed.values.dtype)
        if not self.column_bits:
            dense[compressed.places] = compressed.values
            return dense
        columns, pointers = rows_of(compressed)
        dense[np.repeat(np.arange(len(dense)), np.diff(pointers)), columns] = compressed.values
        return dense

    def bits_per_element(self, bits: int) -> Fraction:
        if not self.column_bits:
            return self.density * bits + 1
        return self.density * (bits + self.column_bits)

    def storage_bits(self, shape: Shape, bits: int) -> int:
        kept = ceil(self.density * prod(shape))
        if not self.column_bits:
            return kept * bits + prod(shape)
        return kept * (bits + self.column_bits) + (shape[0] + 1) * self.pointer_bits


def stored_bits(pattern: Pattern, number_format: Format, shape: tuple[int, ...]) -> int:
    """Storage of one or more sparse matrices [..., rows, k] in a format: kept values, places, and
    all scales and tables of the dense weights. Codes that are packed tighter than their bits where
    dense (five ternary digits to a byte) take whole bits here."""
    count, (rows, k) = prod(shape[:-2]), shape[-2:]
    word = number_format.of.packed or Fraction(number_format.bits)
    codes = rows * ceil(k / word.denominator) * word.numerator
    scales = number_format.storage_bits(count * rows * k, k) - count * codes
    return count * pattern.storage_bits((rows, k), number_format.bits) + scales


def rows_of(compressed: Compressed) -> tuple[np.ndarray, np.ndarray]:
    """(columns [kept], row pointers [rows + 1]) of CSR."""
    kept = len(compressed.values)
    return compressed.places[:kept], compressed.places[kept:]


def _check_density(density: Fraction) -> None:
    if not 0 <= density <= 1:
        raise SparsityError(f"density is the share that is kept, from 0 to 1, not {density}")


def _largest(magnitudes: np.ndarray, density: Fraction) -> np.ndarray:
    """Bool, True at the ceil(density x size) largest, the earlier first."""
    count = ceil(density * magnitudes.size)
    kept = np.zeros(magnitudes.size, bool)
    kept[np.argsort(-magnitudes.ravel(), kind="stable")[:count]] = True
    return kept.reshape(magnitudes.shape)
