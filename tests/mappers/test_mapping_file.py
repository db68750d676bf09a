"""Mapping files: what is written is what is read, and every mistake has its line."""

from __future__ import annotations

import json

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import design_dict, designs, engine, matmul_graph, memory, parse

from accel_models.path import memory_path
from accel_models.reader import DesignError
from kernels_ref.errors import UserError
from mappers.contractions import contraction
from mappers.legality import legal
from mappers.mapping_file import (
    mapping_on,
    mapping_values,
    mapping_yaml,
    parse_mapping,
    read_mapping,
)
from mappers.mapping_text import MappingError, file_schema, matmul_extents
from mappers.search.sample import random_mappings


def machine(**rules):
    """Two cores of two engines under a shared buffer; the cores' own keeps inputs alone."""
    shared = {"dram": memory("1 GiB", "8 B/cycle", kind="dram")}
    shared["l2"] = memory("256 KiB", "32 B/cycle", bypass=["weight"])
    own = {
        "l1": memory("16 KiB", "64 B/cycle", keeps=["activation", "weight"]),
        "registers": memory("8 KiB", "64 B/cycle", kind="regfile", per="engine"),
    }
    data = design_dict(shared, own, engine("dot_product", 2), 2)
    data["cores"]["core"]["mapping"] = rules
    return memory_path(parse(data), "core")


def read(text, path=None, sizes=(64, 64, 64)):
    return mapping_on(parse_mapping(text, "mine.yaml"), *task(path or machine(), sizes))


def task(path, sizes=(64, 64, 64)):
    return contraction(matmul_graph(*sizes), "matmul", path)


WHOLE = """
design: tiny
cores: core
matmul: 64x64x64
levels:
  - level: l2
    tile: {m: 32, k: 64}
    order: [n, m, k]
    keeps: [output, activation]
  - level: l1
    tile: {m: 16, n: 32, k: 32}
    spatial: {n: 2}
    order: [k, m]
  - level: registers
    tile: {m: 8}
    spatial: {m: 2}
"""


def test_what_is_left_out_follows_from_the_level_above_and_the_design():
    dram, l2, l1, registers, innermost = read(WHOLE).levels
    assert dict(dram.tile) == {"b": 1, "m": 64, "n": 64, "k": 64}
    assert dict(l2.tile) == {"b": 1, "m": 32, "n": 64, "k": 64}
    assert l2.order == ("b", "n", "m", "k")
    assert l2.keeps == ("activation", "output")
    assert dict(l1.spatial) == {"b": 1, "m": 1, "n": 2, "k": 1}
    assert l1.order == ("b", "n", "k", "m")
    assert l1.keeps == ("activation", "weight")
    assert dict(registers.tile) == dict(innermost.tile) == {"b": 1, "m": 8, "n": 32, "k": 32}
    assert registers.order == ("b", "m", "n", "k")
    assert (innermost.level, innermost.keeps) == ("engine", ())


def test_with_no_levels_everything_is_whole():
    path = machine()
    small = mapping_on(parse_mapping("levels: []"), *task(path, (4, 4, 4)))
    assert all(dict(level.tile) == {"b": 1, "m": 4, "n": 4, "k": 4} for level in small.levels)


@settings(max_examples=30)
@given(designs(), st.tuples(*[st.integers(1, 70)] * 3), st.integers(0, 9))
def test_what_is_written_is_what_is_read(design, sizes, seed):
    problem, path = task(memory_path(design, "core"), sizes)
    for mapping in random_mappings(problem, path, 2, seed):
        text = mapping_yaml(mapping, problem, path)
        again = mapping_on(parse_mapping(text), problem, path)
        jsonschema.validate(yaml.safe_load(text), file_schema())
        assert legal(problem, again, path)
        ones = [rank for rank, extent in problem.extents.items() if extent == 1]
        for a, b in zip(mapping.levels, again.levels, strict=True):
            assert (a.level, a.tile, a.spatial, a.keeps) == (b.level, b.tile, b.spatial, b.keeps)
            assert [r for r in a.order if r not in ones] == [r for r in b.order if r not in ones]


def test_json_is_read_like_yaml():
    problem, path = task(machine())
    mapping = read(WHOLE)
    text = json.dumps(mapping_values(mapping, problem, path), indent=1)
    assert mapping_on(parse_mapping(text), problem, path) == mapping


