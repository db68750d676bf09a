"""The closed form of a library's multiplications, by hand, and as ops are planned with it."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny import without_library

from accel_models.kernel_library.matmul import MatmulKernel, Tiles
from accel_models.path import memory_path
from accel_models.read_design import parse_design, read_design
from accel_models.reader import DesignError
from mappers import map_graph
from mappers.library.machine import Machine, machine_of
from mappers.library.matmul import OVERLAP, Gemms, candidates, matmul_times
from workloads.builders import build
from workloads.phase import decode, prefill, verify
from workloads.read_model import read_config

MACHINE = Machine(
    cores=10,
    clock_hz=1e9,
    dram_bytes_per_s=1e12,
    l2_bytes=1e6,
    l2_bytes_per_s=4e12,
    core_bytes=1e5,
    vector={"mul": 128.0},
    power_w=100.0,
    static_w=10.0,
)
KERNEL = MatmulKernel(
    tiles=Tiles(m=[64], n=[64]),
    largest=4096,
    step="128 B",
    stages=3,
    resident=1,
    splits=[1],
    cluster=1,
    issue=0.5,
    launch="2 us",
    step_latency="100 ns",
    split_latency="3 us",
    exposed_store=1.0,
    dram=0.8,
    l2=0.5,
    warm=0.5,
    mac_energy="1 pJ",
)
PEAK = 10 * 1e12  # MACs/s: 1000 a cycle and core


def gemms(m: float, n: float, k: float, passed: float = np.inf, **more: object) -> Gemms:
    sizes = (np.array([float(size)]) for size in (1, m, n, k))
    found = Gemms(*sizes, 2.0, 2.0, 2.0, PEAK, np.array([float(passed)]))
    return replace(found, **more)


def latency(case: Gemms, kernel: MatmulKernel = KERNEL, machine: Machine = MACHINE) -> float:
    return float(matmul_times(case, machine, kernel).latency_s[0])


def test_by_hand():
    """128 x 640 x 256: 20 tiles on 10 cores are 2 rounds of 4 steps."""
    times = matmul_times(gemms(128, 640, 256), MACHINE, KERNEL)
    parts = {name: float(values[0]) for name, values in times.parts.items()}
    matrix = 2 * 4 * 64 * 64 * 64 / (0.5 * 1e12)
    l2 = 20 * 4 * 2 * 64 * 128 / (0.5 * 4e12)
    outputs = 128 * 640 * 2
    # a wave is 10 tiles, 2 down and 5 across: A again for the second, but it fits half of L2
    inputs = 128 * 256 * 2 + 640 * 256 * 2
    dram = (inputs + outputs) / 0.8e12
    power = 128 * 640 * 256 * 1e-12 / 100
    store = outputs / 0.8e12
    assert parts == pytest.approx(
        {"matrix": matrix, "in_flight": 2 * 4 * 100e-9, "l2": l2, "dram": dram, "power": power,
         "store": store, "split": 0.0, "launch": 2e-6}
    )  # fmt: skip
    overlapped = sum(parts[n] ** 4 for n in ("matrix", "in_flight", "l2", "dram", "power")) ** 0.25
    assert float(times.latency_s[0]) == pytest.approx(2e-6 + overlapped + store)
    assert OVERLAP == 4


def test_what_has_just_passed_is_found_again():
    case = gemms(64, 640, 4096)
    warm = replace(case, passed=np.array([1e5]))
    moved = [float(matmul_times(c, MACHINE, KERNEL).moved["dram"][0]) for c in (case, warm)]
    assert moved == pytest.approx([2 * (64 * 4096 + 640 * 4096 + 64 * 640), 0.0], abs=1)


def test_a_single_run_leaves_its_outputs_in_l2():
    single = matmul_times(gemms(64, 640, 64, runs=1), MACHINE, KERNEL)
    looped = matmul_times(gemms(64, 640, 64), MACHINE, KERNEL)
    assert float((looped.moved["dram"] - single.moved["dram"])[0]) == 64 * 640 * 2
    assert float(single.parts["power"][0]) == 0.0


def test_runs_in_a_row_write_the_same_outputs_over_in_l2():
    """1 MB passes between two uses of the inputs, 0.18 MB in one run: half of L2 counts."""
    loop = gemms(64, 640, 64, passed=1e6)
    moved = float(matmul_times(loop, MACHINE, KERNEL).moved["dram"][0])
    assert moved == pytest.approx(2 * (64 * 64 + 640 * 64), abs=1)  # not the outputs
    large = gemms(64, 6400, 64, passed=1e7)
    outputs = 2 * 64 * 6400
    assert float(matmul_times(large, MACHINE, KERNEL).moved["dram"][0]) == pytest.approx(
        2 * (64 * 64 + 6400 * 64) + outputs
    )


@pytest.mark.parametrize(("lasting", "limits"), [(10, 1.0), (1, 1.0), (0.1, 1.2), (0.01, 1.4)])
def test_short_runs_may_draw_more(lasting, limits):
    board = replace(MACHINE, excursion=0.2)
    allowed = float(board.allowed_w(np.array(lasting)))
    assert allowed == pytest.approx(110.0 * limits - 10.0)
    assert float(MACHINE.allowed_w(np.array(lasting))) == MACHINE.power_w


def test_power_stretches_long_runs_more():
    board, hot = replace(MACHINE, excursion=0.2), KERNEL.model_copy(update={"mac_energy": 1e-10})
    short, loop, good = (gemms(640, 640, 6400, runs=runs) for runs in (2, 2000, np.inf))
    seconds = [latency(case, hot, board) for case in (short, loop, good)]
    assert seconds == sorted(seconds)
    assert seconds[0] < 0.7 * seconds[2]
    macs = 640 * 640 * 6400
    power = float(matmul_times(good, board, hot).parts["power"][0])
    assert power == pytest.approx(macs * 1e-10 / 100)


def test_the_order_of_blocks_says_what_is_read_again():
    """20 x 10 tiles on 10 cores, operands that L2 cannot keep. Down the columns a wave is 10 x 1:
    A ten times, B twice. Along the shorter side, the rows, 1 x 10: A once, B twenty times."""
    case = gemms(1280, 640, 65536)
    a, b, outputs = (2 * size for size in (1280 * 65536, 640 * 65536, 1280 * 640))
    for order, read in (("columns", 10 * a + 2 * b), ("shorter", a + 20 * b)):
        times = matmul_times(case, MACHINE, KERNEL.model_copy(update={"order": order}))
        assert float(times.moved["dram"][0]) == pytest.approx(read + outputs), order


def test_splitting_k_fills_the_cores_at_the_price_of_a_second_kernel():
    splits = KERNEL.model_copy(update={"splits": [1, 8]})
    long = gemms(64, 64, 65536)
    assert latency(long, splits) < 0.5 * latency(long)
    times = matmul_times(long, MACHINE, splits)
    assert candidates(splits, MACHINE).s[0, times.choice[0]] == 8
    assert latency(gemms(64, 64, 128), splits) == pytest.approx(
        latency(gemms(64, 64, 128)), rel=0.01
    )


def test_few_rows_may_do_without_tiles():
    kernel = KERNEL.model_copy(update={"vector_rows": 4})
    few, many = gemms(4, 8192, 8192), gemms(5, 8192, 8192)
    assert latency(few, kernel) < latency(few)
    assert latency(many, kernel) == pytest.approx(latency(many))


def test_a_library_that_goes_by_rows_takes_no_other_height():
    tiles = Tiles(m=[16, 64, 128], n=[64], up_to=[16, 100])
    kernel = KERNEL.model_copy(update={"tiles": tiles, "largest": 128 * 64})
    menu = candidates(kernel, MACHINE)
    for rows, height in ((1, 16), (16, 16), (17, 64), (100, 64), (101, 128)):
        times = matmul_times(gemms(rows, 4096, 4096), MACHINE, kernel)
        assert menu.tm[0, times.choice[0]] == height
        assert np.isfinite(times.latency_s).all()


def test_tiles_that_the_core_does_not_hold_are_no_candidates():
    small = replace(MACHINE, core_bytes=3 * 128 * 96)
    kernel = KERNEL.model_copy(update={"tiles": Tiles(m=[32, 64], n=[64, 128]), "largest": 8192})
    menu = candidates(kernel, small)
    assert (menu.tm.tolist(), menu.tn.tolist()) == ([[32]], [[64]])


@given(*(st.integers(1, 5000) for _ in range(3)), st.integers(1, 2000))
def test_more_takes_longer_and_nothing_beats_the_machine(m, n, k, more):
    case = latency(gemms(m, n, k))
    assert latency(gemms(m, n, k + more)) >= case * (1 - 1e-9)
    assert case >= 2e-6 + m * n * k / PEAK
    assert case >= 2e-6 + 2 * (m * k + n * k + m * n) / 1e12


def test_a_format_says_only_where_it_differs():
    library = read_design("a100_sxm").cores["sm"].kernels.matmul
    int8, plain = library.of("int8"), library.of("bf16")
    assert (int8.vector_rows, plain.vector_rows) == (4, 0)
    assert int8.launch == plain.launch
    assert int8.step_latency != plain.step_latency
    assert library.of("no such", "int8") == int8


def test_a_design_with_bounds_for_other_tiles_is_refused():
    text = """
