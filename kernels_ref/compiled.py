"""Compilation of kernels, kept on disk as long as nothing in their folder changes.

Numba's own cache looks at the file of a function and not at the files of the functions it calls:
after a change of `rounding.py` its callers would still run the old code. Here the cache's folder is
named by a hash of all modules beside the function's own, so that any change compiles anew:

    $NUMBA_CACHE_DIR/numba-<hash>, if the user set it
    the folder's __pycache__/numba-<hash>, or else
    ~/.cache/tileloom/numba-<hash> (under $XDG_CACHE_HOME), where that cannot be written

Where neither can, every process compiles. Folders of earlier hashes are left behind, since another
process may still be using them; they may be deleted at any time nothing runs.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from numba import config as numba_config
from numba import njit

config: Any = numba_config  # its settings are set by name, which type checkers do not see


def compiled(
    function: Callable[..., Any] | None = None,
    *,
    parallel: bool = False,
    inner: bool = False,
    borrowing: bool = False,
) -> Any:
    """numba's `njit` with the cache described above: `@compiled` or `@compiled(parallel=True)`.

    `inner`: called by compiled code only (which saves the time to compile a way in from Python,
    and to keep it on disk), and divisions do not check for zero. `borrowing`: uses arrays of its
    caller and makes none, so that none are counted (atomic counts of seven arrays in every call
    cost more than short calls do)."""
    if function is None:
        return partial(compiled, parallel=parallel, inner=inner, borrowing=borrowing)
    options: dict[str, Any] = {"parallel": parallel}
    if inner:
        options |= {"no_cpython_wrapper": True, "no_cfunc_wrapper": True, "error_model": "numpy"}
    if borrowing:
        options |= {"_nrt": False}
    folder = cache_folder(config.CACHE_DIR, Path(function.__code__.co_filename).parent)
    if folder is None or inner:  # an inner one is kept with those that call it
        return njit(**options)(function)
    with _cached_in(folder):
        return njit(cache=True, **options)(function)


@lru_cache(maxsize=8)
def cache_folder(chosen: str, here: Path) -> Path | None:
    """Where compiled code of the modules in `here` is kept, made if it is missing; None if nowhere.
    `chosen`: the user's folder, or empty."""
    user = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"))
    name = f"numba-{content_hash(here)}"
    candidates = [Path(chosen)] if chosen else [here / "__pycache__", user / "tileloom"]
    return next((parent / name for parent in candidates if _can_write(parent / name)), None)


def content_hash(folder: Path) -> str:
    """Of the names and contents of all modules in `folder`."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.py")):
        digest.update(f"{path.name} {path.stat().st_size}\n".encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def _can_write(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError:
        return False
    return True


@contextmanager
def _cached_in(folder: Path) -> Iterator[None]:
    """Numba reads its setting when a function is decorated, and only then."""
    before = config.CACHE_DIR
    config.CACHE_DIR = str(folder)
    try:
        yield
    finally:
        config.CACHE_DIR = before
