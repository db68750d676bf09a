"""Boards that limit mean power: short runs are free, long ones are throttled, energy adds up."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from functools import cache
from math import e, log10

import numpy as np
import pytest
from hypothesis import given
from tiny import design_dict, designs, engine, graphs, matmul_graph, memory, parse, scheduled

from accel_models.design import Design
from accel_models.excursion import WINDOW_S, burst_j
from mappers.cost import saved_without
from mappers.library.machine import Machine
from mappers.plan import Schedule
from sim import analytic
from sim.event import run as event
from sim.event.engine import Engine
from sim.event.lower import program_of
from sim.event.power import over_time, with_bucket
from sim.event.trace import write
from sim.report.timeline import board, stretches
from sim.run import Run
from workloads.graph import Graph


def hot(excursion: float = 0.2, limit: str = "2 W") -> Design:
    """An array whose MACs want more than the limit leaves."""
    fast = "65536 B/cycle"
    memories = {"dram": memory("1 GiB", fast, kind="dram", energy="0.01 pJ/bit")}
    own = {"l1": memory("64 KiB", fast, energy="0.01 pJ/bit")}
    data = design_dict(memories, own, engine("systolic"), launch="1 us")
    pair = data["cores"]["core"]["matrix"]["pe"]["formats"]["fp16"]
    pair["energy"] = "100 pJ"
    data["power"] = {"limit": limit, "static": "1 W", "excursion": excursion}
    return parse(data)


@cache
def schedule(excursion: float, layers: int) -> Schedule:
    (placed,) = found = scheduled(matmul_graph(256, 256, 256), hot(excursion))
    return replace(found, placed=(replace(placed, count=layers),))


@cache
def ran(excursion: float, layers: int) -> Run:
    return event.run(schedule(excursion, layers))


def test_the_bucket_is_the_most_that_the_curve_of_short_runs_allows() -> None:
    design = hot(0.2)
    assert burst_j(design.power) == pytest.approx(2 * 0.2 * WINDOW_S * log10(e) / e)
    nothing = dict.fromkeys(("add",), 1.0)
    machine = Machine(1, 1e9, 1e9, 1, 1e9, 1, nothing, 1.0, 1.0, 0.2)
    times = np.geomspace(1e-4, 1, 2000)
    beyond = (machine.allowed_w(times) - 1.0) * times
    assert float(np.max(beyond)) == pytest.approx(burst_j(design.power), rel=1e-4)
    assert burst_j(hot(0.0).power) == 0


def test_without_an_excursion_the_limit_holds_at_once() -> None:
    run = ran(0.0, 2)
    closed = analytic.run(schedule(0.0, 2))
    assert run.latency_s >= closed.latency_s * (1 - 1e-9)
    assert run.event is not None
    assert run.event.power == ()


def test_a_short_run_is_not_throttled() -> None:
    """One multiplication of 1.7 mJ: the bucket holds 64."""
    run, closed = ran(0.2, 1), analytic.run(schedule(0.2, 1))
    assert run.latency_s < 0.7 * closed.latency_s
    assert run.event is not None
    assert [span.clock for span in run.event.power] == [1.0]
    assert run.event.stalls["power"]["busy"] == 0
    assert run.power_w > 2


def test_a_long_run_takes_what_its_energy_needs() -> None:
    """Dynamic energy is what flows in less what the bucket held, to one layer's share."""
    layers = 2000
    run, closed = ran(0.2, layers), analytic.run(schedule(0.2, layers))
    (placed,) = schedule(0.2, layers)
    joules = layers * float(placed.cost.energy_j - placed.cost.joules["static"])
    flown = (joules - burst_j(placed.plan.path.design.power)) / (2 - 1)
    assert run.latency_s == pytest.approx(flown, rel=1e-3)
    assert run.latency_s < closed.latency_s
    assert run.event is not None
    clocks = [span.clock for span in run.event.power]
    assert clocks[0] == 1.0
    assert clocks == sorted(clocks, reverse=True)
    assert clocks[-1] < 0.7
    assert run.event.power[-1].watts == pytest.approx(2, rel=0.01)
    assert sum(span.seconds for span in run.event.power) == pytest.approx(run.latency_s)


def test_layers_one_by_one_are_the_layers_at_once() -> None:
    """As one program of all copies in a row: the bucket's exact course."""
    (placed,) = schedule(0.02, 20)
    power = placed.plan.path.design.power
    program = with_bucket(program_of(placed.cost, placed.plan.path), power)
    credit, ticks = next(r.credit for r in program.resources if r.name == "power"), 0
    for _ in range(20):
        resources = tuple(
            replace(r, credit=credit) if r.name == "power" else r for r in program.resources
        )
        timeline = Engine(replace(program, resources=resources)).run()
        credit, ticks = int(timeline.credits["power"].last), ticks + timeline.ticks
    run = ran(0.02, 20)
    assert run.event is not None
    assert run.event.power[-1].clock < 1
    assert run.latency_s == pytest.approx(ticks / timeline.tick_hz, rel=1e-9)


def test_everything_adds_up_where_the_limit_holds_for_a_part() -> None:
    run = ran(0.2, 200)
    (op,) = run.ops
    assert sum(op.exposed_s.values()) == pytest.approx(op.latency_s)
    assert op.bound_by == "power" or op.exposed_s["power"] > 0
    assert run.energy_j == pytest.approx(200 * op.energy_j)
    assert op.energy_by_j["static"] == pytest.approx(op.latency_s * 1.0)
    assert run.event is not None
    assert sum(section.count for section in run.event.sections) == 200
    for name, parts in run.event.stalls.items():
        assert sum(parts.values()) == pytest.approx(run.latency_s), name


def test_nothing_changes_without_buckets() -> None:
    run = ran(0.0, 2)
    assert run.event is not None
    power = hot().power
    ops, sections, spans = over_time(run.ops, run.event.sections, power)
    assert (ops, sections, spans) == (list(run.ops), list(run.event.sections), ())


@given(designs(), graphs())
def test_between_no_limit_and_the_limit(design: Design, graph: Graph) -> None:
    """closed form without power <= event with a full bucket <= event with an empty one, which
    takes no less than its power, less what flows in before."""
    power = design.power.model_copy(update={"limit": 1.05, "excursion": 0.01})
    (placed,) = scheduled(graph, design.model_copy(update={"power": power}))
    for cost in placed.cost.stages or (placed.cost,):
        program = with_bucket(program_of(cost, placed.plan.path), power)
        empty = tuple(replace(r, credit=0) for r in program.resources)
        full, held = Engine(program).run(), Engine(replace(program, resources=empty)).run()
        free = float(cost.latency_s) - saved_without(cost).get("power", 0.0)
        assert full.seconds >= free * (1 - 1e-9)
        assert held.seconds >= full.seconds * (1 - 1e-9)
        assert held.seconds >= float(cost.work.busy.get("power", 0.0)) * (1 - 1e-9)


def test_the_trace_has_the_board_s_curves_on_the_run_s_time() -> None:
    run = ran(0.2, 200)
    text = io.StringIO()
    write(stretches(run), text, "hot", {}, board(run))
    events = json.loads(text.getvalue())["traceEvents"]
    curves = [x for x in events if x["pid"] == 2 and x["ph"] == "C"]
    clocks = [x["args"]["value"] for x in curves if x["name"] == "clock %"]
    assert clocks[0] == 100
    assert clocks[-1] < 70
    assert curves[-1]["ts"] == pytest.approx(run.latency_s * 1e6, rel=1e-6)
