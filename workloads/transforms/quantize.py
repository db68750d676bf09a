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
MACs never change. What a projection writes stays at 16 bits, and its sums are as wide as the PE
accumulates (`accumulate` of its pair): neither is a choice of the graph's. Of formats with scales
at two levels (`dgq4`, arXiv 2310.04836, and `nvfp4`) only the inner one costs work: for DGQ that is
the expansion of each 4-bit weight to INT8 by its group's integer scale and zero, before an INT8
multiplication; the multiplication of the sums by the channel's FP16 scale is left out.
Not modeled: rotations and smoothing factors (folded into weights), static scales (which would need
no maximum); outlier columns are a transform of their own. Where q, k and v are merged in one
tensor, the whole of it is converted for each cache.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from kernels_ref.errors import UserError
from kernels_ref.format_names import parse_formats
from kernels_ref.formats import Format, FormatError, get_format
from workloads.graph import Graph, Node, Op, Tensor, check
from workloads.ops import Vector
from workloads.transforms.edit import Where, matrices, projections
from workloads.transforms.split import layer_ranges


def quantize(
    graph: Graph,
    formats: str | None = None,
    kv: str | None = None,
    only: str = "*",
    layers: str = "",
) -> Graph:
    """The graph with `formats` (of weights and activations) and `kv` (of the caches) applied.
    `only`: of layers' matrices those whose op has such a name. `layers`: only these, as `2-29`,
    `0-1+30-31`, or `KIND.2-9` where there are several kinds. Others may follow.

    Source: GPTQ, arXiv 2210.17323; AWQ, arXiv 2306.00978; SmoothQuant, arXiv 2211.10438; KIVI,
    arXiv 2402.02750, for caches: what they store, whatever the way to it; DGQ, arXiv 2310.04836,
    as `dgq4`.
    Accuracy: an input.
    None leaves the formats as they are. Raises FormatError for an unknown format and UserError for
    what is quantized already.
    """
    where = Where(only)
    if layers:
        graph, names = layer_ranges(graph, layers)
        where = Where(only, frozenset(names))
    if formats is not None:
        graph = _weights_and_activations(graph, *parse_formats(formats, _half(graph)), where)
    return graph if kv is None else _caches(graph, get_format(kv), where)


def _half(graph: Graph) -> str:
    """The graph's own 16-bit format."""
    return "fp16" if any(t.format.name == "fp16" for t in graph.tensors.values()) else "bf16"


def _weights_and_activations(
    graph: Graph, weight: Format, activation: Format, where: Where
) -> Graph:
    chosen = _chosen(graph, where)
    for number_format in (weight, activation):
        if number_format.kind == "int" and number_format.bits >= 16:
            raise FormatError(f"{number_format.name} is an accumulator's format, not a model's")
    wide = weight.bits >= 16 and activation.bits >= 16
    if wide and where.inside is not None:
        raise UserError(f"{weight.name} is for the whole graph; name layers of fewer bits instead")
    base = weight if wide else get_format(_half(graph))
    tensors = {
        name: replace(t, format=base) if t.format.kind == "float" and t.format.bits >= 16 else t
        for name, t in graph.tensors.items()
    }
    if weight.bits < 16:
        for name in matrices(graph, where):
            tensors[name] = replace(tensors[name], format=weight)
    graph = replace(graph, tensors=tensors)
    if activation.bits >= 16:
        return graph
    sources = {name: op.inputs[0] for name, op in chosen.items()}
    names = _converted_names(graph, sources.values(), activation)
    made = {s: replace(tensors[s], name=n, format=activation) for s, n in names.items()}
    return _insert(graph, sources, made)


def _converted_names(graph: Graph, sources: Iterable[str], number_format: Format) -> dict[str, str]:
    """Of each source the name that it has in this format: there may be others beside."""
    names = {}
    for source in sources:
        name = f"{source}.quantize"
        other = graph.tensors.get(name)
        taken = other is not None and other.format != number_format
        names[source] = f"{name}.{number_format.name}" if taken else name
    return names


def _chosen(graph: Graph, where: Where) -> dict[str, Op]:
    """The projections of matching names. Raises UserError if there are none, or if what they read
    is quantized already."""
    chosen = projections(graph, where)
    read = {t for op in chosen.values() for t in op.inputs[:2]}
    if any(_is_quantized(graph.tensors[name].format) for name in read):
        raise UserError(
            f"{graph.name} is quantized already; give all formats of a matrix in one transform"
        )
    return chosen


def _is_quantized(number_format: Format) -> bool:
    """Fewer than 16 bits with scales, or a float of so few; plain integers (token numbers, masks)
    are what they are."""
    few = number_format.bits < 16
    return few and (bool(number_format.scales) or number_format.kind not in ("int", "uint"))


def _caches(graph: Graph, number_format: Format, where: Where) -> Graph:
    """The caches in another format; below 16 bits the appended rows are converted first."""
    inside = [node for node in graph if where.in_layers(node.op.name)]
    read = {t for node in inside if node.op.kind == "attention" for t in node.op.inputs}
    written = {n.op.output for n in inside if n.op.kind == "move"}
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


def _insert(graph: Graph, readers: Mapping[str, str], made: Mapping[str, Tensor]) -> Graph:
    """Put an op that makes `made[source]` before the first of `readers` (op name -> source); one
    that is there already for others goes there too."""
    nodes: list[Node] = []
    tensors = {**graph.tensors, **{t.name: t for t in made.values()}}
    names = {tensor.name for tensor in made.values()}
    done: set[str] = set()
    for node in graph:
        here = set(node.op.inputs) & names
        if source := readers.get(node.op.name):
            here.add(made[source].name)
        for name in sorted(here - done):
            origin = next(s for s, tensor in made.items() if tensor.name == name)
            width = tensors[name].shape[-1]
            rows = tensors[name].elements // width
            op = Vector(name, (origin,), name, "quantize", rows, width)
            nodes.append(replace(node, op=op))
        done |= here
        if node.op.name in names:
            continue
        if source:
            inputs = tuple(made[source].name if t == source else t for t in node.op.inputs)
            node = replace(node, op=replace(node.op, inputs=inputs))  # type: ignore[type-var]
        nodes.append(node)
    return check(replace(graph, nodes=tuple(nodes), tensors=tensors))
