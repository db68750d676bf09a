"""What libraries reach over a link: protocols of collectives, each a latency and a share of it.

    links:
      nvlink:
        library:
          rings: {LL: {setup: 5.5 us, step: 0.77 us, share: 0.4}, Simple: {...}}

A protocol says how a message is known to be complete: by a flag beside every 4 bytes (NCCL's LL),
beside every 120 (LL128), or by a counter behind a whole chunk (Simple). The faster it is known, the
more of the link is spent on it. Libraries for inference have kernels of their own for short
messages (`custom`). Times: accel_models/library_collectives.py.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from accel_models.facts import Count, Facts, Fraction
from accel_models.kernel_library.fitted import Fitted
from accel_models.quantity import Seconds


class Crossing(Facts):
    """Where a group of chips no longer lies below one bridge."""

    chips: Count = Field(description="from so many on")
    share: Fraction = Field(description="of the bandwidth, that is left to each")


class Protocol(Facts):
    """Of an algorithm: setup + steps x step + bytes on the wire / (share x bandwidth)."""

    setup: Annotated[Seconds, Fitted(0.5e-6, 100e-6, "us")] = Field(
        description="from launch to finish, messages aside"
    )
    step: Annotated[Seconds, Fitted(0.1e-6, 20e-6, "us")] | None = Field(
        default=None, description="from one chip to the next (nothing)"
    )
    share: Annotated[Fraction, Fitted(0.01, 1.0)] = Field(
        description="of the link's bandwidth, that long messages reach"
    )


class CollectiveKernels(Facts):
    """Of the libraries that run on chips with this link."""

    rings: dict[str, Protocol] = Field(description="protocols of rings, by name")
    messages: dict[str, Protocol] = Field(
        default_factory=dict, description="protocols of messages straight to each other chip"
    )
    sends: dict[str, Protocol] = Field(
        default_factory=dict,
        description="protocols of a message to one chip, which sends none itself (messages)",
    )
    in_network: Protocol | None = Field(
        default=None, description="an all_reduce by a switch that adds (NVLink SHARP)"
    )
    custom: dict[str, Protocol] = Field(
        default_factory=dict,
        description="an inference library's own all_reduce: `one_shot`, `two_shot`",
    )
    crossings: list[Crossing] = Field(
        default_factory=list, description="of bridges that chips share; the least share counts"
    )
