"""Every registered engine keeps the laws of service time; each kind is also computed by hand."""

from __future__ import annotations

import csv
from functools import cache
from math import ceil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accel_models.engines import ENGINES, Engine, MatmulTile, Systolic
from accel_models.engines.pe import PE, choose_datapath, represents
from accel_models.reader import DesignError
from kernels_ref.elements import every_value
from kernels_ref.formats import FORMATS, Format, get_format

PE_BLOCK = {"formats": {"int8": {"macs_per_cycle": 1, "accumulate": "int32", "energy": "0.1 pJ"}}}
# Geometries by kind; odd ones too. A new kind needs a line here to be tested.
GEOMETRIES: dict[str, list[dict[str, Any]]] = {
    "systolic": [
        {"rows": rows, "cols": cols, "dataflow": dataflow, "weight_preload": preload}
        for rows, cols in ((8, 8), (7, 3), (4, 32))
        for dataflow in ("ws", "os", "is")
        for preload in ("none", "shadow", "ideal")
    ],
    "dot_product": [
        {"m": 16, "n": 8, "k": 16, "issue_interval": 16, "pipeline": 24},
        {"m": 4, "n": 4, "k": 4, "issue_interval": 1, "pipeline": 1},
        {"m": 3, "n": 5, "k": 7, "issue_interval": 2, "pipeline": 9},
    ],
    "lut": [{"m": 2, "n": 8, "k": 4, "issue_interval": 1, "pipeline": 3}],
    "outer_product": [{"m": 4, "n": 4, "pipeline": 1}, {"m": 32, "n": 32, "pipeline": 8}],
    "simd": [{"lanes": 8, "pipeline": 1}, {"lanes": 5, "pipeline": 7}],
}
RATES = (0.25, 0.5, 1.0, 2.0, 4.0)


def engine_of(kind: str, geometry: dict[str, Any]) -> Engine:
    made: Any = ENGINES[kind].model_validate({"kind": kind, "count": 1, "pe": PE_BLOCK} | geometry)
    return made


ALL = [
    pytest.param(engine_of(kind, geometry), id=f"{kind}-{'-'.join(map(str, geometry.values()))}")
    for kind in ENGINES
    for geometry in GEOMETRIES.get(kind, ())
]
SIZES = st.integers(1, 300)
TILES = st.builds(
    MatmulTile, SIZES, SIZES, SIZES, st.sampled_from(RATES), st.sampled_from((1, 2, 4, 8, 16))
)


def test_every_kind_has_a_geometry_here() -> None:
    assert GEOMETRIES.keys() == ENGINES.keys()


@pytest.mark.parametrize("engine", ALL)
@settings(max_examples=25, deadline=None)
@given(tile=TILES, more=st.tuples(*[st.integers(0, 40)] * 3))
def test_more_work_never_takes_less_time(
    engine: Engine, tile: MatmulTile, more: tuple[int, int, int]
) -> None:
    larger = MatmulTile(
        tile.m + more[0], tile.n + more[1], tile.k + more[2], tile.rate, tile.weight_bits
    )
    small, large = engine.service(tile), engine.service(larger)
    assert small.latency <= large.latency
    assert small.interval <= large.interval


@pytest.mark.parametrize("engine", ALL)
@settings(max_examples=25, deadline=None)
@given(tile=TILES)
def test_a_tile_is_done_no_sooner_than_the_next_may_start(engine: Engine, tile: MatmulTile) -> None:
    """Save where loading the next weights, after the last result, is the rest of the interval."""
    service = engine.service(tile)
    load = engine.rows if isinstance(engine, Systolic) else 0
    assert service.interval > 0
    assert service.latency > 0
    assert service.latency >= service.interval - load


@pytest.mark.parametrize("engine", ALL)
@settings(max_examples=30, deadline=None)
@given(tile=TILES)
def test_macs_never_exceed_the_peak(engine: Engine, tile: MatmulTile) -> None:
    macs = tile.m * tile.n * tile.k
    peak = engine.peak(tile.rate, tile.weight_bits)
    assert macs <= engine.service(tile).interval * peak * (1 + 1e-12)


@pytest.mark.parametrize("engine", ALL)
@pytest.mark.parametrize("rate", RATES)
def test_many_full_blocks_come_near_the_peak(engine: Engine, rate: float) -> None:
    gm, gn, gk = engine.geometry(rate)
    tile = MatmulTile(gm * 400, gn * 400, gk * 400, rate)
    macs = tile.m * tile.n * tile.k
    full = getattr(engine, "weight_preload", "ideal") != "none"
    done = macs / (engine.service(tile).interval * engine.peak(rate, tile.weight_bits))
    assert done > (0.9 if full else 0.5)


