"""A mix of requests on one line, in the form of transforms: calls joined by plus signs, whose
arguments are numbers, words or calls.

    poisson(rate=10)+lengths(prompt=lognormal(mean=1024,cv=1.2),output=128)

A call becomes a mapping from its name to its arguments, as a YAML file has them; arguments without
a name take the keys in their order. Nothing is evaluated.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

from workloads.requests.request import RequestsError

_TOKEN = re.compile(r"\s*([(),=+]|[^(),=+\s][^(),=+]*)")
_NUMBER = re.compile(r"-?\d+")
DEPTH = 8

Keys = Callable[[str], list[str]]  # of a name; raises RequestsError for an unknown one


class Call(NamedTuple):
    """A name and its arguments, those without a name first."""

    name: str
    given: tuple[Any, ...]
    named: dict[str, Any]


class _Reader:
    """What is left of the line."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = [match.strip() for match in _TOKEN.findall(text)]
        self.at = 0

    def peek(self) -> str:
        """The next token; empty at the end."""
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def take(self, wanted: str = "") -> str:
        """The next token. Raises RequestsError if it is not the wanted one, or the end."""
        token = self.peek()
        if not token or (wanted and token != wanted) or (not wanted and token in "(),=+"):
            found = f"'{token}'" if token else "the end"
            need = f"'{wanted}'" if wanted else "a name or a number"
            begun = "".join(self.tokens[: self.at])
            raise RequestsError(
                f"'{self.text}': {need} is expected after '{begun}', not {found}; write "
                "name(key=value)+name(...)"
            )
        self.at += 1
        return token


def parse(text: str, keys: Keys) -> list[tuple[str, Any]]:
    """The calls of the line as (name, arguments by key); `keys` has those of a name.
    Raises RequestsError."""
    reader = _Reader(text)
    found = [_entry(_call(reader, 0), text, keys)]
    while reader.peek():
        reader.take("+")
        found.append(_entry(_call(reader, 0), text, keys))
    return found


def _call(reader: _Reader, depth: int) -> Any:
    """A call, a number or a word."""
    if depth > DEPTH:
        raise RequestsError(f"'{reader.text}': nested deeper than {DEPTH} levels")
    word = reader.take()
    if reader.peek() != "(":
        return _value(word) if depth else Call(word, (), {})
    reader.take("(")
    given: list[Any] = []
    named: dict[str, Any] = {}
    while reader.peek() != ")":
        if given or named:
            reader.take(",")
        key = ""
        if reader.tokens[reader.at + 1 : reader.at + 2] == ["="]:
            key = reader.take()
            reader.take("=")
        value = _call(reader, depth + 1)
        if key in named:
            raise RequestsError(f"'{reader.text}': {word}: '{key}' is given twice")
        if named and not key:
            raise RequestsError(f"'{reader.text}': {word}: name every argument after a named one")
        if key:
            named[key] = value
        else:
            given.append(value)
    reader.take(")")
    return Call(word, tuple(given), named)


def _value(word: str) -> int | float | str:
    if _NUMBER.fullmatch(word):
        return int(word)
    try:
        return float(word)
    except ValueError:
        return word


def _entry(call: Call, text: str, keys: Keys) -> tuple[str, dict[str, Any]]:
    """The arguments by key, calls among them as mappings of one key."""
    known = keys(call.name)
    arguments: dict[str, Any] = {}
    for i, value in enumerate(call.given):
        if i >= len(known):
            takes = f"it takes {', '.join(known)}"
            raise RequestsError(f"'{text}': {call.name}: too many arguments; {takes}")
        if known[i] in call.named:
            raise RequestsError(f"'{text}': {call.name}: '{known[i]}' is given twice")
        arguments[known[i]] = value
    arguments |= call.named
    return call.name, {key: _plain(value, text, keys) for key, value in arguments.items()}


def _plain(value: Any, text: str, keys: Keys) -> Any:
    return dict([_entry(value, text, keys)]) if isinstance(value, Call) else value
