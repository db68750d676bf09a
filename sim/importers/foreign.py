"""Another tool's YAML as plain values that know their place, their tag, and whether anyone asked.

What an importer never asks for is what could not be carried over (`unread`), so nothing of a file
is passed over in silence. Tags (`!Memory`) are kept, `<<` and `<<<` merge, the last of duplicate
keys counts, as in the tools. Nothing is executed: of templates only `{% set NAME = value %}` (with
its `default(...)`) and `{{NAME}}` are filled in.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from accel_models.explain import nearest
from accel_models.reader import MAX_BYTES, MAX_DEPTH, MAX_NODES, Place, as_yaml
from kernels_ref.errors import UserError
from sim.importers.arithmetic import worked_out

LARGEST = 2**53  # beyond, counts are not exact


class ForeignFileError(UserError):
    """A file of another tool that cannot be read: file, line, what is wrong."""


@dataclass(slots=True)
class Block:
    """A mapping of theirs. `asked` are the keys that an importer has looked at."""

    place: Place
    tag: str = ""
    data: dict[str, Any] = field(default_factory=dict)
    places: dict[str, Place] = field(default_factory=dict)
    twice: dict[str, Place] = field(default_factory=dict)
    asked: set[str] = field(default_factory=set)

    def get(self, *keys: str, default: Any = None) -> Any:
        """The value of the first of these spellings that is given."""
        self.asked.update(keys)
        return next((self.data[key] for key in keys if key in self.data), default)

    def need(self, *keys: str) -> Any:
        """The same, or ForeignFileError if there is none."""
        found = self.get(*keys)
        if found is None:
            near = nearest(keys[0], list(self.data)) if self.data else "the block is empty"
            raise self.error(f"missing key '{keys[0]}'; {near}")
        return found

    def number(self, *keys: str, names: dict[str, float] | None = None) -> float | None:
        """A number, arithmetic worked out; None if not given. Raises ForeignFileError."""
        value = self.get(*keys)
        if value is None:
            return None
        try:
            return worked_out(value, names or {})
        except ValueError as problem:
            raise self.error(f"{keys[0]}: {problem}", *keys) from None

    def count(self, *keys: str) -> int | None:
        """A whole number above 0, arithmetic worked out; None if not given. Raises
        ForeignFileError."""
        value = self.number(*keys)
        if value is not None and not (1 <= value < LARGEST and value == int(value)):
            shown = as_yaml(self.get(*keys))
            raise self.error(f"{keys[0]}: must be a whole number above 0, not {shown}", *keys)
        return None if value is None else int(value)

    def wholes(self, *keys: str) -> list[int]:
        """A list of whole numbers above 0. Raises ForeignFileError."""
        values = self.need(*keys)
        for value in values if isinstance(values, list) else [values]:
            self.whole(value, keys[0])
        return list(values) if isinstance(values, list) else [values]

    def whole(self, value: object, key: str) -> int:
        """This whole number above 0. Raises ForeignFileError."""
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value < LARGEST:
            raise self.error(f"{key}: must be a whole number above 0, not {as_yaml(value)}", key)
        return value

    def blocks(self, *keys: str) -> list[Block]:
        """A list of mappings (none if not given). Raises ForeignFileError."""
        value = self.get(*keys, default=[])
        if isinstance(value, Block):
            value = [value]
        if not isinstance(value, list) or any(not isinstance(item, Block) for item in value):
            raise self.error(f"{keys[0]} must be a list of mappings, not {as_yaml(value)}", *keys)
        return value

    def block(self, *keys: str) -> Block:
        """A mapping (empty if not given). Raises ForeignFileError."""
        value = self.get(*keys)
        if value is None:
            return Block(self.place)
        if not isinstance(value, Block):
            raise self.error(f"{keys[0]} must be a mapping, not {as_yaml(value)}", *keys)
        return value

    def at(self, *keys: str) -> Place:
        """Where the first of these keys that is given stands; the block itself, if none is."""
        return next((self.places[key] for key in keys if key in self.places), self.place)

    def pass_over(self, *keys: str) -> None:
        """Ask for everything in it (at these keys): it is spoken of as a whole."""
        for key in keys or self.data:
            self.asked.add(key)
            value = self.data[key]
            for item in value if isinstance(value, list) else [value]:
                if isinstance(item, Block):
                    item.pass_over()

    def error(self, what: str, *keys: str) -> ForeignFileError:
        """A mistake at one of these keys, to be raised."""
        return ForeignFileError(f"{self.at(*keys)}: {what}")


def read_foreign(path: Path) -> Any:
    """What the file holds: a Block, or a list of them. Raises ForeignFileError."""
    return parse_foreign(read_text(path), str(path))


def read_text(path: Path) -> str:
    """The file's text. Raises ForeignFileError."""
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as problem:
        raise ForeignFileError(f"{path}: cannot be read: {problem.strerror}") from None
    if len(raw) > MAX_BYTES:
        raise ForeignFileError(f"{path}: is larger than 1 MiB; a machine is a few KiB of text")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        line = raw[: problem.start].count(b"\n") + 1
        raise ForeignFileError(f"{path}:{line}: is not UTF-8 text; save it as UTF-8") from None


