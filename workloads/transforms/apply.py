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

_CALL = re.compile(r"\s*(\w+)\s*(?:\(([^()]*)\))?\s*")
_SPLIT = re.compile(r"\+(?![^()]*\))")


class TransformError(UserError):
    """A transform that does not exist, or does not take these arguments."""


def apply(graph: Graph, text: str) -> Graph:
    """The graph after every transform named in `text`. Raises TransformError."""
    for part in _SPLIT.split(text):
        match = _CALL.fullmatch(part)
        if not match:
            raise TransformError(f"'{part.strip()}' is not a transform; write name(arg,key=value)")
        name, arguments = match[1], match[2] or ""
        if name not in TRANSFORMS:
            close = difflib.get_close_matches(name, TRANSFORMS, n=1)
            hint = f"did you mean '{close[0]}'?" if close else f"known: {', '.join(TRANSFORMS)}"
            raise TransformError(f"unknown transform '{name}'; {hint}")
        args, named = _arguments(name, arguments)
        transform = TRANSFORMS[name]
        try:
            inspect.signature(transform).bind(graph, *args, **named)
        except TypeError as problem:
            takes = str(inspect.signature(transform)).replace("'", "")
            raise TransformError(f"{name}: {problem}; it is {name}{takes}") from None
        graph = transform(graph, *args, **named)
    return graph


def _arguments(name: str, text: str) -> tuple[list[str | float], dict[str, str | float]]:
    args: list[str | float] = []
    named: dict[str, str | float] = {}
    for piece in filter(None, (p.strip() for p in text.split(","))):
        key, equals, value = piece.partition("=")
        if not equals:
            if named:
                raise TransformError(f"{name}: '{piece}' follows a named argument; name it too")
            args.append(_value(piece))
        elif key.strip() in named:
            raise TransformError(f"{name}: '{key.strip()}' is given twice")
        else:
            named[key.strip()] = _value(value.strip())
    return args, named


def _value(text: str) -> str | float:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
