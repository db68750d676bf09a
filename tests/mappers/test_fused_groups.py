"""What each form of group moves and computes, worked out on paper."""

from __future__ import annotations

from math import ceil
from typing import Any

import pytest
from sketch import Sketch, plan_of
from tiny import attention_graph, design_dict, engine, memory, parse, without_library

from accel_models.design import Design
from accel_models.path import memory_path
from accel_models.read_design import read_design
from kernels_ref.formats import FORMATS
from mappers import map_graph
from mappers.flash import flash_cost
from mappers.flash_problem import Flash, FlashTile
from mappers.fused_tables import Tables, with_tables
from mappers.plan import Plan
from workloads.ops import Attention

M, K, N = 16, 32, 24
US, NS = 1e-6, 1e-9


def machine(cores: int = 1, interval: int = 1, **levels: dict[str, Any]) -> Design:
    """DRAM of 8 B/cycle, perhaps an L2, and cores whose buffer holds everything."""
    chip = {"dram": memory("1 GiB", "8 B/cycle", kind="dram")} | levels
    core = {"l1": memory("1 MiB", "1 TB/s")}
    return parse(design_dict(chip, core, engine("dot_product", issue_interval=interval), cores))


def dram(plan: Plan) -> dict[str, tuple[float, float]]:
    traffic = next(iter(plan.cost.work.traffic.values()))
    return {operand: (float(r), float(w)) for operand, (r, w) in traffic.items()}


def joules(plan: Plan) -> float:
    """Vector operations, at 1 pJ each."""
    return float(plan.cost.joules["vector"]) / 1e-12


def test_three_multiplications_of_one_activation_read_it_once():
    sketch = Sketch(M, K)
    for width in (N, 8, 8):
        sketch.multiply("x", width)
    (placed,) = map_graph(sketch.graph(), machine())
    assert placed.plan.variant == "merged"
    assert [op.name for op in placed.fused] == ["mm1", "mm2"]
    assert placed.macs == M * K * (N + 16)
    moved = dram(placed.plan)
    assert moved["activation"] == (M * K * 2, 0)
    assert moved["weight"] == (K * (N + 16) * 2, 0)
    assert moved["output"] == (0, M * (N + 16) * 2)
    assert float(placed.cost.exposed["launch"]) == pytest.approx(1 * US)
    assert placed.plan.instead["apart"] > 3 * US


def test_gate_and_up_write_only_their_product():
    sketch = Sketch(M, K)
    gate, up = sketch.multiply("x", N), sketch.multiply("x", N)
    sketch.vector("silu_mul", gate, up)
    (placed,) = map_graph(sketch.graph(), machine())
    assert placed.plan.variant == "merged + epilogue"
    assert dram(placed.plan)["output"] == (0, M * N * 2)
    assert joules(placed.plan) == M * N * 5


def test_a_norm_before_a_multiplication_costs_its_work_and_a_product_per_output():
    """One tile: every row enters once. RMS norm: 3 mul and an add an element, 3 a row, and 2 * 2 to
    bring 4 lanes together; its factors scale the outputs."""
    sketch = Sketch(M, K)
    sketch.multiply(sketch.vector("rmsnorm", "x"), N)
    plan = plan_of(sketch.graph(), machine())
    assert plan.variant == "prologue"
    assert dram(plan)["activation"] == (M * K * 2, 0)
    assert joules(plan) == M * K * 4 + M * 3 + M * 4 + M * N
    assert plan.cost.work.launches == 1


def test_a_prologue_is_repeated_for_every_tile_of_columns():
    """Where MACs are slow, three cores share the columns, and each prepares all rows itself."""
    sketch = Sketch(1, K)
    sketch.multiply(sketch.vector("rope", "x"), 3 * N)
    alone, shared = (plan_of(sketch.graph(), machine(n, 1000)) for n in (1, 3))
    assert joules(shared) >= 3 * K * 4
    assert all(joules(plan) % (K * 4) == 0 for plan in (alone, shared))


def test_quantization_before_a_multiplication_passes_over_the_rows_first():
    sketch = Sketch(M, K)
    sketch.multiply(sketch.vector("quantize", "x"), N)
    plan = plan_of(sketch.graph(), machine())
    assert plan.variant == "statistics + prologue"
    assert plan.cost.work.launches == 2
    moved = dram(plan)
    assert moved["x"] == moved["activation"] == (M * K * 2, 0)
    assert moved["output"] == (0, M * 4 + M * N * 2)  # a number per row, and the product


