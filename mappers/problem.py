"""A contraction to be mapped (matrix multiplication, convolution): sizes, formats, what follows."""

from __future__ import annotations

from collections.abc import Mapping as Map
from dataclasses import dataclass, field
from math import prod

from accel_models.engines.pe import Datapath
from kernels_ref.formats import Format

Dim = tuple[tuple[str, int], ...]  # a dimension of an operand: the sum of ranks times strides

MATMUL_DIMS: dict[str, tuple[Dim, ...]] = {
    "activation": ((("b", 1),), (("m", 1),), (("k", 1),)),
    "weight": ((("b", 1),), (("k", 1),), (("n", 1),)),
    "output": ((("b", 1),), (("m", 1),), (("n", 1),)),
}


@dataclass(frozen=True)
class Contraction:
    """output[...] += activation[...] * weight[...] over ranks. Bytes are per element, metadata
    included.

    `dims` says which ranks index each dimension of an operand, outermost first: a matrix
    multiplication by default; a convolution's activation has dimensions like p * stride + r.
    """

    extents: Map[str, int]
    datapath: Datapath
    activation_bytes: float
    weight_bytes: float
    output_bytes: float
    partial_bytes: float
    epilogue_ops: Map[str, float] = field(default_factory=dict)  # vector work on the outputs
    epilogue_bytes: float = 0.0  # further operands read once with the outputs
    shared_weight: bool = True  # stored by us, so in the order we read it
    weight_run: str = "n"  # the rank along which B lies contiguously, where it is not
    weight: Format | None = None  # as stored, with its scales; None: no scales to apply
    activation: Format | None = None
    dims: Map[str, tuple[Dim, ...]] = field(default_factory=lambda: MATMUL_DIMS)

    @property
    def macs(self) -> int:
        return prod(self.extents.values())

    def key(self) -> tuple[object, ...]:
        """Hashable identity."""
        return (
            tuple(self.extents.items()),
            self.datapath,
            (self.activation_bytes, self.weight_bytes, self.output_bytes, self.partial_bytes),
            (tuple(self.epilogue_ops.items()), self.epilogue_bytes, self.shared_weight),
            self.weight_run,
            (self.weight, self.activation),
            tuple(self.dims.items()),
        )

    def bytes_per_element(self, operand: str) -> float:
        return {"activation": self.activation_bytes, "weight": self.weight_bytes}.get(
            operand, self.output_bytes
        )

    def engine_bytes(self, operand: str) -> float:
        """Of one element as the engine reads it: converted, where it is."""
        pair = self.datapath
        if operand == "weight" and pair.convert_weight:
            return pair.weight.bits / 8
        if operand == "activation" and pair.convert_activation:
            return pair.activation.bits / 8
        return self.bytes_per_element(operand)
