"""A YAML file to a System: read, merged, checked and explained as a design is (read_design.py).

A file with `machines` is a system; any other is a design, which is a system of one chip. Systems
that are shipped, or that the user's folders of designs have, lie in folders named `system`.
"""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from itertools import combinations, pairwise
from math import prod
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from accel_models.design import Design
from accel_models.explain import explained, nearest
from accel_models.library import find_design, folders, list_designs, shipped_root
from accel_models.links import SHAPED
from accel_models.read_design import (
    _extended,
    _listed,
    _merged,
    _source_problems,
    _unsourced,
    read_design,
)
from accel_models.read_engines import Problem
from accel_models.reader import DesignError, Document, parse_yaml
from accel_models.system import Machine, System

FOLDER = "system"
ACROSS = ("switch", "full_mesh", "point_to_point")  # topologies between machines of several kinds


def list_systems() -> dict[str, Path]:
    """Every system by name; the first folder that has a name wins."""
    found: dict[str, Path] = {}
    for folder in folders():
        for path in sorted(folder.rglob(f"{FOLDER}/*.yaml")):
            found.setdefault(path.stem, path)
    return found


def read_system(name: str) -> System:
    """The system of this shipped name or path; of a design, its single chip.

    Raises DesignError, a line per problem.
    """
    path, shown = find_system(name)
    document = _merged(path, shown, {})
    if {"cores", "memory"} & document.data.keys() and "machines" not in document.data:
        return single_chip(read_design(name))
    return _validated(document, path.stem, path.parent)


def is_system(name: str) -> bool:
    """Is this the name of a system, or the path to a file of one?"""
    if name in list_systems():
        return True
    path = Path(name)
    if path.suffix not in (".yaml", ".yml") or not path.is_file():
        return False
    return "machines" in _merged(path, name, {}).data


def parse_system(text: str, name: str = "system", shown: str = "<text>") -> System:
    """A system from YAML text, for tests and notebooks. Its designs are shipped ones or paths."""
    return _validated(_extended(parse_yaml(text, shown), None, {}), name, None)


def single_chip(design: Design) -> System:
    """The system that is this chip."""
    machines = {"chip": Machine(design=design.name, count=1)}
    system = System(name=design.name, title=design.title, machines=machines)
    system._designs["chip"] = design
    return system


def find_system(name: str) -> tuple[Path, str]:
    """(file, how to show it in messages) of a system or a design. Raises DesignError."""
    known = list_systems()
    if name in known:
        inside = known[name].is_relative_to(shipped_root())
        shown = f"designs/{known[name].relative_to(shipped_root())}" if inside else str(known[name])
        return known[name], shown
    designs = list_designs()
    if name in designs or "/" in name or name.endswith((".yaml", ".yml")):
        return find_design(name)
    close = get_close_matches(name, [*known, *designs], n=3)
    hint = f"did you mean {' or '.join(close)}?" if close else f"systems: {', '.join(known)}"
    raise DesignError(f"no system or design '{name}'; {hint} (a path to a YAML file works too)")


def system_schema() -> dict[str, Any]:
    """JSON Schema of a system file; one that `extends` another needs no key of its own."""
    schema = System.model_json_schema()
    properties = {k: v for k, v in schema["properties"].items() if k != "name"}
    extends = {"type": "string", "description": "a system to start from: a path beside this file"}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Tileloom system",
        "type": "object",
        "additionalProperties": False,
        "properties": {"extends": extends} | properties,
        "anyOf": [{"required": ["extends"]}, {"required": ["machines"]}],
        "$defs": schema["$defs"],
    }


def _validated(document: Document, name: str, folder: Path | None) -> System:
    problems: list[Problem] = []
    system = None
    try:
        system = System.model_validate({"title": name} | document.data | {"name": name})
    except ValidationError as error:
        problems += explained(error, System, document.data, ())
    problems += _source_problems(document.data)
    if "name" in document.data:
        problems.append((("name",), "unknown key 'name'; a system is named after its file"))
    problems += _unsourced(document.data, {path for path, _ in problems})
    if system is not None and not problems:
        problems += _consistency_problems(system)
    if system is not None:
        problems += _designs_read(system, folder)
    if problems or system is None:
        raise DesignError(_listed(problems, document))
    system._written.update(document.data)
    return system


