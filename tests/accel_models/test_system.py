"""Systems: what is read, what is refused and in which words, what chips see of their links."""

from __future__ import annotations

from math import prod
from pathlib import Path

import jsonschema
import pytest
from tiny import one_core

from accel_models.read_design import _numbers, read_design
from accel_models.read_system import (
    list_systems,
    parse_system,
    read_system,
    single_chip,
    system_schema,
)
from accel_models.reader import DesignError, read_yaml

LINK = "bandwidth: 100 GB/s, efficiency: 1.0, latency: 1 us, energy: 5 pJ/bit"
GOOD = f"""\
title: Two boxes of four
source: "guess: for tests"
machines:
  gpu: {{design: a100_sxm, count: 8}}
links:
  nvlink: {{topology: switch, size: 4, {LINK}}}
  network: {{topology: torus, shape: [2], {LINK}}}
"""
SHIPPED = list_systems()


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_systems_read_and_give_sources(name):
    system = read_system(name)
    for path in _numbers(read_yaml(SHIPPED[name]).data):
        assert system.source_of(path).text
    for machine, facts in system.machines.items():
        assert prod(dim.size for dim in system.dims(machine)) == facts.count
        assert system.design(machine).name == facts.design


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_systems_fit_the_schema(name):
    jsonschema.validate(read_yaml(SHIPPED[name]).data, system_schema())


@pytest.mark.parametrize("name", ["dgx_a100", "dgx_h100", "ascend_910b_8"])
def test_a_link_is_as_fast_as_its_chips_port(name):
    """A torus's chip counts the half that one ring uses; of the others it is one number."""
    system = read_system(name)
    (machine,) = system.machines
    for link, facts in system.links.items():
        own = system.design(machine).links[link]
        assert facts.bandwidth.amount == own.bandwidth.amount


def test_links_nest():
    inner, outer = parse_system(GOOD).dims("gpu")
    assert (inner.link, inner.kind, inner.size) == ("nvlink", "switch", 4)
    assert (outer.link, outer.kind, outer.size) == ("network", "ring", 2)


def test_a_design_is_a_system_of_one_chip():
    system = read_system("a100_sxm")
    assert (system.chips, system.dims("chip")) == (1, ())
    assert system.design("chip") == read_design("a100_sxm")
    assert single_chip(one_core()).design("chip").title == "tiny"


def test_machines_of_several_kinds():
    text = f"""\
source: "guess: for tests"
machines:
  gpu: {{design: h100_sxm, count: 2}}
  edge: {{design: jetson_agx_orin, count: 2}}
links:
  nvlink: {{topology: point_to_point, joins: [gpu], {LINK}}}
  network: {{topology: full_mesh, {LINK}}}
"""
    system = parse_system(text)
    assert (system.chips, system.first_chip("edge")) == (4, 2)
    assert [dim.link for dim in system.dims("gpu")] == ["nvlink"]
    (network,) = system.dims("edge")  # of its three wires, the one to its like
    assert network.bytes_per_s == pytest.approx(100e9 / 3)
    across = system.across("gpu", "edge")
    assert across is not None
    assert across.wire_bytes_per_s == pytest.approx(100e9 / 3)


def test_extends_changes_what_it_states(tmp_path):
    base = tmp_path / "base.yaml"
    base.write_text(GOOD)
    mine = tmp_path / "mine.yaml"
    mine.write_text("extends: base.yaml\nmachines:\n  gpu: {count: 16, source: 'guess: more'}\n"
                    "links:\n  network: {shape: [4], source: 'guess: more'}\n")  # fmt: skip
    assert [dim.size for dim in read_system(str(mine)).dims("gpu")] == [4, 4]


def test_designs_are_found_beside_the_file(tmp_path):
    (tmp_path / "chip.yaml").write_text("extends: a100_sxm\ntitle: Mine\n")
    path = tmp_path / "two.yaml"
    path.write_text(GOOD.replace("a100_sxm", "./chip.yaml"))
    assert read_system(str(path)).design("gpu").title == "Mine"


def test_systems_of_ones_own_folder(tmp_path, monkeypatch):
    folder = tmp_path / "system"
    folder.mkdir()
    (folder / "mine.yaml").write_text(GOOD)
    monkeypatch.setenv("TILELOOM_DESIGN_PATH", str(tmp_path))
    assert read_system("mine").title == "Two boxes of four"


def broken(old: str, new: str) -> str:
    assert old in GOOD
    return GOOD.replace(old, new)


