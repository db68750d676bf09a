"""The search against costing everything, and what it may never do."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from tiny import ENGINES, FP16, design_dict, designs, engine, memory, one_core, parse

from accel_models.path import Path, memory_path
from accel_models.read_design import read_design
from mappers.matmul import legal, matmul_cost
from mappers.problem import Contraction
from mappers.search.exhaustive import GAP, OBJECTIVES, exhaustive
from mappers.space import inner_rows, mappings, outer_rows, own_levels


def problem_on(path: Path, m: int, n: int, k: int, b: int = 1) -> Contraction:
    """An fp16 multiplication with fp32 sums."""
    extents = {"b": b, "m": m, "n": n, "k": k}
    return Contraction(extents, path.datapath(FP16, FP16), 2.0, 2.0, 2.0, 4.0)


def best(problem: Contraction, path: Path, objective: str = "latency"):
    return list(exhaustive(problem, path, objective))[-1]


def test_arrays_cost_what_scalars_cost():
    """The search's bulk costing and one mapping's cost are the same formulas."""
    path = memory_path(one_core("dot_product", count=2), "core")
    problem = problem_on(path, 48, 40, 56)
    for _, mapping in mappings(inner_rows(problem, path), problem, path):
        many = matmul_cost(problem, mapping, path)
        for i in (0, len(many.latency_s) - 1):
            one = matmul_cost(problem, mapping.at(i), path)
            assert float(one.latency_s) == pytest.approx(float(many.latency_s[i]), rel=1e-12)
            assert float(one.energy_j) == pytest.approx(float(many.energy_j[i]), rel=1e-12)


def small_machine(rng: random.Random) -> Path:
    """DRAM, a shared level, a core's memory: two own levels, sizes that make tiles matter."""
    chip = {
        "dram": memory("1 GiB", rng.choice(["4 B/cycle", "32 B/cycle"]), kind="dram"),
        "l2": memory(rng.choice(["8 KiB", "24 KiB", "256 KiB"]), "16 B/cycle"),
    }
    core = {"l1": memory(rng.choice(["1 KiB", "4 KiB"]), "32 B/cycle")}
    control = {"launch": "10 ns", "dispatch": rng.choice(["static", "dynamic"])}
    kind = rng.choice(sorted(ENGINES))
    return memory_path(
        parse(design_dict(chip, core, engine(kind), rng.choice([1, 3, 8]), **control)), "core"
    )


def least_of_all(problem: Contraction, path: Path, objective: str) -> float:
    """The least value over every complete mapping of the space."""
    inner, outer = own_levels(path)
    rows, lowest = inner_rows(problem, path), np.inf
    for start in range(0, len(rows), 16):
        some = rows.take(np.arange(start, min(start + 16, len(rows))))
        for _, mapping in mappings(outer_rows(some, problem, path, outer, inner), problem, path):
            value = OBJECTIVES[objective](matmul_cost(problem, mapping, path))[0]
            lowest = min(lowest, np.where(legal(problem, mapping, path), value, np.inf).min())
    return float(lowest)


@pytest.mark.slow
def test_loss_against_costing_everything():
    """The ranking's estimate is no strict bound: what that loses on 40 random small cases."""
    rng = random.Random(7)
    losses = []
    for case in range(40):
        path, objective = small_machine(rng), ("latency", "energy")[case % 2]
        sizes = (rng.choice([1, 20, 48, 100, 200]) for _ in range(3))
        problem = problem_on(path, *sizes)
        lowest = least_of_all(problem, path, objective)
        found = list(exhaustive(problem, path, objective))
        assert bool(found) == bool(np.isfinite(lowest))
        if found:
            losses.append(found[-1].key[0] / lowest - 1)
    assert min(losses) >= -1e-9
    assert np.mean(losses) < GAP / 2
    assert np.mean(np.array(losses) > GAP) <= 0.05
    assert max(losses) < 0.1


@given(designs(), st.integers(1, 200), st.integers(1, 200), st.integers(1, 200))
def test_what_is_found_is_legal(design, m, n, k):
    path = memory_path(design, "core")
    problem = problem_on(path, m, n, k)
    found = list(exhaustive(problem, path, "latency"))
    assume(found)
    mapping = found[-1].mapping
    assert legal(problem, mapping, path)
    for outer, inner in zip(mapping.levels, mapping.levels[1:], strict=False):
        for rank in "bmnk":
            assert 1 <= inner.tile[rank] <= outer.tile[rank]


def test_objectives_differ_and_each_is_best_at_its_own():
    path = memory_path(read_design("a100_sxm"), "sm")
    problem = problem_on(path, 512, 1024, 1024)
    costs = {
        name: matmul_cost(problem, best(problem, path, name).mapping, path)
        for name in ("latency", "energy", "edp")
    }
    assert float(costs["latency"].latency_s) <= float(costs["energy"].latency_s) * (1 + GAP)
    assert float(costs["energy"].energy_j) <= float(costs["latency"].energy_j) * (1 + GAP)
    edp = {name: float(c.latency_s * c.energy_j) for name, c in costs.items()}
    assert edp["edp"] <= min(edp.values()) * (1 + GAP)


def test_wave_quantization():
    """128 x 128 tiles of work on 4 cores: the fifth tile costs as much as the second four."""
    design = parse(
        design_dict(
            {"dram": memory("1 GiB", "100 GB/s", kind="dram")},
            {"l1": memory("1 MiB", "1 TB/s")},
            engine("dot_product", m=128, n=128, k=128, issue_interval=1000),
            cores=4,
            dispatch="dynamic",
        )
    )
    path = memory_path(design, "core")

    def cycles(tiles: int) -> float:
        problem = problem_on(path, 128 * tiles, 128, 128)
        cost = matmul_cost(problem, best(problem, path).mapping, path)
        return float(cost.work.busy["matrix"]) * 1e9

    assert cycles(4) == pytest.approx(cycles(1))
    assert cycles(5) == pytest.approx(2 * cycles(4), rel=0.01)
    assert cycles(8) == pytest.approx(cycles(5))


def test_a_machine_too_small_says_so():
    design = parse(
        design_dict(
            {"dram": memory("1 GiB", "8 B/cycle", kind="dram")},
            {"l1": memory("16 B", "8 B/cycle")},
            engine("dot_product"),
        )
    )
    path = memory_path(design, "core")
    assert not list(exhaustive(problem_on(path, 8, 8, 8), path, "latency"))