extends: a100_sxm
cores: {sm: {kernels: {matmul: {tiles: {m: [16, 64], n: [64], up_to: [16, 32]}}}}}
"""
    with pytest.raises(DesignError, match="up_to has 2 bounds for 2 sizes of m"):
        parse_design(text)


@pytest.mark.parametrize("phase", [decode(1, 1024), prefill(1, 256)], ids=["step", "prompt"])
def test_ops_are_planned_with_the_library_s_time(phase):
    graph = build(read_config("llama-3.2-1b"), phase)
    real, ideal = (
        {p.op.name: p for p in map_graph(graph, design)}
        for design in (read_design("a100_sxm"), without_library("a100_sxm"))
    )
    op = real["lm_head"]
    path, library = op.plan.path, read_design("a100_sxm").cores["sm"].kernels.matmul
    rows = op.op.ranks["m"]
    sizes = (np.array([float(s)]) for s in (1, rows, op.op.ranks["n"], op.op.ranks["k"]))
    case = Gemms(*sizes, 2.0, 2.0, 2.0, 156e12, np.array([np.inf]))
    alone = float(matmul_times(case, machine_of(path), library.of("bf16")).latency_s[0])
    assert float(op.cost.latency_s) == pytest.approx(alone, rel=0.02)
    assert float(op.cost.latency_s) > float(ideal["lm_head"].cost.latency_s)
    cost = op.cost
    assert cost.lower_bound_s() <= cost.latency_s <= cost.upper_bound_s() * (1 + 1e-9)
    assert sum(cost.exposed.values()) == pytest.approx(cost.latency_s)


def test_machines_need_a_shared_memory():
    design = read_design("raspberry_pi_4")
    path = memory_path(design, next(iter(design.cores)))
    assert machine_of(path).cores == path.cores
    with pytest.raises(ValueError, match="share no memory"):
        machine_of(replace(path, first_core=1))


def test_no_board_spends_more_than_it_may():
    """The library's own power and that of the energies which are reported: the longer holds."""
    graph = build(read_config("llama-3.2-1b"), prefill(1, 4096))
    for name in ("b200", "h100_sxm"):
        design = read_design(name)
        for placed in map_graph(graph, design):
            watts = float(placed.cost.energy_j) / float(placed.cost.latency_s)
            assert watts <= design.power.limit * (1 + 1e-9), (name, placed.op.name)


