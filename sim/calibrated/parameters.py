"""The numbers of a design that measurements may set, wherever in its tree they stand.

A field is one where its annotation carries a `Fitted` (accel_models/kernel_library/fitted.py) and
its value is given; blocks in mappings and lists count like others.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Annotated, Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, WithJsonSchema

from accel_models.design import Design
from accel_models.kernel_library.fitted import Fitted
from accel_models.quantity import DIMENSIONS
from accel_models.reader import KeyPath, dotted
from kernels_ref.errors import UserError

Block = TypeVar("Block")
DIGITS = 3  # of a value that is written


@dataclass(frozen=True, slots=True)
class Parameter:
    """A number of a design, in SI units, by its key path."""

    path: KeyPath
    value: float
    fitted: Fitted
    unit: str = ""

    @property
    def name(self) -> str:
        return dotted(self.path)

    @property
    def scale(self) -> float:
        """What the fit counts in: the value, or the middle of the bounds where that is zero."""
        return abs(self.value) or (self.fitted.low + self.fitted.high) / 2


def parameters(design: Design) -> list[Parameter]:
    """All of them, in the order of the design."""
    return list(_within(design, ()))


def _within(value: Any, path: KeyPath) -> Iterator[Parameter]:
    """Those of a block and of all below it."""
    if isinstance(value, BaseModel):
        for name, info in type(value).model_fields.items():
            below = getattr(value, name)
            marks = list(_marks([*info.metadata, info.annotation]))
            fitted = next((mark for mark in marks if isinstance(mark, Fitted)), None)
            if fitted and isinstance(below, (int, float)):
                yield Parameter((*path, name), float(below), fitted, _unit(fitted, marks))
            else:
                yield from _within(below, (*path, name))
    elif isinstance(value, dict):
        for name, below in value.items():
            yield from _within(below, (*path, name))
    elif isinstance(value, (list, tuple)):
        for i, below in enumerate(value):
            yield from _within(below, (*path, i))


def _marks(kinds: Iterable[Any]) -> Iterator[Any]:
    """Of an annotation's parts, down through `Annotated` and `| None`."""
    for kind in kinds:
        if get_origin(kind) is Annotated:
            yield from _marks([*kind.__metadata__, get_args(kind)[0]])
        elif type(None) in get_args(kind):
            yield from _marks(get_args(kind))
        else:
            yield kind


def _unit(fitted: Fitted, marks: Iterable[Any]) -> str:
    """To write a value with: the one that is said, else that of the quantity's example."""
    if fitted.unit:
        return fitted.unit
    schemas = [mark.json_schema or {} for mark in marks if isinstance(mark, WithJsonSchema)]
    examples = [str(schema["examples"][0]) for schema in schemas if "examples" in schema]
    return examples[0].partition(" ")[2] if examples else ""


def chosen(found: Sequence[Parameter], patterns: Sequence[str]) -> list[Parameter]:
    """Those whose name a pattern matches (`cores.*.launch`). Raises UserError for a pattern that
    matches none."""
    names = [parameter.name for parameter in found]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            close = difflib.get_close_matches(pattern, names, n=3, cutoff=0.3)
            hint = f"did you mean {' or '.join(close)}?" if close else "there are none to fit"
            raise UserError(f"--params '{pattern}': no parameter of the design; {hint}")
    return [p for p in found if any(fnmatchcase(p.name, pattern) for pattern in patterns)]


def with_values(design: Design, values: Mapping[KeyPath, float]) -> Design:
    """The design with other numbers at these paths. They are not checked again: a `Fitted`'s
    bounds lie within what its field allows."""
    return _replaced(design, values)


def _replaced(block: Block, values: Mapping[KeyPath, float]) -> Block:
    """Copies of the blocks on the way to what changes; all others are shared."""
    below: dict[Any, dict[KeyPath, float]] = {}
    for path, value in values.items():
        below.setdefault(path[0], {})[path[1:]] = value

    def new(key: Any, old: Any) -> Any:
        return below[key][()] if () in below[key] else _replaced(old, below[key])

    if isinstance(block, BaseModel):
        return block.model_copy(update={key: new(key, getattr(block, key)) for key in below})
    if isinstance(block, dict):
        return type(block)(block | {key: new(key, block[key]) for key in below})
    assert isinstance(block, (list, tuple))
    items = [new(i, item) if i in below else item for i, item in enumerate(block)]
    return type(block)(items)


def written(value: float, unit: str) -> str:
    """An SI value with this unit, in three digits: `2.74 us`; a share: `0.888`."""
    factor = next((units[unit] for units in DIMENSIONS.values() if unit in units), 1.0)
    number = f"{float(f'{value / factor:.{DIGITS}g}'):.10g}"
    return f"{number} {unit}" if unit else number if re.search(r"[.e]", number) else f"{number}.0"
