"""`tileloom map`: the JSON that scripts rely on, the nest that people read, and its mistakes."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest

KEYS = (
    "latency_s cycles compute_cycles energy_j traffic_bytes utilization bound_by mapping "
    "mappings_total evaluated pruned seconds optimality_gap schema_version design workload"
).split()
ARRAY = ("map", "systolic_128x128")
SMALL = (*ARRAY, "--matmul", "100x96x300")
OP = ("map", "a100_sxm", "--op", "opt-125m:fc1", "--context", "64")
CASES = {
    "a multiplication on an array": SMALL,
    "least energy": (*SMALL, "--objective", "energy"),
    "least product": (*SMALL, "--objective", "edp", "--formats", "w4a8-g32"),
    "a front": (*ARRAY, "--matmul", "48x32x64", "--objective", "pareto"),
    "an op with a bias": OP,
    "quantized, a prompt": (
        *("map", "systolic_128x128", "--op", "opt-125m:q_proj", "--formats", "w8a8"),
        *("--phase", "prefill", "--prompt", "32", "--batch", "2"),
    ),
    "attention": ("map", "a100_sxm", "--op", "opt-125m:attention.qk", "--context", "64"),
    "several kinds of cores": ("map", "snapdragon_8_gen_3", "--matmul", "1x64x64"),
}  # fmt: skip
DONE: dict[str, Any] = {}
ALL_CASES = pytest.mark.parametrize("document", CASES, indirect=True)


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("TILELOOM_CACHE", str(folder))
    return folder


@pytest.fixture
def document(request: pytest.FixtureRequest, run: Any) -> Any:
    """The document of a case; each is mapped once."""
    name = request.param
    if name not in DONE:
        done = run(*CASES[name], "--json")
        assert (done.code, done.err) == (0, "")
        DONE[name] = done.document
    return DONE[name]


@cache
def map_schema() -> Any:
    from pydantic import TypeAdapter

    from sim.report.map_document import MapDocument

    return TypeAdapter(MapDocument).json_schema()


@ALL_CASES
def test_contract(document: Any) -> None:
    assert set(KEYS) <= document.keys()
    assert document["schema_version"] == 1
    jsonschema.validate(document, map_schema())
    assert document["mappings_total"] == document["evaluated"] + document["pruned"]
    assert (document["optimality_gap"], document["interrupted"]) == (0.0, False)


def test_a_front_has_the_least_of_each(run: Any) -> None:
    """The fastest and the thriftiest are in it, and none beats another in everything."""
    document = run(*CASES["a front"], "--json").document
    front = document["pareto"]
    assert document["objective"] == "pareto"
    assert len(front) > 1
    for key, objective in (("latency_s", "latency"), ("energy_j", "energy")):
        words = (*ARRAY, "--matmul", "48x32x64", "--objective", objective, "--json")
        assert min(point[key] for point in front) == pytest.approx(run(*words).document[key])
    three = [
        tuple(point[key] for key in ("latency_s", "energy_j", "held_bytes")) for point in front
    ]
    assert not any(
        all(a <= b for a, b in zip(p, q, strict=True)) for p in three for q in three if p is not q
    )
    assert run(*SMALL, "--json").document["pareto"] == []


@ALL_CASES
def test_figures_add_up(document: Any) -> None:
    near = {"rel": 1e-7}
    latency, energy = document["latency_s"], document["energy_j"]
    assert sum(document["exposed_s"].values()) == pytest.approx(latency, **near)
    assert sum(document["energy_by_j"].values()) == pytest.approx(energy, **near)
    assert document["cycles"] == pytest.approx(latency * document["clock_hz"], **near)
    assert max(document["busy_s"].values()) <= latency * (1 + 1e-7)
    assert document["compute_cycles"] <= document["cycles"]
    assert 0 < document["utilization"] <= 1
    for level, operands in document["traffic_by_operand"].items():
        for operand, moved in operands.items():
            total = document["traffic_bytes"][level][operand]
            assert moved["read"] + moved["written"] == pytest.approx(total, **near)
    for level, held in document["held_bytes"].items():
        assert sum(held.values()) <= document["capacity_bytes"][level]


@ALL_CASES
def test_its_mapping_costs_the_same_when_given(document: Any, run: Any, tmp_path: Path) -> None:
    (name,) = [name for name, done in DONE.items() if done is document]
    file = tmp_path / "mapping.json"
    file.write_text(json.dumps(document["mapping"]))
    given = run(*CASES[name], "--mapping", str(file), "--json").document
    how = {"mappings_total", "evaluated", "pruned", "seconds", "optimality_gap", "mapping_file"}
    how |= {"cached", "pareto", "objective"}  # a front is searched for, and not given
    assert {k: v for k, v in given.items() if k not in how} == {
        k: v for k, v in document.items() if k not in how
    }
    assert (given["mapping_file"], given["optimality_gap"]) == (str(file), None)


def test_what_is_mapped(run: Any) -> None:
    document = run(*OP, "--batch", "3", "--json").document
    assert document["workload"] == "opt-125m decode: fc1"
    assert document["ranks"] == {"b": 1, "m": 3, "n": 3072, "k": 768}
    document = run(*CASES["attention"], "--json").document
    assert document["ranks"] == {"b": 12, "m": 1, "n": 64, "k": 64}
    document = run(*ARRAY, "--matmul", "1kx77x2K", "--json").document
    assert document["ranks"] == {"b": 1, "m": 1024, "n": 77, "k": 2048}
    assert document["formats"]["weight"].startswith("int8")


def test_an_op_costs_no_more_than_in_a_simulation(run: Any) -> None:
    """And little less: a simulation stops within half a percent, or when its budget is spent, and
    does the norm before it in the same kernel. On a machine without a library of kernels."""
    words = ("tpu_v4", "opt-125m", "--context", "64", "--formats", "bf16")
    ops = run("simulate", *words, "--json").document["ops"]
    (alone,) = [op for op in ops if op["name"] == "lm_head"]
    mapped = run("map", "tpu_v4", "--op", "opt-125m:lm_head", *words[2:], "--json").document
    assert alone["fused"] == ["decoder.final_layer_norm"]
    assert 0.9 * alone["latency_s"] < mapped["latency_s"] <= alone["latency_s"]


def test_each_objective_is_least_in_its_own_terms(run: Any) -> None:
    found = {
        name: run(*SMALL, "--objective", name, "--json").document
        for name in ("latency", "energy", "edp")
    }
    values = {
        "latency": lambda d: d["latency_s"],
        "energy": lambda d: d["energy_j"],
        "edp": lambda d: d["latency_s"] * d["energy_j"],
    }
    for name, value in values.items():
        assert value(found[name]) <= min(value(d) for d in found.values()) * (1 + 1e-8)


def test_the_second_time_is_from_the_cache(run: Any, own_cache: Path) -> None:
    assert run(*SMALL, "--no-cache", "--json").document["cached"] is False
    assert not own_cache.exists()
    first, second = (run(*SMALL, "--json").document for _ in range(2))
    assert (first["cached"], second["cached"]) == (False, True)
    same = first.keys() - {"cached", "seconds"}
    assert {k: first[k] for k in same} == {k: second[k] for k in same}
    assert run(*SMALL, "--objective", "edp", "--json").document["cached"] is False
    assert run(*SMALL, "--no-cache", "--json").document["cached"] is False


def test_a_gap_and_a_budget_are_kept(run: Any) -> None:
    best = run(*OP, "--json", "--no-cache").document["latency_s"]
    words = (*OP, "--no-cache", "--gap", "5%", "--budget", "20", "--json")
    document = run(*words).document
    assert 0 <= document["optimality_gap"] <= 0.05
    assert best <= document["latency_s"] * (1 + 1e-8)
    assert document["latency_s"] * (1 - document["optimality_gap"]) <= best * (1 + 1e-8)


def test_the_mapping_is_written_and_read(run: Any, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    first = run(*SMALL, "--out", str(file), "--json")
    assert (first.code, first.err) == (0, f"wrote {file}\n")
    again = run(*ARRAY, "--mapping", str(file), "--json").document
    for key in ("latency_s", "energy_j", "traffic_bytes", "mapping", "ranks", "workload"):
        assert again[key] == first.document[key]


MINE = """cores: array
matmul: 300x96x300
levels:
  - level: buffer
    tile: {m: 256}
  - level: accumulators
    tile: {m: 128, k: 150}
    order: [m, k]
  - level: engine
    tile: {k: 75}
