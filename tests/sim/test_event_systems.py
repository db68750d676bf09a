"""Systems by events: laws on random ones, small cases to the tick, and what a user sees."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from io import StringIO
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter
from sharded import layer
from tiny import design_dict, engine, memory, one_core, parse

from accel_models.collective_phases import Phases, phases
from accel_models.collectives import hops
from accel_models.links import Dim
from accel_models.path import Path, memory_path
from accel_models.read_design import read_design
from accel_models.read_system import parse_system, read_system
from accel_models.system import System
from kernels_ref.formats import FORMATS
from mappers.collective import collective_plan
from mappers.cost import Work, compose
from mappers.overlap import pipelined
from mappers.partition import SystemSchedule, map_system
from mappers.plan import Placed, Plan
from sim import on_system, simulate
from sim.event import on_system as by_events
from sim.event import run as event_run
from sim.event.engine import Engine
from sim.event.exchanges import sends_on
from sim.event.overlapped import overlapped_program
from sim.event.pipeline import Stage, pipeline
from sim.event.program import FINE
from sim.event.trace import write
from sim.event.trace_document import TraceDocument
from sim.report.timeline import batches, stretches, timeline_cards
from sim.run import Run
from workloads.graph import Graph, Node, Op, Tensor, check
from workloads.ops import Collective, Einsum
from workloads.sharding.sharded import Sharded

US = FINE * 1000  # ticks, at 1 GHz


@st.composite
def systems(draw: st.DrawFn) -> System:
    """Four chips of a kind on a random link."""
    topology = draw(st.sampled_from(["switch", "full_mesh", "ring", "mesh"]))
    shape = ", shape: [2, 2]" if topology == "mesh" else ""
    rate, latency = (
        draw(st.sampled_from(["1 GB/s", "30 GB/s"])),
        draw(st.sampled_from(["1 ns", "1 us"])),
    )
    system = parse_system(f"""\
source: "guess: for tests"
machines: {{chip: {{design: a100_sxm, count: 4}}}}
links: {{wire: {{topology: {topology}{shape}, bandwidth: {rate}, efficiency: 1.0,
               latency: {latency}, energy: 5 pJ/bit}}}}
""")
    system._designs["chip"] = one_core(draw(st.sampled_from(["systolic", "dot_product", "simd"])))
    return system


def half_a_layer(tokens: int, ways: int, function: str, hand_on: bool) -> Graph:
    """A projection, a collective over its output, and perhaps what is sent to the next stage."""
    shapes = {"x": (tokens, 48), "w": (64, 48), "y": (tokens, 64), "z": (tokens, 64)}
    tensors = {
        name: Tensor(name, shape, FORMATS["fp16"], "weight" if name == "w" else "activation")
        for name, shape in {**shapes, "sent": (tokens, 64)}.items()
    }
    size = tokens * 64
    ops: list[Op] = [
        Einsum("project", ("x", "w"), "y", {"m": tokens, "n": 64, "k": 48}, "mk,nk->mn"),
        Collective("exchange", ("y",), "z", function, 2 * size, size, ways, "tensor"),
    ]
    if hand_on:
        ops.append(Collective("hand_on", ("z",), "sent", "send", 2 * size, size, 2, "stage"))
    nodes = tuple(Node(op, 2 if op.name != "hand_on" else 1) for op in ops)
    return check(Graph("half", "prefill", 1, tokens, nodes, tensors, tokens))


def staged(
    tokens: int, ways: int, stages: int, function: str = "all_reduce"
) -> tuple[Graph, Sharded]:
    """So many stages of it, of `ways` chips each."""
    graphs = [half_a_layer(tokens, ways, function, n < stages - 1) for n in range(stages)]
    return graphs[0], Sharded(tuple(graphs), {"tensor": ways})


def runs(graph: Graph, found: SystemSchedule) -> tuple[Run, Run]:
    return on_system.run(graph, found), by_events.run(graph, found)


@given(systems(), st.sampled_from([(1, 2, 1), (16, 4, 1), (64, 2, 2), (7, 1, 3)]))
@settings(max_examples=12)
def test_between_the_closed_form_and_the_sum_of_parts(system: System, shape: tuple[int, int, int]):
    """Of every op of every stage, and of the whole; every resource's time adds up."""
    graph, sharded = staged(*shape)
    found = map_system(sharded, system)
    closed, run = runs(graph, found)
    for plan in found.stages:
        for placed in plan.schedule:
            programs = list(by_events.chip_programs(placed, plan))
            seconds = sum(Engine(program).run().seconds for program in programs)
            uses = sum(
                len(each.uses) * each.count * actor.repeat
                for program in programs
                for actor in program.actors
                for each in actor.cycle
            )
            assert seconds >= float(placed.cost.latency_s) * (1 - 1e-9), placed.op.name
            most = placed.cost.upper_bound_s() * (1 + 1e-9) + uses / (1e9 * FINE)
            assert seconds <= most, placed.op.name
    assert closed.latency_s * (1 - 1e-9) <= run.latency_s
    assert run.event is not None
    for name, parts in run.event.stalls.items():
        assert sum(parts.values()) == pytest.approx(run.latency_s), name
    static = found.system.design("chip").power.static
    more = sum(len(s.chips) for s in found.stages) / len(found.stages) * static
    assert run.energy_j - closed.energy_j == pytest.approx(
        more * (run.latency_s - closed.latency_s), rel=1e-3, abs=1e-9 * run.energy_j
    )


