"""A mapping file read, held against a problem and a machine, and written.

Every problem is reported with its line: another design or other sizes than the caller means, levels
and ranks that there are not, loops without a place in an order, and whatever keeps the machine from
running it (`mappers.legality`). The keys: `mappers.mapping_text`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from collections.abc import Mapping as Map
from pathlib import Path as File
from typing import Any

import yaml
from pydantic import ValidationError

from accel_models.explain import explained, nearest
from accel_models.path import Path
from accel_models.reader import Document, parse_yaml, read_yaml
from mappers.legality import problems_of
from mappers.mapping import RANKS, LevelMapping, Mapping
from mappers.mapping_text import LevelText, MappingFile, MappingText, Problem
from mappers.problem import Contraction
from mappers.reuse import Nest


def read_mapping(file: File, shown: str | None = None) -> MappingFile:
    """The file's content. Raises MappingError or DesignError, a line per problem."""
    return _read(read_yaml(file, shown))


def parse_mapping(text: str, shown: str = "<text>") -> MappingFile:
    """The same of YAML text."""
    return _read(parse_yaml(text, shown))


def _read(document: Document) -> MappingFile:
    try:
        text = MappingText.model_validate(document.data)
    except ValidationError as error:
        problems = explained(error, MappingText, document.data, ())
        nothing = MappingText.model_construct(levels=[])
        raise MappingFile(nothing, document).error(problems) from None
    return MappingFile(text, document)


def mapping_on(file: MappingFile, problem: Contraction, path: Path) -> Mapping:
    """The mapping of `problem` onto `path`. Raises MappingError: every problem with its line."""
    problems = [*_disagreements(file, problem, path), *_unknown(file, problem, path)]
    if problems:
        raise file.error(problems)
    mapping = _filled(file, problem, path)
    problems = [*_orders(file, problem, path, mapping), *_illegal(file, problem, path, mapping)]
    if problems:
        raise file.error(problems)
    return mapping


def _disagreements(file: MappingFile, problem: Contraction, path: Path) -> Iterator[Problem]:
    """Design, cores and sizes, where the file says them and the caller means others."""
    text, design = file.text, path.design.name
    if text.design is not None and File(text.design).stem != design:
        yield ("design",), f"the mapping is for {text.design}, not for {design}"
    if text.cores is not None and text.cores != path.name:
        yield ("cores",), f"the mapping is for {text.cores}, not for the {path.name} of {design}"
    said = file.extents
    if said is None:
        return
    key = "matmul" if text.matmul is not None else "ranks"
    for rank in said:
        if rank not in problem.extents:
            yield (key, rank), f"no rank '{rank}'; {nearest(rank, list(problem.extents))}"
    for rank, extent in problem.extents.items():
        if said.get(rank, 1) != extent:
            at = (key, rank) if key == "ranks" else (key,)
            yield at, f"{rank} is {said.get(rank, 1)} here, and {extent} in what is mapped"


def _unknown(file: MappingFile, problem: Contraction, path: Path) -> Iterator[Problem]:
    """Levels and ranks that there are not, or not here."""
    ranks, names = list(problem.extents), [level.name for level in path.levels]
    before = 0
    for i, level in enumerate(file.text.levels):
        at = ("levels", i)
        if level.level not in names:
            yield at, f"no such level; {nearest(level.level, names[1:])}"
        elif names.index(level.level) == 0:
            yield at, "is the outermost memory: it holds everything, leave it out"
        elif names.index(level.level) == before:
            yield at, "is listed twice"
        elif names.index(level.level) < before:
            yield at, f"lies outside of {names[before]}; list the outermost first"
        else:
            before = names.index(level.level)
        order = level.order or []
        for key, named in (("tile", level.tile), ("spatial", level.spatial), ("order", order)):
            for rank in named:
                if rank not in ranks:
                    yield ("levels", i, key, rank), f"no rank '{rank}'; {nearest(rank, ranks)}"
        for rank in sorted({rank for rank in order if order.count(rank) > 1}):
            yield ("levels", i, "order"), f"names {rank} twice"