def parse_foreign(text: str, shown: str) -> Any:
    """What the text holds; `shown` names it in messages. Raises ForeignFileError."""
    try:
        node = yaml.compose(_filled_in(text, shown), Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as problem:
        line = problem.problem_mark.line + 1 if problem.problem_mark else 1
        what = " ".join(str(part) for part in (problem.context, problem.problem) if part)
        raise ForeignFileError(f"{shown}:{line}: not valid YAML: {what}") from None
    except yaml.reader.ReaderError as problem:
        line = text[: problem.position].count("\n") + 1
        raise ForeignFileError(f"{shown}:{line}: a character that YAML does not allow") from None
    except RecursionError:
        raise ForeignFileError(f"{shown}:1: nested deeper than {MAX_DEPTH} levels") from None
    if node is None:
        raise ForeignFileError(f"{shown}:1: the file is empty")
    return _Walker(shown).value(node, ())


_SET = re.compile(r"\s*\{%-?\s*set\s+(\w+)\s*=\s*(.*?)\s*-?%\}\s*")
_DEFAULT = re.compile(r"\w+\s*\|\s*default\(\s*(.*?)\s*\)")
_USE = re.compile(r"\{\{\s*(\w+)\s*\}\}")


def _filled_in(text: str, shown: str) -> str:
    """The text with constants of its template filled in, line for line."""
    known: dict[str, str] = {}
    lines = []
    for number, line in enumerate(text.splitlines(), start=1):
        code = line.split("#", 1)[0]
        given = _SET.fullmatch(code)
        if given:
            default = _DEFAULT.fullmatch(given[2])
            known[given[1]] = (default[1] if default else given[2]).strip("'\"")
            line = ""
        elif "{{" in code or "{%" in code:
            line = _USE.sub(lambda use: known.get(use[1], use[0]), code)
            if "{{" in line or "{%" in line:
                raise ForeignFileError(
                    f"{shown}:{number}: templates are not executed; fill the file in with its own "
                    "tool and import what comes out"
                )
        lines.append(line)
    return "\n".join(lines) + "\n"


_TRUE, _FALSE = re.compile("true|True|TRUE|yes|Yes"), re.compile("false|False|FALSE|no|No")
_NULL = re.compile(r"null|Null|NULL|None|~|")
_INT = re.compile(r"[-+]?\d{1,300}")
_FLOAT = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?|[-+]?\.?(inf|Inf|INF)")


class _Walker:
    """One pass over a node tree."""

    def __init__(self, shown: str) -> None:
        self.shown = shown
        self.nodes = 0

    def value(self, node: yaml.Node, above: tuple[yaml.Node, ...]) -> Any:
        """Plain values with their places. Raises ForeignFileError for what has no end."""
        place = Place(self.shown, node.start_mark.line + 1)
        self.nodes += 1
        if node in above:
            raise ForeignFileError(f"{place}: an alias that contains itself")
        if len(above) >= MAX_DEPTH or self.nodes > MAX_NODES:
            raise ForeignFileError(f"{place}: nested too deep or expanded too far by aliases")
        if isinstance(node, yaml.MappingNode):
            return self._block(node, place, (*above, node))
        if isinstance(node, yaml.ScalarNode):
            return _scalar(node)
        return [self.value(item, (*above, node)) for item in node.value]

    def _block(self, node: yaml.MappingNode, place: Place, above: tuple[yaml.Node, ...]) -> Block:
        tag = node.tag.removeprefix("!") if node.tag.startswith("!") else ""
        block = Block(place, tag)
        merged: list[Any] = []
        for key_node, value_node in node.value:
            at = Place(self.shown, key_node.start_mark.line + 1)
            if not isinstance(key_node, yaml.ScalarNode):
                raise ForeignFileError(f"{at}: a key must be a word")
            key, value = key_node.value, self.value(value_node, above)
            if key in ("<<", "<<<"):
                merged += value if isinstance(value, list) else [value]
                continue
            if key in block.data:
                block.twice[key] = at
            block.data[key], block.places[key] = value, at
        for other in merged:
            _merge(block, other)
        return block


def _merge(block: Block, other: Any) -> None:
    """What `other` has and the block does not, block within block."""
    if not isinstance(other, Block):
        raise block.error("what is merged in must be a mapping")
    for key, value in other.data.items():
        mine = block.data.get(key)
        if key not in block.data:
            block.data[key], block.places[key] = value, other.places[key]
        elif isinstance(mine, Block) and isinstance(value, Block):
            _merge(mine, value)


def _scalar(node: yaml.ScalarNode) -> Any:
    text = node.value
    if node.style in ("'", '"', "|", ">"):
        return text
    if _NULL.fullmatch(text):
        return None
    if _TRUE.fullmatch(text) or _FALSE.fullmatch(text):
        return bool(_TRUE.fullmatch(text))
    if _INT.fullmatch(text):
        return int(text)
    return float(text.lower().replace(".inf", "inf")) if _FLOAT.fullmatch(text) else text


def unread(value: Any, path: str = "") -> Iterator[tuple[Place, str, Any]]:
    """(place, key path, value) of everything that was never asked for."""
    if isinstance(value, list):
        for i, item in enumerate(value):
            yield from unread(item, f"{path}[{i}]")
    if isinstance(value, Block):
        name = value.data.get("name")
        inside = f"{path}({name})" if isinstance(name, str) and path.endswith("]") else path
        for key, item in value.data.items():
            where = f"{inside}.{key}" if inside else key
            if key not in value.asked:
                yield value.places[key], where, item
            else:
                yield from unread(item, where)


def repeated(value: Any) -> Iterator[tuple[Place, str]]:
    """(place, key) of every key that is given twice."""
    if isinstance(value, list):
        for item in value:
            yield from repeated(item)
    if isinstance(value, Block):
        for key, place in value.twice.items():
            yield place, key
        for item in value.data.values():
            yield from repeated(item)
