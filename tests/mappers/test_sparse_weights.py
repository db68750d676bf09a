"""Sparse weights on machines that skip zeros and on those that do not."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import islice
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from mapspace import machines, problems
from sketch import Sketch, planner_of
from tiny import ENGINES, design_dict, engine, matmul_graph, memory, parse, without_library

from accel_models.design import Design
from accel_models.engines.skipping import Skip, SkipRate
from accel_models.engines.sparse import SparseWeights, skips
from accel_models.path import Path, memory_path
from accel_models.read_design import read_design
from kernels_ref.formats import FORMATS
from kernels_ref.sparsity import BlockSparse, NOfM, Pattern, Unstructured
from mappers import map_graph
from mappers.contractions import contraction
from mappers.fusion import NOTHING, Step
from mappers.groups import legal_groups
from mappers.legality import legal
from mappers.matmul import matmul_cost
from mappers.plan import Plan
from mappers.search import exhaustive
from mappers.search.best import best_mapping
from mappers.search.found import OBJECTIVES
from workloads.graph import Graph
from workloads.transforms.apply import apply

A100 = read_design("a100_sxm")
PATTERNS: list[Pattern] = [
    NOfM(2, 4), NOfM(1, 4), NOfM(1, 2), NOfM(4, 8), BlockSparse((2, 2), Fraction(1, 4)),
    BlockSparse((8, 8), Fraction(1, 3)), BlockSparse((3, 5), Fraction(1, 2)),
    Unstructured(Fraction(1, 10)), Unstructured(Fraction(1, 2), column_bits=16),
]  # fmt: skip
SPARSE = {"2:4": {"speedup": 2}, "unstructured": {"speedup": 3}}


def weights_of(pattern: Pattern, along_k: bool = True) -> SparseWeights:
    """Of fp16, many."""
    return SparseWeights(pattern, float(pattern.bits_per_element(16)) / 8, 2.0, along_k)


def sparse_graph(m: int, n: int, k: int, pattern: Pattern | None, form: str = "fp16") -> Graph:
    graph = matmul_graph(m, n, k)
    weight = replace(graph.tensors["w"], sparsity=pattern, format=FORMATS[form])
    return replace(graph, tensors={**graph.tensors, "w": weight})


def skipping_machine(kind: str, sparse: dict[str, Any] | None = None) -> Design:
    """A core with one buffer; the PE skips these."""
    matrix = engine(kind)
    matrix["pe"]["sparse"] = sparse or {}
    chip = {"dram": memory("1 GiB", "8 B/cycle", kind="dram")}
    return parse(design_dict(chip, {"buffer": memory("64 KiB", "64 B/cycle")}, matrix))


def plan(design: Design, m: int, n: int, k: int, pattern: Pattern | None, form: str) -> Plan:
    (placed,) = map_graph(sparse_graph(m, n, k, pattern, form), design)
    return placed.plan


# What the search must not lose sight of


@pytest.mark.slow
@given(st.data(), st.sampled_from(PATTERNS), st.booleans(), st.sampled_from(sorted(OBJECTIVES)))
def test_the_optimum_with_zeros_skipped_is_the_least_of_all(data, pattern, along_k, objective):
    """Every way of every engine, against costing each mapping."""
    sparse = data.draw(st.sampled_from([{}, SPARSE, {"2:4": {"speedup": 1.5}}]))
    path = skipping_path(data.draw(machines()), sparse)
    problem = data.draw(problems(path))
    options = skips(path.engine, problem.datapath, weights_of(pattern, along_k))
    skip = data.draw(st.sampled_from(options))
    stored = float(pattern.bits_per_element(16)) / 8
    pair = replace(problem.datapath, skip=skip)
    # weights are stored by us: in the order they are read
    problem = replace(problem, weight_bytes=stored, datapath=pair, shared_weight=True)
    everything = list(islice(exhaustive.all_mappings(problem, path), 301))
    assume(len(everything) <= 300)
    least = exhaustive.exhaustive(problem, path, objective)
    found = best_mapping(problem, path, objective)
    if found is None or least is None:
        assert found is least
        return
    keys = OBJECTIVES[objective](found.cost)
    assert keys[0] == pytest.approx(least[0], rel=1e-12)
    assert keys[1] <= least[1] * (1 + 1e-8)
    assert found.gap == 0
    assert legal(problem, found.mapping, path)


def skipping_path(path: Path, sparse: dict[str, Any]) -> Path:
    """The path with a PE that skips these."""
    rates = {key: SkipRate.model_validate(rate) for key, rate in sparse.items()}
    pe = path.engine.pe.model_copy(update={"sparse": rates})
    matrix = path.engine.model_copy(update={"pe": pe})
    return replace(path, core=path.core.model_copy(update={"matrix": matrix}))


@settings(max_examples=25)
@given(
    st.lists(st.sampled_from(PATTERNS), min_size=3, max_size=3),
    st.sampled_from(sorted(ENGINES)),
    st.sampled_from([{}, SPARSE]),
    st.sampled_from([1, 6, 64]),
)
def test_no_group_of_sparse_multiplications_costs_less_than_its_bound(found, kind, sparse, rows):
    sketch = Sketch(rows, 24)
    a = sketch.multiply("x", 24)
    sketch.multiply("x", 40)
    b = sketch.vector("relu", a)
    sketch.multiply(b, 16)
    graph = sketch.graph()
    names = [name for name, t in graph.tensors.items() if t.kind == "weight"]
    sparsities = dict(zip(names, found, strict=True))
    tensors = {n: replace(t, sparsity=sparsities.get(n)) for n, t in graph.tensors.items()}
    planner = planner_of(replace(graph, tensors=tensors), skipping_machine(kind, sparse), "latency")
    for group in legal_groups(planner.wiring):
        step = Step(group, planner.ways(group, NOTHING)[0], NOTHING)
        price, bound = planner.price(step), planner.bound(step)
        assert price is None or bound[0] <= price[0] * (1 + 1e-9)
        assert price is None or bound[1] <= price[1] * (1 + 1e-9)


def test_weights_of_other_patterns_are_not_merged():
    sketch = Sketch(8, 24)
    for _ in range(2):
        sketch.multiply("x", 24)
    graph = sketch.graph()
    masks = [g.mask for g in legal_groups(planner_of(graph, A100, "latency").wiring)]
    assert 0b11 in masks
    first = next(name for name, t in graph.tensors.items() if t.kind == "weight")
    pruned = replace(graph.tensors[first], sparsity=NOfM(2, 4))
    graph = replace(graph, tensors={**graph.tensors, first: pruned})
    masks = [g.mask for g in legal_groups(planner_of(graph, A100, "latency").wiring)]
    assert 0b11 not in masks


# What N:M costs


def test_a_large_multiplication_on_sparse_tensor_cores_takes_half_the_time_of_dense_ones():
    machine = without_library("a100_sxm")
    dense, sparse = (plan(machine, 8192, 8192, 8192, p, "fp16") for p in (None, NOfM(2, 4)))
    ratio = sparse.cost.work.busy["matrix"] / dense.cost.work.busy["matrix"]
    assert ratio == pytest.approx(0.5, rel=0.02)
    joules = sparse.cost.joules["matrix"] / dense.cost.joules["matrix"]
    assert joules == pytest.approx(0.5)
    assert sparse.cost.latency_s < 0.8 * dense.cost.latency_s
    assert sparse.variant == "as 2:4"
    assert sparse.utilization <= 1
    assert sparse.peak_per_s == 2 * dense.peak_per_s


def test_a_matrix_times_a_vector_takes_as_long_as_its_bytes():
    """2:4 of 16 bits: of every element half a value and half a place of 2 bits."""
    dense, sparse = (plan(A100, 1, 28672, 8192, p, "fp16") for p in (None, NOfM(2, 4)))
    read = [p.cost.work.traffic["hbm"]["weight"][0] for p in (dense, sparse)]
    assert read[1] / read[0] == pytest.approx((0.5 * 16 + 0.5 * 2) / 16)
    assert sparse.cost.work.busy["hbm"] / dense.cost.work.busy["hbm"] == pytest.approx(9 / 16, 1e-3)


def test_the_engine_reads_all_activations_and_the_kept_weights():
    design = skipping_machine("dot_product", {"2:4": {"speedup": 2}})
    path = memory_path(design, "core")
    dense, _ = contraction(sparse_graph(32, 32, 64, None), "matmul", path)
    sparse, _ = contraction(sparse_graph(32, 32, 64, NOfM(2, 4)), "matmul", path)
    found = best_mapping(sparse, path)  # its tiles are twice as deep
    a, b = (matmul_cost(p, found.mapping, path).work for p in (dense, sparse))
    read_a, read_b = ({o: t[0] for o, t in w.traffic["buffer"].items()} for w in (a, b))
    assert read_b["activation"] == read_a["activation"]
    assert read_b["weight"] == read_a["weight"] * 9 / 16
    assert read_b["output"] <= read_a["output"], "sums meet once for every eight of k, not four"
    assert b.busy["matrix"] < 0.55 * a.busy["matrix"]
    assert b.joules["matrix"] == a.joules["matrix"] / 2
    assert b.busy["vector"] == a.busy["vector"] == 0


def test_a_finer_pattern_runs_as_the_one_that_is_skipped():
    ways = skips(memory_path(A100, "sm").engine, pair_of(A100), weights_of(NOfM(1, 4)))
    assert [(w.name, w.speedup, w.done) for w in ways] == [("as 2:4", 2, 0.5), ("expanded", 1, 1)]
    assert ways[0].weight_bytes == 9 / 8
    assert ways[0].unpacked == (("shuffle", 0.5),)
    one_of_four = plan(A100, 1, 28672, 8192, NOfM(1, 4), "fp16")
    assert one_of_four.cost.work.traffic["hbm"]["weight"][0] == 28672 * 8192 * 18 / 4 / 8


@pytest.mark.parametrize(
    ("pattern", "runs"),
    [
        (NOfM(2, 4), True), (NOfM(1, 4), True), (NOfM(1, 2), True), (NOfM(2, 8), True),
        (NOfM(4, 8), False), (NOfM(3, 4), False), (NOfM(1, 3), False),
        (BlockSparse((1, 2), Fraction(1, 2)), False), (Unstructured(Fraction(1, 2)), False),
    ],
)  # fmt: skip
def test_which_patterns_run_as_two_of_four(pattern: Pattern, runs: bool):
    engine_of = memory_path(A100, "sm").engine
    names = {w.name for w in skips(engine_of, pair_of(A100), weights_of(pattern))}
    assert ("as 2:4" in names) == runs
    across = {w.name for w in skips(engine_of, pair_of(A100), weights_of(pattern, False))}
    assert "as 2:4" not in across, "the pattern must lie along the reduction"


def pair_of(design: Design, form: str = "fp16"):
    path = memory_path(design, next(iter(design.cores)))
    return path.datapath(FORMATS[form], FORMATS[form])


def test_only_pairs_that_are_named_skip():
    matrix = engine("dot_product")
    pair = matrix["pe"]["formats"]["fp16"]
    matrix["pe"] = {
        "formats": {"fp16": pair, "int8": pair | {"accumulate": "int32"}},
        "sparse": {"2:4": {"speedup": 2, "formats": ["int8"]}},
    }
    chip = {"dram": memory("1 GiB", "8 B/cycle", kind="dram")}
    design = parse(design_dict(chip, {"buffer": memory("64 KiB", "64 B/cycle")}, matrix))
    core = memory_path(design, "core").engine
    names = {f: {w.name for w in skips(core, pair_of(design, f), weights_of(NOfM(2, 4)))}
             for f in ("fp16", "int8")}  # fmt: skip
    assert names == {"fp16": {"expanded"}, "int8": {"as 2:4", "expanded"}}


# Without hardware that skips


@pytest.mark.parametrize("pattern", [NOfM(2, 4), Unstructured(Fraction(1, 2))])
def test_what_is_not_skipped_is_moved_compressed_expanded_and_done_whole(pattern: Pattern):
    design = skipping_machine("dot_product")
    path = memory_path(design, "core")
    dense, _ = contraction(sparse_graph(32, 32, 64, None), "matmul", path)
    sparse, _ = contraction(sparse_graph(32, 32, 64, pattern), "matmul", path)
    assert sparse.datapath.skip.name == "expanded"
    found = best_mapping(dense, path)
    a, b = (matmul_cost(p, found.mapping, path).work for p in (dense, sparse))
    assert b.busy["matrix"] == a.busy["matrix"]
    assert b.joules["matrix"] == a.joules["matrix"]
    stored = float(pattern.bits_per_element(16)) / 16
    dram = b.traffic["dram"]["weight"][0] / a.traffic["dram"]["weight"][0]
    assert dram == pytest.approx(stored)
    assert b.traffic["buffer"]["weight"][0] == a.traffic["buffer"]["weight"][0]
    entered = a.traffic["buffer"]["weight"][1] / 2
    assert b.busy["vector"] == pytest.approx(entered / 4 / 1e9), "a shuffle each, four a cycle"
    assert b.joules["vector"] == pytest.approx(entered * 1e-12)


def test_of_sparse_weights_the_kept_ones_are_dequantized():
    """INT4 in groups: every kept weight is converted, scaled and shifted; then all are placed."""
    graph, design = sparse_graph(1, 256, 256, NOfM(2, 4), "int4"), skipping_machine("dot_product")
    problem, path = contraction(graph, "matmul", memory_path(design, "core"))
    found = best_mapping(problem, path)
    elements, each = 256 * 256, 1 / 4 / 1e9
    work = found.cost.work
    assert work.busy["vector"] == pytest.approx(elements * (3 * 0.5 + 1) * each)
    skipped, path = contraction(graph, "matmul", memory_path(
        skipping_machine("dot_product", {"2:4": {"speedup": 2}}), "core"))  # fmt: skip
    work = best_mapping(skipped, path).cost.work
    assert work.busy["vector"] == pytest.approx(elements * 3 * 0.5 * each)
    assert skipped.engine_bytes("weight") == (2 * (16 + 2) / 4) / 8


# Blocks and single elements


@pytest.mark.parametrize(
    ("block", "density"),
    [((8, 8), 0.2), ((4, 4), 0.5), ((2, 1), 0.1), ((2, 8), 0.25), ((6, 4), 0.3)],
)
def test_the_share_of_blocks_that_is_issued_is_what_random_bitmaps_have(block, density):
    """Of a 4 x 4 engine, whose blocks are put where kept ones begin if those are longer."""
    pattern = BlockSparse(block, Fraction(str(density)))
    (skip,) = [
        w
        for w in skips(memory_path(skipping_machine("dot_product"), "core").engine,
                       pair_of(skipping_machine("dot_product"), "fp16"), weights_of(pattern))
        if w.name == "empty blocks skipped"
    ]  # fmt: skip
    rng, size = np.random.default_rng(0), 480
    kept = rng.random((size // block[0], size // block[1])) < density
    tiles = 0
    for n in range(0, size, max(4, block[0])):
        for k in range(0, size, max(4, block[1])):
            rows = slice(n // block[0], -(-(n + max(4, block[0])) // block[0]))
            columns = slice(k // block[1], -(-(k + max(4, block[1])) // block[1]))
            each = -(-max(4, block[0]) // 4) * -(-max(4, block[1]) // 4)
            tiles += each * bool(kept[rows, columns].any())
    assert skip.issued == pytest.approx(tiles * 16 / size**2, rel=0.06)
    assert skip.done == skip.issued
    small = block[0] < 4 or block[1] < 4
    assert ("shuffle" in dict(skip.unpacked)) == small


def test_whole_blocks_are_left_out_by_any_engine():
    for kind in ENGINES:
        path = memory_path(skipping_machine(kind), "core")
        dense, _ = contraction(sparse_graph(32, 64, 64, None), "matmul", path)
        graph = sparse_graph(32, 64, 64, BlockSparse((16, 16), Fraction(1, 4)))
        sparse, _ = contraction(graph, "matmul", path)
        found = best_mapping(dense, path)
        a, b = (matmul_cost(p, found.mapping, path).work for p in (dense, sparse))
        assert b.busy["matrix"] == pytest.approx(a.busy["matrix"] / 4, rel=0.05), kind
        assert b.joules["matrix"] == pytest.approx(a.joules["matrix"] / 4), kind
        assert b.traffic["dram"]["activation"] == a.traffic["dram"]["activation"], kind
        assert b.traffic["dram"]["output"] == a.traffic["dram"]["output"], kind
        assert b.traffic["buffer"]["weight"][0] == a.traffic["buffer"]["weight"][0] / 4, kind


def test_a_vector_engine_takes_kept_weights_one_by_one_where_there_are_rows_enough():
    """Fast Sparse ConvNets' kernel; with one row of activations there is nothing to fill lanes."""
    path = memory_path(skipping_machine("simd"), "core")
    pattern = Unstructured(Fraction(1, 10))
    many, _ = contraction(sparse_graph(64, 64, 64, pattern), "matmul", path)
    assert many.datapath.skip.name == "zeros skipped along m"
    cycles = best_mapping(many, path).cost.work.busy["matrix"] * 1e9
    assert cycles == pytest.approx(64 * 64 * 64 / 8 / 10, rel=0.05)
    single, _ = contraction(sparse_graph(1, 64, 64, pattern), "matmul", path)
    assert single.datapath.skip.name == "empty blocks skipped"
    assert single.datapath.skip.issued == pytest.approx(1 - 0.9**8)


