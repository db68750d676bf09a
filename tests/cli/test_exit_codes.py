"""Exit codes: 0 done, 1 the user's mistake, 2 usage, 3 our bug, 130 interrupted."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from accel_models.engines import ENGINES, Simd
from kernels_ref.errors import UserError

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "sim.cli.main"]
SIM = ("simulate", "a100_sxm", "opt-125m")

# words, message on stderr (whole, or its beginning where it ends in "...")
MISTAKES = [
    (("simulate", "a100_smx", "opt-125m"), "no design 'a100_smx'; did you mean a100_sxm or ..."),
    (("simulate", "a100_sxm", "opt-126m"), "unknown model 'opt-126m'; did you mean 'opt-125m'..."),
    (
        (*SIM, "--phase", "decod"),
        "unknown phase 'decod' of opt-125m; known: prefill, decode, verify, request, train",
    ),
    ((*SIM, "--prompt", "8"), "phase decode has no prompt; it takes context"),
    ((*SIM, "--output", "8"), "phase decode has no output; it takes context"),
    (
        (*SIM, "--phase", "prefill", "--context", "8"),
        "phase prefill has no context; it takes prompt and chunk",
    ),
    (
        (*SIM, "--phase", "request", "--context", "8"),
        "phase request has no context; it takes prompt and output and chunk",
    ),
    ((*SIM, "--batch", "0"), "decode: batch is 0; at least 1 is needed"),
    ((*SIM, "--batch", "-1"), "--batch '-1' is not a count; write 4096 or 4k"),
    ((*SIM, "--batch", ""), "--batch '' is not a count; write 4096 or 4k"),
    ((*SIM, "--batch", "1.5k"), "--batch '1.5k' is not a count; write 4096 or 4k"),
    ((*SIM, "--batch", "9" * 5000), f"--batch '{'9' * 5000}' is not a count; write 4096 or 4k"),
    ((*SIM, "--batch", "32m"), "--batch '32m' is too large; at most 16m (16777216)"),
    ((*SIM, "--context", "0"), "decode: context is 0; at least 1 is needed"),
    ((*SIM, "--formats", "fp9"), "unknown number format 'fp9'; did you mean 'fp8'? ..."),
    ((*SIM, "--kv", "fp9"), "unknown number format 'fp9'; ..."),
    ((*SIM, "--apply", "quantise(fp8)"), "..."),
    ((*SIM, "--objective", "speed"), "unknown objective 'speed'; known: latency, energy, edp"),
    ((*SIM, "--cores", "cpu"), "a100_sxm: no cores named 'cpu'; there are sm"),
    ((*SIM, "--sim", "exact"), "unknown simulator 'exact'; known: analytic, event"),
    (("--plugin", "no_such_parts", "show", "--formats"), "no plugin module 'no_such_parts' in ..."),
    (("--plugin", "json", "show", "--formats"), "json: has no function 'register(parts)'; ..."),
    (
        ("--plugin", "parts.py", "show", "--formats"),
        "'parts.py' is not a module's name; write my_parts for my_parts.py",
    ),
    (
        ("--plugin", ".parts", "show", "--formats"),
        "'.parts' is not a module's name; write my_parts for my_parts.py",
    ),
]


@pytest.mark.parametrize(("words", "message"), MISTAKES, ids=lambda x: " ".join(x)[:60])
def test_a_mistake_is_a_message_and_1(words: tuple[str, ...], message: str, run: Any) -> None:
    done = run(*words, "--json")
    assert (done.code, done.out) == (1, "")
    assert "Traceback" not in done.err
    if message.endswith("..."):
        assert done.err.startswith(message.removesuffix("..."))
    else:
        assert done.err == message + "\n"


@pytest.mark.parametrize(
    "words",
    [
        ("simulat",),
        ("simulate",),
        ("simulate", "a100_sxm"),
        (*SIM, "more"),
        (*SIM, "--contxt", "8"),
        (*SIM, "--context"),
        ("show", "--formats", "--plugin"),
    ],
    ids=" ".join,
)
def test_usage_is_2(words: tuple[str, ...], run: Any) -> None:
    done = run(*words)
    assert (done.code, done.out) == (2, "")
    assert "Error: " in done.err
    assert "Traceback" not in done.err


def test_help_is_0(run: Any) -> None:
    for words in (("--help",), ("simulate", "--help"), ("show", "--help")):
        done = run(*words)
        assert (done.code, done.err) == (0, "")
        assert "Usage: tileloom" in done.out


def test_a_broken_design_is_named_by_line(run: Any, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("extends: a100_sxm\nclock: 2 GB\nsource: 'guess: x'\n")
    done = run("simulate", str(path), "opt-125m", "--json")
    assert (done.code, done.out) == (1, "")
    unit = "unknown unit 'GB' for frequency; write frequency such as '1.41 GHz'"
    assert done.err == f"{path}:2: clock: {unit}\n"


@pytest.mark.parametrize("place", ["none/run.html", "."])
def test_html_that_cannot_be_written_is_refused_before_the_work(
    place: str, run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("simulated")

    monkeypatch.setattr("sim.api.simulate", never)
    path = tmp_path / place
    done = run(*SIM, "--html", str(path))
    assert (done.code, done.out) == (1, "")
    what = {
        "none/run.html": f"there is no folder {path.parent}; create it first",
        ".": "is a folder; name a file",
    }[place]
    assert done.err == f"{path}: {what}\n"


# Our bugs


def test_a_plugin_that_raises_is_3_with_a_traceback(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "raising_parts.py").write_text("def register(parts):\n    1 / 0\n")
    monkeypatch.chdir(tmp_path)
    done = run("show", "--formats", "--plugin", "raising_parts")
    assert (done.code, done.out) == (3, "")
    assert "ZeroDivisionError: division by zero" in done.err
    assert done.err.endswith("this is a bug in tileloom; please report the lines above\n")


class Raising(Simd):
    """An engine with a bug in it."""

    def service(self, tile: Any) -> Any:
        raise AssertionError("a bug in an engine")


def test_an_engine_that_raises_is_3(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    schema: Any = Raising.model_fields["kind"]
    assert schema.default == "simd"
    monkeypatch.setitem(ENGINES, "simd", Raising)
    done = run("simulate", "raspberry_pi_4", "opt-125m", "--context", "8", "--json")
    assert (done.code, done.out) == (3, "")
    assert "AssertionError: a bug in an engine" in done.err


def test_the_user_error_of_any_part_is_1(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def mistaken(*_: Any, **__: Any) -> None:
        raise UserError("said by a part")

    monkeypatch.setattr("sim.api.simulate", mistaken)
    done = run(*SIM)
    assert (done.code, done.out, done.err) == (1, "", "said by a part\n")


# Interrupted


def test_an_interrupt_is_130(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("sim.api.simulate", interrupted)
    done = run(*SIM, "--json")
    assert (done.code, done.out, done.err) == (130, "", "interrupted\n")


def environment(**more: str) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT)} | more


def test_sigint_is_130(tmp_path: Path) -> None:
    (tmp_path / "waiting_parts.py").write_text(
        "import pathlib, time\n"
        "def register(parts):\n"
        "    pathlib.Path('ready').touch()\n"
        "    time.sleep(60)\n"
    )
    words = [*COMMAND, "--plugin", "waiting_parts", "show", "--formats", "--json"]
    with subprocess.Popen(
        words,
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # a shell's background job inherits SIGINT ignored; a terminal's does not
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:
        until = time.monotonic() + 30
        while not (tmp_path / "ready").exists() and time.monotonic() < until:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (130, "", "interrupted\n")


# Where it runs


def test_a_reader_that_stops_reading_gets_no_traceback(tmp_path: Path) -> None:
    command = f"{' '.join(COMMAND)} schema design | head -c 10"
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert len(done.stdout) == 10
    assert done.stderr == ""


@pytest.mark.slow
def test_read_only_copy_from_another_folder(tmp_path: Path) -> None:
    """Nothing is written beside the code (a root user could; so the files are compared too)."""
    install, elsewhere = tmp_path / "install", tmp_path / "elsewhere"
    elsewhere.mkdir()
    for folder in ("kernels_ref", "accel_models", "workloads", "mappers", "sim", "designs"):
        shutil.copytree(
            ROOT / folder, install / folder, ignore=shutil.ignore_patterns("__pycache__")
        )
    before = sorted(install.rglob("*"))
    for path in (*before, install):
        path.chmod(path.stat().st_mode & ~0o222)
    try:
        done = subprocess.run(
            [*COMMAND, "simulate", "a100_sxm", "opt-125m", "--context", "8", "--json"],
            cwd=elsewhere,
            env=environment(
                PYTHONPATH=str(install),
                PYTHONDONTWRITEBYTECODE="1",
                NUMBA_CACHE_DIR=str(tmp_path / "compiled"),
            ),
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        for path in (*before, install):
            path.chmod(path.stat().st_mode | 0o200)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("{")
    assert sorted(install.rglob("*")) == before
    assert list(elsewhere.iterdir()) == []
