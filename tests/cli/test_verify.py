"""`tileloom verify`."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from kernels_ref.kernels import KERNELS

PLUGIN = """
import numpy as np
from dataclasses import replace
from kernels_ref.kernels import Entry
from kernels_ref.matmul import INTEGER

def off_by_one(activations, weights):
    out = INTEGER.definition(activations, weights)
    out[-1, -1] += activations.shape[1] > 2
    return out

WRONG = replace(INTEGER, datapath=off_by_one)

def register(parts):
    parts.add("kernels", "wrong", Entry("wrong_kernel:WRONG", "wrong", ("int4*int8->int32",)))
"""


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    (tmp_path / "wrong_kernel.py").write_text(PLUGIN)
    monkeypatch.chdir(tmp_path)
    yield "wrong_kernel"
    sys.modules.pop("wrong_kernel", None)
    KERNELS.pop("wrong", None)


def test_a_kernel(run: Any) -> None:
    done = run("verify", "matmul_integer", "--cases", "5", "--weights", "synthetic", "--json")
    assert (done.code, done.err) == (0, "")
    document = done.document
    assert document["failed"] == 0
    assert [k["pair"] for k in document["kernels"]] == list(KERNELS["matmul_integer"].pairs)
    assert {
        (k["cases"], k["bit_exact"], k["max_ulp"], k["sqnr_db"], k["status"])
        for k in document["kernels"]
    } == {(5, True, 0.0, None, "exact")}
    jsonschema.validate(document, run("schema", "verify").document)


def test_the_same_seed_gives_the_same_document(run: Any) -> None:
    words = ("verify", "matmul_integer", "--cases", "9", "--seed", "3", "--json")
    assert run(*words).out == run(*words).out


def test_a_design_has_the_kernels_of_its_pairs(run: Any) -> None:
    document = run("verify", "a100_sxm", "--cases", "3", "--json").document
    sparse = [kernel for kernel in document["kernels"] if kernel["kernel"] == "sparse_n_of_m"]
    assert [(kernel["pair"], kernel["status"]) for kernel in sparse] == [
        ("int8*int8->int32", "exact")
    ]
    by_pair = {kernel["pair"]: kernel for kernel in document["kernels"] if kernel not in sparse}
    assert by_pair["int8*int8->int32"]["kernel"] == "matmul_integer"
    assert by_pair["int8*int8->int32"]["assumed"]
    assert by_pair["fp16*fp16->fp32"]["kernel"] == "tensor_core_ampere"
    assert not by_pair["fp16*fp16->fp32"]["assumed"]
    assert document["failed"] == 0


def test_a_planted_bug_is_found_shrunk_and_can_be_had_again(run: Any, plugin: str) -> None:
    done = run("verify", "wrong", "--plugin", plugin, "--json")
    assert done.code == 4
    (kernel,) = done.document["kernels"]
    assert (done.document["failed"], kernel["status"]) == (1, "failed")
    difference = kernel["difference"]
    assert difference["found"] - difference["expected"] == 1
    assert difference["replay"].startswith("int4*int8->int32 1x1x3 ")
    KERNELS.pop("wrong")
    sys.modules.pop("wrong_kernel")
    text = run("verify", "wrong", "--plugin", plugin, "--case", difference["replay"])
    assert text.code == 4
    assert "wrong int4*int8->int32: element [0, 0] is" in text.out
    assert "weights [1, 3] int8 = [[" in text.out
    assert "0 hold, 1 failed" in text.out
    assert "again: tileloom verify wrong --plugin MODULE --case 'int4*int8->int32 1x1x3" in text.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nothing"], "'nothing' is no design, PE or kernel; see 'tileloom show --designs'"),
        (["no_such.yaml"], "no_such.yaml"),
        (["--case", "int8*int8->int32 1x1x1 random 0"], "--case: which kernel?"),
        (["wrong", "--case", "int8*int8->int32 1x1x1 random 0"], "one of a plugin needs its --pl"),
        (["--weights", "other"], "--weights 'other'; known: auto, trained, synthetic"),
        (["matmul_integer", "--case", "1x1x1"], "write 'int8*int8->int32 3x5x7 random 0'"),
        *(
            (["matmul_integer", "--case", f"int8*int8->int32 {words}"], message)
            for words, message in {
                "0x1x1 random 0": "three sizes of 1 to 513",
                "1x1 random 0": "three sizes of 1 to 513",
                "1x1x\u00b2 random 0": "three sizes of 1 to 513",
                "1x1x1 odd 0": "no values 'odd'; known:",
                "1x1x1 random x": "a seed is a count",
                "1x1x1 random -1": "a seed is a count",
                "1x1x1 random 0 -5": "a number above 0",
                "1x1x1 random 0 nan": "a number above 0",
            }.items()
        ),
        (["matmul_integer", "--case", "fp8*fp8->fp32 1x1x1 random 0"], "not fp8*fp8->fp32"),
    ],
)
def test_mistakes(words: list[str], message: str, run: Any) -> None:
    done = run("verify", *words)
    assert (done.code, done.out) == (1, "")
    assert message in done.err
    assert "Traceback" not in done.err


def test_a_pair_names_a_kernel_that_takes_it(run: Any, tmp_path: Path) -> None:
    def designed(kernel: str) -> Any:
        pe = f"{{fp16: {{kernel: {kernel}}}}}"
        path = tmp_path / "mine.yaml"
        path.write_text(
            f"extends: a100_sxm\ncores: {{sm: {{matrix: {{pe: {{formats: {pe}}}}}}}}}\n"
        )
        return run("verify", str(path), "--cases", "2")

    missing = designed("tensor_cor")
    assert missing.code == 1
    assert "unknown kernel 'tensor_cor'" in missing.err
    wrong = designed("matmul_integer")
    assert wrong.code == 1
    assert "kernel 'matmul_integer' does not compute fp16*fp16->fp32" in wrong.err


def test_every_pe_has_kernels_that_hold(run: Any) -> None:
    """One case each: the conformance tests run many."""
    from accel_models.pes import PES

    for name in PES:
        document = run("verify", name, "--cases", "1", "--json").document
        assert document["failed"] == 0, name
        assert document["kernels"], name


def test_an_interrupt_keeps_what_is_known(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import sim.verify

    def interrupted(*arguments: Any) -> Any:
        yield from original(*arguments)
        raise KeyboardInterrupt

    original = sim.verify.run_checks
    monkeypatch.setattr(sim.verify, "run_checks", interrupted)
    done = run("verify", "matmul_integer", "--cases", "1", "--json")
    assert done.code == 130
    assert not done.document["complete"]
    assert len(done.document["kernels"]) == len(KERNELS["matmul_integer"].pairs)


# RTL


def test_rtl_of_a_pe(run: Any) -> None:
    """Simulated against its kernel and synthesized anew: the smallest module."""
    from accel_models.pes.simulate_rtl import RtlError
    from accel_models.pes.yosys import find_library, find_tool

    try:
        find_tool()
        find_library()
    except RtlError as missing:
        pytest.skip(str(missing))
    if shutil.which("iverilog") is None:
        pytest.skip("no Icarus Verilog")
    done = run("verify", "fp4_mac_fixed", "--rtl", "--json")
    (module,) = done.document["rtl"]
    assert (done.code, module["status"], module["simulated"]) == (0, "holds", True)
    for way, ge in module["synthesized_ge"].items():
        assert module["modeled_ge"][way] == pytest.approx(ge, rel=0.2)


def test_rtl_without_its_tools_says_what_to_install(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    done = run("verify", "fp4_mac_fixed", "--rtl")
    assert (done.code, done.out) == (1, "")
    assert "apt install" in done.err


def test_rtl_of_nothing(run: Any) -> None:
    done = run("verify", "ant_like", "--rtl")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("no RTL of 'ant_like'; there is of int8_mac, ")
