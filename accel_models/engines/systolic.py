"""A grid of MACs through which one operand streams past another that stays.

One fold (a block as large as the grid), n rows streamed (Kung 1982, "Why systolic architectures?";
SCALE-Sim, Samajdar 2018, for the stationary variants):

    latency  = rows + cols - 2 + n
    interval = n | max(n, load) | latency + load     weight_preload: ideal | shadow | none

load is the rows cycles that bring a block of the stationary operand in. ws holds B[k,n] and streams
m rows; is holds A[k,m] and streams n; os holds C[m,n] and streams k: nothing is loaded, and with
`shadow` the next block waits for the rows cycles that shift the sums out. A tile takes
ceil(r/rows) * ceil(c/cols) folds. With `min_stream` s a stream shorter than s is followed as if it
had s rows: n is max(n, s) in the interval, not in the latency (ONNXim, Ham et al., IEEE CAL 2024,
src/SystolicWS.cc has s = 4). A PE of rate q > 1 takes q reduction elements a cycle: ws and is
fold k by rows*q, os streams k/q; a rate below 1 stretches the stream.
Zeros of weights: `skipping.py`; a speedup by n:m makes a fold as many whole times as deep.
Not modeled: clock gating inside the grid, bubbles of the skew buffers.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from accel_models.engines.pe import PE
from accel_models.engines.tile import EngineForm, MatrixEngine, Steps
from accel_models.facts import Count


class Systolic(MatrixEngine):
    """rows x cols PEs."""

    kind: Literal["systolic"] = "systolic"
    count: Count = Field(description="engines per core")
    rows: Count
    cols: Count
    dataflow: Literal["ws", "os", "is"]
    weight_preload: Literal["none", "shadow", "ideal"]
    min_stream: Count = Field(
        default=1, description="cycles that a stream takes at least (ONNXim: 4)"
    )
    pe: PE

    def geometry(self, rate: float) -> tuple[int, int, int]:
        """(m, n, k) that one fold covers; the streamed rank counts 1."""
        deep = self.rows * max(1, int(rate))
        return {
            "ws": (1, self.cols, deep),
            "is": (self.cols, 1, deep),
            "os": (self.rows, self.cols, max(1, int(rate))),
        }[self.dataflow]

    def form(self, rate: float, weight_bits: int) -> EngineForm:
        """Folds of what stays, each as long as its stream; a PE slower than one MAC a cycle
        stretches the stream."""
        deep, rows, cols = self.rows * max(1, int(rate)), self.rows, self.cols
        if self.dataflow == "os":
            m, n, k = Steps(rows), Steps(cols), self._stream(Steps(rate))
            return EngineForm(m, n, k, 0.0, rows + cols - 2, "k", cols, rows, 0)
        stream, fill = self._stream(Steps(1, 1 / min(1.0, rate))), rows + cols - 2
        if self.dataflow == "ws":
            return EngineForm(stream, Steps(cols), Steps(deep), 0.0, fill, "m", cols, 0, deep)
        return EngineForm(Steps(cols), stream, Steps(deep), 0.0, fill, "n", 0, cols, deep)

    def _stream(self, steps: Steps) -> Steps:
        """Cycles from one fold to the next, for so many elements streamed."""
        least = self.min_stream
        if self.weight_preload == "ideal":
            return Steps(steps.block, steps.per, 0.0, least if least > 1 else 0.0)
        if self.weight_preload == "shadow":
            return Steps(steps.block, steps.per, 0.0, max(self.rows, least))
        load = 0 if self.dataflow == "os" else self.rows
        around = self.rows + self.cols - 2 + load
        return Steps(steps.block, steps.per, around, least + around if least > 1 else 0.0)

    def peak(self, rate: float, weight_bits: int) -> float:
        return self.rows * self.cols * rate
