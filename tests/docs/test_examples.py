"""The example files of the documentation do what the pages say."""

import json
import os
import subprocess
import sys

import pytest

from sim import simulate
from sim.cli.docs import ROOT

EXAMPLES = ROOT / "docs" / "examples"
CONTEXT = 8192


@pytest.fixture(scope="module")
def with_plugin():
    """The run of docs/extending.md; a process of its own, since registries are the process's."""
    line = (
        f"simulate a100_sxm llama-3-8b --context {CONTEXT} --json "
        "--plugin my_parts --apply near_keys(1024) --objective ed2p"
    )
    done = subprocess.run(
        [sys.executable, "-m", "sim.cli.main", *line.split()],
        cwd=EXAMPLES,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_plugin_registers_a_transform_and_an_objective(with_plugin):
    assert with_plugin["objective"] == "ed2p"
    (attention,) = [op for op in with_plugin["ops"] if op["name"] == "attention"]
    heads, head_dim = 32, 128
    assert attention["macs"] == 1024 * heads * 2 * head_dim


def test_window_leaves_the_cache_whole(with_plugin):
    whole = simulate("a100_sxm", "llama-3-8b", context=CONTEXT)
    assert with_plugin["kv_bytes"] == whole.kv_bytes
    assert with_plugin["latency_s"] < whole.latency_s


def test_example_design_changes_what_it_states_and_inherits_the_rest():
    chip = simulate(str(EXAMPLES / "my_chip.yaml"), "llama-3-8b")
    base = simulate("h100_sxm", "llama-3-8b")
    assert chip.design == "my_chip"
    assert chip.memory_bytes == 2 * base.memory_bytes
    assert chip.area_mm2 == 850
    assert chip.latency_s < base.latency_s
    assert chip.dollars_per_hour == base.dollars_per_hour
