"""Jetson AGX Orin against EdgeReasoning's measurements (edge-inference/edgereasoning): vLLM, FP16,
batch 1, MAXN. Decoding: 0.1004 s a token of the 8B model; of the 1.5B, runs of 1024 and 2048 tokens
are 25 s apart (orin_decode_energy.csv, energy over power)."""

from __future__ import annotations

import pytest

from sim.api import simulate
from sim.run import Run

LARGE, SMALL = "deepseek-r1-distill-llama-8b", "deepseek-r1-distill-qwen-1.5b"


def run(model: str, phase: str, **sizes: int) -> Run:
    return simulate("jetson_agx_orin", model, phase, formats="fp16", **sizes)


@pytest.mark.parametrize(("model", "seconds"), [(LARGE, 0.1004), (SMALL, 25 / 1024)])
def test_a_token_takes_what_was_measured(model: str, seconds: float) -> None:
    assert run(model, "decode", context=1024).latency_s == pytest.approx(seconds, rel=0.05)


def test_decoding_draws_what_the_rail_reads() -> None:
    """1270 J in 52 s, the first two or three of 52 samples before it runs: 25.3 W."""
    assert run(SMALL, "decode", context=1024).power_w == pytest.approx(25.3, rel=0.05)


def test_decoding_takes_the_energy_that_was_measured() -> None:
    """The 8B model: 2851 J in 104.26 s for 1024 tokens after 512."""
    assert run(LARGE, "decode", context=1024).energy_j == pytest.approx(2851 / 1024, rel=0.15)


@pytest.mark.parametrize(("model", "seconds"), [(LARGE, 0.4267), (SMALL, 0.0882)])
def test_a_prompt_of_512_tokens_takes_what_was_fitted(model: str, seconds: float) -> None:
    """EdgeReasoning's published fits, L(512); no number of the design rests on prompts."""
    assert run(model, "prefill", prompt=512).latency_s == pytest.approx(seconds, rel=0.1)


def test_a_long_prompt_takes_the_time_and_energy_that_were_measured() -> None:
    """4097 tokens of the 8B model: 3.512 s at 26.0 W."""
    found = run(LARGE, "prefill", prompt=4097)
    assert found.latency_s == pytest.approx(3.512, rel=0.1)
    assert found.energy_j == pytest.approx(3.512 * 26.0, rel=0.15)


def test_a_long_prompt_of_the_small_model_is_a_quarter_too_slow() -> None:
    """0.648 s for 4097 tokens: streaming kernels are those of vLLM 0.2, and tiles are read again
    from a 4 MB L2 oftener than they seem to be."""
    assert 1.0 < run(SMALL, "prefill", prompt=4097).latency_s / 0.648 < 1.3


def test_no_multiplication_takes_functions_in() -> None:
    names = {op.name: op.fused for op in run(SMALL, "decode", context=64).ops}
    assert names["gate_proj"] == ("up_proj",)
    assert names["down_proj"] == ()
    assert "act_mul" in names
