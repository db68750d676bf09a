"""What users of other mappers complain about in public, one heading each: that ours does not do
it. Numbers are of issues of NVlabs/timeloop unless another repository is named."""

from __future__ import annotations

import time
from dataclasses import replace
from itertools import product
from math import isfinite
from typing import Any

import pytest
from mapspace import by_hand, contraction, conv_dims, matmul_on, on_shipped, one
from tiny import design_dict, engine, memory, parse

from accel_models.path import Path, memory_path
from accel_models.reader import DesignError
from mappers.cost import Cost
from mappers.legality import legal
from mappers.mapping import OPERANDS, Mapping
from mappers.matmul import matmul_cost
from mappers.search.best import _Search, best_mapping
from mappers.search.found import OBJECTIVES, Limits
from mappers.search.sample import random_mappings
from mappers.search.space import space_of


def machine(cores: int = 4, rules: dict[str, Any] | None = None, **l2: Any) -> Path:
    """DRAM, a buffer of all cores, one in each: 16 MACs a core, everything at 8 pJ a byte."""
    chip = {"dram": memory("1 GiB", "8 B/cycle", kind="dram")}
    chip["l2"] = memory("64 KiB", "32 B/cycle", **l2)
    data = design_dict(chip, {"l1": memory("2 KiB", "64 B/cycle")}, engine("dot_product"), cores)
    data["cores"]["core"]["mapping"] = {"levels": rules or {}}
    return memory_path(parse(data), "core")


# --- runs that never end, or end without saying how good the result is (204, 253)


@pytest.mark.parametrize("design", ["a100_sxm", "gemmini_16x16"])
def test_a_time_limit_is_kept_and_the_gap_stated(design: str):
    problem, path = on_shipped(design, 4096, 4096, 4096)
    started = time.perf_counter()
    best_mapping(problem, path, limits=Limits(seconds=0.0))  # compiles, and makes the chains
    least = time.perf_counter() - started
    started = time.perf_counter()
    found = best_mapping(problem, path, limits=Limits(seconds=0.3))
    assert time.perf_counter() - started < least + 3
    assert found is not None
    assert 0 <= found.gap < 0.5  # a bound of use, not only a bound
    assert found.total == found.evaluated + found.pruned


def test_a_proof_ends():
    problem, path = on_shipped("a100_sxm", 512, 512, 512)
    found = best_mapping(problem, path)
    assert found is not None
    assert found.gap == 0
    assert found.seconds < 60


def test_ctrl_c_while_chains_are_made_does_not_prove_anything(monkeypatch):
    from mappers.search import best

    def interrupted(*args: Any) -> Any:
        if not args[4]:  # not the coarse ones
            raise KeyboardInterrupt
        return grow(*args)

    grow = best.grow
    problem, path = matmul_on(machine(), 45, 35, 25), machine()
    optimum = best_mapping(problem, path)
    monkeypatch.setattr(best, "grow", interrupted)
    found = best_mapping(problem, path)
    assert found is not None
    assert found.interrupted
    assert optimum is not None
    assert (1 - found.gap) * found.cost.latency_s <= optimum.cost.latency_s * (1 + 1e-9)


def test_a_small_budget_does_not_say_that_nothing_fits():
    chip = {"dram": memory("16 GiB", "64 B/cycle", kind="dram")}
    chip["l2"] = memory("2 MiB", "256 B/cycle")
    core = {"l1": memory("64 KiB", "64 B/cycle")}  # a block of weights takes 128 KiB
    data = design_dict(chip, core, engine("systolic", rows=256, cols=256), 4)
    path = memory_path(parse(data), "core")
    problem = matmul_on(path, 1024, 1024, 1024)
    assert best_mapping(problem, path, limits=Limits(evaluations=100_000)) is not None
    assert best_mapping(problem, path, limits=Limits(evaluations=1000)) is not None


# --- pruned searches that return worse mappings, or some that break constraints (255, 187)


@pytest.mark.parametrize(
    ("design", "objective"), [("a100_sxm", "edp"), ("a100_sxm", "energy"), ("tpu_v4", "latency")]
)
def test_no_mapping_drawn_at_random_beats_what_is_proven(design: str, objective: str):
    problem, path = on_shipped(design, 512, 512, 512)
    found = best_mapping(problem, path, objective, Limits(gap=0.01))
    assert found is not None
    assert legal(problem, found.mapping, path)
    least = OBJECTIVES[objective](found.cost)[0] * (1 - found.gap)
    for mapping in random_mappings(problem, path, 60):
        assert OBJECTIVES[objective](matmul_cost(problem, mapping, path))[0] >= least


# --- constraints that are silently ignored (AccelForge 55)

