"""What a traced graph states otherwise than an engine, rewritten: the rules of
`workloads.agreement`."""

from __future__ import annotations

from dataclasses import replace

from workloads.graph import Graph, Node, Op, Tensor
from workloads.ops import Attention, Einsum, Gather, Vector

ON_ROWS = ("rmsnorm", "layernorm")


def rows_first(graph: Graph, built: Graph) -> Graph:
    """Rows gathered after an op on rows are gathered before it, where the built graph does so
    (rule: last rows)."""
    rows = {node.op.name: built.tensors[node.op.output].shape[0] for node in built}
    while (found := _late_gather(graph, rows)) is not None:
        graph = _swapped(graph, *found)
    return graph


def _late_gather(graph: Graph, rows: dict[str, int]) -> tuple[int, int] | None:
    """Places of an op on rows whose only reader gathers some of them, and of that gather."""
    consumers = graph.consumers()
    places = {node.op.name: i for i, node in enumerate(graph.nodes)}
    for i, node in enumerate(graph.nodes):
        readers, op = consumers.get(node.op.output, []), node.op
        if len(readers) != 1 or not _picks_rows(graph, readers[0]):
            continue
        product = isinstance(op, Einsum) and op.spec == "mk,nk->mn" and not op.window
        on_rows = product or (isinstance(op, Vector) and op.function in ON_ROWS)
        if on_rows and rows.get(op.name) == graph.tensors[readers[0].output].shape[0]:
            return i, places[readers[0].name]
    return None


def _picks_rows(graph: Graph, op: Op) -> bool:
    return isinstance(op, Gather) and graph.tensors[op.inputs[0]].kind == "activation"


