"""Every mistake in a design gets one message: file:line: key path: what is wrong; what is right."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accel_models.library import list_designs
from accel_models.read_design import parse_design, read_design
from accel_models.reader import DesignError

GOOD = """\
title: A small array
source: "guess: for tests"
technology: {node: 7 nm}
clock: 1 GHz
power:
  limit: 10 W
  static: 1 W
memory:
  dram:
    kind: dram
    capacity: 1 GiB
    bandwidth: 10 GB/s
    efficiency: 0.9
    latency: 100 ns
    granularity: 64 B
    energy: 4 pJ/bit
cores:
  array:
    count: 1
    memory:
      buffer:
        kind: sram
        capacity: 1 MiB
        read_bandwidth: 64 B/cycle
        write_bandwidth: 64 B/cycle
        efficiency: 1.0
        latency: 2 ns
        granularity: 4 B
        energy: 0.1 pJ/bit
    matrix:
      kind: systolic
      count: 1
      rows: 8
      cols: 8
      dataflow: ws
      weight_preload: shadow
      pe:
        formats:
          int8: {macs_per_cycle: 1, accumulate: int32, energy: 0.1 pJ}
    vector:
      count: 1
      lanes: 8
      ops_per_cycle: {add: 8, mul: 8, exp: 1, rsqrt: 1, convert: 8, compare: 8, shuffle: 8}
      energy: 1 pJ
    control:
      launch: 1 us
