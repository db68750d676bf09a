"""Attention on a host: timelines by hand, laws, and a small model on a workstation."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accel_models.read_system import read_system
from kernels_ref.errors import UserError
from sim.event.cooperation_run import cooperation_run
from sim.event.cuts import crossing, part
from sim.event.engine import Engine
from sim.event.policies import Setting
from sim.event.policies.host_attention import Layer, Rotation, host_attention_program
from sim.event.policies.host_attention_run import host_attention
from sim.event.sides import Pair
from workloads import decode, read_model
from workloads.phase import encode
from workloads.transforms import quantize

NS = 1e-9
MEMO: dict[object, object] = {}
PAIR = Pair("gpu", "cpu", 1e9, 4 * NS)  # a byte a nanosecond
LAYER = Layer(25 * NS, 6 * NS, 10 * NS, 30 * NS, 9 * NS, up=3, down=2, cache=60, added=2)
STEP = 6 + 3 + 4 + 30 + 2 + 4 + 10  # before, to the host, attention, back, after


def ticks(layers, rotation, outside=(1 * NS, 2 * NS)) -> int:
    return Engine(host_attention_program(layers, outside, PAIR, rotation)).run().ticks


def test_one_batch_goes_there_and_back():
    assert ticks([LAYER] * 3, Rotation(frozenset({1, 2}))) == 1 + 25 + 2 * STEP + 2


def test_two_batches_take_turns_at_the_host():
    """The host attends for one batch after the other; the accelerator waits for it."""
    whole = ticks([LAYER] * 3, Rotation(frozenset({0, 1, 2}), batches=2))
    begun = 2 * 1 + 6 + 3 + 4  # both batches begin, then the first one's layer until it is there
    assert whole == begun + 6 * 30 + 2 + 4 + 10 + 2
    alone = ticks([LAYER] * 3, Rotation(frozenset({0, 1, 2})))
    assert alone < whole < 2 * alone


def test_two_batches_hide_a_host_that_is_faster():
    """Attention of 5 ns: the accelerator has 16 ns a layer to do for the other batch."""
    layer = Layer(25 * NS, 6 * NS, 10 * NS, 5 * NS, 9 * NS, up=0, down=0, cache=60)
    near = Pair("gpu", "cpu", 1e9, 0.0)
    rotation = Rotation(frozenset({0, 1}), batches=2)
    program = host_attention_program([layer] * 2, (0.0, 0.0), near, rotation)
    timeline = Engine(program).run()
    assert timeline.counters["gpu"].total == timeline.ticks == 2 * 2 * 16


def test_caches_that_are_fetched_have_two_places():
    """The link brings 58 ns a layer; the third layer's begins once the first one's was read."""
    rotation = Rotation(frozenset({0, 1, 2}), on_host=False)
    first = 58 + 4 + 9  # attention of the first layer ends; 1 + 6 ns of before are hidden
    second = max(first + 10 + 6, 2 * 58 + 4) + 9
    third = max(second + 10 + 6, 3 * 58 + 4) + 9
    assert ticks([LAYER] * 3, rotation) == third + 10 + 2


def test_a_fetch_waits_for_a_place():
    """Attention so slow that both places are in use."""
    slow = Layer(0.0, 0.0, 0.0, 0.0, 1000 * NS, cache=60)
    rotation = Rotation(frozenset({0, 1, 2, 3}), on_host=False)
    jobs = Engine(host_attention_program([slow] * 4, (0.0, 0.0), PAIR, rotation)).run().jobs
    begins = [job.begin for job in jobs if job.actor.startswith("fetch")]
    assert begins == [0, 60, 64 + 1000, 64 + 2000]


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.builds(
            Layer,
            *[st.integers(0, 40).map(lambda n: n * NS)] * 5,
            *[st.integers(0, 30)] * 2,
            st.integers(30, 60),
            st.integers(0, 30),
        ),
        min_size=1,
        max_size=5,
    ),
    st.booleans(),
    st.integers(1, 3),
    st.integers(0, 5),
)
def test_between_the_busiest_and_one_after_the_other(layers, on_host, batches, away):
    rotation = Rotation(frozenset(range(min(away, len(layers)))), on_host, batches)
    timeline = Engine(host_attention_program(layers, (NS, NS), PAIR, rotation)).run()
    busy = [counters.total for counters in timeline.counters.values()]
    trips = 2 * 4 * batches * len(rotation.hosted)
    assert max(busy) <= timeline.ticks <= sum(busy) + trips


@cache
def small(batch: int = 8, context: int = 512):
    return read_model("opt-125m").build(decode(batch, context))


@cache
def ran(batch: int = 8, **knobs):
    return cooperation_run(host_attention(on("a6000_xeon", batch), **knobs))


def on(system: str, batch: int = 8) -> Setting:
    return Setting(small(batch), read_system(system), memo=MEMO)


def test_what_crosses_are_queries_keys_values_and_outputs():
    graph = small()
    names = {"k_append", "v_append", "attention"}
    layer = {node.op.name for node in graph if node.layered}
    row = 8 * 768 * 2
    assert crossing(part(graph, layer), names) == (3 * row, row)


def test_machines_share_a_model():
    run = ran(layers=4)
    caches = small().kv_bytes
    assert [stage.kv_bytes for stage in run.stages] == [caches * 8 // 12, caches * 4 // 12]
    assert [stage.weight_bytes for stage in run.stages] == [small().weight_bytes, 0]
    attention = {op.name: op.count for op in run.ops if op.kind == "attention"}
    assert attention == {"gpu.attention": 8, "cpu.attention": 4}
    stalls = run.event.stalls
    for parts in stalls.values():
        assert sum(parts.values()) == pytest.approx(run.latency_s)
    assert run.event.analytic_latency_s <= run.latency_s
    assert sum(stage.energy_j for stage in run.stages) == pytest.approx(run.energy_j, rel=1e-3)
    assert sum(run.latency_trust.shares.values()) == pytest.approx(1.0)


def test_nothing_hosted_is_the_accelerator_alone():
    run = ran(layers=0)
    assert all(op.name.startswith("gpu.") for op in run.ops)
    assert run.event.stalls["gpu"]["busy"] == pytest.approx(run.latency_s)


def test_batches_are_served_and_counted():
    one, two = ran(layers=12), ran(layers=12, batches=2)
    assert two.batch == 2 * one.batch == 16
    assert one.latency_s < two.latency_s <= 2 * one.latency_s
    assert two.stages[1].kv_bytes == 2 * one.stages[1].kv_bytes


def test_fetching_moves_the_caches():
    run = ran(layers=12, by="fetch")
    moved = {op.name: op.count * op.mapping["bytes"] for op in run.ops if op.kind == "collective"}
    added = 2 * 12 * 8 * 768 * 2
    assert moved["new rows to host"] == added
    assert moved["fetch"] == small().kv_bytes - added
    assert {op.name for op in run.ops if op.kind == "attention"} == {"gpu.attention"}


def test_layers_are_the_last_or_spread():
    def hosted(where: str) -> list[int]:
        jobs = ran(layers=4, where=where).event.sections[0].timeline.jobs
        return [int(j.actor.split()[1]) for j in jobs if j.actor.startswith("attention")]

    assert hosted("last") == [8, 9, 10, 11]
    assert hosted("spread") == [2, 5, 8, 11]


@pytest.mark.parametrize(
    ("knobs", "says"),
    [
        ({"by": "cpu"}, "no by 'cpu'"),
        ({"where": "first"}, "no where 'first'"),
        ({"batches": 0}, "batches is 0"),
        ({"layers": 13}, "layers is 13; of 0 to 12"),
        ({}, "all caches fit a6000"),
    ],
)
def test_what_is_wrong_is_said(knobs, says):
    with pytest.raises(UserError, match=says):
        host_attention(on("a6000_xeon"), **knobs)


def test_an_encoder_has_no_cache_to_attend_to():
    graph = quantize(read_model("bert-base").build(encode(1, 64)), "fp16")
    with pytest.raises(UserError, match="no layer of bert-base reads a cache in phase encode"):
        host_attention(Setting(graph, read_system("a6000_xeon")), layers=1)


def test_other_systems_are_refused():
    with pytest.raises(UserError, match="8 x gpu: an accelerator and its host are a system of two"):
        host_attention(on("dgx_a100"))
