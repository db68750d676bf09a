"""Machines and mappings of other tools, from small files written in their formats."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from accel_models.engines.tile import MatmulTile
from accel_models.path import memory_path
from accel_models.read_design import read_design
from kernels_ref.errors import UserError
from mappers.mapping_file import mapping_on, parse_mapping, read_mapping
from mappers.matmul import matmul_cost
from mappers.search.best import best_mapping
from sim.cli.main import app
from sim.importers import IMPORTERS, import_files
from sim.importers.arithmetic import members, worked_out
from sim.importers.foreign import ForeignFileError
from sim.importers.imported import contraction_of, mapping_yaml

DATA = Path(__file__).parents[1] / "data" / "importers"
CASES = {
    "accelforge": ["accelforge_two_levels.yaml"],
    "timeloop": ["timeloop_v3.yaml", "timeloop_v3_run.yaml"],
    "zigzag": ["zigzag_array.yaml", "zigzag_run.yaml", "zigzag_mapping.yaml"],
    "scalesim": ["scalesim.cfg", "scalesim_gemm.csv"],
}
PJ = 1e-12


def take(tool, *names):
    return import_files(tool, [DATA / name for name in names or CASES[tool]])


def changed(tmp_path, name, *pairs):
    """A copy of a file with texts replaced."""
    text = (DATA / name).read_text()
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new)
    (tmp_path / name).write_text(text)
    return tmp_path / name


def cost_of(found):
    """Of the first mapping, on the design as a user would read it."""
    path, problem = memory_path(found.parsed(), "core"), contraction_of(found.workloads[0], found)
    written = parse_mapping(mapping_yaml(found.mappings[0][1]))
    return matmul_cost(problem, mapping_on(written, problem, path), path)


def said(notes):
    return " | ".join(f"{note.what}: {note.why}" for note in notes)


@pytest.mark.parametrize("tool", IMPORTERS)
def test_files_are_written_and_can_be_read(tool, tmp_path):
    found = take(tool)
    files = [str(DATA / name) for name in CASES[tool]]
    done = CliRunner().invoke(app, ["import", tool, *files, "--out", str(tmp_path), "--json"])
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    design = read_design(document["design"])
    assert list(design.cores) == ["core"]
    for path in document["mapping"]:
        written = read_mapping(Path(path))
        problem = contraction_of(found.workloads[0], found)
        assert mapping_on(written, problem, memory_path(design, "core"))
    for key in ("carried", "assumed", "not_carried"):
        assert all(note["where"] and note["what"] for note in document[key])


@pytest.mark.parametrize(("energy", "size"), [(18_546_688, "inf"), (31_784_960, "8192")])
def test_golden_values_of_a_two_level_machine(energy, size, tmp_path):
    """In pJ: the optimum with perfect factors, and for 8,192 bits AccelForge's mapping."""
    file = changed(tmp_path, CASES["accelforge"][0], ("default(8192)", f"default({size})"))
    found = import_files("accelforge", [file])
    if size == "8192":
        assert cost_of(found).energy_j == pytest.approx(energy * PJ, rel=1e-9)
    found.design["cores"]["core"]["mapping"] = {"factors": "perfect"}
    path = memory_path(found.parsed(), "core")
    best = best_mapping(contraction_of(found.workloads[0], found), path, "energy")
    assert best is not None
    assert best.cost.energy_j == pytest.approx(energy * PJ, rel=1e-9)


