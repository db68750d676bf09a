"""What docs/importing.md shows: its commands run and print what it says."""

from __future__ import annotations

import re
import shlex

from typer.testing import CliRunner

from sim.cli import docs
from sim.cli.main import app

PAGE = (docs.ROOT / "docs" / "importing.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL)


def run(line, folder):
    """The output of a `tileloom` line of the page, with `imported` as this folder."""
    words = [
        re.sub(r"^imported\b", str(folder), w) for w in shlex.split(line.removeprefix("$ "))[1:]
    ]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    return done.stdout.replace(str(folder), "imported")


def test_the_example_prints_what_the_page_shows(tmp_path, monkeypatch):
    monkeypatch.chdir(docs.ROOT)
    make, command, *shown = BLOCKS[0].splitlines()
    assert make == "$ mkdir imported"
    assert run(command, tmp_path).splitlines() == shown
    for line in BLOCKS[1].splitlines():
        assert "timeloop_v3, from Timeloop" in run(line, tmp_path)
