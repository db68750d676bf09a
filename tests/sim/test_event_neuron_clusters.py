"""Neuron clusters: timelines by hand, laws, and a small model on a phone."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accel_models.read_design import read_design
from kernels_ref.errors import UserError
from sim.event.cooperation_run import cooperation_run
from sim.event.cuts import kinds_of_layers
from sim.event.engine import Engine
from sim.event.neuron_layers import Knobs, NeuronLayer, Phone
from sim.event.neurons import mlp_of, neurons, predictor
from sim.event.policies import Setting
from sim.event.policies.neuron_clusters import (
    PIECES,
    ClusterLayer,
    Engines,
    Load,
    neuron_clusters_program,
)
from sim.event.policies.neuron_clusters_run import neuron_clusters
from workloads import decode, prefill, read_model
from workloads.builders import build
from workloads.config import ModelConfig

NS = 1e-9
NAMES = Engines("npu", "cpu", "dram", "flash", 0.0)
NOTHING = Load()
MEMO: dict[object, object] = {}


def load(ns: int, memory: int = 0) -> Load:
    return Load(ns * NS, memory * NS)


def layer(clusters: int, away: int, **parts: Load) -> ClusterLayer:
    """Of nothing but these parts."""
    names = ("hot", "predict", "first", "rest", "read")
    return ClusterLayer((), (), *(parts.get(n, NOTHING) for n in names), clusters, away)


def ticks(of: ClusterLayer, matrix: bool = False, engines: Engines = NAMES) -> int:
    return Engine(neuron_clusters_program(of, engines, matrix)).run().ticks


BOUND_BY_FLASH = layer(4, 4, first=load(4 * 30), rest=load(4 * 40), read=load(800))


def test_clusters_by_themselves_leave_the_reads_and_the_last_rest():
    assert ticks(BOUND_BY_FLASH) == 800 + 40


def test_barriers_make_flash_wait_for_the_last_first_matrix():
    assert ticks(BOUND_BY_FLASH, matrix=True) == 400 + 30 + 400 + 40


def test_what_is_in_memory_is_the_cpu_alone():
    parts = {"predict": load(40), "first": load(80), "rest": load(160)}
    assert ticks(layer(4, 0, **parts)) == ticks(layer(4, 0, **parts), matrix=True) == 280


def test_clusters_in_memory_fill_the_time_of_reads():
    """One of four is read. Its neurons come at 100, when the CPU is at another cluster until 120;
    first matrix until 140, the other read until 240, the rest until 280."""
    parts = {"first": load(4 * 20), "rest": load(4 * 40), "read": load(200)}
    timeline = Engine(neuron_clusters_program(layer(4, 1, **parts), NAMES, False)).run()
    assert timeline.ticks == 280
    assert timeline.counters["cpu"].total == 240


def test_ops_around_and_hot_neurons_beside():
    around = ClusterLayer(
        (("npu", 7 * NS), ("cpu", 5 * NS)), (("npu", 3 * NS),), load(320), *[load(64)] * 3, NOTHING,
        4, 0,
    )  # fmt: skip
    assert ticks(around) == 7 + 5 + 320 + 3


def test_engines_take_turns_at_the_memory():
    """Both bound by it: neither is slower than the sum, and the memory never waits."""
    both = layer(PIECES, 0, hot=load(1600, 1600), rest=load(1600, 1600))
    timeline = Engine(neuron_clusters_program(both, NAMES, False)).run()
    assert timeline.counters["dram"].total == 3200 == timeline.ticks


def test_a_read_takes_its_latency():
    far = Engines("npu", "cpu", "dram", "flash", 25 * NS)
    assert ticks(layer(1, 1, read=load(200), rest=load(10)), engines=far) == 2 * (100 + 25) + 10


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(*[st.integers(0, 60)] * 2), min_size=5, max_size=5),
    st.integers(1, 6),
    st.integers(0, 6),
)
def test_barriers_never_help_and_all_are_between_the_bounds(parts, clusters, away):
    scale = 2 * clusters * max(1, min(away, clusters)) * PIECES
    names = ("hot", "predict", "first", "rest", "read")
    drawn = {n: load(a * scale, b * scale) for n, (a, b) in zip(names, parts, strict=True)}
    of = layer(clusters, min(away, clusters), **drawn)
    for matrix in (False, True):
        timeline = Engine(neuron_clusters_program(of, NAMES, matrix)).run()
        busy = [counters.total for counters in timeline.counters.values()] or [0]
        assert max(busy) <= timeline.ticks <= sum(busy)


TINY = {
    "model_type": "llama",
    "hidden_size": 128,
    "intermediate_size": 320,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "vocab_size": 96,
    "hidden_act": "silu",
    "torch_dtype": "float16",
}


@cache
def model(batch: int = 1):
    return build(ModelConfig("tiny", TINY, "tiny.json"), decode(batch, 32))


def on(design: str = "snapdragon_8_gen_3", batch: int = 1) -> Setting:
    return Setting(model(batch), read_design(design), memo=MEMO)


def ran(batch: int = 1, **knobs):
    return cooperation_run(neuron_clusters(on(batch=batch), **{"hot": 0.25, "active": 0.1} | knobs))


def test_neurons_of_an_mlp():
    graph = model()
    mlp = mlp_of(graph, kinds_of_layers(graph)[0])
    assert mlp is not None
    assert (mlp.width, mlp.matrices, mlp.experts) == (320, 3, 1)
    assert mlp.bytes(graph) == 3 * 128 * 2
    some = neurons(graph, mlp, 80)
    assert [node.op.macs for node in some] == [80 * 128, 80 * 128, 0, 80 * 128]
    assert some.tensors["gate_proj.weight"].shape == (80, 128)
    assert some.tensors["down_proj.weight"].shape == (128, 80)
    assert sum(node.op.macs for node in predictor(graph, mlp, 16, 240)) == 16 * (128 + 240)


def test_neurons_of_experts():
    graph = read_model("mixtral-8x7b").build(decode(1, 64))
    mlp = mlp_of(graph, kinds_of_layers(graph)[0])
    assert mlp is not None
    assert (mlp.width, mlp.matrices, mlp.experts) == (14336, 3, 2)
    assert mlp.bytes(graph) == 3 * 4096 * 2
    half = neurons(graph, mlp, 7168)
    whole = sum(node.op.macs for node in mlp.nodes)
    assert sum(node.op.macs for node in half) == whole // 2


@pytest.mark.slow  # maps on three kinds of cores
def test_a_phone_runs_it():
    run = ran(cached=0.5, rank=16, clusters=8)
    assert {"npu", "cpu", "ufs"} <= run.event.stalls.keys()
    assert not run.stages
    assert run.chips == 1
    away = 0.5 * 0.75 * 3 * 3 * 320 * 128 * 2
    assert run.backing["ufs"].bytes == away
    assert run.main_bytes == model().held_bytes - away
    read = next(op for op in run.ops if op.kind == "fetch")
    cold = round(320 * 0.75 * 0.1)
    assert read.count == 3
    assert read.mapping["bytes"] == 0.5 * cold * 2 * 4096  # of each neuron two granules
    assert run.event.analytic_latency_s <= run.latency_s


def test_more_tokens_need_more_neurons():
    def cold(batch: int) -> int:
        setting = on(batch=batch)
        needed = 1 - 0.9**batch
        phone = Phone(setting, NAMES, Knobs(0.25, needed, 1.0, 1.0, 8, 0, "cluster"))
        nodes = kinds_of_layers(setting.graph)[0]
        mlp = mlp_of(setting.graph, nodes)
        assert mlp is not None
        return NeuronLayer(phone, nodes, mlp).cold

    assert [cold(1), cold(4)] == [24, 83]  # of 240, 0.1 and 0.3439


@pytest.mark.slow  # maps on three kinds of cores
def test_caching_more_is_faster_and_all_reads_nothing():
    seconds = [ran(cached=share).latency_s for share in (0.0, 0.5, 1.0)]
    assert seconds == sorted(seconds, reverse=True)
    assert not ran(cached=1.0).backing
    by_matrix = ran(cached=0.0, pipeline="matrix").latency_s
    assert by_matrix >= seconds[0]


@pytest.mark.slow  # maps on three kinds of cores
def test_hits_are_what_is_found_whatever_is_cached():
    often, seldom = ran(cached=0.5, hits=0.9), ran(cached=0.5)
    assert often.backing == seldom.backing
    read = [next(op for op in run.ops if op.kind == "fetch") for run in (often, seldom)]
    assert read[0].mapping["bytes"] == pytest.approx(0.2 * read[1].mapping["bytes"])


@pytest.mark.parametrize(
    ("knobs", "says"),
    [
        ({"pipeline": "layer"}, "no pipeline 'layer'"),
        ({"hot": 1.0}, "hot is 1; a share"),
        ({"active": 1.5}, "active is 1.5"),
        ({"cached": -0.1}, "cached is -0.1"),
        ({"clusters": 0}, "clusters is at least 1"),
        ({"dense": "tpu"}, "snapdragon_8_gen_3 has no cores 'tpu'"),
        ({"dense": "cpu"}, "dense and sparse are both cpu"),
        ({"flash": "nvme"}, "no backing memory 'nvme'"),
    ],
)
def test_what_is_wrong_is_said(knobs, says):
    with pytest.raises(UserError, match=says):
        ran(**knobs)


def test_designs_and_phases_without_it_are_refused():
    with pytest.raises(UserError, match="has no cores 'npu'"):
        neuron_clusters(on("a6000"), 0.1, 0.1)
    with pytest.raises(UserError, match="m2_ultra has no backing memory"):
        neuron_clusters(on("m2_ultra"), 0.1, 0.1, dense="gpu")
    prompt = build(ModelConfig("tiny", TINY, "tiny.json"), prefill(1, 32))
    with pytest.raises(UserError, match="phase prefill has too many tokens"):
        neuron_clusters(Setting(prompt, read_design("snapdragon_8_gen_3")), 0.1, 0.1)
