"""Designs under designs/research: sized by their area, with the peaks that follow, and running."""

from __future__ import annotations

from functools import cache

import pytest

from accel_models.area import area_parts
from accel_models.design import Design
from accel_models.dram import KINDS, bandwidth_share, host_phy_j_per_bit
from accel_models.engines import DotProduct, Lut, Systolic
from accel_models.library import shipped_root
from accel_models.pes import GATE_PES, pe_block
from accel_models.pes.iso_area import BUDGET_GE, LARGE_UNIT_STEP, STEP, iso_area_grid
from accel_models.read_design import read_design
from accel_models.sram import Sram, sram_cost
from accel_models.technology import gate_area_um2, gate_delay_s
from accel_models.wires import wire_j_per_bit_mm
from kernels_ref.formats import get_format
from kernels_ref.pairs import pair_of
from sim.api import simulate
from sim.verify import checks

NODE = 28e-9
# Systolic arrays and their PEs.
GRIDS = {
    "int8_systolic": "int8_mac",
    "fp16_systolic": "fp16_mac",
    "mixpe_w4a8": "mixpe_w4a8",
    "mixpe_w4a16": "mixpe_w4a16",
    "bitfusion": "bitfusion",
    "ant_like": "ant_like",
    "olive_like": "olive_like",
    "bitmod_like": "bitmod_like",
}
BLOCKS = {"mxint8_mmu": "mxint8_dp32", "nvfp4_mmu": "nvfp4_dp16", "unpu_like": "unpu_like"}
A100S = {
    "int8_tensor_core_a100": "int8_dp4",
    "lut_tensor_core_a100_4x": "lut_tensor_core",
    "lut_tensor_core_a100_8x": "lut_tensor_core",
}
ISO_AREA = GRIDS | BLOCKS
RESEARCH = ISO_AREA | A100S
# (design, formats it is for)
RUNS = [
    ("int8_systolic", "w8a8"),
    ("fp16_systolic", "fp16"),
    ("mixpe_w4a8", "w4a8-g128"),
    ("mixpe_w4a16", "w4a16-g128"),
    ("bitfusion", "w8a8"),
    ("bitfusion", "w2a8"),
    ("ant_like", "w4a16-g128"),
    ("olive_like", "w4a16-g128"),
    ("bitmod_like", "w4a16-g128"),
    ("mxint8_mmu", "mxint8"),
    ("nvfp4_mmu", "nvfp4"),
    ("unpu_like", "w2a8"),
    ("unpu_like", "w4a8-g128"),
    ("int8_tensor_core_a100", "w2a8"),
    ("lut_tensor_core_a100_4x", "w2a8"),
    ("lut_tensor_core_a100_8x", "w2a8"),
]
# MACs per cycle and engine, by hand from the geometry and the PE.
PEAKS = [
    ("int8_systolic", "int8", 48 * 72),
    ("fp16_systolic", "fp16", 32 * 32),
    ("mixpe_w4a8", "int4*int8", 60 * 80),
    ("mixpe_w4a16", "int4*fp16", 28 * 48),
    ("bitfusion", "int8", 28 * 36),
    ("bitfusion", "int2*int8", 28 * 36 * 4),  # sixteen bricks, four to a product
    ("bitfusion", "int2", 28 * 36 * 16),
    ("ant_like", "int4*fp16", 28 * 48),
    ("olive_like", "int4*fp16", 28 * 48),
    ("bitmod_like", "int4*fp16", 28 * 36 * 2),  # four lanes, two cycles a weight
    ("mxint8_mmu", "int8", 11 * 16 * 32),
    ("nvfp4_mmu", "fp4", 23 * 25 * 16),
    ("unpu_like", "uint1*int8", 5 * 6 * 512),
    ("unpu_like", "uint2*int8", 5 * 6 * 256),
    ("unpu_like", "uint4*int8", 5 * 6 * 128),
    ("int8_tensor_core_a100", "int8", 512),
    ("lut_tensor_core_a100_4x", "uint2*int8", 4 * 256),
    ("lut_tensor_core_a100_8x", "uint2*int8", 8 * 256),
]


@cache
def design_of(name: str) -> Design:
    return read_design(name)


def core_of(name: str) -> str:
    return "sm" if name in A100S else "array"


def engine_peak(name: str, pair: str) -> float:
    engine = design_of(name).cores[core_of(name)].engine
    bits = get_format(pair.partition("*")[0]).bits
    return engine.peak(engine.pe.formats[pair].macs_per_cycle, bits)


def units(name: str) -> int:
    """PEs of an array at equal area, their lanes together."""
    engine = design_of(name).cores["array"].matrix
    if name in GRIDS:
        return engine.rows * engine.cols
    return round(engine.peak(1, 1) / GATE_PES[BLOCKS[name]].lanes)


def test_all_files_are_here() -> None:
    assert {path.stem for path in (shipped_root() / "research").glob("*.yaml")} == RESEARCH.keys()


@pytest.mark.parametrize(("name", "pe"), GRIDS.items())
def test_grid_is_what_the_area_gives(name: str, pe: str) -> None:
    engine = design_of(name).cores["array"].matrix
    assert isinstance(engine, Systolic)
    assert (engine.rows, engine.cols) == iso_area_grid(pe, STEP)


@pytest.mark.parametrize("name", ["mxint8_mmu", "nvfp4_mmu"])
def test_units_of_a_block_engine_are_what_the_area_gives(name: str) -> None:
    engine, pe = design_of(name).cores["array"].matrix, BLOCKS[name]
    assert isinstance(engine, DotProduct)
    assert (engine.m, engine.n) == iso_area_grid(pe, LARGE_UNIT_STEP)
    assert engine.k == GATE_PES[pe].lanes * engine.issue_interval


