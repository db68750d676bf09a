"""Ops of ONNX that only show or move data: views where strides can say it, copies where not."""

from __future__ import annotations

from dataclasses import replace
from math import prod

from workloads.from_onnx.constants import stored, weight
from workloads.from_onnx.draft import Draft
from workloads.from_onnx.exported import OnnxNode, Shape
from workloads.from_onnx.views import View
from workloads.ops import Gather

# Those that show the same elements: what a quantized tensor may pass on its way.
SHOWING = ("Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity", "Transpose", "Dropout")


def same(draft: Draft, node: OnnxNode) -> None:
    """Identity, and Dropout, which does nothing when a model is run."""
    draft.views[node.outputs[0]] = draft.view(node.inputs[0])


def reshape(draft: Draft, node: OnnxNode) -> None:
    """Reshape, Squeeze, Unsqueeze, Flatten: a copy where the order in memory does not allow it."""
    _shown(draft, node.inputs[0], node.outputs[0])


def _shown(draft: Draft, value: str, output: str) -> None:
    view, shape = draft.view(value), draft.shape(output)
    found = view.reshaped(shape)
    if found is None:
        draft.copied(value, f"{value}.contiguous", view)
        found = draft.views[value].reshaped(shape)
        assert found is not None
    draft.views[output] = found


def transpose(draft: Draft, node: OnnxNode) -> None:
    """Axes in another order; who reads it reads with strides."""
    view = draft.view(node.inputs[0])
    order = node.attributes.get("perm", tuple(reversed(range(len(view.shape)))))
    draft.views[node.outputs[0]] = view.transposed(order)


def expand(draft: Draft, node: OnnxNode) -> None:
    """The same elements, seen several times."""
    view = draft.view(node.inputs[0])
    draft.views[node.outputs[0]] = view.spread(draft.shape(node.outputs[0]))


def cut(draft: Draft, node: OnnxNode) -> None:
    """Slice: a part."""
    view, shape = draft.view(node.inputs[0]), draft.shape(node.outputs[0])
    steps = [1] * len(shape)
    if node.input(4):
        axes = draft.facts.integers(node.inputs[3]) if node.input(3) else range(len(shape))
        for axis, step in zip(axes, draft.facts.integers(node.inputs[4]), strict=True):
            steps[axis] = abs(step)
    draft.views[node.outputs[0]] = view.cut(shape, tuple(steps))


def split(draft: Draft, node: OnnxNode) -> None:
    """Several parts."""
    view = draft.view(node.inputs[0])
    for output in filter(None, node.outputs):
        shape = draft.shape(output)
        draft.views[output] = view.cut(shape, (1,) * len(shape))


def gather(draft: Draft, node: OnnxNode) -> None:
    """One constant index: a part. Else rows of a table, or runs of a tensor, wherever they lie."""
    table, index = node.inputs[:2]
    shape = draft.shape(table)
    axis = node.attributes.get("axis", 0) % len(shape)
    if not draft.constant(table) and draft.constant(index) and draft.facts.size(index) == 1:
        view = draft.view(table)
        part = view.cut((*shape[:axis], 1, *shape[axis + 1 :]), (1,) * len(shape))
        draft.views[node.outputs[0]] = _without(part, axis, draft.shape(node.outputs[0]))
        return
    width = prod(shape[axis + 1 :])
    if draft.constant(table):
        source, coded = _table(draft, table, (prod(shape) // width, width))
    else:
        source, coded = draft.numbers(table).tensor, False
    made = draft.tensors[source].format if coded else None
    output = draft.output(node.outputs[0], made, coded)
    rows = draft.facts.size(node.outputs[0]) // width
    draft.add(Gather(draft.name(node.name), _with(draft, source, index), output, rows, width))


def _with(draft: Draft, source: str, index: str) -> tuple[str, ...]:
    """The table, and the indices where they are made at run time."""
    indices = None if draft.constant(index) else draft.read(index)
    return (source,) if indices is None else (source, indices)


def _without(view: View, axis: int, shape: Shape) -> View:
    """The view without an axis of one, or with as many as the index had."""
    strides = list(view.strides)
    strides[axis : axis + 1] = [0] * (len(shape) - len(view.shape) + 1)
    return View(view.tensor, shape, tuple(strides), view.coded)


def _table(draft: Draft, value: str, shape: Shape) -> tuple[str, bool]:
    """A constant that is gathered from, and whether it is of codes."""
    found = stored(draft.facts, value)
    name = weight(draft, value, shape, "table")
    draft.tensors[name] = replace(draft.tensors[name], kind="table")
    return name, found.coded


def gather_elements(draft: Draft, node: OnnxNode) -> None:
    """Single elements, wherever they lie."""
    source = draft.read(node.inputs[0])
    assert source is not None
    output, rows = draft.output(node.outputs[0]), draft.facts.size(node.outputs[0])
    inputs = _with(draft, source, node.inputs[1])
    draft.add(Gather(draft.name(node.name), inputs, output, rows, 1))


def gather_nd(draft: Draft, node: OnnxNode) -> None:
    """Runs of a tensor, one for each index."""
    source = draft.read(node.inputs[0])
    assert source is not None
    indices = draft.facts.size(node.inputs[1]) // draft.shape(node.inputs[1])[-1]
    output = draft.output(node.outputs[0])
    width = draft.facts.size(node.outputs[0]) // indices
    inputs = _with(draft, source, node.inputs[1])
    draft.add(Gather(draft.name(node.name), inputs, output, indices, width))


def concat(draft: Draft, node: OnnxNode) -> None:
    """Everything is copied, in runs of what lies together on both sides."""
    parts = [v for v in node.inputs if draft.facts.size(v)]
    shape = draft.shape(node.outputs[0])
    axis = node.attributes["axis"] % len(shape)
    views = [draft.numbers(v) for v in parts]
    runs = [min(v.run, prod(v.shape[axis:])) for v in views]
    sources = tuple(dict.fromkeys(v.tensor for v in views))
    output = draft.output(node.outputs[0])
    draft.add(draft.copy(draft.name(node.name), sources, output, min(runs)))


def scatter(draft: Draft, node: OnnxNode) -> None:
    """A copy of the whole, with some elements taken from elsewhere."""
    sources = [draft.read(node.inputs[0]), draft.read(node.inputs[2])]
    names = tuple(dict.fromkeys(name for name in sources if name is not None))
    output = draft.output(node.outputs[0])
    run = draft.shape(node.inputs[2])[-1]
    draft.add(draft.copy(draft.name(node.name), names, output, run))


def repeated(draft: Draft, node: OnnxNode) -> None:
    """Tile, Pad, DepthToSpace, SpaceToDepth, Trilu: every element of the output is written."""
    source = draft.read(node.inputs[0])
    assert source is not None
    output = draft.output(node.outputs[0])
    run = draft.shape(node.outputs[0])[-1]
    draft.add(draft.copy(draft.name(node.name), (source,), output, run))
