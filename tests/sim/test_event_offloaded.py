"""Layers that fetch, by events: closed forms by hand, and schedules of real designs."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels_ref.errors import UserError
from sim.api import simulate
from sim.event.engine import Engine
from sim.event.policies.offloaded import PIECES, Compute, Layer, Offloaded
from sim.event.policies.streamed import Places, streamed

UNIT = PIECES * 1e-12  # seconds whose pieces are a tick each
DESIGN, MODEL = "a100_sxm_host", "opt-125m"


def times(named: dict[str, float]) -> dict[str, float]:
    return {name: units * UNIT for name, units in named.items()}


def layers(*parts, before=0, computing=None, loading=None) -> Offloaded:
    """(count, compute, ahead[, late]) in units."""
    found = []
    for count, compute, ahead, *late in parts:
        after = Compute(compute * UNIT, times(computing or {}))
        loads = (times({"host": n}) for n in (ahead, *(late or [0])))
        first = Compute(before * UNIT)
        found.append(Layer(count, first, after, *loads, times(loading or {})))
    return Offloaded(tuple(found), ("op",))


def units(found, count=2, fold=True, **places) -> float:
    return Engine(streamed(found, Places(count, **places)), fold=fold).run().ticks / PIECES


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 12), st.integers(1, 50), st.integers(1, 50), st.integers(1, 4), st.booleans())
def test_the_closed_form(count, compute, load, places, fold):
    """Two places hide the shorter of both, one hides nothing; exact."""
    expected = (
        count * (load + compute)
        if places == 1
        else load + (count - 1) * max(load, compute) + compute
    )
    assert units(layers((count, compute, load)), places, fold=fold) == expected


def test_layers_that_stay_are_not_loaded():
    """Two of six: four loads a pass, the first beside the two; all six: nothing to wait for."""
    found = layers((2, 20, 0), (4, 20, 100))
    timeline = Engine(streamed(found, Places(passes=3))).run()
    assert timeline.counters["host"].total == 3 * 4 * 100 * PIECES
    assert timeline.counters["cores"].total == 3 * 6 * 20 * PIECES
    assert units(layers((6, 20, 0))) == 6 * 20
    assert units(found) == 20 + 4 * 100 + 20  # the second that stays takes the other place first


def test_what_is_late_hides_behind_nothing():
    """Its layer waits for it, and it for the layer before."""
    assert units(layers((5, 20, 0, 30))) == 5 * (20 + 30)


def test_what_is_late_goes_first():
    """Loads ahead wait, at most for the piece that is under way: 10 late and 50 ahead a layer, 20
    of compute, so that the link is always busy once it has begun."""
    assert units(layers((5, 20, 50, 10))) == pytest.approx(50 + 10 + 4 * 60 + 20, abs=11)


def test_the_outermost_memory_serves_both():
    """Compute keeps it busy for 30, loads for 30 more: 60 a layer though each is 40 long."""
    found = layers((20, 40, 40), computing={"hbm": 30}, loading={"hbm": 30})
    assert units(found) == pytest.approx(20 * 60, rel=0.05)
    assert units(found) >= 20 * 60


def test_folded_is_unfolded():
    for found in (layers((12, 70, 100)), layers((3, 70, 0), (9, 70, 100, 7))):
        assert units(found, passes=4) == units(found, passes=4, fold=False)


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 12), st.integers(1, 50), st.integers(1, 50), st.integers(1, 6), st.booleans())
def test_a_ring(count, compute, load, sections, fold):
    """By its recurrence; and compute waits for nothing where the closed form says so."""
    sections = min(sections, count)
    loaded, done = [0] * sections, list[int]()
    for i in range(count + sections):
        if i >= sections:
            loaded.append(max(loaded[-1], done[i - sections]) + load)
        if i < count:
            done.append(max(done[-1] if done else 0, loaded[i]) + compute)
    found = layers((count, compute, load))
    assert units(found, sections, fold, there=sections) == loaded[-1]
    if sections > 1 and load <= compute:
        assert loaded[-1] == count * compute + load


def test_a_ring_goes_on_from_step_to_step():
    """Of a long run a layer takes the longer of both."""
    found = layers((6, 20, 50))
    assert units(found, 3, there=3, passes=100) / 100 == pytest.approx(6 * 50, rel=0.02)


def test_a_longer_ring_works_on_beside_layers_that_stay():
    """Ten layers that stay and ten that do not: their loads have all of the compute to hide in, if
    there is room; with two places they begin when the last two that stay are computed."""
    found = layers((10, 30, 0), (10, 30, 55))
    long, short = (units(found, n, there=n, passes=50) / 50 for n in (12, 2))
    assert long == pytest.approx(600, rel=0.02)
    assert short == 850


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 5), st.integers(1, 9), st.integers(1, 9), st.integers(1, 9))
def test_what_is_late_is_pipelined_with_what_needs_it(count, before, load, after):
    """B + L/p + (p - 1) max(L, R)/p + R/p a layer; units here are of p pieces each."""
    found = layers((count, after, 0, load), before=before)
    pieces = load + (PIECES - 1) * max(load, after) + after
    assert units(found, pipelined=True) == count * (before + pieces / PIECES)
    assert units(found) == count * (before + load + after)


def latency(policy: str | None, apply: str = "offload(weights)", **more) -> float:
    return simulate(
        DESIGN, MODEL, context=64, apply=apply, simulator="event", policy=policy, **more
    ).latency_s


def test_a_schedule_streams_its_layers():
    """One pass is longer than the closed form by what nothing hides at its ends; one buffer hides
    nothing: F + C a layer."""
    alone = simulate(DESIGN, MODEL, context=64, simulator="event")
    run = simulate(DESIGN, MODEL, context=64, apply="offload(weights)", simulator="event",
                   policy="layer_streaming")  # fmt: skip
    fetch = next(op for op in run.ops if op.kind == "fetch")
    outside = {"lm_head", "embed_tokens", "embed_positions", "position_add"}
    outside |= {"decoder.final_layer_norm"}
    rest = sum(op.latency_s for op in alone.ops if op.name in outside)
    compute = (alone.latency_s - rest) / 12
    load = fetch.busy_s["host"]
    expected = load + 11 * max(load, compute) + compute + rest
    assert run.latency_s == pytest.approx(expected, rel=2e-3)
    assert run.event is not None
    assert run.event.policy == "layer_streaming"
    assert run.event.analytic_latency_s < run.latency_s
    assert latency("layer_streaming(buffers=1)") == pytest.approx(
        12 * (load + compute) + rest, rel=2e-3
    )
    assert sum(op.count * sum(op.exposed_s.values()) for op in run.ops) == pytest.approx(
        run.latency_s
    )


@pytest.mark.parametrize("batch", [1, 32])
def test_a_stream_is_as_fast_as_the_slower_of_link_and_compute(batch):
    """ZeRO-Inference, arXiv 2207.00032, sec. 6: small batches wait for the link, large ones
    compute; the first load and the last layer's compute are all that is beside."""
    words = {"phase": "prefill", "prompt": 512, "batch": batch, "simulator": "event"}
    alone = simulate(DESIGN, MODEL, **words)
    run = simulate(DESIGN, MODEL, apply="offload", policy="layer_streaming", **words)
    fetch = next(op for op in run.ops if op.kind == "fetch")
    link, compute = 12 * fetch.busy_s["host"], alone.latency_s
    ends = (link + compute) / 12
    assert max(link, compute) <= run.latency_s <= max(link, compute) + 2 * ends
    assert (link < compute) == (batch == 32)


