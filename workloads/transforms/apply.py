"""`quantize(w4a8-g128,kv=int8)+other(3)`: transforms by name, left to right.

Arguments are words or numbers; `key=value` by name. Nothing is evaluated.
"""

from __future__ import annotations

import difflib
import inspect
import re

from kernels_ref.errors import UserError
from workloads.graph import Graph
from workloads.transforms import TRANSFORMS
from workloads.transforms.edit import PhaseError
from workloads.transforms.parallel import AXES

_CALL = re.compile(r"\s*(\w+)\s*(?:\(([^()]*)\))?\s*")
_SPLIT = re.compile(r"\+(?![^()]*\))")


class TransformError(UserError):
    """A transform that does not exist, or does not take these arguments."""


def apply(graph: Graph, text: str, partly: set[str] | None = None) -> Graph:
    """The graph after every transform named in `text`; with `partly`, those that change nothing in
    its phase are left out and added to it. Raises TransformError."""
    for part in _SPLIT.split(text):
        match = _CALL.fullmatch(part)
        if not match:
            raise TransformError(f"'{part.strip()}' is not a transform; write name(arg,key=value)")
        name, arguments = match[1], match[2] or ""
        if name not in TRANSFORMS:
            close = difflib.get_close_matches(name, TRANSFORMS, n=1)
            hint = f"did you mean '{close[0]}'?" if close else f"known: {', '.join(TRANSFORMS)}"
            raise TransformError(f"unknown transform '{name}'; {hint}")
        _check_order(graph, name)
        try:
            graph = _called(name, *_arguments(name, arguments), graph)
        except PhaseError:
            if partly is None:
                raise
            partly.add(part.strip())
    return graph


def _check_order(graph: Graph, name: str) -> None:
    """Raises TransformError for what would change the forward pass of a training step, and leave
    its gradients, moments and saved activations as they were."""
    if graph.state_bytes and name != "training" and TRANSFORMS[name] not in AXES:
        raise TransformError(
            f"{name}: {graph.name} is a training step already; training() goes last, after what "
            "changes its forward pass"
        )


def _called(name: str, args: list[str], named: dict[str, str], graph: Graph) -> Graph:
    """The transform with its arguments as the types that it declares."""
    signature = inspect.signature(TRANSFORMS[name])
    first, *others = signature.parameters.values()
    takes = ", ".join(str(p).replace("'", "") for p in others)
    try:
        if first.name in named:
            raise TypeError(f"unexpected argument '{first.name}'")
        bound = signature.bind(graph, *args, **named)
    except TypeError as problem:
        raise TransformError(f"{name}: {problem}; it is {name}({takes})") from None
    for parameter in others:
        if isinstance(text := bound.arguments.get(parameter.name), str):
            bound.arguments[parameter.name] = _value(text, _annotation(parameter), name)
    return TRANSFORMS[name](*bound.args, **bound.kwargs)


def _annotation(parameter: inspect.Parameter) -> str:
    """As written; nothing where there is none."""
    return "" if parameter.annotation is parameter.empty else str(parameter.annotation)


def _arguments(name: str, text: str) -> tuple[list[str], dict[str, str]]:
    args: list[str] = []
    named: dict[str, str] = {}
    for piece in filter(None, (p.strip() for p in text.split(","))):
        key, equals, value = piece.partition("=")
        if not equals:
            if named:
                raise TransformError(f"{name}: '{piece}' follows a named argument; name it too")
            args.append(piece)
        elif key.strip() in named:
            raise TransformError(f"{name}: '{key.strip()}' is given twice")
        else:
            named[key.strip()] = value.strip()
    return args, named


def _value(text: str, annotation: str, name: str) -> str | float:
    """A number where the transform asks for one or does not say; else the word as written."""
    if "str" in annotation:
        return text
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    if "int" in annotation or "float" in annotation:
        raise TransformError(f"{name}: '{text}' is not a number")
    return text
