"""Where a number comes from, and how far it may be off.

A `source:` is written `<kind>: <text>` or `<kind> ±<n>%: <text>`. Kinds, most to least trusted:
calibrated (fitted to measurements of this device), datasheet (the maker's document), paper
(measured or synthesized by others), derived (computed from other numbers, the text says how),
recalled (from memory, unchecked), guess. Without its own ± a number's half-width is the kind's in
UNCERTAINTY: a convention of this project, not a measurement. A run's band is the first-order
combination of the independent half-widths (JCGM 100:2008 "GUM", eq. 10), each weighted by the
share resting on it.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from accel_models.reader import as_yaml

UNCERTAINTY: dict[str, float] = {
    "calibrated": 0.10,
    "datasheet": 0.05,
    "paper": 0.10,
    "derived": 0.20,
    "recalled": 0.20,
    "guess": 0.50,
}
# Reports count a paper's published number with the datasheets.
REPORTED_AS = {
    "calibrated": "calibrated",
    "datasheet": "datasheet",
    "paper": "datasheet",
    "derived": "derived",
    "recalled": "recalled",
    "guess": "guessed",
}
UNSOURCED = ""  # stands for: nothing further out covers this number
_WRITTEN = re.compile(r"(\w+)(?:\s*(?:±|\+/-|\+-)\s*(\d+(?:\.\d+)?)\s*%)?\s*:\s*(\S.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Source:
    """`uncertainty` is the relative half-width; `text` names document and place."""

    kind: str
    text: str
    uncertainty: float


def parse_source(written: object) -> Source:
    """A Source from `datasheet: NVIDIA DS-10031`. Raises ValueError saying what would be right."""
    match = _WRITTEN.fullmatch(written.strip()) if isinstance(written, str) else None
    if not match:
        form = "'<kind>: <document>' or '<kind> ±<n>%: <document>'"
        raise ValueError(f"must be {form}, not {as_yaml(written)}")
    if match[1] not in UNCERTAINTY:
        close = difflib.get_close_matches(match[1], UNCERTAINTY, n=1)
        hint = f"did you mean '{close[0]}'?" if close else f"known: {', '.join(UNCERTAINTY)}"
        raise ValueError(f"unknown kind of source '{match[1]}'; {hint}")
    width = float(match[2]) / 100 if match[2] else UNCERTAINTY[match[1]]
    return Source(match[1], match[3].strip(), width)


def source_for(data: Mapping[str, Any], path: tuple[str | int, ...]) -> str | None:
    """The `source:` text that covers the number at `path`: the innermost block's that names it.

    A block's source is a text for all its numbers, or a mapping: from the number's own name at
    any depth (`energy`), from the block's key that leads to it, or from `default`.
    """
    found: str | None = None
    block: Any = data
    for key in path:
        if not isinstance(block, dict):
            break
        given = block.get("source")
        if isinstance(given, str):
            found = given
        elif isinstance(given, dict):
            found = given.get(path[-1], given.get(key, given.get("default", found)))
        block = block.get(key)
    return found or None