def test_timeloop_v3_energy_by_hand():
    """16 x 8 x 12 on 2 x 2 x 3 PEs with pads of 2 x 2 x 2 tiles, 8-bit words; pJ a byte.

    Loops over pads' tiles: m 4, n 2, k 2 (innermost). Words into pads: A 192 x 2 (n steps) x 2 (n
    split, one read of glb serves both); W, from dram, 96 x 4 (m steps) x 2 (m split).
    """
    found = take("timeloop")
    cost = cost_of(found)
    assert found.notes.not_carried == [
        n for n in found.notes.not_carried if "mapping" not in n.what
    ]
    traffic, macs = cost.work.traffic, 16 * 8 * 12
    assert traffic["glb"]["activation"] == (192 * 2, 192)
    assert traffic["spad"]["activation"] == (macs, 192 * 2 * 2)
    assert traffic["dram"]["weight"][0] == 96 * 4
    assert traffic["spad"]["weight"] == (macs, 96 * 4 * 2)
    assert cost.joules["matrix"] == pytest.approx(macs * 0.5 * PJ)
    levels = {level["level"]: level for level in found.mappings[0][1]["levels"]}
    assert levels["spad"]["spatial"] == {"m": 2, "n": 2, "k": 3}
    assert levels["spad"]["order"] == ["m", "n", "k"]
    assert levels["engine"]["order"] == ["n", "m", "k"]


def test_timeloop_machines():
    glb = take("timeloop").design["cores"]["core"]
    assert glb["mapping"]["levels"]["spad"]["axes"]["X"] == {"size": 4, "ranks": ["m", "n"]}
    assert glb["memory"]["glb"]["read_bandwidth"] == "8000000000 B/s"  # 16 words in 2 ns
    assert glb["memory"]["glb"]["energy"] == "0.1875 pJ/bit"  # the larger of two: 12 pJ, 64 bits
    assert glb["memory"]["glb"]["keeps"] == ["activation", "output"]
    four = take("timeloop", "timeloop_v4.yaml")
    core = four.design["cores"]["core"]
    assert core["memory"]["buffer"]["buffering"] == "double"
    assert core["matrix"]["count"] == 4
    assert four.workloads[0].ranks == {"n": 8, "p": 6, "q": 6, "c": 4, "r": 3, "s": 3}
    assert four.workloads[0].dims["activation"][1] == (("r", 1), ("p", 2))
    tiles = [level["tile"] for level in four.mappings[0][1]["levels"]]
    assert tiles[1] == {"n": 1, "p": 6, "q": 1, "c": 1, "r": 3, "s": 3}  # P=0: what is left
    assert core["memory"]["sums"]["keeps"] == ["output"]
    assert "!Nothing" in said(four.notes.not_carried)


def test_timeloop_counts_the_same_words():
    """A strided convolution on 16 PEs against Timeloop's own statistics, per instance there
    (timeloop-accelergy-exercises, simple_output_stationary, reference output). A sum that leaves
    for the level above is read, which Timeloop does not count: 677,376 a register, 25,088 a pad."""
    traffic, pes = cost_of(take("timeloop", "timeloop_tutorial.yaml")).work.traffic, 16
    words = {level: {o: (r / 2, w / 2) for o, (r, w) in t.items()} for level, t in traffic.items()}
    assert words["DRAM"]["weight"] == (864, 0)
    assert words["shared_glb"]["weight"] == (774_144, 864)
    assert words["shared_glb"]["activation"] == (677_376, 151_875)
    assert words["weight_reg"]["weight"] == (677_376 * pes, 48_384 * pes)
    assert words["input_reg"]["activation"] == (677_376 * pes, 677_376 * pes)
    assert words["pe_spad"]["output"] == ((652_288 + 25_088) * pes, 677_376 * pes)
    assert words["sum_reg"]["output"] == ((652_288 + 677_376) * pes, (652_288 + 677_376) * pes)


def test_zigzag_traffic_by_hand():
    """16 x 24 x 32 with n 4 and k 8 unrolled; a register holds 4 weights, a row's 4 inputs.

    Loops in time: n 6, m 16, k 4 (innermost). Inputs enter the rows once for each n: 16 x 32 x 6;
    weights enter once.
    """
    found = take("zigzag")
    traffic = cost_of(found).work.traffic
    assert traffic["inputs_row"]["activation"][1] == 16 * 32 * 6
    assert traffic["weights_reg"]["weight"] == (16 * 24 * 32, 24 * 32)
    assert traffic["dram"]["weight"] == (24 * 32, 0)
    memory = found.design["memory"]
    assert memory["dram"]["energy"] == "10 pJ/bit"
    assert memory["dram"]["write_energy"] == "20 pJ/bit"
    assert memory["buffer"]["read_bandwidth"] == "16000000000 B/s"
    core = found.design["cores"]["core"]
    assert (core["count"], core["matrix"]["count"]) == (8, 4)
    lost = said(found.notes.not_carried)
    assert "given twice" in lost
    assert "bandwidth_min 64" in lost
    assert "mapping of Pooling" in lost


