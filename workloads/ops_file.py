"""A file of ops to a Graph: every shape checked against what the op says, outputs inferred.

Tensors take the file's format unless they state their own. A graph of this kind has no phase; it
runs as it is, and where a report counts tokens, a token is one run of the file. Every problem is
reported with its line. The keys: `workloads.ops_text`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from accel_models.explain import explained, nearest
from accel_models.reader import Document, KeyPath, dotted, parse_yaml, read_yaml
from kernels_ref.errors import UserError
from kernels_ref.format_names import named_format
from kernels_ref.formats import FormatError
from workloads.graph import AS_IT_IS, Graph, GraphError, Node, Op, Tensor, check
from workloads.ops_shapes import Shape, made
from workloads.ops_text import OP_KINDS, OpText, RawFile

Problem = tuple[KeyPath, str]


class OpsError(UserError):
    """A file of ops that makes no graph: a line per problem."""


def read_ops(path: str) -> Graph:
    """The graph of the file. Raises OpsError or DesignError, a line per problem."""
    return _graph(read_yaml(Path(path).expanduser(), path), Path(path).stem)


def parse_ops(text: str, shown: str = "<text>") -> Graph:
    """The same of YAML text."""
    return _graph(parse_yaml(text, shown), "ops")


def _graph(document: Document, name: str) -> Graph:
    text, ops = _validated(document)
    tensors = _declared(document, text)
    problems = list(_wiring(ops, tensors))
    if problems:
        raise _error(document, problems)
    nodes: list[Node] = []
    for i, op in enumerate(ops):
        nodes.append(Node(_made(document, i, op, tensors, text.format), op.count))
    used = {t for node in nodes for t in (*node.op.inputs, node.op.output)}
    unused: list[Problem] = [
        (("tensors", t), "no op reads or makes it; remove it") for t in tensors.keys() - used
    ]
    if unused:
        raise _error(document, unused)
    return check(
        Graph(
            name=text.name or name,
            phase=AS_IT_IS,
            batch=1,
            tokens=1,
            nodes=tuple(nodes),
            tensors=tensors,
            context=1,
        )
    )


def _validated(document: Document) -> tuple[RawFile, list[OpText]]:
    """Both parts of the file by their keys. Raises OpsError."""
    problems: list[Problem] = []
    text = None
    try:
        text = RawFile.model_validate(document.data)
    except ValidationError as error:
        problems += explained(error, RawFile, document.data, ())
    ops: list[OpText] = []
    written = document.data.get("ops")
    for i, data in enumerate(written if isinstance(written, list) else ()):
        if isinstance(data, dict):
            problems += _op_read(data, ("ops", i), ops)
    if problems or text is None:
        raise _error(document, problems)
    return text, ops


def _op_read(data: dict[str, Any], at: KeyPath, ops: list[OpText]) -> list[Problem]:
    kinds = [key for key in data if key in OP_KINDS]
    if len(kinds) != 1:
        known = ", ".join(OP_KINDS)
        if kinds:
            return [((*at, kinds[1]), f"an op is one of {known}, not {' and '.join(kinds)}")]
        common = {"name", "inputs", "output", "count", "taps"}
        near = next((nearest(k, list(OP_KINDS)) for k in data if k not in common), "")
        return [(at, f"what does it do? One key of {known} is needed" + (near and f"; {near}"))]
    model = OP_KINDS[kinds[0]]
    try:
        ops.append(model.model_validate(data))  # type: ignore[arg-type]
    except ValidationError as error:
        return explained(error, model, data, at)
    return []


def _declared(document: Document, text: RawFile) -> dict[str, Tensor]:
    """The tensors that the file states. Raises OpsError for unknown formats."""
    problems: list[Problem] = []
    found = {}
    try:
        named_format(text.format)
    except FormatError as problem:
        problems.append((("format",), str(problem)))
    for name, tensor in text.tensors.items():
        try:
            own = named_format(tensor.format or text.format)
        except FormatError as problem:
            if tensor.format is not None:
                problems.append((("tensors", name, "format"), str(problem)))
            continue
        found[name] = Tensor(name, tuple(tensor.shape), own, tensor.kind)
    if problems:
        raise _error(document, problems)
    return found


def _wiring(ops: list[OpText], tensors: dict[str, Tensor]) -> Iterator[Problem]:
    """Names given twice, tensors that nobody knows, and ops that read what is not there yet."""
    makers: dict[str, int] = {}
    names: dict[str, int] = {}
    for i, op in enumerate(ops):
        if op.name in names:
            yield ("ops", i, "name"), f"op {names[op.name] + 1} has this name too"
        names.setdefault(op.name, i)
        output = op.output or op.name
        if output in makers:
            made_by = ops[makers[output]].name
            yield ("ops", i, "output"), f"'{output}' is made by {made_by} already"
        elif output in tensors and tensors[output].kind in ("weight", "table"):
            yield ("ops", i, "output"), f"'{output}' is a {tensors[output].kind}, which no op makes"
        makers.setdefault(output, i)
    for i, op in enumerate(ops):
        for j, tensor in enumerate(op.inputs):
            maker = makers.get(tensor)
            if maker is None and tensor not in tensors:
                known = [*tensors, *(t for t, at in makers.items() if at < i)]
                what = f"no tensor '{tensor}'; {nearest(tensor, known)}"
                yield ("ops", i, "inputs", j), what
            elif maker is not None and maker >= i:
                yield ("ops", i, "inputs", j), _too_early(ops, makers, i, tensor)


def _too_early(ops: list[OpText], makers: dict[str, int], reader: int, tensor: str) -> str:
    """A circle, or an order that can be mended."""
    maker = makers[tensor]
    todo, seen = [maker], {maker}
    while todo:
        for read in ops[todo.pop()].inputs:
            before = makers.get(read)
            if before is not None and before not in seen:
                seen.add(before)
                todo.append(before)
    if reader in seen:
        who = f"{ops[maker].name} needs it first" if maker != reader else "it makes it itself"
        return f"reads '{tensor}' in a circle: {who}"
    return f"reads '{tensor}', which {ops[maker].name} makes later; list that op first"


def _made(
    document: Document, index: int, text: OpText, tensors: dict[str, Tensor], default: str
) -> Op:
    """The op, its output added to `tensors` unless it is declared. Raises OpsError."""
    inputs = [tensors[name] for name in text.inputs]
    output = text.output or text.name
    try:
        op, shape = made(text, output, inputs, tensors.get(output))
    except GraphError as problem:
        at, _, what = str(problem).partition("|")
        path = ("ops", index, at) if what and at in document.data["ops"][index] else ("ops", index)
        raise _error(document, [(path, what or at)]) from None
    if output not in tensors:
        tensors[output] = Tensor(output, shape, named_format(default), "activation")
    elif _differs(op, tensors[output], shape):
        said = list(tensors[output].shape)
        what = f"'{output}' is declared as {said}, and {text.name} makes {list(shape)}"
        raise _error(document, [(("ops", index), what)])
    return op


def _differs(op: Op, declared: Tensor, shape: Shape) -> bool:
    return op.kind != "move" and declared.shape != shape


def _error(document: Document, problems: list[Problem]) -> OpsError:
    """A line for each problem, in the order of the file."""
    placed = {(document.place(path), f"{_key(document, path)}: {what}") for path, what in problems}
    in_order = sorted(placed, key=lambda line: (line[0].line, line[1]))
    return OpsError("\n".join(f"{place}: {text}" for place, text in in_order))


def _key(document: Document, path: KeyPath) -> str:
    """`proj.inputs` where the op has a name, else as the file's keys have it."""
    if len(path) > 1 and path[0] == "ops":
        written = document.data["ops"][path[1]]
        if isinstance(written, dict) and isinstance(written.get("name"), str):
            path = (written["name"], *(p for p in path[2:] if not isinstance(p, int)))
    return dotted(path)
