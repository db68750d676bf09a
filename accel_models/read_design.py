"""A YAML file to a Design: `extends` merged, every error with its file, line and key path.

`extends: other` starts from that design; mappings merge key by key, anything else is replaced. In
an overriding block a plain `source:` covers the keys that the block itself sets, and no others.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from accel_models.design import Design
from accel_models.engines import ENGINES
from accel_models.library import find_design
from accel_models.pes import PES
from accel_models.reader import DesignError, Document, KeyPath, dotted, parse_yaml, read_yaml
from accel_models.source import parse_source, source_for


def read_design(name: str) -> Design:
    """The design of this shipped name or path. Raises DesignError, a line per problem."""
    path, shown = find_design(name)
    return _validated(_merged(path, shown, ()), path.stem)


def parse_design(text: str, name: str = "design", shown: str = "<text>") -> Design:
    """A design from YAML text, for tests and notebooks. `extends` may name shipped designs."""
    return _validated(_extended(parse_yaml(text, shown), None, (shown,)), name)


def _merged(path: Path, shown: str, above: tuple[str, ...]) -> Document:
    if shown in above:
        chain = " -> ".join((*above[above.index(shown) :], shown))
        raise DesignError(f"{above[-1]}: extends: designs extend each other in a circle: {chain}")
    return _extended(read_yaml(path, shown), path.parent, (*above, shown))


def _extended(document: Document, folder: Path | None, above: tuple[str, ...]) -> Document:
    if "extends" not in document.data:
        return document
    base_name = document.data.pop("extends")
    place = document.place(("extends",))
    if not isinstance(base_name, str):
        raise DesignError(f"{place}: extends: the name of a design is expected")
    try:
        path, shown = find_design(base_name, folder)
    except DesignError as problem:
        raise DesignError(f"{place}: extends: {problem}") from None
    base = _merged(path, shown, above)
    merged = Document(_merge(base.data, document.data), base.places | document.places)
    merged.data.setdefault("title", base_name)
    return merged


def _merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`over` on top of `base`, mappings key by key, sources kept with the keys they speak of."""
    result = dict(base)
    for key, value in over.items():
        if key == "source":
            continue
        both = isinstance(value, dict) and isinstance(base.get(key), dict)
        replaced_kind = both and "kind" in value and value["kind"] != base[key].get("kind")
        result[key] = _merge(base[key], value) if both and not replaced_kind else value
    sources = _by_key(base.get("source"), ())
    own = [k for k, v in over.items() if k != "source" and not isinstance(v, dict)]
    sources |= _by_key(over.get("source"), own)
    if sources:
        result["source"] = sources
    return result


def _by_key(source: Any, own: list[str] | tuple[()]) -> dict[str, str]:
    """A source as a mapping; a plain text covers `own` keys, or is the default without any."""
    if source is None:
        return {}
    if isinstance(source, dict):
        expanded = {k: v for k, v in source.items() if k != "default" or not own}
        if own and "default" in source:
            expanded = dict.fromkeys(own, source["default"]) | expanded
        return expanded
    return dict.fromkeys(own, source) if own else {"default": source}


def _validated(document: Document, name: str) -> Design:
    problems: list[tuple[KeyPath, str]] = []
    data = _engines_read(document.data, problems)
    design = None
    try:
        design = Design.model_validate({"title": name} | data | {"name": name})
    except ValidationError as error:
        problems += _explained(error, Design, data, ())
    problems += _source_problems(document.data)
    if "name" in document.data:
        problems.append((("name",), "unknown key 'name'; a design is named after its file"))
    if design is not None and not problems:
        problems += _consistency_problems(design)
    if problems or design is None:
        lines = {f"{document.place(path)}: {dotted(path)}: {what}": None for path, what in problems}
        raise DesignError("\n".join(sorted(lines, key=_by_line)))
    design._written.update(document.data)
    return design


def _by_line(message: str) -> tuple[str, int]:
    file, line = message.split(": ", 1)[0].rsplit(":", 1)
    return file, int(line)


def _engines_read(data: dict[str, Any], problems: list[tuple[KeyPath, str]]) -> dict[str, Any]:
    """`data` with each core's matrix engine as a model of its kind (plugins may add kinds)."""
    cores = data.get("cores")
    if not isinstance(cores, dict):
        return data
    read: dict[str, Any] = {}
    for name, core in cores.items():
        read[name] = core
        if not isinstance(core, dict) or "matrix" not in core:
            continue
        path, block = ("cores", name, "matrix"), core["matrix"]
        engine = None
        _named_pe(block, path, problems)
        kind = block.get("kind") if isinstance(block, dict) else None
        if kind not in ENGINES:
            close = difflib.get_close_matches(str(kind), ENGINES, n=1)
            hint = f"; did you mean '{close[0]}'?" if close else ""
            known = ", ".join(ENGINES)
            problems.append((path, f"unknown engine kind {kind!r}; known: {known}{hint}"))
        else:
            try:
                engine = ENGINES[kind].model_validate(block)
            except ValidationError as error:
                problems += _explained(error, ENGINES[kind], block, path)
        read[name] = core | {"matrix": engine}
    return data | {"cores": read}


