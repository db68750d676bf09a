"""The cache of compiled kernels: kept while nothing changes, not used when anything did."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numba
import pytest

import kernels_ref
from kernels_ref.compiled import cache_folder, compiled, content_hash

SOURCE = Path(kernels_ref.__file__).parent
CALLER = """
from kernels_ref.compiled import compiled
from kernels_ref.rounding import toward_zero

@compiled
def cut(x: float) -> float:
    return toward_zero(x, 1, 0, 8.0)

if __name__ == "__main__":
    print(cut(1.75), sum(cut.stats.cache_hits.values()))
"""


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    """A small `kernels_ref` with a function that calls one of `rounding.py`."""
    folder = tmp_path / "kernels_ref"
    folder.mkdir()
    for name in ("__init__", "compiled", "errors", "formats", "rounding"):
        shutil.copy(SOURCE / f"{name}.py", folder)
    (folder / "caller.py").write_text(CALLER)
    return folder


def cut(folder: Path) -> tuple[float, int]:
    """(what a new process finds, how often it used the cache)."""
    kept = {k: v for k, v in os.environ.items() if k != "NUMBA_CACHE_DIR"}
    kept["PYTHONDONTWRITEBYTECODE"] = "1"  # Python's own cache tells files by size and second
    done = subprocess.run(
        [sys.executable, "-m", "kernels_ref.caller"],
        cwd=folder.parent,  # first on the path
        env=kept,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    number, hits = done.stdout.split()
    return float(number), int(hits)


def test_a_change_of_another_file_compiles_its_callers(scratch: Path) -> None:
    """1.75 with one bit after the point is 1.5; with steps of 1 instead, 1."""
    assert cut(scratch) == (1.5, 0)
    assert cut(scratch) == (1.5, 1)
    rounding = scratch / "rounding.py"
    text = rounding.read_text()
    changed = text.replace("shift = 52 - mantissa", "shift = 53 - mantissa")
    assert changed != text
    rounding.write_text(changed)
    assert cut(scratch) == (1.0, 0)
    assert len(list((scratch / "__pycache__").glob("numba-*"))) == 2


def test_the_users_folder_is_used(tmp_path: Path) -> None:
    name = f"numba-{content_hash(SOURCE)}"
    assert cache_folder(str(tmp_path / "chosen"), SOURCE) == tmp_path / "chosen" / name
    assert (tmp_path / "chosen" / name).is_dir()


def test_where_nothing_can_be_written_every_process_compiles(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    assert cache_folder(str(file), SOURCE) is None


def test_numbas_own_setting_stays() -> None:
    before = numba.config.CACHE_DIR
    compiled(lambda x: x)
    assert before == numba.config.CACHE_DIR


def test_every_kernel_uses_it() -> None:
    found = [path.name for path in SOURCE.glob("*.py") if "njit" in path.read_text("utf-8")]
    assert found == ["compiled.py"]


def test_the_hash_sees_names_and_contents(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x = 1\n")
    seen = {content_hash(tmp_path)}
    (tmp_path / "a.py").write_text("x = 2\n")
    seen.add(content_hash(tmp_path))
    (tmp_path / "a.py").rename(tmp_path / "b.py")
    seen.add(content_hash(tmp_path))
    (tmp_path / "a.py").write_text("")
    seen.add(content_hash(tmp_path))
    assert len(seen) == 4
