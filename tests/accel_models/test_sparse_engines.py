"""What a design may say of zeros that its PEs skip, and the form of an engine that skips some."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
from tiny import ENGINES, design_dict, engine, memory, one_core, parse

from accel_models.engines.skipping import n_of_m
from accel_models.path import memory_path
from accel_models.read_design import read_design
from accel_models.reader import DesignError
from sim.verify import checks


def design_text(sparse: Any) -> dict[str, Any]:
    matrix = deepcopy(engine("dot_product"))
    matrix["pe"]["sparse"] = sparse
    chip = {"dram": memory("1 GiB", "8 B/cycle", kind="dram")}
    return design_dict(chip, {"buffer": memory("64 KiB", "64 B/cycle")}, matrix)


@pytest.mark.parametrize(
    ("sparse", "message"),
    [
        ({"4:2": {"speedup": 2}}, "'4:2' is no pattern; write n:m as in 2:4, or unstructured"),
        ({"0:4": {"speedup": 2}}, "'0:4' is no pattern"),
        ({"blocks": {"speedup": 2}}, "'blocks' is no pattern"),
        ({"2:4": {}}, "missing key 'speedup'"),
        ({"2:4": {"speedup": 0.5}}, "speedup"),
        ({"2:4": {"speedup": 2, "format": ["fp16"]}}, "did you mean 'formats'?"),
        (
            {"2:4": {"speedup": 2, "formats": ["fp61"]}},
            "sparse 2:4: no pair 'fp61' in formats; did you mean 'fp16'?",
        ),
        ({"2:4": {"speedup": 2, "kernel": "sparse_n_m"}}, "did you mean 'sparse_n_of_m'?"),
        ({"2:4": {"speedup": 2, "kernel": "sparse_n_of_m"}}, "computes none of its pairs"),
    ],
)
def test_what_is_wrong_is_said_where_it_is(sparse: Any, message: str):
    with pytest.raises(DesignError) as problem:
        parse(design_text(sparse))
    assert message in str(problem.value)


def test_a_speedup_needs_a_source():
    data = design_text({"2:4": {"speedup": 2}})
    del data["source"]
    with pytest.raises(DesignError) as problem:
        parse(data)
    assert "sparse.2:4: no source for speedup" in str(problem.value)


def test_patterns_by_name():
    assert n_of_m("2:4") == (2, 4)
    assert [n_of_m(key) for key in ("5:4", "2:4:8", "unstructured", "0:1")] == [None] * 4


@pytest.mark.parametrize("name", ["a100_sxm", "a6000", "l40s", "h100_sxm", "h200_sxm", "b200",
                                  "jetson_agx_orin"])  # fmt: skip
def test_tensor_cores_since_ampere_double_their_rate(name: str):
    design = read_design(name)
    (key,) = design.cores
    sparse = design.cores[key].engine.pe.sparse
    assert {pattern: rate.speedup for pattern, rate in sparse.items()} == {"2:4": 2}
    source = design.source_of(("cores", key, "matrix", "pe", "sparse", "2:4", "speedup"))
    assert source.kind == "datasheet"


def test_a_design_that_skips_is_verified_with_the_kernel_it_names():
    found = [c for c in checks("a100_sxm") if c.kernel == "sparse_n_of_m"]
    assert [str(check.pair) for check in found] == ["int8*int8->int32"]


@pytest.mark.parametrize("kind", sorted(ENGINES))
def test_a_form_that_skips_is_as_much_faster_and_moves_as_much_less(kind: str):
    form = memory_path(one_core(kind), "core").engine.form(1, 8)
    half, (m, n, k) = form.skipping(0.5), (32, 64, 128)
    assert half.service(m, n, k).interval == pytest.approx(form.service(m, n, k).interval / 2)
    dense, skipped = form.words(m, n, k), half.words(m, n, k)
    assert skipped.activation == dense.activation / 2
    assert skipped.output_write <= dense.output_write
    assert skipped.output_write >= m * n, "every sum leaves once"
    assert skipped.weight == dense.weight, "what is read of weights their bytes say"


def test_weights_that_stream_are_skipped_in_the_stream():
    """An input-stationary array loads its activations and streams what is kept of the weights."""
    design = one_core("systolic", dataflow="is", weight_preload="none")
    form = memory_path(design, "core").engine.form(1, 8)
    load = 4 + 4 - 2 + 4  # fill, drain and the rows that bring the activations in
    assert form.service(4, 100, 4).interval == 100 + load
    assert form.skipping(0.25).service(4, 100, 4).interval == 25 + load
    assert form.skipping(0.25).words(4, 100, 4).activation == form.words(4, 100, 4).activation


def test_lanes_along_m():
    form = memory_path(one_core("simd"), "core").engine.form(1, 8)
    turned = form.exchanged()
    assert turned.service(8, 1, 16).interval == form.service(1, 8, 16).interval
    assert turned.words(8, 3, 16).weight == 3 * 16
    assert turned.words(8, 3, 16).activation == 8 * 3 * 16
    assert turned.exchanged() == form
