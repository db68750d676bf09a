"""The search against costing everything, and what it may never do."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from typing import Any
from unittest import mock

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from mapspace import a_machine, a_problem, machines, problems

from accel_models.path import Path
from mappers.legality import legal
from mappers.matmul import matmul_cost
from mappers.problem import Contraction
from mappers.search import best, exhaustive
from mappers.search.best import best_mapping
from mappers.search.found import OBJECTIVES, Found
from mappers.search.space import Space, space_of

MOST = 300  # mappings that a test costs one by one


@contextmanager
def searching(space: Space) -> Iterator[None]:
    """Search and oracle see this space."""
    with (
        mock.patch.object(best, "space_of", return_value=space),
        mock.patch.object(exhaustive, "space_of", return_value=space),
    ):
        yield


@given(st.data(), st.sampled_from(sorted(OBJECTIVES)), st.randoms(use_true_random=False))
def test_the_optimum_is_the_least_of_all(data, objective: str, rng: random.Random):
    """Over the whole space, and over parts of it, so that what is found is not always the same."""
    path = data.draw(machines())
    problem = data.draw(problems(path))
    with searching(part(space_of(problem, path), rng)):
        everything = list(islice(exhaustive.all_mappings(problem, path), MOST + 1))
        assume(len(everything) <= MOST)
        least = exhaustive.exhaustive(problem, path, objective)
        found = best_mapping(problem, path, objective)
    is_the_least(found, least, objective, problem, path)


def is_the_least(
    found: Found | None,
    least: tuple[float, float] | None,
    objective: str,
    problem: Contraction,
    path: Path,
) -> None:
    """What is found is as good as the best of all, legal, and costs what the definition says."""
    if found is None or least is None:
        assert found is least
        return
    keys = OBJECTIVES[objective](found.cost)
    assert keys[0] == pytest.approx(least[0], rel=1e-12)
    assert keys[1] <= least[1] * (1 + 1e-8)  # ties go to the other
    assert found.gap == 0
    assert legal(problem, found.mapping, path)
    assert found.cost == matmul_cost(problem, found.mapping, path)


def part(space: Space, rng: random.Random) -> Space:
    """All templates or some of them."""
    templates = list(zip(space.keeps, space.innermost, strict=True))
    if len(templates) > 1 and rng.random() < 0.5:
        templates = rng.sample(templates, rng.randint(1, 2))
    keeps, innermost = zip(*templates, strict=True)
    return replace(space, keeps=keeps, innermost=innermost)


@pytest.mark.slow
def test_two_thousand_optima_of_every_kind():
    """The same for many more spaces, smaller ones, under every objective; and of each kind of
    machine, of problem and of optimum there are some among them."""
    rng, seen = random.Random(0), Counter[str]()

    def pick(*values: Any) -> Any:
        return rng.choice(values)

    while seen["cases"] < CASES:
        path = a_machine(pick)
        for problem in (a_problem(pick, path) for _ in range(4)):
            with searching(part(space_of(problem, path), rng)):
                everything = list(islice(exhaustive.all_mappings(problem, path), FEW + 1))
                if len(everything) > FEW:
                    continue
                costs = [matmul_cost(problem, mapping, path) for mapping in everything]
                for objective, keys in OBJECTIVES.items():
                    least = min(map(keys, costs), default=None)
                    found = best_mapping(problem, path, objective)
                    is_the_least(found, least, objective, problem, path)
                    seen.update(["cases", objective, *kinds(problem, path, found)])
    assert {kind: seen[kind] for kind in KINDS if seen[kind] < 20} == {}


CASES, FEW = 2000, 60
KINDS = (
    "latency, energy, edp, matmul, batched, convolution, sliding, dynamic, static, menus, "
    "multiples, split, axes, stationary, perfect, may pass by, passes by, split over k on cores, "
    "split over k on engines, several levels, no mapping"
).split(", ")


def kinds(problem: Contraction, path: Path, found: Found | None) -> Iterator[str]:
    """What kind of machine, problem and optimum it is. Rules count where they concern the
    problem."""
    large = {rank for rank, extent in problem.extents.items() if extent > 1}
    window = len(problem.dims["activation"][-1]) > 1
    yield "convolution" if window else "batched" if "b" in large else "matmul"
    yield path.control.dispatch
    rules = path.core.mapping
    if rules.factors == "perfect":
        yield "perfect"
    for rule in rules.levels.values():
        axes = {rank for axis in rule.axes.values() for rank in axis.ranks}
        said = {"menus": rule.tiles, "multiples": rule.multiples, "axes": axes}
        yield from (name for name, ranks in said.items() if large & set(ranks))
        yield from (name for name in ("split", "stationary") if getattr(rule, name) is not None)
    if any(level.bypass for level in path.levels):
        yield "may pass by"
    if len(path.memories) > 2:
        yield "several levels"
    if found is None:
        yield "no mapping"
        return
    for i, (level, facts) in enumerate(zip(found.mapping.levels, path.levels, strict=True)):
        if level.keeps != facts.keeps:
            yield "passes by"
        if any(level.spatial[rank] > 1 for rank in problem.of_role("k")):
            yield f"split over k on {'cores' if i <= path.first_core else 'engines'}"
        if any(problem.slides("activation", rank) for rank in innermost_loop(found, i)):
            yield "sliding"


def innermost_loop(found: Found, index: int) -> list[str]:
    """The innermost loop of a level, if it has one."""
    if index == 0:
        return []
    here, above = found.mapping.levels[index], found.mapping.levels[index - 1]
    runs = [r for r in here.order if above.tile[r] > here.tile[r] * here.spatial[r]]
    return runs[-1:]
