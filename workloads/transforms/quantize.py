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
from dataclasses import dataclass, replace

from kernels_ref.errors import UserError
from kernels_ref.format_names import parse_formats
from kernels_ref.formats import Format, FormatError, get_format
from workloads.graph import Graph, Node, Op, Tensor, check
from workloads.ops import Vector
from workloads.transforms.split import layer_ranges, matches

KEPT_AT_16_BITS = ("lm_head", "project_in", "project_out", "gate", "router")


@dataclass(frozen=True)
class _Where:
    """Of which ops: those of such a name, among these of some layers (None: of all of them)."""

    only: str = "*"
    inside: frozenset[str] | None = None

    @property
    def everywhere(self) -> bool:
        return self.only == "*" and self.inside is None

    def has(self, name: str) -> bool:
        return matches(name.removesuffix(".weight"), self.only) and self.in_layers(name)

    def in_layers(self, name: str) -> bool:
        return self.inside is None or name in self.inside


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
    where = _Where(only)
    if layers:
        graph, names = layer_ranges(graph, layers)
        where = _Where(only, frozenset(names))
    if formats is not None:
        graph = _weights_and_activations(graph, *parse_formats(formats, _half(graph)), where)
    return graph if kv is None else _caches(graph, get_format(kv), where)


def _half(graph: Graph) -> str:
    """The graph's own 16-bit format."""
    return "fp16" if any(t.format.name == "fp16" for t in graph.tensors.values()) else "bf16"


def _weights_and_activations(
    graph: Graph, weight: Format, activation: Format, where: _Where
) -> Graph:
    projections = _chosen(graph, where)
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
        stored = [op.inputs[1] for op in projections.values()]
        for name in (*stored, *_idle(graph, where)):
            tensors[name] = replace(tensors[name], format=weight)
    graph = replace(graph, tensors=tensors)
    if activation.bits >= 16:
        return graph
    sources = {name: op.inputs[0] for name, op in projections.items()}
    names = _converted_names(graph, sources.values(), activation)
    made = {s: replace(tensors[s], name=n, format=activation) for s, n in names.items()}
    return _insert(graph, sources, made)


def _idle(graph: Graph, where: _Where) -> list[str]:
    """Matrices of layers that are stored and that this phase does not use."""
    used = {t for node in graph for t in node.op.inputs}
    idle = [n for n in graph.copies if n not in used and _is_matrix(graph.tensors[n])]
    return [name for name in idle if where.has(name)]


def _converted_names(graph: Graph, sources: Iterable[str], number_format: Format) -> dict[str, str]:
    """Of each source the name that it has in this format: there may be others beside."""
    names = {}
    for source in sources:
        name = f"{source}.quantize"
        other = graph.tensors.get(name)
        taken = other is not None and other.format != number_format
        names[source] = f"{name}.{number_format.name}" if taken else name
    return names


def _chosen(graph: Graph, where: _Where) -> dict[str, Op]:
    """The projections of matching names. Raises UserError if there are none, or if what they read
    is quantized already."""
    chosen = _named(graph, where)
    read = {t for op in chosen.values() for t in op.inputs[:2]}
    if any(_is_quantized(graph.tensors[name].format) for name in read):
        raise UserError(
            f"{graph.name} is quantized already; give all formats of a matrix in one transform"
        )
    return chosen


def projections(graph: Graph, only: str = "*") -> dict[str, Op]:
    """Ops of layers that multiply by a matrix of parameters, of matching names. Raises UserError if
    none has such a name."""
    return _named(graph, _Where(only))


def matrices(graph: Graph, only: str = "*") -> list[str]:
    """Names of these ops' weights, and of matrices in parts that the phase does not run."""
    stored = [op.inputs[1] for op in projections(graph, only).values()]
    return [*stored, *_idle(graph, _Where(only))]


def _named(graph: Graph, where: _Where) -> dict[str, Op]:
    found = {node.op.name: node.op for node in graph if _is_projection(graph, node.op)}
    chosen = {name: op for name, op in found.items() if where.has(name)}
    if not (chosen or where.everywhere):
        raise UserError(
            f"{graph.name} has no matrix of a layer named '{where.only}'; "
            f"there are {', '.join(found)}"
        )
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


def _caches(graph: Graph, number_format: Format, where: _Where) -> Graph:
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
