"""Measured vector functions over d0 rows of d1; gelu over d0 elements.

Not predicted: differences of two kernels (computescale_fp8_delta).
"""

from __future__ import annotations

from accel_models.explain import nearest
from kernels_ref.errors import UserError
from kernels_ref.formats import get_format
from sim.measured.cases import Case
from sim.measured.gemm import DTYPES, single
from workloads.graph import Graph, Tensor
from workloads.ops import Vector
from workloads.ops.vector import FUNCTIONS as FUNCTION_WORK

# name in a CSV -> (function, inputs of the output's size; silu_mul reads gate and up)
FUNCTIONS: dict[str, tuple[str, int]] = {
    "softmax": ("softmax", 1),
    "layernorm": ("layernorm", 1),
    "layernorm_torch": ("layernorm", 1),
    "rmsnorm": ("rmsnorm", 1),
    "gelu": ("gelu", 1),
    "gelu_torch": ("gelu", 1),
    "add": ("add", 2),
    "rope": ("rope", 1),
    "silu_mul": ("silu_mul", 2),
    "quant_fp8_static": ("requantize", 1),
}


def vector_graphs(case: Case) -> list[Graph]:
    """The one kernel. Raises UserError for an op that is not in the table."""
    name, (source, _, target) = case.values["op"], case.values["dtype"].partition("->")
    if name not in FUNCTIONS:
        raise UserError(f"op: no function '{name}'; {nearest(name, list(FUNCTIONS))}")
    for dtype in (source, target or source):
        if dtype not in DTYPES:
            raise UserError(f"dtype: '{dtype}'; {nearest(dtype, list(DTYPES))}")
    function, inputs = FUNCTIONS[name]
    rows, width = case.count("d0"), case.count("d1") if case.values["d1"] else 1
    if width == 1 and not FUNCTION_WORK[function].reduction:
        rows, width = width, rows  # so many elements, wherever rows end
    read = [Tensor(f"x{i}", (rows, width), get_format(source), "activation") for i in range(inputs)]
    made = Tensor(name, (rows, width), get_format(DTYPES[target or source].formats), "activation")
    op = Vector(name, tuple(tensor.name for tensor in read), name, function, rows, width)
    return [single(op, [*read, made], rows)]
