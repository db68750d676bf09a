"""`name(arg,key=value)+other(3)`: registered functions called by name, as people write them.

Arguments are words or numbers; `key=value` by name. Nothing is evaluated: an argument becomes what
the function's annotation of it asks for.
"""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from kernels_ref.errors import UserError

_CALL = re.compile(r"\s*(\w+)\s*(?:\(([^()]*)\))?\s*")
_SPLIT = re.compile(r"\+(?![^()]*\))")


@dataclass(frozen=True, slots=True)
class Grammar:
    """What is called, in a word for messages, and the error that they are raised as."""

    what: str
    error: type[UserError]

    def parts(self, text: str) -> Iterator[tuple[str, str, str]]:
        """(as written, name, arguments) of each. Raises the error."""
        for part in _SPLIT.split(text):
            match = _CALL.fullmatch(part)
            if not match:
                raise self.error(
                    f"'{part.strip()}' is not a {self.what}; write name(arg,key=value)"
                )
            yield part.strip(), match[1], match[2] or ""

    def known(self, name: str, names: Iterable[str]) -> None:
        """Raises the error, with the nearest name, unless it is one of them."""
        names = list(names)
        if name not in names:
            close = difflib.get_close_matches(name, names, n=1)
            hint = f"did you mean '{close[0]}'?" if close else f"known: {', '.join(names)}"
            raise self.error(f"unknown {self.what} '{name}'; {hint}")

    def bound(
        self, name: str, function: Callable[..., Any], subject: object, text: str
    ) -> inspect.BoundArguments:
        """The subject and the arguments as the types that the function declares. Raises the
        error."""
        signature = inspect.signature(function)
        first, *others = signature.parameters.values()
        takes = ", ".join(str(p).replace("'", "") for p in others)
        args, named = self._arguments(name, text)
        try:
            if first.name in named:
                raise TypeError(f"unexpected argument '{first.name}'")
            bound = signature.bind(subject, *args, **named)
        except TypeError as problem:
            raise self.error(f"{name}: {problem}; it is {name}({takes})") from None
        for parameter in others:
            if isinstance(word := bound.arguments.get(parameter.name), str):
                bound.arguments[parameter.name] = self._value(word, _annotation(parameter), name)
        return bound

    def _arguments(self, name: str, text: str) -> tuple[list[str], dict[str, str]]:
        args: list[str] = []
        named: dict[str, str] = {}
        for piece in filter(None, (p.strip() for p in text.split(","))):
            key, equals, value = piece.partition("=")
            if not equals:
                if named:
                    raise self.error(f"{name}: '{piece}' follows a named argument; name it too")
                args.append(piece)
            elif key.strip() in named:
                raise self.error(f"{name}: '{key.strip()}' is given twice")
            else:
                named[key.strip()] = value.strip()
        return args, named

    def _value(self, text: str, annotation: str, name: str) -> str | float:
        """A number where the function asks for one or does not say; else the word as written."""
        if "str" in annotation:
            return text
        whole = "int" in annotation and "float" not in annotation
        for kind in (int,) if whole else (int, float):
            try:
                return kind(text)
            except ValueError:
                continue
        if "int" in annotation or "float" in annotation:
            what = "a whole number" if whole else "a number"
            raise self.error(f"{name}: '{text}' is not {what}")
        return text


def _annotation(parameter: inspect.Parameter) -> str:
    """As written; nothing where there is none."""
    return "" if parameter.annotation is parameter.empty else str(parameter.annotation)
