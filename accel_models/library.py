"""Where designs are found: shipped ones, folders of TILELOOM_DESIGN_PATH, paths."""

from __future__ import annotations

import difflib
import os
from importlib import resources
from pathlib import Path

from accel_models.reader import DesignError

SEARCH_PATH = "TILELOOM_DESIGN_PATH"
_NOT_DESIGNS = {"claims", "generation", "system"}


def shipped_root() -> Path:
    """The folder of shipped designs, wherever the package is installed."""
    return Path(str(resources.files("designs")))


def folders() -> list[Path]:
    """Folders searched, the user's first."""
    own = [Path(p) for p in os.environ.get(SEARCH_PATH, "").split(os.pathsep) if p]
    return [*own, shipped_root()]


def list_designs() -> dict[str, Path]:
    """Every design by name; the first folder that has a name wins."""
    found: dict[str, Path] = {}
    for folder in folders():
        for path in sorted(folder.rglob("*.yaml")):
            if not _NOT_DESIGNS & set(path.relative_to(folder).parts):
                found.setdefault(path.stem, path)
    return found


def find_design(name: str, beside: Path | None = None) -> tuple[Path, str]:
    """(file, how to show it in messages). `beside`: the folder a relative path starts from.

    Raises DesignError with the closest names.
    """
    if name.endswith((".yaml", ".yml")) or "/" in name or os.sep in name:
        path = (beside / name) if beside and not Path(name).is_absolute() else Path(name)
        if not os.path.isfile(path):  # which takes a name of any length
            what = "is a folder; name a YAML file" if os.path.isdir(path) else "no such file"
            raise DesignError(f"{path}: {what}")
        return path, str(path)
    known = list_designs()
    if name not in known:
        close = difflib.get_close_matches(name, known, n=3)
        hint = f"did you mean {' or '.join(close)}?" if close else "see 'tileloom show --designs'"
        raise DesignError(f"no design '{name}'; {hint} (a path to a YAML file works too)")
    path, root = known[name], shipped_root()
    inside = path.is_relative_to(root)
    return path, f"designs/{path.relative_to(root)}" if inside else str(path)