FOLLOWED: dict[str, tuple[dict[str, Any], Any]] = {
    "menu": ({"l1": {"tiles": {"m": [5]}}}, lambda level: level["l1"].tile["m"] == 5),
    "multiple": (
        {"l1": {"multiples": {"m": 13}}},
        lambda level: level["l1"].tile["m"] in (13, 26, 39, 40),
    ),
    "split": ({"l1": {"split": ["n"]}}, lambda level: level["l1"].spatial["m"] == 1),
    "no split": ({"l1": {"split": []}}, lambda level: set(level["l1"].spatial.values()) == {1}),
    "axes": (
        {"l1": {"axes": {"row": {"size": 3, "ranks": ["k"]}}}},
        lambda level: level["l1"].spatial["m"] == level["l1"].spatial["n"] == 1,
    ),
}


@pytest.mark.parametrize("name", FOLLOWED)
def test_a_rule_is_followed_where_the_best_without_it_is_another(name: str):
    rules, follows = FOLLOWED[name]
    free, bound = machine(), machine(rules=rules)
    costs = []
    for path, followed in ((free, False), (bound, True)):
        found = best_mapping(matmul_on(path, 40, 30, 20), path)
        assert found is not None
        assert follows({level.level: level for level in found.mapping.levels}) == followed
        costs.append(found.cost.latency_s)
    assert costs[1] >= costs[0]


def test_rules_that_nothing_can_follow_leave_nothing():
    path = machine(rules={"l1": {"tiles": {"m": [4096]}}})
    assert best_mapping(matmul_on(path, 8192, 30, 20), path) is None


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"l3": {"split": []}}, "no level 'l3' to map onto"),
        ({"l1": {"tile": {"m": [4]}}}, "unknown key 'tile'"),
        ({"l1": {"stationary": ["weights"]}}, "stationary"),
        ({"l1": {"tiles": {"m": []}}}, "tiles"),
    ],
)
def test_a_rule_that_means_nothing_is_refused(rules: dict[str, Any], message: str):
    with pytest.raises(DesignError, match=message):
        machine(rules=rules)


# --- energy of the network that is zero or unclear (177, 249)


def test_every_byte_is_paid_at_both_ends_and_all_energy_has_a_name():
    """Rows over 4 cores, each with all of B: one read of the buffer serves all four, and all four
    write it. A[16,8] B[8,4]: 256 B and 64 B of inputs, 128 B of outputs (256 B as sums)."""
    path = machine(multicast=4)
    problem = matmul_on(path, 16, 4, 8)
    cost = matmul_cost(problem, by_hand(problem, path, {"l1": {"split": {"m": 4}}}), path)
    traffic = cost.work.traffic
    assert traffic["l2"]["weight"] == (64, 64)
    assert traffic["l1"]["weight"][1] == 4 * 64
    assert traffic["l1"]["activation"][1] == traffic["l2"]["activation"][0] == 256
    paid = {name: 8e-12 * sum(sum(bytes_) for bytes_ in t.values()) for name, t in traffic.items()}
    paid |= {"matrix": 16 * 4 * 8 * 1e-12, "vector": 0, "static": 1.0 * cost.latency_s}
    assert cost.joules == pytest.approx(paid)
    assert cost.energy_j == pytest.approx(sum(paid.values()))


# --- numbers that overflow (Accelergy-Project/timeloop-accelergy-exercises 30)


def test_outputs_that_are_never_read_back_are_not_read_minus_once():
    """The example of that issue: one level, 16 outputs of 3 taps; 48 updates, 32 read back, and no
    fills, which were 18446744073709551600."""
    chip = {"dram": memory("1 GiB", "8 B/cycle", kind="dram")}
    buffer = {"buffer": memory("64 KiB", "64 B/cycle")}
    data = design_dict(chip, buffer, engine("dot_product", m=1, n=1, k=1))
    path = memory_path(parse(data), "core")
    dims = conv_dims() | {"output": one("b", "m", "p")}
    problem = contraction(path, {"b": 1, "m": 1, "c": 1, "p": 16, "r": 3}, dims=dims)
    traffic = matmul_cost(problem, by_hand(problem, path, {}), path).work.traffic
    assert traffic["dram"]["output"] == (0, 2 * 16)
    assert traffic["buffer"]["output"] == (4 * 32 + 4 * 16, 4 * 48)  # and 16 leave, as sums


SIZES = [(16384, 12288, 3072), (65536, 65536, 65536), (2**22, 2**22, 2**22)]
LARGE = [
    *product(("a100_sxm", "tpu_v4", "gemmini_16x16"), SIZES[:2]),
    ("gemmini_16x16", SIZES[2]),
]


