"""Work of the gradients of functions, per output element of the function (per row where it says).

Each is the derivative of the formula in `workloads.ops.vector`, y = f(x), dx = dy f'(x), with what
it needs of the forward pass computed anew from x (r is the factor of a row). An op makes one
gradient, so that a sigmoid that two gradients need is computed in both, and a parameter's sum over
rows reads them again.
"""

from __future__ import annotations

from typing import NamedTuple

from workloads.ops.function import Function

_SIGMOID = {"exp": 1, "add": 1, "rsqrt": 1}

GRADIENT_FUNCTIONS: dict[str, Function] = {
    # sums of what reaches one parameter (`taps`), of products, and of rows added where they belong
    "sum_of_rows": Function({"add": 1}, {}, False, of_all_rows=True),
    "sum_of_products": Function({"mul": 1, "add": 1}, {}, False, of_all_rows=True),
    "scatter_add": Function({"add": 1}, {}, False, of_all_rows=True),
    # D of attention: one number for each row of a head
    "row_dot": Function({"mul": 1, "add": 1}, {}, True),
    # of a sink: exp(sink - L) times D, summed over rows
    "sink_gradient": Function({"exp": 1, "add": 2, "mul": 1}, {}, False, of_all_rows=True),
    # r anew (mul, add); g = dy w; sum of g x (mul, add); (g - x c) r
    "rmsnorm_gradient": Function({"mul": 5, "add": 3}, {"rsqrt": 1, "mul": 4, "add": 1}, True),
    # dy x r, summed; r comes from the op above
    "rmsnorm_weight_gradient": Function({"mul": 2, "add": 1}, {}, False, of_all_rows=True),
    # mean, variance (sub, mul, add), x^ = (x - mu) r; g = dy w; sums of g, g x^; (g - a - x^ b) r
    "layernorm_gradient": Function({"mul": 6, "add": 7}, {"rsqrt": 1, "mul": 4, "add": 1}, True),
    "layernorm_weight_gradient": Function({"mul": 2, "add": 2}, {}, False, of_all_rows=True),
    # y = x r: r anew, sum of dy y, (dy - y c) r
    "l2norm_gradient": Function({"mul": 5, "add": 3}, {"rsqrt": 1}, True),
    # of silu(g) u, s the sigmoid: dy u s (1 + g (1 - s)), dy g s; both at once of a merged tensor
    "silu_mul_gate_gradient": Function({"mul": 4, "exp": 1, "add": 3, "rsqrt": 1}, {}, False),
    "silu_mul_up_gradient": Function({"mul": 2, **_SIGMOID}, {}, False),
    "silu_mul_gradient": Function({"mul": 6, "exp": 1, "add": 3, "rsqrt": 1}, {}, False),
    "silu_gradient": Function({"mul": 3, "exp": 1, "add": 3, "rsqrt": 1}, {}, False),
    # x s(1.702 x): dy s (1 + 1.702 x (1 - s))
    "quick_gelu_gradient": Function({"mul": 4, "exp": 1, "add": 3, "rsqrt": 1}, {}, False),
    # t = tanh(u) anew as in gelu; 0.5 (1 + t) + 0.5 x (1 - t^2) u'; u' = c + 3 c a x^2
    "gelu_gradient": Function({"mul": 11, "exp": 1, "add": 6, "rsqrt": 1}, {}, False),
    "gelu_mul_gate_gradient": Function({"mul": 12, "exp": 1, "add": 6, "rsqrt": 1}, {}, False),
    "gelu_mul_up_gradient": Function({"mul": 7, "exp": 1, "add": 3, "rsqrt": 1}, {}, False),
    "gelu_mul_gradient": Function({"mul": 13, "exp": 1, "add": 6, "rsqrt": 1}, {}, False),
    "relu_gradient": Function({"compare": 1, "mul": 1}, {}, False),
    "squared_relu_gradient": Function({"compare": 1, "mul": 2}, {}, False),
    "squared_relu_mul_gate_gradient": Function({"compare": 1, "mul": 3}, {}, False),
    "squared_relu_mul_up_gradient": Function({"compare": 1, "mul": 2}, {}, False),
    # both of min(g, c) s(a g) (clamp(u) + 1), by masks where a clamp holds
    "clamped_silu_mul_gradient": Function(
        {"compare": 5, "mul": 8, "exp": 1, "add": 4, "rsqrt": 1}, {}, False
    ),
    "squared_relu_mul_gradient": Function({"compare": 1, "mul": 5}, {}, False),
    # from y: dy (1 - y^2), dy y (1 - y), dy (1 - (y / cap)^2)
    "tanh_gradient": Function({"mul": 2, "add": 1}, {}, False),
    "sigmoid_gradient": Function({"mul": 2, "add": 1}, {}, False),
    "softcap_gradient": Function({"mul": 3, "add": 1}, {}, False),
    # y (dy - sum of dy y)
    "softmax_gradient": Function({"mul": 2, "add": 2}, {}, True),
    # exp(x - log-sum-exp), less one at the label, times the share of a row
    "cross_entropy_gradient": Function({"exp": 1, "add": 2, "mul": 1}, {}, False),
}


class Of(NamedTuple):
    """The gradient of one input: its function, and what of the forward pass that reads beside dy
    (numbers of inputs, or -1 for the output)."""

    function: str
    reads: tuple[int, ...] = ()


# function -> the gradient of each of its inputs; "" passes dy on as it is, which takes nothing.
GRADIENTS: dict[str, tuple[Of, ...]] = {
    "add": (Of(""), Of("")),
    "copy": (Of(""),),
    "convert": (Of(""),),
    # rounding has slope one: the straight-through estimator (arXiv 1308.3432)
    "quantize": (Of(""),),
    "rope": (Of("rope"),),  # the rotation back
    "rmsnorm": (Of("rmsnorm_gradient", (0, 1)), Of("rmsnorm_weight_gradient", (0,))),
    "layernorm": (
        Of("layernorm_gradient", (0, 1)),
        Of("layernorm_weight_gradient", (0,)),
        Of("sum_of_rows"),
    ),
    "l2norm": (Of("l2norm_gradient", (0,)),),
    "silu": (Of("silu_gradient", (0,)),),
    "gelu": (Of("gelu_gradient", (0,)),),
    "quick_gelu": (Of("quick_gelu_gradient", (0,)),),
    "relu": (Of("relu_gradient", (0,)),),
    "squared_relu": (Of("squared_relu_gradient", (0,)),),
    "tanh": (Of("tanh_gradient", (-1,)),),
    "sigmoid": (Of("sigmoid_gradient", (-1,)),),
    "softcap": (Of("softcap_gradient", (-1,)),),
    "softmax": (Of("softmax_gradient", (-1,)),),
    "top_k": (Of("scatter_add"),),
    "mul": (Of("mul", (1,)), Of("mul", (0,))),
    "clamped_silu_mul": (),  # of one tensor only: gate and up are merged there
    "weighted_sum": (Of("mul", (1,)), Of("sum_of_products", (0,))),
    **{
        name: (Of(f"{name}_gate_gradient", (0, 1)), Of(f"{name}_up_gradient", (0, 1)))
        for name in ("silu_mul", "gelu_mul", "squared_relu_mul")
    },
}