def _filled(file: MappingFile, problem: Contraction, path: Path) -> Mapping:
    """Every level of the path, what is not written taken from the level above or the design."""
    written = {level.level: level for level in file.text.levels}
    ranks = tuple(problem.extents)
    ones = dict.fromkeys(ranks, 1)
    outer = path.levels[0]
    levels = [LevelMapping(outer.name, dict(problem.extents), ones, ranks, outer.keeps)]
    for level in path.levels[1:]:
        text = written.get(level.name, LevelText(level=level.name))
        named = ranks if text.order is None else tuple(text.order)
        levels.append(
            LevelMapping(
                level.name,
                {**levels[-1].tile, **text.tile},
                ones | text.spatial,
                tuple(rank for rank in ranks if rank not in named) + named,
                _kept(level.keeps, text.keeps),
            )
        )
    return Mapping(tuple(levels))


def _kept(design: tuple[str, ...], written: Sequence[str] | None) -> tuple[str, ...]:
    """What is written, in the design's order."""
    if written is None:
        return design
    return tuple(o for o in dict.fromkeys((*design, *written)) if o in written)


def _orders(
    file: MappingFile, problem: Contraction, path: Path, mapping: Mapping
) -> Iterator[Problem]:
    """Loops that run more than once and have no place in a written order."""
    nest = Nest(mapping, path, problem)
    names = [level.name for level in path.levels]
    for i, level in enumerate(file.text.levels):
        index = names.index(level.level)
        for rank in problem.extents if level.order is not None else ():
            steps = nest.trips(index, rank)
            if steps > 1 and rank not in (level.order or ()) and not nest.dealt(index, rank):
                yield (
                    ("levels", i, "order"),
                    f"the loop over {rank} ({steps} steps) has no place in it",
                )


def _illegal(
    file: MappingFile, problem: Contraction, path: Path, mapping: Mapping
) -> Iterator[Problem]:
    """What the machine says to it, at the line that is nearest."""
    written = {level.level: i for i, level in enumerate(file.text.levels)}
    for name, what in problems_of(problem, mapping, path):
        if name not in written:
            yield (
                ("levels",),
                f"{name} (not listed, so the tile of the level above, unsplit): {what}",
            )
            continue
        rank, _, rest = what.partition(": ")
        if rank in problem.extents:
            key = "spatial" if "split" in rest else "tile"
            yield ("levels", written[name], key, rank), rest
        else:
            yield ("levels", written[name]), what


def mapping_values(mapping: Mapping, problem: Contraction, path: Path) -> dict[str, Any]:
    """The mapping as a mapping file has it, in plain values; ranks of size 1 are left out."""
    ranks = {rank: extent for rank, extent in problem.extents.items() if extent > 1}
    levels = []
    for level, facts in zip(mapping.levels[1:], path.levels[1:], strict=True):
        split = {rank: int(level.spatial[rank]) for rank in ranks if level.spatial[rank] > 1}
        values: dict[str, Any] = {"level": level.level}
        values["tile"] = {rank: int(level.tile[rank]) for rank in ranks}
        values |= {"spatial": split} if split else {}
        values["order"] = [rank for rank in level.order if rank in ranks]
        values |= {"keeps": list(level.keeps)} if facts.keeps else {}
        levels.append(values)
    head = {"design": path.design.name, "cores": path.name}
    return head | {"ranks": dict(problem.extents), "levels": levels}


def mapping_yaml(mapping: Mapping, problem: Contraction, path: Path) -> str:
    """The same as YAML text."""
    values = mapping_values(mapping, problem, path)
    return yaml.safe_dump(values, sort_keys=False, default_flow_style=None, width=1000)


def shown_sizes(extents: Map[str, int]) -> str:
    """`4096x4096x4096`, or ranks by name where they are not m, n and k alone."""
    if tuple(extents) == RANKS and extents["b"] == 1:
        return "x".join(str(extents[rank]) for rank in RANKS[1:])
    return ", ".join(f"{rank} {extent}" for rank, extent in extents.items())