"""

ENGINE_KINDS = "systolic, dot_product, lut, outer_product, simd"
FORMATS = "fp32, bf16, fp16, fp8, fp8_e5m2, int32, int8, int4"
TOP = (
    "source, title, technology, clock, power, area, price, memory, backing, cores, links, "
    "measured_as, notes"
)
UNIT = "write a number and a unit such as '40 GiB'"

# name: (a piece of GOOD, what stands there instead, the whole message less "d.yaml:")
REPLACED: dict[str, tuple[str, str, str]] = {
    # keys
    "unknown key": (
        "    capacity: 1 GiB\n",
        "    capacity: 1 GiB\n    capasity: 2 GiB\n",
        "12: memory.dram.capasity: unknown key 'capasity'; did you mean 'capacity'?",
    ),
    "unknown key like no other": (
        "title:",
        "x: 1\ntitle:",
        f"1: x: unknown key 'x'; known: {TOP}",
    ),
    "unknown key in a one-line block": (
        "{node: 7 nm}",
        "{node: 7 nm, nodes: 3}",
        "3: technology.nodes: unknown key 'nodes'; did you mean 'node'?",
    ),
    "missing key at the top": ("clock: 1 GHz\n", "", "1: (top): missing key 'clock'"),
    "missing key in a block": (
        "    latency: 100 ns\n",
        "",
        "9: memory.dram: missing key 'latency'",
    ),
    "duplicate key": (
        "clock: 1 GHz\n",
        "clock: 1 GHz\nclock: 2 GHz\n",
        "5: clock: duplicate key; first given on line 4, remove one",
    ),
    "key 'name'": (
        "title:",
        "name: x\ntitle:",
        "1: name: unknown key 'name'; a design is named after its file",
    ),
    "merge key": (
        "      lanes: 8\n",
        "      lanes: 8\n      <<: {lanes: 9}\n",
        "43: cores.array.vector.<<: unknown key '<<'; "
        "known: source, count, lanes, ops_per_cycle, narrow, energy",
    ),
    "key that is a list": (
        "clock: 1 GHz",
        "clock: 1 GHz\n? [a]\n: b",
        "5: (top): a key must be a word",
    ),
    # quantities
    "unknown unit": (
        "bandwidth: 10 GB/s",
        "bandwidth: 10 GBps",
        "12: memory.dram.bandwidth: unknown unit 'GBps' for bytes per second; did you mean 'GB/s'?",
    ),
    "unit of another dimension": (
        "bandwidth: 10 GB/s",
        "bandwidth: 10 W",
        "12: memory.dram.bandwidth: unknown unit 'W' for bytes per second; "
        "write bytes per second such as '1555 GB/s'",
    ),
    "no unit": (
        "clock: 1 GHz",
        "clock: 1e9",
        "4: clock: 1000000000.0 has no unit; write frequency such as '1.41 GHz'",
    ),
    "no number": (
        "capacity: 1 GiB",
        "capacity: large",
        f"11: memory.dram.capacity: 'large' is not a quantity; {UNIT}",
    ),
    "no value": (
        "capacity: 1 GiB",
        "capacity:",
        f"11: memory.dram.capacity: nothing is not a quantity; {UNIT}",
    ),
    "a list for a quantity": (
        "capacity: 1 GiB",
        "capacity: [1 GiB]",
        f"11: memory.dram.capacity: a list is not a quantity; {UNIT}",
    ),
    "negative": (
        "capacity: 1 GiB",
        "capacity: -1 GiB",
        "11: memory.dram.capacity: must be greater than 0, not '-1 GiB'",
    ),
    "zero": (
        "capacity: 1 GiB",
        "capacity: 0 GiB",
        "11: memory.dram.capacity: must be greater than 0, not '0 GiB'",
    ),
    "NaN": (
        "capacity: 1 GiB",
        "capacity: .nan GiB",
        "11: memory.dram.capacity: must be finite, not '.nan GiB'",
    ),
    "infinite": (
        "capacity: 1 GiB",
        "capacity: .inf GiB",
        "11: memory.dram.capacity: must be finite, not '.inf GiB'",
    ),
    "infinite after conversion": (
        "capacity: 1 GiB",
        "capacity: 1e308 GiB",
        "11: memory.dram.capacity: must be finite, not '1e308 GiB'",
    ),
    "beyond physics": (
        "latency: 100 ns",
        "latency: 1e-40 ns",
        "14: memory.dram.latency: '1e-40 ns' is no physical amount; check the exponent",
    ),
    # plain numbers
    "share above one": (
        "efficiency: 0.9",
        "efficiency: 1.5",
        "13: memory.dram.efficiency: must be at most 1.0, not 1.5",
    ),
    "share of zero": (
        "efficiency: 0.9",
        "efficiency: 0",
        "13: memory.dram.efficiency: must be at least 1e-06, not 0",
    ),
    "share that is NaN": (
        "efficiency: 0.9",
        "efficiency: .nan",
        "13: memory.dram.efficiency: must be finite, not nan",
    ),
    "share in per cent": (
        "efficiency: 0.9",
        "efficiency: 90 %",
        "13: memory.dram.efficiency: must be a number, not '90 %'",
    ),
    "share that is a boolean": (
        "efficiency: 0.9",
        "efficiency: true",
        "13: memory.dram.efficiency: must be a number, not true",
    ),
    "share in quotes": (
        "efficiency: 0.9",
        "efficiency: '0.9'",
        "13: memory.dram.efficiency: must be a number, not '0.9'",
    ),
    "fractional count": (
        "rows: 8",
        "rows: 8.5",
        "33: cores.array.matrix.rows: must be a whole number, not 8.5",
    ),
    "count in words": (
        "rows: 8",
        "rows: eight",
        "33: cores.array.matrix.rows: must be a whole number, not 'eight'",
    ),
    "count of zero": (
        "rows: 8",
        "rows: 0",
        "33: cores.array.matrix.rows: must be greater than 0, not 0",
    ),
    "count too large": (
        "rows: 8",
        "rows: 99999999999",
        "33: cores.array.matrix.rows: must be at most 1000000000, not 99999999999",
    ),
    "count of 5,000 digits": (
        "rows: 8",
        "rows: " + "9" * 5000,
        f"33: cores.array.matrix.rows: must be a whole number, not '{'9' * 57}...'",
    ),
    # types and choices
    "a scalar for a block": (
        "power:\n  limit: 10 W\n  static: 1 W\n",
        "power: 10 W\n",
        "5: power: must be a mapping (keys: limit, static, excursion), not '10 W'",
    ),
    "a list for a block of blocks": (
        "memory:\n  dram:",
        "links: []\nmemory:\n  dram:",
        "8: links: must be a mapping of names to blocks, not a list",
    ),
    "no cores": ("cores:\n", "cores: {}\nlinks:\n", "17: cores: needs at least one entry"),
    "a number for a title": (
        "title: A small array",
        "title: 3",
        "1: title: must be a text, not 3",
    ),
    "a word for a list": (
        "    kind: dram\n",
        "    kind: dram\n    keeps: weight\n",
        "11: memory.dram.keeps: must be a list such as [a, b], not 'weight'",
    ),
    "an unknown kind of DRAM": (
        "    kind: dram\n",
        "    kind: dram\n    device: hbm2x\n",
        "11: memory.dram.device: must be 'ddr4', 'ddr5', 'lpddr4', 'lpddr4x', 'lpddr5', "
        "'lpddr5x', 'gddr6', 'gddr6x', 'hbm2', 'hbm2e', 'hbm3' or 'hbm3e', not 'hbm2x'; did you "
        "mean 'hbm2'?",
    ),
    "a kind of DRAM for a buffer": (
        "        kind: sram\n",
        "        kind: sram\n        device: hbm3\n",
        "21: cores.array.memory.buffer: device: only of kind dram, not sram; remove it",
    ),
    "a network's port that is no node": (
        "    kind: dram\n",
        "    kind: dram\n    network: {kind: ring, width: 1, link: 8 B/cycle, hop: 2 ns, "
        "ports: [1]}\n",
        "11: memory.dram.network: ports: no node 1; there are 0 to 0",
    ),
    "rows of a ring": (
        "    kind: dram\n",
        "    kind: dram\n    network: {kind: ring, width: 1, height: 2, link: 8 B/cycle, "
        "hop: 2 ns, ports: [0]}\n",
        "11: memory.dram.network: height: only of a mesh, not of a ring; write width alone",
    ),
    "a network for other cores": (
        "    kind: dram\n",
        "    kind: dram\n    network: {kind: mesh, width: 2, height: 2, link: 8 B/cycle, "
        "hop: 2 ns, ports: [0]}\n",
        "11: memory.dram.network: has 4 nodes for the 1 cores of array; width times height must be "
        "their count",
    ),
    "a network within a core": (
        "        kind: sram\n",
        "        kind: sram\n        network: {kind: bus, width: 1, link: 8 B/cycle, hop: 2 ns, "
        "ports: [0]}\n",
        "23: cores.array.memory.buffer.network: belongs in the chip's memory nearest to the cores",
    ),
    "misspelled entry of a list": (
        "    kind: dram\n",
        "    kind: dram\n    keeps: [weights]\n",
        "11: memory.dram.keeps.0: must be 'activation', 'weight' or 'output', not 'weights'; "
        "did you mean 'weight'?",
    ),
    "no for false": (
        "launch: 1 us\n",
        "launch: 1 us\n      overlap_engines: no\n",
        "47: cores.array.control.overlap_engines: must be true or false, not 'no'",
    ),
    "0 for false": (
        "    kind: dram\n",
        "    kind: dram\n    reduction: 0\n",
        "11: memory.dram.reduction: must be true or false, not 0",
    ),
    "misspelled choice": (
        "dataflow: ws",
        "dataflow: wss",
        "35: cores.array.matrix.dataflow: must be 'ws', 'os' or 'is', not 'wss'; "
        "did you mean 'ws'?",
    ),
    "choice of another type": (
        "dataflow: ws",
        "dataflow: 3",
        "35: cores.array.matrix.dataflow: must be 'ws', 'os' or 'is', not 3",
    ),
    # engines and formats
    "unknown engine kind": (
        "kind: systolic",
        "kind: sistolic",
        "31: cores.array.matrix.kind: unknown engine kind 'sistolic'; did you mean 'systolic'?",
    ),
    "engine kind that is a list": (
        "kind: systolic",
        "kind: [systolic]",
        "31: cores.array.matrix.kind: unknown engine kind a list; did you mean 'systolic'?",
    ),
    "engine without kind": (
        "      kind: systolic\n",
        "",
        f"30: cores.array.matrix: missing key 'kind'; known: {ENGINE_KINDS}",
    ),
    "unknown format": (
        "          int8:",
        "          int9:",
        "39: cores.array.matrix.pe.formats.int9: unknown number format 'int9'; "
        "did you mean 'int8'?",
    ),
    "three formats in a pair": (
        "          int8:",
        "          int8*int8*int4:",
        "39: cores.array.matrix.pe.formats.int8*int8*int4: 'int8*int8*int4' names 3 formats; "
        "write one, or weight*activation",
    ),
    "unknown accumulator": (
        "accumulate: int32",
        "accumulate: wide",
        "39: cores.array.matrix.pe.formats.int8.accumulate: unknown number format 'wide'; "
        "see 'tileloom show --formats'",
    ),
    "unknown PE": (
        GOOD[GOOD.index("      pe:") : GOOD.index("    vector:")],
        "      pe: int8_mc\n",
        "37: cores.array.matrix.pe: unknown PE 'int8_mc'; did you mean 'int8_mac'?",
    ),
    # memory
    "bandwidth given both ways": (
        "bandwidth: 10 GB/s\n",
        "bandwidth: 10 GB/s\n    read_bandwidth: 1 GB/s\n",
        "9: memory.dram: give 'bandwidth', or 'read_bandwidth' and 'write_bandwidth', "
        "not both ways",
    ),
    "half a bandwidth": (
        "        write_bandwidth: 64 B/cycle\n",
        "",
        "21: cores.array.memory.buffer: missing key 'bandwidth' (shared by reads and writes), "
        "or both 'read_bandwidth' and 'write_bandwidth'",
    ),
    "serves unknown cores": (
        "    kind: dram\n",
        "    kind: dram\n    serves: [array, arrays]\n",
        "11: memory.dram.serves: no cores named 'arrays'; there are array",
    ),
    "serves in a core's memory": (
        "        kind: sram\n",
        "        kind: sram\n        serves: [array]\n",
        "23: cores.array.memory.buffer.serves: belongs in the chip's memory; "
        "here write per: core or engine",
    ),
    "per in the chip's memory": (
        "    kind: dram\n",
        "    kind: dram\n    per: core\n",
        "11: memory.dram.per: belongs in a core's memory; here write instances",
    ),
    "instances that do not divide": (
        "    kind: dram\n",
        "    kind: dram\n    instances: 3\n",
        "20: cores.array.count: 1 cannot be split evenly over the 3 instances of dram",
    ),
    "static power at the limit": (
        "static: 1 W",
        "static: 10 W",
        "7: power.static: must be below the power limit",
    ),
    # sources
    "source without kind": (
        "guess: for tests",
        "a datasheet",
        "2: source: must be '<kind>: <document>' or '<kind> ±<n>%: <document>', not 'a datasheet'",
    ),
    "misspelled kind of source": (
        "guess: for tests",
        "datashet: for tests",
        "2: source: unknown kind of source 'datashet'; did you mean 'datasheet'?",
    ),
    "source that is a number": (
        '"guess: for tests"',
        "{default: 'guess: for tests', clock: 3}",
        "2: source.clock: must be '<kind>: <document>' or '<kind> ±<n>%: <document>', not 3",
    ),
    "source of a key that is not there": (
        '"guess: for tests"',
        "{default: 'guess: for tests', clok: 'guess: x'}",
        "2: source.clok: the block has no key 'clok'; did you mean 'clock'?",
    ),
    "source out of quotes": (
        '"guess: for tests"',
        "guess: for tests",
        "2: not valid YAML: mapping values are not allowed here; "
        "put a text that contains ': ' in quotes",
    ),
    # extends
    "extends an unknown design": (
        "title:",
        "extends: systolic_129x129\ntitle:",
        "1: extends: no design 'systolic_129x129'; did you mean systolic_128x128? "
        "(a path to a YAML file works too)",
    ),
    "extends a list": (
        "title:",
        "extends: [a]\ntitle:",
        "1: extends: must be a design, not a list",
    ),
    # YAML itself
    "syntax error": (
        "clock: 1 GHz",
        "clock: [1 GHz",
        "5: not valid YAML: while parsing a flow sequence expected ',' or ']', but got ':' "
        "(begun on line 4)",
    ),
    "quote never closed": (
        "clock: 1 GHz",
        "clock: '1 GHz",
        "47: not valid YAML: while scanning a quoted scalar found unexpected end of stream "
        "(begun on line 4)",
    ),
    "tab": (
        "clock: 1 GHz",
        "\tclock: 1 GHz",
        "4: not valid YAML: while scanning for the next token found character '\\t' "
        "that cannot start any token",
    ),
    "control character": (
        "clock: 1 GHz",
        "clock: 1\x07 GHz",
        "4: character 0x07 is not allowed; remove it",
    ),
    "half a surrogate pair": (
        "title: A small array",
        'title: "\\ud800"',
        "1: title: half a surrogate pair; write it whole",
    ),
    "Python object": (
        "clock: 1 GHz",
        "clock: !!python/object/apply:os.system ['true']",
        "4: clock: tag '!!python/object/apply:os.system' is not allowed; remove it",
    ),
    "tag of one's own": (
        "clock: 1 GHz",
        "clock: !fast 1 GHz",
        "4: clock: tag '!fast' is not allowed; remove it",
    ),
    "several documents": (
        "clock: 1 GHz",
        "clock: 1 GHz\n---\nclock: 2 GHz",
        "5: a second document begins here; a design is one: remove the '---'",
    ),
    "alias of nothing": (
        "clock: 1 GHz",
        "clock: *fast",
        "4: not valid YAML: found undefined alias 'fast'",
    ),
    "alias that contains itself": (
        "clock: 1 GHz",
        "clock: &a [*a]",
        "4: clock.0: an alias that contains itself",
    ),
}

BOMB = "a: &a [x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join(['*' + old] * 8)}]\n"
    for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)
WHOLE: dict[str, tuple[str, str]] = {
    "empty": ("", "d.yaml:1: the file is empty; a design is a mapping of keys"),
    "comments only": ("# x\n", "d.yaml:1: the file is empty; a design is a mapping of keys"),
    "not a mapping": (
        "- a\n- b\n",
        "d.yaml:1: a mapping of keys ('title: ...') is expected at the top",
    ),
    "nesting too deep": (
        "a:\n" + "".join("  " * n + "b:\n" for n in range(1, 40)),
        "d.yaml:25: nested deeper than 24 levels",
    ),
    "nesting deeper than the parser's stack": (
        "a: " + "[" * 2000,
        "d.yaml:1: nested deeper than 24 levels",
    ),
    "alias bomb": (BOMB, "d.yaml:1: aliases expand to more than 20000 values"),
    "no keys": (
        "{}",
        "\n".join(
            f"d.yaml:1: (top): missing key '{key}'"
            for key in ("technology", "clock", "power", "memory", "cores")
        ),
    ),
}


def message_of(text: str) -> str:
    with pytest.raises(DesignError) as caught:
        parse_design(text, "d", "d.yaml")
    return str(caught.value)


def test_the_good_design_is_good() -> None:
    assert parse_design(GOOD, "good").title == "A small array"


@pytest.mark.parametrize("name", REPLACED)
def test_message_of_a_changed_line(name: str) -> None:
    before, after, message = REPLACED[name]
    assert before in GOOD
    assert message_of(GOOD.replace(before, after, 1)).splitlines()[0] == f"d.yaml:{message}"


# Where a change is one mistake, one message is all that is said.
ALSO_SAY_MORE = {
    "no cores",  # the old block is an unknown link
    "alias that contains itself",
}


@pytest.mark.parametrize("name", sorted(REPLACED.keys() - ALSO_SAY_MORE))
def test_one_mistake_is_one_message(name: str) -> None:
    before, after, _ = REPLACED[name]
    assert len(message_of(GOOD.replace(before, after, 1)).splitlines()) == 1


@pytest.mark.parametrize("name", WHOLE)
def test_message_of_a_whole_text(name: str) -> None:
    text, message = WHOLE[name]
    assert message_of(text) == message


def test_numbers_without_a_source_are_named_by_block() -> None:
    text = GOOD.replace('source: "guess: for tests"\n', "")
    text = text.replace(
        "    count: 1\n    memory", "    count: 1\n    source: 'guess: x'\n    memory"
    )
    assert message_of(text) == (
        '1: (top): no source for clock; add source: "<kind>: <document>"\n'
        '2: technology: no source for node; add source: "<kind>: <document>"\n'
        '4: power: no source for limit, static; add source: "<kind>: <document>"\n'
        "8: memory.dram: no source for capacity, bandwidth, efficiency, latency, granularity, "
        'energy; add source: "<kind>: <document>"'
    ).replace("\n", "\nd.yaml:").join(["d.yaml:", ""])


def test_every_mistake_of_a_file_at_once_in_its_order() -> None:
    text = GOOD.replace("rows: 8", "rows: 0").replace("clock: 1 GHz", "clock: 1 GB")
    text = text.replace("add: 8,", "ad: 8,")
    assert message_of(text).splitlines() == [
        "d.yaml:4: clock: unknown unit 'GB' for frequency; write frequency such as '1.41 GHz'",
        "d.yaml:33: cores.array.matrix.rows: must be greater than 0, not 0",
        "d.yaml:43: cores.array.vector.ops_per_cycle: missing key 'add'",
        "d.yaml:43: cores.array.vector.ops_per_cycle.ad: unknown key 'ad'; did you mean 'add'?",
    ]


# Files


def file_message(path: str | Path) -> str:
    with pytest.raises(DesignError) as caught:
        read_design(str(path))
    return str(caught.value)


def test_path_that_does_not_exist(tmp_path: Path) -> None:
    path = tmp_path / "none.yaml"
    assert file_message(path) == f"{path}: no such file"


def test_path_longer_than_any_file_system_takes() -> None:
    path = "a/" * 5000 + "b.yaml"
    assert file_message(path) == f"{path}: no such file"


def test_folder_as_design(tmp_path: Path) -> None:
    assert file_message(tmp_path) == f"{tmp_path}: is a folder; name a YAML file"


def test_name_that_is_no_design() -> None:
    assert file_message("a100_smx").startswith("no design 'a100_smx'; did you mean a100_sxm or ")
    assert file_message("zzzz") == (
        "no design 'zzzz'; see 'tileloom show --designs' (a path to a YAML file works too)"
    )


def test_file_over_one_mebibyte(tmp_path: Path) -> None:
    path = tmp_path / "d.yaml"
    path.write_text(GOOD + "#" * (1 << 20))
    assert file_message(path) == f"{path}: is larger than 1 MiB; a design is a few KiB of text"


def test_file_that_is_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "d.yaml"
    path.write_bytes(GOOD.encode().replace(b"clock: 1 GHz", b"clock: 1 \xb5Hz"))
    assert file_message(path) == f"{path}:4: is not UTF-8 text; save it as UTF-8"


def test_path_with_a_colon_in_its_name(tmp_path: Path) -> None:
    path = tmp_path / "a: b.yaml"
    path.write_text(GOOD.replace("rows: 8", "rows: 0").replace("cols: 8", "cols: 0"))
    assert file_message(path).splitlines() == [
        f"{path}:33: cores.array.matrix.rows: must be greater than 0, not 0",
        f"{path}:34: cores.array.matrix.cols: must be greater than 0, not 0",
    ]


def test_designs_that_extend_each_other(tmp_path: Path) -> None:
    a, b = tmp_path / "a.yaml", tmp_path / "b.yaml"
    a.write_text("title: A\nextends: ./b.yaml\n")
    b.write_text(f"# by another spelling of the same path\nextends: ../{tmp_path.name}/a.yaml\n")
    again = f"{tmp_path}/../{tmp_path.name}/a.yaml"
    assert file_message(a) == f"{b}:2: extends: goes in a circle: {a} -> {b} -> {again}"


def test_design_that_extends_itself(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("extends: ./a.yaml\n")
    assert file_message(path) == f"{path}:1: extends: goes in a circle: {path} -> {path}"


def test_mistake_in_the_design_that_is_extended(tmp_path: Path) -> None:
    base, own = tmp_path / "base.yaml", tmp_path / "own.yaml"
    base.write_text(GOOD.replace("rows: 8", "rows: 0"))
    own.write_text("extends: ./base.yaml\nclock: 2 GB\nsource: 'guess: mine'\n")
    assert file_message(own).splitlines() == [
        f"{base}:33: cores.array.matrix.rows: must be greater than 0, not 0",
        f"{own}:2: clock: unknown unit 'GB' for frequency; write frequency such as '1.41 GHz'",
    ]


# Whatever happens to a text, a design or a DesignError comes out.

NASTY = [
    "", "0", "-1", "1e999", ".nan", ".inf", "no", "true", "null", "~", "[]", "{}", "[[a]]",
    "'", '"', "*x", "&x", "&x [*x]", "!x y", "|", ">", "? a", "- a", ": ", "#", "%", "@", "`",
    "\t", "\x00", "\ud7ff", "9" * 400, "1 GiB", "8 GB/s", "{source: 3}", "{kind: simd}",
    "2001-01-01", "0x10", "1_0", "source: 'guess: x'", "{default: [a]}", "extends: a100_sxm",
    "<<: {a: b}", "...", "---",
]  # fmt: skip


def outcome(text: str) -> str:
    """The message, or the design's title. Any other exception passes."""
    try:
        return f"design: {parse_design(text, 'd', 'd.yaml').title}"
    except DesignError as problem:
        return str(problem)


