"""The command line, run inside the test's process: starting an interpreter takes half a second."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from sim.cli.main import main


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """stdout, which is one JSON document and nothing else."""
        return json.loads(self.out)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """run("show", "a100_sxm") as `tileloom show a100_sxm`."""

    def call(*words: str) -> Done:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["tileloom", *words])
        monkeypatch.setattr(sys, "path", list(sys.path))  # plugins put their folder there
        code: Any = 0
        try:
            main()
        except SystemExit as end:
            code = end.code or 0
        out, err = capsys.readouterr()
        return Done(int(code), out, err)

    return call