def test_where_nothing_contends_it_is_the_closed_form():
    """Chips whose array is far slower than their memories, additions and links: within 1 %."""
    fast = "65536 B/cycle"
    memories = {"dram": memory("1 GiB", fast, kind="dram")}
    data = design_dict(memories, {"l1": memory("64 KiB", fast)}, engine("systolic"))
    data["cores"]["core"]["vector"]["ops_per_cycle"]["add"] = 1_000_000
    system = parse_system("""\
source: "guess: for tests"
machines: {chip: {design: a100_sxm, count: 4}}
links: {wire: {topology: switch, bandwidth: 100 GB/s, efficiency: 1.0, latency: 1 us,
               energy: 5 pJ/bit}}
""")
    system._designs["chip"] = parse(data)
    for shape in ((512, 4, 1), (256, 2, 2)):
        graph, sharded = staged(*shape)
        closed, run = runs(graph, map_system(sharded, system))
        assert run.latency_s == pytest.approx(closed.latency_s, rel=0.01)


def path() -> Path:
    memories = {"dram": memory("64 GiB", "100 B/cycle", kind="dram", latency="1 ns")}
    own = {"l1": memory("64 KiB", "64 B/cycle", latency="1 ns")}
    data = design_dict(memories, own, engine("systolic"), launch="999 ns")
    data["cores"]["core"]["vector"]["ops_per_cycle"]["add"] = 1_000_000
    return memory_path(parse(data | {"power": {"limit": "1 MW", "static": "1 W"}}), "core")


def tiles(computing: dict[str, float], size: int, count: int) -> tuple[Placed, Phases]:
    """So many tiles that are busy with this, and a one-way exchange of so many bytes after each,
    10 GB/s and 1 us away."""
    on, wire = path(), (Dim("wire", "switch", 2, 10e9, 1e-6, 0.0),)
    op = Collective("exchange", ("x",), "y", "all_gather", size, size, 2, "tensor")
    moving = Placed(op, 1, collective_plan(op, wire, on))
    cost = compose(Work(computing, {}, {}, {}, {}), on)
    each = Placed(op, 1, Plan(on, cost, "", {}, 0.0, 0.0))
    both = ((each, moving),) * count
    whole = pipelined([(a.cost, b.cost) for a, b in both])
    plan = Plan(on, whole, "", {}, 0.0, 0.0, tiles=both)
    return Placed(op, 1, plan), phases("all_gather", wire, size)


