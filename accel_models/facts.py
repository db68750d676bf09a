"""The base of everything that is read from YAML: frozen, and strict about keys."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Sources = str | dict[str, str]
Count = Annotated[int, Field(gt=0, le=10**9, strict=True)]
Fraction = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Facts(BaseModel):
    """`source` says where the block's numbers come from (accel_models/source.py)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: Sources | None = Field(
        default=None,
        description="Where the numbers of this block come from: '<kind>: <document>', "
        "or a mapping from key (or 'default') to such a text.",
    )
