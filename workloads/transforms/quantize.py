"""Give a graph's tensors other number formats: what GPTQ, AWQ, SmoothQuant and FP8 recipes store.

Weights and activations of 16 bits or more: every tensor takes the named format. Below that:
- weights: those of the layers' projections, convolutions and experts, also of parts that the phase
  does not run. Token and position tables, lm_head, OPT's project_in and project_out, routers, norms
  and biases stay at 16 bits, as in published GPTQ, AWQ and SmoothQuant checkpoints, which quantize
  the linear layers of the transformer blocks only.
- activations: what these projections read. An op `<tensor>.quantize` makes it, once for all its
  readers (dynamic scales per token). Attention, norms and residuals stay at 16 bits.
- caches: the 16-bit format unless `kv` names one; an op `<tensor>.quantize_kv` converts the new
  rows, with a scale per row of a head. Prefill attention reads the fresh rows at 16 bits. States of
  recurrent layers stay as they are.
Integers without scales (token numbers, masks) stay what they are.
The 16-bit format is fp16 for a graph that has fp16 tensors, bf16 for any other (also fp32).
MACs never change. Not modeled: rotations and smoothing factors (folded into weights), outlier
columns, static scales (which would need no maximum). Where q, k and v are merged in one tensor, the
whole of it is converted for each cache.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fnmatch import fnmatch

from kernels_ref.errors import UserError
from kernels_ref.format_names import parse_formats
from kernels_ref.formats import Format, FormatError, get_format
from workloads.graph import Graph, Node, Op, Tensor, check
from workloads.ops import Vector

KEPT_AT_16_BITS = ("lm_head", "project_in", "project_out", "gate", "router")


def quantize(
    graph: Graph, formats: str | None = None, kv: str | None = None, only: str = "*"
) -> Graph:
    """The graph with `formats` (of weights and activations) and `kv` (of the caches) applied.
    `only`: of layers' matrices those whose op has such a name; others may follow.

    Source: GPTQ, arXiv 2210.17323; AWQ, arXiv 2306.00978; SmoothQuant, arXiv 2211.10438; KIVI,
    arXiv 2402.02750, for caches: what they store, whatever the way to it.
    Accuracy: an input.
    None leaves the formats as they are. Raises FormatError for an unknown format and UserError for
    a graph that is quantized already.
    """
    if formats is not None:
        graph = _weights_and_activations(graph, *parse_formats(formats, _half(graph)), only)
    return graph if kv is None else _caches(graph, get_format(kv))


def _half(graph: Graph) -> str:
    """The graph's own 16-bit format."""
    return "fp16" if any(t.format.name == "fp16" for t in graph.tensors.values()) else "bf16"


def _weights_and_activations(graph: Graph, weight: Format, activation: Format, only: str) -> Graph:
    projections = _chosen(graph, only)
    for number_format in (weight, activation):
        if number_format.kind == "int" and number_format.bits >= 16:
            raise FormatError(f"{number_format.name} is an accumulator's format, not a model's")
    wide = weight.bits >= 16 and activation.bits >= 16
    base = weight if wide else get_format(_half(graph))
    tensors = {
        name: replace(t, format=base) if t.format.kind == "float" and t.format.bits >= 16 else t
        for name, t in graph.tensors.items()
    }
    if weight.bits < 16:
        stored = [op.inputs[1] for op in projections.values()]
        idle = (name for name in graph.copies if _is_matrix(tensors[name]))
        stored += [name for name in idle if fnmatch(name.removesuffix(".weight"), only)]
        for name in stored:
            tensors[name] = replace(tensors[name], format=weight)
    graph = replace(graph, tensors=tensors)
    if activation.bits >= 16:
        return graph
    sources = {name: op.inputs[0] for name, op in projections.items()}
    made = {source: _converted(tensors[source], activation) for source in sources.values()}
    return _insert(graph, sources, made)


