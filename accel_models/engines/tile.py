"""What an engine is asked, and what it answers. Sizes may be numpy arrays: formulas broadcast."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from accel_models.engines.pe import PE

Number = Any  # int, float or an array of them


@dataclass(frozen=True, slots=True)
class MatmulTile:
    """C[m,n] += A[m,k] B[k,n] in one format pair: `rate` MACs per PE and cycle, weights of
    `weight_bits`."""

    m: Number
    n: Number
    k: Number
    rate: float = 1.0
    weight_bits: int = 8


@dataclass(frozen=True, slots=True)
class Service:
    """`latency` cycles until the tile's last result; `interval` until the next may start."""

    latency: Number
    interval: Number


@dataclass(frozen=True, slots=True)
class OperandWords:
    """Elements that cross the engine's boundary for one tile."""

    activation: Number
    weight: Number
    output_read: Number
    output_write: Number


class Engine(Protocol):
    """A matrix engine; implementations are the models in ENGINES."""

    # the word in YAML
    @property
    def kind(self) -> str: ...

    # engines per core
    @property
    def count(self) -> int: ...

    # formats and their rates
    @property
    def pe(self) -> PE: ...

    # pure service time of one tile in cycles, memory excluded
    def service(self, tile: MatmulTile) -> Service: ...

    # the (m, n, k) block that fills the engine exactly at this rate
    def geometry(self, rate: float) -> tuple[int, int, int]: ...

    # multiply-accumulates per cycle of one engine when full
    def peak(self, rate: float, weight_bits: int) -> float: ...

    # elements read and written at the level that feeds the engine
    def operand_words(self, tile: MatmulTile) -> OperandWords: ...


def ceil_div(a: Number, b: Number) -> Number:
    """Ceiling of a / b for positive integers; arrays come back as floats, exact below 2^52."""
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        return np.ceil(a / b)  # integer division of arrays is ten times slower
    return -(-a // b)
