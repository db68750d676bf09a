"""Weights with zeros in a pattern, stored as what is left and where it belongs."""

from __future__ import annotations

import re
from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING

from accel_models.explain import nearest
from kernels_ref.errors import UserError
from workloads.graph import Graph, Op, Tensor
from workloads.ops import Einsum
from workloads.transforms.edit import Where, matrices, projections

if TYPE_CHECKING:
    from kernels_ref.sparsity import Pattern

_N_OF_M = re.compile(r"(\d{1,3}):(\d{1,3})")
_BLOCK = re.compile(r"(\d{1,5})x(\d{1,5})")
INDEXES = ("bitmap", "csr")


def sparse(
    graph: Graph,
    pattern: str = "",
    block: str = "",
    density: float = 0.0,
    index: str = "bitmap",
    only: str = "*",
) -> Graph:
    """Layers' matrices keep n of every m neighbors along the reduction (`2:4`), a share `density`
    of their blocks (`block=16x16`: rows by reduction) or of all elements (`unstructured`; `index`
    bitmap or csr). They are stored and moved with their places; what is skipped the machine says.
    `only`: those whose op has such a name.

    Source: Mishra et al., arXiv 2104.08378 (2:4); SparseGPT, arXiv 2301.00774, and Wanda, arXiv
    2306.11695 (2:4 and unstructured in one shot); Gray et al., GPU Kernels for Block-Sparse
    Weights, 2017 (blocks); how they are stored: kernels_ref/sparsity.py.
    Accuracy: an input.
    MACs of an op stay those of the dense matrices, and so do parameters. Not modeled: formats of
    which zero has no code (bipolar), whose pruned weights have places all the same.
    Raises UserError for a pattern that is none, and for weights that are sparse already.
    """
    chosen = projections(graph, Where(only))
    tensors = dict(graph.tensors)
    long = _reductions(chosen)
    names = matrices(graph, Where(only))
    if not names:
        raise UserError(f"{graph.name} has no matrices of parameters in its layers")
    for name in dict.fromkeys(names):
        tensor = tensors[name]
        if tensor.sparsity is not None:
            raise UserError(f"{graph.name}: {name} is sparse already ({tensor.sparsity})")
        tensor = _as_rows(tensor, long.get(name, tensor.shape[-1]))
        tensors[name] = replace(tensor, sparsity=_pattern((pattern, block, density, index), tensor))
    return replace(graph, tensors=tensors)


def _reductions(ops: dict[str, Op]) -> dict[str, int]:
    """Elements of every weight's rows, where they lie along the reduction: a convolution's channels
    and taps together."""
    found = {}
    for op in ops.values():
        if isinstance(op, Einsum) and op.reduces_rows:
            found[op.inputs[1]] = op.roles()["k"]
    return found


def _as_rows(tensor: Tensor, k: int) -> Tensor:
    if tensor.shape[-1] == k or tensor.elements % k:
        return tensor
    return replace(tensor, shape=(tensor.elements // k, k))


def _pattern(asked: tuple[str, str, float, str], tensor: Tensor) -> Pattern:
    """What the arguments say of this tensor. Raises UserError."""
    from kernels_ref.sparsity import BlockSparse, NOfM, Unstructured

    pattern, block, density, index = asked
    if index not in INDEXES:
        raise UserError(f"sparse: no index '{index}'; {nearest(index, list(INDEXES))}")
    if index == "csr" and pattern != "unstructured":
        raise UserError("sparse: index=csr is of unstructured weights")
    if match := _N_OF_M.fullmatch(pattern):
        if block or density:
            raise UserError(f"sparse: {pattern} takes neither block nor density")
        return NOfM(int(match[1]), int(match[2]))
    if pattern not in ("", "unstructured"):
        hint = "write n:m as in 2:4, unstructured, or block=16x16"
        raise UserError(f"sparse: no pattern '{pattern}'; {hint}")
    if bool(pattern) == bool(block):
        raise UserError("sparse: which pattern? n:m as in 2:4, unstructured, or block=16x16")
    if not 0 < density <= 1:
        raise UserError(
            f"sparse: density is the share that is kept, above 0 and at most 1, not {density:g}"
        )
    share = Fraction(str(density))
    if pattern:
        bits = (tensor.shape[-1] - 1).bit_length() if index == "csr" else 0
        return Unstructured(share, column_bits=0 if not bits else 16 if bits <= 16 else 32)
    size = _BLOCK.fullmatch(block)
    if size is None:
        raise UserError(f"sparse: '{block}' is no block; write rows x reduction, block=16x16")
    return BlockSparse((int(size[1]), int(size[2])), share)