def _designs_read(system: System, folder: Path | None) -> Iterator[Problem]:
    """Read every machine's design into the system."""
    for name, machine in system.machines.items():
        try:
            path = find_design(machine.design, folder)[0]
            by_name = machine.design in list_designs()
            system._designs[name] = read_design(machine.design if by_name else str(path))
        except DesignError as problem:
            yield ("machines", name, "design"), str(problem)


def _consistency_problems(system: System) -> list[Problem]:
    """What no single key can know: names that refer to each other, sizes that must divide."""
    of_links = [problem for name in system.links for problem in _link_problems(system, name)]
    if of_links:
        return of_links
    spans = [problem for name in system.machines for problem in _span_problems(system, name)]
    return [*spans, *_unjoined(system)]


def _link_problems(system: System, name: str) -> Iterator[Problem]:
    link, at = system.links[name], ("links", name)
    unknown = [machine for machine in link.joins or () if machine not in system.machines]
    for machine in unknown:
        hint = nearest(machine, list(system.machines))
        yield (*at, "joins"), f"no machine '{machine}'; {hint}"
    if link.bandwidth.per_cycle:
        yield (*at, "bandwidth"), "a link has no clock; write it per second, such as 300 GB/s"
    if link.topology in SHAPED and link.shape is None:
        yield at, f"missing key 'shape': a {link.topology} has one, such as [4, 4]"
    if link.topology not in SHAPED and link.shape is not None:
        yield (*at, "shape"), f"a {link.topology} has none; {', '.join(SHAPED)} have"
    if link.reduction and link.topology not in ("switch", "tree"):
        yield (*at, "reduction"), f"a {link.topology} has no switch that could add"
    if not unknown and len(system.joined(name)) > 1:
        yield from _between_machines(system, name)


def _between_machines(system: System, name: str) -> Iterator[Problem]:
    link = system.links[name]
    if link.topology not in ACROSS:
        what = f"a {link.topology} joins chips of one machine only; between machines use "
        yield ("links", name, "topology"), what + " or ".join(ACROSS)
    if link.size is not None:
        yield ("links", name, "size"), "a link over several machines joins all of their chips"
    if link.topology == "point_to_point" and system.chips_joined(name) != 2:
        what = f"point_to_point joins two, not {system.chips_joined(name)}"
        yield ("links", name, "topology"), what


def _span_problems(system: System, machine: str) -> Iterator[Problem]:
    """The machine's chips, group in group, up to all of them."""
    count = system.machines[machine].count
    spans = system.spans(machine)
    for (inner, fewer), (outer, more) in pairwise([("", 1), *spans]):
        link = system.links[outer]
        at = ("links", outer, "size" if link.size else "joins" if link.joins else "topology")
        if inner and fewer == more:
            yield at, f"joins the same chips as '{inner}'; give a group of chips one link"
            return
        if more % fewer:
            yield at, f"groups of {more} chips cannot be made of the groups of {fewer} of '{inner}'"
            return
        if count % more:
            yield at, f"groups of {more} cannot be made of the {count} chips of '{machine}'"
            return
        if link.shape is not None and prod(link.shape) != more // fewer:
            what = f"{' x '.join(str(n) for n in link.shape)} is {prod(link.shape)}"
            joined = "chips" if fewer == 1 else f"groups of {fewer} chips"
            yield ("links", outer, "shape"), f"{what}, and there are {more // fewer} {joined}"
        own = len(system.joined(outer)) == 1
        if own and link.topology == "point_to_point" and more != 2 * fewer:
            yield ("links", outer, "topology"), f"point_to_point joins two, not {more // fewer}"
    if count > 1 and (not spans or spans[-1][1] < count):
        yield ("machines", machine), f"no link joins all of its {count} chips"


def _unjoined(system: System) -> Iterator[Problem]:
    for one, other in combinations(system.machines, 2):
        if system.across(one, other) is None:
            what = f"no link joins its chips with those of '{one}'"
            yield ("machines", other), what