def test_work_and_bytes_are_those_of_the_ops_alone():
    runs = [
        simulate(DESIGN, MODEL, context=64, apply="offload(weights)", simulator="event", policy=p)
        for p in (None, "layer_streaming")
    ]
    for mine, other in zip(*(run.ops for run in runs), strict=True):
        assert (mine.name, mine.macs, mine.traffic) == (other.name, other.macs, other.traffic)
        dynamic = [sum(op.energy_by_j.values()) - op.energy_by_j["static"] for op in (mine, other)]
        assert dynamic[0] == pytest.approx(dynamic[1])


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ("layer_steaming", "unknown policy 'layer_steaming'; did you mean 'layer_streaming'?"),
        ("layer_streaming(buffer=2)", "unexpected keyword argument 'buffer'"),
        ("layer_streaming(buffers=2.5)", "'2.5' is not a whole number"),
        ("layer_streaming(buffers=0)", "buffers is 0; at least 1 is needed"),
        ("layer_streaming(passes=-1)", "passes is -1; at least 1"),
        ("layer_streaming(", "is not a policy; write name"),
        (
            "layer_streaming+layer_streaming",
            "layer_streaming runs self_attn_layer_norm already; leave one out",
        ),
    ],
)
def test_policies_that_cannot_be(policy, message):
    with pytest.raises(UserError, match=message.replace("(", "\\(").replace("?", "\\?")):
        latency(policy)


def test_nothing_to_stream():
    with pytest.raises(UserError, match="no layer of opt-125m fetches anything; keep weights"):
        latency("layer_streaming", apply="quantize(int8)")


def test_a_policy_is_run_by_events():
    with pytest.raises(UserError, match="--policy: this is run by --sim event; add it"):
        simulate(DESIGN, MODEL, policy="layer_streaming")