def _named_pe(block: Any, path: KeyPath, problems: list[tuple[KeyPath, str]]) -> None:
    """Replace a PE given by name by what is registered under it."""
    if not isinstance(block, dict) or not isinstance(block.get("pe"), str):
        return
    name = block["pe"]
    if name in PES:
        block["pe"] = dict(PES[name])
        return
    known = f"known: {', '.join(PES)}" if PES else "no PEs are registered; write it out"
    problems.append(((*path, "pe"), f"unknown PE '{name}'; {known}"))


def _explained(
    error: ValidationError, model: type[BaseModel], data: Any, prefix: KeyPath
) -> list[tuple[KeyPath, str]]:
    """pydantic's errors as (key path, sentence for the person editing the file)."""
    found = []
    for item in error.errors(include_url=False):
        path = _written_path(item["loc"], data)
        kind, given = item["type"], item.get("input")
        if kind == "missing":
            what = f"missing key '{item['loc'][-1]}'"
            path = path[:-1] if path and path[-1] == item["loc"][-1] else path
        elif kind == "extra_forbidden":
            known = _keys_at(model, item["loc"][:-1])
            close = difflib.get_close_matches(str(item["loc"][-1]), known, n=1)
            hint = f"did you mean '{close[0]}'?" if close else f"known: {', '.join(known)}"
            what = f"unknown key '{item['loc'][-1]}'; {hint}"
        elif kind == "value_error":
            what = item["msg"].removeprefix("Value error, ")
        else:
            what = f"{_lower(item['msg'])}, not {given!r}" + _near(kind, item, given)
        found.append((prefix + path, what))
    return found


def _near(kind: str, item: Any, given: object) -> str:
    """'; did you mean ...?' where a choice was misspelled."""
    if kind != "literal_error":
        return ""
    options = str(item.get("ctx", {}).get("expected", "")).replace(" or ", ", ").split(", ")
    close = difflib.get_close_matches(str(given), [o.strip("'") for o in options], n=1)
    return f"; did you mean '{close[0]}'?" if close else ""


def _lower(text: str) -> str:
    return text.removeprefix("Input ").strip()


def _written_path(loc: tuple[int | str, ...], data: Any) -> KeyPath:
    """`loc` without the steps that pydantic adds and the file does not have."""
    path: list[str | int] = []
    for i, step in enumerate(loc):
        if isinstance(data, dict) and step in data:
            data = data[step]
        elif isinstance(data, list) and isinstance(step, int) and step < len(data):
            data = data[step]
        elif i < len(loc) - 1:
            continue
        path.append(step)
    return tuple(path)


def _keys_at(model: Any, loc: tuple[int | str, ...]) -> list[str]:
    """The keys that the model reached by `loc` knows."""
    for step in loc:
        if isinstance(model, type) and issubclass(model, BaseModel) and step in model.model_fields:
            model = _model_in(model.model_fields[step].annotation) or model
    return [k for k in model.model_fields if k != "name"]


def _model_in(annotation: Any) -> Any:
    """The model inside Optional[...], Annotated[...] or dict[str, ...]."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) is None:
        return None
    return next((m for a in get_args(annotation) if (m := _model_in(a))), None)


def _numbers(block: Any, path: KeyPath = ()) -> Iterator[KeyPath]:
    """Key paths of everything that states a number: quantities, counts, rates."""
    if isinstance(block, dict):
        for key, value in block.items():
            if key not in ("source", "title", "notes"):
                yield from _numbers(value, (*path, key))
    elif not isinstance(block, (bool, list)) and block is not None:
        if isinstance(block, (int, float)) or (block[:1].isdigit() or block[:1] == "."):
            yield path


def _source_problems(data: dict[str, Any]) -> Iterator[tuple[KeyPath, str]]:
    """Numbers without a source, and sources that do not say their kind."""
    for path in _numbers(data):
        written = source_for(data, path)
        if written is None:
            yield path, "has no source; add 'source: <kind>: <document>' to its block"
            continue
        try:
            parse_source(written)
        except ValueError as problem:
            yield path, f"source {written!r}: {problem}"


def _consistency_problems(design: Design) -> Iterator[tuple[KeyPath, str]]:
    """What no single key can know: names that refer to each other, counts that must divide."""
    for name, level in design.memory.items():
        for core in level.serves or ():
            if core not in design.cores:
                known = ", ".join(design.cores)
                yield ("memory", name, "serves"), f"no cores named '{core}'; there are {known}"
    for name, core in design.cores.items():
        levels = [m for m in design.memory.values() if m.serves is None or name in m.serves]
        if not levels:
            yield ("cores", name), "no memory of the chip serves these cores"
        for above, below in zip(levels, levels[1:], strict=False):
            if below.instances % above.instances:
                yield ("memory",), f"{below.instances} instances cannot share {above.instances}"
        for key, level in core.memory.items():
            if level.serves is not None:
                yield ("cores", name, "memory", key, "serves"), "belongs to the chip's memory"
    if design.power.static >= design.power.limit:
        yield ("power", "static"), "is not below the limit"
