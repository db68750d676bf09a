"""A YAML file to a Design: `extends` merged, every error with its file, line and key path.

`extends: other` starts from that design; mappings merge key by key, anything else is replaced (an
engine of another kind too). In an overriding block a plain `source:` covers what the block itself
sets, in the blocks below it as well, and nothing that it inherits.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from accel_models.design import Core, Design
from accel_models.explain import explained, nearest
from accel_models.library import find_design
from accel_models.memory import Memory
from accel_models.network import INTO, OUT
from accel_models.path import ENGINE
from accel_models.read_engines import Problem, engines_read, take_kernels
from accel_models.reader import (
    DesignError,
    Document,
    KeyPath,
    as_yaml,
    dotted,
    parse_yaml,
    read_yaml,
)
from accel_models.source import UNSOURCED, parse_source, source_for

RESOURCES = (
    "matrix", "vector", "in_flight", "power", "launch", "access", "sync", "static", INTO, OUT
)  # fmt: skip


def read_design(name: str) -> Design:
    """The design of this shipped name or path. Raises DesignError, a line per problem."""
    path, shown = find_design(name)
    return _validated(_merged(path, shown, {}), path.stem)


def parse_design(text: str, name: str = "design", shown: str = "<text>") -> Design:
    """A design from YAML text, for tests and notebooks. `extends` may name shipped designs."""
    return _validated(_extended(parse_yaml(text, shown), None, {}), name)


def _merged(path: Path, shown: str, above: dict[Path, str]) -> Document:
    """The file with what it extends; `above`: the files that extend it, as messages name them."""
    return _extended(read_yaml(path, shown), path.parent, above | {path.resolve(): shown})


def _extended(document: Document, folder: Path | None, above: dict[Path, str]) -> Document:
    if "extends" not in document.data:
        return document
    base_name = document.data.pop("extends")
    place = document.place(("extends",))
    if not isinstance(base_name, str):
        raise DesignError(f"{place}: extends: must be a design, not {as_yaml(base_name)}")
    try:
        path, shown = find_design(base_name, folder)
    except DesignError as problem:
        raise DesignError(f"{place}: extends: {problem}") from None
    if path.resolve() in above:
        files = list(above)
        circle = [*list(above.values())[files.index(path.resolve()) :], shown]
        raise DesignError(f"{place}: extends: goes in a circle: {' -> '.join(circle)}")
    base = _merged(path, shown, above)
    base.data.pop("measured_as", None)  # measurements of the one say nothing about the other
    return Document(_merge(base.data, document.data, {}), base.places | document.places)


def _merge(base: dict[str, Any], over: dict[str, Any], outer: dict[str, Any]) -> dict[str, Any]:
    """`over` on top of `base`, key by key. `outer`: the sources, by name, that overriding blocks
    around `over` give to what they set. What they do not cover has no source: the base's speaks
    of the base's number. A source of a name that `over` does not set is the new one of what is
    inherited."""
    result = {key: value for key, value in base.items() if key != "source"}
    sources = _by_key(base.get("source"))
    own = _by_key(over.get("source"))
    given = own if "default" in own else outer | own
    for key, value in over.items():
        if key == "source":
            continue
        source = given.get(key, given.get("default"))
        covered = {} if source is None else {"default": source}
        if isinstance(value, dict):
            result[key] = _merge(_kept(base.get(key), value), value, given | covered)
        else:
            result[key] = value
            if not isinstance(value, list):  # names and menus of sizes, not measured numbers
                sources[key] = UNSOURCED if source is None else source
    sources |= {
        name: text for name, text in own.items() if name not in {*_keys_within(over), "default"}
    }
    return result | ({"source": sources} if sources else {})


def _kept(base: Any, over: dict[str, Any]) -> dict[str, Any]:
    """What `over` is laid on: an engine or memory of another kind shares no keys with the old."""
    if not isinstance(base, dict) or ("kind" in over and over["kind"] != base.get("kind")):
        return {}
    return base


def _by_key(source: Any) -> dict[str, Any]:
    if source is None:
        return {}
    return dict(source) if isinstance(source, dict) else {"default": source}


def _validated(document: Document, name: str) -> Design:
    problems: list[Problem] = []
    take_kernels(document.data, problems)
    data = engines_read(document.data, problems)
    design = None
    try:
        design = Design.model_validate({"title": name} | data | {"name": name})
    except ValidationError as error:
        problems += explained(error, Design, data, ())
    problems += _source_problems(document.data)
    if "name" in document.data:
        problems.append((("name",), "unknown key 'name'; a design is named after its file"))
    problems += _unsourced(document.data, {path for path, _ in problems})
    if design is not None and not problems:
        problems += _consistency_problems(design)
    if problems or design is None:
        raise DesignError(_listed(problems, document))
    design._written.update(document.data)
    return design


def _listed(problems: list[Problem], document: Document) -> str:
    """A line for each problem, in the order of the file."""
    placed = {(document.place(path), f"{dotted(path)}: {what}"): None for path, what in problems}
    in_order = sorted(placed, key=lambda line: (line[0].file, line[0].line))
    return "\n".join(f"{place}: {text}" for place, text in in_order)


def _keys_within(block: Any) -> list[str]:
    """Every key of the block, those of its own mappings included."""
    if not isinstance(block, dict):
        return []
    own = [key for key in block if key != "source"]
    inner = (key for name in own for key in _keys_within(block[name]))
    return list(dict.fromkeys([*own, *inner]))


def _source_problems(block: Any, path: KeyPath = ()) -> Iterator[Problem]:
    """Sources that do not say their kind, or speak of keys that are not there."""
    if not isinstance(block, dict):
        return
    given = block.get("source")
    named = given if isinstance(given, dict) else {}
    for key, text in named.items() if named or "source" not in block else [(None, given)]:
        at = (*path, "source") if key is None else (*path, "source", key)
        known = _keys_within(block)
        if key not in (None, "default") and key not in known:
            yield at, f"the block has no key '{key}'; {nearest(key, known)}"
        if text == UNSOURCED:  # said of the number itself, at its own place
            continue
        try:
            parse_source(text)
        except ValueError as problem:
            yield at, str(problem)
    for key, value in block.items():
        if key != "source":
            yield from _source_problems(value, (*path, key))


def _unsourced(data: dict[str, Any], wrong: set[KeyPath]) -> Iterator[Problem]:
    """Blocks that state numbers without a source; nothing is said of keys that are wrong anyway."""
    if any("source" in path for path in wrong):
        return
    missing: dict[KeyPath, list[str]] = {}
    for path in _numbers(data):
        known_wrong = any(path[:n] in wrong for n in range(1, len(path) + 1))
        if not known_wrong and source_for(data, path) is None:
            missing.setdefault(path[:-1], []).append(str(path[-1]))
    for block, keys in missing.items():
        yield block, f'no source for {", ".join(keys)}; add source: "<kind>: <document>"'


def _numbers(block: Any, path: KeyPath = ()) -> Iterator[KeyPath]:
    """Key paths of everything that states a number: quantities, counts, rates."""
    if isinstance(block, dict):
        for key, value in block.items():
            if key not in ("source", "title", "notes"):
                yield from _numbers(value, (*path, key))
    elif isinstance(block, str):
        if block[:1].isdigit() or block[:1] == ".":
            yield path
    elif isinstance(block, (int, float)) and not isinstance(block, bool):
        yield path


def _consistency_problems(design: Design) -> Iterator[Problem]:
    """What no single key can know: names that refer to each other, counts that must divide."""
    for name, level in design.memory.items():
        for served in level.serves or ():
            if served not in design.cores:
                known = ", ".join(design.cores)
                what = f"no cores named {as_yaml(served)}; there are {known}"
                yield ("memory", name, "serves"), what
        if "per" in level.model_fields_set:
            yield ("memory", name, "per"), "belongs in a core's memory; here write instances"
    for name, core in design.cores.items():
        levels = {
            key: m for key, m in design.memory.items() if m.serves is None or name in m.serves
        }
        if not levels:
            yield ("cores", name), "no memory of the chip serves these cores; see its serves"
        for above, below in pairwise(levels):
            at = ("memory", below, "instances")
            yield from _divided(at, levels[below].instances, levels[above].instances, above)
        for key in list(levels)[-1:]:
            yield from _divided(("cores", name, "count"), core.count, levels[key].instances, key)
        first = next(iter(core.memory.values()))
        if first.per == "engine" and core.engine.count > 1:
            where = ("cores", name, "memory", next(iter(core.memory)), "per")
            yield where, "a core's first memory is shared by its engines; write per: core"
        for key, level in core.memory.items():
            for word in {"serves", "instances"} & level.model_fields_set:
                what = "belongs in the chip's memory; here write per: core or engine"
                yield ("cores", name, "memory", key, word), what
        yield from _network_problems(name, core, levels)
        yield from _mapping_problems(name, core, list(levels))
    inner = (name for core in design.cores.values() for name in core.memory)
    taken = {*design.memory, *inner, *design.links, *RESOURCES}
    for name in taken & design.backing.keys():
        yield ("backing", name), "the name is taken by another resource of the design"
    if design.power.static >= design.power.limit:
        yield ("power", "static"), "must be below the power limit"


def _network_problems(name: str, core: Core, shared: dict[str, Memory]) -> Iterator[Problem]:
    """Networks of other memories than the innermost shared one, or for another number of cores."""
    for key, memory in core.memory.items():
        if memory.network:
            where = ("cores", name, "memory", key, "network")
            yield where, "belongs in the chip's memory nearest to the cores"
    for key, memory in shared.items():
        if memory.network is None:
            continue
        if key != list(shared)[-1]:
            what = f"belongs in {list(shared)[-1]}, the chip's memory nearest to the cores"
            yield ("memory", key, "network"), what
        elif memory.network.nodes != core.count:
            what = f"has {memory.network.nodes} nodes for the {core.count} cores of {name}"
            yield ("memory", key, "network"), f"{what}; width times height must be their count"


def _mapping_problems(name: str, core: Core, shared: list[str]) -> Iterator[Problem]:
    """Rules about levels that are not there, and operands that pass by what does not keep them."""
    known = [*shared[1:], *core.memory, ENGINE]
    for level in core.mapping.levels:
        if level not in known:
            at = ("cores", name, "mapping", "levels", level)
            yield at, f"no level '{level}' to map onto; {nearest(level, known)}"
    for key, memory in core.memory.items():
        for operand in set(memory.bypass) - set(memory.keeps):
            at = ("cores", name, "memory", key, "bypass")
            yield at, f"{operand} is not among what the level keeps ({', '.join(memory.keeps)})"


def _divided(at: KeyPath, count: int, above: int, name: str) -> Iterator[Problem]:
    if count % above:
        yield at, f"{count} cannot be split evenly over the {above} instances of {name}"
