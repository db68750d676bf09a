"""What is known of an export before anything runs: every shape, and what is constant.

Nodes are passed once, in order. Shapes are ONNX's own inference, node by node; a node whose inputs
are all constants is folded (with its values, where they are few), as runtimes do when they load a
model, and so are Shape and Size. What remains is the work. Ops without a rule are collected, all of
them, and refused.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np

from workloads.from_onnx.exported import MOST_VALUES, Export, OnnxError, OnnxNode, Shape

Known = tuple[Shape, str]  # shape, ONNX element type
ShapeRule = Callable[["Facts", OnnxNode], list[Known]]
_RANDOM = ("Random", "Multinomial", "Bernoulli")


@dataclass
class Facts:
    """By the names of ONNX values. `nodes` are those that work at run time, `makers` of all."""

    export: Export
    known: dict[str, Known]
    values: dict[str, np.ndarray]
    constants: set[str]
    makers: dict[str, OnnxNode] = field(default_factory=dict)
    nodes: list[OnnxNode] = field(default_factory=list)

    def shape(self, value: str) -> Shape:
        """Raises OnnxError where inference did not find it."""
        return self._of(value)[0]

    def type(self, value: str) -> str:
        """The ONNX element type."""
        return self._of(value)[1]

    def size(self, value: str) -> int:
        """Elements."""
        return prod(self.shape(value))

    def scalar(self, value: str) -> float | None:
        """The number of a constant of one element; None of anything else."""
        found = self.values.get(value)
        return float(found.reshape(-1)[0]) if found is not None and found.size == 1 else None

    def integers(self, value: str) -> list[int]:
        """A constant list. Raises OnnxError for what is known at run time only."""
        if value not in self.values:
            raise OnnxError(f"{self.export.file}: '{value}' is known at run time only")
        return [int(v) for v in self.values[value].reshape(-1)]

    def parameters(self, value: str) -> bool:
        """Is it made from stored numbers? A mask that follows from shapes is not."""
        if value in self.export.constants:
            shape, kind = self.export.constants[value]
            return prod(shape) > 1 and kind not in ("BOOL", "INT64", "INT32")
        maker = self.makers.get(value) if value in self.constants else None
        return maker is not None and any(self.parameters(name) for name in maker.inputs if name)

    def _of(self, value: str) -> Known:
        if value not in self.known:
            raise OnnxError(f"{self.export.file}: the shape of '{value}' is not known")
        return self.known[value]


def settle(export: Export, rules: Collection[str], shapes: Mapping[str, ShapeRule]) -> Facts:
    """Raises OnnxError naming every op without a rule, or the tensors without a shape."""
    known = {**export.inputs, **export.constants}
    facts = Facts(export, known, dict(export.values), set(export.constants))
    unknown: dict[str, list[str]] = {}
    shapeless: list[tuple[str, str]] = []
    for node in export.nodes:
        facts.makers.update(dict.fromkeys(filter(None, node.outputs), node))
        inputs = [name for name in node.inputs if name]
        constant = _folds(node, inputs, facts)
        if not constant and node.op not in rules:
            unknown.setdefault(node.op, []).append(node.name)
        if not constant:
            facts.nodes.append(node)
        if any(name not in facts.known for name in inputs):
            continue  # a message is on its way: what made the input has no rule or no shape
        facts.known.update(_inferred(facts, node, shapes))
        if constant:
            _fold(facts, node)
        elif node.op in rules:
            shapeless += [(o, node.name) for o in node.outputs[:1] if o and o not in facts.known]
    _refuse(export, unknown, shapeless)
    return facts


def _folds(node: OnnxNode, inputs: list[str], facts: Facts) -> bool:
    """Is the node's result known before anything runs?"""
    if node.op in ("Shape", "Size"):
        return inputs[0] in facts.known
    return all(name in facts.constants for name in inputs) and not node.op.startswith(_RANDOM)