def mutated(text: str, changes: list[tuple[str, int, int, str]]) -> str:
    lines = text.splitlines()
    for what, i, j, word in changes:
        at, other = i % len(lines), j % len(lines)
        line = lines[at]
        if what == "delete" and len(lines) > 1:
            del lines[at]
        elif what == "duplicate":
            lines.insert(other, line)
        elif what == "value":
            lines[at] = line.partition(":")[0] + ": " + word
        elif what == "key":
            lines[at] = line[: len(line) - len(line.lstrip())] + word + ": 1"
        elif what == "indent":
            lines[at] = " " * (j % 9) + line.lstrip()
        elif what == "cut":
            lines[at] = line[: j % (len(line) + 1)]
        elif what == "insert":
            column = j % (len(line) + 1)
            lines[at] = line[:column] + word + line[column:]
    return "\n".join(lines)


CHANGE = st.tuples(
    st.sampled_from(["delete", "duplicate", "value", "key", "indent", "cut", "insert"]),
    st.integers(0, 300),
    st.integers(0, 300),
    st.one_of(st.sampled_from(NASTY), st.text(max_size=8)),
)
BASES = [GOOD, list_designs()["h200_sxm"].read_text(), list_designs()["m2_ultra"].read_text()]


@settings(
    max_examples=250, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
@given(st.sampled_from([0, 0, 0, 1, 2]), st.lists(CHANGE, min_size=1, max_size=3))
def test_any_change_gives_a_design_or_a_design_error(
    base: int, changes: list[tuple[str, int, int, str]]
) -> None:
    said = outcome(mutated(BASES[base], changes))
    assert all(":" in line for line in said.splitlines())


@pytest.mark.parametrize("word", ["", "0", "true", "[[a]]", "{source: 3}", "&x [*x]", "1e999"])
def test_any_value_may_be_anything(word: str) -> None:
    for i in range(len(GOOD.splitlines())):
        assert outcome(mutated(GOOD, [("value", i, 0, word)]))
