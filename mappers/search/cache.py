"""Mappings found before, on disk, so that no search is done twice.

A result is kept under a hash of all it depends on: the levels, engine and rules that the path goes
through, the contraction with its formats, the objective, and the sources of the mapper and the
engines, and the limits that make a search's answer, so that the same question has the same answer
with the store and without. What a time limit cut short is not kept.
Only the mapping is stored; what it costs is computed again.

The store is one SQLite file in $TILELOOM_CACHE, $XDG_CACHE_HOME/tileloom or ~/.cache/tileloom
(TILELOOM_CACHE empty: none). Writers wait for each other; a killed one leaves the last whole state;
a damaged file is begun anew; above the size bound the least recently used results go. Where nothing
can be written, nothing is kept, and nothing is said. Not meant for network file systems.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import time
from collections.abc import Callable
from functools import cache as once
from hashlib import sha256
from pathlib import Path as File
from typing import TYPE_CHECKING, Any, TypeVar

from mappers.mapping import LevelMapping, Mapping

if TYPE_CHECKING:
    from accel_models.path import Path
    from mappers.problem import Contraction
    from mappers.search.found import Found, Limits

FOLDER = "TILELOOM_CACHE"
NAME = "mappings-1.sqlite3"  # another number where the table's layout changes
MAX_BYTES = 64 * 1024 * 1024
WAIT_S = 5.0  # for another writer
USED_AGAIN_S = 3600.0  # a use is written down if the last one known is older
TABLE = """
CREATE TABLE IF NOT EXISTS found (key TEXT PRIMARY KEY, value TEXT NOT NULL, used REAL NOT NULL);
CREATE INDEX IF NOT EXISTS found_used ON found (used);
"""

T = TypeVar("T")


class MappingCache:
    """A dictionary on disk. Trouble with the disk is never an error: `get` then finds nothing and
    `put` keeps nothing."""

    def __init__(self, file: File, max_bytes: int = MAX_BYTES) -> None:
        self.file, self.max_bytes = file, max_bytes
        self._lock = threading.Lock()
        self._db: sqlite3.Connection | None = None
        self._pid = 0
        self._inherited: list[sqlite3.Connection] = []
        self._off = False

    def get(self, key: str) -> dict[str, Any] | None:
        """What was put under this key."""
        return self._guarded(lambda db: _get(db, key))

    def put(self, key: str, value: dict[str, Any]) -> None:
        """Keep plain values; what was there before goes."""
        text = json.dumps(value)
        self._guarded(lambda db: _put(db, key, text, self.max_bytes))

    def usable(self) -> bool:
        """Can the file be opened and written?"""
        return self._guarded(lambda db: True) is True

    def _guarded(self, action: Callable[[sqlite3.Connection], T]) -> T | None:
        """The action's result; None where the store cannot be used. A damaged file is replaced."""
        with self._lock:
            for _ in range(2):
                try:
                    return None if self._off else action(self._connected())
                except (sqlite3.OperationalError, OSError):  # locked for long, full, read-only
                    self._off = True  # do not wait again
                except (sqlite3.DatabaseError, ValueError):  # damaged
                    self._begin_anew()
            return None

    def _connected(self) -> sqlite3.Connection:
        """This process's connection; one from before a fork may be neither used nor closed."""
        if self._db is not None and self._pid != os.getpid():
            self._inherited.append(self._db)
            self._db = None
        if self._db is None:
            self._db = _opened(self.file)
            self._pid = os.getpid()
        return self._db

    def _begin_anew(self) -> None:
        self._db = None
        for end in ("", "-wal", "-shm"):
            self.file.with_name(self.file.name + end).unlink(missing_ok=True)


def _opened(file: File) -> sqlite3.Connection:
    db = sqlite3.connect(file, timeout=WAIT_S, isolation_level=None, check_same_thread=False)
    end = time.monotonic() + WAIT_S
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = NORMAL")
            db.executescript(TABLE)
            return db
        except sqlite3.OperationalError as problem:  # two that create it at once do not wait
            if "locked" not in str(problem) or time.monotonic() > end:
                raise
            time.sleep(0.01)


def _get(db: sqlite3.Connection, key: str) -> dict[str, Any] | None:
    row = db.execute("SELECT value, used FROM found WHERE key = ?", (key,)).fetchone()
    if row is None:
        return None
    value = json.loads(row[0])
    if not isinstance(value, dict):
        raise ValueError(value)
    now = time.time()
    if now - row[1] > USED_AGAIN_S:
        db.execute("UPDATE found SET used = ? WHERE key = ?", (now, key))
    return value


