"""Experts on an accelerator, on its host, and on their way: timelines by hand, laws, a model."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accel_models.read_system import read_system
from kernels_ref.errors import UserError
from sim.event.cooperation_run import cooperation_run
from sim.event.cuts import kinds_of_layers
from sim.event.engine import Engine
from sim.event.expert_layers import dealt, kind_of
from sim.event.policies import Setting
from sim.event.policies.host_experts import (
    PIECES,
    Expert,
    ExpertLayer,
    Split,
    host_experts_program,
    split,
)
from sim.event.policies.host_experts_run import host_experts
from sim.event.sides import Pair, sides_of
from workloads import decode, read_model
from workloads.transforms import token_major

NS = 1e-9
US = 1e-6
PAIR = Pair("gpu", "cpu", 1e9, 0.0)  # a byte a nanosecond
MEMO: dict[object, object] = {}


def expert(gpu: int, cpu: int, memory: int = 0, size: int = 1600) -> Expert:
    """Of so many ns, in multiples of PIECES where they are shared."""
    return Expert(gpu * NS, cpu * NS, memory * NS, size)


def layer(*missed: Expert, held: int = 100) -> ExpertLayer:
    return ExpertLayer(50 * NS, held * NS, 30 * NS, missed, 1e12)


def ticks(of: ExpertLayer, chosen: Split) -> int:
    return Engine(host_experts_program(of, PAIR, chosen)).run().ticks


THREE = layer(expert(200, 3200), expert(150, 2400), expert(100, 1600))


def test_all_loaded_is_the_link_and_the_last_kernel():
    """Loads of 1600 ns one after the other; kernels hide behind the next load."""
    assert split(THREE, PAIR, "all") == Split((0, 1, 2), ())
    assert ticks(THREE, Split((0, 1, 2), ())) == 50 + 3 * 1600 + 100 + 30


def test_all_hosted_is_the_host():
    assert split(THREE, PAIR, "none") == Split((), (2, 1, 0))
    assert ticks(THREE, Split((), (2, 1, 0))) == 50 + 3200 + 2400 + 1600 + 30


def test_greedy_takes_from_both_ends():
    """The host ends the light one at 1600, the link the heavy one at 1800; then the host the middle
    one at 4000, the link at 3350."""
    chosen = split(THREE, PAIR)
    assert chosen == Split((0, 1), (2,))
    assert ticks(THREE, chosen) == 50 + 3200 + 150 + 30


def test_rows_and_sums_go_over_the_link():
    one = Expert(100 * NS, 1600 * NS, 0.0, 10_000, up=40, down=60)
    far = Pair("gpu", "cpu", 1e9, 7 * NS)
    program = host_experts_program(layer(one), far, Split((), (0,)))
    assert Engine(program).run().ticks == 50 + 40 + 7 + 1600 + 60 + 7 + 30


def test_loads_and_the_host_take_turns_at_its_memory():
    """The host's kernel is its memory's time; a load needs a tenth of that. Together neither is
    done before the memory is, and the memory never waits."""
    one, other = expert(10, 16_000, 16_000, 1600), expert(10, 16_000, 16_000, 16_000)
    shared = ExpertLayer(0.0, 0.0, 0.0, (other, one), 1e10)
    timeline = Engine(host_experts_program(shared, PAIR, Split((0,), (1,)))).run()
    assert timeline.counters["host_memory"].total == 16_000 + 1600
    assert 17_600 <= timeline.ticks <= 17_600 + 1000 + 16_000 // PIECES


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(*[st.integers(1, 300)] * 2), min_size=1, max_size=6),
    st.integers(1, 400),
    st.integers(0, 300),
)
def test_greedy_is_no_worse_than_its_last_choice(times, size, held):
    """Both queues together; every expert once; never later than the host and the link one after the
    other."""
    missed = [expert(g * 16, c * 16, 0, size * 16) for g, c in sorted(times, reverse=True)]
    of = layer(*missed, held=held)
    chosen = split(of, PAIR)
    assert sorted(chosen.loaded + chosen.hosted) == list(range(len(missed)))
    timeline = Engine(host_experts_program(of, PAIR, chosen)).run()
    busy = [counters.total for counters in timeline.counters.values()]
    assert max(busy) <= timeline.ticks <= sum(busy)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 8), st.integers(1, 300), st.integers(1, 300), st.integers(1, 50))
def test_greedy_is_within_one_expert_of_the_best_split(count, load, host, gpu):
    """Of equal experts: the best of all numbers that are loaded is at most one expert shorter."""
    of = layer(*[expert(gpu * 16, host * 16, 0, load * 16)] * count, held=0)
    greedy = ticks(of, split(of, PAIR))
    numbers = tuple(range(count))
    best = min(ticks(of, Split(numbers[:k], numbers[k:])) for k in range(count + 1))
    assert best <= greedy <= best + 16 * min(host, load + gpu)


@cache
def model(batch: int = 16):
    return read_model("olmoe-1b-7b").build(decode(batch, 256))


def on(system: str = "a6000_xeon", batch: int = 16) -> Setting:
    return Setting(model(batch), read_system(system), memo=MEMO)


@cache
def ran(**knobs):
    return cooperation_run(host_experts(on(), **knobs))


def test_a_chain_for_some_experts_is_a_part_of_the_whole():
    kind = kind_of(model(), kinds_of_layers(model())[0])
    assert [node.op.name.rpartition(".")[2] for node in kind.chain] == [
        "gate_up_proj",
        "act_mul",
        "down_proj",
    ]
    some = dealt(model(), kind, kind.rows[:5])
    macs = [sum(node.op.macs for node in dealt(model(), kind, [n])) for n in kind.rows[:5]]
    assert sum(node.op.macs for node in some) == sum(macs)
    assert sum(kind.rows) == 16 * 8


def test_grouped_kernels_run_step_by_step():
    """Their loads overlap with what they compute, as those of any multiplication."""
    kind = kind_of(model(), kinds_of_layers(model())[0])
    host = sides_of(on()).host
    for placed in host.placed(dealt(model(), kind, [2])):
        alone = float(placed.cost.latency_s)
        assert alone * (1 - 1e-9) <= host.seconds([placed]) < 1.5 * alone


def test_every_way_is_between_its_busiest_and_the_sum():
    for load in ("greedy", "all", "none"):
        run = ran(cached=0.25, load=load)
        assert run.event.analytic_latency_s <= run.latency_s
        for parts in run.event.stalls.values():
            assert sum(parts.values()) == pytest.approx(run.latency_s)
    seconds = {load: ran(cached=0.25, load=load).latency_s for load in ("greedy", "all", "none")}
    assert seconds["greedy"] <= min(seconds["all"], seconds["none"])


def test_work_is_that_of_the_graph():
    for knobs in ({"cached": 0.25}, {"cached": 16.0, "which": "popular"}, {"cached": 0.0}):
        run = ran(**knobs)
        assert sum(op.count * op.macs for op in run.ops) == sum(
            node.count * node.op.macs for node in model()
        )


def test_more_experts_held_take_less_time():
    seconds = [ran(cached=share).latency_s for share in (0.0, 0.5, 1.0)]
    assert seconds == sorted(seconds, reverse=True)
    assert "cpu" not in ran(cached=1.0).event.stalls


def test_machines_hold_what_they_are_told():
    run = ran(cached=0.25)
    gpu, cpu = run.stages
    experts = cpu.weight_bytes
    assert gpu.weight_bytes == pytest.approx(model().weight_bytes - 0.75 * experts)
    assert ran(cached=16.0).stages[0].weight_bytes == gpu.weight_bytes


def test_a_share_of_an_expert_is_held_in_as_many_layers():
    """Of two active experts of eight, three held: 0.75 of a layer's; 24 of 32 layers hold one."""
    graph = read_model("mixtral-8x7b").build(decode(1, 64))
    setting = Setting(graph, read_system("a6000_xeon"), memo=MEMO)
    made = host_experts(setting, cached=3.0)
    counts = {s.name: s.count for s in made.stretches if "experts:" in s.name}
    assert counts == {
        "layer, experts: 0 held, 0 loaded, 2 on the host": 8,
        "layer, experts: 1 held, 0 loaded, 1 on the host": 24,
    }