L2 = "levels:\n  - level: l2\n"
# text, every message with its line
MISTAKES = {
    "another design": (
        "design: a100_sxm\nlevels: []\n",
        ["1: design: the mapping is for a100_sxm, not for tiny"],
    ),
    "other cores": (
        "cores: sm\nlevels: []\n",
        ["1: cores: the mapping is for sm, not for the core of tiny"],
    ),
    "other sizes": (
        "levels: []\nmatmul: 64x64x32\n",
        ["2: matmul: k is 32 here, and 64 in what is mapped"],
    ),
    "sizes that are none": (
        "matmul: 64x64\nlevels: []\n",
        [
            "1: matmul: '64x64' are not sizes; write MxNxK, such as 4096x4096x4096 or 1x4kx4k",
        ],
    ),
    "ranks": (
        "levels: []\nranks:\n  m: 64\n  n: 60\n  kk: 64\n",
        [
            "2: ranks.k: k is 1 here, and 64 in what is mapped",
            "4: ranks.n: n is 60 here, and 64 in what is mapped",
            "5: ranks.kk: no rank 'kk'; did you mean 'k'?",
        ],
    ),
    "sizes twice": (
        "levels: []\nmatmul: 1x1x1\nranks: {m: 1}\n",
        ["3: ranks: give 'matmul' or 'ranks', not both"],
    ),
    "unknown keys": (
        "levels:\n  - level: l2\n    tiles: {m: 4}\nmatmull: 3\n",
        [
            "3: l2.tiles: unknown key 'tiles'; did you mean 'tile'?",
            "4: matmull: unknown key 'matmull'; did you mean 'matmul'?",
        ],
    ),
    "values": (
        L2 + "    tile:\n      m: 4.5\n      n: 0\n    keeps: [weights]\n  - tile: {}\n",
        [
            "4: l2.tile.m: must be a whole number, not 4.5",
            "5: l2.tile.n: must be greater than 0, not 0",
            "6: l2.keeps.0: must be 'activation', 'weight' or 'output', not 'weights'; "
            "did you mean 'weight'?",
            "7: levels.1: missing key 'level'",
        ],
    ),
    "no levels": ("design: tiny\n", ["1: (top): missing key 'levels'"]),
    "levels that are not there": (
        "levels:\n  - level: l22\n  - level: dram\n  - level: l1\n  - level: l1\n  - level: l2\n",
        [
            "2: l22: no such level; did you mean 'l2'?",
            "3: dram: is the outermost memory: it holds everything, leave it out",
            "5: l1: is listed twice",
            "6: l2: lies outside of l1; list the outermost first",
        ],
    ),
    "ranks that are not there": (
        L2 + "    tile: {mm: 4}\n    spatial: {x: 2}\n    order: [m, n, m, j]\n",
        [
            "3: l2.tile.mm: no rank 'mm'; did you mean 'm'?",
            "4: l2.spatial.x: no rank 'x'; known: b, m, n, k",
            "5: l2.order.j: no rank 'j'; known: b, m, n, k",
            "5: l2.order: names m twice",
        ],
    ),
    "a loop without a place": (
        WHOLE.replace("order: [k, m]", "order: [m]").lstrip(),
        ["12: l1.order: the loop over k (2 steps) has no place in it"],
    ),
    "a tile larger than its parent's": (
        WHOLE.replace("{m: 16, n: 32, k: 32}", "\n      m: 64\n      n: 32\n      k: 32").lstrip(),
        ["11: l1.tile.m: a tile of 64 does not lie within 32, the tile of l2"],
    ),
    "tiles that do not nest": (
        WHOLE.replace("{m: 16, n: 32, k: 32}", "{m: 12, n: 32, k: 32}").lstrip(),
        [
            "10: l1.tile.m: l2 holds 32, neither a multiple of 12 (tile 12 x 1 instances) nor the "
            "whole 64",
            "14: registers.tile.m: l1 holds 12, neither a multiple of 16 (tile 8 x 2 instances) "
            "nor the whole 64",
        ],
    ),
    "too many instances": (
        WHOLE.replace("spatial: {n: 2}", "spatial: {n: 2, k: 2}").lstrip(),
        ["9: l1: spread over 4 instances; there are 2 in one l2"],
    ),
    "keeps what it cannot": (
        WHOLE.replace("order: [k, m]", "keeps: [activation, output]").lstrip(),
        [
            "9: l1: cannot keep the output; it keeps activation, weight",
            "9: l1: the weight cannot pass by; list it under bypass in the design to allow it",
        ],
    ),
    "over capacity": (
        "levels:\n  - level: l2\n    keeps: [activation, output]\n  - level: l1\n",
        [
            "1: levels: registers (not listed, so the tile of the level above, unsplit): tiles "
            "take 32,768 of 8,192 bytes (activation 8,192, weight 8,192, output 16,384)",
        ],
    ),
    "YAML": ("levels: [\n", ["2: not valid YAML: "]),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_named_with_its_line(name):
    text, messages = MISTAKES[name]
    with pytest.raises((MappingError, DesignError)) as caught:
        read(text)
    lines = str(caught.value).splitlines()
    assert len(lines) == len(messages)
    for line, message in zip(lines, messages, strict=True):
        assert line.startswith(f"mine.yaml:{message}"), line


# rules of the design, the part of WHOLE that is changed, message
FORBIDDEN = [
    ({"tiles": {"m": [8, 32]}}, "10: l1.tile.m: a tile of 16; the design allows [8, 32]"),
    ({"multiples": {"k": 24}}, "10: l1.tile.k: a tile of 32; the design allows multiples of 24"),
    ({"split": ["m"]}, "11: l1.spatial.n: split over 2; ranks that may be split: m"),
]


@pytest.mark.parametrize(("rules", "message"), FORBIDDEN)
def test_what_the_design_forbids_is_named_with_its_line(rules, message):
    with pytest.raises(MappingError) as caught:
        read(WHOLE.lstrip(), machine(levels={"l1": rules}))
    assert str(caught.value) == f"mine.yaml:{message}"


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(DesignError, match=r"none\.yaml: cannot be read: No such file"):
        read_mapping(tmp_path / "none.yaml", "none.yaml")


def test_sizes():
    assert matmul_extents(" 1x4Kx77 ") == {"b": 1, "m": 1, "n": 4096, "k": 77}
    for wrong in ("4x4", "0x4x4", "4x4x99999999", "axbxc", "4,4,4", "-1x4x4", "4x4x1.5k"):
        with pytest.raises(UserError, match="size"):
            matmul_extents(wrong)
