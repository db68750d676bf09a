"""Parameters that measurements may set: which ones, and between what bounds.

A field of a design is calibratable where its annotation carries a `Fitted`:

    issue: Annotated[Fraction, Fitted(0.3, 1.0)]
    launch: Annotated[Seconds, Fitted(0.5e-6, 20e-6, "us")]
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fitted:
    """What `tileloom calibrate` may fit, and the least and most that is physical, in SI units.
    `unit` is the one to write a value with; a share has none."""

    low: float
    high: float
    unit: str = ""
