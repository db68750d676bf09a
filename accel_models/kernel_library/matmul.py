"""How a machine's library multiplies matrices: thread blocks from a menu of tiles."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from accel_models.facts import Count, Facts, Fraction
from accel_models.kernel_library.fitted import Fitted

Menu = Annotated[list[Count], Field(min_length=1)]


class MatmulKernels(Facts):
    """Being written."""

    issue: Annotated[Fraction, Fitted(0.3, 1.0)]
