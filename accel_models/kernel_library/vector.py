"""How a machine's library streams rows of numbers: norms, activations, quantization, softmax.

    vector:
      floor: 1.84 us
      dram: 0.895
      l2: 0.398
      lanes: 128
      threads: 2048
      libraries:
        vllm:
          functions:
            rmsnorm: {slots: 102, threads: 1024}
        torch:
          host_call: 11 us
          functions:
            add: {inputs: 2, slots: 2}

A function is what workloads/ops/vector.py calls it; ops are planned with the first library that
has theirs. The cost: mappers/library/vector.py.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from accel_models.facts import Count, Facts, Fraction, Rate, Switch
from accel_models.kernel_library.fitted import Fitted
from accel_models.quantity import Seconds


class StreamKernel(Facts):
    """A function's kernel: reads `inputs` tensors of the output's size, writes one."""

    inputs: Count = 1
    slots: float = Field(ge=0, allow_inf_nan=False, description="instructions of an element")
    threads: int = Field(
        default=0, ge=0, description="of a row, at most; 0 where it does not matter how rows end"
    )
    launches: Count = Field(default=1, description="kernels, one after the other")
    rereads: Switch = Field(
        default=False,
        description="a row is read twice, the second time from the core's own memory if it is "
        "kept there",
    )


class StreamLibrary(Facts):
    """One library's kernels, by function."""

    functions: Annotated[dict[str, StreamKernel], Field(min_length=1)]
    host_call: Seconds | None = Field(
        default=None,
        description="what a host's clock sees of a call besides the kernel: of measurements, not "
        "of runs",
    )


class VectorKernels(Facts):
    """Of a generation: what its streaming kernels reach."""

    floor: Annotated[Seconds, Fitted(0.8e-6, 6e-6, "us")] = Field(
        description="the shortest kernel, with the gap to the next one in a graph"
    )
    dram: Annotated[Fraction, Fitted(0.5, 0.97)] = Field(
        description="share of the outermost memory's peak that long streams reach"
    )
    l2: Annotated[Fraction, Fitted(0.05, 1.0)] = Field(
        description="share of the shared memory's peak, for data that lies there"
    )
    lanes: Count = Field(description="threads that a core issues an instruction for each cycle")
    threads: Count = Field(description="threads that reside on a core")
    maximum: Annotated[Seconds, Fitted(1e-6, 15e-6, "us")] | None = Field(
        default=None,
        description="what a scale of the data's own adds to quantization besides reading them: "
        "kernels that find the largest element, and set the scale",
    )
    in_flight: Annotated[Rate, Fitted(1.0, 64.0)] | None = Field(
        default=None,
        description="bytes that each resident thread has on their way when it finds a maximum",
    )
    libraries: dict[str, StreamLibrary] = Field(default={}, description="in order of preference")

    def find(self, function: str, library: str = "") -> tuple[str, StreamKernel] | None:
        """(library, kernel) of a function, of this library where it has it, else of the first that
        does; None where none does."""
        for name in (library, *self.libraries):
            if name in self.libraries and function in self.libraries[name].functions:
                return name, self.libraries[name].functions[function]
        return None

    def host_call(self, library: str) -> float:
        """Seconds that a host's clock adds to a kernel of this library, or of the first that says;
        0 where none does."""
        asked = [
            self.libraries[name] for name in (library, *self.libraries) if name in self.libraries
        ]
        return next((one.host_call for one in asked if one.host_call is not None), 0.0)
