"""Measured matrix multiplications: C[M,N] = A[M,K] W[K,N] in the formats of a dtype.

Rows whose activations come in 16 bits and are multiplied in 8 or fewer (`act_quant` 1) are two
kernels: one quantizes them, the other multiplies. The inputs are in 16 bits else, or already in 8
(int8_sq). Block scales of fp8_block are not in the bytes (4 for 128 activations).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from accel_models.explain import nearest
from kernels_ref.errors import UserError
from kernels_ref.format_names import parse_formats
from kernels_ref.formats import get_format
from sim.measured.cases import Case, RowError
from workloads.graph import Graph, Node, Op, Tensor, check
from workloads.ops import Einsum, Vector

COPIES = "(copies)"  # of a multiplication in one kernel: no column of a file, set by `layer`


@dataclass(frozen=True, slots=True)
class Dtype:
    """What a name in a CSV means: formats as in `--formats`, the 16-bit one beside them, and how
    activations come to theirs: `as` they are, `scaled` by a maximum of their own, `converted` by
    a known scale."""

    formats: str
    base: str = "bf16"
    quantized: str = "as"


DTYPES: dict[str, Dtype] = {
    "bf16": Dtype("bf16"),
    "fp16": Dtype("fp16", "fp16"),
    "fp32": Dtype("fp32", "fp32"),
    "fp8": Dtype("fp8", quantized="scaled"),
    "fp8_block": Dtype("fp8", quantized="scaled"),
    "fp8_static": Dtype("fp8", quantized="converted"),
    "nvfp4": Dtype("nvfp4", quantized="scaled"),
    "int8": Dtype("int8", "fp16", "scaled"),
    "int8_sq": Dtype("int8", "fp16"),
    "w8a16": Dtype("w8a16", "fp16"),
    "w4a16": Dtype("w4a16", "fp16"),
}


def dtype_of(case: Case, column: str = "dtype") -> Dtype:
    """Raises UserError for a name that is not in the table."""
    name = case.values[column]
    if name not in DTYPES:
        raise UserError(f"{column}: no dtype '{name}'; {nearest(name, list(DTYPES))}")
    return DTYPES[name]


def quantizes(case: Case, dtype: Dtype) -> bool:
    """Does a row find scales and quantize its activations first? As its column says, else as its
    dtype does. Where scales are known, the multiplication's own numbers have the conversion. Raises
    RowError for a column that says neither 0 nor 1."""
    said = case.values.get("act_quant")
    if said not in (None, ""):
        if said not in ("0", "1", "0.0", "1.0"):
            raise RowError(f"{case.file}:{case.line}: act_quant: '{said}'; write 0 or 1")
        if said[0] == "0":
            return False
    return dtype.quantized == "scaled"


def gemm_graphs(case: Case) -> list[Graph]:
    """The kernels of a row."""
    dtype, (m, n, k) = dtype_of(case), (case.count(c) for c in "MNK")
    weight, activation = parse_formats(dtype.formats, dtype.base)
    base = get_format(dtype.base)
    made = Tensor("gemm", (m, n), base, "activation")
    tensors = [
        Tensor("x", (m, k), activation, "activation"),
        Tensor("gemm.weight", (n, k), weight, "weight"),
        made,
    ]
    ranks = {"m": m, "n": n, "k": k}
    multiply = Einsum("gemm", ("x", "gemm.weight"), "gemm", ranks, "mk,nk->mn")
    found = [single(multiply, tensors, m)]
    if dtype.quantized == "converted" or quantizes(case, dtype):
        wide = replace(tensors[0], name="wide", format=base)
        function = "quantize" if dtype.quantized == "scaled" else "requantize"
        op = Vector("quantize", ("wide",), "x", function, m, k)
        found.insert(0, single(op, [wide, tensors[0]], m))
    return found


def single(op: Op, tensors: list[Tensor], rows: int) -> Graph:
    """A graph of one op."""
    named = {tensor.name: tensor for tensor in tensors}
    return check(Graph(op.name, "ops", 1, rows, (Node(op, 1),), named, 1))
