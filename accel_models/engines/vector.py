"""The vector engine: elementwise work by class of operation.

    cycles = sum over classes of ops / ops_per_cycle      (classes share the issue slots)

Special functions (exp, rsqrt) usually have their own, slower units; their rates say so. `lanes` is
the width over which a reduction must shuffle log2(lanes) times per row.
Not modeled: packed half precision other than for conversions, dual issue, instruction fetch.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import log2

from pydantic import Field

from accel_models.facts import Count, Facts, Rate
from accel_models.quantity import Joules


class OpRates(Facts):
    """Operations per cycle of one engine, by class."""

    add: Rate
    mul: Rate
    exp: Rate
    rsqrt: Rate
    convert: Rate
    compare: Rate
    shuffle: Rate


class VectorEngine(Facts):
    """`count` engines per core."""

    count: Count = Field(description="engines per core")
    lanes: Count
    ops_per_cycle: OpRates
    narrow: Rate = Field(
        default=1.0,
        description="how many times faster on 16-bit elements (packed operations), as conversions "
        "and scales of weights are",
    )
    energy: Joules = Field(description="of one operation on one element, operand fetch included")

    def cycles(self, work: Mapping[str, float]) -> float:
        """Cycles of one engine for `work`, operations by class. Raises KeyError on a class."""
        rates = self.ops_per_cycle.__dict__
        return sum(n / rates[cls] for cls, n in work.items())

    def reduction_ops(self, rows: float) -> dict[str, float]:
        """Work that combines the lanes' partial results of `rows` rows."""
        steps = max(1, int(log2(self.lanes)))
        return {"shuffle": rows * steps, "add": rows * steps}