def test_arrays_of_tables_are_what_the_area_gives() -> None:
    """A PE is two rows, 64 columns, four deep."""
    engine = design_of("unpu_like").cores["array"].matrix
    rows, cols = iso_area_grid("unpu_like", LARGE_UNIT_STEP)
    assert isinstance(engine, Lut)
    assert (engine.m, engine.n) == (2 * rows, 64 * cols)
    assert engine.k == 4 * engine.issue_interval


@pytest.mark.parametrize(("name", "pe"), ISO_AREA.items())
def test_pes_of_each_fill_the_same_area_within_a_step(name: str, pe: str) -> None:
    """mm2 of the design, from its YAML; one step of rows and one of cols more would not fit."""
    budget = BUDGET_GE * gate_area_um2(NODE) * 1e-6
    area = area_parts(design_of(name))["cores", "array", "matrix", "pe", "area"]
    assert area <= budget * 1.001  # areas are written with four digits
    rows, cols = iso_area_grid(pe, step := STEP if name in GRIDS else LARGE_UNIT_STEP)
    larger = (rows + step) * (cols + step) / (rows * cols)
    assert area * larger > budget


@pytest.mark.parametrize(("name", "pair", "macs"), PEAKS)
def test_peak_by_hand(name: str, pair: str, macs: int) -> None:
    assert engine_peak(name, pair) == pytest.approx(macs, rel=1e-9)


@pytest.mark.parametrize(
    ("name", "pair", "tera"),
    [
        ("int8_tensor_core_a100", "int8", 624.0),  # white paper, dense
        ("lut_tensor_core_a100_4x", "uint2*int8", 61.84 * 0.187 * 108),  # table 1
        ("lut_tensor_core_a100_8x", "uint2*int8", 61.95 * 0.373 * 108),
    ],
)
def test_peak_of_the_a100s_is_the_published_one(name: str, pair: str, tera: float) -> None:
    core = design_of(name).cores["sm"]
    per_s = engine_peak(name, pair) * core.engine.count * core.count * design_of(name).clock
    assert 2 * per_s / 1e12 == pytest.approx(tera, rel=0.005)


def test_narrower_pes_are_more() -> None:
    order = ["fp16_systolic", "mixpe_w4a16", "int8_systolic", "mixpe_w4a8"]
    counts = [units(name) for name in order]
    assert counts == sorted(counts)
    assert len(set(counts)) == len(counts)
    assert units("bitfusion") < units("int8_systolic")  # bricks cost more than one product


def test_memory_numbers_are_what_the_models_say() -> None:
    base = design_of("int8_systolic")
    dram, buffer = base.memory["dram"], base.memory["buffer"]
    sums, kind = base.cores["array"].memory["accumulators"], KINDS["ddr4"]
    macro = sram_cost(Sram(128 * 1024, 512), NODE)
    ported = sram_cost(Sram(32 * 1024, 512, ports=2), NODE)
    wire = wire_j_per_bit_mm(NODE)
    expected = [
        (dram.efficiency, bandwidth_share(kind, 4096, writes=0.1)),
        (dram.energy, kind.energy + host_phy_j_per_bit("ddr4")),
        (buffer.energy, macro.read_j / 512 + wire),
        (buffer.write_energy, macro.write_j / 512 + wire),
        (buffer.area, 16 * macro.area_um2 * 1e-6),
        (sums.energy, ported.read_j / 512),
        (sums.write_energy, ported.write_j / 512),
        (sums.area, 8 * ported.area_um2 * 1e-6),
    ]
    assert dram.bandwidth
    assert dram.bandwidth.amount == pytest.approx(2 * kind.bandwidth)
    for stated, modeled in expected:
        assert stated == pytest.approx(modeled, rel=0.02)


@pytest.mark.parametrize("name", BLOCKS)
def test_pipelines_are_what_the_path_needs(name: str) -> None:
    stages = GATE_PES[BLOCKS[name]].stages(1e9, gate_delay_s(NODE))
    assert design_of(name).cores["array"].matrix.pipeline == stages


@pytest.mark.parametrize(("name", "pe"), RESEARCH.items())
def test_pe_is_made_at_the_design_s_own_node(name: str, pe: str) -> None:
    design = design_of(name)
    block = pe_block(pe, design.technology.node, unit=name in GRIDS)
    engine = design.cores[core_of(name)].engine
    assert engine.pe.formats.keys() == block["formats"].keys()
    assert engine.pe.area == pytest.approx(float(block["area"].split()[0]) * 1e-6)


@pytest.mark.parametrize(("name", "pe"), RESEARCH.items())
def test_kernels_are_the_pe_s(name: str, pe: str) -> None:
    """`verify DESIGN` checks what the PE's modes name."""
    named = {(check.kernel, check.pair) for check in checks(name)}
    for pair, mode in GATE_PES[pe].modes.items():
        if mode.kernel:
            assert (mode.kernel, pair_of(f"{pair}->{mode.accumulate}")) in named


@pytest.mark.slow
@pytest.mark.parametrize(("name", "formats"), RUNS)
def test_runs_a_prefill_in_its_formats(name: str, formats: str) -> None:
    """Projections on the matrix engine, not below the time of their MACs at the peak."""
    run = simulate(name, "opt-125m", phase="prefill", prompt=512, formats=formats)
    by_name = {op.name: op for op in run.ops}
    for op in (by_name["fc1"], by_name["q_proj"]):
        assert op.engine == "matrix"
        assert op.cores == core_of(name)
        assert op.latency_s >= op.macs / op.peak_macs_per_s
    assert run.energy_j > 0