def _chosen(graph: Graph, only: str) -> dict[str, Op]:
    """The projections of matching names. Raises UserError if there are none, or if what they read
    is quantized already (anything, where all are meant)."""
    found = {node.op.name: node.op for node in graph if _is_projection(graph, node.op)}
    chosen = {name: op for name, op in found.items() if fnmatch(name, only)}
    if only != "*" and not chosen:
        raise UserError(
            f"{graph.name} has no matrix of a layer named '{only}'; there are {', '.join(found)}"
        )
    read = {t for op in chosen.values() for t in op.inputs[:2]}
    looked_at = graph.tensors if only == "*" else read
    if any(_is_quantized(graph.tensors[name].format) for name in looked_at):
        raise UserError(f"{graph.name} is quantized already; give all formats in one transform")
    return chosen


def _is_quantized(number_format: Format) -> bool:
    """Fewer than 16 bits with scales, or a float of so few; plain integers (token numbers, masks)
    are what they are."""
    few = number_format.bits < 16
    return few and (bool(number_format.scales) or number_format.kind not in ("int", "uint"))


def _is_projection(graph: Graph, op: Op) -> bool:
    """A matrix of parameters inside a layer; a table that doubles as lm_head is not."""
    return op.kind in ("einsum", "experts") and _is_matrix(graph.tensors[op.inputs[1]])


def _is_matrix(tensor: Tensor) -> bool:
    """Of a layer's parameters, by its name `<op>.weight`."""
    op = tensor.name.removesuffix(".weight").rpartition(".")[2]
    return tensor.kind == "weight" and len(tensor.shape) >= 2 and op not in KEPT_AT_16_BITS


def _caches(graph: Graph, number_format: Format) -> Graph:
    """The caches in another format; below 16 bits the appended rows are converted first."""
    read = {t for node in graph if node.op.kind == "attention" for t in node.op.inputs}
    written = {n.op.output for n in graph if n.op.kind == "move"}
    caches = {n: t for n, t in graph.tensors.items() if t.kind == "kv" and n in read | written}
    if not caches:
        raise UserError(f"{graph.name} has no key-value cache in its phase {graph.phase}")
    if any(tensor.format.bits < 16 for tensor in caches.values()):
        raise UserError(f"{graph.name}: its caches are quantized already")
    changed = {name: replace(t, format=number_format) for name, t in caches.items()}
    graph = replace(graph, tensors={**graph.tensors, **changed})
    if number_format.bits >= 16:
        return graph
    appends = [node.op for node in graph if node.op.kind == "move" and node.op.output in caches]
    made = {}
    for op in appends:
        source, head_dim = graph.tensors[op.inputs[0]], caches[op.output].shape[-1]
        rows = replace(
            source,
            name=f"{source.name}.quantize_kv",
            shape=(source.elements // head_dim, head_dim),
            format=number_format,
        )
        made[source.name] = rows
    return _insert(graph, {op.name: op.inputs[0] for op in appends}, made)


def _converted(source: Tensor, number_format: Format) -> Tensor:
    return replace(source, name=f"{source.name}.quantize", format=number_format)


def _insert(graph: Graph, readers: Mapping[str, str], made: Mapping[str, Tensor]) -> Graph:
    """Put an op that makes `made[source]` before the first of `readers` (op name -> source)."""
    nodes: list[Node] = []
    tensors = dict(graph.tensors)
    for node in graph:
        source = readers.get(node.op.name)
        if source is None:
            nodes.append(node)
            continue
        tensor = made[source]
        if tensor.name not in tensors:
            tensors[tensor.name] = tensor
            width = tensor.shape[-1]
            rows = tensor.elements // width
            op = Vector(tensor.name, (source,), tensor.name, "quantize", rows, width)
            nodes.append(replace(node, op=op))
        inputs = tuple(tensor.name if name == source else name for name in node.op.inputs)
        nodes.append(replace(node, op=replace(node.op, inputs=inputs)))  # type: ignore[type-var]
    return check(replace(graph, nodes=tuple(nodes), tensors=tensors))
