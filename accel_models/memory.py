"""Memory levels: what holds data, how fast it moves and what a bit costs.

Time to move x bytes through one instance: x / (bandwidth * efficiency), reads and writes sharing
one
`bandwidth`, or each with its own. A run of r contiguous bytes moves ceil(r / granularity) whole
granules, so short runs fetch more than they use.
Sources of the form: Jacob, Ng, Wang, "Memory Systems", ch. 7 and 11 (bursts).
Not modeled here: banks, row buffers, refresh, turnaround (the event simulator's), coherence.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from accel_models.dram import Kind
from accel_models.facts import Count, Facts, Fraction, Switch
from accel_models.kernel_library.fitted import Fitted
from accel_models.network import Network
from accel_models.quantity import (
    Bytes,
    BytesPerSecond,
    JoulesPerBit,
    Seconds,
    SquareMillimeters,
)

Operand = Literal["activation", "weight", "output"]
OPERANDS: tuple[Operand, ...] = ("activation", "weight", "output")


class Memory(Facts):
    """One level. `instances` of a level above the cores split the cores evenly among them."""

    kind: Literal["dram", "flash", "sram", "regfile"]
    device: Kind | None = Field(
        default=None,
        description="of DRAM, its kind: whose refresh and turns of the bus are simulated by events",
    )
    capacity: Bytes = Field(description="of one instance")
    bandwidth: BytesPerSecond | None = Field(
        default=None, description="of one instance, reads and writes together"
    )
    read_bandwidth: BytesPerSecond | None = None
    write_bandwidth: BytesPerSecond | None = None
    efficiency: Annotated[Fraction, Fitted(0.2, 1.0)] = Field(
        description="achievable share of the bandwidth in long runs"
    )
    latency: Seconds = Field(
        description="from a core's request to its data, with nothing else waiting"
    )
    granularity: Bytes = Field(description="smallest transfer")
    energy: JoulesPerBit = Field(description="per bit read")
    write_energy: JoulesPerBit | None = Field(default=None, description="if not as a read")
    per: Literal["core", "engine"] = Field(
        default="core", description="in a core's memory: one instance for each core or engine"
    )
    instances: Count = Field(default=1, description="in the chip's memory: how many")
    keeps: tuple[Operand, ...] = Field(
        default=OPERANDS, description="operands that may stay here; others pass by"
    )
    bypass: tuple[Operand, ...] = Field(
        default=(),
        description="of those it keeps, operands that a mapping may also let pass by",
    )
    serves: tuple[str, ...] | None = Field(
        default=None, description="in the chip's memory: which cores go through it (all)"
    )
    buffering: Literal["single", "double", "multi"] = Field(
        default="double",
        description="tiles held at once: one, two (one loads while one is used), or all that fit",
    )
    fill_port: bool = Field(
        default=False,
        description="what fills the level from further out does not take turns with what it "
        "serves (caches, whose stated bandwidth is what they serve)",
    )
    multicast: Count = Field(
        default=1, description="instances below along a rank that one read serves at once"
    )
    reduction: Switch = Field(
        default=False, description="partial sums from below add up on the way"
    )
    network: Network | None = Field(
        default=None,
        description="in the chip's memory that is nearest to the cores: what they reach it over",
    )
    area: SquareMillimeters | None = Field(default=None, description="of one instance")

    @model_validator(mode="before")
    @classmethod
    def _one_way_of_giving_bandwidth(cls, data: Any) -> Any:
        return one_way_of_giving_bandwidth(data)

    @model_validator(mode="after")
    def _only_dram_has_a_device(self) -> Memory:
        if self.device and self.kind != "dram":
            raise ValueError(f"device: only of kind dram, not {self.kind}; remove it")
        return self


def one_way_of_giving_bandwidth(data: Any) -> Any:
    """The block as written. Raises ValueError if its bandwidth is given twice or not at all."""
    if isinstance(data, dict):
        split = {"read_bandwidth", "write_bandwidth"} & data.keys()
        if "bandwidth" not in data and len(split) < 2:
            raise ValueError(
                "missing key 'bandwidth' (shared by reads and writes), "
                "or both 'read_bandwidth' and 'write_bandwidth'"
            )
        if "bandwidth" in data and split:
            raise ValueError(
                "give 'bandwidth', or 'read_bandwidth' and 'write_bandwidth', not both ways"
            )
    return data


Memories = Annotated[dict[str, Memory], Field(min_length=1)]
