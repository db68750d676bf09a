"""The base of what a mix of requests is written of: frozen, and strict about keys."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Positive = Annotated[float, Field(gt=0, le=1e12, allow_inf_nan=False, strict=True)]
NotNegative = Annotated[float, Field(ge=0, le=1e12, allow_inf_nan=False, strict=True)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False, strict=True)]


class Block(BaseModel):
    """Keys as they are written."""

    model_config = ConfigDict(frozen=True, extra="forbid")
