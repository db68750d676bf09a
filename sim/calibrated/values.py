"""Fitted values as people write them, and the source that says where they come from."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import date

from sim.calibrate import Calibration, Told
from sim.calibrated.parameters import written

_UNIT = re.compile(r"[-+]?[\d.]+(?:[eE][-+]?\d+)?\s*([A-Za-z].*)")


def written_like(told: Told, old: str) -> str:
    """With the unit that the old text has."""
    match = _UNIT.fullmatch(old.strip())
    return written(told.value, match[1].strip() if match else told.parameter.unit)


def source_text(found: Calibration, day: date) -> str:
    """`calibrated: gemm.csv (gemm, L40S), 2026-11-22, MAPE 7.9 % cross-validated`."""
    score = found.overall
    share, how = (
        (score.mape, "fitted") if score.cv_mape is None else (score.cv_mape, "cross-validated")
    )
    what = ", ".join([found.op, *found.devices])
    name = re.split(r"[\\/]", found.file)[-1]
    assert share is not None
    return f"calibrated: {name} ({what}), {day.isoformat()}, MAPE {100 * share:.1f} % {how}"


def quoted(text: str) -> str:
    """As a YAML scalar."""
    return json.dumps(text, ensure_ascii=False)


def as_block(told: Sequence[Told], source: str) -> str:
    """The parameters as nested YAML, with one source for all of them."""
    tree: dict[str, object] = {"source": quoted(source)}
    for one in told:
        block = tree
        for key in one.parameter.path[:-1]:
            block = block.setdefault(_key(key), {})  # type: ignore[assignment]
        block[_key(one.parameter.path[-1])] = written(one.value, one.parameter.unit)
    return "".join(f"{line}\n" for line in _lines(tree, 0))


def _key(key: str | int) -> str:
    return str(key) if re.fullmatch(r"\w[\w.\-]*", str(key)) else quoted(str(key))


def _lines(tree: dict[str, object], depth: int) -> list[str]:
    found = []
    for key, value in tree.items():
        if isinstance(value, dict):
            found += [f"{'  ' * depth}{key}:", *_lines(value, depth + 1)]
        else:
            found.append(f"{'  ' * depth}{key}: {value}")
    return found