@pytest.mark.parametrize("engine", ALL)
@settings(max_examples=25, deadline=None)
@given(tile=TILES)
def test_every_operand_crosses_the_boundary_at_least_once(engine: Engine, tile: MatmulTile) -> None:
    words = engine.operand_words(tile)
    assert words.activation >= tile.m * tile.k
    assert words.weight >= tile.k * tile.n
    assert words.output_write >= tile.m * tile.n
    assert words.output_write - words.output_read == tile.m * tile.n


# systolic


def systolic(rows: int, cols: int, dataflow: str, weight_preload: str) -> Engine:
    geometry = {
        "rows": rows,
        "cols": cols,
        "dataflow": dataflow,
        "weight_preload": weight_preload,
    }
    return engine_of("systolic", geometry)


def scalesim_rows() -> list[Any]:
    path = Path(__file__).parents[1] / "data" / "scalesim_gemm_cycles.csv"
    with path.open() as file:
        return [
            pytest.param(row, id="-".join(list(row.values())[:6])) for row in csv.DictReader(file)
        ]


def served(row: dict[str, str]) -> int:
    """Cycles of all folds, none overlapping."""
    engine = systolic(int(row["array_rows"]), int(row["array_cols"]), row["dataflow"], "none")
    return int(engine.service(MatmulTile(int(row["M"]), int(row["N"]), int(row["K"]))).interval)


@pytest.mark.parametrize("row", scalesim_rows())
def test_systolic_equals_scale_sim(row: dict[str, str]) -> None:
    """compute_cycles counts from zero: tests/data/README.md."""
    assert served(row) == int(row["compute_cycles"]) + 1


# C[5,16] = A[5,24] B[24,16] on 8 x 8, weights in place: 3 x 2 folds, 5 rows streamed through each.
# The pipe is 8 + 8 - 2 + 5 = 19 cycles long.
@pytest.mark.parametrize(
    ("preload", "interval", "latency"),
    [
        ("none", 6 * (19 + 8), 6 * (19 + 8)),  # fill, drain and load of every fold
        ("shadow", 6 * 8, 5 * 8 + 19),  # loading 8 rows outlasts streaming 5
        ("ideal", 6 * 5, 5 * 5 + 19),  # a fold every 5 cycles, then the pipe drains
    ],
)
def test_six_folds_by_hand(preload: str, interval: int, latency: int) -> None:
    service = systolic(8, 8, "ws", preload).service(MatmulTile(5, 16, 24))
    assert (service.interval, service.latency) == (interval, latency)


def test_shadow_is_ideal_once_a_fold_streams_longer_than_it_loads() -> None:
    for m in (8, 9, 100):
        tile = MatmulTile(m, 16, 24)
        shadow = systolic(8, 8, "ws", "shadow").service(tile)
        assert shadow == systolic(8, 8, "ws", "ideal").service(tile)


def test_dataflows_stream_their_own_rank() -> None:
    """One fold each on 8 x 8: ws streams m, is streams n, os streams k."""
    tile = MatmulTile(3, 4, 5)
    for dataflow, stream in {"ws": 3, "is": 4, "os": 5}.items():
        service = systolic(8, 8, dataflow, "ideal").service(tile)
        assert (service.interval, service.latency) == (stream, 8 + 8 - 2 + stream)


# blocks


def test_dot_product_by_hand() -> None:
    """17 x 9 x 33 on 16 x 8 x 16: 2 x 2 blocks of C, 3 steps of k, 4 issues of 16 a step."""
    engine = engine_of("dot_product", GEOMETRIES["dot_product"][0])
    service = engine.service(MatmulTile(17, 9, 33))
    assert (service.interval, service.latency) == (3 * 4 * 16, 3 * 4 * 16 + 24)
    few = engine.service(MatmulTile(1, 1, 33))  # one block: each step waits for the last one's sums
    assert (few.interval, few.latency) == (3 * 24, 3 * 24 + 24)


