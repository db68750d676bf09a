"""YAML text to plain values that remember where each key stands, strictly.

YAML 1.2 scalars: only `true` and `false` are booleans (not `no`, `on`, `yes`), `1e9` is a number.
Refused, each with file and line: duplicate keys, files over 1 MiB, nesting beyond 24, aliases that
expand beyond 20,000 nodes or into themselves, tags, several documents, numbers longer than 300
characters. Nothing is executed.
"""

from __future__ import annotations

import re
from copy import deepcopy
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from kernels_ref.errors import UserError

MAX_BYTES = 1 << 20
MAX_DEPTH = 24
MAX_NODES = 20_000
MAX_NUMBER = 300  # characters
LONGEST_SHOWN = 60

KeyPath = tuple[str | int, ...]


class DesignError(UserError):
    """A design that cannot be used: every problem of the file, a line each."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a key stands: the file as the user named it, and its line from 1."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(slots=True)
class Document:
    """Plain values and, for each key path in them, its place."""

    data: dict[str, Any]
    places: dict[KeyPath, Place] = field(default_factory=dict)

    def place(self, path: KeyPath) -> Place:
        """The place of `path`, or of the nearest key above it that is written down."""
        while path and path not in self.places:
            path = path[:-1]
        return self.places[path]


_BOOL = re.compile(r"true|false")
_NULL = re.compile(r"null|~|")
_INT = re.compile(r"[-+]?\d+")
_FLOAT = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")

_PLAIN_TAGS = {
    f"tag:yaml.org,2002:{name}"
    for name in ("str", "int", "float", "bool", "null", "map", "seq", "timestamp", "merge", "value")
}


def read_yaml(path: Path, shown: str | None = None) -> Document:
    """The mapping in `path`. Raises DesignError naming file and line."""
    shown = shown or str(path)
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as problem:
        raise DesignError(f"{shown}: cannot be read: {problem.strerror}") from None
    if len(raw) > MAX_BYTES:
        raise DesignError(f"{shown}: is larger than 1 MiB; a design is a few KiB of text")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as problem:
        line = raw[: problem.start].count(b"\n") + 1
        raise DesignError(f"{shown}:{line}: is not UTF-8 text; save it as UTF-8") from None
    return parse_yaml(text, shown)


def parse_yaml(text: str, shown: str) -> Document:
    """The mapping in `text`; `shown` names it in messages. Raises DesignError."""
    found = _parsed(text, shown)
    return Document(deepcopy(found.data), dict(found.places))


@lru_cache(maxsize=128)
def _parsed(text: str, shown: str) -> Document:
    """What `parse_yaml` copies: most of reading a design is reading its YAML, and callers read the
    same designs again and again."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as problem:
        raise DesignError(_syntax(problem, shown)) from None
    except yaml.reader.ReaderError as problem:
        line = text[: problem.position].count("\n") + 1
        character = f"character {problem.character:#04x}"
        raise DesignError(f"{shown}:{line}: {character} is not allowed; remove it") from None
    except RecursionError:
        raise DesignError(f"{shown}:1: nested deeper than {MAX_DEPTH} levels") from None
    if node is None:
        raise DesignError(f"{shown}:1: the file is empty; a design is a mapping of keys")
    if not isinstance(node, yaml.MappingNode):
        raise DesignError(f"{shown}:1: a mapping of keys ('title: ...') is expected at the top")
    walker = _Walker(shown)
    data = walker.value(node, (), ())
    if walker.problems:
        raise DesignError("\n".join(walker.problems))
    return Document(data, walker.places)


def _syntax(problem: yaml.MarkedYAMLError, shown: str) -> str:
    """PyYAML's complaint, at its line, with the line where the thing it was reading began."""
    mark, begun = problem.problem_mark, problem.context_mark
    line = mark.line + 1 if mark else 1
    if problem.problem == "but found another document":
        return f"{shown}:{line}: a second document begins here; a design is one: remove the '---'"
    what = " ".join(str(part) for part in (problem.context, problem.problem) if part)
    if problem.problem == "mapping values are not allowed here":
        what += "; put a text that contains ': ' in quotes"
    begin = f" (begun on line {begun.line + 1})" if begun and begun.line + 1 != line else ""
    return f"{shown}:{line}: not valid YAML: {what}{begin}"


class _Walker:
    """One pass over a node tree, collecting places and problems."""

    def __init__(self, shown: str) -> None:
        self.shown = shown
        self.places: dict[KeyPath, Place] = {}
        self.problems: list[str] = []
        self.nodes = 0

    def value(self, node: yaml.Node, path: KeyPath, above: tuple[yaml.Node, ...]) -> Any:
        """Plain value of `node`; `above` are its ancestors (to find a node inside itself)."""
        place = Place(self.shown, node.start_mark.line + 1)
        self.places.setdefault(path, place)
        self.nodes += 1
        if node.tag not in _PLAIN_TAGS:
            tag = node.tag.replace("tag:yaml.org,2002:", "!!")
            raise DesignError(f"{place}: {dotted(path)}: tag '{tag}' is not allowed; remove it")
        if node in above:
            raise DesignError(f"{place}: {dotted(path)}: an alias that contains itself")
        if len(above) >= MAX_DEPTH:
            raise DesignError(f"{place}: nested deeper than {MAX_DEPTH} levels")
        if self.nodes > MAX_NODES:
            raise DesignError(f"{place}: aliases expand to more than {MAX_NODES} values")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path, (*above, node))
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path, place)
        below = (*above, node)
        return [self.value(item, (*path, i), below) for i, item in enumerate(node.value)]

    def _mapping(
        self, node: yaml.MappingNode, path: KeyPath, above: tuple[yaml.Node, ...]
    ) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            place = Place(self.shown, key_node.start_mark.line + 1)
            if not isinstance(key_node, yaml.ScalarNode):
                self.problems.append(f"{place}: {dotted(path)}: a key must be a word")
                continue
            key = key_node.value
            if key in result:
                first = self.places[(*path, key)].line
                again = f"{place}: {dotted((*path, key))}: duplicate key"
                self.problems.append(f"{again}; first given on line {first}, remove one")
                continue
            self.places[(*path, key)] = place
            result[key] = self.value(value_node, (*path, key), above)
        return result

    def _scalar(self, node: yaml.ScalarNode, path: KeyPath, place: Place) -> Any:
        text = node.value
        if any("\ud800" <= character <= "\udfff" for character in text):
            self.problems.append(f"{place}: {dotted(path)}: half a surrogate pair; write it whole")
        if node.style in ("'", '"', "|", ">"):
            return text
        if _NULL.fullmatch(text):
            return None
        if _BOOL.fullmatch(text):
            return text == "true"
        if len(text) > MAX_NUMBER:
            return text
        if _INT.fullmatch(text):
            return int(text)
        if _FLOAT.fullmatch(text):
            return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
        return text


def dotted(path: KeyPath) -> str:
    """`memory.hbm.capacity`, as messages show a key path."""
    return ".".join(str(part) for part in path) or "(top)"


def as_yaml(value: object) -> str:
    """A value as messages show it: in YAML's words (`true`, not `True`), long ones cut."""
    if isinstance(value, (dict, list)):
        return "a mapping" if isinstance(value, dict) else "a list"
    if value is None or isinstance(value, bool):
        return {None: "nothing", True: "true", False: "false"}[value]
    text = str(value)
    text = text if len(text) <= LONGEST_SHOWN else text[: LONGEST_SHOWN - 3] + "..."
    return f"'{text}'" if isinstance(value, str) else text