"""


def test_golden_text(run: Any, golden: Any, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text(MINE)
    text = run(*ARRAY, "--mapping", "mine.yaml").out
    golden("map.txt", "".join(line.rstrip() + "\n" for line in text.splitlines()))


def test_tiles_dealt_to_cores_are_shown_in_waves(run: Any, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(
        "levels:\n  - level: l2\n  - level: smem\n    tile: {m: 64, n: 64, k: 32}\n"
        "  - level: regfile\n    tile: {m: 32, n: 32, k: 32}\n    spatial: {m: 2, n: 2}\n"
    )
    out = run("map", "a100_sxm", "--matmul", "1kx1kx1k", "--mapping", str(file)).out
    assert "deal tiles m 16 x n 16 to 108 sm  (256 in all, 3 waves)\n" in out
    assert "for k in 32\n" in out
    assert "spread m over 2, n over 2  (4 of 4 regfile)\n" in out


def test_page(run: Any, tmp_path: Path) -> None:
    page = tmp_path / "map.html"
    done = run(*SMALL, "--html", str(page), "--json")
    assert (done.code, done.err) == (0, f"wrote {page}\n")
    text = page.read_text("utf-8")
    assert text.startswith("<!doctype html>")
    for words in ("Loop nest", "accumulators", "drawn at random", "the mapping found"):
        assert words in text
    head = text[: text.index("<script>")]
    assert "http://" not in head
    assert "https://" not in head


def test_no_drawn_mapping_is_better(run: Any, tmp_path: Path) -> None:
    page = tmp_path / "map.html"
    run(*SMALL, "--objective", "energy", "--html", str(page), "--json")
    assert "None of them has less energy than the mapping found" in page.read_text("utf-8")


def test_interrupted_shows_what_is_known(run: Any, monkeypatch: Any) -> None:
    from mappers.search import best

    def stopped(*words: Any) -> Any:
        return replace(found(*words), gap=0.125, interrupted=True)

    found = best.best_mapping
    monkeypatch.setattr(best, "best_mapping", stopped)
    done = run(*SMALL, "--json")
    assert (done.code, done.err) == (130, "interrupted\n")
    assert (done.document["interrupted"], done.document["optimality_gap"]) == (True, 0.125)
    text = run(*SMALL).out
    assert "interrupted: within 12.5 % of the least latency" in text


MATMUL = ("map", "a100_sxm", "--matmul", "64x64x64")
NO_MATMUL = "what is to be mapped? give --matmul MxNxK or --op MODEL:NAME"
MISTAKES = [
    (("map", "a100_sxm"), NO_MATMUL),
    (("map", "a100_smx", "--matmul", "4x4x4"), "no design 'a100_smx'; did you mean a100_sxm..."),
    (("map", "a100_sxm", "--matmul", "64x64"), "'64x64' are not sizes; write MxNxK, such as ..."),
    ((*MATMUL, "--op", "gpt2:c_fc"), "give --matmul or --op, not both"),
    ((*MATMUL, "--batch", "2"), "--batch goes with --op"),
    ((*MATMUL, "--phase", "decode"), "--phase goes with --op"),
    (
        (*MATMUL, "--objective", "speed"),
        "unknown objective 'speed'; known: latency, energy, edp, pareto",
    ),
    ((*MATMUL, "--formats", "fp9"), "unknown number format 'fp9'; did you mean 'fp8'? ..."),
    ((*MATMUL, "--cores", "cpu"), "a100_sxm: no cores named 'cpu'; there are sm"),
    ((*MATMUL, "--gap", "1"), "--gap '1' is not a gap; write a percentage such as 1%"),
    ((*MATMUL, "--gap", "-1%"), "--gap '-1%' is not a gap; write a percentage such as 1%"),
    ((*MATMUL, "--budget", "0"), "--budget '0' is not a time; write seconds, ..."),
    ((*MATMUL, "--budget", "nan"), "--budget 'nan' is not a time; ..."),
    ((*MATMUL, "--mapping", "none.yaml"), "none.yaml: cannot be read: No such file or directory"),
    ((*MATMUL, "--html", "none/x.html"), "none/x.html: there is no folder none; create it first"),
    (
        (*ARRAY, "--matmul", "4x4x4", "--formats", "fp16"),
        "systolic_128x128: array: no PE multiplies fp16 weights by fp16 activations exactly; ...",
    ),
    (("map", "a100_sxm", "--op", "gpt2"), "--op 'gpt2': write MODEL:NAME, such as ..."),
    (("map", "a100_sxm", "--op", "gpt3:c_fc"), "unknown model 'gpt3'; did you mean 'gpt2'..."),
    (
        ("map", "a100_sxm", "--op", "llama-3-8b:qproj"),
        "llama-3-8b: no op 'qproj'; did you mean 'q_proj'?",
    ),
    (
        ("map", "a100_sxm", "--op", "llama-3-8b:attention"),
        "llama-3-8b: attention is two multiplications: attention.qk and attention.pv",
    ),
    (
        ("map", "a100_sxm", "--op", "llama-3-8b:rope_q"),
        "llama-3-8b: rope_q is a vector op, which has no loops to map; ops with some: q_proj, ...",
    ),
    ((*OP, "--phase", "request"), "a request is many steps; name one: prefill or decode"),
    ((*OP, "--prompt", "8"), "phase decode has no prompt; it takes context"),
    ((*OP, "--batch", "0"), "decode: batch is 0; at least 1 is needed"),
]  # fmt: skip


@pytest.mark.parametrize(("words", "message"), MISTAKES, ids=lambda x: " ".join(x)[:60])
def test_a_mistake_is_a_message_and_1(words: Any, message: str, run: Any) -> None:
    done = run(*words, "--json")
    assert (done.code, done.out) == (1, "")
    if message.endswith("..."):
        assert done.err.startswith(message.removesuffix("..."))
    else:
        assert done.err == message + "\n"


def test_a_wrong_mapping_is_named_by_line(run: Any, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(MINE.replace("k: 75", "k: 151").replace("cores: array", "cores: arry"))
    done = run(*ARRAY, "--mapping", str(file))
    assert (done.code, done.out) == (1, "")
    near = "did you mean 'array'?"
    assert done.err == f"{file}:1: cores: no cores named 'arry' in systolic_128x128; {near}\n"
    file.write_text(MINE.replace("k: 75", "k: 151"))
    done = run(*ARRAY, "--mapping", str(file))
    what = "a tile of 151 does not lie within 150, the tile of accumulators"
    assert done.err == f"{file}:10: engine.tile.k: {what}\n"


def test_a_mapping_for_one_of_several_kinds_of_cores_says_which(run: Any, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("levels: []\n")
    done = run("map", "snapdragon_8_gen_3", "--matmul", "4x4x4", "--mapping", str(file))
    assert done.code == 1
    assert done.err.startswith("snapdragon_8_gen_3 has several kinds of cores (cpu, gpu, npu): say")


def test_schemas(run: Any) -> None:
    assert run("schema", "map").document == json.loads(json.dumps(map_schema()))
    schema = run("schema", "mapping").document
    assert schema["title"] == "Tileloom mapping"
    assert set(schema["properties"]) == {"design", "cores", "matmul", "ranks", "levels"}
