"""How a machine's library streams rows of numbers: norms, activations, quantization, softmax.

A kernel is described once, whatever machine it runs on (KERNELS): what it reads and writes, how
many instructions an element takes, how many threads share a row. A generation of machines says how
fast such a kernel can be (VectorKernels). The cost: mappers/library/vector.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from accel_models.facts import Count, Facts, Fraction, Rate
from accel_models.kernel_library.fitted import Fitted
from accel_models.quantity import Seconds


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
    stack: Literal["cuda", "rocm"] = Field(
        default="cuda", description="whose torch: its kernels take other instructions"
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


@dataclass(frozen=True, slots=True)
class StreamKernel:
    """Reads `inputs` tensors of the output's size, writes one; `launches` of them in turn.

    `slots` are instructions per element; `threads` share a row (0: rows do not matter). Where
    `rereads`, a row is read twice, the second time from the core's own memory if it is kept there.
    """

    inputs: int
    slots: float
    threads: int = 0
    launches: int = 1
    rereads: bool = False


# (library, function) -> kernel. Threads and passes are recalled of the libraries' sources. `slots`
# are fitted (tests/data/silicon/vector_ops.csv, 2026-11-22, all rows): vLLM's, torch's and compiled
# ones on A100 (Vidur, LLMCompass), ROCm's on MI210, and carried to others as instructions per
# element; 2.0 is a guess, where memory binds.
KERNELS: dict[tuple[str, str], StreamKernel] = {
    # vLLM 0.2 csrc: one element per thread and step, 1024 threads (rope: 512) at most
    ("vllm", "rmsnorm"): StreamKernel(1, 102.0, 1024),
    ("vllm", "rope"): StreamKernel(1, 82.0, 512),
    ("vllm", "silu_mul"): StreamKernel(2, 102.0, 1024),
    # torch, eager: elementwise kernels are vectorized; layer_norm has four warps a row (Welford)
    ("torch", "add"): StreamKernel(2, 2.0),
    ("torch", "add3"): StreamKernel(2, 2.0, launches=2),
    ("torch", "gelu"): StreamKernel(1, 45.5),
    ("torch", "layernorm"): StreamKernel(1, 72.0, 128),
    ("torch", "softmax"): StreamKernel(1, 69.0, 1024),
    # torch.compile: a looped reduction reads its row twice
    ("compiled", "gelu"): StreamKernel(1, 22.0),
    ("compiled", "layernorm"): StreamKernel(1, 10.8, 256, rereads=True),
    # torch on ROCm: erf and exp in full precision, no packed 16-bit arithmetic
    ("rocm", "gelu"): StreamKernel(1, 69.0),
    ("rocm", "softmax"): StreamKernel(1, 129.0, 1024),
    ("rocm", "layernorm"): StreamKernel(1, 115.0, 256),
    # TensorRT-LLM: a scale that is given is applied as data pass
    ("trtllm", "requantize"): StreamKernel(1, 2.0),
}