def test_accelforge_array():
    found = take("accelforge", "accelforge_array.yaml")
    core = found.design["cores"]["core"]
    axes = core["mapping"]["levels"]["Pad"]["axes"]
    assert axes == {"rows": {"size": 4, "ranks": ["k"]}, "cols": {"size": 8, "ranks": ["n"]}}
    assert core["memory"]["Shared"]["bandwidth"] == "16000000000 B/s"  # 4 x 64 bits at 500 MHz
    assert (core["memory"]["Shared"]["multicast"], core["memory"]["Shared"]["reduction"]) == (
        32,
        True,
    )
    assert core["memory"]["Shared"]["bypass"] == ["weight"]
    assert core["memory"]["Pad"]["capacity"] == "32 B"
    assert found.design["clock"] == "500000000 Hz"
    lost = said(found.notes.not_carried)
    assert "!Toll Wires" in lost
    assert "Adder" in lost
    assert "min_usage" in lost


def test_multipliers_that_one_memory_feeds_are_one_engine(tmp_path):
    text = "  - !Compute\n    name: MAC\n"
    array = text + "    spatial: [{name: X, fanout: 4, reuse: output}]\n"
    file = changed(tmp_path, CASES["accelforge"][0], (text, array))
    matrix = import_files("accelforge", [file]).design["cores"]["core"]["matrix"]
    assert (matrix["count"], matrix["m"], matrix["n"], matrix["k"]) == (1, 1, 1, 4)


def test_scalesim_cycles(tmp_path):
    """Folds do not overlap: a row of scalesim_gemm_cycles.csv for each dataflow."""
    with (DATA.parent / "scalesim_gemm_cycles.csv").open() as file:
        rows = {row["dataflow"]: row for row in csv.DictReader(file)}
    for dataflow, row in rows.items():
        rows_cols = (f"ArrayHeight: {row['array_rows']}", f"ArrayWidth: {row['array_cols']}")
        array = zip(("ArrayHeight:    32", "ArrayWidth:     16"), rows_cols, strict=True)
        config = changed(
            tmp_path, "scalesim.cfg", *array, ("Dataflow : ws", f"Dataflow: {dataflow}")
        )
        engine = import_files("scalesim", [config]).parsed().cores["core"].engine
        tile = MatmulTile(int(row["M"]), int(row["N"]), int(row["K"]))
        assert engine.service(tile).latency == int(row["compute_cycles"]) + 1


def test_a_convolution_of_scalesim_is_a_matrix_multiplication():
    found = take("scalesim", "scalesim.cfg", "scalesim_conv.csv")
    assert found.workloads[0].matmul == "12100x64x147"
    assert found.design["memory"]["dram"]["bandwidth"] == "10000000000 B/s"
    assert "no reuse of the halo" in said(found.notes.not_carried)