def _refuse(
    export: Export, unknown: Mapping[str, list[str]], shapeless: list[tuple[str, str]]
) -> None:
    if unknown:
        each = (f"  {op}: {', '.join(names)}" for op, names in unknown.items())
        what = f"{export.file}: no rule for {len(unknown)} type(s) of op; nothing is left out:"
        raise OnnxError("\n".join((what, *each)))
    if shapeless:
        each = (f"  '{value}', made by {node}" for value, node in shapeless)
        what = f"{export.file}: shapes that follow from data, or that the file lacks:"
        raise OnnxError("\n".join((what, *each, "  export with fixed sizes, or simplify the file")))


def _inferred(facts: Facts, node: OnnxNode, shapes: Mapping[str, ShapeRule]) -> dict[str, Known]:
    """Shapes and types of the outputs, as far as they follow."""
    if node.op in shapes:
        found = shapes[node.op](facts, node)
        return {o: k for o, k in zip(node.outputs, found, strict=False) if o}
    from onnx import TensorProto

    result = {}
    for name, proto in _onnx_types(facts, node).items():
        tensor = proto.tensor_type
        dims = tensor.shape.dim
        if tensor.HasField("shape") and all(d.HasField("dim_value") for d in dims):
            shape = tuple(d.dim_value for d in dims)
            result[name] = (shape, TensorProto.DataType.Name(tensor.elem_type))
    return result


def _onnx_types(facts: Facts, node: OnnxNode) -> Mapping[str, Any]:
    """What ONNX's inference says of the node alone; nothing of an op that it does not know."""
    from onnx import TensorProto, defs, helper, numpy_helper, shape_inference

    domain = node.op.rpartition(":")[0]
    opsets = facts.export.opsets
    try:
        schema = defs.get_schema(node.proto.op_type, opsets.get(domain, 1), domain)
    except defs.SchemaError:
        return {}
    types, data = {}, {}
    for name in filter(None, node.inputs):
        shape, kind = facts.known[name]
        types[name] = helper.make_tensor_type_proto(TensorProto.DataType.Value(kind), shape)
        if name in facts.values and facts.values[name].dtype.kind in "iufb":
            data[name] = numpy_helper.from_array(facts.values[name], name)
    ids = [helper.make_opsetid(domain, version) for domain, version in opsets.items()]
    try:
        return dict(
            shape_inference.infer_node_outputs(schema, node.proto, types, data, opset_imports=ids)
        )
    except shape_inference.InferenceError as problem:
        what = str(problem).strip().splitlines()[-1]
        raise OnnxError(f"{facts.export.file}: {node.name}: shapes disagree: {what}") from None


def _fold(facts: Facts, node: OnnxNode) -> None:
    """Mark the outputs constant, with their values where these are few."""
    facts.constants.update(filter(None, node.outputs))
    inputs = [name for name in node.inputs if name]
    if node.op == "Shape":
        shape = facts.shape(inputs[0])
        start, end = node.attributes.get("start", 0), node.attributes.get("end", len(shape))
        _keep(facts, node.outputs[0], np.array(shape[start:end], np.int64))
    elif node.op == "Size":
        _keep(facts, node.outputs[0], np.array(facts.size(inputs[0]), np.int64))
    elif all(name in facts.values for name in inputs) and all(
        prod(facts.known[o][0]) <= MOST_VALUES for o in node.outputs if o in facts.known
    ):
        for name, value in zip(node.outputs, _computed(facts, node, inputs), strict=False):
            _keep(facts, name, value)


def _computed(facts: Facts, node: OnnxNode, inputs: list[str]) -> list[np.ndarray]:
    """The node's results by ONNX's reference implementation; nothing where that has none."""
    from onnx.reference import ReferenceEvaluator

    try:
        evaluator = ReferenceEvaluator(node.proto, opsets=dict(facts.export.opsets))
        with np.errstate(all="ignore"):  # infinities and the like are results too
            found = evaluator.run(None, {name: facts.values[name] for name in inputs})
    except (NotImplementedError, RuntimeError, TypeError, ValueError, KeyError):
        return []
    return [np.asarray(value) for value in found if value is not None]


def _keep(facts: Facts, name: str, value: np.ndarray) -> None:
    from onnx import TensorProto, helper

    if name and value.size <= MOST_VALUES:
        facts.values[name] = value
    kind = TensorProto.DataType.Name(helper.np_dtype_to_tensor_dtype(value.dtype))
    facts.known[name] = (tuple(value.shape), kind)
