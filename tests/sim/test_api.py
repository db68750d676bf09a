"""Requests, transforms and what the API refuses."""

from __future__ import annotations

import numpy as np
import pytest

from kernels_ref.errors import UserError
from sim import simulate
from sim.steps import SAMPLES, step_weights


def test_a_request_is_its_prefill_and_its_steps():
    """Few steps are all simulated: the total is exactly the sum of separate runs."""
    request = simulate("a100_sxm", "gpt2", "request", prompt=100, output=4)
    first = simulate("a100_sxm", "gpt2", "prefill", prompt=100)
    steps = [simulate("a100_sxm", "gpt2", "decode", context=c) for c in (101, 102, 103)]
    assert request.ttft_s == first.latency_s
    assert request.latency_s == pytest.approx(first.latency_s + sum(s.latency_s for s in steps))
    assert request.energy_j == pytest.approx(first.energy_j + sum(s.energy_j for s in steps))
    assert request.tpot_s == pytest.approx(sum(s.latency_s for s in steps) / 3)
    assert sum(o.count * o.latency_s for o in request.ops) == pytest.approx(request.latency_s)
    assert request.produced_tokens == 4
    assert request.kv_bytes == steps[-1].kv_bytes


def test_sampled_steps_are_close_to_all_of_them():
    """20 steps through 9 samples against each of the 20."""
    request = simulate("a100_sxm", "gpt2", "request", prompt=200, output=21)
    every = [simulate("a100_sxm", "gpt2", "decode", context=201 + i).latency_s for i in range(20)]
    assert len(every) / 2 > SAMPLES
    assert request.latency_s - request.ttft_s == pytest.approx(sum(every), rel=5e-3)


def test_weights_of_the_samples():
    """They count every step once and reproduce a line exactly."""
    wanted = np.arange(10, 50)
    contexts = np.array([10, 23, 49])
    weights = np.array(step_weights(contexts, wanted))
    assert weights.sum() == pytest.approx(len(wanted))
    assert (weights * (3 * contexts + 1)).sum() == pytest.approx((3 * wanted + 1).sum())
    assert SAMPLES >= 2


def test_one_token_is_only_the_prefill():
    request = simulate("a100_sxm", "gpt2", "request", prompt=64, output=1)
    assert request.latency_s == request.ttft_s
    assert request.tpot_s is None


def test_transforms_by_name():
    apart = simulate("a100_sxm", "llama-2-7b", formats="w4a16", kv="fp8")
    named = simulate("a100_sxm", "llama-2-7b", apply="quantize(w4a16,kv=fp8)")
    assert named.latency_s == apart.latency_s
    assert named.kv_bytes == apart.kv_bytes


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"phase": "trian"}, "unknown phase 'trian'"),
        ({"phase": "prefill", "context": 8}, "phase prefill has no context; it takes prompt"),
        ({"batch": 0}, "decode: batch is 0; at least 1 is needed"),
        ({"phase": "request", "output": 0}, "request: output is 0; at least 1 is needed"),
        ({"context": 2048}, "gpt2 has 1024 learned positions; a context of 2048 is beyond them"),
        ({"objective": "speed"}, "unknown objective 'speed'; known: latency, energy, edp"),
        ({"cores": "gpu"}, "a100_sxm: no cores named 'gpu'; there are sm"),
        ({"apply": "quantise(int8)"}, "unknown transform 'quantise'; did you mean 'quantize'?"),
        ({"apply": "quantize(bits=4)"}, "quantize: got an unexpected keyword argument 'bits'"),
        ({"apply": "quantize(w4a16"}, "is not a transform; write name(arg,key=value)"),
        ({"formats": "w9a16"}, "integer formats have 2 to 8 bits, not 9"),
        ({"formats": "fp7"}, "unknown number format 'fp7'"),
    ],
)
def test_refused(arguments, message):
    decodes = "phase" not in arguments and "context" not in arguments
    with pytest.raises(UserError) as caught:
        simulate("a100_sxm", "gpt2", **({"context": 64} | arguments if decodes else arguments))
    assert message in str(caught.value)