BROKEN = [
    (broken("count: 8", "cuont: 8"),
     ["<text>:4: machines.gpu: missing key 'count'",
      "<text>:4: machines.gpu.cuont: unknown key 'cuont'; did you mean 'count'?"]),
    (broken("count: 8", "count: 0"),
     ["<text>:4: machines.gpu.count: must be greater than 0, not 0"]),
    (broken("a100_sxm", "a100_sxn"),
     ["<text>:4: machines.gpu.design: no design 'a100_sxn'; did you mean a100_sxm or h100_sxm or "
      "a100_sxm_host? (a path to a YAML file works too)"]),
    (broken("topology: switch", "topology: swich"),
     ["<text>:6: links.nvlink.topology: must be 'ring', 'mesh', 'full_mesh', 'torus', 'switch', "
      "'tree' or 'point_to_point', not 'swich'; did you mean 'switch'?"]),
    (broken("size: 4", "size: 3"),
     ["<text>:6: links.nvlink.size: groups of 3 cannot be made of the 8 chips of 'gpu'"]),
    (broken("size: 4, ", ""),
     ["<text>:7: links.network.topology: joins the same chips as 'nvlink'; give a group of chips "
      "one link"]),
    (broken("shape: [2]", "shape: [2, 2]"),
     ["<text>:7: links.network.shape: 2 x 2 is 4, and there are 2 groups of 4 chips"]),
    (broken("shape: [2], ", ""),
     ["<text>:7: links.network: missing key 'shape': a torus has one, such as [4, 4]"]),
    (broken("size: 4,", "size: 4, shape: [4],"),
     ["<text>:6: links.nvlink.shape: a switch has none; mesh, torus, tree have"]),
    (broken("topology: torus, shape: [2],", "topology: ring, reduction: true,"),
     ["<text>:7: links.network.reduction: a ring has no switch that could add"]),
    (broken("size: 4,", "size: 4, joins: [cpu],"),
     ["<text>:6: links.nvlink.joins: no machine 'cpu'; did you mean 'gpu'?"]),
    (broken("topology: torus, shape: [2],", "topology: switch, size: 4,"),
     ["<text>:7: links.network.size: joins the same chips as 'nvlink'; give a group of chips one "
      "link"]),
    (broken("  network: {topology: torus, shape: [2], " + LINK + "}\n", ""),
     ["<text>:4: machines.gpu: no link joins all of its 8 chips"]),
    (broken("topology: switch, size: 4", "topology: point_to_point, size: 4"),
     ["<text>:6: links.nvlink.topology: point_to_point joins two, not 4"]),
    (GOOD.replace("100 GB/s", "64 B/cycle", 1),
     ["<text>:6: links.nvlink.bandwidth: a link has no clock; write it per second, such as "
      "300 GB/s"]),
    (GOOD.replace('source: "guess: for tests"\n', ""),
     ["<text>:3: machines.gpu: no source for count; add source: \"<kind>: <document>\"",
      "<text>:5: links.nvlink: no source for size, bandwidth, efficiency, latency, energy; add "
      'source: "<kind>: <document>"',
      "<text>:6: links.network: no source for bandwidth, efficiency, latency, energy; add "
      'source: "<kind>: <document>"']),
    (GOOD + "name: x\n",
     ["<text>:8: name: unknown key 'name'; a system is named after its file"]),
    (GOOD.replace("  gpu: {design: a100_sxm, count: 8}\n",
                  "  gpu: {design: a100_sxm, count: 8}\n  cpu: {design: m2_ultra, count: 1}\n")
     .replace("switch,", "switch, joins: [gpu],").replace("torus,", "torus, joins: [gpu],"),
     ["<text>:5: machines.cpu: no link joins its chips with those of 'gpu'"]),
    (GOOD.replace("  gpu: {design: a100_sxm, count: 8}\n",
                  "  gpu: {design: a100_sxm, count: 8}\n  cpu: {design: m2_ultra, count: 1}\n")
     .replace("switch,", "switch, joins: [gpu],"),
     ["<text>:8: links.network.topology: a torus joins chips of one machine only; between machines "
      "use switch or full_mesh or point_to_point"]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "lines"), BROKEN)
def test_every_mistake_has_its_line_and_its_cure(text, lines):
    with pytest.raises(DesignError) as problem:
        parse_system(text)
    assert str(problem.value).splitlines() == lines


def test_unknown_names_are_suggested():
    with pytest.raises(DesignError, match=r"no system or design 'dgx_a10'; did you mean dgx_a100"):
        read_system("dgx_a10")


def test_a_broken_design_is_named_with_the_machine(tmp_path: Path):
    (tmp_path / "chip.yaml").write_text("extends: a100_sxm\nclok: 1 GHz\n")
    path = tmp_path / "two.yaml"
    path.write_text(GOOD.replace("a100_sxm", "./chip.yaml"))
    with pytest.raises(DesignError, match=r"two.yaml:4: machines.gpu.design: .*chip.yaml:2: clok"):
        read_system(str(path))
