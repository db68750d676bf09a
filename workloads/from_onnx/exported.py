"""An ONNX file as it is read: nodes, constants and inputs, with fixed sizes, weights left unread.

`FILE?batch=1,seq=128` gives sizes to symbolic dimensions by their names; one without a name is
`INPUT.AXIS`, such as `input_ids.1=128`. Local functions are inlined (ONNX IR specification,
"Functions"). Constants of up to MOST_VALUES elements keep their values, for the shapes they make.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from accel_models.explain import nearest
from kernels_ref.errors import UserError

MOST_VALUES = 1 << 16
MISSING = "ONNX files need a package: pip install 'tileloom[onnx]'"
HOW = "give sizes as in onnx:model.onnx?batch=1,seq=128"

Shape = tuple[int, ...]


class OnnxError(UserError):
    """A file that cannot be read, or that makes no graph; the message names node and tensor."""


@dataclass(frozen=True)
class OnnxNode:
    """`op` is the type, with its domain in front where that is not ONNX's own."""

    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    proto: Any

    def input(self, index: int) -> str:
        """The name, empty where there is none."""
        return self.inputs[index] if index < len(self.inputs) else ""

    def output(self, index: int) -> str:
        """The name, empty where there is none."""
        return self.outputs[index] if index < len(self.outputs) else ""


@dataclass(frozen=True)
class Export:
    """Shapes and element types (`FLOAT`) of `inputs` and `constants`; `values` of small ones."""

    file: str
    name: str
    nodes: tuple[OnnxNode, ...]
    inputs: Mapping[str, tuple[Shape, str]]
    constants: Mapping[str, tuple[Shape, str]]
    values: Mapping[str, np.ndarray]
    outputs: tuple[str, ...]
    opsets: Mapping[str, int]


def read_export(spec: str) -> Export:
    """The file, its sizes fixed. Raises OnnxError; UserError without the package."""
    try:
        import onnx
    except ImportError:
        raise UserError(MISSING) from None
    path, sizes = _split(spec)
    model = _loaded(path)
    graph, folder = model.graph, os.path.dirname(path)
    initial = [*graph.initializer, *(s.values for s in graph.sparse_initializer)]
    constants = {
        t.name: (tuple(t.dims), onnx.TensorProto.DataType.Name(t.data_type)) for t in initial
    }
    values = {t.name: _values(t, folder, path) for t in initial if _small(t)}
    inputs = [i for i in graph.input if i.name not in constants]
    return Export(
        path,
        Path(path).stem,
        tuple(_node(node, i) for i, node in enumerate(graph.node)),
        _inputs(path, inputs, sizes),
        constants,
        values,
        tuple(o.name for o in graph.output),
        {o.domain if o.domain != "ai.onnx" else "": o.version for o in model.opset_import},
    )


def _split(spec: str) -> tuple[str, dict[str, int]]:
    """Path and sizes by name. Raises OnnxError."""
    path, _, query = (
        spec.rpartition("?") if "?" in spec and not os.path.exists(spec) else (spec, "", "")
    )
    sizes = {}
    for part in filter(None, query.split(",")):
        name, _, text = part.rpartition("=")
        if not name or not text.isdecimal() or int(text) < 1:
            raise OnnxError(f"onnx:{spec}: '{part}' gives no size; write NAME=NUMBER, as batch=1")
        sizes[name] = int(text)
    return os.path.expanduser(path), sizes


def _loaded(path: str) -> Any:
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(path, load_external_data=False)
    except OSError as problem:
        raise OnnxError(f"{path}: cannot be read: {problem.strerror}") from None
    except DecodeError:
        raise OnnxError(f"{path}: is no ONNX file") from None
    if not model.graph.node:
        raise OnnxError(f"{path}: has no nodes; is it an ONNX model?")
    if model.functions:
        from onnx import inliner

        model = inliner.inline_local_functions(model)
    return model


def _small(tensor: Any) -> bool:
    return int(np.prod(tensor.dims, dtype=np.int64)) <= MOST_VALUES and tensor.data_type != 8


def _values(tensor: Any, folder: str, path: str) -> np.ndarray:
    from onnx import external_data_helper, numpy_helper

    if external_data_helper.uses_external_data(tensor):
        try:
            external_data_helper.load_external_data_for_tensor(tensor, folder)
        except (OSError, ValueError) as problem:
            raise OnnxError(f"{path}: the data of '{tensor.name}' beside it: {problem}") from None
    return np.asarray(numpy_helper.to_array(tensor))


def _node(proto: Any, index: int) -> OnnxNode:
    from onnx import helper

    domain = "" if proto.domain in ("", "ai.onnx") else f"{proto.domain}:"
    attributes = {a.name: helper.get_attribute_value(a) for a in proto.attribute}
    return OnnxNode(
        proto.name or f"{proto.op_type}_{index}",
        domain + proto.op_type,
        tuple(proto.input),
        tuple(proto.output),
        {k: v.decode() if isinstance(v, bytes) else v for k, v in attributes.items()},
        proto,
    )


def _inputs(path: str, inputs: list[Any], sizes: dict[str, int]) -> dict[str, tuple[Shape, str]]:
    """Raises OnnxError for dimensions that nobody fixes, and for sizes of none."""
    from onnx import TensorProto

    found, missing, names = {}, [], dict.fromkeys(sizes, False)
    for given in inputs:
        tensor = given.type.tensor_type
        if not given.type.HasField("tensor_type") or not tensor.HasField("shape"):
            raise OnnxError(f"{path}: input '{given.name}' has no shape; export it with one")
        shape = []
        for axis, dim in enumerate(tensor.shape.dim):
            keys = [k for k in (dim.dim_param, f"{given.name}.{axis}") if k in sizes]
            if keys and not dim.HasField("dim_value"):
                names[keys[0]] = True
                shape.append(sizes[keys[0]])
            elif dim.HasField("dim_value"):
                shape.append(dim.dim_value)
            else:
                missing.append(dim.dim_param or f"{given.name}.{axis}")
        found[given.name] = (tuple(shape), TensorProto.DataType.Name(tensor.elem_type))
    if missing:
        names_of = ", ".join(dict.fromkeys(missing))
        wanted = ",".join(f"{name}=1" for name in dict.fromkeys(missing))
        raise OnnxError(f"{path}: sizes are open: {names_of}; {HOW}, here onnx:{path}?{wanted}")
    for name, used in names.items():
        if not used:
            known = [d.dim_param for g in inputs for d in g.type.tensor_type.shape.dim]
            near = nearest(name, sorted({k for k in known if k})) if any(known) else "none is open"
            raise OnnxError(f"{path}: no open size '{name}'; {near}")
    return found