@pytest.mark.slow
def test_cores_of_one_kind():
    """On a chip with both, the GPU alone and the CPU alone bracket nothing better than the two."""
    both = simulate("m2_ultra", "gpt2", "prefill", prompt=64)
    alone = {c: simulate("m2_ultra", "gpt2", "prefill", prompt=64, cores=c) for c in ("gpu", "cpu")}
    assert both.latency_s <= min(run.latency_s for run in alone.values()) * (1 + 1e-9)
    assert {op.cores for op in alone["cpu"].ops} == {"cpu"}


def test_objectives():
    fast = simulate("a100_sxm", "gpt2", "prefill", prompt=128)
    frugal = simulate("a100_sxm", "gpt2", "prefill", prompt=128, objective="energy")
    assert frugal.energy_j <= fast.energy_j * 1.005
    assert fast.latency_s <= frugal.latency_s * 1.005


def test_a_prompt_in_chunks_does_the_work_of_the_whole():
    """The pairs that the mask leaves are as many; weights are read for each chunk."""
    whole = simulate("a100_sxm", "gpt2", "prefill", prompt=1000)
    parts = simulate("a100_sxm", "gpt2", "prefill", prompt=1000, chunk=300)
    assert {op.name.partition(".")[0] for op in parts.ops} == {"first_chunk", "chunk", "last_chunk"}

    def macs(run):
        return sum(op.count * op.macs for op in run.ops if "lm_head" not in op.name)

    assert macs(parts) == pytest.approx(macs(whole))
    assert parts.latency_s > whole.latency_s
    assert parts.produced_tokens == whole.produced_tokens == 1000
    assert simulate("a100_sxm", "gpt2", "prefill", prompt=1000, chunk=1000).ops == whole.ops


def test_sequences_of_several_lengths():
    run = simulate("a100_sxm", "gpt2", "decode", context=(100, 900))
    assert (run.batch, run.context) == (2, 900)
    assert run.kv_bytes == simulate("a100_sxm", "gpt2", batch=2, context=500).kv_bytes


def test_speculation_is_paid_per_expected_token():
    plain = simulate("a100_sxm", "llama-3-8b", context=1000)
    copied = simulate("a100_sxm", "llama-3-8b", context=1000, apply="speculate(3,1.0,draft=ngram)")
    assert copied.produced_tokens == 4
    assert copied.tpot_s == pytest.approx(copied.latency_s / 4)
    assert copied.tpot_s < 0.3 * plain.tpot_s
    request = simulate(
        "a100_sxm", "gpt2", "request", prompt=100, output=9, apply="speculate(3,1.0,draft=ngram)"
    )
    assert 0 < request.tpot_s < simulate("a100_sxm", "gpt2", context=110).tpot_s


def test_an_encoder_encodes_by_itself():
    run = simulate("a100_sxm", "vit-base", formats="fp16", batch=2)
    assert (run.phase, run.batch, run.tokens) == ("encode", 2, 197)
    assert run.tpot_s is None


def test_an_encoder_decoder_keeps_its_source():
    steps = [
        simulate("a100_sxm", "t5-small", "decode", formats="bf16", context=4, prompt=prompt)
        for prompt in (100, 400)
    ]
    assert steps[1].kv_bytes - steps[0].kv_bytes == 300 * 6 * 2 * 512 * 2
    request = simulate("a100_sxm", "whisper-tiny", "request", formats="fp16", output=4)
    assert request.context == 4


def test_a_request_takes_what_changes_its_prompt_or_its_steps():
    sizes = {"prompt": 100, "output": 5}
    plain = simulate("a100_sxm", "gpt2", "request", **sizes)
    both = "prune_tokens(0.5,after=2)+speculate(2,0.5,draft=ngram)"
    done = simulate("a100_sxm", "gpt2", "request", **sizes, apply=both)
    names = [op.name for op in done.ops]
    assert any(name.startswith("prefill.pruned.") for name in names)
    assert not any(name.startswith("decode.pruned.") for name in names)
    assert done.latency_s - done.ttft_s < plain.latency_s - plain.ttft_s
    with pytest.raises(UserError, match=r"predict_kv\(gpt2\) changes nothing in this request"):
        simulate("a100_sxm", "gpt2", "request", **sizes, chunk=30, apply="predict_kv(gpt2)")
