"""Plain values as a tree in the terminal, quantities by the unit in their key."""

from __future__ import annotations

from typing import Any

from rich.text import Text
from rich.tree import Tree

from sim.report.quantities import binary, si

_UNITS = {
    "_bytes_per_s": "B/s",
    "_ops_per_s": "op/s",
    "_hz": "Hz",
    "_w": "W",
    "_s": "s",
    "_mm2": "mm2",
    "_nm": "nm",
}
# Under these keys stand names, shown as they are typed.
_NAMED = set(
    "designs models formats kernels transforms policies cores levels links ops parts area_by_mm2 "
    "machines all_reduce_s".split()
)


def tree(document: dict[str, Any]) -> Tree:
    """The document's first value is its title."""
    (first, title), *rest = document.items()
    if isinstance(title, dict):
        root, rest = Tree(Text(first, style="bold")), list(title.items())
    else:
        root = Tree(Text(f"{first} {title}", style="bold"))
    for key, value in rest:
        _grow(root, str(key), value, named=isinstance(title, dict) and first in _NAMED)
    return root


def _grow(branch: Tree, key: str, value: Any, unit: str = "", named: bool = False) -> None:
    if value is None or value == {}:
        return
    if isinstance(value, dict):
        inherited = next((u for end, u in _UNITS.items() if key.endswith(end)), unit)
        below = branch.add(Text(key if named else key.replace("_", " "), style="cyan"))
        for name, item in value.items():
            _grow(below, str(name), item, inherited, key in _NAMED)
        return
    label = key if named else _label(key)
    branch.add(Text(f"{label}: {_shown('' if named else key, value, unit)}"))


def _label(key: str) -> str:
    for end in (*_UNITS, "_bytes"):
        key = key.removesuffix(end)
    return key.replace("_", " ")


def _shown(key: str, value: Any, unit: str) -> str:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return ", ".join(value) if isinstance(value, list) else str(value)
    if key.endswith("_bytes") or "bytes_per_token" in key:
        return binary(value)
    found = next((u for end, u in _UNITS.items() if key.endswith(end)), unit)
    if found in ("mm2", "nm"):
        return f"{value:.4g} {found}"
    if found:
        return si(value, found)
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
