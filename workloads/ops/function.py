"""What a function of rows takes: operations by class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Function:
    """Work of one function: `element` per element, `row` per row, `reduction` across a row.
    `of_all_rows`: its result is made of every row, so that it is a kernel of its own."""

    element: Mapping[str, int]
    row: Mapping[str, int]
    reduction: bool
    of_all_rows: bool = False