def _swapped(graph: Graph, first: int, second: int) -> Graph:
    nodes, tensors = list(graph.nodes), dict(graph.tensors)
    op, gather = nodes[first].op, nodes[second].op
    assert isinstance(gather, Gather)
    assert isinstance(op, (Vector, Einsum))
    source, rows = tensors[op.inputs[0]], gather.rows
    picked, made = f"{op.inputs[0]}.rows", tensors[op.output]
    tensors[picked] = replace(source, name=picked, shape=(rows, source.shape[-1]))
    tensors[op.output] = replace(made, shape=(rows, made.shape[-1]))
    before = replace(gather, inputs=(source.name, *gather.inputs[1:]), output=picked)
    before = replace(before, width=source.shape[-1])
    inputs = (picked, *op.inputs[1:])
    if isinstance(op, Vector):
        later: Op = replace(op, inputs=inputs, rows=op.rows * rows // made.shape[0])
    else:
        later = replace(op, inputs=inputs, ranks=dict(op.ranks) | {"m": rows})
    nodes[second], nodes[first] = replace(nodes[first], op=later), replace(nodes[second], op=before)
    for i, node in enumerate(nodes):
        if i > second and gather.output in node.op.inputs:
            read = tuple(op.output if n == gather.output else n for n in node.op.inputs)
            nodes[i] = replace(node, op=replace(node.op, inputs=read))  # type: ignore[type-var]
    del tensors[gather.output]
    return replace(graph, nodes=tuple(nodes), tensors=tensors)


def without_layout_copies(graph: Graph) -> Graph:
    """Copies of what only attention and the cache read are left out (rule: layout)."""
    consumers, now, nodes = graph.consumers(), dict[str, str](), []
    for node in graph:
        op = node.op
        readers = consumers.get(op.output, [])
        only = all(r.kind in ("attention", "move") for r in readers) and bool(readers)
        whole = graph.tensors[op.inputs[0]].elements == graph.tensors[op.output].elements
        kept = graph.tensors[op.output].kind != "activation"
        if op.kind == "move" and len(op.inputs) == 1 and only and whole and not kept:
            now[op.output] = now.get(op.inputs[0], op.inputs[0])
            continue
        inputs = tuple(now.get(name, name) for name in op.inputs)
        nodes.append(replace(node, op=replace(op, inputs=inputs)))  # type: ignore[type-var]
    return replace(graph, nodes=tuple(nodes))


def positions_per_sequence(graph: Graph) -> Graph:
    """Learned positions are gathered for every sequence (rule: positions)."""
    nodes, tensors, made = list(graph.nodes), dict(graph.tensors), _makers(graph)
    for at, node in reversed(list(enumerate(graph.nodes))):
        op = node.op
        if not isinstance(op, Vector) or op.function != "add":
            continue
        for name in op.inputs:
            whole = tensors[name].elements * graph.batch == op.rows * op.width
            shape, maker = (op.rows, op.width), made.get(name)
            if maker is not None and isinstance(nodes[maker].op, Gather) and whole:
                gather = replace(nodes[maker].op, rows=op.rows)  # type: ignore[type-var]
                nodes[maker] = replace(nodes[maker], op=gather)
                tensors[name] = replace(tensors[name], shape=shape)
            elif whole and tensors[name].kind == "weight" and tensors[name].elements > op.width:
                nodes[at : at + 1] = _gathered(tensors, node, name)
    return replace(graph, nodes=tuple(nodes), tensors=tensors)


def _gathered(tensors: dict[str, Tensor], node: Node, name: str) -> list[Node]:
    """The addition of a whole table as a gather of its rows and an addition."""
    op, table = node.op, tensors[name]
    assert isinstance(op, Vector)
    rows = f"{name}.rows"
    tensors[name] = replace(table, kind="table", shape=(table.elements // op.width, op.width))
    tensors[rows] = replace(table, name=rows, kind="activation", shape=(op.rows, op.width))
    inputs = tuple(rows if read == name else read for read in op.inputs)
    gather = Gather(rows, (name,), rows, op.rows, op.width)
    return [replace(node, op=gather), replace(node, op=replace(op, inputs=inputs))]


def _makers(graph: Graph) -> dict[str, int]:
    return {node.op.output: i for i, node in enumerate(graph.nodes)}


def bias_once(graph: Graph) -> Graph:
    """A table of biases of scores is gathered once (rule: score bias)."""
    nodes, tensors, made = list(graph.nodes), dict(graph.tensors), _makers(graph)
    for node in graph:
        if not isinstance(node.op, Attention):
            continue
        for name in node.op.inputs[3:]:
            gather = nodes[made[name]].op if name in made else None
            if isinstance(gather, Gather):
                table = tensors[gather.inputs[0]]
                rows = replace(gather, rows=table.shape[0])
                nodes[made[name]] = replace(nodes[made[name]], op=rows)
                tensors[name] = replace(tensors[name], shape=table.shape)
    return replace(graph, nodes=tuple(nodes), tensors=tensors)


def routes(graph: Graph, op: Op) -> bool:
    """True for what a router does besides its projection and choice (rule: routing)."""
    experts = [node.op for node in graph if node.op.kind == "experts"]
    if op.kind not in ("vector", "move") or not experts:
        return False
    scores = {node.op.output for node in graph if getattr(node.op, "function", "") == "top_k"}
    weights = {node.op.inputs[-1] for node in graph if _combines(node.op)}
    width = graph.tensors[op.output].shape[-1]
    small = max((graph.tensors[name].shape[-1] for name in op.inputs), default=width)
    near = _reaches(graph, op.output, scores | weights) or op.output in weights
    return near and max(width, small) <= max(_experts(graph, node) for node in experts)


def _combines(op: Op) -> bool:
    return getattr(op, "function", "") == "weighted_sum"


def _experts(graph: Graph, op: Op) -> int:
    return graph.tensors[op.inputs[1]].shape[0]


def _reaches(graph: Graph, start: str, ends: set[str]) -> bool:
    """True if a tensor is made into one of `ends` by vector ops and copies alone."""
    consumers, seen, waiting = graph.consumers(), {start}, [start]
    while waiting:
        name = waiting.pop()
        if name in ends:
            return True
        for op in consumers.get(name, []):
            if op.kind in ("vector", "move") and op.output not in seen:
                seen.add(op.output)
                waiting.append(op.output)
    return False
