"""How a machine's library runs a layer of experts: two grouped multiplications and what routes rows
to them.

    experts:
      setup: 30 us
      dram: 0.8
      rows: 0.4
      issue: 0.8
      formats:
        fp8: {issue: 0.6}

What each parameter does: mappers/library/experts.py.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from accel_models.facts import Facts, Fraction
from accel_models.kernel_library.fitted import Fitted
from accel_models.quantity import Seconds

Setup = Annotated[Seconds, Fitted(3e-6, 100e-6, "us")]
Issue = Annotated[Fraction, Fitted(0.1, 1.0)]


class ExpertsFormat(Facts):
    """Kernels of a format, where they differ."""

    setup: Setup | None = None
    issue: Issue | None = None


class ExpertKernels(Facts):
    """Of a generation's libraries."""

    setup: Setup = Field(
        description="of a layer with nothing to do: its kernels' launches, sorting rows by expert"
    )
    dram: Annotated[Fraction, Fitted(0.4, 1.0)] = Field(
        description="share of the outermost memory's bandwidth that weights are read with"
    )
    rows: Annotated[Fraction, Fitted(0.1, 1.0)] = Field(
        description="share of it that rows are dealt, activated and collected with"
    )
    issue: Issue = Field(description="share of the engine's peak that full tiles reach")
    formats: dict[str, ExpertsFormat] = Field(
        default={}, description="kernels of these formats, where they differ"
    )

    def of(self, *names: str) -> ExpertKernels:
        """With what the first of these formats that has its own says."""
        own = next((self.formats[name] for name in names if name in self.formats), None)
        if own is None:
            return self
        changed = {key: getattr(own, key) for key in ("setup", "issue")}
        return self.model_copy(update={k: v for k, v in changed.items() if v is not None})