@pytest.mark.parametrize("density", [0.5, 0.25])
def test_unstructured_zeros_are_skipped_up_to_what_the_engine_can(density: float):
    design = skipping_machine("dot_product", {"unstructured": {"speedup": 3}})
    path = memory_path(design, "core")
    pattern = Unstructured(Fraction(str(density)))
    dense, _ = contraction(sparse_graph(64, 64, 64, None), "matmul", path)
    sparse, _ = contraction(sparse_graph(64, 64, 64, pattern), "matmul", path)
    found = best_mapping(dense, path)
    a, b = (matmul_cost(p, found.mapping, path).work for p in (dense, sparse))
    assert a.busy["matrix"] / b.busy["matrix"] == pytest.approx(min(1 / density, 3), rel=0.05)
    assert b.joules["matrix"] == pytest.approx(density * a.joules["matrix"])
    assert b.busy["vector"] == 0


# Whole models


def test_numbers_that_skipping_rests_on_are_among_those_of_the_result():
    found = plan(A100, 4096, 4096, 4096, NOfM(2, 4), "fp16")
    speedup = ("cores", "sm", "matrix", "pe", "sparse", "2:4", "speedup")
    assert speedup in found.rests_on["matrix"]
    assert A100.source_of(speedup).kind == "datasheet"


def test_experts_and_pairs_say_what_is_skipped():
    from workloads import build, decode, read_config

    graph = apply(build(read_config("olmoe-1b-7b"), decode(1, 64)), "sparse(2:4)")
    variants = {p.op.name: p.plan.variant for p in map_graph(graph, A100)}
    assert sum("as 2:4" in v for v in variants.values()) >= 4
    assert any("active" in v and "as 2:4" in v for v in variants.values())
    assert "as 2:4" not in variants["lm_head"]


def test_dense_is_what_it_was():
    assert Skip().speedup == 1
    path = memory_path(A100, "sm")
    problem, _ = contraction(sparse_graph(64, 64, 64, None), "matmul", path)
    assert problem.datapath.skip == Skip()
