"""Elementwise and row-wise functions: norms, activations, residual adds, rotary embedding.

`work` gives the operations per output element and per row by class (add, mul, exp, rsqrt, convert,
compare, shuffle); each entry states its formula. A function that needs a whole row before its first
output is a `reduction`: it cannot ride in a producer's epilogue.
Sources: RMSNorm (Zhang 2019, eq. 4), LayerNorm (Ba 2016, eq. 4), RoPE (Su 2021, eq. 34), SiLU and
tanh-GELU (Hendrycks 2016, sec. 2). A sigmoid is exp, add, reciprocal; a reciprocal is in class
rsqrt (both are one special-function instruction).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from workloads.ops.function import Function
from workloads.ops.gradients import GRADIENT_FUNCTIONS

_SIGMOID = {"exp": 1, "add": 1, "rsqrt": 1}
_GELU = {"mul": 6, "exp": 1, "add": 3, "rsqrt": 1}

FUNCTIONS: dict[str, Function] = {
    # mean of squares: mul, add; then x * r * weight
    "rmsnorm": Function({"mul": 3, "add": 1}, {"rsqrt": 1, "mul": 1, "add": 1}, True),
    # mean: add; variance: sub, mul, add; then (x - mu) * r * weight + bias
    "layernorm": Function({"add": 4, "mul": 3}, {"rsqrt": 1, "mul": 2, "add": 1}, True),
    # x * cos + rotate(x) * sin
    "rope": Function({"mul": 2, "add": 1, "shuffle": 1}, {}, False),
    "add": Function({"add": 1}, {}, False),
    "mul": Function({"mul": 1}, {}, False),
    "silu_mul": Function({"mul": 2, **_SIGMOID}, {}, False),
    # min(x, c) * sigmoid(a x) * (clamp(up) + 1)
    "clamped_silu_mul": Function(
        {"compare": 3, "mul": 3, "exp": 1, "add": 2, "rsqrt": 1}, {}, False
    ),
    # 0.5 x (1 + tanh(c (x + a x^3))), tanh by a sigmoid; then * up
    "gelu_mul": Function({"mul": 7, "exp": 1, "add": 3, "rsqrt": 1}, {}, False),
    "gelu": Function(_GELU, {}, False),
    "quick_gelu": Function({"mul": 2, **_SIGMOID}, {}, False),  # x * sigmoid(1.702 x)
    "silu": Function({"mul": 1, **_SIGMOID}, {}, False),
    "sigmoid": Function(_SIGMOID, {}, False),
    "tanh": Function({"mul": 2, "exp": 1, "add": 2, "rsqrt": 1}, {}, False),
    "softplus": Function({"exp": 2, "add": 1}, {}, False),  # log(1 + exp(x)), log as exp
    "exp": Function({"exp": 1}, {}, False),
    "relu": Function({"compare": 1}, {}, False),
    "relu6": Function({"compare": 2}, {}, False),
    "squared_relu": Function({"compare": 1, "mul": 1}, {}, False),
    "squared_relu_mul": Function({"compare": 1, "mul": 2}, {}, False),
    "hardsigmoid": Function({"mul": 1, "add": 1, "compare": 2}, {}, False),
    "hardswish": Function({"mul": 2, "add": 1, "compare": 2}, {}, False),
    # a * x + b for each channel: a batch norm whose statistics are known
    "scale_shift": Function({"mul": 1, "add": 1}, {}, False),
    # subtract the maximum, exp, divide by the sum
    "softmax": Function({"compare": 1, "add": 2, "exp": 1, "mul": 1}, {"rsqrt": 1}, True),
    # one pass over the row for each that is picked (`taps`)
    "top_k": Function({"compare": 1}, {}, True),
    # two parts of attention as one: each times exp of its maximum less the larger, over both sums
    "softmax_merge": Function({"mul": 2, "add": 1}, {"exp": 2, "add": 3, "rsqrt": 1}, True),
    "l2norm": Function({"mul": 2, "add": 1}, {"rsqrt": 1}, True),
    # for each tap of the window (`taps`); of a mean each tap times a share
    "max_pool": Function({"compare": 1}, {}, False),
    "avg_pool": Function({"mul": 1, "add": 1}, {}, False),
    # of the rows of a token's experts (`taps`), each times its weight
    "weighted_sum": Function({"mul": 1, "add": 1}, {}, False),
    # four neighbors, each times a weight
    "bilinear": Function({"mul": 4, "add": 3, "shuffle": 4}, {}, False),
    # for each element of the state (`taps` to a channel): h = exp(dt a) h + (dt x) b; y += h c
    # (Gu and Dao, Mamba, arXiv 2312.00752, eq. 2 and 4)
    "selective_scan": Function({"mul": 4, "exp": 1, "add": 2}, {}, False),
    # y = (a + e^(u+k) v) / (b + e^(u+k)), then a and b decay by e^w and gain e^k v and e^k, all
    # exponents less their maximum so far (Peng et al., RWKV, arXiv 2305.13048, eq. 16 and app. D)
    "wkv": Function({"exp": 4, "mul": 7, "add": 9, "compare": 2, "rsqrt": 1}, {}, False),
    # share * x + (1 - share) * (the row before)
    "lerp": Function({"mul": 1, "add": 2, "shuffle": 1}, {}, False),
    # cap * tanh(x / cap)
    "softcap": Function({"mul": 2, "exp": 1, "add": 2, "rsqrt": 1}, {}, False),
    # of graphs from elsewhere
    "div": Function({"rsqrt": 1, "mul": 1}, {}, False),
    "sqrt": Function({"rsqrt": 1, "mul": 1}, {}, False),  # x * (1 / sqrt(x))
    "reciprocal": Function({"rsqrt": 1}, {}, False),
    "power": Function({"exp": 2, "mul": 1}, {}, False),  # exp(y log(x)), log as exp
    "log": Function({"exp": 1}, {}, False),
    "sine": Function({"exp": 1}, {}, False),  # one special-function instruction, as cosine
    # Abramowitz and Stegun, 7.1.26: a polynomial of 1 / (1 + p |x|) times exp(-x^2)
    "erf": Function({"mul": 8, "add": 6, "exp": 1, "rsqrt": 1, "compare": 1}, {}, False),
    "compare": Function({"compare": 1}, {}, False),  # also minimum, maximum, choice by a mask
    "clip": Function({"compare": 2}, {}, False),
    "leaky_relu": Function({"compare": 1, "mul": 1}, {}, False),
    "elu": Function({"compare": 1, "mul": 1, "exp": 1, "add": 1}, {}, False),
    "convert": Function({"convert": 1}, {}, False),  # from one format to another; rounding
    "copy": Function({"shuffle": 1}, {}, False),  # repeated, padded or interleaved elements
    "dequantize": Function({"convert": 1, "add": 1, "mul": 1}, {}, False),  # (code - zero) * scale
    "requantize": Function({"mul": 1, "convert": 1}, {}, False),  # by a scale that is known
    # one output for each row of `taps` elements
    "reduce_sum": Function({"add": 1}, {}, True),
    "reduce_mean": Function({"add": 1}, {"mul": 1}, True),
    "reduce_max": Function({"compare": 1}, {}, True),
    "reduce_squares": Function({"mul": 1, "add": 1}, {}, True),
    "cumulative_sum": Function({"add": 1}, {}, True),
    # x - maximum - log(sum)
    "log_softmax": Function({"compare": 1, "add": 3, "exp": 1}, {"exp": 1}, True),
    # to 8 bits or fewer with a scale per row: largest magnitude, then x / scale rounded
    "quantize": Function({"compare": 1, "mul": 1, "convert": 1}, {}, True),
    **GRADIENT_FUNCTIONS,
}


@dataclass(frozen=True, slots=True)
class Vector:
    """`function` over `rows` rows of `width` output elements; inputs stream through once.

    `taps`: how often the function's work per element is done for each of them.
    """

    name: str
    inputs: tuple[str, ...]
    output: str
    function: str
    rows: int
    width: int
    taps: int = 1
    kind: str = "vector"

    @property
    def macs(self) -> int:
        return 0

    @property
    def reduction(self) -> bool:
        """True if a row is needed whole before its first output."""
        return FUNCTIONS[self.function].reduction

    @property
    def of_all_rows(self) -> bool:
        """True if every row adds to every output."""
        return FUNCTIONS[self.function].of_all_rows

    @property
    def vector_ops(self) -> Mapping[str, int]:
        function = FUNCTIONS[self.function]
        elements = self.rows * self.width * self.taps
        work = {cls: n * elements for cls, n in function.element.items()}
        for cls, n in function.row.items():
            work[cls] = work.get(cls, 0) + n * self.rows
        return work