def test_lut_time_scales_with_weight_bits() -> None:
    engine = engine_of("lut", {"m": 2, "n": 8, "k": 4, "issue_interval": 1, "pipeline": 1})
    one = engine.service(MatmulTile(64, 64, 64, 1.0, 1)).interval
    assert one == 32 * 8 * 16
    for bits in range(1, 17):
        assert engine.service(MatmulTile(64, 64, 64, 1.0, bits)).interval == bits * one
        assert engine.peak(1.0, bits) == 2 * 8 * 4 / bits


def test_outer_product_and_simd_by_hand() -> None:
    outer = engine_of("outer_product", {"m": 4, "n": 4, "pipeline": 1})
    assert outer.service(MatmulTile(5, 4, 10)).interval == 2 * 10
    simd = engine_of("simd", {"lanes": 8, "pipeline": 1})
    assert simd.service(MatmulTile(3, 17, 10)).interval == 3 * ceil(17 / 8) * 10


# formats and datapaths


@cache
def values(fmt: Format) -> frozenset[float]:
    """Every element value by its definition."""
    return frozenset(every_value(fmt.of).tolist())


SMALL = [fmt for fmt in FORMATS.values() if fmt.bits <= 16]


@pytest.mark.parametrize("wide", SMALL, ids=lambda fmt: fmt.name)
def test_represents_is_what_the_values_say(wide: Format) -> None:
    for narrow in SMALL:
        if "codebook" in (wide.kind, narrow.kind):  # its table holds any 16-bit floats
            wide_float = wide.kind == "float" and wide.bits >= 16
            expected = narrow.element == wide.element or (narrow.kind == "codebook" and wide_float)
        else:
            expected = values(narrow) <= values(wide)
        assert represents(wide, narrow) == expected, narrow.name


@pytest.mark.parametrize("fmt", FORMATS.values(), ids=lambda fmt: fmt.name)
def test_wide_formats_represent_the_small_ones(fmt: Format) -> None:
    assert represents(fmt, fmt)
    if fmt.bits <= 16:
        assert represents(FORMATS["fp32"], fmt)
    whole = fmt.kind in ("int", "uint", "ternary", "bipolar")
    assert represents(FORMATS["int32"], fmt) == whole


def pe_of(**rates: float) -> PE:
    pairs = {
        key.replace("_x_", "*"): {"macs_per_cycle": r, "accumulate": "fp32", "energy": "1 pJ"}
        for key, r in rates.items()
    }
    return PE.model_validate({"formats": pairs})


def test_the_fastest_exact_pair_is_chosen() -> None:
    pe = pe_of(fp32=1, fp16=2, int8=4, int4_x_int8=8)
    chosen = choose_datapath(pe, get_format("int4"), get_format("int8"), "x")
    assert (chosen.key, chosen.convert_weight, chosen.convert_activation) == (
        "int4*int8",
        False,
        False,
    )
    mixed = choose_datapath(pe, get_format("int4"), get_format("fp16"), "x")
    assert (mixed.key, mixed.convert_weight, mixed.convert_activation) == ("fp16", True, False)
    wide = choose_datapath(pe, get_format("bf16"), get_format("bf16"), "x")
    assert (wide.key, wide.convert_weight, wide.convert_activation) == ("fp32", True, True)


def test_equal_rates_prefer_no_conversion() -> None:
    chosen = choose_datapath(pe_of(fp32=1, fp16=1), get_format("fp16"), get_format("fp16"), "x")
    assert chosen.key == "fp16"


@pytest.mark.parametrize("weight", FORMATS)
def test_a_datapath_is_exact_or_refused(weight: str) -> None:
    for activation in FORMATS:
        check_datapath(get_format(weight), get_format(activation))


def check_datapath(w: Format, a: Format) -> None:
    pe = pe_of(bf16=1, fp8=2, int8=2, int4_x_fp8=3)
    exact = {
        key: pair
        for key, pair in pe.formats.items()
        if represents(get_format(key.split("*")[0]), w)
        and represents(get_format(key.split("*")[-1]), a)
    }
    if exact:
        chosen = choose_datapath(pe, w, a, "chip: core")
        assert chosen.key in exact
        assert chosen.pair.macs_per_cycle == max(p.macs_per_cycle for p in exact.values())
        return
    with pytest.raises(DesignError) as caught:
        choose_datapath(pe, w, a, "chip: core")
    assert str(caught.value) == (
        f"chip: core: no PE multiplies {w.element} weights by {a.element} activations exactly; "
        "it has bf16, fp8, int8, int4*fp8; try --formats bf16 or fp8 or w8a8"
    )
