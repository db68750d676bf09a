"""`tileloom show` and `tileloom schema`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest

from accel_models.library import list_designs
from kernels_ref.formats import FORMATS
from kernels_ref.kernels import KERNELS
from sim.event.policies import POLICIES
from workloads.config import shipped_models
from workloads.transforms import TRANSFORMS


def test_model(run: Any) -> None:
    """Llama-3-8B: 8.03e9 parameters in bf16; 2 x 32 layers x 8 heads x 128 x 2 B of cache."""
    shown = run("show", "llama-3-8b", "--json").document
    assert shown["model"] == "llama-3-8b"
    assert shown["params"] == 8_030_261_248
    assert shown["weight_bytes"] == 2 * shown["params"]
    assert shown["kv_bytes_per_token"] == 2 * 32 * 8 * 128 * 2
    assert shown["macs_per_token"] > 7e9


def test_design(run: Any) -> None:
    """312 TFLOPS over 2039 GB/s times 0.88 is the ridge."""
    shown = run("show", "a100_sxm", "--json").document
    core = shown["cores"]["sm"]
    assert list(core["levels"]) == ["hbm", "l2", "smem", "regfile"]
    assert core["formats"]["fp16"]["peak_ops_per_s"] == pytest.approx(312e12, rel=0.005)
    ridge = core["formats"]["fp16"]["ridge_ops_per_byte"]["hbm"]
    assert ridge == pytest.approx(312e12 / core["levels"]["hbm"]["read_bytes_per_s"], rel=0.005)


@pytest.mark.parametrize(
    ("option", "names"),
    [
        ("designs", list_designs()),
        ("models", shipped_models()),
        ("formats", FORMATS),
        ("kernels", KERNELS),
        ("transforms", TRANSFORMS),
        ("policies", POLICIES),
    ],
)
def test_lists_name_things_as_they_are_typed(option: str, names: Any, run: Any) -> None:
    assert run("show", f"--{option}", "--json").document[option].keys() == set(names)
    text = run("show", f"--{option}").out
    assert [name for name in names if name not in text] == []


def test_a_design_of_ones_own(run: Any, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("extends: a100_sxm\ntitle: Mine\n")
    assert run("show", str(path), "--json").document["title"] == "Mine"


def test_own_folders_of_designs_and_models(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import workloads

    opt = Path(workloads.__file__).parent / "models" / "opt-125m.json"
    (tmp_path / "mine.yaml").write_text("extends: a100_sxm\ntitle: Mine\n")
    (tmp_path / "little.json").write_text(opt.read_text())
    monkeypatch.setenv("TILELOOM_DESIGN_PATH", str(tmp_path))
    assert run("show", "mine", "--json").document["design"] == "mine"
    assert run("show", "little", "--json").document["model"] == "little"
    done = run("simulate", "mine", "little", "--context", "8", "--json")
    assert (done.document["design"], done.document["workload"]) == ("mine", "little")


def test_neither_design_nor_model(run: Any) -> None:
    done = run("show", "llama-3-8bb")
    assert (done.code, done.out) == (1, "")
    assert "no design 'llama-3-8bb'" in done.err
    assert "did you mean 'llama-3-8b'" in done.err


def test_one_thing_at_a_time(run: Any) -> None:
    for words in ((), ("a100_sxm", "--models"), ("--designs", "--models")):
        done = run("show", *words)
        assert (done.code, done.out) == (1, "")
        assert done.err == (
            "show one thing: a design, a model, or one of "
            "--designs, --models, --formats, --kernels, --pes, --transforms, --policies\n"
        )


@pytest.mark.parametrize("what", ["design", "run", "verify"])
def test_schemas_are_json_schemas(what: str, run: Any) -> None:
    jsonschema.Draft202012Validator.check_schema(run("schema", what).document)


def test_no_other_schema(run: Any) -> None:
    done = run("schema", "desing")
    assert (done.code, done.out) == (1, "")
    assert done.err == "no schema of 'desing'; did you mean 'design'?\n"


# processing elements


def test_pes_have_the_fields_of_the_contract(run: Any) -> None:
    from accel_models.pes import GATE_PES

    pes = run("show", "--pes", "--json").document["pes"]
    assert [pe["name"] for pe in pes] == list(GATE_PES)
    fields = "name formats macs_per_cycle area_ge area_um2 energy_rel_int8 critical_path_rel_int8"
    assert all({*fields.split(), "kernel"} <= pe.keys() for pe in pes)
    base = pes[0]
    assert (base["name"], base["energy_rel_int8"], base["critical_path_rel_int8"]) == (
        "int8_mac",
        1,
        1,
    )


def test_pes_at_a_node_and_in_an_area(run: Any) -> None:
    """Half the area per gate, twice as many; half of a PE fits no PE."""
    old = run("show", "--pes", "--node", "28nm", "--area", "0.1 mm2", "--json").document["pes"]
    new = run("show", "--pes", "--node", "7nm", "--area", "0.1mm2", "--json").document["pes"]
    shrink = new[0]["area_um2"] / old[0]["area_um2"]
    assert shrink < 0.3
    assert new[0]["fits"] == pytest.approx(old[0]["fits"] / shrink, rel=0.01)
    tiny = run("show", "--pes", "--area", "1um2", "--json").document["pes"]
    assert {pe["fits"] for pe in tiny} == {0}
    text = run("show", "--pes", "--area", "1mm2").out
    assert "fit" in text
    assert "mixpe_w4a8" in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--pes", "--node", "7"), "--node: '7' has no unit; write length such as '7 nm'"),
        (("--pes", "--node", "90nm"), "node 90 nm: the table goes from 65 to 3 nm"),
        (("--pes", "--area", "1 V"), "--area: unknown unit 'V' for area"),
        (("--designs", "--node", "7nm"), "--node and --area go with --pes"),
    ],
)
def test_mistakes_about_pes(words: tuple[str, ...], message: str, run: Any) -> None:
    done = run("show", *words)
    assert (done.code, done.out) == (1, "")
    assert message in done.err


def test_a_design_of_a_registered_pe_shows_its_parts(run: Any) -> None:
    shown = run("show", "mixpe_w4a8", "--json").document
    pe = shown["cores"]["array"]["pe"]
    assert pe["name"] == "mixpe_w4a8"
    assert any("adder" in part for part in pe["parts"])
    assert sum(shown["area_by_mm2"].values()) == pytest.approx(shown["area_mm2"])


def test_requests(run: Any) -> None:
    shown = run("show", "requests:constant(4)+lengths(100,20)+limit(requests=50)", "--json")
    assert shown.document["requests"] == 50
    assert shown.document["requests_per_second"] == pytest.approx(4)
    assert shown.document["prompt_tokens"]["mean"] == 100
    done = run("show", "requests:poison(4)+lengths(100,20)")
    assert done.code == 1
    assert "did you mean 'poisson'" in done.err
