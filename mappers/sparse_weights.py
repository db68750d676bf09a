"""What the engine does with the zeros of a contraction's weights.

Its choice (`accel_models.engines.sparse`) is of the whole contraction, before it is mapped: bytes
of an element as the engine reads it, blocks that are issued, MACs that are done, vector work of
what enters. Sparse weights are stored in the order they are read, as all weights are.
Not modeled: another choice for other tiles; columns merged of weights of several patterns.
"""

from __future__ import annotations

from dataclasses import replace

from accel_models.engines.pe import Datapath
from accel_models.engines.skipping import DENSE
from accel_models.engines.sparse import SparseWeights, chosen, skips
from accel_models.path import Path
from mappers.problem import Contraction
from workloads.graph import Graph, Op
from workloads.ops import Einsum, Experts


def sparse_weights(op: Op, graph: Graph) -> SparseWeights | None:
    """The op's second operand; None where it is dense, or none of parameters."""
    if not isinstance(op, (Einsum, Experts)):
        return None
    weight = graph.tensors[op.inputs[1]]
    if weight.sparsity is None:
        return None
    part = op if isinstance(op, Einsum) else op.parts()[0]
    each = 1 / weight.elements
    along_k = part.reduces_rows and weight.shape[-1] == part.roles()["k"]
    return SparseWeights(weight.sparsity, weight.bytes * each, weight.dense_bytes * each, along_k)


def skipping(problem: Contraction, weights: SparseWeights | None, path: Path) -> Contraction:
    """The contraction with what this path does best with its weights."""
    if weights is None:
        return problem
    m, n, k = (problem.length(role) for role in "mnk")
    skip = chosen(path.engine, problem.datapath, weights, (m, n, k))
    return replace(problem, datapath=replace(problem.datapath, skip=skip))


def least_work(pair: Datapath, weights: SparseWeights | None, path: Path) -> tuple[float, float]:
    """MACs per second of all cores at most, and joules of a MAC at least, whatever is chosen."""
    options = [DENSE] if weights is None else skips(path.engine, pair, weights)
    pairs = [replace(pair, skip=skip) for skip in options]
    return max(map(path.peak_macs_per_s, pairs)), min(each.energy for each in pairs)
