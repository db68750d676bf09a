"""`extends`: what is overridden, where its numbers come from, and where designs are found."""

from __future__ import annotations

from pathlib import Path

import pytest

from accel_models.engines import DotProduct, Simd
from accel_models.library import find_design, list_designs
from accel_models.read_design import parse_design, read_design
from accel_models.reader import DesignError
from accel_models.source import Source


def kind_and_text(source: Source) -> tuple[str, str]:
    return source.kind, source.text


def test_h200_is_h100_with_other_memory() -> None:
    h100, h200 = read_design("h100_sxm"), read_design("h200_sxm")
    assert (h200.name, h200.title) == ("h200_sxm", "NVIDIA H200 SXM5 141 GB")
    ours, theirs = h200.memory["hbm"], h100.memory["hbm"]
    assert (ours.capacity, theirs.capacity) == (141 * 2**30, 80 * 2**30)
    assert ours.bandwidth is not None
    assert ours.bandwidth.amount == 4800e9
    plain = {"exclude": {"device", "capacity", "bandwidth", "source"}}
    assert ours.model_dump(**plain) == theirs.model_dump(**plain)
    own = {"name", "title", "measured_as", "notes", "memory", "price", "source"}
    free = {"exclude": own}
    assert h200.model_dump(**free) == h100.model_dump(**free)
    assert h200.memory["l2"] == h100.memory["l2"]


def test_sources_go_with_the_design_that_set_the_number() -> None:
    h100, h200 = read_design("h100_sxm"), read_design("h200_sxm")
    for key in ("capacity", "bandwidth"):
        assert "H200" in h200.source_of(("memory", "hbm", key)).text
    for key in ("energy", "efficiency", "latency", "granularity"):
        path = ("memory", "hbm", key)
        assert h200.source_of(path) == h100.source_of(path)
    assert h200.source_of(("clock",)) == h100.source_of(("clock",))
    assert h200.source_of(("price", "per_hour")).text.endswith("2025")


def test_a_source_at_the_top_covers_what_this_file_sets_below() -> None:
    design = parse_design(
        "extends: systolic_128x128\n"
        "title: Twice the memory\n"
        'source: "datasheet: mine"\n'
        "clock: 2 GHz\n"
        "memory: {dram: {bandwidth: 200 GB/s}}\n"
        "cores: {array: {matrix: {pe: {formats: {int8: {energy: 0.2 pJ}}}}}}\n"
    )
    mine = ("datasheet", "mine")
    pair = ("cores", "array", "matrix", "pe", "formats", "int8")
    assert kind_and_text(design.source_of(("clock",))) == mine
    assert kind_and_text(design.source_of(("memory", "dram", "bandwidth"))) == mine
    assert kind_and_text(design.source_of((*pair, "energy"))) == mine
    base = read_design("systolic_128x128")
    for inherited in (
        (*pair, "macs_per_cycle"),
        ("memory", "dram", "latency"),
        ("power", "limit"),
        ("memory", "buffer", "energy"),
    ):
        assert design.source_of(inherited) == base.source_of(inherited)


def test_a_source_without_other_keys_beside_it_covers_nothing_inherited() -> None:
    design = parse_design(
        "extends: systolic_128x128\nsource: 'datasheet: mine'\nmemory: {dram: {latency: 90 ns}}\n"
    )
    assert design.source_of(("memory", "dram", "latency")).kind == "datasheet"
    assert design.source_of(("memory", "dram", "bandwidth")).kind == "guess"
    assert design.source_of(("clock",)).kind == "guess"


def test_a_source_by_name_covers_that_number_at_any_depth_where_it_is_set() -> None:
    base = (
        "extends: systolic_128x128\ncores: {array: {matrix: {pe: {"
        "formats: {int4: {macs_per_cycle: 1, accumulate: int32, energy: 1 pJ}}, "
        "source: {default: 'paper: rates', energy: 'paper: energies'}}}}}\n"
    )
    design = parse_design(base)
    formats = ("cores", "array", "matrix", "pe", "formats")
    assert design.source_of((*formats, "int4", "energy")).text == "energies"
    assert design.source_of((*formats, "int4", "macs_per_cycle")).text == "rates"
    assert "Jouppi" in design.source_of((*formats, "int8", "energy")).text


def test_new_blocks_take_the_source_around_them() -> None:
    level = (
        "kind: sram, capacity: 2 MiB, bandwidth: 1 TB/s, efficiency: 1.0, latency: 5 ns, "
        "granularity: 32 B, energy: 1 pJ/bit"
    )
    design = parse_design(
        "extends: systolic_128x128\n"
        "source: 'paper: mine'\n"
        f"memory: {{cache: {{{level}}}}}\n"
        "cores: {array: {matrix: {pe: {formats: {"
        "int4*int8: {macs_per_cycle: 2, accumulate: int32, energy: 0.1 pJ}}}}}}\n"
    )
    assert list(design.memory) == ["dram", "buffer", "cache"]
    assert design.source_of(("memory", "cache", "energy")).text == "mine"
    pair = ("cores", "array", "matrix", "pe", "formats", "int4*int8", "energy")
    assert design.source_of(pair).text == "mine"


