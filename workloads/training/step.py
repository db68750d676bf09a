"""A training step: the forward pass, its gradients, and the optimizer's update.

The graph of the phase `train` is a forward pass over whole sequences, every token scored. A loss
(cross-entropy of the last op's rows) is put behind it; then gradients from the last op to the
first (`rules.py`), and an update of all parameters (`workloads/ops/update.py`). Of einsums a step
has three times the forward MACs: 6 operations per parameter and token for a dense model (Kaplan et
al., arXiv 2001.08361, sec. 2.1). Bytes that live as long as the weights: a gradient, moments and a
master copy for every parameter; with adam and 16-bit weights 16 bytes in all (Rajbhandari et al.,
ZeRO, arXiv 1910.02054, sec. 3.1), more with `gradients=fp32`.
Not modeled: dropout, gradient clipping, loss scaling, data loading, frozen parameters, sharding.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from accel_models.explain import nearest
from kernels_ref.errors import UserError
from kernels_ref.formats import get_format
from workloads.graph import Graph, Node, Tensor, check
from workloads.ops import Update, Vector
from workloads.ops.update import OPTIMIZERS
from workloads.phase import TRAIN, PhaseError
from workloads.training.recompute import CHOICES, again, kept
from workloads.training.rules import RULES
from workloads.training.scores import with_scores
from workloads.training.sweep import PARAMETERS, Sweep


def training(
    graph: Graph,
    recompute: str = "selective",
    optimizer: str = "adam",
    accumulate: int = 1,
    gradients: str = "",
    backward: str = "",
) -> Graph:
    """The forward pass of phase train with its backward pass and the optimizer's update.
    `recompute`: none keeps all that gradients read, selective not attention's scores, full only
    what enters a layer. `optimizer`: adam, momentum or sgd. `accumulate`: passes to one update.
    `gradients`: the format that they are added up in, else that of 16-bit weights; `backward`: of
    products with operands of fewer bits, else as theirs, of E4M3 ones E5M2.

    Source: arXiv 2205.05198, sec. 5 (selective and full recomputation); ZeRO, arXiv 1910.02054,
    sec. 3.1 (bytes of a parameter); FP8 formats, arXiv 2209.05433, sec. 3.
    Accuracy: an input; recomputation and accumulation are exact.
    """
    _check(graph, recompute, optimizer, accumulate)
    _check_backward(graph, backward)
    graph = _with_loss(with_scores(graph) if recompute == "none" else graph)
    sweep = Sweep(graph, *(get_format(f) if f else None for f in (gradients, backward)))
    found = _swept(sweep, accumulate)
    nodes, made = sweep.nodes, dict[str, Tensor]()
    if recompute == "full":
        nodes, made = again(graph, nodes, sweep.tensors)
    known = {**sweep.tensors, **made}
    saved, copies = kept(nodes, known, made)
    before = graph.stored_copies()
    states = {found[name]: before[name] for name in found}
    known |= saved | {name: replace(known[name], kind="state") for name in states}
    updates, moments = _updates(known, found, before, optimizer)
    passes = [replace(node, count=node.count * accumulate) for node in (*graph.nodes, *nodes)]
    copies = {**before, **copies, **states, **{t.name: n for t, n in moments}}
    if accumulate > 1:
        copies |= {_sum(name): 0.0 for name in found}  # the same memory as the gradient's
    known |= {t.name: t for t, _ in moments}
    produced = float(graph.tokens * accumulate)
    whole = replace(graph, nodes=(*passes, *updates), copies=copies, produced=produced)
    return check(replace(whole, tensors=_named(whole, known)))


def _named(graph: Graph, known: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of these that the graph names, or has parts of."""
    named = {t for node in graph for t in (*node.op.inputs, node.op.output)} | set(graph.copies)
    named |= {known[t].part_of for t in named if known[t].part_of}
    return {name: tensor for name, tensor in known.items() if name in named}


def trained(graph: Graph) -> Graph:
    """The graph with a backward pass; itself if it has one, or is of another phase."""
    forward = graph.phase == TRAIN and not graph.state_bytes
    if graph.phase == TRAIN:
        _check_resident(graph)
    return training(graph) if forward else graph


def _check_resident(graph: Graph) -> None:
    """Raises UserError for what is fetched: the backward pass would fetch it once more."""
    away = [name for name, tensor in graph.tensors.items() if tensor.away is not None]
    if away:
        raise UserError(
            f"{graph.name}: a training step keeps all in the chip's own memory; {away[0]} is in a "
            "backing one"
        )


def _check(graph: Graph, recompute: str, optimizer: str, accumulate: int) -> None:
    for value, known in ((recompute, CHOICES), (optimizer, tuple(OPTIMIZERS))):
        if value not in known:
            raise UserError(f"training: unknown '{value}'; {nearest(value, list(known))}")
    if accumulate < 1:
        raise UserError(f"training: accumulate is {accumulate}; at least 1 is needed")
    if graph.phase != TRAIN:
        raise PhaseError(
            f"{graph.name}: a training step is made of the phase train, not of {graph.phase}"
        )
    if graph.state_bytes:
        raise UserError(f"{graph.name} is a training step already; give training() once")
    _check_resident(graph)
    if any(tensor.kind == "kv" for tensor in graph.tensors.values()):
        raise UserError(f"{graph.name}: no rule for the gradients of what is kept between steps")


