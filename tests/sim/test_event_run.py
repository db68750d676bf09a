"""Whole phases by events: what a user sees adds up, and bounds hold op by op."""

from __future__ import annotations

import time
from functools import cache
from itertools import pairwise

import pytest
from tiny import design_dict, engine, matmul_graph, memory, parse, scheduled

from accel_models.read_design import read_design
from mappers import map_graph
from mappers.plan import Schedule
from sim import analytic
from sim.api import simulate
from sim.event import engine as engine_module
from sim.event import run as event
from sim.event.critical import NOT_RECORDED, critical_path
from sim.event.engine import Engine
from sim.event.lower import program_of
from sim.event.power import held
from sim.run import Run
from workloads import decode, prefill, read_model
from workloads.phase import Phase

DESIGNS = (
    "a100_sxm",
    "systolic_128x128",
    *(pytest.param(name, marks=pytest.mark.slow) for name in ("ascend_910b1", "jetson_agx_orin")),
)


@cache
def schedule(design: str, phase: str) -> Schedule:
    of = prefill(1, 64) if phase == "prefill" else decode(4, 256)
    graph = read_model("opt-125m").build(of)
    if design == "systolic_128x128":
        from workloads.transforms import quantize

        graph = quantize(graph, "int8", None)
    return map_graph(graph, read_design(design))


@cache
def both(design: str, phase: str) -> tuple[Run, Run]:
    return analytic.run(schedule(design, phase)), event.run(schedule(design, phase))


def check_law(mapped: Schedule, closed: Run, run: Run) -> None:
    for before, after, placed in zip(closed.ops, run.ops, mapped, strict=True):
        assert after.latency_s >= before.latency_s * (1 - 1e-9), after.name
        sections = [s for s in run.event.sections if s.op == after.name]
        parts = [p for s in sections for p in s.timeline.stalls().values()]
        most = placed.cost.upper_bound_s() + sum(p.get("turnaround", 0.0) for p in parts)
        assert after.latency_s <= most * (1 + 1e-6) + 1e-9, after.name
        assert after.macs == before.macs
        assert after.traffic == before.traffic


@pytest.mark.parametrize("phase", ["decode", "prefill"])
@pytest.mark.parametrize("design", DESIGNS)
def test_no_op_is_faster_than_its_closed_form(design: str, phase: str):
    check_law(schedule(design, phase), *both(design, phase))


@pytest.mark.parametrize("phase", [prefill(4, 2048), decode(64, 1024)], ids=["prefill", "decode"])
@pytest.mark.parametrize("model", ["llama-3.2-1b", "olmoe-1b-7b"])
@pytest.mark.parametrize(
    "design",
    ["a100_sxm", *(pytest.param(n, marks=pytest.mark.slow) for n in ("l40s", "jetson_agx_orin"))],
)
def test_the_law_holds_for_a_librarys_kernels(design: str, model: str, phase: Phase):
    """Whose resources overlap less than perfectly, in kernels of one step or thousands."""
    mapped = held(map_graph(read_model(model).build(phase), read_design(design)))
    check_law(mapped, analytic.run(mapped), event.run(mapped))


@pytest.mark.parametrize("phase", ["decode", "prefill"])
@pytest.mark.parametrize("design", DESIGNS)
def test_the_critical_path_is_the_whole_latency(design: str, phase: str):
    _, run = both(design, phase)
    for op in run.ops:
        assert sum(op.exposed_s.values()) == pytest.approx(op.latency_s), op.name
        assert all(saved >= -1e-12 for saved in op.saves_s.values()), op.name
        for resource, saved in op.saves_s.items():
            assert saved <= op.latency_s, (op.name, resource)
    assert run.latency_s == pytest.approx(sum(op.count * op.latency_s for op in run.ops))


@pytest.mark.parametrize("design", DESIGNS)
def test_stalls_of_every_resource_fill_the_run(design: str):
    _, run = both(design, "decode")
    assert run.event is not None
    for name, parts in run.event.stalls.items():
        assert sum(parts.values()) == pytest.approx(run.latency_s), name
        assert all(seconds >= -1e-12 for seconds in parts.values()), (name, parts)


def test_static_power_is_paid_for_as_long_as_it_takes():
    closed, run = both("a100_sxm", "decode")
    more = read_design("a100_sxm").power.static * (run.latency_s - closed.latency_s)
    assert run.energy_j - closed.energy_j == pytest.approx(more)


def test_path_has_no_holes():
    """Spans follow one another from the start to the end of an op that was not folded."""
    placed = next(p for p in schedule("a100_sxm", "prefill") if p.macs)
    timeline = Engine(program_of(placed.cost, placed.plan.path), fold=False).run()
    spans = critical_path(timeline)
    assert spans[0].begin == 0
    assert spans[-1].end == timeline.ticks
    assert all(a.end == b.begin for a, b in pairwise(spans))


