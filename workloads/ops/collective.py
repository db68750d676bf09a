"""Chips exchanging data: all_reduce and its relatives, and a message to another chip.

`bytes` are those of one chip's operand, of all_reduce, broadcast and send the whole buffer, of
all_gather what a chip ends with, of reduce_scatter and all_to_all what it begins with. All
`participants` chips of a `group` (the name of an axis of parallelism) do the same op.
Vector work: n chips that reduce S elements each add (n - 1) S / n times, the least there is; MACs:
none. What an algorithm adds beyond that, and which chips they are, is the mapper's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from accel_models.collectives import COLLECTIVES
from accel_models.explain import nearest
from workloads.graph import GraphError

REDUCING = ("all_reduce", "reduce_scatter")


@dataclass(frozen=True, slots=True)
class Collective:
    """`inputs` is (tensor,). Raises GraphError for an unknown function or numbers below one."""

    name: str
    inputs: tuple[str]
    output: str
    function: str
    bytes: int
    elements: int  # in those bytes
    participants: int
    group: str = "tensor"
    kind: str = "collective"

    def __post_init__(self) -> None:
        if self.function not in COLLECTIVES:
            hint = nearest(self.function, list(COLLECTIVES))
            raise GraphError(f"{self.name}: no collective '{self.function}'; {hint}")
        for field in ("bytes", "elements", "participants"):
            if getattr(self, field) < 1:
                raise GraphError(f"{self.name}: {field} is {getattr(self, field)}; at least 1")

    @property
    def macs(self) -> int:
        return 0

    @property
    def vector_ops(self) -> Mapping[str, float]:
        if self.function not in REDUCING or self.participants == 1:
            return {}
        return {"add": self.elements * (self.participants - 1) / self.participants}
