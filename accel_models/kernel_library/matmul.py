"""How a machine's library multiplies matrices: thread blocks from a menu of tiles.

    matmul:
      tiles: {m: [16, 32, 64, 128, 256], n: [32, 64, 128, 256]}
      largest: 32768
      step: 128 B
      stages: 3
      resident: 4
      splits: [1, 2, 4, 8, 16, 32, 64]
      cluster: 2
      issue: 1.0
      launch: 2.7 us
      step_latency: 93 ns
      split_latency: 2.7 us
      exposed_store: 0.3
      dram: 0.89
      l2: 0.9
      warm: 0.4
      mac_energy: 1.3 pJ
      formats:
        int8: {splits: [1], vector_rows: 4, launch: 9.8 us, step_latency: 280 ns, dram: 0.91}

A block computes a tile of outputs, `step` bytes of a row of either operand at a time, with at least
`stages` steps in its core's memory; where k is split over blocks, a second kernel adds the parts
up. What each parameter does: mappers/library/matmul.py. `formats` are kernels of their own, by
their name in `--formats` or in a measurement's dtype, and say where they differ; a name such as
`fp8 trtllm` those of one framework.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, create_model, model_validator

from accel_models.facts import Count, Facts, Fraction
from accel_models.kernel_library.fitted import Fitted
from accel_models.quantity import Bytes, Joules, Seconds

Menu = Annotated[list[Count], Field(min_length=1)]
Order = Literal["square", "columns", "shorter"]


# pairs of formats by what libraries call the kernels that do them
CALLED = {"fp4": "nvfp4"} | dict.fromkeys(("fp8_e5m2", "fp8*fp8_e5m2", "fp8_e5m2*fp8"), "fp8")


class Tiles(Facts):
    """Sizes of a block's tile of outputs."""

    m: Menu
    n: Menu
    up_to: list[Count] | None = Field(
        default=None,
        description="rows up to which each size of m but the last is taken, by libraries that "
        "choose it so; n is then one for all, or one for each of m",
    )

    @model_validator(mode="after")
    def _one_bound_each(self) -> Tiles:
        if self.up_to is not None and len(self.up_to) != len(self.m) - 1:
            raise ValueError(f"up_to has {len(self.up_to)} bounds for {len(self.m)} sizes of m")
        if self.up_to is not None and len(self.n) not in (1, len(self.m)):
            raise ValueError(f"n has {len(self.n)} sizes for {len(self.m)} sizes of m with up_to")
        return self

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """Every tile that there is a kernel for; with `up_to` in its order."""
        if self.up_to is None:
            return [(m, n) for m in self.m for n in self.n]
        columns = self.n if len(self.n) > 1 else self.n * len(self.m)
        return list(zip(self.m, columns, strict=True))


class MatmulKernel(Facts):
    """The kernels for one format, or for all that say nothing else."""

    tiles: Tiles
    largest: Count = Field(description="outputs of a tile at most")
    step: Bytes = Field(description="of k, of a row of an operand, at a time")
    stages: Count = Field(description="steps of a block in its core's memory, at least")
    resident: Count = Field(description="blocks of a core at once, at most")
    splits: Menu = Field(description="of k over blocks")
    cluster: Count = Field(description="blocks that fetch an operand's tile once for all of them")
    order: Order = Field(
        default="square",
        description="of blocks: in rectangles as square as it goes, down each column of tiles, or "
        "along the shorter side of their grid",
    )
    vector_rows: int = Field(
        default=0, ge=0, description="up to so many rows there are kernels without tiles"
    )
    issue: Annotated[Fraction, Fitted(0.2, 1.0)] = Field(
        description="share of the engine's peak that a main loop reaches"
    )
    launch: Annotated[Seconds, Fitted(0.5e-6, 20e-6, "us")] = Field(
        description="of a kernel that has nothing to do: launch, fill and drain"
    )
    step_latency: Annotated[Seconds, Fitted(10e-9, 3e-6, "ns")] = Field(
        description="that a block's step takes at least, alone on its core"
    )
    split_latency: Annotated[Seconds, Fitted(0.3e-6, 8e-6, "us")] = Field(
        description="of the kernel that adds up the parts"
    )
    exposed_store: Annotated[float, Field(ge=0, le=2), Fitted(0.0, 1.5)] = Field(
        description="of the outputs' writing, what nothing hides"
    )
    dram: Annotated[Fraction, Fitted(0.4, 1.0)] = Field(
        description="share of the outermost memory's bandwidth that is reached"
    )
    l2: Annotated[float, Field(gt=0, le=2), Fitted(0.15, 1.5)] = Field(
        description="share of the shared memory's bandwidth that is reached"
    )
    warm: Annotated[float, Field(gt=0, le=4), Fitted(0.05, 4.0)] = Field(
        description="of the shared memory's capacity, what may lie between two uses of an operand "
        "for it to be found there"
    )
    mac_energy: Annotated[Joules, Fitted(0.05e-12, 6e-12, "pJ")] = Field(
        description="of a multiply-accumulate with all that moves for it in its core: what power "
        "limits"
    )


def _but_for(kernel: type[MatmulKernel]) -> type[Facts]:
    """A block that may leave out any key of `kernel`."""
    fields: dict[str, Any] = {}
    for name, info in kernel.model_fields.items():
        if name != "source":
            kind: Any = info.annotation
            marks = (*info.metadata, Field(description=info.description))
            fields[name] = (Annotated[(kind | None, *marks)], None)
    return create_model("MatmulFormat", __base__=Facts, __doc__=None, **fields)


MatmulFormat = _but_for(MatmulKernel)


class MatmulKernels(MatmulKernel):
    """Of a library."""

    profiler: Annotated[Seconds | None, Fitted(0.1e-6, 15e-6, "us")] = Field(
        default=None,
        description="what TensorRT's layer profiler adds to a kernel: of measurements, not of runs",
    )
    formats: dict[str, MatmulFormat] = Field(  # type: ignore[valid-type]
        default={}, description="kernels of these formats, where they differ"
    )

    def name_of(self, *names: str) -> str | None:
        """The first of these, or of what libraries call them, that has kernels of its own."""
        called = [one for name in names for one in (name, CALLED.get(name, name))]
        return next((name for name in called if name in self.formats), None)

    def of(self, *names: str) -> MatmulKernel:
        """The kernels for the first of these formats that has its own, else those of all."""
        own: Any = self.formats.get(self.name_of(*names) or "")
        keys = [name for name in MatmulKernel.model_fields if name != "source"]
        given = {name: getattr(own, name) for name in keys if own is not None}
        changed = {name: value for name, value in given.items() if value is not None}
        return MatmulKernel.model_construct(
            **{name: changed.get(name, getattr(self, name)) for name in keys}
        )
