"""The Gantt chart and the stall breakdown of runs by events."""

from __future__ import annotations

import json
import re
from itertools import pairwise

import pytest

from sim.event.bars import Stretch, bars, in_a_row
from sim.event.engine import Engine
from sim.event.program import Actor, Channel, Program, Resource, Run, Use
from sim.report.gantt import (
    DOES,
    STALLS,
    drawn,
    gantt,
    merged,
    shares_of,
    stall_figure,
    stall_markdown,
    stall_section,
    stalls_of,
    timeline_section,
)

GHZ = 10**9


def streamed(count: int, load: int, compute: int, fold: bool = False) -> Stretch:
    """Loads into two buffers, and computing."""
    program = Program(
        (
            Actor("load", (Run(count, (Use("dram", load),)),)),
            Actor("compute", (Run(count, (Use("matrix", compute),)),)),
        ),
        (Channel("load", "compute", capacity=2),),
        (Resource("dram", GHZ), Resource("matrix", GHZ)),
    )
    return Stretch("op<1>", Engine(program, fold).run())


def bars_of(stretch: Stretch) -> list[dict[str, object]]:
    return [trace for trace in gantt([stretch])["data"] if trace["name"] != "op"]


def test_every_use_is_a_bar():
    """Loads of 10 ns run at once into two places, then whenever one is free: 0, 10, 20 ..."""
    load, compute = bars_of(streamed(3, 10, 20))
    assert (load["name"], compute["name"]) == ("load", "compute")
    assert load["base"] == pytest.approx([0, 10e-9, 30e-9])
    assert load["x"] == pytest.approx([10e-9] * 3)
    assert compute["base"] == pytest.approx([10e-9, 30e-9, 50e-9])
    assert set(load["y"]) == {"dram"}
    assert load["marker"]["color"] == DOES["load"]


def test_merging_keeps_what_is_busy():
    """A hundred bars at most, that say so; uses and busy time are all there, none overlap."""
    stretch = streamed(2000, 7, 9)
    rows = drawn([stretch])
    found, near = merged(rows, 100)
    assert 50 <= len(found) <= 100
    assert near > 0
    assert sum(bar.uses for bar in found) == 4000
    for name, row in rows.items():
        mine = [bar for bar in found if bar.row == name]
        assert sum(bar.busy for bar in mine) == pytest.approx(sum(bar.busy for bar in row))
        assert all(a.end <= b.begin for a, b in pairwise(mine))
        assert (mine[0].begin, mine[-1].end) == (row[0].begin, row[-1].end)
    assert "4000 bars are drawn as" in timeline_section([stretch], 100)
    assert "are drawn as" not in timeline_section([streamed(20, 7, 9)], 100)


def test_bars_are_the_paler_the_less_busy():
    """Dram is at work for 5 of 20 ns; merged bars lie over the waits between."""
    shades = {
        trace["name"]: trace["marker"]["opacity"]
        for trace in gantt([streamed(2000, 5, 20)], 100)["data"][1:]
    }
    assert 0.2 < min(shades["load"]) < 0.35
    assert set(shades["compute"]) == {1.0}
    assert bars_of(streamed(20, 5, 20))[0]["marker"]["opacity"] == [1.0] * 20


def test_a_page_stays_small():
    assert len(timeline_section([streamed(20_000, 7, 9)])) < 2_000_000


def test_folds_are_hatched_and_told():
    stretch = streamed(2000, 7, 9, fold=True)
    (hatched,) = [trace for trace in bars_of(stretch) if trace["name"] == "repeated"]
    assert hatched["marker"]["pattern"]["shape"] == "/"
    assert len(hatched["x"]) == sum(bar.fold is not None for bar in bars(stretch.timeline)) == 2
    assert "repeat a period" in timeline_section([stretch])


def test_ops_follow_one_another_with_their_names_escaped():
    timeline = streamed(4, 5, 5).timeline
    stretches = list(in_a_row([("a<b", timeline, 1, None), ("c", timeline, 3, None)]))
    ops = gantt(stretches)["data"][0]
    assert ops["text"] == ["a&lt;b", "c \N{MULTIPLICATION SIGN}3"]
    assert ops["base"] == pytest.approx([0, timeline.seconds])
    html = timeline_section(stretches)
    assert "<b" not in html
    for data in re.findall(r'<script type="application/json">(.*?)</script>', html):
        json.loads(data)


def test_stalls_are_the_timelines():
    """Dram: 40 busy, 5 of the end idle; the matrix engine waits 25 of 45 for data. Twice over."""
    timeline = streamed(4, 10, 5).timeline
    stalls = stalls_of([Stretch("op", timeline, 0.0, 2)])
    assert stalls["dram"]["busy"] == pytest.approx(80e-9)
    shares = shares_of(stalls)
    assert shares["dram"]["idle"] == pytest.approx(5 / 45)
    assert shares["matrix"]["data"] == pytest.approx(25 / 45)
    figure = stall_figure(stalls)
    assert [trace["name"] for trace in figure["data"]] == ["busy", "data", "idle"]
    assert sum(trace["x"][1] for trace in figure["data"]) == pytest.approx(1)


def test_causes_nobody_named_are_other():
    shares = shares_of({"dram": {"busy": 1.0, "": 2.0, "idle": 1.0}})
    assert shares["dram"]["other"] == 0.5
    assert list(shares["dram"]) == list(STALLS)


def test_where_an_op_does_not_use_a_resource_it_is_idle():
    long, other = streamed(4, 10, 5), streamed(4, 10, 5)
    del other.timeline.counters["matrix"]
    stalls = stalls_of([long, other])
    assert sum(stalls["matrix"].values()) == pytest.approx(90e-9)


def test_the_table_is_in_both_forms():
    stalls = stalls_of([streamed(4, 10, 5)])
    assert stall_markdown(stalls).splitlines() == [
        "| resource | busy | data | idle |",
        "| --- | --: | --: | --: |",
        "| dram | 89 % | 0.0 % | 11 % |",
        "| matrix | 44 % | 56 % | 0.0 % |",
    ]
    html = stall_section({"<dram>": {"busy": 1.0}})
    assert "&lt;dram&gt;" in html
    assert "<dram>" not in html