@pytest.mark.parametrize(("design", "size"), LARGE)
def test_no_number_overflows(design: str, size: tuple[int, int, int]):
    """Up to 2^66 MACs. The compiled costs are those of Python's integers, too."""
    problem, path = on_shipped(design, *size)
    search = _Search(space_of(problem, path), "energy", Limits(evaluations=100))
    search.run()
    found = search.found()
    assert found is not None
    cost, macs = found.cost, size[0] * size[1] * size[2]
    assert tuple(search.keys) == pytest.approx((cost.energy_j, cost.latency_s), rel=1e-9)
    assert all(isfinite(x) and x >= 0 for x in numbers(cost))
    assert 0 < found.evaluated <= found.total
    assert cost.joules["matrix"] == pytest.approx(macs * problem.datapath.pair.energy)
    dram = cost.work.traffic[path.levels[0].name]
    for operand, (rows, cols) in zip(OPERANDS, ((0, 2), (2, 1), (0, 1)), strict=True):
        assert max(dram[operand]) >= size[rows] * size[cols] * problem.bytes_per_element(operand)


def numbers(cost: Cost) -> list[float]:
    """All that a cost says."""
    work = cost.work
    moved = [x for level in work.traffic.values() for both in level.values() for x in both]
    tables = (work.busy, work.head, work.tail, work.joules, work.serial, cost.exposed, cost.joules)
    parts = [x for table in tables for x in table.values()]
    return [cost.latency_s, cost.energy_j, work.sync_s, *moved, *parts]


# --- latency without fill and drain (60, 108, 273)


def test_filling_and_draining_take_time():
    """One tile of A[8,64] B[64,16] through DRAM of 8 B/cycle and an array of 64 x 16: nothing can
    overlap. Loads of 3072 B take 384 cycles; 8 rows stream through 64 + 16 - 2 cycles of fill; 256
    B of outputs take 32. And 1 us of launch, 1 ns of access."""
    chip = {"dram": memory("1 GiB", "8 B/cycle", kind="dram")}
    core = {"l1": memory("64 KiB", "4096 B/cycle")}
    array = engine("systolic", rows=64, cols=16)
    path = memory_path(parse(design_dict(chip, core, array)), "core")
    problem = matmul_on(path, 8, 16, 64)
    cost = matmul_cost(problem, by_hand(problem, path, {}), path)
    assert cost.latency_s == pytest.approx(1000e-9 + 1e-9 + (384 + 8 + 78 + 32) * 1e-9)
    found = best_mapping(problem, path)
    assert found is not None
    assert found.cost.latency_s >= 1001e-9 + (384 + 32) * 1e-9


def test_loads_and_stores_of_many_steps_are_hidden_but_for_the_first_and_the_last():
    """The same in n tiles of rows, weights staying: n times longer, a first load 1 / n of all."""
    chip = {"dram": memory("1 GiB", "8 B/cycle", kind="dram")}
    core = {"l1": memory("64 KiB", "4096 B/cycle")}
    path = memory_path(parse(design_dict(chip, core, engine("systolic", rows=64, cols=16))), "core")
    problem = matmul_on(path, 8 * 16, 16, 64)
    steps = by_hand(problem, path, {"l1": {"tile": {"m": 8}}})
    cost = matmul_cost(problem, steps, path)
    loads, stores = (16 * 8 * 64 + 64 * 16) * 2 / 8, 16 * 8 * 16 * 2 / 8  # cycles
    assert cost.exposed["prologue"] == pytest.approx(loads / 16 * 1e-9)
    assert cost.exposed["epilogue"] == pytest.approx(stores / 16 * 1e-9)
    assert cost.latency_s == pytest.approx(1001e-9 + (loads + stores) * 1e-9)
    whole = matmul_cost(problem, by_hand(problem, path, {}), path)
    assert cost.latency_s < whole.latency_s


def test_what_a_level_cannot_overlap_is_added():
    """A buffer that cannot load while it is read; by what its fill takes, no less."""
    path = machine(buffering="single")
    problem = matmul_on(path, 64, 64, 64)
    mapping: Mapping = by_hand(problem, path, {"l1": {"tile": {"m": 16, "n": 16, "k": 8}}})
    single = matmul_cost(problem, mapping, path)
    levels = tuple(replace(level, buffering="double") for level in path.levels)
    free = replace(path, levels=levels, by_name={level.name: level for level in levels})
    double = matmul_cost(problem, mapping, free)
    assert single.latency_s > double.latency_s
    assert single.exposed["serial"] == pytest.approx(
        single.work.busy["l2"] - single.work.head["l2"] - single.work.tail["l2"]
    )
