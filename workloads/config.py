"""Model configurations: Hugging Face's `config.json`, found by name or path and read strictly.

A name is looked for among the shipped models (`workloads/models/<name>.json`), then in the folders
of TILELOOM_DESIGN_PATH (`<folder>/<name>.json`, `<folder>/models/<name>.json`); anything else is a
path to a JSON file or to a directory with a `config.json` in it.
JSON as in RFC 8259; what Python's reader would let pass is refused: duplicate keys, NaN, Infinity.
Not modeled: what the keys mean (`workloads.builders`), weights, remote code, downloads.
"""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from kernels_ref.errors import UserError

SEARCH_PATH = "TILELOOM_DESIGN_PATH"
MAX_BYTES = 1 << 20  # published configurations have a few KiB

_TOKEN = re.compile(
    r'(?P<string>"(?:[^"\\]|\\.)*")\s*(?P<colon>:?)|(?P<constant>NaN|-?Infinity)|[{}\[\]\n]'
)


class ConfigError(UserError):
    """A model configuration cannot be found, read or understood."""


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """`data` is the parsed JSON, `origin` the file it is from, `lines` where each key stands.

    A key inside an object is written with a dot in `lines`: `text_config.hidden_size`.
    """

    name: str
    data: Mapping[str, Any]
    origin: str
    lines: Mapping[str, int] = field(default_factory=dict)

    def place(self, key: str) -> str:
        """`file:line` of a key, or the file alone where the key is not in it."""
        return f"{self.origin}:{self.lines[key]}" if key in self.lines else self.origin


def shipped_models() -> list[str]:
    """Names of the configurations installed with the package, sorted."""
    return sorted(
        entry.name.removesuffix(".json")
        for entry in resources.files("workloads").joinpath("models").iterdir()
        if entry.name.endswith(".json")
    )


def read_config(name_or_path: str) -> ModelConfig:
    """The configuration of a shipped name, a name on the search path, or a path.

    Raises ConfigError if there is none (with close names), or if it is not one strict JSON object.
    """
    if name_or_path in shipped_models():
        file = resources.files("workloads").joinpath("models", f"{name_or_path}.json")
        return _read(file, name_or_path)
    for file in _on_search_path(name_or_path):
        if os.path.isfile(file):
            return _read(file, name_or_path)
    path = Path(os.path.expanduser(name_or_path))
    if os.path.isdir(path):
        path = path / "config.json"
        if not os.path.isfile(path):
            raise ConfigError(f"{path.parent}: the directory has no config.json")
    if not os.path.isfile(path):  # of os.path: False where a Path would raise
        raise ConfigError(_not_found(name_or_path))
    return _read(path, None)


def _on_search_path(name: str) -> Iterator[Path]:
    """Files that TILELOOM_DESIGN_PATH offers for a bare name, in order."""
    if not name or Path(name).name != name:
        return
    for folder in _search_folders():
        yield folder / f"{name}.json"
        yield folder / "models" / f"{name}.json"


def _search_folders() -> list[Path]:
    folders = os.environ.get(SEARCH_PATH, "").split(os.pathsep)
    return [Path(os.path.expanduser(folder)) for folder in folders if folder]


def _not_found(name: str) -> str:
    known = set(shipped_models())
    for folder in _search_folders():
        known |= {file.stem for file in (*folder.glob("*.json"), *folder.glob("models/*.json"))}
    last = name.rsplit("/", 1)[-1].lower()
    close = difflib.get_close_matches(last, sorted(known), n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(repr(n) for n in close)}?" if close else "no name is close."
    if name.endswith(".json") or Path(name).name != name:
        where = "pass a path to a config.json or to the directory it is in"
        return f"{name}: no such file; {where}" + (f" ({hint})" if close else "")
    return (
        f"unknown model '{name}'; {hint} "
        "Pass a shipped name (tileloom show --models) or a path to a config.json"
    )


def _read(file: Traversable, name: str | None) -> ModelConfig:
    """Parse one file strictly; `name` None takes it from the content or the path."""
    origin = str(file)
    text = _text(file)
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        place = f"{origin}:{error.lineno}:{error.colno}"
        raise ConfigError(f"{place}: not valid JSON: {error.msg}") from error
    except RecursionError as error:
        raise ConfigError(f"{origin}: nested too deeply for a model configuration") from error
    except ValueError as error:  # an integer with thousands of digits
        raise ConfigError(f"{origin}: not valid JSON: {error}") from error
    if not isinstance(data, dict):
        kind = type(data).__name__
        raise ConfigError(f"{origin}:1: a model configuration is a JSON object, not a {kind}")
    lines = _key_lines(text, origin)
    return ModelConfig(name or _name(data, Path(origin)), data, origin, lines)


def _text(file: Traversable) -> str:
    try:
        with file.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file}: not UTF-8 text; a config.json is wanted") from error
    if len(content) > MAX_BYTES:
        raise ConfigError(f"{file}: larger than 1 MiB; this is not a model's config.json")
    return text


def _name(data: Mapping[str, Any], path: Path) -> str:
    """The last segment of `_name_or_path`, else the file's own name or its directory's."""
    given = data.get("_name_or_path")
    if isinstance(given, str) and given.strip("/. "):
        return given.rstrip("/").rsplit("/", 1)[-1]
    return path.stem if path.stem != "config" else path.resolve().parent.name


def _key_lines(text: str, origin: str) -> dict[str, int]:
    """The line of every key of valid JSON. Raises ConfigError at a duplicate or a non-number."""
    lines: dict[str, int] = {}
    open_values: list[tuple[str, dict[str, int]]] = []  # prefix of its keys, keys seen in it
    prefix, line = "", 1
    for token in _TOKEN.finditer(text):
        if token["constant"]:
            raise ConfigError(f"{origin}:{line}: {token['constant']} is not a JSON number")
        if token["colon"]:
            key = json.loads(token["string"])
            parent, seen = open_values[-1]
            if key in seen:
                first = f"first on line {seen[key]}"
                raise ConfigError(f"{origin}:{line}: '{key}' is given twice ({first}); keep one")
            seen[key] = line
            lines.setdefault(parent + key, line)
            prefix = f"{parent}{key}."
        elif token[0] in "{[":
            open_values.append((prefix, {}))
        elif token[0] in "}]":
            open_values.pop()
        line += token[0].count("\n")
    return lines