def test_an_engine_of_another_kind_replaces_the_block() -> None:
    new = (
        "{kind: simd, count: 2, lanes: 64, pipeline: 4, source: 'guess: x', "
        "pe: {formats: {int8: {macs_per_cycle: 1, accumulate: int32, energy: 1 pJ}}}}"
    )
    design = parse_design(f"extends: h100_sxm\ncores: {{sm: {{matrix: {new}}}}}\n")
    engine = design.cores["sm"].engine
    assert isinstance(engine, Simd)
    assert (engine.count, engine.lanes, list(engine.pe.formats)) == (2, 64, ["int8"])
    assert design.source_of(("cores", "sm", "matrix", "lanes")).text == "x"


def test_an_engine_of_the_same_kind_is_merged() -> None:
    text = (
        "extends: h100_sxm\ncores: {sm: {matrix: {kind: dot_product, n: 16, source: 'guess: x'}}}\n"
    )
    engine = parse_design(text).cores["sm"].engine
    assert isinstance(engine, DotProduct)
    assert (engine.n, engine.m, engine.k) == (16, 16, 16)


def test_two_steps_of_extends(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(
        "extends: systolic_128x128\ntitle: Base\nclock: 2 GHz\nsource: 'paper: base'\n"
    )
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "top.yaml").write_text(
        "extends: ../base.yaml\npower: {limit: 50 W}\nsource: 'paper: top'\n"
    )
    design = read_design(str(tmp_path / "sub" / "top.yaml"))
    assert (design.name, design.title) == ("top", "Base")
    assert (design.clock, design.power.limit, design.power.static) == (2e9, 50, 5)
    assert design.source_of(("clock",)).text == "base"
    assert design.source_of(("power", "limit")).text == "top"
    assert design.source_of(("power", "static")).kind == "guess"


def test_relative_path_starts_from_the_file_that_says_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "base.yaml").write_text("extends: systolic_128x128\n")
    (folder / "top.yaml").write_text("extends: ./base.yaml\ntitle: Top\n")
    (tmp_path / "base.yaml").write_text("not: this one\n")
    monkeypatch.chdir(tmp_path)
    assert read_design("mine/top.yaml").title == "Top"
    (folder / "none.yaml").write_text("extends: ./x.yaml\n")
    message = r"^mine/none\.yaml:1: extends: mine/x\.yaml: no such file$"
    with pytest.raises(DesignError, match=message):
        read_design("mine/none.yaml")


def test_design_path_is_searched_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = tmp_path / "one", tmp_path / "two" / "deep"
    one.mkdir()
    two.mkdir(parents=True)
    (one / "a100_sxm.yaml").write_text("extends: h100_sxm\ntitle: Mine\n")
    (two / "a100_sxm.yaml").write_text("extends: h100_sxm\ntitle: Second\n")
    (two / "edge.yaml").write_text("extends: a100_sxm\n")
    monkeypatch.setenv("TILELOOM_DESIGN_PATH", f"{one}:{two.parent}")
    assert read_design("a100_sxm").title == "Mine"
    assert read_design("edge").title == "Mine"
    assert find_design("a100_sxm") == (one / "a100_sxm.yaml", f"{one}/a100_sxm.yaml")
    assert list_designs()["l40s"].parts[-2:] == ("gpu", "l40s.yaml")


def test_shipped_designs_are_named_as_in_the_repository() -> None:
    assert find_design("h200_sxm")[1] == "designs/gpu/h200_sxm.yaml"


def test_only_true_and_false_are_booleans_and_1e9_is_a_number() -> None:
    text = (
        "extends: systolic_128x128\ntitle: no\ncores: {array: {control: {overlap_engines: %s}}}\n"
    )
    assert parse_design(text % "false").cores["array"].control.overlap_engines is False
    assert parse_design(text % "true").title == "no"
    rates = "{vector: {ops_per_cycle: {add: 1e2}, source: 'guess: x'}}"
    design = parse_design(f"extends: systolic_128x128\ncores: {{array: {rates}}}\n")
    assert design.cores["array"].vector.ops_per_cycle.add == 100.0


def test_reading_twice_gives_equal_and_separate_designs() -> None:
    assert read_design("m2_ultra") == read_design("m2_ultra")


def test_cores_take_the_kernels_of_others() -> None:
    design = read_design("int8_tensor_core_a100")
    assert design.cores["sm_fp16"].kernels == design.cores["sm"].kernels
    path = ("cores", "{}", "kernels", "matmul", "launch")
    own, taken = (tuple(part.format(name) for part in path) for name in ("sm", "sm_fp16"))
    assert design.source_of(taken) == design.source_of(own)


@pytest.mark.parametrize("name", ["smm", "array"])
def test_kernels_of_cores_that_have_none(name: str) -> None:
    text = f"extends: systolic_128x128\ncores:\n  array:\n    kernels: {name}\n"
    with pytest.raises(
        DesignError, match=rf"<text>:4: cores.array.kernels: no cores '{name}' with"
    ):
        parse_design(text)