def _put(db: sqlite3.Connection, key: str, text: str, max_bytes: int) -> None:
    db.execute("INSERT OR REPLACE INTO found VALUES (?, ?, ?)", (key, text, time.time()))
    while _size(db) > max_bytes:
        (count,) = db.execute("SELECT count(*) FROM found").fetchone()
        oldest = "SELECT key FROM found ORDER BY used LIMIT ?"
        gone = db.execute(f"DELETE FROM found WHERE key IN ({oldest})", (count // 4 + 1,))
        if gone.rowcount < 1:
            return


def _size(db: sqlite3.Connection) -> int:
    """Bytes of pages in use; free ones are used again before the file grows."""
    facts = (db.execute(f"PRAGMA {p}").fetchone()[0] for p in ("page_count", "freelist_count"))
    pages, free = facts
    (page,) = db.execute("PRAGMA page_size").fetchone()
    return int((pages - free) * page)


def open_cache(folder: File | None = None) -> MappingCache | None:
    """The store in `folder` (default: the user's); None where it cannot be used."""
    where = folder or default_folder()
    if where is None:
        return None
    try:
        where.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    store = MappingCache(where / NAME)
    return store if store.usable() else None


def default_folder() -> File | None:
    """Where the user keeps such things; None for nowhere."""
    if FOLDER in os.environ:
        return File(os.environ[FOLDER]) if os.environ[FOLDER] else None
    base = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(base):
        return File(base) / "tileloom"
    try:
        return File.home() / ".cache" / "tileloom"
    except RuntimeError:
        return None


def key_of(problem: Contraction, path: Path, objective: str, limits: Limits) -> str:
    """A hash of everything that the best mapping depends on."""
    most = f"{limits.latency_s} {limits.held_bytes}"
    asked = f"{objective} {limits.gap} {limits.evaluations} {most}"
    facts = (_machine(path), repr(problem.key()), asked, code_version(), _plugged(path))
    return sha256(json.dumps(facts).encode()).hexdigest()


def _machine(path: Path) -> str:
    """The design as far as the path uses it, without its sources."""
    core = _unsourced(path.core.model_dump())
    power = (path.design.power.limit, path.design.power.static)
    return repr((path.levels, core, path.clock_hz, path.first_core, path.runs_on, power))


def _unsourced(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _unsourced(inner) for key, inner in value.items() if key != "source"}
    return value


def _plugged(path: Path) -> str:
    """The source of an engine that a plugin brought."""
    module = type(path.engine).__module__
    if module.startswith("accel_models."):
        return ""
    import sys

    file = getattr(sys.modules.get(module), "__file__", None)
    return sha256(File(file).read_bytes()).hexdigest() if file else module


@once
def code_version() -> str:
    """A hash of the sources that decide which mapping is best."""
    import accel_models
    import mappers

    digest = sha256()
    for package, pattern in (
        (mappers, "**/*.py"),
        (accel_models, "*.py"),
        (accel_models, "engines/*.py"),
    ):
        root = File(str(package.__file__)).parent
        for file in sorted(root.glob(pattern)):
            digest.update(file.relative_to(root).as_posix().encode())
            digest.update(file.read_bytes())
    return digest.hexdigest()


def cached_best(
    problem: Contraction,
    path: Path,
    objective: str,
    limits: Limits,
    cache: MappingCache | None,
) -> Found | None:
    """The best mapping, from the cache where it has one; otherwise searched for and kept. None if
    nothing fits."""
    from mappers.search.best import best_mapping

    if cache is None:
        return best_mapping(problem, path, objective, limits)
    key = key_of(problem, path, objective, limits)
    before = _found(cache.get(key), problem, path)
    if before is not None and (limits.seconds is None or before.gap <= limits.gap):
        return before
    found = best_mapping(problem, path, objective, limits)
    whole = found is not None and not found.interrupted
    if found is not None and whole and (before is None or found.gap <= before.gap):
        cut = limits.seconds is not None and found.gap > limits.gap
        if not cut:
            cache.put(key, plain(found))
    return found


def plain(found: Found) -> dict[str, Any]:
    """A result as values that JSON has; its cost is left out."""
    levels = [
        {
            "level": level.level,
            "tile": {rank: int(size) for rank, size in level.tile.items()},
            "spatial": {rank: int(count) for rank, count in level.spatial.items()},
            "order": list(level.order),
            "keeps": list(level.keeps),
        }
        for level in found.mapping.levels
    ]
    counts = {"total": int(found.total), "evaluated": int(found.evaluated)}
    return {"levels": levels, "gap": float(found.gap)} | counts


def _found(value: dict[str, Any] | None, problem: Contraction, path: Path) -> Found | None:
    """A stored result with its cost; None where the mapping is not one of this problem's."""
    from mappers.legality import legal
    from mappers.matmul import matmul_cost
    from mappers.search.found import Found

    if value is None:
        return None
    started = time.perf_counter()
    levels = tuple(
        LevelMapping(
            row["level"], row["tile"], row["spatial"], tuple(row["order"]), tuple(row["keeps"])
        )
        for row in value["levels"]
    )
    mapping = Mapping(levels)
    if not legal(problem, mapping, path):
        return None
    cost = matmul_cost(problem, mapping, path)
    seconds = time.perf_counter() - started
    counts = (value["total"], value["evaluated"])
    return Found(mapping, cost, *counts, seconds, value["gap"], cached=True)
