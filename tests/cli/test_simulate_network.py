"""A design's network on chip, from its YAML to the report."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

MESHED = """\
extends: a100_sxm
memory:
  l2:
    network:
      kind: mesh
      width: 12
      height: 9
      link: 64 B/cycle
      hop: 2 ns
      ports: [0, 11, 96, 107]
      source: "guess: for a test"
cores: {sm: {kernels: null}}
"""
WORDS = ("gpt2", "--phase", "decode", "--context", "128", "--json")


def test_a_mesh_is_a_resource(run: Callable[..., Any], tmp_path: Path) -> None:
    path = tmp_path / "meshed.yaml"
    path.write_text(MESHED)
    document = run("simulate", str(path), *WORDS, "--sim", "event").document
    (op,) = (op for op in document["ops"] if op["name"] == "lm_head")
    assert op["busy_s"]["network"] > 0
    assert document["stalls"]["network"]["busy_s"] > 0


def test_a_network_for_other_cores_is_refused(run: Callable[..., Any], tmp_path: Path) -> None:
    path = tmp_path / "meshed.yaml"
    path.write_text(MESHED.replace("width: 12", "width: 13"))
    done = run("simulate", str(path), *WORDS)
    assert done.code == 1
    assert "has 117 nodes for the 108 cores of sm" in done.err
