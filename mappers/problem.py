"""A contraction to be mapped (matrix multiplication, convolution): sizes, formats, what follows."""

from __future__ import annotations

from collections.abc import Mapping as Map
from dataclasses import dataclass, field
from functools import cached_property
from math import prod

from accel_models.engines.pe import Datapath
from kernels_ref.formats import Format
from mappers.mapping import OPERANDS

Dim = tuple[tuple[str, int], ...]  # a dimension of an operand: the sum of ranks times strides

MATMUL_DIMS: dict[str, tuple[Dim, ...]] = {
    "activation": ((("b", 1),), (("m", 1),), (("k", 1),)),
    "weight": ((("b", 1),), (("k", 1),), (("n", 1),)),
    "output": ((("b", 1),), (("m", 1),), (("n", 1),)),
}


ROLES: dict[tuple[bool, ...], str] = {
    (True, True, True): "b",
    (True, False, True): "m",
    (False, True, True): "n",
    (True, True, False): "k",
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

    def footprint(self, operand: str, tile: Map[str, int]) -> int:
        """Elements of the operand that a tile touches, halos included."""
        return prod(self.footprint_of(dim, tile) for dim in self.dims[operand])

    @staticmethod
    def footprint_of(dim: Dim, tile: Map[str, int]) -> int:
        """Coordinates of one dimension that a tile touches."""
        if len(dim) == 1:
            return tile[dim[0][0]]
        (p, stride), (r, dilation) = dim
        return span(tile[p], stride, tile[r], dilation)

    @property
    def outputs(self) -> int:
        """Elements of the output."""
        return prod(self.extents[rank] for rank in self.ranks_of("output"))

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

    @cached_property
    def _relevant(self) -> dict[str, frozenset[str]]:
        return {o: frozenset(r for dim in dims for r, _ in dim) for o, dims in self.dims.items()}

    @cached_property
    def roles(self) -> dict[str, str]:
        """What each rank is to the engine: m and n index the output, k is summed over, b is in all
        three operands."""
        relevant = self._relevant
        return {rank: ROLES[tuple(rank in relevant[o] for o in OPERANDS)] for rank in self.extents}

    def ranks_of(self, operand: str) -> frozenset[str]:
        """Ranks that index the operand."""
        return self._relevant[operand]

    def of_role(self, role: str) -> tuple[str, ...]:
        """The ranks of a role, in the order of `extents`."""
        return tuple(rank for rank, its in self.roles.items() if its == role)

    def length(self, role: str, tile: Map[str, int] | None = None) -> int:
        """Product of the sizes of a role's ranks, in a tile or of the whole."""
        sizes = self.extents if tile is None else tile
        return prod(sizes[rank] for rank in self.of_role(role))

    def slides(self, operand: str, rank: str) -> bool:
        """Does the rank share a dimension of the operand with another?"""
        return any(len(dim) > 1 and rank in {r for r, _ in dim} for dim in self.dims[operand])

    def run_rank(self, operand: str) -> str:
        """The rank along which the operand lies contiguously."""
        if operand == "weight" and not self.shared_weight:
            return self.weight_run
        return self.dims[operand][-1][0][0]

    def bytes_per_element(self, operand: str) -> float:
        return {"activation": self.activation_bytes, "weight": self.weight_bytes}.get(
            operand, self.output_bytes
        )

    def engine_bytes(self, operand: str) -> float:
        """Of one element as the engine reads it: converted, where it is."""
        pair = self.datapath
        if operand == "weight" and pair.skip.weight_bytes is not None:
            return pair.skip.weight_bytes
        if operand == "weight" and pair.convert_weight:
            return pair.weight.bits / 8
        if operand == "activation" and pair.convert_activation:
            return pair.activation.bits / 8
        return self.bytes_per_element(operand)


def span(tile_p: int, stride: int, tile_r: int, dilation: int) -> int:
    """Coordinates p * stride + r * dilation that a tile of each touches, at most."""
    reach = 1 + stride * (tile_p - 1) + dilation * (tile_r - 1)
    return min(tile_p * tile_r, reach)
