"""What must hold for every search, whatever the machine, the problem, the budget."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from math import prod
from unittest import mock

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from mapspace import machines, on_shipped, problems

from accel_models.path import Path
from mappers.legality import legal
from mappers.mapping import OPERANDS
from mappers.matmul import matmul_cost
from mappers.problem import Contraction
from mappers.search import best
from mappers.search.best import best_mapping
from mappers.search.found import OBJECTIVES, Found, Limits
from mappers.search.sample import random_mappings

SAME = 1 + 1e-8  # costs nearer to each other than 1e-9 are equal to a search
objectives = st.sampled_from(sorted(OBJECTIVES))
fewer = settings(max_examples=settings().max_examples // 2)


def value(found: Found, objective: str) -> float:
    """What the search made least."""
    return OBJECTIVES[objective](found.cost)[0]


def chunks_of(bounds: int):
    """Searches that look at their budget after so many bounds."""
    return mock.patch.multiple(best, DIVES=(bounds,), LONG_DIVES=(bounds,))


@fewer
@given(st.data(), objectives)
def test_a_larger_budget_is_never_worse_and_its_gap_holds(data, objective: str):
    path = data.draw(machines())
    problem = data.draw(problems(path))
    optimum = best_mapping(problem, path, objective)
    assume(optimum is not None)
    least, before = value(optimum, objective), float("inf")
    for budget in (1, 10, 100, 1000, None):
        found = best_mapping(problem, path, objective, Limits(evaluations=budget))
        assert found is not None
        assert is_sound(found, problem, path)
        now = value(found, objective)
        assert now <= before * SAME
        assert (1 - found.gap) * now <= least * SAME
        assert 0 <= found.gap <= 1
        before = now
    assert found.gap == 0
    assert before <= least * SAME


@pytest.mark.parametrize("objective", ["latency", "energy"])
@pytest.mark.parametrize("name", ["a100_sxm", "tpu_v4", "systolic_128x128"])
def test_a_budget_is_kept_and_a_larger_one_never_worse_at_full_size(name: str, objective: str):
    """Where no budget is enough. An expansion, two bounds a rank, is not cut in the middle."""
    problem, path = on_shipped(name, 3000, 4096, 5120)
    before = float("inf")
    for budget in (1500, 3000, 10_000, 31_000, 50_000):
        found = best_mapping(problem, path, objective, Limits(evaluations=budget))
        assert found is not None
        assert found.bounds < budget + 8
        assert value(found, objective) <= before
        before = value(found, objective)


@fewer
@given(st.data(), objectives, st.sampled_from([0.001, 0.05, 0.5]))
def test_a_gap_that_is_allowed_is_not_exceeded(data, objective: str, gap: float):
    path = data.draw(machines())
    problem = data.draw(problems(path))
    optimum = best_mapping(problem, path, objective)
    assume(optimum is not None)
    found = best_mapping(problem, path, objective, Limits(gap=gap))
    assert found.gap == gap
    assert (1 - gap) * value(found, objective) <= value(optimum, objective) * SAME


def is_sound(found: Found, problem: Contraction, path: Path) -> bool:
    """The mapping may be run, and costs what is said, to the last digit."""
    again = matmul_cost(problem, found.mapping, path)
    return legal(problem, found.mapping, path) and again == found.cost


@given(st.data(), objectives, st.sampled_from(["capacity", "bandwidth"]))
def test_more_capacity_or_bandwidth_is_never_worse(data, objective: str, what: str):
    """Energy per byte stays what it is: the design states it, and nothing here derives it from a
    memory's size. Static power and the power limit stay too."""
    path = data.draw(machines())
    problem = data.draw(problems(path))
    index = data.draw(st.integers(0, len(path.memories) - 1))
    larger = grown(path, index, what, data.draw(st.sampled_from([1.25, 2, 10])))
    before = best_mapping(problem, path, objective)
    after = best_mapping(problem, larger, objective)
    assert before is None or value(after, objective) <= value(before, objective) * SAME


def grown(path: Path, index: int, what: str, times: float) -> Path:
    """The path with a level that holds or moves so many times as much."""
    level = path.levels[index]
    if what == "capacity":
        level = replace(level, capacity=level.capacity * times)
    else:
        read, write = level.read_bytes_per_s * times, level.write_bytes_per_s * times
        level = replace(level, read_bytes_per_s=read, write_bytes_per_s=write)
    levels = (*path.levels[:index], level, *path.levels[index + 1 :])
    return replace(path, levels=levels, by_name={level.name: level for level in levels})


# MACs per cycle of an engine of tests/support/tiny.py, full; a LUT takes a pass for each of a
# weight's 16 bits
PEAK = {"systolic": 16, "dot_product": 64, "lut": 64 / 16, "outer_product": 16, "simd": 8}


@fewer
@given(st.data(), objectives)
def test_no_optimum_is_below_what_any_schedule_needs(data, objective: str):
    """All MACs at peak; every element once through the outermost memory; their energy, 8 pJ a byte
    and 1 pJ a MAC, and 1 W all the while. Launching takes 10 ns."""
    path = data.draw(machines())
    problem = data.draw(problems(path))
    found = best_mapping(problem, path, objective)
    assume(found is not None)
    macs = prod(problem.extents.values())
    peak = PEAK[path.engine.kind] * path.engine.count * path.cores * 1e9
    least_bytes = 2 * sum(distinct(problem, operand) for operand in OPERANDS)
    seconds = max(macs / peak, least_bytes / path.levels[0].read_bytes_per_s) + 10e-9
    joules = 8e-12 * least_bytes + 1e-12 * macs + 1.0 * seconds
    assert found.cost.latency_s >= seconds / SAME
    assert found.cost.energy_j >= joules / SAME


