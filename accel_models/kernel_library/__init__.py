"""What the kernels of a machine's library do: which tiles they have, and what those cost.

    cores:
      sm:
        kernels:
          matmul: {...}
          attention: {...}
          vector: {...}

Where cores have a library, ops that it has kernels for run by it, with the tiles on its menu,
chosen by its own cost; all others by the mapper's free choice. The numbers are of a generation of
machines and its libraries (designs/generation), calibrated on some of them and carried to the
others by what their data sheets say.
"""

from __future__ import annotations

from pydantic import Field

from accel_models.facts import Facts, Switch
from accel_models.kernel_library.attention import AttentionKernels
from accel_models.kernel_library.experts import ExpertKernels
from accel_models.kernel_library.matmul import MatmulKernels
from accel_models.kernel_library.vector import VectorKernels


class Kernels(Facts):
    """Of a kind of cores."""

    fuses: Switch = Field(
        default=True,
        description="multiplications take functions before and after them into their kernels; "
        "else only those that read one activation run as one",
    )
    matmul: MatmulKernels | None = None
    attention: AttentionKernels | None = None
    vector: VectorKernels | None = None
    experts: ExpertKernels | None = None
