"""Small ONNX files for tests, written with onnx.helper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

Shape = Sequence[int | str]


def written(
    folder: Path,
    nodes: Sequence[Any],
    inputs: Mapping[str, Shape | tuple[Shape, str]],
    constants: Mapping[str, np.ndarray],
    outputs: Sequence[str],
    opset: int = 20,
) -> str:
    """The path of a model of these nodes; an input is a shape (of floats) or (shape, type)."""
    from onnx import TensorProto, helper, numpy_helper, save

    def info(name: str, given: Any) -> Any:
        shape, kind = (
            given if given and isinstance(given[-1], str) and _typed(given) else (given, "FLOAT")
        )
        return helper.make_tensor_value_info(name, TensorProto.DataType.Value(kind), list(shape))

    graph = helper.make_graph(
        list(nodes),
        "test",
        [info(name, given) for name, given in inputs.items()],
        [helper.make_empty_tensor_value_info(name) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    imports = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    path = folder / "model.onnx"
    save(helper.make_model(graph, opset_imports=imports), path)
    return str(path)


def _typed(given: Any) -> bool:
    return len(given) == 2 and not isinstance(given[0], (int, str))


def node(op: str, inputs: str, outputs: str, **attributes: Any) -> Any:
    """A node; names separated by spaces, `-` for none; `ms.Op` is of onnxruntime's domain."""
    from onnx import helper

    names = [["" if n == "-" else n for n in text.split()] for text in (inputs, outputs)]
    domain = "com.microsoft" if op.startswith("ms.") else ""
    plain = op.removeprefix("ms.")
    name = f"{plain.lower()}_{names[1][0]}"
    return helper.make_node(plain, *names, name=name, domain=domain, **attributes)


def floats(*shape: int) -> np.ndarray:
    """Numbers that differ, in float32."""
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)