FORGE, BITS = "accelforge_two_levels.yaml", "{{BufferSize}}"
BUFFER_TAKES_C, IN_SPACE = "tensors: [C], component: Buffer", "target: spad, type: temporal"
MISTAKES = [  # tool, file, what stands there, what is written instead, the message
    ("accelforge", FORGE, f"size: {BITS}", "syze: 8", "missing key 'size'; did you mean 'syze'?"),
    ("accelforge", FORGE, "keep: ~DRAM", "keep: ~DRUM", "keep: 'DRUM' is not a set of tensors"),
    ("accelforge", FORGE, f"size: {BITS}", "size: big()", "size: 'big()' is not known here"),
    ("accelforge", FORGE, BITS, "{% if x %}1{% endif %}", "templates are not executed"),
    ("accelforge", FORGE, BUFFER_TAKES_C, "tensors: [C], component: X", "'X' is no memory of the"),
    ("accelforge", FORGE, "!Compute\n", "!Computer\n", "no !Compute below a !Memory"),
    ("accelforge", FORGE, "m: 0 <= m < 64", "m: many", "the size of m is not given as 0 <= m < N"),
    ("timeloop", "timeloop_v3_run.yaml", "M=4 N=2 K=2", "M=4 N:2", "'N:2' is not a factor such"),
    ("timeloop", "timeloop_v3_run.yaml", IN_SPACE, "target: x, type: y", "target 'x' is no level"),
    ("timeloop", "timeloop_v3.yaml", "class: intmac", "class: thing", "no compute element"),
    ("zigzag", "zigzag_array.yaml", "size: 64\n", "size: many\n", "size: 'many' is not known here"),
    ("zigzag", "zigzag_array.yaml", "sizes: [4, 8]", "sizes: [4]", "must be lists of the same"),
    ("zigzag", "zigzag_array.yaml", "[D1]\n", "[D7]\n", "'D7' is no dimension of the array"),
    ("zigzag", "zigzag_mapping.yaml", '"K, 4"', '"K by 4"', "'K by 4' is not an unrolling"),
    (
        "scalesim",
        "scalesim.cfg",
        "ArrayWidth:     16",
        "ArrayWidth: wide",
        "must be a whole number",
    ),
    ("scalesim", "scalesim.cfg", "Dataflow : ws", "Dataflow : rs", "Dataflow: 'rs'; known: ws, os"),
    ("scalesim", "scalesim_gemm.csv", "128, 96, 64", "128, 96", "a row must have whole numbers"),
]
ELSEWHERE = ("missing", "no !Compute", "no compute", "the size of m")  # at the block that lacks it


@pytest.mark.parametrize(("tool", "name", "old", "new", "message"), MISTAKES)
def test_mistakes_name_file_and_line(tool, name, old, new, message, tmp_path):
    file = changed(tmp_path, name, (old, new))
    with pytest.raises(ForeignFileError) as caught:
        import_files(tool, [file, *(DATA / other for other in CASES[tool] if other != name)])
    where, what = re.fullmatch(rf".*{name}:(\d+): (.*)", str(caught.value)).groups()
    assert message in what
    line = file.read_text().splitlines()[int(where) - 1]
    assert new.strip() in line or message.startswith(ELSEWHERE)


def test_what_is_unknown_is_listed_with_its_line(tmp_path):
    """A key that no importer knows, at any depth, in every format."""
    news = {
        "accelforge": ("    name: Buffer\n", "    name: Buffer\n    colour: blue\n"),
        "timeloop": ("datawidth: 8,", "datawidth: 8, colour: blue,"),
        "zigzag": ("unit_energy: 0.25\n", "unit_energy: 0.25\n  colour: blue\n"),
        "scalesim": ("IfmapOffset:    0\n", "IfmapOffset:    0\ncolour: blue\n"),
    }
    for tool, change in news.items():
        first, *rest = CASES[tool]
        file = changed(tmp_path, first, change)
        notes = import_files(tool, [file, *(DATA / name for name in rest)]).notes.not_carried
        lines = file.read_text().splitlines()
        (note,) = [note for note in notes if note.what.endswith("colour: blue")]
        assert "colour: blue" in lines[int(note.where.rpartition(":")[2]) - 1]


def test_numbers_and_sets():
    assert worked_out("1024*1024 * 2**3 / 8", {}) == 2**20
    assert worked_out("3 * w.bits_per_value if w else 0", {"w.bits_per_value": 8.0}) == 24
    for text in ("__import__('os')", "(lambda: 1)()", "1 / 0", "[1][0]", "9**9**9**9"):
        with pytest.raises(ValueError, match=r"not known|worked out|not an expression"):
            worked_out(text, {})
    operands = frozenset({"activation", "weight", "output"})
    assert members("~weight", {"weight": frozenset({"weight"})}, operands) == operands - {"weight"}


def test_an_unknown_tool():
    with pytest.raises(UserError, match="did you mean 'timeloop'"):
        import_files("timelop", [])
