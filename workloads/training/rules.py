"""What each kind of op hands on to its inputs: the gradient of its output, times its derivative.

    C = A B            dA = dC B^T, dB = A^T dC: as many MACs each as the product itself
    attention          workloads/ops/attention_backward.py
    y = f(x)           workloads/ops/gradients.py
    rows of a table    rows added to the gradient of the table, which is written whole
    copies             copies back

A rule: (sweep, node, gradient of its output) -> None. Operands of fewer than 16 bits are multiplied
by gradients of as few, converted once for both products (FP8: forward E4M3, gradients E5M2,
Micikevicius et al., arXiv 2209.05433, sec. 3; Noune et al., arXiv 2206.02915). Where their scales
differ along a row or between rows that is no product of codes: dA sums over B's rows, dB over A's.
Then gradients keep 16 bits, B is expanded to them, and dB takes what A was rounded from
(quantization-aware training: Jacob et al., arXiv 1712.05877, sec. 3; BitNet, arXiv 2310.11453,
sec. 2.2: gradients are of high precision).
Not modeled: operands quantized anew along the other rank, as MX training does; convolutions whose
taps overlap; a parameter of which the loss sees nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from kernels_ref.errors import UserError
from kernels_ref.formats import Format, get_format
from workloads.graph import Node
from workloads.ops import Attention, AttentionBackward, Einsum, Experts, Gather, Move, Vector
from workloads.ops.gradients import GRADIENTS, Of
from workloads.training.sweep import Sweep


def _einsum(sweep: Sweep, node: Node, dy: str) -> None:
    op = node.op
    assert isinstance(op, Einsum)
    if op.window and any(
        kernel != stride or dilation != 1
        for kernel, stride, dilation in zip(
            op.window.kernel, op.window.stride, op.window.dilation, strict=True
        )
    ):
        raise UserError(
            f"{sweep.graph.name}: no rule for the gradients of {op.name}, a convolution whose taps "
            "overlap"
        )
    a, b, c = op.operand_ranks()
    first, second = op.inputs[:2]
    operand, read = _operands(sweep, node, dy)
    if sweep.wants(first):
        name = f"{op.name}.gradient"
        made = sweep.like(first, name)
        back = Einsum(name, (operand, second), made, op.ranks, f"{c},{b}->{a}")
        sweep.reach(first, sweep.add(back))
    if sweep.wants(second):
        name = f"{op.name}.weight_gradient"
        made = sweep.like(second, name)
        back = Einsum(name, (operand, read), made, op.ranks, f"{c},{a}->{b}")
        sweep.reach(second, sweep.add(back))
    for bias in op.inputs[2:]:
        _small(sweep, node, ("sum_of_rows", (dy,)), bias)


def _experts(sweep: Sweep, node: Node, dy: str) -> None:
    op = node.op
    assert isinstance(op, Experts)
    rows, weights = op.inputs[:2]
    operand, read = _operands(sweep, node, dy)
    if sweep.wants(rows):
        name = f"{op.name}.gradient"
        made = sweep.like(rows, name)
        sweep.reach(rows, sweep.add(Experts(name, (operand, weights), made, op.loads, op.k, op.n)))
    name = f"{op.name}.weight_gradient"
    made = sweep.like(weights, name)
    back = Experts(name, (operand, read), made, op.loads, op.n, op.k, of_weights=True)
    sweep.reach(weights, sweep.add(back))
    for bias in op.inputs[2:]:
        _added(sweep, node, dy, bias)


def _operands(sweep: Sweep, node: Node, dy: str) -> tuple[str, str]:
    """The gradient in the format that the products take it in, and the op's first input as the
    second of them reads it."""
    first, second = node.op.inputs[:2]
    read, weights = (sweep.graph.tensors[t].format for t in (first, second))
    if read.bits >= 16:
        return dy, first
    number_format = sweep.operand_format or _of_gradients(read)
    scaled = [f.name for f in (read, weights, number_format) if _has_scales(f)]
    if not scaled:
        return _narrow(sweep, node, dy, number_format), first
    source = sweep.rounded.get(first)
    if sweep.operand_format or source is None:
        raise UserError(
            f"{sweep.graph.name}: gradients of {node.op.name} are sums over what scales of "
            f"{scaled[0]} differ along; they are not taken in {number_format.name}"
        )
    return dy, source


def _has_scales(number_format: Format) -> bool:
    """Some that differ within a matrix."""
    return any(scale.per != "tensor" for scale in number_format.scales)


def _narrow(sweep: Sweep, node: Node, dy: str, number_format: Format) -> str:
    """The gradient converted."""
    tensor = sweep.tensors[dy]
    name = f"{node.op.name}.gradient.quantize"
    made = sweep.tensor(name, tensor.shape, number_format)
    width = tensor.shape[-1]
    op = Vector(name, (dy,), made, "quantize", tensor.elements // width, width)
    return sweep.add(op)


def _of_gradients(activations: Format) -> Format:
    """More range for gradients than for FP8 activations; otherwise the same."""
    return get_format("fp8_e5m2") if activations.element == "fp8" else activations


def _attention(sweep: Sweep, node: Node, dy: str) -> None:
    op = node.op
    assert isinstance(op, Attention)
    if op.bias or op.latent or op.lengths:
        what = "biases of its scores" if op.bias else "values that are parts of its keys"
        raise UserError(f"{sweep.graph.name}: no rule for the gradients of {op.name}, with {what}")
    rows, heads = op.batch * op.q_len, op.q_heads
    wide = get_format("fp32")
    sums = f"{op.name}.sums"  # log-sum-exps, which the forward op leaves beside its output
    sweep.tensors[sums] = replace(
        sweep.tensors[op.output],
        name=sums, shape=(rows, heads), format=wide, kind="activation", part_of=op.output,
    )  # fmt: skip
    name = f"{op.name}.row_dot"
    dots = sweep.tensor(name, (rows, heads), wide)
    dot = Vector(name, (dy, op.output), dots, "row_dot", rows * heads, op.v_head_dim)
    sweep.add(dot)
    parts = list(dict.fromkeys(op.operands))
    name = f"{op.name}.gradient"
    widths = [sweep.tensors[part].elements // rows for part in parts]
    number_format = sweep.gradient_format(parts[0])
    whole = sweep.tensor(name, (rows, sum(widths)), number_format)
    inputs = (*op.operands, dy, sums, dots)
    sweep.add(AttentionBackward(name, inputs, whole, op))
    for letter, part in zip("qkv", parts, strict=False):
        if len(parts) == 1:
            sweep.reach(part, whole)
            continue
        of_part = f"{name}.{letter}"
        shape = sweep.tensors[part].shape
        sweep.tensors[of_part] = replace(
            sweep.tensors[whole], name=of_part, shape=shape, part_of=whole
        )
        sweep.reach(part, of_part)
    for sinks in [t for t in op.inputs[3:] if sweep.tensors[t].kind == "weight"]:
        _small(sweep, node, ("sink_gradient", (sums, dots)), sinks)


def _vector(sweep: Sweep, node: Node, dy: str) -> None:
    op = node.op
    assert isinstance(op, Vector)
    known = GRADIENTS.get(op.function)
    if op.function.endswith("_mul") and len(op.inputs) == 1:  # gate and up in one tensor
        known = (Of(f"{op.function}_gradient", (0,)),)
    if known is None or len(op.inputs) > len(known):
        raise UserError(
            f"{sweep.graph.name}: no rule for the gradients of {op.name}, the function "
            f"'{op.function}' of {len(op.inputs)} inputs (workloads/ops/gradients.py)"
        )
    for i, (tensor, of) in enumerate(zip(op.inputs, known, strict=False)):
        if sweep.wants(tensor):
            _of_input(sweep, node, dy, (i, tensor, of))


def _of_input(sweep: Sweep, node: Node, dy: str, which: tuple[int, str, Of]) -> None:
    op, (i, tensor, of) = node.op, which
    assert isinstance(op, Vector)
    read = [op.output if at < 0 else op.inputs[at] for at in of.reads if at < len(op.inputs)]
    elements = sweep.tensors[tensor].elements
    if elements < op.rows * op.width and of.function != "scatter_add":
        function = {"": "sum_of_rows", "mul": "sum_of_products"}.get(of.function, of.function)
        _small(sweep, node, (function, (dy, *read)), tensor)
        return
    if of.function == "scatter_add":
        _added(sweep, node, dy, tensor)
        return
    if not of.function:
        sweep.reach(tensor, dy)
        return
    name = f"{op.name}.gradient" + (f".{i}" if len(op.inputs) > 1 else "")
    made = sweep.like(tensor, name)
    back = Vector(name, (dy, *read), made, of.function, op.rows, op.width, op.taps)
    sweep.reach(tensor, sweep.add(back))


def _small(sweep: Sweep, node: Node, how: tuple[str, tuple[str, ...]], tensor: str) -> None:
    """The gradient of what every row reads: a sum over the rows."""
    if not sweep.wants(tensor):
        return
    function, read = how
    width = sweep.tensors[tensor].elements
    taps = sweep.tensors[read[-1] if function.startswith("sum_of_p") else read[0]].elements
    name = _name(node, tensor)
    made = sweep.like(tensor, name)
    back = Vector(name, read, made, function, max(1, taps // width), width)
    sweep.reach(tensor, sweep.add(back))


def _added(sweep: Sweep, node: Node, dy: str, tensor: str) -> None:
    """Rows added where they belong in a gradient that is written whole."""
    if not sweep.wants(tensor):
        return
    rows = sweep.tensors[dy]
    name = _name(node, tensor)
    made = sweep.like(tensor, name)
    width = rows.shape[-1]
    back = Vector(name, (dy,), made, "scatter_add", rows.elements // width, width)
    sweep.reach(tensor, sweep.add(back))


def _name(node: Node, parameter: str) -> str:
    """Of the gradient that an op hands on to a parameter, most often its own."""
    own = parameter.removeprefix(f"{node.op.name}.")
    if own == parameter:
        return f"{parameter}.gradient.of_{node.op.name}"
    return f"{node.op.name}.{own}_gradient"


def _gather(sweep: Sweep, node: Node, dy: str) -> None:
    assert isinstance(node.op, Gather)
    _added(sweep, node, dy, node.op.inputs[0])


def _move(sweep: Sweep, node: Node, dy: str) -> None:
    """Copies of all inputs but the last are whole; what is left of the output are copies of the
    last, perhaps several, or of parts of it: its gradient is their sum."""
    op = node.op
    assert isinstance(op, Move)
    left = sweep.tensors[op.output].elements
    for name in op.inputs:
        size = sweep.tensors[name].elements
        taken = left if name == op.inputs[-1] else min(size, left)
        left -= taken
        if not sweep.wants(name):
            continue
        made = sweep.like(name, f"{op.name}.gradient.of_{name}")
        rows = max(1, sweep.tensors[op.output].shape[0])
        back: Move | Vector = Move(made, (dy,), made, op.run_elements)
        if taken != size:
            back = Vector(made, (dy,), made, "scatter_add", rows, max(1, taken // rows))
        sweep.reach(name, sweep.add(back))


# kind of op -> what it hands on.
RULES: dict[str, Callable[[Sweep, Node, str], None]] = {
    "einsum": _einsum,
    "experts": _experts,
    "attention": _attention,
    "vector": _vector,
    "gather": _gather,
    "move": _move,
}