def _check_backward(graph: Graph, backward: str) -> None:
    """Raises UserError where no product has operands of fewer than 16 bits."""
    products = [node.op for node in graph if node.op.kind in ("einsum", "experts")]
    if backward and all(graph.tensors[op.inputs[0]].format.bits >= 16 for op in products):
        raise UserError(
            f"training: backward={backward} is of products with operands of fewer than 16 bits, "
            f"and {graph.name} has none; quantize(fp8)+training(backward={backward}) has"
        )


def _with_loss(graph: Graph) -> Graph:
    """Log-probabilities of the last op's rows, and how far each is from its label."""
    last = graph.nodes[-1].op
    scores = graph.tensors[last.output]
    rows, width = scores.elements // scores.shape[-1], scores.shape[-1]
    loss = Tensor("loss", (rows, 1), get_format("fp32"), "activation")
    op = Vector("loss", (last.output,), "loss", "log_softmax", rows, width)
    return replace(
        graph, nodes=(*graph.nodes, Node(op, 1)), tensors={**graph.tensors, "loss": loss}
    )


def _swept(sweep: Sweep, accumulate: int) -> dict[str, str]:
    """Write the backward pass; the gradient of every parameter that the loss depends on."""
    *nodes, loss = sweep.graph.nodes
    scores = loss.op.inputs[0]
    sweep.node = loss
    made = sweep.like(scores, "loss.gradient")
    rows, width = loss.op.rows, loss.op.width  # type: ignore[attr-defined]
    back = Vector("loss.gradient", (scores, "loss"), made, "cross_entropy_gradient", rows, width)
    sweep.reach(scores, sweep.add(back))
    for node in reversed(nodes):
        gradient = sweep.take(node.op.output)
        if gradient is None:
            continue
        sweep.node = node
        if node.op.kind not in RULES:
            raise UserError(
                f"{sweep.graph.name}: no rule for the gradients of {node.op.name}, an op of kind "
                f"'{node.op.kind}'; there are rules for {', '.join(RULES)}"
            )
        RULES[node.op.kind](sweep, node, gradient)
    found = {}
    for name in [n for n in sweep.reached if sweep.tensors[n].kind in PARAMETERS]:
        made = sweep.take(name) or ""
        if accumulate > 1:
            shape, wide = sweep.tensors[name].shape, sweep.gradient_format(name)
            sweep.tensors[_sum(name)] = Tensor(_sum(name), shape, wide, "state")
            made = sweep.sum_of(f"{name}.gradient", name, (made, _sum(name)))
        found[name] = made
    return found


def _sum(parameter: str) -> str:
    """The gradient of the passes before."""
    return f"{parameter}.gradient.before"


def _updates(
    tensors: Mapping[str, Tensor],
    found: Mapping[str, str],
    copies: Mapping[str, float],
    optimizer: str,
) -> tuple[list[Node], list[tuple[Tensor, float]]]:
    """An update of all parameters of a kind of layers that are stored alike, and their states."""
    alike: dict[tuple[float, Tensor], list[str]] = {}
    for name in found:
        alike.setdefault((copies[name], _stored(tensors[name])), []).append(name)
    nodes, states = [], []
    for number, ((count, like), names) in enumerate(alike.items()):
        label = f"{optimizer}.{number}" if len(alike) > 1 else optimizer
        elements = sum(tensors[name].elements for name in names)
        state = _states(label, optimizer, like, elements)
        states += [(tensor, count) for tensor in state]
        inputs = (*(found[name] for name in names), *(tensor.name for tensor in state))
        shape = (len(names), *like.shape) if like.sparsity else (elements,)
        stored = replace(like, name=f"{label}.weights", shape=shape, kind="activation")
        states.append((stored, 0.0))
        op = Update(label, inputs, stored.name, optimizer, elements, len(state))
        nodes.append(Node(op, count))
    return nodes, states


def _stored(parameter: Tensor) -> Tensor:
    """How it is stored, whatever it is. Sparse matrices are pruned each by itself, so that only
    those of one shape are stored alike; their gradients, moments and master copies are dense."""
    shape = parameter.shape if parameter.sparsity else ()
    return Tensor("", shape, parameter.format, "weight", sparsity=parameter.sparsity)


def _states(label: str, optimizer: str, like: Tensor, elements: int) -> list[Tensor]:
    """Moments, and a master copy of weights that are not stored as precisely."""
    wide = get_format("fp32")
    parts = [f"moment{i + 1}" for i in range(OPTIMIZERS[optimizer][0])]
    if like.format.bits < wide.bits:
        parts.append("master")
    return [Tensor(f"{label}.{part}", (elements,), wide, "state") for part in parts]