def test_functions_of_the_same_rows_pass_them_on():
    """Residual and norm: two read, the sum and the normalized rows written, one launch."""
    sketch = Sketch(M, K)
    first = sketch.multiply("x", K)
    total = sketch.vector("add", "x", first)
    norm = sketch.vector("rmsnorm", total)
    sketch.vector("add", norm, total)
    plan = plan_of(sketch.graph(), machine(), total, norm)
    assert plan.variant == "rows"
    moved = dram(plan)
    assert moved["x"] == moved[first] == (M * K * 2, 0)
    assert moved["output"] == (0, 2 * M * K * 2)


def test_rows_larger_than_a_core_are_not_fused():
    sketch = Sketch(2, 1 << 18)
    sketch.vector("rmsnorm", sketch.vector("relu", "x"))
    assert len(map_graph(sketch.graph(), machine()).placed) == 2


def stack(rows: int = 64) -> Sketch:
    """Two multiplications, the result of the first larger than all else."""
    sketch = Sketch(rows, 8)
    sketch.multiply(sketch.multiply("x", 256), 8)
    return sketch


def test_what_stays_in_a_shared_memory_does_not_pass_dram():
    """Cores too small for a pair; 64 x 256 x 2 B = 32 KiB in half of 96."""
    data = design_dict(
        {
            "dram": memory("1 GiB", "1 B/cycle", kind="dram"),
            "l2": memory("96 KiB", "64 B/cycle"),
        },
        {"l1": memory("1 KiB", "64 B/cycle")},
        engine("dot_product"),
        2,
    )
    first, second = map_graph(stack().graph(), parse(data)).placed
    assert first.plan.stays == second.plan.stays == {"mm0": "l2"}
    assert dram(first.plan)["output"] == (0, 0)
    assert dram(second.plan)["activation"] == (0, 0)
    assert float(second.cost.work.traffic["l2"]["activation"][0]) >= 64 * 256 * 2
    data["memory"]["l2"]["capacity"] = "48 KiB"
    assert not any(p.plan.stays for p in map_graph(stack().graph(), parse(data)))


@pytest.mark.parametrize("serves", [["core", "other"], ["core"]])
def test_kinds_of_cores_meet_in_the_memory_that_both_reach(serves: list[str]):
    """One kind multiplies, the other adds: through the L2, or through DRAM where one has no L2."""
    chip = {
        "dram": memory("1 GiB", "1 B/cycle", kind="dram"),
        "l2": memory("256 KiB", "64 B/cycle", serves=serves),
    }
    core = {"l1": memory("4 KiB", "64 B/cycle")}
    data = design_dict(chip, core, engine("dot_product", m=16, n=16, k=16))
    slow = {"fp32": {"macs_per_cycle": 0.001, "accumulate": "fp32", "energy": "1 pJ"}}
    other = design_dict(chip, core, engine("simd", lanes=1, pe={"formats": slow}))
    data["cores"]["other"] = other["cores"]["core"]
    vector = data["cores"]["core"]["vector"]
    rates = dict.fromkeys(vector["ops_per_cycle"], 0.0001)
    data["cores"]["core"]["vector"] = vector | {"ops_per_cycle": rates}
    sketch = Sketch(64, 64)
    sketch.vector("rmsnorm", sketch.multiply("x", 64))
    first, second = map_graph(sketch.graph(), parse(data)).placed
    assert [first.plan.path.name, second.plan.path.name] == ["core", "other"]
    assert bool(first.plan.stays) == ("other" in serves)


def test_a_pair_by_rows_keeps_the_intermediate_in_the_core():
    plan = plan_of(stack().graph(), machine())
    assert plan.variant == "pair by rows"
    moved = dram(plan)
    assert moved["activation"] == (64 * 8 * 2, 0)
    assert moved["weight"] == (2 * 8 * 256 * 2, 0)
    assert moved["output"] == (0, 64 * 8 * 2)
    assert plan.cost.work.launches == 1
    assert float(plan.cost.joules["matrix"]) == pytest.approx(2 * 64 * 8 * 256 * 1e-12)


def test_a_pair_by_columns_adds_up_the_sums_of_all_cores():
    """One row, four cores: each a quarter of the 256 columns, and 8 sums of 4 bytes to add."""
    plan = plan_of(stack(1).graph(), machine(4, 1000, l2=memory("1 MiB", "64 B/cycle")))
    assert plan.variant == "pair by columns"
    assert dram(plan)["weight"] == (2 * 8 * 256 * 2, 0)
    assert dram(plan)["output"] == (0, 8 * 2)
    assert float(plan.cost.work.traffic["l2"]["sums"][0]) == 4 * 8 * 4
    assert joules(plan) == 4 * 8


