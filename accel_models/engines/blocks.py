"""Engines that issue fixed blocks: tensor-core dot products, table look-up, outer product, SIMD.

    interval = ceil(K/k) * max(ceil(M/m) * ceil(N/n) * cycles per block, pipeline)
    latency  = interval + pipeline

The maximum: a block's next k step adds to the sums that its last one is still producing, so fewer
independent blocks than the pipeline is deep leave issue slots empty.

dot_product: m x n x k MACs per issue (NVIDIA PTX ISA, `mma` shapes); a format of rate q issues k*q.
lut: the same block, one pass per weight bit, whatever the weight's width (LUT Tensor Core, arXiv
2408.06003, sec. 4). outer_product: m x n MACs a cycle, one k at a time. simd: `lanes` along n, A
broadcast. A rate below 1 stretches the block.
Zeros of weights: `skipping.py`. Not modeled: register bank conflicts, operand collectors.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from accel_models.engines.pe import PE
from accel_models.engines.tile import EngineForm, MatrixEngine, Steps
from accel_models.facts import Count


class DotProduct(MatrixEngine):
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

    def form(self, rate: float, weight_bits: int) -> EngineForm:
        """Blocks issued back to back; a format slower than one k a block stretches the issue."""
        m, n, deep = self.geometry(rate)
        issue = Steps(m, self.issue_interval * deep / (self.k * rate))
        return _block_form(issue, Steps(n), Steps(deep), self.pipeline)

    def peak(self, rate: float, weight_bits: int) -> float:
        return self.m * self.n * self.k * rate / self.issue_interval


class Lut(MatrixEngine):
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

    def form(self, rate: float, weight_bits: int) -> EngineForm:
        """Blocks times weight bits."""
        issue = Steps(self.m, self.issue_interval * weight_bits / rate)
        return _block_form(issue, Steps(self.n), Steps(self.k), self.pipeline)

    def peak(self, rate: float, weight_bits: int) -> float:
        return self.m * self.n * self.k * rate / (self.issue_interval * weight_bits)


class OuterProduct(MatrixEngine):
    """m x n MACs a cycle, sums held in place."""

    kind: Literal["outer_product"] = "outer_product"
    count: Count = Field(description="engines per core")
    m: Count
    n: Count
    pipeline: Count = Field(description="cycles from issue until the sum can be added to again")
    pe: PE

    def geometry(self, rate: float) -> tuple[int, int, int]:
        return self.m, self.n, max(1, int(rate))

    def form(self, rate: float, weight_bits: int) -> EngineForm:
        """One k a cycle for every block of C; sums stay until the whole k of the tile is done."""
        k = Steps(1, 1 / rate)
        m, n, fill = self.m, self.n, self.pipeline
        return EngineForm(Steps(m), Steps(n), k, fill, fill, "k", n, m, 0)

    def peak(self, rate: float, weight_bits: int) -> float:
        return self.m * self.n * rate


class Simd(MatrixEngine):
    """`lanes` multiply-accumulates a cycle along n, the activation broadcast."""

    kind: Literal["simd"] = "simd"
    count: Count = Field(description="engines per core")
    lanes: Count
    pipeline: Count = Field(description="cycles from issue until the sum can be added to again")
    pe: PE

    def geometry(self, rate: float) -> tuple[int, int, int]:
        return 1, max(1, int(self.lanes * rate)), 1

    def form(self, rate: float, weight_bits: int) -> EngineForm:
        """A vector instruction for every m, k and `lanes` of n; sums stay in registers."""
        wide = self.geometry(rate)[1]
        n = Steps(wide, wide / (self.lanes * rate))
        return EngineForm(Steps(), n, Steps(), self.pipeline, self.pipeline, "k", wide, 1, 0)

    def peak(self, rate: float, weight_bits: int) -> float:
        return self.lanes * rate


def _block_form(m: Steps, n: Steps, k: Steps, pipeline: int) -> EngineForm:
    """Every block reads its A, B and C and writes its C."""
    a, w, c = int(n.block), int(m.block), int(k.block)
    return EngineForm(m, n, k, pipeline, pipeline, "k", a, w, c)