@pytest.mark.parametrize(("compute_us", "kilobytes", "expected"), [(10, 60, 38), (3, 160, 34)])
def test_tiles_and_exchanges_side_by_side(compute_us: int, kilobytes: int, expected: int):
    """Three tiles c = 1 us (launch) + compute, exchanges r = 1 + kB / 2 / 10 + 1: 3c + r where c is
    longer, c + 3r else; to the microsecond, on each resource by itself."""
    placed, found = tiles({"matrix": compute_us * 1e-6}, kilobytes * 1000, 3)
    timeline = Engine(overlapped_program(placed, lambda _: found)).run()
    assert timeline.ticks == pytest.approx(expected * US, abs=8)  # a tick of rounding a launch
    assert timeline.seconds == pytest.approx(float(placed.cost.latency_s))
    assert timeline.counters["matrix"].total == 3 * compute_us * US


def test_tiles_and_exchanges_share_the_memory():
    """All of a tile's time is the memory's, and 100 kB of its exchange's a microsecond: no tile is
    computed while an exchange has the memory."""
    placed, found = tiles({"dram": 10e-6}, 400_000, 3)
    program = overlapped_program(placed, lambda _: found)
    timeline = Engine(program).run()
    memory_s = 3 * (10e-6 + 4e-6)
    assert timeline.counters["dram"].total / timeline.tick_hz == pytest.approx(memory_s, rel=1e-6)
    assert float(placed.cost.latency_s) <= timeline.seconds <= placed.cost.upper_bound_s()
    alone, _ = tiles({"matrix": 10e-6}, 400_000, 3)
    free = Engine(overlapped_program(alone, lambda _: found)).run()
    assert timeline.ticks > free.ticks


def test_batches_leave_at_the_pace_of_the_slowest():
    """Two stages of 3 and 5 ms, 1 ms in between: every 5 ms; with a link of 6 ms every 6."""
    two = [Stage("stage 0", 3e-3, "wire 0", 1e-3), Stage("stage 1", 5e-3, "wire 1", 0.0)]
    interval, section = pipeline(two)
    assert interval == 5e-3
    assert section.timeline.jobs[0].end == 3 * 10**9
    first = next(job for job in section.timeline.jobs if job.actor == "compute.stage 1")
    assert (first.begin, first.end) == (4 * 10**9, 9 * 10**9)
    slow = replace(two[0], send_s=6e-3)
    assert pipeline([slow, two[1]])[0] == 6e-3


def test_a_stage_sends_over_its_route():
    """Two stages on a ring of 8: the message is one round on the wire."""
    system = parse_system("""\
source: "guess: for tests"
machines: {chip: {design: h100_sxm, count: 2}}
links: {wire: {topology: ring, bandwidth: 10 GB/s, efficiency: 1.0, latency: 1 us,
               energy: 5 pJ/bit}}
""")
    graph, sharded = staged(16, 1, 2)
    found = map_system(sharded, system)
    plan = found.stages[0]
    (sent,) = [placed for placed in plan.schedule if sends_on(placed)]
    (program,) = by_events.chip_programs(sent, plan)
    timeline = Engine(program).run()
    way = hops(plan.route, 16 * 64 * 2)
    assert timeline.counters["wire"].jobs == 1
    assert timeline.counters["wire"].total / timeline.tick_hz == pytest.approx(way.transfer_s)
    closed, run = runs(graph, found)
    assert closed.interval_s is not None
    assert run.interval_s is not None
    longest = max(stage.latency_s for stage in run.stages)
    assert longest - float(sent.cost.latency_s) * 1.01 <= run.interval_s <= longest
    assert sum(stage.latency_s for stage in run.stages) == pytest.approx(run.latency_s)


