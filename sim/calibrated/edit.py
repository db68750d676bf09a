"""A YAML file's numbers replaced where they stand, with their sources: comments and layout stay.

Only the characters of a value, or of the source that covers it, change. A source that covers other
numbers too, and is not of kind `calibrated`, is not replaced: the value gets one of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import yaml

from accel_models.reader import KeyPath, dotted
from kernels_ref.errors import UserError
from sim.calibrate import Told
from sim.calibrated.values import quoted, written_like

Edit = tuple[int, int, str]  # from, to, what stands there instead


def edited(text: str, told: Sequence[Told], source: str) -> str:
    """The text with these values, and `source` as where they come from. Every path must be in it.
    Raises UserError for two values that stand in one place (an alias)."""
    file = _file(text, source)
    values = {one.parameter.path: _value(file, one) for one in told}
    found = list(values.values())
    found += _sources(file, [one.parameter.path for one in told])
    edits: dict[tuple[int, int], str] = {}
    for start, end, new in found:
        if edits.setdefault((start, end), new) != new:
            line = text[:start].count("\n") + 1
            raise UserError(f"line {line}: two values stand in one place; write both out")
    for (start, end), new in sorted(edits.items(), reverse=True):
        text = text[:start] + new + text[end:]
    again = _file(text, source)
    assert all(again.at(path).value == new for path, (_, _, new) in values.items())
    return text


@dataclass(frozen=True)
class _File:
    text: str
    root: yaml.Node
    source: str

    def at(self, path: KeyPath) -> yaml.Node:
        node = self.root
        for key in path:
            below = child(node, key)
            assert below is not None, dotted(path)
            node = below
        return node

    def block(self, path: KeyPath) -> yaml.MappingNode:
        node = self.at(path)
        assert isinstance(node, yaml.MappingNode)
        return node

    def scalar(self, node: yaml.Node, new: str) -> Edit:
        """In place of a scalar, whose anchor and last line break stay."""
        start, end = node.start_mark.index, node.end_mark.index
        old = self.text[start:end]
        if old.startswith("&"):
            start += len(old) - len(old.partition(" ")[2].lstrip())
        end -= len(old) - len(old.rstrip())
        return start, end, new


def _file(text: str, source: str) -> _File:
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    assert root is not None
    return _File(text, root, source)


def child(node: yaml.Node, key: str | int) -> yaml.Node | None:
    """The value below a key, or at a place of a list."""
    if isinstance(node, yaml.SequenceNode):
        return node.value[key] if isinstance(key, int) and key < len(node.value) else None
    if isinstance(node, yaml.MappingNode):
        return next((value for name, value in node.value if name.value == str(key)), None)
    return None


def _value(file: _File, told: Told) -> Edit:
    node = file.at(told.parameter.path)
    return file.scalar(node, written_like(told, node.value))


def _sources(file: _File, paths: Sequence[KeyPath]) -> list[Edit]:
    """What makes the sources of these numbers say where they now come from."""
    found, alone = [], dict[KeyPath, list[str]]()
    for path in paths:
        covering = _covering(file.root, path)
        if covering is not None and _replaceable(file, covering, path, paths):
            found.append(file.scalar(covering, quoted(file.source)))
        else:
            alone.setdefault(path[:-1], []).append(str(path[-1]))
    return found + [_own(file, file.block(at), names) for at, names in alone.items()]


def _covering(root: yaml.Node, path: KeyPath) -> yaml.Node | None:
    """The source's scalar, as accel_models.source.source_for finds it."""
    found: yaml.Node | None = None
    block: yaml.Node | None = root
    for key in path:
        source = child(block, "source") if block is not None else None
        if isinstance(source, yaml.ScalarNode):
            found = source
        elif source is not None:
            names = (path[-1], key, "default")
            found = next((text for n in names if (text := child(source, n)) is not None), found)
        block = child(block, key) if block is not None else None
    return found


def _replaceable(file: _File, covering: yaml.Node, path: KeyPath, paths: Sequence[KeyPath]) -> bool:
    """Is it of kind calibrated, this number's own, or its block's that has no other numbers?"""
    if covering.value.strip().startswith("calibrated"):
        return True
    block = file.at(path[:-1])
    source = child(block, "source")
    if source is None:
        return False
    if child(source, path[-1]) is covering:
        return True
    return covering in (source, child(source, "default")) and _whole(block, path[:-1], paths)


def _whole(block: yaml.Node, at: KeyPath, paths: Sequence[KeyPath]) -> bool:
    """Are these all the keys that the block has?"""
    keys = {key.value for key, _ in block.value} - {"source"}
    return keys == {str(path[-1]) for path in paths if path[:-1] == at}


def _own(file: _File, block: yaml.MappingNode, names: Sequence[str]) -> Edit:
    """A source for each of these keys of the block, beside what its source says of others."""
    text = quoted(file.source)
    source = child(block, "source")
    if source is None:
        whole = {key.value for key, _ in block.value} == set(names)
        entries = ", ".join(f"{name}: {text}" for name in names)
        last = block.value[-1][0].value if block.flow_style else names[-1]
        return _after(file, block, last, [f"source: {text if whole else f'{{{entries}}}'}"])
    if isinstance(source, yaml.MappingNode):
        first = source.value[0][0].value
        return _after(file, source, first, [f"{name}: {text}" for name in names])
    indent = " " * (block.value[0][0].start_mark.column + 2)
    lines = [f"default: {quoted(source.value)}", *(f"{name}: {text}" for name in names)]
    key = next(key for key, value in block.value if value is source)
    start, end, _ = file.scalar(source, "")
    if block.flow_style:
        return start, end, f"{{{', '.join(lines)}}}"
    return key.end_mark.index, end, ":" + "".join(f"\n{indent}{line}" for line in lines)


def _after(file: _File, block: yaml.MappingNode, name: str, entries: Sequence[str]) -> Edit:
    """More entries of a mapping, behind the one of this name: in its line or in lines of their
    own."""
    node = child(block, name)
    assert node is not None
    end = file.scalar(node, "")[1]
    if block.flow_style:
        return end, end, "".join(f", {entry}" for entry in entries)
    indent = " " * block.value[0][0].start_mark.column
    line_end = file.text.find("\n", end)
    at = len(file.text) if line_end < 0 else line_end
    return at, at, "".join(f"\n{indent}{entry}" for entry in entries)