def test_as_many_as_fit():
    graph = read_model("mixtral-8x7b").build(decode(1, 64))
    setting = Setting(graph, read_system("a6000_xeon"), memo=MEMO)
    run = cooperation_run(host_experts(setting))
    assert run.stages[0].fits
    assert run.stages[0].need_bytes > 0.85 * run.stages[0].memory_bytes


@pytest.mark.parametrize(
    ("knobs", "says"),
    [
        ({"cached": 0.5, "load": "some"}, "no load 'some'"),
        ({"cached": 0.5, "which": "all"}, "no which 'all'"),
        ({"cached": 65.0}, "cached is 65; a share up to 1, or a whole number"),
        ({"cached": 2.5}, "cached is 2.5"),
        ({"cached": -1.0}, "cached is -1"),
        ({}, "olmoe-1b-7b fits a6000 with all experts"),
    ],
)
def test_what_is_wrong_is_said(knobs, says):
    with pytest.raises(UserError, match=says):
        host_experts(on(), **knobs)


def test_models_without_experts_and_token_by_token_are_refused():
    dense = Setting(read_model("opt-125m").build(decode(1, 64)), read_system("a6000_xeon"))
    with pytest.raises(UserError, match="opt-125m has no layers of experts"):
        host_experts(dense)
    with pytest.raises(UserError, match="leave out token_major"):
        host_experts(Setting(token_major(model()), read_system("a6000_xeon")), cached=0.5)
