"""Traces of the event engine: valid by schema, and true to the timelines they show."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from functools import cache
from io import StringIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from pydantic import TypeAdapter

from accel_models.read_design import read_design
from mappers import map_graph
from sim.event.bars import Stretch, in_a_row
from sim.event.engine import Engine
from sim.event.flows import chains
from sim.event.levels import filling
from sim.event.lower import program_of
from sim.event.program import Actor, Channel, Program, Resource, Run, Use
from sim.event.trace import _moment, limits_of, write, write_trace
from sim.event.trace_document import TraceDocument
from workloads import prefill, read_model

GHZ = 10**9
PS = 1e-6  # microseconds: what times are rounded to


def tiles(count: int, load: int, compute: int, capacity: int = 2, width: int = 1) -> Program:
    """Loads on one memory, computing, a store for every second tile, on that memory too."""
    return Program(
        (
            Actor("load", (Run(count, (Use("dram", load, "read"), Use("sram", load, "write"))),)),
            Actor("compute", (Run(count, (Use("matrix", compute),)),)),
            Actor("store", (Run(count // 2, (Use("dram", load, "write"),)),)),
        ),
        (
            Channel("load", "compute", capacity=capacity),
            Channel("compute", "store", consume=2, capacity=4),
        ),
        (Resource("dram", GHZ), Resource("sram", GHZ, width=width), Resource("matrix", GHZ)),
    )


@cache
def real_op() -> Stretch:
    """An attention of Llama-3-8B on an A100, as lowered."""
    design = read_design("a100_sxm")
    schedule = map_graph(read_model("llama-3-8b").build(prefill(1, 512)), design)
    placed = next(placed for placed in schedule if placed.op.name == "attention")
    program = program_of((placed.cost.stages or (placed.cost,))[0], placed.plan.path)
    return Stretch("attention", Engine(program).run(), 1e-3, 32, program)


def hand_made(fold: bool, known: bool, record: bool = True) -> Stretch:
    program = tiles(400, 7, 9, width=2) if fold else tiles(8, 7, 9)
    return Stretch(
        "op",
        Engine(program, fold, record).run(),
        program=program if known else None,
    )


CASES = {
    "plain": lambda: [hand_made(fold=False, known=True)],
    "program not known": lambda: [hand_made(fold=False, known=False)],
    "folded": lambda: [hand_made(fold=True, known=True)],
    "not recorded": lambda: [hand_made(fold=True, known=False, record=False)],
    "real": lambda: [real_op()],
    "two": lambda: list(
        in_a_row([(n, hand_made(True, True).timeline, c, None) for n, c in (("a", 1), ("b", 3))])
    ),
}


def trace_of(stretches: list[Stretch]) -> dict[str, Any]:
    file = StringIO()
    write(stretches, file, "a run", limits_of({"dram": 100e9}, 400.0))
    found: dict[str, Any] = json.loads(file.getvalue())
    return found


@pytest.fixture(params=CASES, name="case")
def case_of(request: pytest.FixtureRequest) -> tuple[list[Stretch], dict[str, Any]]:
    stretches = CASES[request.param]()
    return stretches, trace_of(stretches)


Case = tuple[list[Stretch], dict[str, Any]]


def events(trace: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [event for event in trace["traceEvents"] if event["ph"] in kind]


def track_names(trace: dict[str, Any]) -> dict[int, str]:
    return {e["tid"]: e["args"]["name"] for e in events(trace, "M") if e["name"] == "thread_name"}


def test_fits_its_json_schema(case: Case):
    schema = TypeAdapter(TraceDocument).json_schema()
    jsonschema.validate(case[1], schema)
    broken = case[1] | {"traceEvents": [e | {"dur": -1.0} for e in events(case[1], "X")]}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(broken, schema)


def test_bars_of_a_track_do_not_overlap(case: Case):
    """Neither as they are nor as Perfetto reads them, cut to whole nanoseconds."""
    by_track: dict[int, list[dict[str, Any]]] = {}
    for bar in events(case[1], "X"):
        by_track.setdefault(bar["tid"], []).append(bar)
    assert set(by_track) == set(track_names(case[1]))
    for bars in by_track.values():
        for one, other in pairwise(sorted(bars, key=lambda bar: (bar["ts"], bar["dur"]))):
            assert one["ts"] + one["dur"] <= other["ts"] + PS / 10
            assert int(one["ts"] * 1000) + int(one["dur"] * 1000) <= int(other["ts"] * 1000)


def test_busy_of_a_track_is_what_the_engine_counted(case: Case):
    """And of a bar never more than its length."""
    stretches, trace = case
    names, busy = track_names(trace), dict[str, float]()
    for bar in events(trace, "X"):
        name = names[bar["tid"]].partition(" #")[0]
        busy[name] = busy.get(name, 0.0) + bar["args"]["busy_us"]
        assert bar["args"]["busy_us"] <= bar["dur"] + PS
        if bar["cat"] == "use":
            assert bar["args"]["busy_us"] == pytest.approx(bar["dur"], abs=PS)
    for name, microseconds in busy.items():
        counted = sum(
            s.timeline.ticks if name == "ops" else s.timeline.counters[name].total
            for s in stretches
        )
        assert microseconds == pytest.approx(counted / stretches[0].timeline.tick_hz * 1e6)


def test_arrows_begin_and_end_on_bars(case: Case):
    trace = case[1]
    begins = {(bar["tid"], bar["ts"]): bar for bar in events(trace, "X")}
    arrows: dict[int, list[dict[str, Any]]] = {}
    for point in events(trace, "stf"):
        arrows.setdefault(point["id"], []).append(point)
    for points in arrows.values():
        kinds = "".join(point["ph"] for point in points)
        assert kinds == "s" + "t" * (len(kinds) - 2) + "f"
        assert points[-1]["bp"] == "e"
        bars = [begins[point["tid"], point["ts"]] for point in points]
        assert all(one["ts"] <= other["ts"] for one, other in pairwise(bars))
        assert {bar["cat"] for bar in bars} == {"use"}


def test_curves_are_within_limits(case: Case):
    stretches, trace = case
    curves = events(trace, "C")
    seen = {point["name"] for point in curves}
    for resource in stretches[0].timeline.counters:
        unit = {"dram": "GB/s", "power": "W"}.get(resource, "% busy")
        assert f"{resource} {unit}" in seen
    for point in curves:
        high = 400.0 if point["name"].endswith(" W") else 100.0
        assert 0 <= point["args"]["value"] <= high, point
    last = {point["name"]: point["args"]["value"] for point in curves}
    assert set(last.values()) == {0}


def test_each_step_is_an_arrow_from_load_to_store():
    """Tile 2i + 1 completes the i-th store; its arrow goes through all, the others' end before."""
    trace = trace_of([hand_made(fold=False, known=True)])
    begins = {(bar["tid"], bar["ts"]): bar for bar in events(trace, "X")}
    arrows: dict[int, list[tuple[str, int]]] = {}
    for point in events(trace, "stf"):
        bar = begins[point["tid"], point["ts"]]
        arrows.setdefault(point["id"], []).append((bar["name"], bar["args"]["index"]))
    expected = [
        [("load", i), ("load", i), ("compute", i)] + [("store", i // 2)] * (i % 2) for i in range(8)
    ]
    assert sorted(arrows.values()) == sorted(expected)


def test_a_fold_is_one_bar_on_each_busy_track():
    stretch = hand_made(fold=True, known=True)
    (fold,) = stretch.timeline.folds
    bars = [bar for bar in events(trace_of([stretch]), "X") if bar["cat"] == "folded"]
    leap = fold.length * fold.times / stretch.timeline.tick_hz * 1e6
    assert len(bars) == 3
    for bar in bars:
        assert bar["name"] == f"repeated {fold.times} times"
        assert bar["dur"] == pytest.approx(leap, abs=PS)


def test_a_folded_trace_is_as_busy_as_the_unfolded_one():
    """Window by window: a fold is spread over its time, of many periods each."""
    program = tiles(400, 7, 9)
    curves = [
        [(e["ts"], e["args"]["value"]) for e in events(trace_of([stretch]), "C")
         if e["name"] == "dram GB/s"]
        for stretch in (Stretch("op", Engine(program, f).run()) for f in (True, False))
    ]  # fmt: skip
    ends = [points[-1][0] for points in curves]
    assert ends[0] == ends[1]
    areas = [
        sum(value * (then - now) for (now, value), (then, _) in pairwise(points))
        for points in curves
    ]
    assert areas[0] == pytest.approx(areas[1], rel=5e-3)  # three digits are written


def test_buffers_fill_to_their_capacity_and_empty():
    """Loads are faster than computing, so the two places of the buffer are full."""
    program = tiles(8, 5, 10)
    trace = trace_of([Stretch("op", Engine(program).run(), program=program)])
    levels = [
        e["args"]["value"]
        for e in events(trace, "C")
        if e["name"] == "buffer load to compute tiles"
    ]
    assert max(levels) == 2
    assert levels[-1] == 0


def twice(program: Program) -> Program:
    """Two that share all resources."""
    actors = [replace(actor, name=f"{actor.name}.b") for actor in program.actors]
    channels = [
        replace(channel, source=f"{channel.source}.b", target=f"{channel.target}.b")
        for channel in program.channels
    ]
    return replace(
        program,
        actors=(*program.actors, *actors),
        channels=(*program.channels, *channels),
    )


@pytest.mark.parametrize("program", [tiles(400, 7, 9), twice(tiles(400, 6, 20))])
def test_buffers_after_a_leap_are_as_without_it(program: Program):
    """Though jobs were under way and in queues as the clock leapt; in between nothing is told."""
    folded, whole = Engine(program).run(), Engine(program, fold=False).run()
    (fold,) = folded.folds
    after = fold.at + fold.length * fold.times
    wanted = filling(whole, program)
    for name, levels in filling(folded, program).items():
        assert not [tick for tick, _ in levels if fold.at < tick < after]
        assert [each for each in levels if each[0] > after] == [
            each for each in wanted[name] if each[0] > after
        ]


def test_no_arrow_crosses_a_leap():
    """Where computing waits for loads, the first wait after it is for a load before it."""
    timeline = Engine(tiles(400, 20, 5)).run()
    (fold,) = timeline.folds
    found = chains(timeline)
    assert any(job.begin > fold.at for chain in found for job in chain)
    for chain in found:
        assert len({job.begin > fold.at for job in chain}) == 1


def test_moments_stay_in_their_nanosecond():
    """A reader takes the whole nanoseconds of a float: 1.001 us must not become 1000 ns."""
    assert int(1.001 * 1000) == 1000
    assert all(int(_moment(1000 * ns) * 1000) == ns for ns in range(0, 3_000_000, 7))


def test_what_is_not_drawn_is_noted():
    stretch = hand_made(True, True)
    (fold,) = stretch.timeline.folds
    notes = trace_of([stretch])["otherData"]["notes"]
    assert notes == [f"op: {fold.times} repeated periods are drawn as one bar"]
    notes = trace_of([hand_made(True, False, record=False)])["otherData"]["notes"]
    assert notes[0] == "op: the first 0 uses are recorded"


def test_copies_are_shown_once():
    ops = [bar for bar in events(trace_of([real_op()]), "X") if bar["cat"] == "op"]
    assert [bar["name"] for bar in ops] == ["attention \N{MULTIPLICATION SIGN}32"]
    assert ops[0]["args"]["count"] == 32
    assert ops[0]["ts"] == pytest.approx(1000.0)


def test_perfetto_reads_it(tmp_path: Path):
    """Only with the package, and its binary installed: it is never downloaded."""
    perfetto = pytest.importorskip("perfetto.trace_processor")
    binary = shutil.which("trace_processor_shell") or shutil.which("trace_processor")
    if binary is None:
        pytest.skip("no trace processor")
    path = tmp_path / "trace.json"
    write_trace([real_op()], path, "a run")
    config = perfetto.TraceProcessorConfig(bin_path=binary)
    with perfetto.TraceProcessor(trace=str(path), config=config) as processor:
        (row,) = processor.query("select count(*) as bars from slice")
        assert row.bars == len(events(json.loads(path.read_text("utf-8")), "X"))
