"""Arrays by events: the closed form's cycles, SCALE-Sim's rows, decode, short streams, scales."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from accel_models.engines.systolic import Systolic
from accel_models.engines.tile import MatmulTile
from sim.event.array import array_program, folds_of
from sim.event.engine import Engine
from sim.event.record import Timeline

CSV = Path(__file__).parents[1] / "data" / "scalesim_gemm_cycles.csv"
PE = {"formats": {"int8": {"macs_per_cycle": 1, "accumulate": "int32", "energy": "1 pJ",
                           "source": "guess: a test"}}}  # fmt: skip


def array(rows: int, cols: int, preload: str, dataflow: str = "ws", **more: int) -> Systolic:
    return Systolic.model_validate(
        {"count": 1, "rows": rows, "cols": cols, "dataflow": dataflow, "weight_preload": preload}
        | {"pe": PE, **more}
    )


def ran(engine: Systolic, tile: MatmulTile, group: int = 0) -> Timeline:
    program = array_program(engine, tile, group=group)
    timeline = Engine(program, fold=False).run()
    assert Engine(program).run().ticks == timeline.ticks
    return timeline


def scalesim_rows() -> list[dict[str, str]]:
    with CSV.open() as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("row", scalesim_rows(), ids=lambda row: "-".join(list(row.values())[:6]))
def test_none_is_scale_sim(row: dict[str, str]) -> None:
    """compute_cycles counts from zero: tests/data/README.md."""
    engine = array(int(row["array_rows"]), int(row["array_cols"]), "none", row["dataflow"])
    tile = MatmulTile(int(row["M"]), int(row["N"]), int(row["K"]))
    assert ran(engine, tile).ticks == int(row["compute_cycles"]) + 1


# 128 x 128, a matrix of 256 x 384: six blocks.
@pytest.mark.parametrize(
    ("preload", "m", "ticks"),
    [
        ("ideal", 1, 5 * 1 + 254 + 1),
        ("shadow", 1, 6 * 128 + 254 + 1),  # decode: the loads, and the last row through the array
        ("none", 1, 6 * (128 + 254 + 1)),
        ("ideal", 500, 5 * 500 + 254 + 500),
        ("shadow", 500, 128 + 5 * 500 + 254 + 500),  # the first load alone, the others behind
        ("none", 500, 6 * (128 + 254 + 500)),
    ],
)
def test_six_blocks_by_hand(preload: str, m: int, ticks: int) -> None:
    assert ran(array(128, 128, preload), MatmulTile(m, 384, 256)).ticks == ticks


@pytest.mark.parametrize("dataflow", ["ws", "is", "os"])
@pytest.mark.parametrize("preload", ["ideal", "shadow", "none"])
@pytest.mark.parametrize("m", [1, 7, 40])
def test_a_fold_more_costs_an_interval(dataflow: str, preload: str, m: int) -> None:
    """The period is `engine.service`'s interval of a fold."""
    engine = array(8, 16, preload, dataflow)
    few, many = MatmulTile(m, 160, 80), MatmulTile(m * (dataflow != "ws") * 3 or m, 480, 240)
    (low, fold), (high, more) = folds_of(engine, few), folds_of(engine, many)
    if fold != more:  # the streamed rank grew, too: nothing to compare
        many = MatmulTile(m * 5, 160, 80) if dataflow == "is" else MatmulTile(m, 480, 80)
        high, more = folds_of(engine, many)
    assert fold == more
    longer = ran(engine, many).ticks - ran(engine, few).ticks
    assert longer == (high - low) * engine.service(fold).interval


def test_a_stream_of_one_costs_a_load() -> None:
    engine = array(16, 16, "shadow")
    assert engine.service(MatmulTile(1, 16, 16)).interval == 16


@pytest.mark.parametrize(("m", "interval"), [(1, 4), (3, 4), (4, 4), (5, 5)])
def test_short_streams_take_a_least_time(m: int, interval: int) -> None:
    """ONNXim's four cycles, seen where loads cost nothing."""
    engine = array(8, 8, "ideal", min_stream=4)
    assert engine.service(MatmulTile(m, 8, 8)).interval == interval
    blocks = 10
    once = ran(engine, MatmulTile(m, 8, 8)).ticks
    assert ran(engine, MatmulTile(m, 8 * blocks, 8)).ticks - once == (blocks - 1) * interval


@pytest.mark.parametrize(("group", "interval"), [(128, 64), (32, 4 * 64), (64, 2 * 64)])
def test_scales_are_a_second_pipeline(group: int, interval: int) -> None:
    """Blocks 128 deep, 64 rows: a scaling a row for each group of the depth, a lane a column; the
    slower of the two pipelines sets the pace."""
    engine = array(128, 128, "ideal")
    few, many = (ran(engine, MatmulTile(64, 128 * n, 128), group).ticks for n in (10, 20))
    assert many - few == 10 * interval