def distinct(problem: Contraction, operand: str) -> int:
    """Elements of an operand that are used at all."""
    count = 1
    for dim in problem.dims[operand]:
        ranges = [range(0, problem.extents[rank] * stride, stride) for rank, stride in dim]
        count *= len({sum(at) for at in product(*ranges)})
    return count


@fewer
@given(st.data(), st.integers(0, 99))
def test_every_level_moves_all_that_is_used_at_least_once(data, seed: int):
    """Of random mappings and of the optimum: what keeps an input is filled with all of it, and
    read for all of it; what keeps outputs writes all of them, and gives them away."""
    path = data.draw(machines())
    problem = data.draw(problems(path))
    found = best_mapping(problem, path)
    assume(found is not None)
    mappings = [found.mapping, *random_mappings(problem, path, 5, seed)]
    for mapping in mappings:
        traffic = matmul_cost(problem, mapping, path).work.traffic
        for index, level in enumerate(mapping.levels):
            for operand in level.keeps:
                read, written = traffic[level.level][operand]
                least = 2 * distinct(problem, operand)
                assert index == 0 or read >= least
                assert (index == 0 and operand != "output") or written >= least
        assert all(traffic["dram"][o][0] >= 2 * distinct(problem, o) for o in OPERANDS[:2])


@fewer
@given(st.data(), objectives, st.integers(0, 12), st.sampled_from([1, 7, 100_000]))
def test_a_search_that_is_interrupted_says_what_it_knows(data, objective, calls: int, chunk: int):
    """Ctrl-C in the compiled part, after any number of chunks: the best so far, legal, with a gap
    that holds; or, if there is none yet, the interrupt itself."""
    path = data.draw(machines())
    problem = data.draw(problems(path))
    optimum = best_mapping(problem, path, objective)
    assume(optimum is not None)
    try:
        with chunks_of(chunk), interrupted("mappers.search.bulk.branch.improve", calls) as cut:
            found = best_mapping(problem, path, objective)
    except KeyboardInterrupt:
        return
    assert found.interrupted == (cut.call_count > calls)
    assert is_sound(found, problem, path)
    assert (1 - found.gap) * value(found, objective) <= value(optimum, objective) * SAME


def interrupted(name: str, calls: int):
    """The function, which is interrupted after so many calls of it."""
    module, _, attribute = name.rpartition(".")
    original = getattr(__import__(module, fromlist=[attribute]), attribute)

    def run(*args):
        if cut.call_count > calls:
            raise KeyboardInterrupt
        return original(*args)

    cut = mock.Mock(side_effect=run)
    return mock.patch(name, cut)


@fewer
@given(st.data(), objectives, st.sampled_from([None, 1]))
def test_no_rule_of_the_design_is_broken(data, objective: str, budget: int | None):
    """Checked apart from `mappers.legality`."""
    path = data.draw(machines())
    problem = data.draw(problems(path))
    with chunks_of(10):
        found = best_mapping(problem, path, objective, Limits(evaluations=budget))
    assume(found is not None)
    for index in range(1, len(path.levels)):
        assert broken(found, index, problem, path) == []


def broken(found: Found, index: int, problem: Contraction, path: Path) -> list[str]:
    """The rules of a level that its mapping does not follow."""
    rules, here = path.core.mapping, found.mapping.levels[index]
    above, its = found.mapping.levels[index - 1].tile, rules.levels.get(here.level)
    wrong = []
    for rank, whole in problem.extents.items():
        tile, split = here.tile[rank], here.spatial[rank]
        if rules.factors == "perfect" and (above[rank] % (tile * split) or whole % tile):
            wrong.append(f"{rank} perfect")
        menu = its.tiles.get(rank) if its else None
        if menu and tile not in menu and (tile < whole or whole > max(menu)):
            wrong.append(f"{rank} menu")
        if its and tile % its.multiples.get(rank, 1) and tile < whole:
            wrong.append(f"{rank} multiple")
        if its and its.split is not None and split > 1 and rank not in its.split:
            wrong.append(f"{rank} split")
    if its and its.axes and not on_axes(here.spatial, list(its.axes.values())):
        wrong.append("axes")
    if its and its.stationary:
        dealt = path.control.dispatch == "dynamic" and index == path.first_core
        loops = [r for r in here.order if above[r] > here.tile[r] * here.spatial[r]]
        loops = [r for r in loops if not dealt or r not in problem.ranks_of("output")]
        if loops and all(loops[-1] in problem.ranks_of(operand) for operand in its.stationary):
            wrong.append("stationary")
    return wrong


def on_axes(split, axes) -> bool:
    """Is there a share of every rank's split for every axis, within its size?"""
    ranks = [rank for rank, count in split.items() if count > 1]
    shares = [
        [f for f in product(*(range(1, axis.size + 1) for axis in axes)) if prod(f) == split[rank]]
        for rank in ranks
    ]
    return any(
        all(
            prod(factors[i] for factors in chosen) <= axis.size
            and all(f[i] == 1 or r in axis.ranks for r, f in zip(ranks, chosen, strict=True))
            for i, axis in enumerate(axes)
        )
        for chosen in product(*shares)
    )