PREFILL = Attention("a", ("q", "k", "v"), "o", 1, 1, 1, 256, 256, 16, 16)


def flash(op: Attention = PREFILL, mask: str = "index") -> tuple[Flash, Any]:
    chip = {
        "dram": memory("1 GiB", "8 B/cycle", kind="dram"),
        "l2": memory("16 MiB", "1 TB/s"),
    }
    core = {"l1": memory("1 MiB", "1 TB/s")}
    data = design_dict(chip, core, engine("dot_product"), sync="100 ns")
    path = memory_path(parse(data), "core")
    pair = path.datapath(FORMATS["fp16"], FORMATS["fp16"])
    return Flash(op, 2.0, 2.0, 2.0, 2.0, 4.0, pair, pair, mask), path


def test_two_levels_of_tiles_hand_over_once_a_block():
    """Four query tiles of 64 see 1, 2, 3 and 4 key tiles of 64: 10, or 6 blocks of two."""
    problem, path = flash()
    one = flash_cost(problem, FlashTile(64, 64, 1, 1), path)
    two = flash_cost(problem, FlashTile(64, 64, 1, 1, 2), path)
    assert float(one.exposed["sync"]) == pytest.approx(2 * 10 * 100 * NS)
    assert float(two.exposed["sync"]) == pytest.approx(2 * 6 * 100 * NS)
    scores, sums = 10 * 64 * 64, 6 * 64 * 16
    both_ways = scores * (4 + 2) + sums * 4
    assert one.work.traffic["l2"].get("scores") is None
    assert two.work.traffic["l2"]["scores"] == (both_ways, both_ways)


def test_a_mask_is_cut_where_it_is_needed_or_read_whole():
    """The diagonal has four tiles; a mask from memory hides none of the 16 and is 256 x 256."""
    tile = FlashTile(64, 64, 1, 1, 2)
    (index, path), (cut, _), (whole, _) = (flash(mask=m) for m in ("index", "tile", "whole"))
    costs = {f.mask: flash_cost(f, tile, path).work.traffic for f in (index, cut, whole)}
    assert "mask" not in costs["index"]["l2"]
    assert costs["tile"]["l2"]["mask"] == (4 * 64 * 64 * 2, 0)
    assert "mask" not in costs["tile"]["dram"]
    assert costs["whole"]["dram"]["mask"] == (256 * 256 * 2, 0)
    assert costs["whole"]["l2"]["mask"] == (16 * 64 * 64 * 2, 256 * 256 * 2)


def test_ascend_takes_two_levels_and_a_gpu_one():
    op = Attention("a", ("q", "k", "v"), "o", 1, 12, 12, 4096, 4096, 128, 128)
    (ascend,) = map_graph(attention_graph(op), read_design("ascend_910b1"))
    assert ascend.plan.variant == "two-level"
    assert ascend.plan.instead["fused"] > ascend.cost.latency_s
    assert ascend.plan.instead["mask in memory"] > 1.5 * ascend.cost.latency_s
    (gpu,) = map_graph(attention_graph(op), read_design("a100_sxm"))
    assert gpu.plan.variant == "fused"


def test_tables_are_three_additions_and_two_conversions_an_activation():
    """8 sums of 4: 4 additions for the pairs, 8 for both signs of those."""
    assert Tables("t", ("a",), "t", 5, 64).vector_ops == {"add": 5 * 64 * 3, "convert": 5 * 64 * 2}


def looked_up() -> Sketch:
    """A norm, quantization and a multiplication by weights of two bits."""
    sketch = Sketch(64, 256)
    made = sketch.vector("quantize", sketch.vector("rmsnorm", "x"), to=FORMATS["int8"])
    sketch.multiply(made, 512, FORMATS["int2"])
    return sketch


def test_tables_are_made_with_the_activation_rather_than_alone_or_in_every_core():
    design = without_library("lut_tensor_core_a100_4x")
    first, second = map_graph(looked_up().graph(), design, cores="sm").placed
    assert [op.name for op in first.fused] == ["quantize1", "quantize1.tables"]
    path = memory_path(design, "sm")
    graph, tables = with_tables(looked_up().graph(), [path])
    (made,) = tables
    stored = ceil(64 * 8 * 10 / 8) + 2  # 64 tables of eight 10-bit entries, and a scale
    assert abs(graph.tensors[made].bytes / 64 - stored) <= 2
    assert dram(second.plan)["activation"][0] == pytest.approx(graph.tensors[made].bytes)


def test_arrays_that_make_their_tables_need_none():
    path = memory_path(read_design("unpu_like"), "array")
    assert with_tables(looked_up().graph(), [path])[1] == {}
