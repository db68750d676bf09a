"""Matrix engines of a design: the block of each core as a model of its kind, its PE by name or
written out."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

from pydantic import ValidationError

from accel_models.design import Technology
from accel_models.engines import ENGINES
from accel_models.explain import explained, nearest
from accel_models.pes import PES, pe_block
from accel_models.reader import KeyPath, as_yaml
from kernels_ref.formats import FORMATS, hint

Problem = tuple[KeyPath, str]


def engines_read(data: dict[str, Any], problems: list[Problem]) -> dict[str, Any]:
    """`data` with each core's matrix engine as a model of its kind (plugins may add kinds)."""
    cores = data.get("cores")
    if not isinstance(cores, dict):
        return data
    for name, core in cores.items():
        if isinstance(core, dict) and isinstance(core.get("matrix"), dict):
            path = ("cores", name, "matrix")
            problems += _named_pe(core["matrix"], path, data.get("technology"))
    read = {
        name: core | {"matrix": _engine(core["matrix"], ("cores", name, "matrix"), problems)}
        if isinstance(core, dict) and "matrix" in core
        else core
        for name, core in cores.items()
    }
    return data | {"cores": read}


def take_kernels(data: dict[str, Any], problems: list[Problem]) -> None:
    """Give cores whose `kernels` is the name of others a copy of theirs."""
    cores = data.get("cores")
    if not isinstance(cores, dict):
        return
    for name, core in cores.items():
        if not isinstance(core, dict) or not isinstance(core.get("kernels"), str):
            continue
        other = core.pop("kernels")
        theirs = cores[other].get("kernels") if isinstance(cores.get(other), dict) else None
        if isinstance(theirs, dict):
            core["kernels"] = deepcopy(theirs)
        else:
            some = [n for n, c in cores.items() if isinstance(c, dict) and "kernels" in c]
            hint = nearest(other, some) if some else "none of them has any"
            what = f"no cores '{other}' with kernels of their own; {hint}"
            problems.append((("cores", name, "kernels"), what))


def _engine(block: Any, path: KeyPath, problems: list[Problem]) -> Any:
    """The engine that the block describes, or None after noting why it cannot be read."""
    if not isinstance(block, dict):
        problems.append((path, f"must be a mapping that begins with kind, not {as_yaml(block)}"))
        return None
    kind = block.get("kind")
    if "kind" not in block:
        problems.append((path, f"missing key 'kind'; known: {', '.join(ENGINES)}"))
    elif not isinstance(kind, str) or kind not in ENGINES:
        hint = nearest(kind, list(ENGINES))
        problems.append(((*path, "kind"), f"unknown engine kind {as_yaml(kind)}; {hint}"))
    else:
        found = list(_format_problems(block, path))
        said = {at for at, _ in problems}
        try:
            return ENGINES[kind].model_validate(block)
        except ValidationError as error:
            for at, what in explained(error, ENGINES[kind], block, path):
                if at not in said and not (found and at == (*path, "pe")):
                    found.append((at, what))
        finally:
            problems += found
    return None


def _named_pe(block: dict[str, Any], path: KeyPath, technology: Any) -> Iterator[Problem]:
    """Replace a PE given by name by its block, made in the design's technology."""
    name = block.get("pe")
    if not isinstance(name, str):
        return
    if name not in PES:
        yield (*path, "pe"), f"unknown PE {as_yaml(name)}; {nearest(name, list(PES))}"
        return
    try:
        made_in = Technology.model_validate(technology)
    except ValidationError:  # reported with the technology
        made_in = Technology.model_validate({"node": "28 nm"})
    # A grid is made of whole units; other engines count lanes.
    unit = block.get("kind") == "systolic"
    try:
        block["pe"] = pe_block(name, made_in.node, made_in.voltage, unit) | {"name": name}
    except ValueError as problem:
        yield (*path, "pe"), f"{name}: {problem}"


def _format_problems(block: dict[str, Any], path: KeyPath) -> Iterator[Problem]:
    """Keys of `pe.formats` that are not a format or `weight*activation`."""
    pe = block.get("pe")
    pairs = pe.get("formats") if isinstance(pe, dict) else None
    for pair in pairs if isinstance(pairs, dict) else ():
        at, names = (*path, "pe", "formats", pair), pair.split("*")
        if len(names) > 2:
            yield at, f"'{pair}' names {len(names)} formats; write one, or weight*activation"
        for name in names:
            if name not in FORMATS:
                yield at, f"unknown number format {as_yaml(name)}; {hint(name)}"
