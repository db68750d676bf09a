"""What MODEL names: sources, and what is said where there is none."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from kernels_ref.errors import UserError
from sim import simulate
from sim.map_api import map_op, ops_to_map
from workloads import build, decode, read_config
from workloads.read_model import FORMS, SOURCES, read_model, source_of

OPS = """\
tensors: {x: {shape: [64, 64]}, w: {shape: [64, 64], kind: weight}}
ops:
- {name: proj, einsum: "mk,nk->mn", inputs: [x, w], output: y}
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "block.yaml"
    path.write_text(OPS)
    return f"ops:{path}"


def test_a_name_is_a_configuration():
    model = read_model("gpt2")
    assert model.name == "gpt2"
    assert model.build(decode(1, 9)) == build(read_config("gpt2"), decode(1, 9))


def test_a_path_with_a_colon_is_a_path(tmp_path):
    folder = tmp_path / "mine:2"
    folder.mkdir()
    shipped = Path(__file__).parents[2] / "workloads" / "models" / "gpt2.json"
    shutil.copy(shipped, folder / "config.json")
    assert read_model(str(folder)).build(decode(1, 9)).params == read_model("gpt2").build(
        decode(1, 9)
    ).params  # fmt: skip


def test_every_source_is_named_in_messages():
    assert all(f"{prefix}:" in FORMS for prefix in SOURCES)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("onx:a.onnx", "'onx:a.onnx': no source of models 'onx:'; did you mean 'onnx'?"),
        ("torch:a.pt", "no source of models 'torch:'; known: hf, onnx, ops"),
        ("ops:", "'ops:': what follows 'ops:'? Write hf:CLASS:config.json, onnx:FILE"),
        ("hf:BertModel", "'hf:BertModel': write hf:CLASS:config.json"),
        ("ops:none.yaml", "none.yaml: cannot be read"),
        ("gpt3", "unknown model 'gpt3'; did you mean 'gpt2'"),
    ],
)
def test_what_is_no_model(text, message):
    with pytest.raises(UserError) as refused:
        read_model(text)
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("text", "source"),
    [("gpt2", None), ("https://host/x", None), ("ops:a", "ops"), ("a/b:c", None), ("new:x", "new")],
)
def test_prefixes(text, source):
    assert source_of(text) == source


def test_a_graph_as_it_is_runs_without_a_phase(file):
    run = simulate("a100_sxm", file)
    assert (run.phase, run.workload, run.produced_tokens, run.unit) == ("ops", "block", 1, "run")
    assert run.tokens_per_s == pytest.approx(1 / run.latency_s)
    assert (run.ttft_s, run.tpot_s) == (None, None)
    assert simulate("a100_sxm", file, "ops").latency_s == run.latency_s


@pytest.mark.parametrize(
    "given",
    [{"phase": "decode"}, {"prompt": 8}, {"context": 8}, {"output": 8}, {"batch": 2}],
    ids=lambda given: next(iter(given)),
)
def test_a_graph_as_it_is_takes_no_phase(file, given):
    (name,) = given
    with pytest.raises(UserError, match=f"runs as it is: {name} cannot be given; leave it out"):
        simulate("a100_sxm", file, **given)


def test_a_model_with_phases_needs_one():
    with pytest.raises(UserError, match="gpt2: which phase"):
        read_model("gpt2").build()


def test_an_op_of_a_graph_as_it_is_is_mapped(file):
    assert ops_to_map(file, None) == ["proj"]
    mapped = map_op("a100_sxm", file, "proj")
    assert mapped.workload == "block ops: proj"
    assert mapped.problem.macs == 64**3
