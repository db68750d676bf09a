"""The wheel: what is in it, and that it runs read-only from another folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = {"kernels_ref", "accel_models", "workloads", "mappers", "sim"}
DATA = {"designs"}  # and workloads/models
DATA_FOLDERS = (
    "sim/measured/",
    "workloads/models/",
    "accel_models/costs_data/",
    "accel_models/pes/rtl/",
)

pytestmark = pytest.mark.slow


def call(words: list[str], folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words,
        cwd=folder,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, so that no build folder is left in the repository."""
    source = tmp_path_factory.mktemp("source")
    built = tmp_path_factory.mktemp("wheel")
    listed = call(["git", "ls-files", "-co", "--exclude-standard", "-z"], ROOT)
    names = [n for n in listed.stdout.split("\0") if n and (ROOT / n).is_file()]
    if listed.returncode:  # not a git checkout
        skip = {".git", "build", "dist"}
        names = [
            str(path.relative_to(ROOT))
            for path in ROOT.rglob("*")
            if path.is_file() and not skip & set(path.relative_to(ROOT).parts)
        ]
    for name in names:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes((ROOT / name).read_bytes())
    words = [sys.executable, "-m", "pip", "wheel", ".", "--no-deps", "-q", "-w", str(built)]
    done = call([*words, "--disable-pip-version-check"], source)
    assert done.returncode == 0, done.stderr
    (found,) = built.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel's content alone, without its dependencies, not writable."""
    target = tmp_path_factory.mktemp("installed") / "site"
    words = [sys.executable, "-m", "pip", "install", "--no-deps", "-q", "--target", str(target)]
    done = call([*words, "--no-compile", "--disable-pip-version-check", str(wheel)], wheel.parent)
    assert done.returncode == 0, done.stderr
    for path in (*target.rglob("*"), target):
        path.chmod(path.stat().st_mode & ~0o222)
    return target


def test_wheel_has_the_packages_and_their_data_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    top = {name.partition("/")[0] for name in names}
    assert {t for t in top if not t.endswith(".dist-info")} == PACKAGES | DATA
    for name in names:
        folder = name.partition("/")[0]
        if folder.endswith(".dist-info"):
            continue
        suffix = {"designs": (".yaml", "__init__.py")}.get(folder, (".py",))
        kinds = (".json", ".md", ".sv", ".v", ".yaml")
        data = name.startswith(DATA_FOLDERS) and name.endswith(kinds)
        assert data or name.endswith(suffix), name


def test_wheel_has_every_module_design_and_model(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for folder in PACKAGES | DATA:
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in (".py", ".yaml", ".json"):
                assert str(path.relative_to(ROOT)) in names


def test_wheel_has_the_license_and_the_readme(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    (metadata,) = [n for n in archive.namelist() if n.endswith(".dist-info/METADATA")]
    text = archive.read(metadata).decode()
    assert "License-Expression: Apache-2.0" in text
    assert (ROOT / "README.md").read_text("utf-8")[:200] in text
    assert any(n.endswith("/licenses/LICENSE") for n in archive.namelist())


def test_wheel_runs_read_only_from_another_folder(installed: Path, tmp_path: Path) -> None:
    compiled = tmp_path / "compiled"
    before = sorted(installed.rglob("*"))
    words = [sys.executable, "-m", "sim.cli.main"]
    clean = {"PYTHONPATH": str(installed), "PYTHONDONTWRITEBYTECODE": "1"}
    clean["NUMBA_CACHE_DIR"] = str(compiled)
    shown = call([*words, "show", "a100_sxm", "--json"], tmp_path, **clean)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert json.loads(shown.stdout)["design"] == "a100_sxm"
    run = call(
        [*words, "simulate", "h200_sxm", "opt-125m", "--context", "8", "--json"], tmp_path, **clean
    )
    assert (run.returncode, run.stderr) == (0, "")
    assert json.loads(run.stdout)["design"] == "h200_sxm"
    assert sorted(installed.rglob("*")) == before
    assert list(tmp_path.iterdir()) == [compiled]


def test_wheel_is_what_ran(installed: Path, tmp_path: Path) -> None:
    script = "import sim, designs; print(sim.__file__, designs.__file__)"
    done = call([sys.executable, "-c", script], tmp_path, PYTHONPATH=str(installed))
    assert all(part.startswith(str(installed)) for part in done.stdout.split())
