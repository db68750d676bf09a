"""Measured collectives between the chips of one node, over the design's own links.

`bytes` as in nccl-tests: of all_reduce and a message the buffer, of the others all of it.
Not predicted: messages between nodes.
"""

from __future__ import annotations

from accel_models.explain import nearest
from kernels_ref.errors import UserError
from kernels_ref.formats import get_format
from sim.measured.cases import Case
from sim.measured.gemm import dtype_of, single
from workloads.graph import Graph, Tensor
from workloads.ops import Collective

FUNCTIONS = {
    "all_reduce": "all_reduce",
    "all_gather": "all_gather",
    "reduce_scatter": "reduce_scatter",
    "alltoall": "all_to_all",
    "send_recv": "send",
}


def comm_graphs(case: Case) -> list[Graph]:
    """The one collective. Raises UserError for one that is not in the table."""
    name, chips = case.values["op"], case.count("n_gpus")
    if name not in FUNCTIONS:
        raise UserError(f"op: no collective '{name}'; {nearest(name, list(FUNCTIONS))}")
    number = get_format(dtype_of(case).formats)
    size = case.count("bytes")
    elements = max(1, size * 8 // number.bits)
    tensors = [Tensor(t, (1, elements), number, "activation") for t in ("x", name)]
    function = FUNCTIONS[name]
    chips = 2 if function == "send" else chips
    op = Collective(name, ("x",), name, function, size, elements, chips)
    return [single(op, tensors, 1)]
