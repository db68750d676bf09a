"""Engines that issue fixed blocks: tensor-core dot products, table look-up, outer product, SIMD.

    interval = ceil(K/k) * max(ceil(M/m) * ceil(N/n) * cycles per block, pipeline)
    latency  = interval + pipeline

The maximum: a block's next k step adds to the sums that its last one is still producing, so fewer
independent blocks than the pipeline is deep leave issue slots empty.

dot_product: m x n x k MACs per issue (NVIDIA PTX ISA, `mma` shapes); a format of rate q issues k*q.
lut: the same block, one pass per weight bit, whatever the weight's width (LUT Tensor Core, arXiv
2408.06003, sec. 4). outer_product: m x n MACs a cycle, one k at a time. simd: `lanes` along n, A
broadcast. A rate below 1 stretches the block.
Not modeled: register bank conflicts, operand collectors, sparsity (2:4).
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from accel_models.engines.pe import PE
from accel_models.engines.tile import MatmulTile, OperandWords, Service, ceil_div
from accel_models.facts import Count, Facts


class DotProduct(Facts):
    """m x n x k MACs every `issue_interval` cycles."""

    kind: Literal["dot_product"] = "dot_product"
    count: Count = Field(description="engines per core")
    m: Count
    n: Count
    k: Count
    issue_interval: Count = Field(description="cycles between issues")
    pipeline: Count = Field(description="cycles from issue until the sum can be added to again")
    pe: PE

    def geometry(self, rate: float) -> tuple[int, int, int]:
        return self.m, self.n, max(1, int(self.k * rate))

    def service(self, tile: MatmulTile) -> Service:
        """Blocks issued back to back."""
        m, n, deep = self.geometry(tile.rate)
        stretch = deep / (self.k * tile.rate)  # 1 unless the format is slower than one k
        issue = ceil_div(tile.m, m) * ceil_div(tile.n, n) * (self.issue_interval * stretch)
        cycles = ceil_div(tile.k, deep) * np.maximum(issue, self.pipeline)
        return Service(cycles + self.pipeline, cycles)

    def peak(self, rate: float, weight_bits: int) -> float:
        return self.m * self.n * self.k * rate / self.issue_interval

    def operand_words(self, tile: MatmulTile) -> OperandWords:
        return _block_words(tile, self.geometry(tile.rate))


class Lut(Facts):
    """m x n x k table look-ups every `issue_interval` cycles, a pass for each weight bit."""

    kind: Literal["lut"] = "lut"
    count: Count = Field(description="engines per core")
    m: Count
    n: Count
    k: Count
    issue_interval: Count = Field(description="cycles between issues")
    pipeline: Count = Field(description="cycles from issue until the sum can be added to again")
    pe: PE

    def geometry(self, rate: float) -> tuple[int, int, int]:
        return self.m, self.n, self.k

    def service(self, tile: MatmulTile) -> Service:
        """Blocks times weight bits."""
        per_block = self.issue_interval * tile.weight_bits / tile.rate
        issue = ceil_div(tile.m, self.m) * ceil_div(tile.n, self.n) * per_block
        cycles = ceil_div(tile.k, self.k) * np.maximum(issue, self.pipeline)
        return Service(cycles + self.pipeline, cycles)

    def peak(self, rate: float, weight_bits: int) -> float:
        return self.m * self.n * self.k * rate / (self.issue_interval * weight_bits)

    def operand_words(self, tile: MatmulTile) -> OperandWords:
        return _block_words(tile, self.geometry(1))


class OuterProduct(Facts):
    """m x n MACs a cycle, sums held in place."""

    kind: Literal["outer_product"] = "outer_product"
    count: Count = Field(description="engines per core")
    m: Count
    n: Count
    pipeline: Count = Field(description="cycles from issue until the sum can be added to again")
    pe: PE

    def geometry(self, rate: float) -> tuple[int, int, int]:
        return self.m, self.n, max(1, int(rate))

    def service(self, tile: MatmulTile) -> Service:
        """One k a cycle for every block of C."""
        blocks = ceil_div(tile.m, self.m) * ceil_div(tile.n, self.n)
        cycles = tile.k * np.maximum(blocks, self.pipeline) / tile.rate
        return Service(cycles + self.pipeline, cycles)

    def peak(self, rate: float, weight_bits: int) -> float:
        return self.m * self.n * rate

    def operand_words(self, tile: MatmulTile) -> OperandWords:
        return _in_place_words(tile, self.m, self.n)


class Simd(Facts):
    """`lanes` multiply-accumulates a cycle along n, the activation broadcast."""

    kind: Literal["simd"] = "simd"
    count: Count = Field(description="engines per core")
    lanes: Count
    pipeline: Count = Field(description="cycles from issue until the sum can be added to again")
    pe: PE

    def geometry(self, rate: float) -> tuple[int, int, int]:
        return 1, max(1, int(self.lanes * rate)), 1

    def service(self, tile: MatmulTile) -> Service:
        """A vector instruction for every m, k and `lanes` of n."""
        wide = self.geometry(tile.rate)[1]
        issue = tile.m * ceil_div(tile.n, wide) * (wide / (self.lanes * tile.rate))
        cycles = tile.k * np.maximum(issue, self.pipeline)
        return Service(cycles + self.pipeline, cycles)

    def peak(self, rate: float, weight_bits: int) -> float:
        return self.lanes * rate

    def operand_words(self, tile: MatmulTile) -> OperandWords:
        return _in_place_words(tile, 1, self.geometry(tile.rate)[1])


def _block_words(tile: MatmulTile, block: tuple[int, int, int]) -> OperandWords:
    """Every block reads its A, B and C and writes its C."""
    m, n, k = block
    passes = ceil_div(tile.k, k)
    c = tile.m * tile.n
    return OperandWords(
        tile.m * tile.k * ceil_div(tile.n, n),
        tile.k * tile.n * ceil_div(tile.m, m),
        c * (passes - 1),
        c * passes,
    )


def _in_place_words(tile: MatmulTile, m: int, n: int) -> OperandWords:
    """Sums stay in the engine until the whole k of the tile is done."""
    c = tile.m * tile.n
    return OperandWords(
        tile.m * tile.k * ceil_div(tile.n, n), tile.k * tile.n * ceil_div(tile.m, m), c * 0, c
    )