def nothing_contends(macs_bound: bool) -> Schedule:
    """An array whose memory is far faster than it, or far slower, and no launch to speak of."""
    fast, slow = "65536 B/cycle", "0.1 B/cycle"
    memories = {"dram": memory("1 GiB", fast if macs_bound else slow, kind="dram", latency="1 ns")}
    own = {"l1": memory("64 KiB", fast, latency="1 ns")}
    design = parse(design_dict(memories, own, engine("systolic"), launch="1 ns"))
    return scheduled(matmul_graph(512, 512, 512), design)


@pytest.mark.parametrize("macs_bound", [True, False])
def test_equal_to_the_closed_form_where_nothing_contends(macs_bound: bool):
    (placed,) = nothing_contends(macs_bound)
    timeline = Engine(program_of(placed.cost, placed.plan.path)).run()
    assert timeline.seconds == pytest.approx(float(placed.cost.latency_s), rel=0.01)


def test_cores_apart_take_as_long_as_together():
    """Two cores that share a memory, each its own actors: what one actor for both takes, within a
    step."""
    memories = {"dram": memory("1 GiB", "8 B/cycle", kind="dram")}
    own = {"l1": memory("16 KiB", "64 B/cycle")}
    design = parse(design_dict(memories, own, engine("systolic"), cores=2))
    (placed,) = scheduled(matmul_graph(128, 128, 128), design)
    together = Engine(program_of(placed.cost, placed.plan.path)).run()
    apart = Engine(program_of(placed.cost, placed.plan.path, cores=2)).run()
    step = together.ticks / placed.cost.work.steps.total
    assert apart.ticks == pytest.approx(together.ticks, abs=2 * step)


def test_cores_apart_with_single_buffers():
    """Every level on its own, and yet no two actors of one name."""
    memories = {"dram": memory("1 GiB", "8 B/cycle", kind="dram")}
    own = {"l1": memory("16 KiB", "64 B/cycle", buffering="single")}
    design = parse(design_dict(memories, own, engine("systolic"), cores=2))
    (placed,) = scheduled(matmul_graph(64, 64, 64), design)
    apart = program_of(placed.cost, placed.plan.path, cores=2)
    assert {"load dram.0", "load dram.1", "load l1.0", "load l1.1"} <= {
        a.name for a in apart.actors
    }
    assert Engine(apart).run().seconds >= float(placed.cost.latency_s) * (1 - 1e-9)


def test_of_what_was_not_recorded_no_path_is_made_up(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(engine_module, "KEPT", 10)
    closed = analytic.run(schedule("a100_sxm", "prefill"))
    found = event.run(schedule("a100_sxm", "prefill"))
    cut = [op for op in found.ops if NOT_RECORDED in op.exposed_s]
    assert cut
    for before, op in zip(closed.ops, found.ops, strict=True):
        assert sum(op.exposed_s.values()) == pytest.approx(op.latency_s)
        assert op.bound_by != NOT_RECORDED
        if set(op.exposed_s) == {NOT_RECORDED}:
            assert op.bound_by == before.bound_by


def test_memory_stays_flat_as_ops_grow():
    """Uses that are kept do not grow with the rows of a multiplication."""
    kept = []
    for rows in (256, 4096):
        memories = {"dram": memory("1 GiB", "4 B/cycle", kind="dram")}
        own = {"l1": memory("1 KiB", "64 B/cycle", buffering="double")}
        design = parse(design_dict(memories, own, engine("systolic")))
        (placed,) = scheduled(matmul_graph(rows, 64, 64), design)
        timeline = Engine(program_of(placed.cost, placed.plan.path)).run()
        assert timeline.folds
        kept.append(len(timeline.jobs))
    assert kept[1] <= 2 * kept[0]


def test_interrupted_it_says_what_is_known(monkeypatch: pytest.MonkeyPatch):
    known = event._timeline
    calls = []

    def once(*arguments: object) -> object:
        calls.append(arguments)
        if len(calls) > 2:
            raise KeyboardInterrupt
        return known(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(event, "_timeline", once)
    found = event.run(schedule("a100_sxm", "prefill"))
    assert found.event is not None
    assert found.event.partial
    assert found.warnings[-1].startswith("interrupted: ")
    closed = analytic.run(schedule("a100_sxm", "prefill"))
    assert found.latency_s >= closed.latency_s


def test_a_request_is_simulated_step_by_step():
    run = simulate("a100_sxm", "opt-125m", "request", prompt=32, output=4, simulator="event")
    closed = simulate("a100_sxm", "opt-125m", "request", prompt=32, output=4)
    assert run.event is not None
    assert run.event.analytic_latency_s == pytest.approx(closed.latency_s)
    assert run.latency_s >= closed.latency_s


@pytest.mark.slow
def test_a_layer_of_a_large_model_takes_seconds():
    """Llama 3 8B on 108 cores: a prompt of 2048 within 5 s, a decode step within 2, on one core of
    a machine as slow as CI's."""
    for phase, seconds in ((prefill(1, 2048), 5.0), (decode(1, 2048), 2.0)):
        mapped = map_graph(read_model("llama-3-8b").build(phase), read_design("a100_sxm"))
        start = time.process_time()
        event.run(mapped)
        assert time.process_time() - start < 2 * seconds
