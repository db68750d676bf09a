"""The base of everything that is read from YAML: frozen, and strict about keys."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

# Any: read_design checks every source, at its own line.
Sources = Annotated[
    Any,
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string"},
                {"type": "object", "additionalProperties": {"type": "string"}},
            ]
        }
    ),
]
Count = Annotated[int, Field(gt=0, le=10**9, strict=True)]
Fraction = Annotated[float, Field(ge=1e-6, le=1, allow_inf_nan=False, strict=True)]
Rate = Annotated[float, Field(ge=1e-6, le=1e9, allow_inf_nan=False, strict=True)]
Switch = Annotated[bool, Field(strict=True)]


class Facts(BaseModel):
    """`source` says where the block's numbers come from (accel_models/source.py)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: Sources = Field(
        default=None,
        description="Where the numbers of this block come from: '<kind>: <document>', "
        "or a mapping from key (or 'default') to such a text.",
    )