@cache
def staged_run() -> Run:
    return simulate("dgx_a100", "opt-125m", "decode", context=64, tp=2, pp=2, simulator="event")


def test_stages_are_processes_of_the_trace():
    run, file = staged_run(), StringIO()
    write([*stretches(run), *batches(run)], file, "a run", {})
    trace: dict[str, Any] = json.loads(file.getvalue())
    jsonschema.validate(trace, TypeAdapter(TraceDocument).json_schema())
    names = [e["args"]["name"] for e in trace["traceEvents"] if e.get("name") == "process_name"]
    assert names == ["a run: stage 0", "a run: stage 1", "a run: pipeline"]
    tracks = [e["tid"] for e in trace["traceEvents"] if e.get("name") == "thread_name"]
    assert len(set(tracks)) == len(tracks)
    ops = [e for e in trace["traceEvents"] if e.get("cat") == "op" and e["pid"] < 3]
    ends = max(e["ts"] + e["dur"] for e in ops if e["pid"] == 1)
    assert min(e["ts"] for e in ops if e["pid"] == 2) == pytest.approx(ends, abs=1e-3)


def test_a_page_shows_batches_through_stages():
    assert "Batches through the stages" in timeline_cards(staged_run())
    one = simulate("dgx_a100", "opt-125m", "decode", context=64, tp=2, simulator="event")
    assert "Batches through the stages" not in timeline_cards(one)


def test_one_chip_of_a_system_runs_as_the_chip():
    system = parse_system("""\
source: "guess: for tests"
machines: {chip: {design: a100_sxm, count: 1}}
""")
    words = {"context": 64, "simulator": "event"}
    both = [simulate(on, "opt-125m", "decode", **words) for on in (system, read_design("a100_sxm"))]
    assert both[0].latency_s == pytest.approx(both[1].latency_s)


def test_a_request_on_a_system():
    closed, run = (
        simulate("dgx_a100", "opt-125m", "request", prompt=16, output=4, tp=2, simulator=by)
        for by in ("analytic", "event")
    )
    assert run.event is not None
    assert run.event.analytic_latency_s == pytest.approx(closed.latency_s)
    assert run.latency_s >= closed.latency_s
    assert run.interval_s is None


def test_interrupted_it_says_what_is_known(monkeypatch: pytest.MonkeyPatch):
    known, calls = event_run._timeline, []

    def twice(*arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) > 2:
            raise KeyboardInterrupt
        return known(*arguments)

    monkeypatch.setattr(event_run, "_timeline", twice)
    run = simulate("dgx_a100", "opt-125m", "decode", context=64, tp=2, simulator="event")
    assert run.event is not None
    assert run.event.partial
    assert run.warnings[-1].startswith("interrupted: 3 of 17 ops by events")


def test_tiled_projections_of_a_layer():
    """Two all_reduces of 16 MiB beside their producers, over eight GPUs: at least the closed form,
    and less than one after the other."""
    sharded = Sharded((layer(2048, 8),), {"tensor": 8})
    (plan,) = map_system(sharded, read_system("dgx_a100")).stages
    tiled = [placed for placed in plan.schedule if placed.plan.tiles]
    assert [placed.op.name for placed in tiled] == ["o_proj", "down_proj"]
    for placed in tiled:
        (program,) = by_events.chip_programs(placed, plan)
        timeline = Engine(program).run()
        assert timeline.seconds >= float(placed.cost.latency_s) * (1 - 1e-9)
        alone = [each for pair in placed.plan.tiles for each in pair]
        in_turn = sum(
            Engine(part).run().seconds
            for each in alone
            for part in by_events.chip_programs(each, plan)
        )
        assert timeline.seconds < in_turn
        busy = timeline.counters["nvlink"].total / timeline.tick_hz
        moved = sum(each.op.bytes for each in alone if isinstance(each.op, Collective))
        assert busy == pytest.approx(2 * 7 / 8 * moved / (0.94 * 300e9), rel=1e-6)
