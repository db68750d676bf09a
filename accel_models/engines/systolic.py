"""A grid of MACs through which one operand streams past another that stays.

One fold (a block as large as the grid), n rows streamed (Kung 1982, "Why systolic architectures?";
SCALE-Sim, Samajdar 2018, for the stationary variants):

    latency  = rows + cols - 2 + n
    interval = n | max(n, load) | latency + load     weight_preload: ideal | shadow | none

load is the rows cycles that bring a block of the stationary operand in. ws holds B[k,n] and streams
m rows; is holds A[k,m] and streams n; os holds C[m,n] and streams k: nothing is loaded, and with
`shadow` the next block waits for the rows cycles that shift the sums out. A tile takes
ceil(r/rows) * ceil(c/cols) folds. A PE of rate q > 1 takes q reduction elements a cycle: ws and is
fold k by rows*q, os streams k/q; a rate below 1 stretches the stream.
Not modeled: sparsity, clock gating inside the grid, bubbles of the skew buffers.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from accel_models.engines.pe import PE
from accel_models.engines.tile import MatmulTile, Number, OperandWords, Service, ceil_div
from accel_models.facts import Count, Facts


class Systolic(Facts):
    """rows x cols PEs."""

    kind: Literal["systolic"] = "systolic"
    count: Count = Field(description="engines per core")
    rows: Count
    cols: Count
    dataflow: Literal["ws", "os", "is"]
    weight_preload: Literal["none", "shadow", "ideal"]
    pe: PE

    def geometry(self, rate: float) -> tuple[int, int, int]:
        """(m, n, k) that one fold covers; the streamed rank counts 1."""
        deep = self.rows * max(1, int(rate))
        return {
            "ws": (1, self.cols, deep),
            "is": (self.cols, 1, deep),
            "os": (self.rows, self.cols, max(1, int(rate))),
        }[self.dataflow]

    def service(self, tile: MatmulTile) -> Service:
        """Cycles of all folds of `tile`; a PE slower than one MAC a cycle stretches the stream."""
        folds, stream = self._folds(tile)
        fold_latency = self.rows + self.cols - 2 + stream
        if self.weight_preload == "ideal":
            interval = stream
        elif self.weight_preload == "shadow":
            interval = np.maximum(stream, self.rows)
        else:
            interval = fold_latency + (0 if self.dataflow == "os" else self.rows)
        latency = (folds - 1) * interval + np.maximum(fold_latency, interval)
        return Service(latency, folds * interval)

    def peak(self, rate: float, weight_bits: int) -> float:
        return self.rows * self.cols * rate

    def operand_words(self, tile: MatmulTile) -> OperandWords:
        """The stationary operand enters once, the streamed one once per fold column."""
        gm, gn, gk = self.geometry(tile.rate)
        a, b, c = tile.m * tile.k, tile.k * tile.n, tile.m * tile.n
        if self.dataflow == "os":
            return OperandWords(a * ceil_div(tile.n, gn), b * ceil_div(tile.m, gm), c * 0, c)
        passes = ceil_div(tile.k, gk)
        streams_a = self.dataflow == "ws"
        a_words = a * ceil_div(tile.n, gn) if streams_a else a
        b_words = b if streams_a else b * ceil_div(tile.m, gm)
        return OperandWords(a_words, b_words, c * (passes - 1), c * passes)

    def _folds(self, tile: MatmulTile) -> tuple[Number, Number]:
        deep, slow = self.rows * max(1, int(tile.rate)), min(1.0, tile.rate)
        if self.dataflow == "ws":
            return ceil_div(tile.k, deep) * ceil_div(tile.n, self.cols), tile.m / slow
        if self.dataflow == "is":
            return ceil_div(tile.k, deep) * ceil_div(tile.m, self.cols), tile.n / slow
        folds = ceil_div(tile.m, self.rows) * ceil_div(tile.n, self.cols)
        return folds, np.ceil(tile.k / tile.rate)
