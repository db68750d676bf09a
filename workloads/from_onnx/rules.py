"""What each type of ONNX node is here. A node without a rule is refused, never left out.

A rule: (draft, node) writes ops, or views, for the node's outputs.
"""

from __future__ import annotations

from collections.abc import Callable

from workloads.from_onnx import (
    attention,
    convolutions,
    functions,
    layouts,
    multiplications,
    quantization,
)
from workloads.from_onnx.draft import Draft
from workloads.from_onnx.exported import OnnxNode

Rule = Callable[[Draft, OnnxNode], None]
CONTRIB = "com.microsoft:"

RULES: dict[str, Rule] = {
    # multiplications
    "MatMul": multiplications.matmul,
    f"{CONTRIB}FusedMatMul": multiplications.matmul,
    "Einsum": multiplications.einsum,
    "Gemm": multiplications.gemm,
    "MatMulInteger": multiplications.matmul_integer,
    "QLinearMatMul": multiplications.qlinear_matmul,
    f"{CONTRIB}QGemm": multiplications.qgemm,
    f"{CONTRIB}MatMulNBits": multiplications.matmul_nbits,
    "Conv": convolutions.conv,
    "ConvInteger": convolutions.conv_integer,
    "QLinearConv": convolutions.qlinear_conv,
    # attention
    "Attention": attention.standard,
    f"{CONTRIB}Attention": attention.packed_projection,
    f"{CONTRIB}MultiHeadAttention": attention.multi_head,
    f"{CONTRIB}GroupQueryAttention": attention.grouped_query,
    "RotaryEmbedding": attention.rotary,
    f"{CONTRIB}RotaryEmbedding": attention.rotary,
    # functions
    **dict.fromkeys(functions.ELEMENTWISE, functions.elementwise),
    **dict.fromkeys(functions.REDUCTIONS, functions.reduction),
    "Pow": functions.power,
    "Cast": functions.cast,
    "CastLike": functions.cast,
    "Softmax": functions.softmax,
    "LogSoftmax": functions.softmax,
    "LayerNormalization": functions.norm,
    "RMSNormalization": functions.norm,
    "SimplifiedLayerNormalization": functions.norm,
    f"{CONTRIB}SkipLayerNormalization": functions.skip_norm,
    f"{CONTRIB}SkipSimplifiedLayerNormalization": functions.skip_norm,
    "SkipLayerNormalization": functions.skip_norm,
    "SkipSimplifiedLayerNormalization": functions.skip_norm,
    "GroupNormalization": functions.group_norm,
    "InstanceNormalization": functions.group_norm,
    "LpNormalization": functions.lp_norm,
    "BatchNormalization": functions.batch_norm,
    "TopK": functions.top_k,
    "CumSum": functions.cumulative_sum,
    "Resize": functions.resize,
    "Upsample": functions.resize,
    "MaxPool": convolutions.pool,
    "AveragePool": convolutions.pool,
    "GlobalMaxPool": convolutions.pool,
    "GlobalAveragePool": convolutions.pool,
    # layouts
    "Identity": layouts.same,
    "Dropout": layouts.same,
    "Reshape": layouts.reshape,
    "Squeeze": layouts.reshape,
    "Unsqueeze": layouts.reshape,
    "Flatten": layouts.reshape,
    "Transpose": layouts.transpose,
    "Expand": layouts.expand,
    "Slice": layouts.cut,
    "Split": layouts.split,
    "Gather": layouts.gather,
    "GatherElements": layouts.gather_elements,
    "GatherND": layouts.gather_nd,
    "Concat": layouts.concat,
    "ScatterND": layouts.scatter,
    "ScatterElements": layouts.scatter,
    **dict.fromkeys(("Tile", "Pad", "DepthToSpace", "SpaceToDepth", "Trilu"), layouts.repeated),
    # number formats
    **dict.fromkeys(quantization.QUANTIZE, quantization.quantize),
    "DequantizeLinear": quantization.dequantize,
    f"{CONTRIB}DequantizeLinear": quantization.dequantize,
    "DynamicQuantizeLinear": quantization.dynamic,
    f"{CONTRIB}QLinearAdd": quantization.qlinear_add,
    f"{CONTRIB}QLinearMul": quantization.qlinear_mul,
    f"{CONTRIB}QLinearSigmoid": quantization.qlinear_sigmoid,
    f"{CONTRIB}QLinearSoftmax": quantization.qlinear_softmax,
}