def test_a_height_that_no_core_holds_leaves_the_others():
    tiles = Tiles(m=[16, 512], n=[64], up_to=[16])
    kernel = KERNEL.model_copy(update={"tiles": tiles, "largest": 512 * 64})
    small = replace(MACHINE, core_bytes=3 * 128 * 80)
    assert np.isfinite(latency(gemms(512, 64, 64), kernel, small))


def test_formats_go_by_what_libraries_call_their_kernels():
    library = read_design("b200").cores["sm"].kernels.matmul
    assert library.of("fp8_e5m2") == library.of("fp8*fp8_e5m2") == library.of("fp8")
    assert library.of("fp4") == library.of("nvfp4") != library.of("fp8")


def test_operands_that_are_widened_take_the_steps_of_what_they_become():
    narrow = gemms(128, 640, 256, a_bytes=0.5, b_bytes=0.5)
    wide = replace(narrow, wide_bytes=2.0)
    steps = [float(matmul_times(g, MACHINE, KERNEL).parts["in_flight"][0]) for g in (narrow, wide)]
    assert steps == pytest.approx([2 * 1 * 100e-9, 2 * 4 * 100e-9])


def test_a_few_tokens_on_a_long_cache_are_not_priced_as_a_prompt():
    config, design = read_config("llama-3.2-1b"), read_design("b200")
    one, two = (
        next(p for p in map_graph(build(config, phase), design) if p.op.kind == "attention")
        for phase in (decode(1, 32768), verify(1, 2, 32768))
    )
    assert float(two.cost.latency_s) < 3 * float(one.cost.latency_s)


def test_a_library_that_goes_by_rows_may_have_a_width_for_each_height():
    tiles = Tiles(m=[16, 64, 64], n=[32, 32, 64], up_to=[16, 100])
    kernel = KERNEL.model_copy(update={"tiles": tiles})
    menu = candidates(kernel, MACHINE)
    for rows, tile in ((16, (16, 32)), (100, (64, 32)), (101, (64, 64))):
        at = matmul_times(gemms(rows, 4096, 4096), MACHINE, kernel).choice[0]
        assert (menu.tm[0, at], menu.tn[0, at]) == tile
    with pytest.raises(ValueError, match="n has 2 sizes for 3 sizes of m"):
        Tiles(m=[16, 64, 64], n=[32, 64], up_to=[16, 100])
